/**
 * The camera: frame after frame, as fast as they can be looked at.
 *
 * @import { Face } from "../worker.js"
 * @import { Mode, Page } from "./view.js"
 */

import { download, framesTable } from "./csv.js";
import { button, byId, drawing, input, make, part, setText } from "./elements.js";
import { announce, complain, wordsOf } from "./messages.js";
import { read } from "./reading.js";
import { Recording, summaries } from "./recording.js";
import { hideTable, showTracks } from "./table.js";
import { drawTimeline, timelineWords } from "./timeline.js";
import { guess } from "./words.js";

const SPAN = 30; // seconds that the timeline shows
const FULL_AFTER = 200; // milliseconds from a look at a whole frame to the next; faces are followed
const SLOWLY = 500; // milliseconds between timelines and tables
const TOLD_EVERY = 4000; // milliseconds between what is read out

/** What the errors of `getUserMedia` mean. @type {Record<string, string>} */
const WHY = {
  NotAllowedError:
    "The camera may not be used: permission was denied. Allow it in the browser's settings for this page, and start again.",
  NotFoundError: "There is no camera on this device, or it is switched off.",
  NotReadableError: "The camera cannot be used: another program may have it.",
  OverconstrainedError: "There is no such camera any more.",
  AbortError: "The camera stopped as it was being started.",
};

