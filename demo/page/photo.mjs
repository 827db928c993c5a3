// The photo: choosing it, the people found in it, and what to do when nobody was found.

import { JOINTS, LIMBS, COLOURS } from "./geometry.mjs";
import { make } from "./editor.mjs";

/** Joints that are asked for when a pose is placed by hand, in this order. */
export const ASKED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

export class PhotoPanel {
  /**
   * @param {HTMLElement} root is filled with the panel.
   * @param {object} on callbacks: file(blob), turn(degrees), box(box), person(index), pose(pose).
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
    this.camera = make("input", { type: "file", accept: "image/*", capture: "user", hidden: true, onchange: chosen });
    this.picture = make("img", { alt: "Your photo" });
    this.overlay = make("svg", {
      class: "overlay", preserveAspectRatio: "none",
      onpointerdown: (event) => this.press(event), onpointermove: (event) => this.stretch(event),
      onpointerup: (event) => this.drop(event),
    });
    this.stage = make("div", { class: "photo-stage", hidden: true }, this.picture, this.overlay);
    this.empty = make(
      "div", { class: "drop" },
      make("p", {}, "Drop a photo here, or paste one."),
      make(
        "div", { class: "tools" },
        make("button", { type: "button", class: "primary", onclick: () => this.input.click() }, "Choose a photo"),
        make("button", { type: "button", onclick: () => this.camera.click() }, "Camera"),
      ),
    );
    this.turn = make("button", { type: "button", onclick: () => this.on.turn(90) }, "Turn");
    this.area = make("button", { type: "button", "aria-pressed": "false", onclick: () => this.setMode("area") }, "Select an area");
    this.joints = make(
      "button", { type: "button", "aria-pressed": "false", onclick: () => this.setMode("joints") }, "Place joints by hand",
    );
    this.tools = make(
      "div", { class: "tools", hidden: true, role: "group", "aria-label": "Photo" },
      make("button", { type: "button", onclick: () => this.input.click() }, "Another photo"),
      this.turn, this.area, this.joints,
    );
    this.note = make("div", { class: "note", role: "status" });
    this.guide = make("div", { class: "guide", hidden: true, role: "status" });
    root.append(this.input, this.camera, this.empty, this.stage, this.guide, this.tools, this.note);
    root.addEventListener("dragover", (event) => {
      event.preventDefault();
      root.classList.add("dragging");
    });
    root.addEventListener("dragleave", () => root.classList.remove("dragging"));
    root.addEventListener("drop", (event) => {
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

  /** Draw the people: the chosen one with a skeleton, the others as boxes to click. */
  drawPeople(people, chosen) {
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
        x: left, y: top, width: right - left, height: bottom - top, rx: 2 * unit, "stroke-width": 1.5 * unit,
      }));
      if (ours) group.append(...skeleton(pose, unit));
      return group;
    });
    this.overlay.replaceChildren(...groups);
  }

  /** Say something below the photo, with [label, action] pairs as buttons; a refusal is announced at once. */
  say(text, refused = false, actions = []) {
    this.note.setAttribute("role", refused ? "alert" : "status");
    this.note.classList.toggle("refused", refused);
    this.note.replaceChildren(text, ...actions.map(([label, action]) => (
      make("button", { type: "button", onclick: action }, label)
    )));
    this.note.hidden = !text;
  }

  setMode(mode) {
    this.mode = this.mode === mode ? "choose" : mode;
    this.area.setAttribute("aria-pressed", this.mode === "area");
    this.joints.setAttribute("aria-pressed", this.mode === "joints");
    this.stage.dataset.mode = this.mode;
    this.placed = Array(JOINTS.length).fill(null);
    this.asking = 0;
    this.guide.hidden = this.mode === "choose";
    if (this.mode === "area") this.guide.replaceChildren("Draw a box around the person.");
    if (this.mode === "joints") this.ask();
  }

  ask() {
    if (this.asking >= ASKED.length) return this.finish();
    const step = (by) => () => {
      this.asking = Math.max(0, this.asking + by);
      this.ask();
    };
    this.guide.replaceChildren(
      make("strong", {}, `Click the ${JOINTS[ASKED[this.asking]]}.`), " Left and right are the person's own. ",
      make("button", { type: "button", onclick: step(1) }, "Not visible"),
      make("button", { type: "button", disabled: this.asking === 0, onclick: step(-1) }, "Back"),
      make("button", { type: "button", onclick: () => this.finish() }, "Done"),
    );
    const pose = { keypoints: this.placed };
    this.overlay.replaceChildren(...skeleton(pose, Math.max(...this.size) / 300));
  }

  finish() {
    const pose = { canvas: this.size, keypoints: this.placed };
    this.setMode("choose");
    if (pose.keypoints.some(Boolean)) this.on.pose(pose);
  }

  at(event) {
    const box = this.overlay.getBoundingClientRect();
    const [height, width] = this.size;
    const clamp = (value, most) => Math.min(Math.max(value, 0), most);
    return [
      clamp(((event.clientX - box.left) / box.width) * width, width),
      clamp(((event.clientY - box.top) / box.height) * height, height),
    ];
  }

  press(event) {
    if (this.mode === "joints") {
      this.placed[ASKED[this.asking]] = this.at(event).map((value) => value - 0.5);
      this.asking += 1;
      this.ask();
    } else if (this.mode === "area") {
      this.overlay.setPointerCapture(event.pointerId);
      this.from = this.at(event);
      this.frame = make("rect", { class: "frame", "stroke-width": Math.max(...this.size) / 200 });
      this.overlay.replaceChildren(this.frame);
    }
  }

  stretch(event) {
    if (!this.from) return;
    const [x, y] = this.at(event);
    const sides = {
      x: Math.min(x, this.from[0]), y: Math.min(y, this.from[1]),
      width: Math.abs(x - this.from[0]), height: Math.abs(y - this.from[1]),
    };
    for (const [name, value] of Object.entries(sides)) this.frame.setAttribute(name, value);
    this.sides = sides;
  }

  drop() {
    const { from, sides } = this;
    this.from = this.sides = null;
    if (!from || !sides || sides.width < 8 || sides.height < 8) return;
    this.setMode("choose");
    this.on.box([sides.x, sides.y, sides.x + sides.width, sides.y + sides.height].map(Math.round));
  }
}

/** Lines and circles of a pose for an SVG: each limb is drawn over a light line, so that blue shows on black. */
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
    if (point) drawn.push(make("circle", { cx: point[0] + 0.5, cy: point[1] + 0.5, r: 2.4 * unit, fill: COLOURS[joint] }));
  });
  return drawn;
}
