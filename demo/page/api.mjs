// Calls to the server: the same endpoints that gradio_client and curl use (docs/api.md).

const address = (path) => new URL(`gradio_api/${path}`, document.baseURI);

/** An answer of the server that refuses; its message is a sentence for the user. */
export class Refused extends Error {}

export const UNREACHABLE = "The page does not answer. Check that the program that serves it is still running, then try again.";
const MOST_BYTES = 32 * 2 ** 20;
const TOO_LARGE = "The file is too large. Use one of at most 32 MB.";
const BROKEN = "Something went wrong on the server. The terminal that runs this page says more.";

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(UNREACHABLE);
  }
  if (answer.ok) return answer;
  let detail = "";
  try {
    detail = (await answer.json()).detail;
  } catch {
    // The body is no JSON: the status has to do.
  }
  if (answer.status === 413 && path === "upload") throw new Refused(TOO_LARGE);
  if (answer.status === 503) throw new Refused("Too many people are using this page. Wait a moment, then try again.");
  throw new Refused(typeof detail === "string" && detail ? detail : BROKEN);
}

/** Send a file; the answer is an argument for `call`. */
export async function upload(file, name = "photo") {
  if (file.size > MOST_BYTES) throw new Refused(TOO_LARGE);
  const body = new FormData();
  body.append("files", file, name); // the file's own name stays here
  const [path] = await (await request("upload", { method: "POST", body })).json();
  return { path, meta: { _type: "gradio.FileData" } };
}

/**
 * Call an endpoint with named arguments.
 *
 * @param {string} name
 * @param {object} args
 * @param {{onProgress?: (data: any[]) => void, signal?: AbortSignal}} options
 * @returns {Promise<any[]>} what the endpoint returns, as a list.
 */
export async function call(name, args = {}, { onProgress = () => {}, signal } = {}) {
  const started = await request(`call/v2/${name}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(args), signal,
  });
  const { event_id: id } = await started.json();
  const stream = await request(`call/v2/${name}/${id}`, { signal });
  let last = null;
  for await (const { event, data } of events(stream.body)) {
    if (event === "generating" && data) onProgress((last = data));
    if (event === "complete") return data ?? last;
    if (event === "error") throw new Refused(sentence(data));
  }
  throw new Refused(UNREACHABLE);
}

/** What a refusal says, as a sentence: the library's messages begin in lower case. */
export function sentence(data) {
  const text = (typeof data === "string" ? data : data?.error) || BROKEN;
  return text[0].toUpperCase() + text.slice(1) + (/[\p{L}\p{N}]$/u.test(text) ? "." : "");
}

/** The events of a stream of server-sent events. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
        yield { event: fields.event, data: fields.data ? JSON.parse(fields.data) : null };
      }
    }
  } finally {
    await reader.cancel(); // the server stops working for nobody
  }
}
