// The result: beside the photo with a slider between them, and how it was made.

import { make, refill } from "./editor.mjs";
import { skeleton } from "./photo.mjs";

export class ResultPanel {
  /**
   * @param {HTMLElement} place is filled with the panel.
   * @param {HTMLElement} root gets the class "made" as soon as there is a result.
   */
  constructor(place, root) {
    this.root = root;
    this.before = make("img", { class: "before", alt: "" });
    this.after = make("img", { class: "after", alt: "The result" });
    this.overlay = make("svg", { class: "overlay", "aria-hidden": "true", preserveAspectRatio: "none" });
    this.slider = make("input", {
      type: "range", min: 0, max: 100, value: 0, class: "compare", "aria-label": "Compare with the photo",
      oninput: () => this.compare(),
    });
    this.stage = make("div", { class: "result-stage" }, this.after, this.before, this.overlay, this.slider);
    this.placeholder = make("div", { class: "placeholder" }, make("p", {}, "The picture appears here."));
    this.poseShown = make("input", { type: "checkbox", onchange: () => this.drawPose() });
    this.poseLabel = make("label", { class: "check" }, this.poseShown, " Show the pose");
    this.download = make("a", { class: "button primary", download: "pg2-result.png" }, "Download");
    this.badge = make("span", { class: "badge" });
    this.actions = make(
      "div", { class: "tools", hidden: true },
      this.download, this.poseLabel, this.badge,
    );
    this.note = make("div", { class: "note", role: "status" });
    this.announcement = make("p", { class: "visually-hidden", role: "status" });
    this.stage.hidden = true;
    place.append(this.placeholder, this.stage, this.actions, this.note, this.announcement);
    this.say("");
    this.steps = make("div", { class: "steps" });
  }

  /** A result that was made before anybody asked, so that the page shows what it does. */
  showSample({ url, result, pose }) {
    this.placeholder.replaceChildren(
      make(
        "div", { class: "sample" }, make("img", { src: url, alt: "An example photo" }),
        make("span", { "aria-hidden": "true" }, "→"), make("img", { src: result, alt: `Its result: ${pose}` }),
      ),
      make("p", {}, `A photo, and its result for “${pose}”. Click an example, then a pose.`),
    );
  }

  /** @param {{url: string, details: object}} result */
  show({ url, details, name }) {
    this.details = details;
    this.download.setAttribute("download", "pg2-result.png");
    this.root.classList.add("made");
    const [height, width] = details.canvas;
    this.stage.style.setProperty("--aspect", width / height);
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.after.src = url;
    this.after.alt = `The result: ${name}`;
    this.before.src = details.stages.used;
    this.slider.value = 0;
    this.compare();
    this.drawPose();
    this.download.href = url;
    this.stage.hidden = this.actions.hidden = this.poseLabel.hidden = false;
    this.placeholder.hidden = true;
    this.stage.classList.remove("stale");
    this.showBadge(details);
    this.say(details.notes[0] ?? "");
    this.announcement.textContent = `The picture is there: ${name}. ${this.badge.hidden ? "" : this.badge.textContent}`;
    this.showSteps(details);
  }

  /** A picture of its own kind, such as a contact sheet or an animation. */
  showFile(url, name) {
    this.stage.hidden = true;
    this.placeholder.hidden = false;
    if (name.endsWith(".mp4")) {
      const video = make("video", { controls: true, loop: true, playsinline: true, "aria-label": "The result" });
      Object.assign(video, { muted: true, autoplay: !still(), src: url }); // muted videos may start by themselves
      this.placeholder.replaceChildren(video);
    } else {
      const words = { target: "_blank", title: "Show it in full size", "aria-label": "The result, in full size" };
      this.placeholder.replaceChildren(make("a", { href: url, ...words }, make("img", { src: url, alt: "" })));
    }
    this.root.classList.add("made");
    this.actions.hidden = false;
    this.announcement.textContent = "The pictures are there.";
    this.badge.hidden = this.poseLabel.hidden = true;
    this.download.href = url;
    this.download.setAttribute("download", name);
    this.say("");
  }

  compare() {
    const share = Number(this.slider.value);
    this.before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    this.stage.style.setProperty("--share", `${share}%`);
    this.stage.classList.toggle("comparing", share > 0);
  }

  drawPose() {
    const pose = this.details?.pose;
    this.overlay.replaceChildren(
      ...(pose && this.poseShown.checked ? skeleton(pose, Math.max(...pose.canvas) / 256) : []),
    );
  }

  showBadge({ pose_distance: distance }) {
    this.badge.hidden = distance === null || distance === undefined;
    if (this.badge.hidden) return;
    this.badge.textContent = `Pose ${distance <= 0.5 ? "reached" : "missed"}: off by ${heads(distance)}`;
    this.badge.classList.toggle("bad", distance > 0.5);
    this.badge.title = "The pose was looked for again in the result and compared with the one you asked for.";
  }

  showSteps({ stages }) {
    const steps = [
      [stages.used, "What we used"],
      [stages.pose, "Pose we drew"],
      [stages.draft, "First draft"],
      [stages.changes, stages.changes_factor ? `Changes, ${stages.changes_factor} times as strong` : "Changes: none"],
      [stages.mask, "Where the body is"],
    ];
    this.steps.replaceChildren(...steps.filter(([url]) => url).map(([url, words]) => (
      make("figure", {}, make("img", { src: url, alt: "" }), make("figcaption", {}, words))
    )));
  }

  /** The last good picture stays, dimmed, while another photo is in use. */
  dim(stale = true) {
    if (!this.root.classList.contains("made")) return; // a sample belongs to no photo
    for (const place of [this.stage, this.placeholder]) place.classList.toggle("stale", stale);
  }

  /** On a phone the place of the result may be out of sight. */
  reveal() {
    (this.stage.hidden ? this.placeholder : this.stage).scrollIntoView({ block: "nearest", behavior: still() ? "auto" : "smooth" });
  }

  say(text, refused = false) {
    this.note.setAttribute("role", refused ? "alert" : "status");
    this.note.classList.toggle("refused", refused);
    this.note.replaceChildren(text);
    this.note.hidden = !text;
  }
}

/** A distance in words: a share of a head up to one head. */
export function heads(distance) {
  if (distance <= 1) return `${Math.round(100 * distance)} % of a head`;
  return `${distance.toFixed(1)} heads`;
}

function still() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** The results of this session as a strip of pictures; a click brings one back. */
export class Strip {
  constructor(root, onChoose) {
    this.onChoose = onChoose;
    this.list = make("div", { class: "strip", role: "group", "aria-label": "Results so far" });
    root.append(this.list);
  }

  fill(entries, photo, shown) {
    this.list.hidden = !entries.length;
    refill(this.list, ...entries.map((entry) => make(
      "button",
      {
        type: "button", "aria-label": `Result: ${entry.name}`, class: entry.photo === photo ? "" : "stale",
        "aria-current": entry === shown,
        onclick: () => this.onChoose(entry),
      },
      entry.file?.endsWith(".mp4")
        ? make("video", { src: entry.url, preload: "metadata", playsinline: true })
        : make("img", { src: entry.url, alt: "" }),
    )));
  }
}
