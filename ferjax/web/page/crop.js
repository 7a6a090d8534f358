/**
 * Crop a face as FER2013's faces are cropped; as ferjax/faces/cropping.py, which says why.
 *
 * @import { Affine } from "./warp.js"
 * @import { Detection } from "./detect.js"
 * @import { Picture } from "./picture.js"
 */

import { radians, rounded } from "./numbers.js";
import { part, partWithEdges, turned } from "./picture.js";
import { warped } from "./warp.js";

/** Of the height of YuNet's box. */
const SIDE = 0.9;
/** Degrees of roll from which a head is turned upright. */
const LEVEL_FROM = 15;

/**
 * Return the square about a face, upright, in the picture's own resolution.
 *
 * @param {Picture} picture
 * @param {Pick<Detection, "box" | "roll" | "size">} face
 * @returns {Picture}
 */
export function crop(picture, face) {
  const [left, top, width, height] = face.box;
  const length = rounded(Math.max(1, SIDE * face.size));
  const [x, y] = [left + width / 2, top + height / 2];
  const turn = turnOf(face.roll);
  if (turn % 90 !== 0) return turnedSquare(picture, x, y, length, turn);
  const start = [x, y].map((middle) => rounded(middle - length / 2));
  return turned(partWithEdges(picture, start[0], start[1], length, length), rounded(turn / 90));
}

/**
 * Return by how many degrees a face of this roll is turned to be upright, whole ones: exactly by a
 * multiple of 90 up to 15 degrees from there.
 *
 * @param {number} roll
 */
export function turnOf(roll) {
  const quarter = 90 * rounded(roll / 90);
  return Math.abs(roll - quarter) <= LEVEL_FROM ? quarter : rounded(roll);
}

/**
 * Return the square about a point, turned counter-clockwise.
 *
 * @param {Picture} picture
 * @param {number} centreX
 * @param {number} centreY
 * @param {number} length
 * @param {number} turn degrees
 */
function turnedSquare(picture, centreX, centreY, length, turn) {
  const [x, y] = [rounded(16 * centreX) / 16, rounded(16 * centreY) / 16];
  const reach = Math.ceil(length * Math.sqrt(0.5)) + 2;
  const left = Math.min(Math.max(0, Math.floor(x) - reach), picture.width - 1);
  const top = Math.min(Math.max(0, Math.floor(y) - reach), picture.height - 1);
  const right = Math.min(picture.width, Math.max(left + 1, Math.ceil(x) + reach));
  const bottom = Math.min(picture.height, Math.max(top + 1, Math.ceil(y) + reach));
  const near = part(picture, left, top, right, bottom);
  const [cosine, sine] = [Math.cos(radians(turn)), Math.sin(radians(turn))];
  // OpenCV's pixels have their centres at whole numbers.
  const [column, row] = [x - left - 0.5, y - top - 0.5];
  const middle = (length - 1) / 2;
  /** @type {Affine} */
  const affine = [
    cosine,
    sine,
    middle - (cosine * column + sine * row),
    -sine,
    cosine,
    middle - (-sine * column + cosine * row),
  ];
  return warped(near, affine, length, { repeatsEdge: true });
}
