/**
 * Pictures as arrays: their parts, borders, quarter turns and gray, as NumPy and OpenCV make them.
 *
 * @typedef {object} Picture
 * @property {Uint8ClampedArray} data (H, W, C), in RGB order; C is 1 for gray and 3 for colours
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 */

import { clamped, rounded } from "./numbers.js";

/**
 * Return a black picture.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} channels
 * @returns {Picture}
 */
export function blank(width, height, channels) {
  return { data: new Uint8ClampedArray(width * height * channels), width, height, channels };
}

/**
 * Return the part from a column and a row on to others, which are outside of it.
 *
 * @param {Picture} picture
 * @param {number} left
 * @param {number} top
 * @param {number} right
 * @param {number} bottom
 * @returns {Picture}
 */
export function part(picture, left, top, right, bottom) {
  const { data, width, height, channels } = picture;
  if (left === 0 && top === 0 && right === width && bottom === height) return picture;
  const result = blank(Math.max(0, right - left), Math.max(0, bottom - top), channels);
  const length = result.width * channels;
  for (let row = 0; row < result.height; row++) {
    const start = ((top + row) * width + left) * channels;
    result.data.set(data.subarray(start, start + length), row * length);
  }
  return result;
}

/**
 * Return the part of some columns and rows, of which those outside repeat the picture's edge.
 *
 * @param {Picture} picture
 * @param {number} left may be negative
 * @param {number} top may be negative
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
export function partWithEdges(picture, left, top, width, height) {
  const { data, channels } = picture;
  const result = blank(width, height, channels);
  for (let y = 0, to = 0; y < height; y++) {
    const row = clamped(top + y, 0, picture.height - 1) * picture.width;
    for (let x = 0; x < width; x++) {
      let from = (row + clamped(left + x, 0, picture.width - 1)) * channels;
      for (let c = 0; c < channels; c++) result.data[to++] = data[from++];
    }
  }
  return result;
}

/**
 * Return a picture with black columns at its right and rows at its bottom.
 *
 * @param {Picture} picture
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
export function filledUp(picture, width, height) {
  const result = blank(width, height, picture.channels);
  const length = picture.width * picture.channels;
  for (let row = 0; row < picture.height; row++) {
    const source = picture.data.subarray(row * length, (row + 1) * length);
    result.data.set(source, row * width * picture.channels);
  }
  return result;
}

/**
 * Return a picture turned counter-clockwise by quarters.
 *
 * @param {Picture} picture
 * @param {number} quarters whole, also negative
 * @returns {Picture}
 */
export function turned(picture, quarters) {
  const { data, width, height, channels } = picture;
  const turns = ((quarters % 4) + 4) % 4;
  if (turns === 0) return picture;
  const lies = turns % 2 === 1;
  const result = blank(lies ? height : width, lies ? width : height, channels);
  for (let y = 0, to = 0; y < result.height; y++) {
    for (let x = 0; x < result.width; x++) {
      const column = turns === 1 ? width - 1 - y : turns === 2 ? width - 1 - x : y;
      const row = turns === 1 ? x : turns === 2 ? height - 1 - y : height - 1 - x;
      let from = (row * width + column) * channels;
      for (let c = 0; c < channels; c++) result.data[to++] = data[from++];
    }
  }
  return result;
}

/**
 * Return a picture that is stored with an EXIF orientation as a viewer shows it.
 *
 * @param {Picture} picture
 * @param {number} orientation 1 to 8
 * @returns {Picture}
 */
export function upright(picture, orientation) {
  if (orientation === 1) return picture;
  const { data, width, height, channels } = picture;
  const lies = orientation >= 5; // rows are columns
  const result = blank(lies ? height : width, lies ? width : height, channels);
  const isFlipped = [3, 4, 7, 8].includes(orientation);
  const isMirrored = [2, 3, 6, 7].includes(orientation);
  for (let y = 0, to = 0; y < result.height; y++) {
    const row = isFlipped ? result.height - 1 - y : y;
    for (let x = 0; x < result.width; x++) {
      const column = isMirrored ? result.width - 1 - x : x;
      let from = (lies ? column * width + row : row * width + column) * channels;
      for (let c = 0; c < channels; c++) result.data[to++] = data[from++];
    }
  }
  return result;
}

/**
 * Return what `setTransform` of a canvas takes to draw a picture upright that is stored with an EXIF
 * orientation.
 *
 * @param {number} orientation 1 to 8
 * @param {number} width of the upright picture
 * @param {number} height
 * @returns {[number, number, number, number, number, number]}
 */
export function uprightBy(orientation, width, height) {
  const across = [2, 3, 6, 7].includes(orientation) ? -1 : 1;
  const down = [3, 4, 7, 8].includes(orientation) ? -1 : 1;
  const start = [across < 0 ? width : 0, down < 0 ? height : 0];
  if (orientation >= 5) return [0, down, across, 0, start[0], start[1]]; // rows are columns
  return [across, 0, 0, down, start[0], start[1]];
}

/**
 * Return colours as gray, by OpenCV's integers: 0.299 R + 0.587 G + 0.114 B.
 *
 * @param {Picture} picture
 * @returns {Picture}
 */
export function gray(picture) {
  if (picture.channels === 1) return picture;
  const { data } = picture;
  const result = blank(picture.width, picture.height, 1);
  for (let i = 0, from = 0; i < result.data.length; i++, from += 3) {
    const sum = 9798 * data[from] + 19235 * data[from + 1] + 3735 * data[from + 2];
    result.data[i] = (sum + 16384) >> 15;
  }
  return result;
}

/**
 * Return a gray picture blurred by a Gaussian, whose edges are repeated, by OpenCV's integers.
 *
 * @param {Picture} picture
 * @param {number} deviation in pixels
 * @param {number} size pixels that are taken together, an odd number
 * @returns {Picture}
 */
export function blurred({ data, width, height }, deviation, size) {
  const weights = gaussian(deviation, size);
  const reach = (size - 1) / 2;
  const across = new Int32Array(data.length);
  const result = blank(width, height, 1);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to++) {
      for (let i = -reach; i <= reach; i++) {
        across[to] += weights[i + reach] * data[y * width + clamped(x + i, 0, width - 1)];
      }
    }
  }
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to++) {
      let sum = 32768;
      for (let i = -reach; i <= reach; i++) {
        sum += weights[i + reach] * across[clamped(y + i, 0, height - 1) * width + x];
      }
      result.data[to] = sum >> 16;
    }
  }
  return result;
}

/**
 * Return a Gaussian's weights in 256ths; what rounding takes from one goes to the next.
 *
 * @param {number} deviation in pixels
 * @param {number} size
 */
function gaussian(deviation, size) {
  const reach = (size - 1) / 2;
  const exact = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * deviation ** 2)),
  );
  const total = exact.reduce((sum, weight) => sum + weight, 0);
  const weights = new Int32Array(exact.length);
  weights[reach] = 256;
  for (let i = 0, rest = 0; i < reach; i++) {
    const weight = (256 * exact[i]) / total + rest;
    weights[i] = weights[2 * reach - i] = rounded(weight);
    rest = weight - weights[i];
    weights[reach] -= 2 * weights[i];
  }
  return weights;
}

/**
 * Return a picture of red, green, blue and alpha as RGB over white.
 *
 * @param {ArrayLike<number>} data (H, W, 4)
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
export function fromRgba(data, width, height) {
  const result = blank(width, height, 3);
  for (let from = 0, to = 0; to < result.data.length; from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let c = 0; c < 3; c++) {
      const value = data[from + c];
      result.data[to + c] =
        alpha === 255 ? value : Math.floor((value * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return result;
}
