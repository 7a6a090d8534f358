/**
 * Faces in a picture, as ferjax/faces/detection.py.
 *
 * @import { Detector } from "./yunet.js"
 * @import { Picture } from "./picture.js"
 * @import { Point, Pose } from "./pose.js"
 *
 * @typedef {object} Detection
 * @property {[number, number, number, number]} box x, y, width, height in pixels; it may reach over
 *   the picture's edges. The longer side lies where the head lies.
 * @property {number} score how sure the detector is, in [0, 1]
 * @property {Point[]} landmarks right eye, left eye, nose, right and left corner of the mouth
 * @property {number} roll degrees by which the head is turned clockwise, in (-180, 180]
 * @property {number} size the face's height in pixels, along the head
 * @property {boolean} tooSmall whether what is read from the face means little
 */

import { find } from "./looks.js";
import { clamped } from "./numbers.js";
import { follow } from "./own_look.js";
import { isSideways } from "./pose.js";

export const MIN_SCORE = 0.7;
/** The overlap from which on two boxes are of one face that was followed. */
const SAME = 0.4;
/** Pixels; smaller faces hardly show an expression. */
const SMALLEST = 24;

/**
 * Return the faces in a picture in reading order.
 *
 * @param {Detector} detector
 * @param {Picture} picture
 * @param {number} [minScore] the score that a face needs, in [0, 1]
 * @param {number | null} [minSize] the height in pixels that a face needs, and from which on faces
 *   are found in pictures of any size
 */
export async function detect(detector, picture, minScore = MIN_SCORE, minSize = null) {
  const poses = await find(detector, picture, minScore, minSize);
  const faces = poses.map(ofPose);
  return inReadingOrder(faces.filter((face) => minSize === null || face.size >= minSize));
}

/**
 * Return the faces that are still seen near where they were, in their order: in a part of the time
 * of `detect`. Each may have moved by 0.4 of its height. Where two have come to be one, the surer
 * one is left.
 *
 * @param {Detector} detector
 * @param {Picture} picture
 * @param {Pick<Detection, "box" | "score" | "roll">[]} faces
 * @param {number} [minScore]
 * @param {number | null} [minSize]
 */
export async function followed(detector, picture, faces, minScore = MIN_SCORE, minSize = null) {
  const poses = await follow(detector, picture, faces.map(toPose));
  const seen = poses
    .filter((pose) => pose !== null)
    .filter((pose) => pose.score >= minScore && pose.height >= (minSize ?? 0))
    .map(ofPose);
  return seen.filter(
    (face, i) =>
      !seen.some((other, j) => {
        const isSurer = other.score > face.score || (other.score === face.score && j < i);
        return j !== i && isSurer && overlap(face.box, other.box) >= SAME;
      }),
  );
}

/**
 * Return the intersection of two boxes over their union, in [0, 1].
 *
 * @param {Detection["box"]} first
 * @param {Detection["box"]} second
 */
function overlap([x, y, width, height], [left, top, across, down]) {
  const right = Math.min(x + width, left + across) - Math.max(x, left);
  const below = Math.min(y + height, top + down) - Math.max(y, top);
  const common = Math.max(0, right) * Math.max(0, below);
  return common / (width * height + across * down - common);
}

/**
 * Return faces line by line, each from the left. A line begins with the highest face that is left;
 * to it belong those that have more than half of the smaller's height in common with it.
 *
 * @template {Pick<Detection, "box">} F
 * @param {F[]} faces
 * @returns {F[]}
 */
export function inReadingOrder(faces) {
  let left = [...faces].sort(
    ({ box: a }, { box: b }) => a[1] + a[3] / 2 - (b[1] + b[3] / 2) || a[0] - b[0],
  );
  /** @type {F[]} */
  const ordered = [];
  while (left.length) {
    const [, top, , height] = left[0].box;
    /** @type {F[]} */
    const line = [];
    /** @type {F[]} */
    const rest = [];
    left.forEach((face, i) => {
      const [, y, , h] = face.box;
      const common = Math.min(top + height, y + h) - Math.max(top, y);
      (i === 0 || common > Math.min(height, h) / 2 ? line : rest).push(face);
    });
    ordered.push(...line.sort(({ box: a }, { box: b }) => a[0] + a[2] / 2 - (b[0] + b[2] / 2)));
    left = rest;
  }
  return ordered;
}

/**
 * @param {Pose} pose
 * @returns {Detection}
 */
function ofPose(pose) {
  let [width, height] = [pose.width, pose.height];
  if (isSideways(pose.roll)) [width, height] = [height, width];
  return {
    box: [pose.x - width / 2, pose.y - height / 2, width, height],
    score: clamped(pose.score, 0, 1),
    landmarks: pose.landmarks,
    roll: pose.roll,
    size: pose.height,
    tooSmall: pose.height < SMALLEST,
  };
}

/**
 * @param {Pick<Detection, "box" | "score" | "roll">} face
 * @returns {Pose}
 */
function toPose({ box: [left, top, across, down], score, roll }) {
  const [width, height] = isSideways(roll) ? [down, across] : [across, down];
  return { x: left + across / 2, y: top + down / 2, width, height, score, landmarks: [], roll };
}
