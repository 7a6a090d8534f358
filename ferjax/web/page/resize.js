/**
 * Resize pictures to the same bytes as OpenCV does, of 8 bits.
 *
 * Dimension keys: H height, W width, C channels.
 *
 * @import { Picture } from "./picture.js"
 */

import { clamped, fround, rounded } from "./numbers.js";
import { blank } from "./picture.js";

/** How near a scale is to a whole number that counts as one; C++'s DBL_EPSILON. */
const EPSILON = 2 ** -52;
/** A part of a pixel that counts for nothing. */
const SLIVER = 1e-3;
/** What weights of bilinear interpolation are stored as parts of. */
const ONE = 2048;

/**
 * Return a picture of another size: the mean of the pixels that fall into each of the result
 * (INTER_AREA) where neither side grows, else bilinear (INTER_LINEAR).
 *
 * @param {Picture} picture
 * @param {number} height
 * @param {number} width
 * @returns {Picture}
 */
export function resized(picture, height, width) {
  if (picture.height === height && picture.width === width) return picture;
  if (height > picture.height || width > picture.width) return enlarged(picture, height, width);
  const down = 1 / (height / picture.height);
  const across = 1 / (width / picture.width);
  const [rows, columns] = [rounded(down), rounded(across)];
  if (Math.abs(down - rows) < EPSILON && Math.abs(across - columns) < EPSILON) {
    return byWholePixels(picture, height, width, rows, columns);
  }
  return byParts(picture, height, width, down, across);
}

/**
 * Shrink to means of blocks of whole pixels.
 *
 * @param {Picture} picture
 * @param {number} height
 * @param {number} width
 * @param {number} rows of a block
 * @param {number} columns
 */
function byWholePixels(picture, height, width, rows, columns) {
  const { data, channels } = picture;
  const stride = picture.width * channels;
  const result = blank(width, height, channels);
  const share = fround(1 / (rows * columns));
  const isQuarter = rows === 2 && columns === 2;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++, to++) {
        let sum = 0;
        for (let row = 0; row < rows; row++) {
          let from = (y * rows + row) * stride + x * columns * channels + c;
          for (let column = 0; column < columns; column++, from += channels) sum += data[from];
        }
        result.data[to] = isQuarter ? (sum + 2) >> 2 : fround(sum * share);
      }
    }
  }
  return result;
}

/**
 * Shrink to means of parts of pixels: first along rows, then down columns, in single precision.
 *
 * @param {Picture} picture
 * @param {number} height
 * @param {number} width
 * @param {number} down pixels of the picture to one of the result
 * @param {number} across
 */
function byParts(picture, height, width, down, across) {
  const { data, channels } = picture;
  const along = shares(picture.width, width, across);
  const below = shares(picture.height, height, down);
  const result = blank(width, height, channels);
  const length = width * channels;
  const line = new Float32Array(length);
  const sums = new Float32Array(length);
  const count = along.from.length;
  for (let k = 0, last = 0; k <= below.from.length; k++) {
    if (k === below.from.length || below.to[k] !== last) {
      result.data.set(sums, last * length); // rounds halves to even numbers
      if (k === below.from.length) break;
      sums.fill(0);
      last = below.to[k];
    }
    line.fill(0);
    const row = below.from[k] * picture.width * channels;
    if (channels === 1) {
      for (let i = 0; i < count; i++) {
        line[along.to[i]] += fround(data[row + along.from[i]] * along.share[i]);
      }
    } else {
      for (let i = 0; i < count; i++) {
        const from = row + 3 * along.from[i];
        const to = 3 * along.to[i];
        const share = along.share[i];
        line[to] += fround(data[from] * share);
        line[to + 1] += fround(data[from + 1] * share);
        line[to + 2] += fround(data[from + 2] * share);
      }
    }
    const share = below.share[k];
    for (let i = 0; i < length; i++) sums[i] += fround(share * line[i]);
  }
  return result;
}

/**
 * Return which pixels of a side count for which of the shrunk one, and by how much.
 *
 * @param {number} length
 * @param {number} shrunk
 * @param {number} scale
 */
function shares(length, shrunk, scale) {
  /** @type {number[]} */
  const from = [];
  /** @type {number[]} */
  const to = [];
  /** @type {number[]} */
  const share = [];
  for (let i = 0; i < shrunk; i++) {
    const start = i * scale;
    const end = start + scale;
    const size = Math.min(scale, length - start);
    const last = Math.min(Math.floor(end), length - 1);
    const first = Math.min(Math.ceil(start), last);
    if (first - start > SLIVER) {
      from.push(first - 1);
      to.push(i);
      share.push((first - start) / size);
    }
    for (let whole = first; whole < last; whole++) {
      from.push(whole);
      to.push(i);
      share.push(1 / size);
    }
    if (end - last > SLIVER) {
      from.push(last);
      to.push(i);
      share.push(Math.min(end - last, 1, size) / size);
    }
  }
  return {
    from: Int32Array.from(from),
    to: Int32Array.from(to),
    share: Float32Array.from(share),
  };
}

/**
 * Interpolate between four pixels, by weights of 11 bits.
 *
 * @param {Picture} picture
 * @param {number} height
 * @param {number} width
 */
function enlarged(picture, height, width) {
  const { data, channels } = picture;
  const columns = neighbours(picture.width, width, true);
  const rows = neighbours(picture.height, height, false);
  const result = blank(width, height, channels);
  const length = width * channels;
  /** @type {Map<number, Int32Array>} */
  const lines = new Map();
  /** @param {number} row */
  const interpolated = (row) => {
    let line = lines.get(row);
    if (line === undefined) {
      line = new Int32Array(length);
      const start = row * picture.width;
      for (let x = 0, to = 0; x < width; x++) {
        const low = (start + columns.low[x]) * channels;
        const high = (start + columns.high[x]) * channels;
        for (let c = 0; c < channels; c++, to++) {
          line[to] = data[low + c] * columns.lowShare[x] + data[high + c] * columns.highShare[x];
        }
      }
      if (lines.size > 3) lines.clear();
      lines.set(row, line);
    }
    return line;
  };
  for (let y = 0; y < height; y++) {
    const upper = interpolated(rows.low[y]);
    const lower = interpolated(rows.high[y]);
    const [upperShare, lowerShare] = [rows.lowShare[y], rows.highShare[y]];
    for (let i = 0; i < length; i++) {
      const sum = ((upperShare * (upper[i] >> 4)) >> 16) + ((lowerShare * (lower[i] >> 4)) >> 16);
      result.data[y * length + i] = (sum + 2) >> 2;
    }
  }
  return result;
}

/**
 * Return the two pixels that each of a resized side lies between, and their shares of `ONE`.
 *
 * @param {number} length
 * @param {number} count
 * @param {boolean} endsWhole whether beyond the ends there is one pixel, of the whole weight
 */
function neighbours(length, count, endsWhole) {
  const scale = 1 / (count / length);
  const low = new Int32Array(count);
  const high = new Int32Array(count);
  const lowShare = new Int32Array(count);
  const highShare = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const at = fround((i + 0.5) * scale - 0.5);
    const below = Math.floor(at);
    const isOutside = below < 0 || below >= length - 1;
    const rest = endsWhole && isOutside ? 0 : fround(at - below);
    low[i] = clamped(below, 0, length - 1);
    high[i] = clamped(below + 1, 0, length - 1);
    lowShare[i] = rounded(fround(fround(1 - rest) * ONE));
    highShare[i] = rounded(fround(rest * ONE));
  }
  return { low, high, lowShare, highShare };
}
