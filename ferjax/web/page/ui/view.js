/**
 * The picture with its boxes, and the faces beside it: what photographs, camera and video share.
 *
 * @import { Settings } from "../settings.js"
 * @import { Choices, ReadFace } from "./reading.js"
 */

import { FaceList } from "./bars.js";
import { drawPicture } from "./draw.js";
import { byId, part } from "./elements.js";
import { sentence } from "./words.js";

/**
 * @typedef {object} Shown
 * @property {string} name
 * @property {CanvasImageSource} image
 * @property {number} imageWidth pixels of the image
 * @property {{width: number, height: number}} size of the picture that the boxes are in
 * @property {ReadFace[]} faces
 * @property {boolean} [mirrored]
 */

export class View {
  /** @param {string[]} labels */
  constructor(labels) {
    this.labels = labels;
    this.canvas = byId("canvas", HTMLCanvasElement);
    this.list = new FaceList(labels);
    /** @type {Shown | null} */
    this.shown = null;
    new ResizeObserver(() => this.redraw()).observe(part("stage"));
  }

  /** @param {Shown} shown */
  show(shown) {
    this.shown = shown;
    this.canvas.hidden = false;
    this.redraw();
    const { image, size, faces } = shown;
    this.list.show(faces, { image, scale: shown.imageWidth / size.width });
    this.canvas.setAttribute("aria-label", sentence(shown.name, faces, this.labels));
  }

  redraw() {
    if (!this.shown) return;
    const { image, size, faces, mirrored } = this.shown;
    drawPicture(this.canvas, image, size, faces, this.labels, { mirrored });
  }

  clear() {
    this.shown = null;
    this.canvas.hidden = true;
    this.list.clear();
  }
}

/**
 * What a mode may use of the rest of the page.
 *
 * @typedef {object} Page
 * @property {import("../analysis.js").Analysis} analysis
 * @property {Settings} settings
 * @property {View} view
 * @property {() => Choices} choices
 *
 * What main.js asks of a mode.
 *
 * @typedef {object} Mode
 * @property {() => void} enter it is shown from now on
 * @property {() => void} leave
 * @property {(what: "reading" | "score") => void} refresh the controls say something else
 * @property {() => void} save download the table
 */
