/**
 * Photographs: looked at one after the other, each to be chosen from the strip below.
 *
 * @import { Face } from "../worker.js"
 * @import { ReadFace } from "./reading.js"
 * @import { Mode, Page } from "./view.js"
 *
 * @typedef {object} Photograph
 * @property {Blob} blob
 * @property {string} name
 * @property {{width: number, height: number} | null} size once it was looked at
 * @property {Face[]} faces
 * @property {number} minScore that it was looked at with
 * @property {string | null} error
 * @property {HTMLButtonElement} button in the strip
 * @property {HTMLCanvasElement} small
 * @property {HTMLElement} words
 */

import { kindOf, stillPng, webpOrientation } from "../image_formats.js";
import { uprightBy } from "../picture.js";
import { download, photographsTable } from "./csv.js";
import { button, drawing, make, part, setText } from "./elements.js";
import { choose } from "./intake.js";
import { announce, complain, wordsOf } from "./messages.js";
import { read } from "./reading.js";
import { hideTable, showPhotographs } from "./table.js";
import { count, sentence } from "./words.js";

const LONGEST = 1920; // pixels of a picture as it is drawn
const MOST = 500; // photographs at once

/** @implements {Mode} */
export class Photographs {
  /**
   * @param {Page} page
   * @param {Promise<Blob>} sample
   */
  constructor(page, sample) {
    this.page = page;
    /** @type {Photograph[]} */
    this.photographs = [];
    /** @type {Photograph | null} */
    this.current = null;
    /** @type {ImageBitmap | null} */
    this.bitmap = null;
    this.active = false;
    this.busy = false;
    this.wanted = 0; // counts what was chosen to be shown, of which the last counts
    for (const id of ["choose-photographs", "more-photographs"]) {
      button(id).addEventListener("click", () =>
        choose("image/*", true, (files) => this.add(files)),
      );
    }
    button("clear-photographs").addEventListener("click", () => this.clear());
    button("try-sample").addEventListener("click", async () => {
      try {
        this.add([new File([await sample], "astronaut.jpg", { type: "image/jpeg" })]);
      } catch (error) {
        complain(wordsOf(error, "The sample could not be loaded."));
      }
    });
  }

  enter() {
    this.active = true;
    this.layOut();
    if (this.current) void this.show(this.current);
    else this.page.view.clear();
    this.showTable();
  }

  leave() {
    this.active = false;
    for (const id of ["photographs-empty", "photographs-tools", "strip"]) part(id).hidden = true;
    hideTable();
  }

  layOut() {
    const has = this.photographs.length > 0;
    part("photographs-empty").hidden = has && this.current !== null;
    part("photographs-tools").hidden = !has;
    part("strip").hidden = this.photographs.length < 2;
  }

  /** @param {File[]} files */
  add(files) {
    const room = Math.max(0, MOST - this.photographs.length);
    if (files.length > room)
      complain(`Only ${count(MOST, "photograph")} at once: the others are left out.`);
    const added = files
      .slice(0, room)
      .map((file) => this.begin(file, file.name || "pasted picture"));
    this.photographs.push(...added);
    part("strip").append(...added.map((photograph) => make("li", {}, photograph.button)));
    this.layOut();
    void this.look();
  }

  /**
   * @param {Blob} blob
   * @param {string} name
   * @returns {Photograph}
   */
  begin(blob, name) {
    const small = make("canvas", { width: "160", height: "120", "aria-hidden": "true" });
    const words = make("span", {}, "waits");
    const title = make("span", { class: "name", title: name }, name);
    const pressed = make("button", { type: "button" }, small, title, words);
    const photograph = {
      blob,
      name,
      size: null,
      faces: [],
      minScore: NaN,
      error: null,
      button: pressed,
      small,
      words,
    };
    pressed.addEventListener("click", () => void this.show(photograph));
    return photograph;
  }

  /** Look at all photographs that were not, or with another score. */
  async look() {
    if (this.busy) return;
    this.busy = true;
    const unseen = () => {
      const { minScore } = this.page.choices();
      return this.photographs.find((one) => one.error === null && one.minScore !== minScore);
    };
    try {
      for (let next = unseen(); next; next = unseen()) {
        const done = this.photographs.filter(
          (one) => one !== next && (one.error !== null || one.size),
        ).length;
        const words = `Looking at ${done + 1} of ${this.photographs.length}…`;
        setText(part("photographs-status"), words);
        setText(next.words, "is looked at…");
        await this.analyze(next);
      }
    } finally {
      this.busy = false;
    }
    this.showStatus();
  }

  /** @param {Photograph} photograph */
  async analyze(photograph) {
    const { minScore } = this.page.choices();
    const isFirst = photograph.size === null;
    try {
      const { width, height, faces } = await this.page.analysis.analyze(photograph.blob, {
        minScore,
      });
      Object.assign(photograph, { size: { width, height }, faces, minScore });
      if (isFirst) await drawSmall(photograph).catch(() => {}); // its name is left
    } catch (error) {
      photograph.error = wordsOf(error, "It could not be looked at.");
      complain(`${photograph.name}: ${photograph.error}`);
    }
    if (!this.photographs.includes(photograph)) return; // cleared meanwhile
    this.showWords(photograph);
    if (photograph.error === null && (isFirst || this.current === photograph)) {
      const isOnly =
        this.current === null || this.current === photograph || this.photographs.length === 1;
      if (isOnly) await this.show(photograph);
    }
    if (this.active) this.showTable();
  }

