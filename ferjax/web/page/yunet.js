/**
 * Run YuNet's network on pictures of one size: from their pixels to rows of faces, as
 * ferjax/faces/yunet_network.py.
 *
 * Dimension keys: B pictures, H height, W width; A anchors of a picture.
 *
 * @import { InferenceSession, TypedTensor } from "onnxruntime-common"
 * @import { Picture } from "./picture.js"
 * @import { Runtime } from "./runtime.js"
 *
 * @typedef {Float32Array} Row a face: x, y, width, height, x and y of five landmarks, score; (15,)
 */

import { clamped, fround } from "./numbers.js";
import { blank, filledUp } from "./picture.js";

/** Pixels that the network takes; of fewer OpenCV sees faces at random. */
const NARROWEST = 64;
/** Pixels between the anchors of its three scales. */
const STRIDES = [8, 16, 32];
/** Of their union, from which on two boxes are of one face. */
const SAME = fround(0.3);
/** Boxes of a picture that are compared with each other. */
const MOST = 5000;
const SCORE = 14;

export class Detector {
  /** @type {Float32Array<ArrayBuffer>} */
  #memory = new Float32Array(0);

  /**
   * @param {Runtime} runtime
   * @param {InferenceSession} session
   */
  constructor(runtime, session) {
    this.runtime = runtime;
    this.session = session;
  }

  /**
   * Return what the network sees in each picture, the surest first.
   *
   * @param {Picture[]} pictures RGB or gray, of one size
   * @param {number} minScore
   * @param {boolean} [isDistinct] or else what every anchor shows: several boxes of each face
   * @returns {Promise<Row[][]>}
   */
  async run(pictures, minScore, isDistinct = true) {
    const [height, width] = [pictures[0].height, pictures[0].width].map((side) =>
      Math.max(side, NARROWEST),
    );
    const filled =
      height > pictures[0].height || width > pictures[0].width
        ? pictures.map((picture) => filledUp(picture, width, height))
        : pictures;
    const rows = multiple(height);
    const columns = multiple(width);
    const input = this.#batch(filled, rows, columns);
    const shape = [pictures.length, 3, rows, columns];
    const images = new this.runtime.Tensor("float32", input, shape);
    const outputs = await this.session.run({ input: images });
    return pictures.map((_, index) => {
      const seen = faces(outputs, index, pictures.length, rows, columns, minScore);
      return (isDistinct ? distinct(seen) : seen).filter((row) => row.every(Number.isFinite));
    });
  }

  /** Look at nothing, so that the first picture does not wait for memory and compilation. */
  async warmUp() {
    await this.run([blank(640, 480, 3)], 1);
    await this.run(new Array(2).fill(blank(128, 128, 3)), 1);
    await this.run(new Array(6).fill(blank(64, 64, 1)), 1);
  }

  /**
   * Return pictures as the network takes them, (B, 3, H, W) in BGR order; good until the next.
   *
   * @param {Picture[]} pictures
   * @param {number} rows
   * @param {number} columns
   */
  #batch(pictures, rows, columns) {
    const size = pictures.length * 3 * rows * columns;
    if (this.#memory.length < size) this.#memory = new Float32Array(size);
    const batch = this.#memory.subarray(0, size);
    const { width, height, channels } = pictures[0];
    const [green, blue] = channels === 1 ? [0, 0] : [1, 2];
    if (width < columns || height < rows) batch.fill(0);
    const plane = rows * columns;
    pictures.forEach(({ data }, index) => {
      const start = index * 3 * plane;
      for (let y = 0, from = 0; y < height; y++) {
        let to = start + y * columns;
        for (let x = 0; x < width; x++, to++, from += channels) {
          batch[to] = data[from + blue];
          batch[to + plane] = data[from + green];
          batch[to + 2 * plane] = data[from];
        }
      }
    });
    return batch;
  }
}

/** @param {number} side */
function multiple(side) {
  const stride = STRIDES[STRIDES.length - 1];
  return Math.ceil(side / stride) * stride;
}

/**
 * Return the faces that one picture of a batch shows, also where their boxes overlap.
 *
 * @param {InferenceSession.OnnxValueMapType} outputs
 * @param {number} index
 * @param {number} count of the batch
 * @param {number} height
 * @param {number} width
 * @param {number} minScore
 * @returns {Row[]}
 */
function faces(outputs, index, count, height, width, minScore) {
  const least = fround(minScore);
  /** @type {Row[]} */
  const rows = [];
  for (const stride of STRIDES) {
    const [classes, objects, boxes, landmarks] = ["cls", "obj", "bbox", "kps"].map((name) => {
      const output = /** @type {TypedTensor<"float32">} */ (outputs[`${name}_${stride}`]);
      const length = output.data.length / count;
      return output.data.subarray(index * length, (index + 1) * length);
    });
    const columns = width / stride;
    const anchors = (height / stride) * columns;
    for (let i = 0; i < anchors; i++) {
      const sure = fround(clamped(classes[i], 0, 1) * clamped(objects[i], 0, 1));
      const score = fround(Math.sqrt(sure));
      if (!(score >= least)) continue;
      const at = [i % columns, Math.floor(i / columns)];
      const row = new Float32Array(SCORE + 1);
      for (let axis = 0; axis < 2; axis++) {
        const side = fround(Math.exp(boxes[4 * i + 2 + axis]));
        const corner = fround(fround(at[axis] + boxes[4 * i + axis]) - side / 2);
        row[axis] = corner * stride;
        row[2 + axis] = side * stride;
      }
      for (let k = 0; k < 10; k++) {
        row[4 + k] = fround(landmarks[10 * i + k] + at[k % 2]) * stride;
      }
      row[SCORE] = score;
      rows.push(row);
    }
  }
  return rows;
}

/**
 * Return the surest faces first, without those that overlap with a surer one, as OpenCV's
 * `NMSBoxes`.
 *
 * @param {Row[]} rows
 * @returns {Row[]}
 */
export function distinct(rows) {
  if (rows.length < 2) return rows;
  const ordered = rows.filter((row) => row[SCORE] > 0);
  ordered.sort((a, b) => b[SCORE] - a[SCORE]);
  /** @type {Row[]} */
  const kept = [];
  for (const row of ordered.slice(0, MOST)) {
    if (kept.every((surer) => overlap(row, surer) <= SAME)) kept.push(row);
  }
  return kept;
}

/**
 * Return two boxes' intersection over their union.
 *
 * @param {Row} a
 * @param {Row} b
 */
function overlap(a, b) {
  const across = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const areas = a[2] * a[3] + b[2] * b[3];
  if (areas <= Number.EPSILON) return 1;
  const common = across > 0 && down > 0 ? across * down : 0;
  return fround(1 - fround(1 - common / (areas - common)));
}
