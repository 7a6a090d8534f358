/**
 * A short video: looked at frame by frame, at even steps of time, then played with what was seen.
 *
 * @import { Face } from "../worker.js"
 * @import { Mode, Page } from "./view.js"
 */

import { download, framesTable } from "./csv.js";
import { button, byId, drawing, input, make, part, setText } from "./elements.js";
import { choose } from "./intake.js";
import { announce, complain, wordsOf } from "./messages.js";
import { read } from "./reading.js";
import { Recording, summaries } from "./recording.js";
import { hideTable, showTracks } from "./table.js";
import { drawTimeline, timelineWords } from "./timeline.js";
import { clock, count } from "./words.js";

const STEP = 0.1; // seconds between frames that are looked at
const MOST_FRAMES = 6000; // ten minutes
const LONGEST = 1280; // pixels of a frame as it is looked at
const PATIENCE = 10_000; // milliseconds that a browser may take to show a place in a video
const SLOWLY = 500; // milliseconds between timelines and tables

/** The browser cannot show a video, or a place in it. */
class VideoError extends Error {}

/** @implements {Mode} */
export class Video {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.active = false;
    this.name = "";
    this.address = "";
    this.runs = 0; // counts the videos, of which the last counts
    this.looking = false;
    this.recording = new Recording();
    this.video = make("video", { playsinline: "", preload: "auto" });
    this.video.muted = true;
    this.frame = make("canvas");
    this.slow = 0;
    this.time = input("video-time");
    const pick = () => choose("video/*", false, ([file]) => file && void this.open(file));
    button("choose-video").addEventListener("click", pick);
    button("another-video").addEventListener("click", pick);
    button("stop-video").addEventListener("click", () => this.stopLooking());
    button("play-video").addEventListener("click", () => this.play());
    this.time.addEventListener("input", () => this.goTo(this.time.valueAsNumber));
    this.video.addEventListener("play", () => this.follow());
    for (const event of ["pause", "ended"])
      this.video.addEventListener(event, () => this.sayPlaying());
    this.video.addEventListener("seeked", () => !this.looking && this.showNow());
    byId("timeline", HTMLCanvasElement).addEventListener("click", (event) => {
      if (!this.active || this.looking || !this.name) return;
      const { left, width } = byId("timeline", HTMLCanvasElement).getBoundingClientRect();
      this.goTo(Math.max(0, ((event.clientX - left - 22) / (width - 22)) * this.length));
    });
  }

  get length() {
    const { frames } = this.recording;
    return Number.isFinite(this.video.duration)
      ? this.video.duration
      : (frames[frames.length - 1]?.time ?? 0);
  }

  enter() {
    this.active = true;
    this.layOut();
    this.page.view.clear();
    if (this.name) this.showNow();
    this.showSlow();
  }

  leave() {
    this.stopLooking();
    this.video.pause();
    this.active = false;
    for (const id of ["video-empty", "video-tools", "timeline-part"]) part(id).hidden = true;
    hideTable();
  }

  layOut() {
    if (!this.active) return;
    part("video-empty").hidden = this.name !== "";
    part("video-tools").hidden = this.name === "";
    for (const id of ["stop-video", "video-progress"]) part(id).hidden = !this.looking;
    for (const id of ["play-video", "video-time", "another-video"]) part(id).hidden = this.looking;
  }

  /** @param {File} file */
  async open(file) {
    const run = ++this.runs;
    this.close();
    [this.name, this.address] = [file.name, URL.createObjectURL(file)];
    this.looking = true;
    this.layOut();
    setText(part("video-status"), "The video is opened…");
    try {
      this.video.src = this.address;
      await once(this.video, "loadeddata");
      await this.findLength();
      if (!this.video.videoWidth) throw new VideoError("no picture");
      if (run === this.runs) await this.lookAtAll(run);
    } catch (error) {
      if (run !== this.runs) return;
      this.close();
      this.layOut();
      this.page.view.clear();
      const why = "this browser cannot play it as a video. WebM and MP4 it mostly can.";
      const isKnown = error instanceof VideoError;
      complain(`${file.name}: ${isKnown ? why : wordsOf(error, "it could not be looked at.")}`);
    }
  }

  /** Learn the length of a video that does not say it, as those that browsers record. */
  async findLength() {
    if (Number.isFinite(this.video.duration)) return;
    this.video.currentTime = Number.MAX_SAFE_INTEGER;
    await once(this.video, "seeked");
  }

  /** @param {number} run */
  async lookAtAll(run) {
    this.recording = new Recording();
    const frames = Math.max(1, Math.ceil((this.length - 1e-3) / STEP));
    if (frames > MOST_FRAMES)
      complain(`${this.name}: only its first ${(MOST_FRAMES * STEP) / 60} minutes are looked at.`);
    const total = Math.min(frames, MOST_FRAMES);
    this.time.max = String(this.length);
    const progress = byId("video-progress", HTMLProgressElement);
    for (let number = 0; number < total && run === this.runs && this.looking; number++) {
      await this.seek(number * STEP);
      this.grab();
      const image = await createImageBitmap(this.frame);
      const { minScore } = this.page.choices();
      const { faces } = await this.page.analysis.analyze(image, { minScore });
      if (run !== this.runs) return;
      this.recording.add(number * STEP, this.inVideo(faces));
      progress.value = (number + 1) / total;
      setText(part("video-status"), `${clock(number * STEP)} of ${clock(this.length)}`);
      this.showFrame(number * STEP);
      if (performance.now() - this.slow >= SLOWLY) this.showSlow();
    }
    if (run === this.runs) this.finish();
  }

  /** @param {number} time */
  async seek(time) {
    if (Math.abs(this.video.currentTime - time) < 1e-4 && this.video.readyState >= 2) return;
    const arrived = once(this.video, "seeked");
    this.video.currentTime = time;
    await arrived;
  }

  finish() {
    this.looking = false;
    this.layOut();
    setText(part("video-status"), `${count(this.recording.number, "frame")} looked at`);
    this.showSlow();
    this.goTo(0);
    if (!this.active) return;
    announce(`${this.name}: ${part("timeline").getAttribute("aria-label")}`);
    button("play-video").focus();
  }

  stopLooking() {
    this.looking = false; // which the loop heeds after the frame that it is at
  }

  /** Keep the frame that is shown, as it is looked at. */
  grab() {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, LONGEST / Math.max(videoWidth, videoHeight));
    const [width, height] = [videoWidth, videoHeight].map((side) =>
      Math.max(1, Math.round(side * scale)),
    );
    if (this.frame.width !== width || this.frame.height !== height) {
      [this.frame.width, this.frame.height] = [width, height];
    }
    drawing(this.frame).drawImage(this.video, 0, 0, width, height);
  }

  /**
   * Return faces in pixels of the video, which may be larger than what was looked at.
   *
   * @param {Face[]} faces
   * @returns {Face[]}
   */
  inVideo(faces) {
    const scale = this.video.videoWidth / this.frame.width;
    if (scale === 1) return faces;
    return faces.map((face) => ({
      ...face,
      box: /** @type {Face["box"]} */ (face.box.map((value) => value * scale)),
      landmarks: /** @type {Face["landmarks"]} */ (
        face.landmarks.map((point) => point.map((value) => value * scale))
      ),
      size: face.size * scale,
    }));
  }

  /** @param {number} time */
  showFrame(time) {
    const { settings, view } = this.page;
    const frame = this.recording.at(time);
    const isNear = frame && Math.abs(frame.time - time) <= 1.5 * STEP;
    const faces = isNear ? read(frame.faces, settings, this.page.choices()) : [];
    const size = { width: this.video.videoWidth, height: this.video.videoHeight };
    view.show({
      name: `${this.name} at ${clock(time)}`,
      image: this.frame,
      imageWidth: this.frame.width,
      size,
      faces,
    });
  }

  /** Show the place that the video is at. */
  showNow() {
    if (!this.active || !this.name || !this.video.videoWidth) return;
    this.grab();
    this.showFrame(this.video.currentTime);
    this.time.value = String(this.video.currentTime);
    this.time.setAttribute("aria-valuetext", clock(this.video.currentTime));
    if (performance.now() - this.slow >= SLOWLY / 4) this.showSlow(this.video.currentTime);
  }

  /** @param {number} time */
  goTo(time) {
    this.slow = 0;
    this.video.currentTime = Math.min(time, this.length);
  }

  play() {
    if (this.video.paused) void this.video.play();
    else this.video.pause();
  }

  /** Show frame after frame while it plays. */
  follow() {
    this.sayPlaying();
    const next = () => {
      if (this.video.paused || !this.active) return;
      this.showNow();
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  sayPlaying() {
    setText(button("play-video"), this.video.paused ? "Play" : "Pause");
  }

  /** @param {number} [now] */
  showSlow(now) {
    this.slow = performance.now();
    if (!this.active) return;
    const { settings } = this.page;
    const frames = this.recording.read(settings, this.page.choices());
    part("timeline-part").hidden = !frames.length;
    if (!frames.length) return hideTable();
    const canvas = byId("timeline", HTMLCanvasElement);
    const shown = drawTimeline(canvas, frames, settings.labels, {
      start: 0,
      end: Math.max(this.length, STEP),
      now,
    });
    canvas.setAttribute("aria-label", timelineWords(shown, settings.labels));
    const words = `A band for each face that is followed: its probabilities stacked, ${Math.round(1 / STEP)} frames of each second, not smoothed.`;
    setText(part("timeline-words"), words + this.recording.lacking());
    showTracks(summaries(frames, settings.labels.length), settings.labels);
  }

  refresh() {
    if (!this.active || !this.name) return;
    if (!this.looking) this.showNow();
    this.showSlow(this.video.currentTime);
  }

  close() {
    this.looking = false;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    if (this.address) URL.revokeObjectURL(this.address);
    [this.name, this.address] = ["", ""];
    this.recording = new Recording();
    this.showSlow();
  }

  save() {
    const frames = this.recording.read(this.page.settings, this.page.choices());
    const stem = this.name.replace(/\.[^.]*$/, "") || "video";
    download(framesTable(frames, this.page.settings.labels), `${stem}.csv`);
  }
}

/**
 * Wait for an event of a video.
 *
 * @param {HTMLVideoElement} video
 * @param {string} event
 * @returns {Promise<void>}
 */
function once(video, event) {
  return new Promise((resolve, reject) => {
    const end = new AbortController();
    const late = setTimeout(() => done(() => reject(new VideoError(`no ${event}`))), PATIENCE);
    const done = (/** @type {() => void} */ then) => {
      clearTimeout(late);
      end.abort();
      then();
    };
    video.addEventListener(event, () => done(resolve), { signal: end.signal });
    video.addEventListener("error", () => done(() => reject(new VideoError("not a video"))), {
      signal: end.signal,
    });
  });
}
