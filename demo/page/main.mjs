// The page: a photo on the left, poses in the middle, the result on the right.

import { Refused, UNREACHABLE, call, upload } from "./api.mjs";
import { PoseEditor, make } from "./editor.mjs";
import { csv, rounded } from "./geometry.mjs";
import { PhotoPanel } from "./photo.mjs";
import { Gallery } from "./poses.mjs";
import { ResultPanel, Strip } from "./result.mjs";
import { recall, remember } from "./store.mjs";
import { paragraphs } from "./text.mjs";

const UPLOAD_LIVES_MS = 50 * 60 * 1000; // the server keeps uploads for an hour
const KEPT = 24;

export async function mount(root) {
  const page = new Page(root);
  try {
    await page.start();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    root.prepend(make("p", { class: "note refused", role: "alert" }, error.message));
  }
  return page;
}

class Page {
  constructor(root) {
    this.photo = null; // {id, blob, sent, sentAt, preview, size, people, chosen, turn, box, pose}
    this.history = [];
    this.wanted = null; // {name, pose} of the pose in use
    this.running = null;
    this.build(root);
  }

  async start() {
    const [[presets], [examples], [models]] = await Promise.all([call("presets"), call("examples"), call("models")]);
    this.presets = presets.poses;
    this.gallery.fill(this.presets);
    this.editor = new PoseEditor(this.editorPlace, this.presets[0].pose, () => {});
    this.fillStart();
    this.fillExamples(examples);
    this.fillModels(models);
    await this.bringBack();
  }

  // -- Building the page ------------------------------------------------------------------------------------------

  build(root) {
    const section = (name, title, ...children) => make(
      "section", { class: name, "aria-labelledby": `${name}-title` }, make("h2", { id: `${name}-title` }, title), ...children,
    );
    this.examples = make("div", { class: "examples", role: "group", "aria-label": "Example photos" });
    const photoPlace = make("div", { class: "photo-place" });
    const photo = section("photo-panel", "1. Photo", this.examples, photoPlace, make(
      "p", { class: "consent" },
      "Use photos of people who have agreed to it, and say that a picture is generated. Photos stay on the computer that runs this page.",
    ));
    const galleryPlace = make("div", { class: "gallery-place" });
    this.poseFile = make("input", { type: "file", hidden: true, onchange: () => this.readPose({ file: this.poseFile.files[0] }) });
    const poses = section(
      "pose-panel", "2. Pose", galleryPlace,
      make(
        "div", { class: "tools", role: "group", "aria-label": "Other poses" },
        make("button", { type: "button", onclick: () => this.poseFile.click() }, "From a photo or file"),
        make("button", { type: "button", onclick: () => this.openEditor() }, "Edit"),
        make("button", { type: "button", onclick: () => this.pasteDialog.showModal() }, "Paste JSON"),
        this.poseFile,
      ),
      this.buildSettings(),
    );
    const resultPlace = make("div", { class: "result-place" });
    this.progress = make("div", { class: "progress", hidden: true, role: "status" });
    const stripPlace = make("div", { class: "strip-place" });
    const result = section("result-panel", "3. Result", resultPlace, this.progress, stripPlace, this.buildMany());
    this.photoPanel = new PhotoPanel(photoPlace, {
      file: (file) => this.usePhoto(file),
      turn: (degrees) => this.find({ turn: (this.photo.turn + degrees) % 360, box: null }).then(() => this.photo.people.length && this.again()),
      box: (box) => this.find({ box }).then(() => this.photo.people.length && this.again()),
      person: (index) => this.choosePerson(index),
      pose: (pose) => this.placedByHand(pose),
    });
    this.gallery = new Gallery(galleryPlace, (name, pose) => this.make(name, pose));
    const layout = make("div", { class: "pg2" }, photo, poses, result);
    this.resultPanel = new ResultPanel(resultPlace, layout);
    this.strip = new Strip(stripPlace, (entry) => this.bring(entry));
    const header = make(
      "header", { class: "pg2-head" }, make("h1", {}, "A person in another pose"),
      make("p", {}, "Choose a photo of a person, then a pose: the page paints that person in that pose."),
    );
    root.replaceChildren(
      header, layout, this.buildHow(), ...this.buildDialogs(),
    );
  }

