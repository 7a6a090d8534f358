/**
 * Find faces with YuNet in looks at a picture of one size or several; as ferjax/faces/yunet.py, which
 * says why.
 *
 * Dimension keys: H height, W width of a picture; N faces.
 *
 * @import { Detector, Row } from "./yunet.js"
 * @import { Picture } from "./picture.js"
 * @import { Point, Pose } from "./pose.js"
 */

import { rounded } from "./numbers.js";
import { CANDIDATE, refine } from "./own_look.js";
import { part, partWithEdges, turned } from "./picture.js";
import { corners } from "./pose.js";
import { resized } from "./resize.js";

// How closely pictures are looked at.
/** @type {[number, number]} */
const FIRST = [640, 640 * 480]; // the long side and the area, whichever shows more
/** @type {[number, number]} */
const SECOND = [1600, 1600 * 1200];
const NO_SHRINKING = 1.25; // a picture this much larger than the first look is left as it is
const ENLARGED = 320; // the long side of smaller pictures
const SEEN_FROM = 48; // pixels from which on a look finds nearly every face
const STEP = 2.5; // between the scales of looks in tiles
const TILE = 1600;
const MAX_SCALE = 3; // of looks in tiles; more shows nothing new
const MIN_SIDE = 8; // pixels; what is smaller or in a narrower picture is no face
const LAST_DOUBT = 0.1; // taken off the score of a face that only a last look shows

/**
 * Return the faces in a picture.
 *
 * @param {Detector} detector
 * @param {Picture} image RGB
 * @param {number} minScore the score that a face needs, in [0, 1]
 * @param {number | null} minSize the height in pixels that a face needs, and from which on faces are
 *   to be found however large the picture; null: what two looks find
 * @returns {Promise<Pose[]>}
 */
export async function find(detector, image, minScore, minSize) {
  if (Math.min(image.width, image.height) < MIN_SIDE) return [];
  const low = Math.min(minScore, CANDIDATE);
  /** @type {Pose[]} */
  const seen = [];
  for (const scale of scales(image.height, image.width, minSize)) {
    seen.push(...(await look(detector, image, scale, low)));
  }
  let faces = await confirmed(detector, image, merged(seen), minScore);
  if (!faces.length) {
    const last = merged(await lastLooks(detector, image, low));
    faces = await confirmed(detector, image, last, minScore + LAST_DOUBT);
    faces = faces.map((face) => ({ ...face, score: face.score - LAST_DOUBT }));
  }
  return faces.filter((face) => face.height >= (minSize ?? MIN_SIDE));
}

/**
 * Look at each candidate by itself and return those that are faces.
 *
 * @param {Detector} detector
 * @param {Picture} image
 * @param {Pose[]} candidates
 * @param {number} minScore
 */
async function confirmed(detector, image, candidates, minScore) {
  /** @type {Pose[]} */
  const poses = [];
  for (const candidate of candidates) {
    const { x, y, height } = candidate;
    const mayShow =
      x > -height && x < image.width + height && y > -height && y < image.height + height;
    if (mayShow) poses.push(await refine(detector, image, candidate));
  }
  return merged(poses.filter((pose) => pose.score >= minScore));
}

/**
 * Return by what a picture is multiplied in each look.
 *
 * @param {number} height
 * @param {number} width
 * @param {number | null} minSize
 */
export function scales(height, width, minSize) {
  const longSide = Math.max(height, width);
  /** @param {[number, number]} limits */
  const scaleTo = ([side, area]) => Math.max(side / longSide, Math.sqrt(area / (height * width)));
  let first = scaleTo(FIRST);
  if (longSide < ENLARGED) first = ENLARGED / longSide;
  else if (first >= 1 / NO_SHRINKING) first = 1;
  let closest = minSize ? SEEN_FROM / minSize : scaleTo(SECOND);
  closest = Math.min(closest, minSize ? MAX_SCALE : 1);
  const steps = [first];
  for (let last = first; last < closest / 1.05; steps.push(last)) {
    last = Math.min(last * STEP, closest);
  }
  return steps;
}

/**
 * Return the faces that are seen in a picture whose sides are multiplied by `scale`.
 *
 * @param {Detector} detector
 * @param {Picture} image
 * @param {number} scale
 * @param {number} minScore
 */
async function look(detector, image, scale, minScore) {
  // A face in the core of a tile, half an overlap away from what is cut off, is seen whole.
  const margin = Math.ceil(SEEN_FROM * STEP);
  /** @type {Pose[]} */
  const poses = [];
  for (const down of tiles(image.height, scale, margin)) {
    for (const across of tiles(image.width, scale, margin)) {
      const tile = part(image, across.start, down.start, across.end, down.end);
      const seen = scaled(tile, scale);
      /** @type {Point} */
      const by = [tile.width / seen.width, tile.height / seen.height];
      const [rows] = await detector.run([seen], minScore);
      for (const row of rows) {
        const pose = poseOf(row, by, [across.start, down.start]);
        const isInCore =
          pose.x >= across.coreStart &&
          pose.x < across.coreEnd &&
          pose.y >= down.coreStart &&
          pose.y < down.coreEnd;
        if (isInCore) poses.push(pose);
      }
    }
  }
  return poses;
}