  /**
   * @param {Photograph} photograph
   * @returns {ReadFace[]}
   */
  read({ faces }) {
    return read(faces, this.page.settings, this.page.choices());
  }

  /** @param {Photograph} photograph */
  showWords(photograph) {
    const words =
      photograph.error === null ? count(this.read(photograph).length, "face") : "cannot be used";
    setText(photograph.words, words);
  }

  /** @param {Photograph} photograph */
  async show(photograph) {
    const { size, error, name } = photograph;
    if (error !== null) return complain(`${name}: ${error}`);
    if (!size) return;
    const wanted = ++this.wanted;
    if (this.current !== photograph || !this.bitmap) {
      let bitmap;
      try {
        bitmap = await pictureOf(photograph.blob, size);
      } catch (failure) {
        return complain(`${name}: ${wordsOf(failure, "it can no longer be shown; add it again.")}`);
      }
      if (wanted !== this.wanted) return bitmap.close();
      this.bitmap?.close();
      this.bitmap = bitmap;
      this.current = photograph;
    }
    if (!this.active || !this.bitmap) return;
    for (const one of this.photographs)
      one.button.setAttribute("aria-current", String(one === photograph));
    this.layOut();
    const faces = this.read(photograph);
    const { labels } = this.page.settings;
    this.page.view.show({ name, image: this.bitmap, imageWidth: this.bitmap.width, size, faces });
    announce(sentence(name, faces, labels));
  }

  showTable() {
    const looked = this.results();
    if (looked.length) showPhotographs(looked, this.page.settings.labels);
    else hideTable();
  }

  showStatus() {
    const faces = this.results().reduce((sum, { faces: seen }) => sum + seen.length, 0);
    const words = `${count(this.photographs.length, "photograph")}, ${count(faces, "face")}`;
    setText(part("photographs-status"), this.photographs.length ? words : "");
  }

  results() {
    return this.photographs
      .filter(({ size, error }) => size || error !== null)
      .map((photograph) => ({
        name: photograph.name,
        faces: this.read(photograph),
        error: photograph.error,
      }));
  }

  /** @param {"reading" | "score"} what */
  refresh(what) {
    if (what === "score") void this.look();
    this.photographs.filter(({ size }) => size).forEach((photograph) => this.showWords(photograph));
    if (!this.active) return;
    if (this.current) void this.show(this.current);
    this.showTable();
    if (!this.busy) this.showStatus();
  }

  clear() {
    this.photographs = [];
    this.wanted++;
    this.current = null;
    this.bitmap?.close();
    this.bitmap = null;
    part("strip").replaceChildren();
    this.page.view.clear();
    this.layOut();
    hideTable();
    setText(part("photographs-status"), "");
    announce("All photographs are gone.");
    button("choose-photographs").focus();
  }

  save() {
    download(photographsTable(this.results(), this.page.settings.labels), "faces.csv");
  }
}

/**
 * Return a picture to be drawn, no larger than a screen.
 *
 * @param {Blob} blob
 * @param {{width: number, height: number}} size
 */
async function pictureOf(blob, { width, height }) {
  return scaled(blob, width, height, Math.min(1, LONGEST / Math.max(width, height)));
}

/**
 * Return a picture as it was looked at, upright, and of an animated PNG the still one, scaled.
 *
 * @param {Blob} blob
 * @param {number} width of the picture as it is
 * @param {number} height
 * @param {number} scale
 */
async function scaled(blob, width, height, scale) {
  const [across, down] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  /** @type {(sideways: boolean) => ImageBitmapOptions} */
  const to = (sideways) => ({
    resizeWidth: sideways ? down : across,
    resizeHeight: sideways ? across : down,
    resizeQuality: "high",
  });
  const kind = kindOf(new Uint8Array(await blob.slice(0, 16).arrayBuffer()));
  if (kind !== "PNG" && kind !== "WebP") return createImageBitmap(blob, to(false));
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (kind === "PNG") return createImageBitmap(stillPng(blob, bytes), to(false));
  const orientation = webpOrientation(bytes);
  const stored = await createImageBitmap(blob, {
    ...to(orientation >= 5),
    imageOrientation: "none",
  });
  if (orientation === 1) return stored;
  const canvas = new OffscreenCanvas(across, down);
  const context = canvas.getContext("2d");
  context?.setTransform(...uprightBy(orientation, across, down));
  context?.drawImage(stored, 0, 0);
  stored.close();
  return canvas.transferToImageBitmap();
}

/** @param {Photograph} photograph */
async function drawSmall({ blob, size, small }) {
  if (!size) return;
  const { width, height } = size;
  const bitmap = await scaled(
    blob,
    width,
    height,
    Math.min(small.width / width, small.height / height),
  );
  const [left, top] = [(small.width - bitmap.width) / 2, (small.height - bitmap.height) / 2];
  drawing(small).drawImage(bitmap, left, top);
  bitmap.close();
}
