// The photo: choosing it, the people found in it, and what to do when nobody was found.

import { JOINTS, LIMBS, COLOURS } from "./geometry.mjs";
import { make, refill } from "./editor.mjs";

/** Joints that are asked for when a pose is placed by hand, in this order. */
export const ASKED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

const KEYS = {
  area: "Arrow keys move a cross, with Shift in small steps; Enter marks two corners of the box. Escape ends it.",
  joints: "Arrow keys move a cross, with Shift in small steps; Enter places the joint. Escape ends it.",
};

const FEWEST = 4; // joints that the server takes for a pose

export class PhotoPanel {
  /**
   * @param {HTMLElement} root is filled with the panel.
   * @param {object} on callbacks: file(blob), camera(), turn(degrees), box(box), person(index), pose(pose); redraw() when marking has
   *   ended and the people are to be drawn again.
   */
  constructor(root, on) {
    this.on = on;
    this.mode = "choose"; // or "area", "joints"
    this.build(root);
  }

  build(root) {
    const chosen = (event) => {
      const [file] = event.target.files;
      event.target.value = ""; // so that the same file can be chosen again
      if (file) this.on.file(file);
    };
    this.input = make("input", { type: "file", accept: "image/*,.heic,.heif,.avif", hidden: true, onchange: chosen });
    this.camera = make("input", { type: "file", accept: "image/*", capture: "environment", hidden: true, onchange: chosen });
    this.picture = make("img", { alt: "Your photo" });
    this.overlay = make("svg", {
      class: "overlay", preserveAspectRatio: "none",
      onpointerdown: (event) => this.press(event), onpointermove: (event) => this.from && this.stretch(this.at(event)),
      onpointerup: () => this.drop(), onkeydown: (event) => this.key(event),
    });
    this.stage = make("div", { class: "photo-stage", hidden: true }, this.picture, this.overlay);
    const button = (text, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, text);
    // A phone has a camera app; elsewhere a file dialog would open.
    const takePhoto = () => (matchMedia("(pointer: coarse)").matches ? this.camera.click() : this.on.camera());
    this.empty = make(
      "div", { class: "drop" },
      make("p", {}, "Drop a photo here, or paste one."),
      make(
        "div", { class: "tools" },
        button("Choose a photo", () => this.input.click(), { class: "primary" }), button("Camera", takePhoto),
      ),
    );
    this.area = button("Mark the person", () => this.setMode("area"), { "aria-pressed": "false" });
    this.joints = button("Place joints", () => this.setMode("joints"), { "aria-pressed": "false" });
    this.tools = make(
      "div", { class: "tools", hidden: true, role: "group", "aria-label": "Photo" },
      button("Another photo", () => this.input.click()), button("Camera", takePhoto),
      button("Turn", () => this.on.turn(90)), this.area, this.joints,
    );
    this.note = make("div", { class: "note", role: "status" });
    this.question = make("p", { role: "status" });
    this.answers = make(
      "div", { class: "tools" }, button("Not visible", () => this.step(1)), button("Back", () => this.step(-1)),
      button("Done", () => this.finish()),
    );
    this.guide = make("div", { class: "guide", hidden: true }, this.question, this.answers);
    root.append(this.input, this.camera, this.empty, this.stage, this.guide, this.note, this.tools);
    // A file that misses the photo would replace the page, so it is taken wherever it is dropped.
    const isFile = (event) => event.dataTransfer.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      root.classList.add("dragging");
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget ?? root.classList.remove("dragging"));
    document.addEventListener("drop", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      root.classList.remove("dragging");
      const [file] = event.dataTransfer.files;
      if (file) this.on.file(file); // the server knows which files it can read
    });
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
      if (file) this.on.file(file);
    });
  }

  /** Show a photo, upright as the server sees it; [height, width] are its pixels on the server. */
  show(url, [height, width]) {
    this.size = [height, width];
    this.picture.src = url;
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.stage.style.setProperty("--aspect", width / height);
    this.stage.hidden = this.tools.hidden = false;
    this.empty.hidden = true;
    this.setMode("choose");
  }

  /** Draw the people: the chosen one with a skeleton, the others as boxes to click; and the area that was marked. */
  drawPeople(people, chosen, area = null) {
    const unit = Math.max(...this.size) / 300;
    const groups = people.map(({ pose, box: [left, top, right, bottom] }, index) => {
      const ours = index === chosen;
      const name = `Person ${index + 1} of ${people.length}${ours ? ", chosen" : ""}`;
      const choose = () => !ours && this.on.person(index);
      const group = make("g", {
        class: ours ? "person chosen" : "person", role: "button", "aria-label": name, "aria-pressed": ours,
        tabindex: people.length > 1 ? 0 : -1, onclick: choose,
        onkeydown: (event) => ["Enter", " "].includes(event.key) && (event.preventDefault(), choose()),
      });
      group.append(make("rect", {
        x: left, y: top, width: right - left, height: bottom - top, rx: 2 * unit,
      }));
      if (ours) group.append(...skeleton(pose, unit));
      return group;
    });
    const marked = area ? [frame(area, "frame marked")] : [];
    refill(this.overlay, ...marked, ...groups);
  }

  /** Say something below the photo, with [label, action] pairs as buttons; a refusal is announced at once. */
  say(text, refused = false, actions = []) {
    this.note.setAttribute("role", refused ? "alert" : "status");
    this.note.classList.toggle("refused", refused);
    const held = this.note.contains(document.activeElement);
    refill(this.note, text, ...actions.map(([label, action]) => (
      make("button", { type: "button", onclick: action }, label)
    )));
    this.note.hidden = !text;
    if (held && !actions.length) this.tools.querySelector("button").focus({ preventScroll: true });
  }

  setMode(mode) {
    const held = this.guide.contains(document.activeElement) || document.activeElement === this.overlay;
    const before = this.mode;
    this.mode = this.mode === mode ? "choose" : mode;
    this.area.setAttribute("aria-pressed", this.mode === "area");
    this.joints.setAttribute("aria-pressed", this.mode === "joints");
    this.stage.dataset.mode = this.mode;
    this.placed = Array(JOINTS.length).fill(null);
    this.asking = 0;
    this.from = this.sides = this.cross = null;
    this.guide.hidden = this.mode === "choose";
    this.answers.hidden = this.mode !== "joints";
    if (this.mode === "choose") {
      for (const name of ["tabindex", "role", "aria-label", "aria-description"]) this.overlay.removeAttribute(name);
      if (before === "choose") return;
      if (held) (before === "area" ? this.area : this.joints).focus({ preventScroll: true });
      this.on.redraw();
      return;
    }
    this.overlay.replaceChildren();
    if (this.mode === "area") this.question.replaceChildren("Draw a box around the person.");
    else this.ask();
    const named = { tabindex: 0, role: "application", "aria-label": "Photo", "aria-description": KEYS[this.mode] };
    for (const [name, value] of Object.entries(named)) this.overlay.setAttribute(name, value);
    this.overlay.focus({ preventScroll: true });
    this.stage.scrollIntoView({ block: "nearest" });
  }

  step(by) {
    this.asking = Math.max(0, this.asking + by);
    this.ask();
  }

  ask() {
    if (this.asking >= ASKED.length) return this.finish();
    this.question.replaceChildren(
      make("strong", {}, `Where is the ${JOINTS[ASKED[this.asking]]}?`), " Left and right are the person’s own.",
    );
    const [, back, done] = this.answers.children;
    done.disabled = this.placed.filter(Boolean).length < FEWEST;
    if (this.asking === 0 && document.activeElement === back) this.overlay.focus({ preventScroll: true });
    back.disabled = this.asking === 0;
    this.overlay.replaceChildren(...skeleton({ keypoints: this.placed }, Math.max(...this.size) / 300));
    this.drawCross();
  }

  finish() {
    const pose = { canvas: this.size, keypoints: this.placed };
    this.setMode("choose");
    if (pose.keypoints.filter(Boolean).length >= FEWEST) this.on.pose(pose);
    else this.say(`Place at least ${FEWEST} joints, such as both shoulders and both hips.`, true);
  }

  at(event) {
    const box = this.overlay.getBoundingClientRect();
    const [height, width] = this.size;
    return this.within([
      ((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height,
    ]);
  }

  within([x, y]) {
    const [height, width] = this.size;
    return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
  }

  press(event) {
    this.cross = null;
    if (this.mode === "area") this.overlay.setPointerCapture(event.pointerId);
    this.mark(this.at(event));
  }

  /** A joint is there, or the first corner of the box. */
  mark(place) {
    if (this.mode === "joints") {
      this.placed[ASKED[this.asking]] = place.map((value) => value - 0.5);
      this.step(1);
    } else if (this.mode === "area") {
      this.from = place;
      this.frame = frame([...place, ...place]);
      this.overlay.replaceChildren(this.frame);
      this.drawCross();
    }
  }

  stretch([x, y]) {
    const [left, top, right, bottom] = [
      Math.min(x, this.from[0]), Math.min(y, this.from[1]), Math.max(x, this.from[0]), Math.max(y, this.from[1]),
    ];
    this.sides = [left, top, right, bottom];
    for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) {
      this.frame.setAttribute(name, value);
    }
  }

  drop() {
    const { from, sides } = this;
    this.from = this.sides = null;
    if (!from || !sides || sides[2] - sides[0] < 8 || sides[3] - sides[1] < 8) return;
    this.setMode("choose");
    this.on.box(sides.map(Math.round));
  }

  key(event) {
    if (this.mode === "choose") return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const step = (event.shiftKey ? 0.004 : 0.02) * Math.max(...this.size);
      this.cross ??= [this.size[1] / 2, this.size[0] / 2];
      this.cross = this.within(this.cross.map((value, axis) => value + step * moves[event.key][axis]));
      if (this.from) this.stretch(this.cross);
      this.drawCross();
    } else if (["Enter", " "].includes(event.key) && this.cross) {
      if (this.from) this.drop();
      else this.mark(this.cross);
    } else if (event.key === "Escape") {
      this.setMode("choose");
    } else {
      return;
    }
    event.preventDefault();
  }

  drawCross() {
    this.overlay.querySelector(".cross")?.remove();
    if (!this.cross || this.mode === "choose") return;
    const [[x, y], arm] = [this.cross, Math.max(...this.size) / 20];
    this.overlay.append(make(
      "g", { class: "cross" }, make("line", { x1: x - arm, y1: y, x2: x + arm, y2: y }),
      make("line", { x1: x, y1: y - arm, x2: x, y2: y + arm }),
    ));
  }
}