/**
 * @param {Picture} image
 * @param {number} scale
 */
function scaled(image, scale) {
  const rows = Math.max(1, rounded(image.height * scale));
  return resized(image, rows, Math.max(1, rounded(image.width * scale)));
}

/**
 * Return what is seen in a small picture with a border, and turned by quarters. It is placed in the
 * picture, but not turned.
 *
 * @param {Detector} detector
 * @param {Picture} image
 * @param {number} minScore
 */
async function lastLooks(detector, image, minScore) {
  const { width, height } = image;
  const whole = scaled(image, ENLARGED / Math.max(height, width));
  /** @type {Pose[]} */
  const poses = [];
  for (let quarters = 0; quarters < 4; quarters++) {
    const small = quarters ? whole : scaled(whole, 0.5);
    const by = [width / small.width, height / small.height];
    const border = quarters ? 0 : ENLARGED / 8;
    const upright = turned(small, quarters);
    const seen = border
      ? partWithEdges(
          upright,
          -border,
          -border,
          upright.width + 2 * border,
          upright.height + 2 * border,
        )
      : upright;
    const [rows] = await detector.run([seen], minScore);
    for (const row of rows) {
      const pose = poseOf(row, [1, 1], [0, 0]);
      // About the middle, in which all four pictures agree.
      let [x, y] = [pose.x - seen.width / 2, pose.y - seen.height / 2];
      for (let turn = 0; turn < quarters; turn++) [x, y] = [-y, x];
      poses.push({
        ...pose,
        x: (x + small.width / 2) * by[0],
        y: (y + small.height / 2) * by[1],
        width: pose.width * by[0],
        height: pose.height * by[1],
      });
    }
  }
  return poses;
}

/**
 * Return the tiles along a side. Their cores meet; at the ends of the side they reach as far as a
 * box's centre may lie.
 *
 * @param {number} length
 * @param {number} scale
 * @param {number} overlap
 */
export function tiles(length, scale, overlap) {
  const tile = Math.ceil(TILE / scale);
  const margin = Math.ceil(overlap / scale);
  if (length <= tile) {
    return [{ start: 0, end: length, coreStart: -Infinity, coreEnd: Infinity }];
  }
  const count = Math.ceil((length - 2 * margin) / (tile - 2 * margin));
  const starts = Array.from({ length: count }, (_, i) =>
    rounded((i * (length - tile)) / (count - 1)),
  );
  return starts.map((start, i) => ({
    start,
    end: start + tile,
    coreStart: i === 0 ? -Infinity : (starts[i - 1] + tile + start) / 2,
    coreEnd: i === count - 1 ? Infinity : (start + tile + starts[i + 1]) / 2,
  }));
}

/**
 * @param {Row} row
 * @param {Point} by
 * @param {Point} origin
 * @returns {Pose}
 */
function poseOf(row, by, origin) {
  const [x, y, width, height] = row;
  return {
    x: (x + width / 2) * by[0] + origin[0],
    y: (y + height / 2) * by[1] + origin[1],
    width: Math.max(1e-3, width * by[0]),
    height: Math.max(1e-3, height * by[1]),
    score: row[14],
    landmarks: [0, 1, 2, 3, 4].map((i) => [
      row[4 + 2 * i] * by[0] + origin[0],
      row[5 + 2 * i] * by[1] + origin[1],
    ]),
    roll: 0,
  };
}

/**
 * Return faces, the surest first, without those that share most of their area with a surer one:
 * more than 0.4 of their union, or 0.7 of the smaller, as of a part of a face that was seen in the
 * edge of a tile.
 *
 * @param {Pose[]} poses
 * @returns {Pose[]}
 */
export function merged(poses) {
  const ordered = [...poses].sort((a, b) => b.score - a.score);
  /** @type {Pose[]} */
  const kept = [];
  for (const pose of ordered) {
    if (!kept.some((surer) => isSame(pose, surer))) kept.push(pose);
  }
  return kept;
}

/**
 * @param {Pose} a
 * @param {Pose} b
 */
function isSame(a, b) {
  const [left, top, right, bottom] = corners(a);
  const [otherLeft, otherTop, otherRight, otherBottom] = corners(b);
  const across = Math.max(0, Math.min(right, otherRight) - Math.max(left, otherLeft));
  const down = Math.max(0, Math.min(bottom, otherBottom) - Math.max(top, otherTop));
  const common = across * down;
  const area = (right - left) * (bottom - top);
  const otherArea = (otherRight - otherLeft) * (otherBottom - otherTop);
  return common > 0.4 * (area + otherArea - common) || common > 0.7 * Math.min(area, otherArea);
}
