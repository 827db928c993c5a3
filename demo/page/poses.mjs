// The gallery of poses: one tab stop, arrow keys, a click makes the picture.

import { make } from "./editor.mjs";
import { skeleton } from "./photo.mjs";

export class Gallery {
  /** @param {(name: string, pose: object) => void} onChoose */
  constructor(root, onChoose) {
    this.onChoose = onChoose;
    this.list = make("div", { class: "gallery", role: "radiogroup", "aria-label": "Poses" });
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.buttons = [];
    this.legend = make("p", { class: "quiet", hidden: true }, make("small", {}, "hard"), " often comes out badly");
    root.append(this.list, this.legend);
  }

  /** @param {{name: string, pose: object, hard: boolean}[]} poses */
  fill(poses) {
    this.buttons = poses.map(({ name, pose, hard }, index) => make(
      "button",
      {
        type: "button", role: "radio", "aria-checked": "false", tabindex: index === 0 ? 0 : -1,
        "aria-label": hard ? `${name}, often comes out badly` : name,
        onclick: () => this.choose(index),
      },
      thumbnail(pose), make("span", {}, name), ...(hard ? [make("small", {}, "hard")] : []),
    ));
    this.poses = poses;
    this.list.replaceChildren(...this.buttons);
    this.legend.hidden = !poses.some(({ hard }) => hard);
  }

  focus() {
    this.buttons.find((button) => button.tabIndex === 0).focus();
  }

  choose(index) {
    this.mark(this.poses[index].name);
    this.onChoose(this.poses[index].name, this.poses[index].pose);
  }

  /** Show which pose is in use; null when it is none of the gallery. */
  mark(name) {
    this.buttons?.forEach((button, index) => {
      const chosen = this.poses[index].name === name;
      button.setAttribute("aria-checked", chosen);
      if (chosen) this.reach(index, false);
    });
  }

  reach(index, focus = true) {
    this.buttons.forEach((button, other) => button.setAttribute("tabindex", other === index ? 0 : -1));
    if (focus) this.buttons[index].focus();
  }

  key(event) {
    const at = this.buttons.indexOf(document.activeElement);
    const columns = this.columns();
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    let next = null;
    if (event.key in steps) next = at + steps[event.key];
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = this.buttons.length - 1;
    if (next === null || at < 0) return;
    event.preventDefault();
    if (next >= 0 && next < this.buttons.length) this.reach(next);
  }

  columns() {
    const top = this.buttons[0].offsetTop;
    const row = this.buttons.filter((button) => button.offsetTop === top);
    return Math.max(1, row.length);
  }
}

/** A pose as a small picture. */
export function thumbnail(pose) {
  const [height, width] = pose.canvas;
  const picture = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  picture.append(...skeleton(pose, Math.max(height, width) / 110));
  return picture;
}
