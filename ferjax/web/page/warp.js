/**
 * Turn, scale and shift pictures as OpenCV 5's `warpAffine` does: between pixels, whose centres lie
 * at whole numbers, it interpolates at the exact place, in single precision and, on CPUs that have
 * it, with products that are added unrounded. Linearly that gives the same bytes; cubically, one
 * value in 100,000 is another by 1.
 *
 * @import { Picture } from "./picture.js"
 *
 * @typedef {[number, number, number, number, number, number]} Affine from a picture to the result:
 *   x' = a x + b y + c, y' = d x + e y + f
 */

import { clamped, fround } from "./numbers.js";
import { blank } from "./picture.js";

/** Of cubic interpolation, as OpenCV has it. */
const CUBIC = -0.75;
/** Columns that OpenCV computes at once; those that are left over one by one. */
const AT_ONCE = 16;

/**
 * @param {Picture} picture
 * @param {Affine} affine
 * @param {number} size the side of the result
 * @param {object} options
 * @param {boolean} [options.cubic] between 16 pixels instead of 4
 * @param {boolean} [options.repeatsEdge] what lies outside: the picture's edge, or a level
 * @param {number} [options.outside] the level; without it, black
 * @returns {Picture}
 */
export function warped(picture, affine, size, options) {
  const { cubic = false, repeatsEdge = false, outside = 0 } = options;
  const { channels } = picture;
  const [a, b, c, d, e, f] = inverse(affine).map(fround);
  const result = blank(size, size, channels);
  const sums = [0, 0, 0];
  const together = cubic ? 0 : size - (size % AT_ONCE);
  for (let row = 0, to = 0; row < size; row++) {
    const [right, down] = [fround(b * row), fround(e * row)];
    const [left, top] = [fround(right + c), fround(down + f)];
    for (let column = 0; column < size; column++) {
      if (cubic) {
        const x = fround(fround(a * column) + left);
        const y = fround(fround(d * column) + top);
        sampleCubic(picture, x, y, repeatsEdge, outside, sums);
      } else if (column < together) {
        const x = fround(a * column + left);
        const y = fround(d * column + top);
        sampleLinear(picture, x, y, repeatsEdge, outside, sums);
      } else {
        const x = fround(fround(a * column + right) + c);
        const y = fround(fround(d * column + down) + f);
        sampleLinear(picture, x, y, repeatsEdge, outside, sums);
      }
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
 * @param {number} outside
 * @param {number[]} sums
 */
function sampleLinear(picture, x, y, repeatsEdge, outside, sums) {
  const { data, channels } = picture;
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [across, down] = [fround(x - left), fround(y - top)];
  const first = offset(picture, left, top, repeatsEdge);
  const second = offset(picture, left + 1, top, repeatsEdge);
  const third = offset(picture, left, top + 1, repeatsEdge);
  const fourth = offset(picture, left + 1, top + 1, repeatsEdge);
  for (let k = 0; k < channels; k++) {
    const upper = between(value(data, first, k, outside), value(data, second, k, outside), across);
    const lower = between(value(data, third, k, outside), value(data, fourth, k, outside), across);
    sums[k] = fround(down * fround(lower - upper) + upper);
  }
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} share
 */
function between(from, to, share) {
  return fround(share * (to - from) + from);
}

/**
 * Return where a pixel begins, or -1 where it lies outside.
 *
 * @param {Picture} picture
 * @param {number} column
 * @param {number} row
 * @param {boolean} repeatsEdge
 */
function offset({ width, height, channels }, column, row, repeatsEdge) {
  if (column >= 0 && row >= 0 && column < width && row < height) {
    return (row * width + column) * channels;
  }
  if (!repeatsEdge) return -1;
  return (clamped(row, 0, height - 1) * width + clamped(column, 0, width - 1)) * channels;
}

/**
 * @param {Uint8ClampedArray} data
 * @param {number} start of a pixel, or -1
 * @param {number} channel
 * @param {number} outside
 */
function value(data, start, channel, outside) {
  return start < 0 ? outside : data[start + channel];
}

/**
 * Leave in `sums` what a picture shows between 16 pixels.
 *
 * @param {Picture} picture
 * @param {number} x
 * @param {number} y
 * @param {boolean} repeatsEdge
 * @param {number} outside
 * @param {number[]} sums
 */
function sampleCubic(picture, x, y, repeatsEdge, outside, sums) {
  const { data, width, height, channels } = picture;
  const [left, top] = [Math.floor(x) - 1, Math.floor(y) - 1];
  const across = cubicWeights(fround(x - left - 1));
  const down = cubicWeights(fround(y - top - 1));
  const isInside = left >= 0 && top >= 0 && left + 3 < width && top + 3 < height;
  sums.fill(0);
  for (let j = 0; j < 4; j++) {
    let at = ((top + j) * width + left) * channels;
    for (let i = 0; i < 4; i++, at += channels) {
      const start = isInside ? at : offset(picture, left + i, top + j, repeatsEdge);
      const weight = across[i] * down[j];
      for (let k = 0; k < channels; k++) sums[k] += weight * value(data, start, k, outside);
    }
  }
}

/** @param {number} rest how far behind the second of four pixels, in [0, 1) */
function cubicWeights(rest) {
  const first = outerWeight(fround(rest + 1));
  const second = innerWeight(rest);
  const third = innerWeight(fround(1 - rest));
  return [first, second, third, fround(fround(fround(1 - first) - second) - third)];
}

/** @param {number} x a distance in [1, 2] */
function outerWeight(x) {
  const sum = fround(fround(fround(CUBIC * x) - 5 * CUBIC) * x);
  return fround(fround(fround(sum + 8 * CUBIC) * x) - 4 * CUBIC);
}

/** @param {number} x a distance in [0, 1] */
function innerWeight(x) {
  const sum = fround(fround((CUBIC + 2) * x) - (CUBIC + 3));
  return fround(fround(fround(sum * x) * x) + 1);
}
