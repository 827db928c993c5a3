/* A rater's session. Each picture is drawn in one frame of the screen and cleared in a later one. The time between the
   two frames is stored as the exposure. The next picture is shown when the server has stored the last answer. */
"use strict";

const LARGEST_PX = 512; // a picture is enlarged by the largest whole factor with which it fits this size and the window
const PAUSE_MS = 500; // between an answer and the next picture
const TIMEOUT_MS = 15000; // of one request
const AT_ONCE = 6; // pictures loaded at the same time

const element = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const nextFrame = () => new Promise((done) => requestAnimationFrame(() => done(performance.now())));

/* What the browser stores: the rater's name, an answer that is being sent, and how often a picture was shown. A browser
   that stores nothing (in private windows) still has the name in the address. */
const memory = {
  get(key) {
    try { return JSON.parse(localStorage.getItem(`pg2-study-${key}`)); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(`pg2-study-${key}`, JSON.stringify(value)); } catch { /* not stored; see above */ }
  },
};

let state = null; // state of the session, from the server
let pictures = []; // decoded pictures by position
let asked = null; // callback for the answer while the question is on the screen
let busy = false; // true while a task runs, so that a double click does not run it twice

class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

/* Sends a request again until the server answers it. Throws Refused if the server rejects it. */
async function request(path, values) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 4000)) {
    try {
      const options = { signal: AbortSignal.timeout(TIMEOUT_MS) };
      if (values !== undefined) {
        Object.assign(options, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) });
      }
      const reply = await fetch(path, options);
      if (reply.ok) {
        const content = values === undefined ? await reply.blob() : await reply.json();
        element("trouble").hidden = true;
        return content;
      }
      if (reply.status < 500) throw new Refused(reply.status, (await reply.json()).detail);
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    element("trouble").textContent =
      path === "answer"
        ? "The connection is lost. Your answer will be sent as soon as the connection is back. Please leave this page open."
        : "The connection is lost. Trying again …";
    element("trouble").hidden = false;
    await sleep(wait);
  }
}

function show(id) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== id;
  document.querySelector(`#${id} h2`).focus();
}

/* -- Start and end --------------------------------------------------------------------------------------------------- */

async function arrive() {
  listen();
  await recognise();
  element("start").disabled = false; // only now, because an unsent answer must be stored before pictures are shown
}

function listen() {
  element("start").addEventListener("click", () => run(() => begin(false)));
  element("another").addEventListener("click", () => run(() => begin(true)));
  element("reload").addEventListener("click", () => location.reload());
  element("real").addEventListener("click", (event) => decide(true, event));
  element("generated").addEventListener("click", (event) => decide(false, event));
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (["r", "R", "ArrowLeft"].includes(event.key)) decide(true, event);
    if (["g", "G", "ArrowRight"].includes(event.key)) decide(false, event);
  });
}

/* Resumes the session of a rater who comes back, and says how far it is. */
async function recognise() {
  const known = new URLSearchParams(location.search).get("rater") ?? memory.get("rater");
  if (known === null) return;
  try {
    enter(await request("session", { rater: known }));
  } catch (error) {
    if (error.status !== 404) throw error;
    if (new URLSearchParams(location.search).has("rater")) {
      note("This link does not belong to this study. Is a letter missing? Press Start to begin from the first picture.");
    }
    return;
  }
  await sendLeftOver();
  if (state.answered === state.images) return finish();
  note(`Welcome back! You have answered ${state.answered} of ${state.images} pictures.`);
  element("start").textContent = "Continue";
}

function note(text) {
  document.querySelector("#welcome .back").textContent = text;
  document.querySelector("#welcome .back").hidden = false;
}

/* Puts the rater's name into the address, which becomes the link to come back with. */
function enter(described) {
  state = described;
  memory.set("rater", state.rater);
  history.replaceState(null, "", `?rater=${state.rater}`);
  element("rater").hidden = false;
  document.querySelector("#rater code").textContent = state.rater;
}

/* Sends an answer that was not sent because the window was closed or the browser crashed. */
async function sendLeftOver() {
  const left = memory.get("answer");
  if (left === null || left.rater !== state.rater) return;
  try {
    const stored = await request("answer", left);
    if (left.number === state.number) state.answered = stored.answered;
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // another answer was given in another window
  }
  memory.set("answer", null);
}

async function begin(another) {
  enter(await request("session", { rater: state === null ? null : state.rater, another }));
  if (state.answered === state.images) return finish();
  await load();
  const practice = state.practice - state.answered;
  await announce(
    practice > 0 ? "Practice first" : "Ready",
    practice > 0
      ? `${practice === 1 ? "One practice picture comes" : `${practice} practice pictures come`} first. Look at the cross; ` +
        "the first picture appears there."
      : "Look at the cross; the first picture appears there.",
  );
  await rate();
}

