// The camera of this computer: a live picture in a dialog, and a photo of it at once or after some seconds.

import { Refused } from "./api.mjs";
import { make } from "./editor.mjs";

const DELAY_S = 5; // to step back, so that head and feet are in the picture

const REASONS = {
  NotAllowedError: "The browser does not allow the camera. Allow it beside the address bar, then try again.",
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotReadableError: "The camera does not answer: another program may be using it. Close that, then try again.",
};
const CLOSED = "The browser opens the camera only for a page of this computer, or one with https. Choose a photo instead.";

export class Camera {
  /** @param {(photo: Blob) => void} onPhoto */
  constructor(onPhoto) {
    this.onPhoto = onPhoto;
    this.video = make("video", { muted: true, playsinline: true });
    this.count = make("p", { class: "count", role: "status" });
    const button = (text, onclick, name = "") => make("button", { type: "button", class: name, onclick }, text);
    this.dialog = make(
      "dialog", { class: "pg2-dialog", "aria-label": "Camera", onclose: () => this.stop() },
      make("div", { class: "viewfinder" }, this.video, this.count),
      make("p", {}, "Step back until you can be seen from head to feet."),
      make(
        "div", { class: "tools" },
        button(`Take it in ${DELAY_S} seconds`, () => this.takeSoon(DELAY_S), "primary"),
        button("Take it now", () => this.take()), button("Close", () => this.dialog.close()),
      ),
    );
  }

  /** Open the dialog; a camera that cannot be had is a refusal. */
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Refused(CLOSED);
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 960 } } });
    } catch (error) {
      throw new Refused(REASONS[error.name] ?? REASONS.NotReadableError);
    }
    this.count.textContent = "";
    this.video.srcObject = this.stream;
    this.dialog.showModal();
    await this.video.play();
  }

  takeSoon(seconds) {
    clearTimeout(this.timer);
    this.count.textContent = seconds || "";
    if (seconds) this.timer = setTimeout(() => this.takeSoon(seconds - 1), 1000);
    else this.take();
  }

  take() {
    const [width, height] = [this.video.videoWidth, this.video.videoHeight];
    if (!width) return; // the camera is still starting
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.dialog.close();
    canvas.toBlob((photo) => this.onPhoto(photo), "image/jpeg", 0.92);
  }

  stop() {
    clearTimeout(this.timer);
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }
}
