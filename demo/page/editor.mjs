// The pose editor: a skeleton over the dimmed photo, for mouse, touch and keyboard. Geometry is in geometry.mjs.

import * as geometry from "./geometry.mjs";

const SVG = "http://www.w3.org/2000/svg";
const KEYS = "Arrow keys move the joint, with Shift by ten pixels and with Ctrl the whole pose. N and P choose the next and the "
  + "previous joint; Delete hides it.";
const HELP = "Drag a joint, or empty space to move the whole pose. Two fingers turn and resize it.";

/** An element with attributes and children; an attribute that starts with "on" is a listener. */
export function make(tag, attributes = {}, ...children) {
  const element = ["svg", "line", "circle", "image", "g", "rect"].includes(tag)
    ? document.createElementNS(SVG, tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const OPERABLE = "button, a[href], input, select, [tabindex]";

/** Replace what an element contains; the focus stays at its place among what can be operated there. */
export function refill(element, ...children) {
  const place = [...element.querySelectorAll(OPERABLE)].indexOf(document.activeElement);
  element.replaceChildren(...children);
  if (place < 0) return;
  const now = [...element.querySelectorAll(OPERABLE)];
  now[Math.min(place, now.length - 1)]?.focus({ preventScroll: true });
}

export class PoseEditor {
  /**
   * @param {HTMLElement} container is filled with the editor.
   * @param {object} complete a pose with all joints, from which a missing joint is put back.
   * @param {(pose: object) => void} onChange is called after every finished change.
   */
  constructor(container, complete, onChange) {
    this.complete = complete;
    this.onChange = onChange;
    this.history = new geometry.History(geometry.copy(complete));
    this.pose = this.history.present;
    this.chosen = 4;
    this.pointers = new Map();
    this.build(container);
    this.draw();
  }

  /** Edit another pose. The pose before it can be brought back with undo. */
  load(pose) {
    this.history.add(geometry.copy(pose));
    this.show(this.history.present);
  }

  /**
   * Show a photo, dimmed, behind the skeleton; null shows none.
   *
   * @param {string | null} url
   * @param {number[] | null} place its left, top, width and height in pixels of the canvas; null fills the canvas.
   */
  setPhoto(url, place = null) {
    this.photoPlace = place;
    this.image.setAttribute("href", url ?? "");
    this.image.style.display = url ? "" : "none";
    this.draw();
  }

  build(container) {
    this.image = make("image", { preserveAspectRatio: "none", opacity: 0.45, style: "display: none" });
    // Each limb is drawn over a light line, so that blue shows on black.
    this.underlays = geometry.LIMBS.map(() => make("line", { stroke: "#fff", "stroke-opacity": 0.65, "stroke-linecap": "round" }));
    this.limbs = geometry.LIMBS.map(([, end]) => make("line", { stroke: geometry.COLOURS[end], "stroke-linecap": "round" }));
    this.joints = geometry.JOINTS.map((name, joint) => make("circle", { fill: geometry.COLOURS[joint], stroke: "#fff", "stroke-opacity": 0.65 }));
    this.ring = make("circle", { fill: "none", stroke: "#fff" });
    this.svg = make(
      "svg",
      {
        class: "pose-canvas", tabindex: 0, role: "application", "aria-label": "Pose editor", "aria-description": KEYS,
        onpointerdown: (event) => this.press(event), onpointermove: (event) => this.drag(event),
        onpointerup: (event) => this.release(event), onpointercancel: (event) => this.release(event),
        onkeydown: (event) => this.key(event), onwheel: (event) => this.wheel(event),
      },
      this.image, ...this.underlays, ...this.limbs, this.ring, ...this.joints,
    );
    this.select = make(
      "select",
      { "aria-label": "Joint", onchange: () => this.choose(Number(this.select.value)) },
      ...geometry.JOINTS.map((name, joint) => make("option", { value: joint }, name)),
    );
    this.toggle = this.button("Hide joint", () => this.toggleJoint());
    this.keep = make("input", { type: "checkbox", checked: true });
    this.undoButton = this.button("Undo", () => this.show(this.history.undo(), true));
    this.redoButton = this.button("Redo", () => this.show(this.history.redo(), true));
    this.status = make("p", { class: "visually-hidden", role: "status" });
    container.replaceChildren(
      this.svg, make("p", { class: "quiet" }, HELP),
      make(
        "div", { class: "tools", role: "group", "aria-label": "Change the pose" },
        this.select, this.toggle, this.undoButton, this.redoButton,
        this.button("Mirror", () => this.change(geometry.mirrored(this.pose))),
        this.button("Turn left", () => this.change(geometry.rotated(this.pose, -Math.PI / 36))),
        this.button("Turn right", () => this.change(geometry.rotated(this.pose, Math.PI / 36))),
        this.button("Larger", () => this.change(geometry.scaled(this.pose, 1.05))),
        this.button("Smaller", () => this.change(geometry.scaled(this.pose, 1 / 1.05))),
        make("label", { class: "check" }, this.keep, " Keep limb lengths"),
      ),
      this.status,
    );
  }

  button(text, onclick) {
    return make("button", { type: "button", onclick }, text);
  }

  /** A finished change: it can be undone, and whoever listens is told. */
  change(pose) {
    this.history.add(pose);
    this.show(pose, true);
  }

  show(pose, tell = false) {
    this.pose = pose;
    this.draw();
    if (tell) this.onChange(geometry.copy(pose));
  }

  choose(joint) {
    this.chosen = joint;
    this.draw();
    const point = this.pose.keypoints[joint];
    const place = point ? `${Math.round(point[0])}, ${Math.round(point[1])}` : "hidden";
    this.status.textContent = `${geometry.JOINTS[joint]}: ${place}`;
  }

  toggleJoint() {
    const shown = this.pose.keypoints[this.chosen];
    this.change(
      shown ? geometry.hidden(this.pose, this.chosen) : geometry.restored(this.pose, this.chosen, this.complete),
    );
  }

  draw() {
    const [height, width] = this.pose.canvas;
    const unit = Math.max(height, width) / 256;
    this.svg.setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
    this.svg.style.setProperty("--aspect", width / height);
    const [left, top, across, down] = this.photoPlace ?? [0, 0, width, height];
    const place = { x: left - 0.5, y: top - 0.5, width: across, height: down };
    for (const [name, value] of Object.entries(place)) this.image.setAttribute(name, value);
    geometry.LIMBS.forEach(([a, b], index) => {
      const [start, end] = [this.pose.keypoints[a], this.pose.keypoints[b]];
      for (const [line, thickness] of [[this.underlays[index], 4.6], [this.limbs[index], 3]]) {
        line.style.display = start && end ? "" : "none";
        if (!start || !end) continue;
        const ends = { x1: start[0], y1: start[1], x2: end[0], y2: end[1], "stroke-width": thickness * unit };
        for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
      }
    });
    this.pose.keypoints.forEach((point, joint) => this.place(this.joints[joint], point, 4 * unit));
    for (const circle of this.joints) circle.setAttribute("stroke-width", 0.8 * unit);
    this.place(this.ring, this.pose.keypoints[this.chosen], 7 * unit);
    this.ring.setAttribute("stroke-width", 1.5 * unit);
    this.select.value = this.chosen;
    this.toggle.textContent = this.pose.keypoints[this.chosen] ? "Hide joint" : "Restore joint";
    this.undoButton.disabled = this.history.at === 0;
    this.redoButton.disabled = this.history.at === this.history.states.length - 1;
    if (document.activeElement?.disabled) (this.undoButton.disabled ? this.redoButton : this.undoButton).focus();
  }

  place(circle, point, radius) {
    circle.style.display = point ? "" : "none";
    if (!point) return;
    for (const [name, value] of Object.entries({ cx: point[0], cy: point[1], r: radius })) circle.setAttribute(name, value);
  }

  /** Where a pointer is, in pixels of the canvas. */
  at(event) {
    const box = this.svg.getBoundingClientRect();
    const [height, width] = this.pose.canvas;
    return [
      ((event.clientX - box.left) / box.width) * width - 0.5,
      ((event.clientY - box.top) / box.height) * height - 0.5,
    ];
  }

  /** The joint under a pointer: the nearest within 22 pixels of the screen, which is half of what a finger needs. */
  nearest(event) {
    const [x, y] = this.at(event);
    const reach = (22 / this.svg.getBoundingClientRect().width) * this.pose.canvas[1];
    const far = this.pose.keypoints.map((point) => (point ? Math.hypot(point[0] - x, point[1] - y) : Infinity));
    const joint = far.indexOf(Math.min(...far));
    return far[joint] <= reach ? joint : null;
  }

  press(event) {
    event.preventDefault();
    this.svg.focus({ preventScroll: true });
    this.svg.setPointerCapture(event.pointerId);
    const joint = this.pointers.size === 0 ? this.nearest(event) : null;
    this.pointers.set(event.pointerId, { place: this.at(event), joint });
    this.before = { pose: this.pose, places: [...this.pointers.values()].map((pointer) => pointer.place) };
    if (joint !== null) this.choose(joint);
  }

  drag(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    pointer.place = this.at(event);
    const pointers = [...this.pointers.values()];
    if (pointers.length === 1 && pointer.joint !== null) {
      this.pose = geometry.dragged(this.before.pose, pointer.joint, pointer.place, this.keep.checked);
    } else if (pointers.length === 1) {
      const [from] = this.before.places;
      this.pose = geometry.moved(this.before.pose, [pointer.place[0] - from[0], pointer.place[1] - from[1]]);
    } else {
      this.pose = pinched(this.before.pose, this.before.places, pointers.map((each) => each.place));
    }
    this.draw();
  }

  release(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.pointers.size) {
      this.before = { pose: this.pose, places: [...this.pointers.values()].map((pointer) => pointer.place) };
      for (const pointer of this.pointers.values()) pointer.joint = null;
    } else {
      this.change(this.pose);
    }
  }

  wheel(event) {
    if (!event.ctrlKey && !event.altKey) return; // the page scrolls
    event.preventDefault();
    const amount = event.deltaY / 1000;
    const about = this.at(event);
    this.change(event.altKey ? geometry.rotated(this.pose, amount, about) : geometry.scaled(this.pose, Math.exp(-amount), about));
  }

  key(event) {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const point = this.pose.keypoints[this.chosen];
    const command = event.ctrlKey || event.metaKey;
    const turn = (by) => this.choose((this.chosen + by + geometry.JOINTS.length) % geometry.JOINTS.length);
    if (event.key in moves && command) {
      this.change(geometry.moved(this.pose, moves[event.key]));
    } else if (event.key in moves && point) {
      const [dx, dy] = moves[event.key];
      this.change(geometry.dragged(this.pose, this.chosen, [point[0] + dx, point[1] + dy], this.keep.checked));
      this.choose(this.chosen);
    } else if (event.key.toLowerCase() === "z" && command) {
      this.show(event.shiftKey ? this.history.redo() : this.history.undo(), true);
    } else if (event.key.toLowerCase() === "y" && command) {
      this.show(this.history.redo(), true);
    } else if (event.key.toLowerCase() === "n" && !command) {
      turn(1);
    } else if (event.key.toLowerCase() === "p" && !command) {
      turn(-1);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.toggleJoint();
    } else {
      return;
    }
    event.preventDefault();
  }
}

/** A pose that follows two fingers: it moves, turns and grows with them. */
export function pinched(pose, [a, b], [c, d]) {
  const [before, after] = [[b[0] - a[0], b[1] - a[1]], [d[0] - c[0], d[1] - c[1]]];
  const factor = Math.hypot(...after) / Math.max(1e-6, Math.hypot(...before));
  const angle = Math.atan2(after[1], after[0]) - Math.atan2(before[1], before[0]);
  const [from, to] = [[(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], [(c[0] + d[0]) / 2, (c[1] + d[1]) / 2]];
  return geometry.moved(geometry.rotated(geometry.scaled(pose, factor, from), angle, from), [to[0] - from[0], to[1] - from[1]]);
}