  buildSettings() {
    this.strength = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 1, onchange: () => this.again() });
    this.background = make(
      "select", { onchange: () => this.again() },
      make("option", { value: "photo" }, "of the photo"), make("option", { value: "plain" }, "plain"),
    );
    return make(
      "div", { class: "settings" },
      make("label", {}, "Keep the person's proportions ", this.strength),
      make("label", {}, "Background ", this.background),
    );
  }

  buildMany() {
    const choice = () => make("select", {});
    [this.first, this.last, this.format] = [choice(), choice(), make(
      "select", { "aria-label": "Format" }, make("option", { value: "gif" }, "GIF"), make("option", { value: "mp4" }, "MP4"),
    )];
    this.videoFile = make("input", { type: "file", accept: "video/*,image/gif", hidden: true, onchange: () => this.animateVideo() });
    const button = (text, onclick) => make("button", { type: "button", onclick }, text);
    return make(
      "details", { class: "many" }, make("summary", {}, "Many pictures at once"),
      make("p", {}, button("All poses on one sheet", () => this.sheet())),
      make(
        "div", { class: "tools" }, make("label", {}, "From ", this.first), make("label", {}, "to ", this.last),
        this.format, button("Animate", () => this.animate()),
      ),
      make("p", {}, button("Follow a short video", () => this.videoFile.click()), this.videoFile),
    );
  }

  buildHow() {
    this.model = make("select", { onchange: () => this.describeModel() });
    this.card = make("div", { class: "card" });
    return make(
      "details", { class: "how" }, make("summary", {}, "How it works"),
      make("p", {}, "The first network moves the parts of the body to the new pose and paints a first draft. The second one adds changes that make it look real."),
      this.resultPanel.steps,
      make("label", {}, "Model ", this.model), this.card,
    );
  }

  buildDialogs() {
    this.editorPlace = make("div", { class: "editor-place" });
    this.startFrom = make("select", { onchange: () => this.startEditing() });
    this.editorDialog = make(
      "dialog", { class: "pg2-dialog", "aria-label": "Edit the pose" },
      make("label", {}, "Start from ", this.startFrom), this.editorPlace,
      make(
        "div", { class: "tools" },
        make("button", { type: "button", class: "primary", onclick: () => this.useEdited() }, "Make the picture"),
        make("button", { type: "button", onclick: () => this.save("pose.json", JSON.stringify(rounded(this.editor.pose))) }, "Save as JSON"),
        make("button", { type: "button", onclick: () => this.save("pose.csv", csv(this.editor.pose)) }, "Save as CSV"),
        make("button", { type: "button", onclick: () => this.editorDialog.close() }, "Close"),
      ),
    );
    this.pasted = make("textarea", { rows: 8, "aria-label": "Pose", placeholder: '{"canvas": [256, 256], "keypoints": [[128, 40], null, ...]}' });
    this.pasteDialog = make(
      "dialog", { class: "pg2-dialog", "aria-label": "Paste a pose" },
      make("p", {}, "Paste a pose as JSON: of this page, OpenPose, COCO, a pose editor, MediaPipe and others."), this.pasted,
      make(
        "div", { class: "tools" },
        make("button", { type: "button", class: "primary", onclick: () => this.usePasted() }, "Use it"),
        make("button", { type: "button", onclick: () => this.pasteDialog.close() }, "Close"),
      ),
    );
    return [this.editorDialog, this.pasteDialog];
  }

  fillExamples(examples) {
    const sample = examples.find(({ result }) => result);
    if (sample) this.resultPanel.showSample(sample);
    this.examples.replaceChildren(...examples.map(({ name, url }) => make(
      "button",
      {
        type: "button", "aria-label": `Example: ${name}`,
        onclick: () => this.guarded(this.photoPanel, async () => this.usePhoto(await fetched(url))),
      },
      make("img", { src: url, alt: "" }),
    )));
  }

  fillModels(models) {
    this.models = models;
    this.model.replaceChildren(...models.map(({ name }) => make("option", { value: name }, name)));
    this.describeModel();
  }

  describeModel() {
    const { text } = this.models.find(({ name }) => name === this.model.value);
    this.card.replaceChildren(...paragraphs(text));
  }

  fillStart() {
    const options = this.presets.map(({ name }) => make("option", { value: name }, name));
    this.startFrom.replaceChildren(
      make("option", { value: "used" }, "the pose in use"), make("option", { value: "photo" }, "the photo's own pose"), ...options,
    );
    for (const choice of [this.first, this.last]) choice.replaceChildren(...options.map((option) => option.cloneNode(true)));
    this.last.value = this.presets[Math.min(5, this.presets.length - 1)].name;
  }

  // -- The photo --------------------------------------------------------------------------------------------------

  async usePhoto(blob) {
    const before = this.photo;
    const photo = { id: `${Date.now()}-${Math.random()}`, blob, turn: 0, box: null, people: [], chosen: 0 };
    this.photo = photo;
    this.resultPanel.dim();
    await this.find({});
    if (photo !== this.photo) return;
    if (!photo.size) { // it was refused: the photo before it stays in use
      this.photo = before;
      this.resultPanel.dim(this.shown?.photo !== before?.id);
      return;
    }
    this.strip.fill(this.history, photo.id);
    if (this.wanted && photo.people.length) await this.make(this.wanted.name, this.wanted.pose);
  }

  async sent() {
    if (!this.photo.sent || Date.now() - this.photo.sentAt > UPLOAD_LIVES_MS) {
      this.photo.sent = await upload(this.photo.blob);
      this.photo.sentAt = Date.now();
    }
    return this.photo.sent;
  }

  /** Look for people in the photo, or again in a part of it. */
  async find({ turn = this.photo.turn, box = this.photo.box }) {
    const { photo } = this;
    Object.assign(photo, { turn, box, pose: null });
    this.photoPanel.say("Looking for people …");
    await this.guarded(this.photoPanel, async () => {
      const [found] = await call("find_people", { photo: await this.sent(), turn, box });
      if (photo !== this.photo) return;
      const preview = await fetched(found.preview);
      Object.assign(photo, { size: found.size, people: found.people, chosen: found.chosen, preview });
      this.photoPanel.show(URL.createObjectURL(preview), found.size);
      this.photoPanel.drawPeople(found.people, found.chosen);
      const turnIt = ["Turn it", () => this.find({ turn: (turn + found.turn) % 360, box: null })];
      const allOfIt = ["Look at the whole photo", () => this.find({ box: null })];
      const words = found.notes.join(" ") || (box ? "Only the selected area is used to find the person." : "");
      this.photoPanel.say(words, false, [...(found.turn ? [turnIt] : []), ...(box ? [allOfIt] : [])]);
      if (!found.people.length) this.resultPanel.dim();
    });
  }

  choosePerson(index) {
    this.photo.chosen = index;
    this.photoPanel.drawPeople(this.photo.people, index);
    this.again();
  }

  placedByHand(pose) {
    this.photo.pose = pose;
    this.photo.people = [{ pose, box: boxOf(pose) }];
    this.photo.chosen = 0;
    this.photoPanel.drawPeople(this.photo.people, 0);
    this.photoPanel.say("Choose a pose.");
    this.again();
  }

  // -- The picture ------------------------------------------------------------------------------------------------

  async choice() {
    const { turn, box, pose, people, chosen } = this.photo;
    return {
      photo: await this.sent(), turn, box, photo_pose: pose, person: people.length > 1 ? chosen + 1 : 0,
      strength: Number(this.strength.value), background: this.background.value, model: this.model.value,
    };
  }

  again() {
    if (this.wanted) this.make(this.wanted.name, this.wanted.pose);
  }

  async make(name, pose) {
    this.wanted = { name, pose };
    this.gallery.mark(name);
    if (!this.photo) {
      this.resultPanel.say("Choose a photo first: click an example, or use one of yours.");
      return;
    }
    await this.work("Making the picture …", async (signal) => {
      const [image, details] = await call("repose", { ...(await this.choice()), pose }, { signal });
      const blob = await fetched(image.url);
      this.keep({ name, pose, blob, details, photo: this.photo.id, photoBlob: this.photo.blob, choice: this.choiceKept() });
    });
  }

  choiceKept() {
    const { turn, box, pose, people, chosen, size, preview } = this.photo;
    return { turn, box, pose, people, chosen, size, preview, strength: this.strength.value, background: this.background.value };
  }

  keep(entry) {
    entry.url = URL.createObjectURL(entry.blob);
    this.history = [entry, ...this.history].slice(0, KEPT);
    this.shown = entry;
    this.resultPanel.show(entry);
    this.resultPanel.reveal();
    this.strip.fill(this.history, this.photo.id);
    remember(this.history.map(({ url, ...kept }) => kept));
  }

  async bringBack() {
    const kept = await recall();
    if (!kept?.length) return;
    this.history = kept.map((entry) => ({ ...entry, url: URL.createObjectURL(entry.blob) }));
    await this.bring(this.history[0]);
  }

  /** Photo, pose and result as they were. */
  async bring(entry) {
    if (this.photo?.id !== entry.photo) {
      this.photo = { id: entry.photo, blob: entry.photoBlob };
    }
    Object.assign(this.photo, entry.choice);
    this.strength.value = entry.choice.strength;
    this.background.value = entry.choice.background;
    this.photoPanel.show(URL.createObjectURL(this.photo.preview), this.photo.size);
    this.photoPanel.drawPeople(this.photo.people, this.photo.chosen);
    this.photoPanel.say("");
    this.wanted = { name: entry.name, pose: entry.pose };
    this.gallery.mark(entry.name);
    this.shown = entry;
    this.resultPanel.show(entry);
    this.strip.fill(this.history, this.photo.id);
  }

  // -- Other poses ------------------------------------------------------------------------------------------------

  async readPose({ file = null, text = null }) {
    if (!file && !text) return;
    await this.guarded(this.resultPanel, async () => {
      const sent = file ? await upload(file, `pose${/\.[^.]*$/.exec(file.name)?.[0] ?? ""}`) : null;
      const [{ poses, notes, recipe }] = await call("read_pose", { file: sent, text: text ?? "" });
      await this.make(file ? "from a file" : "pasted", poses[0]);
      if (notes.length) this.resultPanel.say(notes[0]);
      // Only the user knows whether this is the photo that the picture was made from.
      if (recipe && this.photo) {
        const again = ["Make it again exactly", () => this.replay(sent, poses[0])];
        this.photoPanel.say("The pose is from a picture made here. Was it made from this photo?", false, [again]);
      }
    });
    this.poseFile.value = "";
  }

  /** A picture that was made here, made again from the photo in use. */
  async replay(recipe, pose) {
    await this.work("Making the picture again …", async (signal) => {
      const [image, details] = await call("replay", { photo: await this.sent(), recipe }, { signal });
      const blob = await fetched(image.url);
      this.photoPanel.say("");
      this.wanted = { name: "again", pose };
      this.gallery.mark(null);
      this.keep({ name: "again", pose, blob, details, photo: this.photo.id, photoBlob: this.photo.blob, choice: this.choiceKept() });
    });
  }

  async usePasted() {
    this.pasteDialog.close();
    await this.readPose({ text: this.pasted.value });
  }

  openEditor() {
    this.startFrom.value = this.wanted ? "used" : this.presets[0].name;
    this.startEditing();
    this.editorDialog.showModal();
  }

  startEditing() {
    const shown = this.shown && this.shown.photo === this.photo?.id ? this.shown.details : null;
    const person = this.photo?.people[this.photo.chosen]?.pose;
    const named = this.presets.find(({ name }) => name === this.startFrom.value)?.pose;
    const whole = !shown && this.startFrom.value === "photo" && person;
    this.editor.load(named ?? (this.startFrom.value === "photo" ? shown?.photo_pose ?? person : shown?.pose ?? this.wanted?.pose) ?? this.presets[0].pose);
    if (whole) this.editor.setPhoto(URL.createObjectURL(this.photo.preview));
    else this.editor.setPhoto(named || !shown ? null : shown.stages.used);
  }

  async useEdited() {
    this.editorDialog.close();
    await this.make("edited", this.editor.pose);
  }

  save(name, text) {
    const link = make("a", { href: URL.createObjectURL(new Blob([text])), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // -- Many -------------------------------------------------------------------------------------------------------

  sheet() {
    return this.many("contact_sheet", {}, "pg2-poses.png");
  }

  animate() {
    const pose = (choice) => this.presets.find(({ name }) => name === choice.value).pose;
    const format = this.format.value;
    return this.many("animate", { first: pose(this.first), last: pose(this.last), format }, `pg2-animation.${format}`);
  }

  async animateVideo() {
    const [file] = this.videoFile.files;
    this.videoFile.value = "";
    if (file) await this.many("animate_video", { format: this.format.value }, `pg2-animation.${this.format.value}`, file);
  }

  async many(endpoint, more, name, video = null) {
    if (!this.photo) {
      this.resultPanel.say("Choose a photo first: click an example, or use one of yours.");
      return;
    }
    await this.work("Making pictures …", async (signal) => {
      const args = { ...(await this.choice()), ...more };
      if (video) args.video = await upload(video, `video${/\.[^.]*$/.exec(video.name)?.[0] ?? ".mp4"}`);
      const onProgress = ([, state]) => state && this.showProgress(state);
      const [file] = await call(endpoint, args, { onProgress, signal });
      this.resultPanel.showFile(URL.createObjectURL(await fetched(file.url)), name, name.endsWith(".mp4"));
      this.resultPanel.reveal();
    });
  }

  showProgress({ done, of }) {
    this.progress.firstChild.textContent = of ? `${done} of ${of} pictures` : `Looking at the video: frame ${done}`;
    this.progress.style.setProperty("--done", `${(100 * done) / Math.max(1, of)}%`);
  }

  // -- Work that can be cancelled and can fail ----------------------------------------------------------------------

  /** Do something that takes a while; what is still running is cancelled. */
  async work(words, action) {
    this.running?.abort();
    const controller = new AbortController();
    this.running = controller;
    this.progress.hidden = false;
    this.progress.style.setProperty("--done", "0%");
    this.progress.replaceChildren(
      make("span", {}, words), make("button", { type: "button", onclick: () => controller.abort() }, "Cancel"),
    );
    await this.guarded(this.resultPanel, () => action(controller.signal));
    if (this.running === controller) {
      this.progress.hidden = true;
      this.running = null;
    }
  }

  /** A refusal is said where it belongs; the last good picture stays. */
  async guarded(panel, action) {
    try {
      await action();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      panel.say(error.message, true);
    }
  }
}

async function fetched(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new Refused(UNREACHABLE);
  }
  if (!answer.ok) throw new Refused("The picture is no longer kept. Make it again.");
  return answer.blob();
}

function boxOf({ keypoints }) {
  const [x, y] = [0, 1].map((axis) => keypoints.filter(Boolean).map((point) => point[axis]));
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}
