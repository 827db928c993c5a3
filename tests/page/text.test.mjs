// Markdown and the events of the server, without a browser: elements are what `document` here makes of them.
import assert from "node:assert/strict";
import test from "node:test";

class FakeElement {
  constructor(tag) {
    this.tag = tag;
    this.children = [];
  }

  append(...children) {
    this.children.push(...children);
  }
}

globalThis.document = { createElement: (tag) => new FakeElement(tag), baseURI: "http://localhost/" };
const { paragraphs } = await import("../../demo/page/text.mjs");
const { events, sentence } = await import("../../demo/page/api.mjs");
const { heads } = await import("../../demo/page/result.mjs");
const shown = ({ tag, children }) => [tag, ...children.map((child) => (typeof child === "string" ? child : shown(child)))];

test("paragraphs, bold and code become elements, everything else stays text", () => {
  assert.deepEqual(paragraphs("**Model:** `name`, 2 * 3\n\n\n<b>no HTML</b>").map(shown), [
    ["p", ["strong", "Model:"], " ", ["code", "name"], ", 2 * 3"], ["p", "<b>no HTML</b>"],
  ]);
});

test("events come whole, however the stream is cut", async () => {
  const text = 'event: generating\ndata: [null, {"done": 1, "of": 2}]\n\nevent: heartbeat\ndata: null\n\nevent: complete\ndata: ["a: b"]\n\n';
  for (const size of [1, 7, text.length]) {
    const bytes = new TextEncoder().encode(text);
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const seen = [];
    for await (const event of events(body)) seen.push(event);
    assert.deepEqual(seen, [
      { event: "generating", data: [null, { done: 1, of: 2 }] }, { event: "heartbeat", data: null },
      { event: "complete", data: ["a: b"] },
    ]);
  }
});

test("a refusal is a sentence, also where the library's message is none", () => {
  assert.equal(sentence({ error: "the text is in no known format" }), "The text is in no known format.");
  assert.equal(sentence("Choose a photo first."), "Choose a photo first.");
  assert.match(sentence(null), /went wrong/);
});

test("a distance is told in heads", () => {
  assert.equal(heads(0.084), "8 % of a head");
  assert.equal(heads(3.94), "3.9 heads");
});