async function load() {
  show("loading");
  const bar = element("loaded");
  bar.max = state.images - state.answered;
  bar.value = 0;
  let next = state.answered;
  const worker = async () => {
    while (next < state.images) {
      const position = next++;
      pictures[position] = await createImageBitmap(await request(`image/${state.rater}/${state.number}/${position}`));
      bar.value += 1;
    }
  };
  pictures = [];
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function announce(title, text) {
  document.querySelector("#ready h2").textContent = title;
  document.querySelector("#ready .text").textContent = text;
  show("ready");
  element("go").focus();
  return new Promise((done) => element("go").addEventListener("click", done, { once: true }));
}

function finish() {
  const left = state.sessions - state.number;
  document.querySelector("#finished .text").textContent =
    `All ${state.images} answers are stored. ` +
    (left > 0 ? "If you like, you can do another round with other pictures." : "You can close this page.");
  element("another").hidden = left === 0;
  show("finished");
}

/* -- Pictures and answers -------------------------------------------------------------------------------------------- */

async function rate() {
  show("rating");
  while (state.answered < state.images) {
    const position = state.answered;
    describe(position);
    const exposure = await expose(position);
    const { saysReal, responseMs } = await ask();
    const answer = {
      rater: state.rater, number: state.number, position, says_real: saysReal,
      exposure_ms: exposure.ms, response_ms: responseMs, showings: exposure.showings,
    };
    memory.set("answer", answer);
    state.answered = (await request("answer", answer)).answered;
    memory.set("answer", null);
    pictures[position].close();
    if (state.answered === state.images) break;
    if (element("pause").checked) {
      element("pause").checked = false;
      await announce("Pause", "All your answers are stored. Continue when you like, or come back later with the link in the address bar.");
      show("rating");
    } else if (state.answered === state.practice) {
      await announce("Practice is over", `The next ${state.images - state.practice} pictures count.`);
      show("rating");
    }
  }
  finish();
}

function describe(position) {
  const { practice, images } = state;
  element("count").textContent =
    position < practice
      ? `Practice ${position + 1} of ${practice}`
      : `Picture ${position + 1 - practice} of ${images - practice}`;
  element("done").max = images;
  element("done").value = position;
}

/* Shows a picture for the protocol's exposure, to the nearest frame, and returns the measured exposure. */
async function expose(position) {
  const canvas = element("picture");
  const context = prepare(canvas);
  element("question").textContent = "";
  element("cross").classList.add("on");
  await visible();
  await sleep(PAUSE_MS);
  const showings = countShowing(position);
  const shown = await nextFrame();
  context.drawImage(pictures[position], 0, 0);
  element("cross").classList.remove("on");
  const ended = await over(shown);
  context.clearRect(0, 0, canvas.width, canvas.height);
  return { ms: ended - shown, showings };
}

/* Waits for the end of the exposure and returns its time. A hidden window draws no frames, so hiding it ends the
   exposure, which then is too short to count. */
function over(shown) {
  return new Promise((done) => {
    let before = shown;
    let last = false;
    const end = (now) => {
      last = true;
      document.removeEventListener("visibilitychange", hide);
      done(now);
    };
    const hide = () => document.hidden && end(performance.now());
    const frame = () => {
      if (last) return;
      const now = performance.now();
      if (now - shown >= state.exposure_ms - (now - before) / 2) return end(now);
      before = now;
      requestAnimationFrame(frame);
    };
    document.addEventListener("visibilitychange", hide);
    requestAnimationFrame(frame);
  });
}

/* Sets the size of the canvas: that of the pictures, shown enlarged by a whole factor. */
function prepare(canvas) {
  canvas.width = state.width;
  canvas.height = state.height;
  const room = Math.min(
    LARGEST_PX / Math.max(state.width, state.height),
    (window.innerWidth - 70) / state.width,
    (window.innerHeight - 280) / state.height,
  );
  const factor = Math.max(1, Math.floor(room));
  canvas.style.width = `${factor * state.width}px`;
  canvas.style.height = `${factor * state.height}px`;
  return canvas.getContext("2d");
}

/* Returns how often a picture was shown, including now: more than once if the page was closed before the answer. */
function countShowing(position) {
  const picture = `${state.rater}/${state.number}/${position}`;
  const last = memory.get("showing");
  const showings = last !== null && last.picture === picture ? last.showings + 1 : 1;
  memory.set("showing", { picture, showings });
  return showings;
}

function visible() {
  return new Promise((done) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

async function ask() {
  const since = performance.now();
  element("question").textContent = "Real photo or generated picture?";
  enable(true);
  const { saysReal, time } = await new Promise((done) => { asked = done; });
  return { saysReal, responseMs: Math.max(0, time - since) };
}

/* Takes an answer. Keys and buttons do nothing while the picture is visible and after the first answer. */
function decide(saysReal, event) {
  if (asked === null) return;
  event.preventDefault();
  const answer = asked;
  asked = null;
  enable(false);
  answer({ saysReal, time: event.timeStamp });
}

function enable(on) {
  for (const id of ["real", "generated"]) element(id).setAttribute("aria-disabled", String(!on));
}

/* Runs one task at a time and shows its errors. */
async function run(task) {
  if (busy) return;
  busy = true;
  try {
    await task();
  } catch (error) {
    document.querySelector("#stopped .text").textContent =
      error instanceof Refused
        ? `The server refused the request: ${error.message}. If the study is open in another window, continue there.`
        : "There was an error on this page. Your answers are stored. Please try again.";
    show("stopped");
    if (!(error instanceof Refused)) throw error;
  } finally {
    busy = false;
  }
}

run(arrive);
