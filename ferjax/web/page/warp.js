/**
 * Turn, scale and shift pictures as OpenCV 5's `warpAffine` does: between pixels, whose centres lie
 * at whole numbers, it interpolates at the exact place. OpenCV computes in single precision, this
 * in double: one value in some ten thousand is another by 1.
 *
 * @import { Picture } from "./picture.js"
 *
 * @typedef {[number, number, number, number, number, number]} Affine from a picture to the result:
 *   x' = a x + b y + c, y' = d x + e y + f
 */

import { clamped } from "./numbers.js";
import { blank } from "./picture.js";

/** Of cubic interpolation, as OpenCV has it. */
const CUBIC = -0.75;

/**
 * @param {Picture} picture
 * @param {Affine} affine
 * @param {number} size the side of the result
 * @param {object} options
 * @param {boolean} [options.cubic] between 16 pixels instead of 4
 * @param {boolean} [options.repeatsEdge] what lies outside: the picture's edge, or black
 * @returns {Picture}
 */
export function warped(picture, affine, size, { cubic = false, repeatsEdge = false }) {
  const { channels } = picture;
  const [a, b, c, d, e, f] = inverse(affine);
  const result = blank(size, size, channels);
  const sums = [0, 0, 0];
  const sample = cubic ? sampleCubic : sampleLinear;
  for (let row = 0, to = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = a * column + b * row + c;
      const y = d * column + e * row + f;
      sample(picture, x, y, repeatsEdge, sums);
      for (let k = 0; k < channels; k++) result.data[to++] = sums[k];
    }
  }
  return result;
}

/**
 * @param {Affine} affine
 * @returns {Affine}
 */
function inverse([a, b, c, d, e, f]) {
  const determinant = a * e - b * d;
  const by = determinant === 0 ? 0 : 1 / determinant;
  const [p, q, r, s] = [e * by, -b * by, -d * by, a * by];
  return [p, q, -p * c - q * f, r, s, -r * c - s * f];
}

/**
 * Leave in `sums` what a picture shows between four pixels.
 *
 * @param {Picture} picture
 * @param {number} x
 * @param {number} y
 * @param {boolean} repeatsEdge
 * @param {number[]} sums
 */
function sampleLinear(picture, x, y, repeatsEdge, sums) {
  const { data, width, height, channels } = picture;
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, below] = [x - left, y - top];
  if (left >= 0 && top >= 0 && left < width - 1 && top < height - 1) {
    const upper = (top * width + left) * channels;
    const lower = upper + width * channels;
    for (let k = 0; k < channels; k++) {
      const high = data[upper + k] + right * (data[upper + channels + k] - data[upper + k]);
      const low = data[lower + k] + right * (data[lower + channels + k] - data[lower + k]);
      sums[k] = high + below * (low - high);
    }
    return;
  }
  weighted(picture, left, top, [1 - right, right], [1 - below, below], repeatsEdge, sums);
}

/**
 * Leave in `sums` what a picture shows between 16 pixels.
 *
 * @param {Picture} picture
 * @param {number} x
 * @param {number} y
 * @param {boolean} repeatsEdge
 * @param {number[]} sums
 */
function sampleCubic(picture, x, y, repeatsEdge, sums) {
  const { data, width, height, channels } = picture;
  const [left, top] = [Math.floor(x) - 1, Math.floor(y) - 1];
  const across = cubicWeights(x - left - 1);
  const down = cubicWeights(y - top - 1);
  if (channels !== 3 || left < 0 || top < 0 || left + 3 >= width || top + 3 >= height) {
    weighted(picture, left, top, across, down, repeatsEdge, sums);
    return;
  }
  let [red, green, blue] = [0, 0, 0];
  for (let j = 0; j < 4; j++) {
    const at = ((top + j) * width + left) * 3;
    const [first, second, third, fourth] = across;
    const weight = down[j];
    red +=
      weight *
      (first * data[at] + second * data[at + 3] + third * data[at + 6] + fourth * data[at + 9]);
    green +=
      weight *
      (first * data[at + 1] +
        second * data[at + 4] +
        third * data[at + 7] +
        fourth * data[at + 10]);
    blue +=
      weight *
      (first * data[at + 2] +
        second * data[at + 5] +
        third * data[at + 8] +
        fourth * data[at + 11]);
  }
  [sums[0], sums[1], sums[2]] = [red, green, blue];
}

/** @param {number} rest how far behind the second of four pixels, in [0, 1) */
function cubicWeights(rest) {
  const [before, after] = [rest + 1, 1 - rest];
  const first = ((CUBIC * before - 5 * CUBIC) * before + 8 * CUBIC) * before - 4 * CUBIC;
  const second = ((CUBIC + 2) * rest - (CUBIC + 3)) * rest * rest + 1;
  const third = ((CUBIC + 2) * after - (CUBIC + 3)) * after * after + 1;
  return [first, second, third, 1 - first - second - third];
}

/**
 * Leave in `sums` the weighted sum of pixels, some of which may lie outside.
 *
 * @param {Picture} picture
 * @param {number} left
 * @param {number} top
 * @param {number[]} across weights of columns from `left` on
 * @param {number[]} down weights of rows from `top` on
 * @param {boolean} repeatsEdge
 * @param {number[]} sums
 */
function weighted(picture, left, top, across, down, repeatsEdge, sums) {
  const { data, width, height, channels } = picture;
  sums.fill(0);
  for (let j = 0; j < down.length; j++) {
    for (let i = 0; i < across.length; i++) {
      let [column, row] = [left + i, top + j];
      if (column < 0 || row < 0 || column >= width || row >= height) {
        if (!repeatsEdge) continue;
        column = clamped(column, 0, width - 1);
        row = clamped(row, 0, height - 1);
      }
      const weight = across[i] * down[j];
      const at = (row * width + column) * channels;
      for (let k = 0; k < channels; k++) sums[k] += weight * data[at + k];
    }
  }
}