/** A frame for an SVG around left, top, right, bottom. */
function frame([left, top, right, bottom], name = "frame") {
  return make("rect", { class: name, x: left, y: top, width: right - left, height: bottom - top });
}

/** Lines and circles of a pose for an SVG, each with a light edge, so that blue shows on black. */
export function skeleton(pose, unit) {
  const drawn = [];
  for (const [a, b] of LIMBS) {
    const [start, end] = [pose.keypoints[a], pose.keypoints[b]];
    if (!start || !end) continue;
    const ends = { x1: start[0] + 0.5, y1: start[1] + 0.5, x2: end[0] + 0.5, y2: end[1] + 0.5, "stroke-linecap": "round" };
    drawn.push(make("line", { ...ends, stroke: "#fff", "stroke-opacity": 0.65, "stroke-width": 4 * unit }));
    drawn.push(make("line", { ...ends, stroke: COLOURS[b], "stroke-width": 2.4 * unit }));
  }
  pose.keypoints.forEach((point, joint) => {
    if (!point) return;
    const outline = { stroke: "#fff", "stroke-opacity": 0.65, "stroke-width": 0.5 * unit };
    drawn.push(make("circle", { cx: point[0] + 0.5, cy: point[1] + 0.5, r: 2.4 * unit, fill: COLOURS[joint], ...outline }));
  });
  return drawn;
}
