// The page: a photo on the left, poses in the middle, the result on the right.

import { Refused, UNREACHABLE, call, upload } from "./api.mjs";
import { Camera } from "./camera.mjs";
import { PoseEditor, make } from "./editor.mjs";
import { closeUp, csv, fitted, moved, rounded } from "./geometry.mjs";
import { PhotoPanel } from "./photo.mjs";
import { Gallery } from "./poses.mjs";
import { ResultPanel, Strip } from "./result.mjs";
import { forget, recall, remember } from "./store.mjs";
import { paragraphs } from "./text.mjs";

const UPLOAD_LIVES_MS = 50 * 60 * 1000; // the server keeps uploads for an hour
const KEPT = 24;
const NO_PHOTO = "Choose a photo first: click an example, or use one of yours.";

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
    this.looking = null; // while people are looked for
    this.found = null; // settles when they are found
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
    this.poseFile = make("input", { type: "file", hidden: true, onchange: () => this.readPose(this.poseFile.files[0]) });
    const poses = section(
      "pose-panel", "2. Pose", galleryPlace,
      make(
        "div", { class: "tools", role: "group", "aria-label": "Other poses" },
        make("button", { type: "button", onclick: () => this.poseFile.click() }, "From a photo or file"),
        make("button", { type: "button", onclick: () => this.openEditor() }, "Edit"),
        make("button", { type: "button", onclick: () => this.openPaste() }, "Paste JSON"),
        this.poseFile,
      ),
      this.buildSettings(),
    );
    const resultPlace = make("div", { class: "result-place" });
    this.progress = make("div", { class: "progress", hidden: true, role: "status" });
    this.forgetButton = make("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.forget() }, "Delete these pictures");
    const stripPlace = make("div", { class: "strip-place" });
    const result = section("result-panel", "3. Result", resultPlace, this.progress, stripPlace, this.buildMany());
    this.photoPanel = new PhotoPanel(photoPlace, {
      file: (file) => this.usePhoto(file),
      camera: () => this.guarded(this.photoPanel, () => this.camera.open()),
      turn: (degrees) => this.lookAgain({ turn: (this.photo.turn + degrees) % 360, box: null }),
      box: (box) => this.lookAgain({ box }),
      person: (index) => this.choosePerson(index),
      pose: (pose) => this.placedByHand(pose),
      redraw: () => this.drawPeople(),
    });
    this.camera = new Camera((photo) => this.usePhoto(photo));
    this.gallery = new Gallery(galleryPlace, (name, pose) => this.make(name, pose));
    this.layout = make("div", { class: "pg2" }, photo, poses, result);
    this.resultPanel = new ResultPanel(resultPlace, this.layout);
    this.strip = new Strip(stripPlace, (entry) => this.bring(entry));
    stripPlace.append(this.forgetButton);
    const header = make(
      "header", { class: "pg2-head" }, make("h1", {}, "A person in another pose"),
      make("p", {}, "Choose a photo of a person, then a pose: the page paints that person in that pose."),
    );
    root.replaceChildren(
      header, this.layout, this.buildHow(), this.camera.dialog, ...this.buildDialogs(),
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
      make("p", {}, "As a moving picture:"),
      make(
        "div", { class: "moving" }, make("label", {}, "From ", this.first), make("label", {}, "to ", this.last),
        make("label", {}, "as ", this.format), button("Animate", () => this.animate()),
      ),
      make("p", {}, button("Copy the moves of a short video", () => this.videoFile.click()), this.videoFile),
    );
  }

  buildHow() {
    this.model = make("select", { onchange: () => (this.describeModel(), this.again()) });
    this.card = make("div", { class: "card" });
    return make(
      "details", { class: "how" }, make("summary", {}, "How it works"),
      make("p", {}, "The first network moves the parts of the body to the new pose and paints a first draft. The second one adds changes that make it look real."),
      this.resultPanel.steps,
      make("p", {}, "The label below a result tells how far the joints that were found again in it are, on average, from those of the pose, compared with the height of a head."),
      make("label", {}, "Model ", this.model), this.card,
    );
  }

  buildDialogs() {
    this.editorPlace = make("div", { class: "editor-place" });
    this.startFrom = make("select", { onchange: () => this.startEditing() });
    this.startFile = make("input", { type: "file", hidden: true, onchange: () => this.editFile() });
    this.editorNote = make("div", { class: "note refused", role: "alert" });
    this.pasteNote = make("div", { class: "note refused", role: "alert" });
    this.editorDialog = make(
      "dialog", { class: "pg2-dialog", "aria-label": "Edit the pose" },
      make(
        "div", { class: "tools" }, make("label", {}, "Start from ", this.startFrom),
        make("button", { type: "button", onclick: () => this.startFile.click() }, "Open a file"), this.startFile,
      ),
      this.editorNote, this.editorPlace,
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
      make("p", {}, "Paste a pose that was saved as JSON: by this page, OpenPose, COCO, a pose editor, MediaPipe and others."),
      this.pasted, this.pasteNote,
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
    this.layout.classList.add("chosen");
    const before = this.photo;
    const photo = { id: `${Date.now()}-${Math.random()}`, blob, turn: 0, box: null, people: [], chosen: 0 };
    this.photo = photo;
    this.resultPanel.dim();
    await this.find({});
    if (photo !== this.photo) return;
    if (!photo.size) { // it was refused: the photo before it stays in use
      this.photo = before;
      this.layout.classList.toggle("chosen", Boolean(before));
      this.resultPanel.dim(this.shown?.photo !== before?.id);
      return;
    }
    this.fillStrip();
    if (!photo.lying) this.again(); // otherwise it is turned first
  }

  async sent() {
    if (!this.photo.sent || Date.now() - this.photo.sentAt > UPLOAD_LIVES_MS) {
      this.photo.sent = await upload(this.photo.blob);
      this.photo.sentAt = Date.now();
    }
    return this.photo.sent;
  }

  /** Look for people in the photo, or again in a part of it. */
  find(changes) {
    this.found = this.search(changes);
    return this.found;
  }

  async search({ turn = this.photo.turn, box = this.photo.box }) {
    const { photo } = this;
    const current = Symbol("find");
    this.looking = current;
    Object.assign(photo, { turn, box, pose: null });
    this.photoPanel.say("Looking for people …");
    await this.guarded(this.photoPanel, async () => {
      const [found] = await call("find_people", { photo: await this.sent(), turn, box });
      if (this.looking !== current) return;
      const preview = await fetched(found.preview);
      Object.assign(photo, { size: found.size, people: found.people, chosen: found.chosen, preview, lying: found.turn > 0 });
      this.photoPanel.show(URL.createObjectURL(preview), found.size);
      this.drawPeople();
      const turnIt = ["Turn it", () => this.lookAgain({ turn: (turn + found.turn) % 360, box: null })];
      const allOfIt = ["Look at the whole photo", () => this.lookAgain({ box: null })];
      const words = found.notes.join(" ") || (box ? "Only the marked area is used to find the person." : "");
      this.photoPanel.say(words, false, [...(found.turn ? [turnIt] : []), ...(box ? [allOfIt] : [])]);
      if (!found.people.length) this.resultPanel.dim();
    });
    if (this.looking === current) this.looking = null;
  }

  /** Look again, and show whoever is found in the pose that is in use. */
  async lookAgain(changes) {
    await this.find(changes);
    this.again();
  }

  drawPeople() {
    const { people, chosen, box } = this.photo;
    this.photoPanel.drawPeople(people, chosen, box);
  }

  choosePerson(index) {
    this.photo.chosen = index;
    this.drawPeople();
    this.again();
  }

  placedByHand(pose) {
    Object.assign(this.photo, { pose, people: [{ pose, box: boxOf(pose) }], chosen: 0 });
    this.drawPeople();
    this.photoPanel.say(this.wanted ? "" : "Choose a pose.");
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

  /** Make the pose in use again, if there is one and somebody to show in it. */
  again() {
    if (this.wanted && !this.looking && this.photo?.people.length) this.make(this.wanted.name, this.wanted.pose);
  }

  async make(name, pose) {
    this.wanted = { name, pose };
    this.gallery.mark(name);
    if (!this.photo) {
      this.resultPanel.say(NO_PHOTO);
      return;
    }
    if (this.looking) return; // the picture is made as soon as somebody is found
    await this.work("Making the picture …", async (signal, made) => {
      const [image, details] = await call("repose", { ...(await this.choice()), pose }, { signal });
      this.keep({ ...made, name, pose, details, blob: await fetched(image.url) });
    });
  }

  /** What belongs to a picture that is made now. */
  inUse() {
    const { id, blob, turn, box, pose, people, chosen, size, preview } = this.photo;
    return {
      photo: id, photoBlob: blob,
      choice: { turn, box, pose, people, chosen, size, preview, strength: this.strength.value, background: this.background.value },
    };
  }

  keep(entry) {
    entry.url = URL.createObjectURL(entry.blob);
    this.history = [entry, ...this.history].slice(0, KEPT);
    this.show(entry);
    this.resultPanel.reveal();
    this.fillStrip();
    remember(this.history.map(({ url, ...kept }) => kept));
  }

  show(entry) {
    this.shown = entry;
    if (entry.file) this.resultPanel.showFile(entry.url, entry.file);
    else this.resultPanel.show(entry);
    this.resultPanel.dim(entry.photo !== this.photo.id);
  }

  fillStrip() {
    this.strip.fill(this.history, this.photo?.id, this.shown);
    this.forgetButton.hidden = !this.history.length;
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
    this.looking = null;
    this.layout.classList.add("chosen");
    Object.assign(this.photo, entry.choice);
    this.strength.value = entry.choice.strength;
    this.background.value = entry.choice.background;
    this.photoPanel.show(URL.createObjectURL(this.photo.preview), this.photo.size);
    this.drawPeople();
    this.photoPanel.say("");
    if (!entry.file) {
      this.wanted = { name: entry.name, pose: entry.pose };
      this.gallery.mark(entry.name);
    }
    this.show(entry);
    this.fillStrip();
  }

  /** Delete what this browser keeps; the picture that is shown stays until the page is closed. */
  async forget() {
    if (!confirm("Delete all pictures and photos of this page from this browser?")) return;
    this.history = [];
    await forget();
    this.fillStrip();
    this.resultPanel.say("The pictures are deleted from this browser.");
    this.gallery.focus();
  }

  // -- Other poses ------------------------------------------------------------------------------------------------

  async readPose(file) {
    if (!file) return;
    this.resultPanel.say("Looking for the pose …");
    await this.guarded(this.resultPanel, async () => {
      const sent = await sentPose(file);
      const [{ poses, notes, recipe }] = await call("read_pose", { file: sent });
      await this.make("from a file", poses[0]);
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
    await this.work("Making the picture again …", async (signal, made) => {
      const [image, details] = await call("replay", { photo: await this.sent(), recipe }, { signal });
      const blob = await fetched(image.url);
      this.photoPanel.say("");
      this.wanted = { name: "again", pose };
      this.gallery.mark(null);
      this.keep({ ...made, name: "again", pose, details, blob });
    });
  }

  openPaste() {
    this.pasteNote.replaceChildren();
    this.pasteDialog.showModal();
  }

  async usePasted() {
    await this.guarded({ say: (text) => this.pasteNote.replaceChildren(text) }, async () => {
      const [{ poses }] = await call("read_pose", { text: this.pasted.value });
      this.pasteDialog.close();
      await this.make("pasted", poses[0]);
    });
  }

  openEditor() {
    this.editorNote.replaceChildren();
    this.startFrom.value = this.wanted ? "used" : this.presets[0].name;
    this.startEditing();
    this.editorDialog.showModal();
  }

  /** Lay the chosen pose over the person: over what the model sees once there is a result, otherwise over the photo. */
  startEditing() {
    const named = this.presets.find(({ name }) => name === this.startFrom.value)?.pose;
    const made = [this.shown, ...this.history].find((entry) => entry?.details && entry.photo === this.photo?.id);
    const person = this.photo?.people[this.photo.chosen]?.pose;
    let [own, photo, place] = [null, null, null];
    if (made) {
      [own, photo] = [made.details.photo_pose, made.details.stages.used];
    } else if (person) {
      const [left, top, width, height] = closeUp(person);
      own = { ...moved(person, [-left, -top]), canvas: [height, width] };
      [photo, place] = [URL.createObjectURL(this.photo.preview), [-left, -top, this.photo.size[1], this.photo.size[0]]];
    }
    if (this.startFrom.value === "photo" && own) this.editor.load(own);
    else if (this.startFrom.value === "used" && made) this.editor.load(made.details.pose);
    else {
      const pose = named ?? this.wanted?.pose ?? this.presets[0].pose;
      this.editor.load(own ? fitted(pose, own) : pose);
    }
    this.editor.setPhoto(photo, place);
  }

  async editFile() {
    const [file] = this.startFile.files;
    this.startFile.value = "";
    if (!file) return;
    await this.guarded({ say: (text) => this.editorNote.replaceChildren(text) }, async () => {
      const [{ poses }] = await call("read_pose", { file: await sentPose(file) });
      this.editorNote.replaceChildren();
      this.editor.load(poses[0]);
      this.editor.setPhoto(null);
    });
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
    return this.many("contact_sheet", {}, "All poses", "pg2-poses.png");
  }

  animate() {
    const pose = (choice) => this.presets.find(({ name }) => name === choice.value).pose;
    const format = this.format.value;
    const name = `${this.first.value} to ${this.last.value}`;
    return this.many("animate", { first: pose(this.first), last: pose(this.last), format }, name, `pg2-animation.${format}`);
  }

  async animateVideo() {
    const [file] = this.videoFile.files;
    this.videoFile.value = "";
    const format = this.format.value;
    if (file) await this.many("animate_video", { format }, "moves of a video", `pg2-animation.${format}`, file);
  }

  async many(endpoint, more, name, fileName, video = null) {
    await this.found;
    if (!this.photo) {
      this.resultPanel.say(NO_PHOTO);
      return;
    }
    await this.work("Making pictures …", async (signal, made) => {
      const args = { ...(await this.choice()), ...more };
      if (video) args.video = await upload(video, `video${/\.[^.]*$/.exec(video.name)?.[0] ?? ".mp4"}`);
      const onProgress = ([, state]) => state && this.showProgress(state);
      const [file] = await call(endpoint, args, { onProgress, signal });
      this.keep({ ...made, name, pose: null, details: null, file: fileName, blob: await fetched(file.url) });
    });
  }

  showProgress({ done, of }) {
    this.progress.firstChild.textContent = of ? `${done} of ${of} pictures` : `Looking at the video: frame ${done}`;
    this.progress.style.setProperty("--done", `${of ? (100 * done) / of : 0}%`);
  }

  // -- Work that can be cancelled and can fail ----------------------------------------------------------------------

  /** Do something that takes a while for the photo in use; what is still running is cancelled. */
  async work(words, action) {
    this.running?.abort();
    const controller = new AbortController();
    this.running = controller;
    const [made, focused] = [this.inUse(), document.activeElement];
    this.resultPanel.say("");
    this.progress.hidden = false;
    this.progress.style.setProperty("--done", "0%");
    this.progress.replaceChildren(
      make("span", {}, words), make("button", { type: "button", onclick: () => controller.abort() }, "Cancel"),
    );
    this.progress.scrollIntoView({ block: "nearest" });
    await this.guarded(this.resultPanel, () => action(controller.signal, made));
    if (this.running === controller) {
      if (this.progress.contains(document.activeElement)) focused.focus({ preventScroll: true });
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

/** A file with a pose, sent; only the end of its name is told. */
function sentPose(file) {
  return upload(file, `pose${/\.[^.]*$/.exec(file.name)?.[0] ?? ""}`);
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