/** @implements {Mode} */
export class Camera {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.active = false;
    /** @type {MediaStream | null} */
    this.stream = null;
    this.starts = 0;
    this.recording = new Recording();
    this.video = make("video", { playsinline: "", muted: "" });
    this.video.muted = true;
    this.frame = make("canvas");
    this.last = { slow: 0, told: 0, words: "" };
    this.select = byId("camera-select", HTMLSelectElement);
    button("start-camera").addEventListener("click", () => void this.start());
    button("stop-camera").addEventListener("click", () => {
      this.stop();
      button("start-camera").focus();
    });
    this.select.addEventListener("change", () => void this.start(this.select.value));
  }

  enter() {
    this.active = true;
    this.layOut();
    this.page.view.clear();
    this.showSlow();
  }

  leave() {
    this.stop();
    this.active = false;
    for (const id of ["camera-empty", "camera-tools", "timeline-part"]) part(id).hidden = true;
    hideTable();
  }

  layOut() {
    if (!this.active) return;
    part("camera-empty").hidden = this.stream !== null;
    part("camera-tools").hidden = this.stream === null;
    part("timeline-part").hidden = !this.recording.frames.length;
  }

  /** @param {string} [device] */
  async start(device) {
    const start = ++this.starts;
    if (!navigator.mediaDevices?.getUserMedia) {
      complain(
        "The camera needs an address that begins with https://, or a page from this machine itself.",
      );
      return;
    }
    this.release();
    button("start-camera").disabled = true;
    try {
      const size = { width: { ideal: 640 }, height: { ideal: 480 } };
      const which = device ? { deviceId: { exact: device } } : { facingMode: "user" };
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { ...size, ...which },
        audio: false,
      });
      if (start !== this.starts || !this.active)
        return stream.getTracks().forEach((track) => track.stop());
      await this.run(stream, device !== undefined);
    } catch (error) {
      if (start !== this.starts) return; // it was stopped, or another was chosen
      this.release();
      this.layOut();
      const known = error instanceof DOMException ? WHY[error.name] : undefined;
      complain(known ?? wordsOf(error, "The camera cannot be used."));
    } finally {
      button("start-camera").disabled = false;
    }
  }

  /**
   * @param {MediaStream} stream
   * @param {boolean} goesOn whether what was recorded before stays
   */
  async run(stream, goesOn) {
    this.stream = stream;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => {
      if (this.stream !== stream) return;
      this.stop();
      complain("The camera has stopped: it was unplugged, or permission was taken back.");
    });
    if (!goesOn) {
      this.recording = new Recording();
      this.begun = performance.now();
      input("camera-mirror").checked = track.getSettings().facingMode !== "environment";
    }
    this.video.srcObject = stream;
    await this.video.play();
    void this.listCameras(track.getSettings().deviceId);
    this.layOut();
    announce("The camera runs.");
    button("stop-camera").focus();
    void this.loop(stream);
  }

  /** @param {string | undefined} used */
  async listCameras(used) {
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter(
      ({ kind }) => kind === "videoinput",
    );
    const options = devices.map(({ deviceId, label }, index) => {
      const option = make("option", { value: deviceId }, label || `Camera ${index + 1}`);
      option.selected = deviceId === used;
      return option;
    });
    this.select.replaceChildren(...options);
    part("camera-choice").hidden = options.length < 2;
  }

  /**
   * Look at frames until the stream is another one.
   *
   * @param {MediaStream} stream
   */
  async loop(stream) {
    /** @type {Face[]} */
    let faces = [];
    let [full, failures] = [-Infinity, 0];
    /** @type {number[]} */
    const ends = [];
    const frames = new Frames(this.video);
    while (this.stream === stream) {
      await frames.next();
      if (this.stream !== stream || !this.grab()) continue;
      const now = performance.now();
      try {
        const followed = now - full < FULL_AFTER ? await this.look(faces) : null;
        if (followed && followed.length === faces.length) faces = followed;
        else [faces, full] = [await this.look(), performance.now()]; // too, where one was lost
        failures = 0;
      } catch (error) {
        if (++failures < 3) continue;
        this.stop();
        return complain(wordsOf(error, "The camera's frames could not be looked at."));
      }
      if (this.stream !== stream) return;
      ends.push(performance.now());
      while (ends.length > 1 && ends[0] < ends[ends.length - 1] - 2000) ends.shift();
      this.showFrame(faces, (now - (this.begun ?? now)) / 1000, ends);
    }
  }

  /**
   * Return the faces of the frame that is kept.
   *
   * @param {Face[]} [follow] only these, near where they were
   */
  async look(follow) {
    const image = await createImageBitmap(this.frame);
    const { minScore } = this.page.choices();
    return (await this.page.analysis.analyze(image, { minScore, follow })).faces;
  }

  /** Keep what the camera shows now; false where it shows nothing yet. */
  grab() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width || !height) return false;
    if (this.frame.width !== width || this.frame.height !== height) {
      [this.frame.width, this.frame.height] = [width, height];
    }
    drawing(this.frame).drawImage(this.video, 0, 0, width, height);
    return true;
  }

  /**
   * @param {Face[]} faces
   * @param {number} time
   * @param {number[]} ends when the last frames were done, in milliseconds
   */
  showFrame(faces, time, ends) {
    const { settings, view } = this.page;
    const frame = this.recording.add(time, faces);
    const seen = read(frame.faces, settings, this.page.choices());
    const { width, height } = this.frame;
    view.show({
      name: "Camera",
      image: this.frame,
      imageWidth: width,
      size: { width, height },
      faces: seen,
      mirrored: input("camera-mirror").checked,
    });
    const rate =
      ends.length > 1 ? ((ends.length - 1) * 1000) / (ends[ends.length - 1] - ends[0]) : 0;
    if (rate)
      setText(part("camera-status"), `${rate.toFixed(0)} frames a second, ${width} × ${height}`);
    part("camera-status").dataset.frames = String(this.recording.number);
    const now = ends[ends.length - 1];
    if (now - this.last.slow >= SLOWLY) {
      this.last.slow = now;
      this.showSlow();
    }
    const words = seen.map((face) => guess(face, settings.labels)).join(", ") || "no face";
    if (words !== this.last.words && now - this.last.told >= TOLD_EVERY) {
      Object.assign(this.last, { told: now, words });
      announce(words);
    }
  }

  showSlow() {
    const { settings } = this.page;
    const frames = this.recording.read(settings, this.page.choices());
    part("timeline-part").hidden = !frames.length;
    if (!frames.length) return hideTable();
    const end = Math.max(SPAN, frames[frames.length - 1].time);
    const canvas = byId("timeline", HTMLCanvasElement);
    const shown = drawTimeline(canvas, frames, settings.labels, { start: end - SPAN, end });
    canvas.setAttribute("aria-label", timelineWords(shown, settings.labels));
    const words = `The last ${SPAN} seconds, a band for each face that is followed: its probabilities stacked, frame by frame, not smoothed.`;
    setText(part("timeline-words"), words + this.recording.lacking());
    showTracks(summaries(frames, settings.labels.length), settings.labels);
  }

  refresh() {
    if (this.active) this.showSlow(); // the next frame shows the rest
  }

  /** Give the camera back. */
  release() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  stop() {
    this.starts++;
    const ran = this.stream !== null;
    this.release();
    if (!this.active || !ran) return;
    this.page.view.clear();
    this.layOut();
    this.showSlow();
    announce("The camera is off.");
  }

  save() {
    const frames = this.recording.read(this.page.settings, this.page.choices());
    download(framesTable(frames, this.page.settings.labels), "camera.csv");
  }
}

/** The frames of a video as they come, of which those are left out for which there is no time. */
class Frames {
  #isNew = false;
  /** @type {() => void} */
  #arrived = () => {};

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    const source = video.srcObject;
    const wait = () => {
      if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(arrive);
      else requestAnimationFrame(arrive);
    };
    const arrive = () => {
      this.#isNew = true;
      this.#arrived();
      if (source && video.srcObject === source) wait();
    };
    wait();
  }

  /**
   * Wait until there is one that was not taken; not for ever, for a camera may freeze.
   *
   * @returns {Promise<void>}
   */
  async next() {
    if (!this.#isNew) {
      await new Promise((resolve) => {
        const late = setTimeout(resolve, 500);
        this.#arrived = () => {
          clearTimeout(late);
          resolve(undefined);
        };
      });
    }
    this.#isNew = false;
  }
}
