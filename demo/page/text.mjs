// The little of Markdown that model descriptions use: paragraphs, **bold** and `code`.

import { make } from "./editor.mjs";

/** Elements for a text; it is never read as HTML. */
export function paragraphs(text) {
  return text.split(/\n\s*\n/).filter((each) => each.trim()).map((each) => make("p", {}, ...spans(each.trim())));
}

/** The parts of a paragraph: strings and elements. */
function spans(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).filter(Boolean).map((part) => {
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return make("strong", {}, part.slice(2, -2));
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return make("code", {}, part.slice(1, -1));
    return part;
  });
}
