/**
 * Look at a face by itself, where YuNet sees it in one size and upright; as ferjax/faces/own_look.py,
 * which says why.
 *
 * Dimension keys: H height, W width of a picture; h and w of a patch; N faces.
 *
 * @import { Affine } from "./warp.js"
 * @import { Detector, Row } from "./yunet.js"
 * @import { Picture } from "./picture.js"
 * @import { Point, Pose } from "./pose.js"
 *
 * @typedef {[boolean, number, number]} View mirrored or not, moved by so many pixels, enlarged by
 *   so much
 *
 * @typedef {object} Near the neighbourhood of a face, shrunk to about the scale of its patch
 * @property {Picture} image
 * @property {number} left
 * @property {number} top
 * @property {number} scale
 *
 * @typedef {object} Sight a face in its patch, about the patch's centre
 * @property {number} score
 * @property {[number, number, number, number]} box centre, width, height
 * @property {Point[]} landmarks
 */

import { degrees, fround, radians, rounded } from "./numbers.js";
import { blurred, gray, part } from "./picture.js";
import { wrapped } from "./pose.js";
import { resized } from "./resize.js";
import { warped } from "./warp.js";

/** A score that is worth a look at the face by itself. */
export const CANDIDATE = 0.3;
/** The weight of that look in the score. */
const OWN_LOOK = 0.75;
/** Taken off a face's score that by itself looks like none. */
const DOUBT = 0.1;

const PATCH = 128;
const FACE = 80;
const REACH = 1.9;
const UPRIGHT_SCORE = 0.9;
const TURN_GAIN = 0.03;
const ROLL_GAIN = 2;
/** @type {View} */
const AS_IT_IS = [false, 0, 1];
/** @type {View[]} */
const VIEWS = [AS_IT_IS, [true, 4, 0.75]];
const MIRRORED = [1, 0, 2, 4, 3];
const TURNS = [45, -45, 90, -90, 135, -135, 180];
/** @type {View[]} */
const SURE_VIEWS = [
  [true, 4, 1.1],
  [false, 4, 1.2],
];
/** @type {View[]} */
const MEASURING = [
  [false, -2, 0.48],
  [true, -2, 0.48],
  [false, 2, 0.54],
  [true, 2, 0.54],
  [false, -2, 0.6],
  [true, -2, 0.6],
];
const MEASURE = 64;
const MEASURED = 144;
const SOFT = 1.5;
const SOFTENED = 7;
const OUTSIDE = 96;
const MEASURED_AWAY = 0.15;
const MEASURED_ROLL = 20;
const MEASURED_SCORE = 0.7;
const SURE_SIZE = 24;
const SURE_CANDIDATE = 0.8;
const SURE_AWAY = 0.1;
const SURE_ROLL = 7;
const ROUNDS = 3;
const STEADY = 0.03;
const STEADY_ROLL = 3;
const GRID = 192;
const BLUR = 0.2;

/**
 * Look at a face by itself and return it upright, with a low score where it looks like none.
 *
 * @param {Detector} detector
 * @param {Picture} image
 * @param {Pose} seenAt
 * @returns {Promise<Pose>}
 */
export async function refine(detector, image, seenAt) {
  const candidate = onGrid(seenAt);
  const near = nearby(image, candidate);
  const placed =
    (await surePose(detector, near, candidate)) ?? (await searched(detector, near, candidate));
  const seen = candidate.score - DOUBT;
  if (placed === null) return { ...candidate, score: seen };
  const score = Math.max(seen, OWN_LOOK * placed.score + (1 - OWN_LOOK) * candidate.score);
  return { ...placed, width: placed.width + BLUR, height: placed.height + BLUR, score };
}

/**
 * Return where each face is that was, or is expected, at a pose; null where none is seen. All are
 * looked at together.
 *
 * @param {Detector} detector
 * @param {Picture} image
 * @param {Pose[]} expected
 * @returns {Promise<(Pose | null)[]>}
 */
export async function follow(detector, image, expected) {
  const poses = expected.map(onGrid);
  const nears = poses.map((pose) => nearby(image, pose));
  /** @type {Picture[]} */
  const patches = [];
  poses.forEach((pose, i) => {
    if (isEmpty(nears[i])) return;
    for (const view of VIEWS) patches.push(patch(nears[i], pose, pose.roll, view, PATCH));
  });
  const outputs = patches.length ? await detector.run(patches, CANDIDATE, false) : [];
  return poses.map((pose, i) => {
    if (isEmpty(nears[i])) return null;
    const sight = together(VIEWS.map((view) => sightOf(outputs.shift() ?? [], view, PATCH)));
    if (sight === null) return null;
    const placed = place(pose, pose.roll, sight);
    return { ...placed, width: placed.width + BLUR, height: placed.height + BLUR };
  });
}

/** @param {Near} near */
function isEmpty({ image }) {
  return image.width === 0 || image.height === 0;
}

/**
 * Return a face that is sure and upright as it is; null: it is to be searched for.
 *
 * @param {Detector} detector
 * @param {Near} near
 * @param {Pose} candidate
 */
async function surePose(detector, near, candidate) {
  if (candidate.score < SURE_CANDIDATE || candidate.height < SURE_SIZE) return null;
  const sight = await see(detector, near, candidate, 0, SURE_VIEWS);
  if (sight === null || !isSure(sight)) return null;
  const pose = await measured(detector, near, place(candidate, 0, sight));
  return Math.abs(pose.roll) < SURE_ROLL ? pose : null;
}

/**
 * Turn and move a face until it looks upright; null where it looks like none.
 *
 * @param {Detector} detector
 * @param {Near} near
 * @param {Pose} candidate
 */
async function searched(detector, near, candidate) {
  let [pose, turn] = [candidate, 0];
  let sight = await see(detector, near, pose, turn, VIEWS);
  if (sight === null || sight.score < UPRIGHT_SCORE) {
    const turns = [turn, ...TURNS]; // perhaps it is turned
    const sights = await sightsOf(
      detector,
      near,
      pose,
      turns.map((angle) => [angle, AS_IT_IS]),
    );
    const scores = sights.map((seen) => (seen === null ? -Infinity : seen.score));
    scores[0] += TURN_GAIN;
    const best = scores.indexOf(Math.max(...scores));
    if (best > 0 || sight === null) [turn, sight] = [turns[best], sights[best]];
  }
  for (let round = 0; round < ROUNDS && sight !== null && !isSteady(sight); round++) {
    pose = onGrid(place(pose, turn, sight));
    turn = pose.roll;
    sight = await see(detector, near, pose, turn, VIEWS);
  }
  if (sight === null) return null;
  return await measured(detector, near, place(pose, turn, sight));
}

/**
 * Return a face with its place and size measured.
 *
 * @param {Detector} detector
 * @param {Near} near
 * @param {Pose} face
 * @returns {Promise<Pose>}
 */
async function measured(detector, near, face) {
  const grayNear = { ...near, image: gray(near.image) };
  const start = onGrid(face);
  const seen = patch(grayNear, start, start.roll, AS_IT_IS, MEASURED, OUTSIDE);
  const soft = blurred(seen, SOFT, SOFTENED);
  const upright = { image: soft, left: 0, top: 0, scale: 1 };
  const at = { ...start, x: MEASURED / 2, y: MEASURED / 2, height: FACE };
  const sight = await see(detector, upright, at, 0, MEASURING, MEASURE);
  if (sight === null) return { ...face, score: face.score - DOUBT };
  if (sight.score < MEASURED_SCORE || !isWithin(sight, MEASURED_AWAY, MEASURED_ROLL)) return face;
  const pose = { ...place(start, start.roll, sight), score: face.score };
  const grown = Math.max(
    Math.abs(pose.height / face.height - 1),
    Math.abs(pose.width / face.width - 1),
  );
  return grown < MEASURED_AWAY ? pose : face;
}

/**
 * Return a pose rounded to about a 200th of the face's height and a whole degree, so that
 * what another CPU or runtime adds in another order changes no pixel of the next look.
 *
 * @param {Pose} pose
 * @returns {Pose}
 */
function onGrid(pose) {
  const step = 2 ** rounded(Math.log2(pose.height)) / GRID;
  /** @param {number} value */
  const near = (value) => step * rounded(value / step);
  return {
    ...pose,
    x: near(pose.x),
    y: near(pose.y),
    width: near(pose.width),
    height: near(pose.height),
    roll: rounded(pose.roll),
  };
}

/**
 * @param {Picture} image
 * @param {Pose} pose
 * @returns {Near}
 */
function nearby(image, pose) {
  const reach = Math.ceil(REACH * pose.height) + 2;
  const left = Math.max(0, rounded(pose.x) - reach);
  const right = Math.min(image.width, rounded(pose.x) + reach);
  const top = Math.max(0, rounded(pose.y) - reach);
  const bottom = Math.min(image.height, rounded(pose.y) + reach);
  const by = Math.trunc(pose.height / FACE);
  if (by < 2 || right <= left || bottom <= top) {
    return { image: part(image, left, top, right, bottom), left, top, scale: 1 };
  }
  const rows = Math.max(1, Math.floor((bottom - top) / by));
  const columns = Math.max(1, Math.floor((right - left) / by));
  // What is left over at the right and the bottom would make the two scales differ.
  const whole = part(
    image,
    left,
    top,
    Math.min(right, left + columns * by),
    Math.min(bottom, top + rows * by),
  );
  return { image: resized(whole, rows, columns), left, top, scale: 1 / by };
}

/**
 * Return the mean of what is seen of a face, turned back by `turn`, or null.
 *
 * @param {Detector} detector
 * @param {Near} near
 * @param {Pose} pose
 * @param {number} turn
 * @param {View[]} views
 * @param {number} [side] of the views
 */
async function see(detector, near, pose, turn, views, side = PATCH) {
  const sights = await sightsOf(
    detector,
    near,
    pose,
    views.map((view) => [turn, view]),
    side,
  );
  return together(sights);
}

/**
 * Return the mean of sights, whose score is less where some show no face, or null.
 *
 * @param {(Sight | null)[]} sights
 * @returns {Sight | null}
 */
function together(sights) {
  const seen = sights.filter((sight) => sight !== null);
  if (!seen.length) return null;
  const score = seen.reduce((sum, sight) => sum + sight.score, 0) / sights.length;
  return { ...mean(seen), score };
}

/**
 * @param {Sight[]} sights
 * @returns {Sight}
 */
function mean(sights) {
  /** @param {(sight: Sight) => number} number */
  const of = (number) => sights.reduce((sum, sight) => sum + number(sight), 0) / sights.length;
  return {
    score: of((sight) => sight.score),
    box: [
      of((sight) => sight.box[0]),
      of((sight) => sight.box[1]),
      of((sight) => sight.box[2]),
      of((sight) => sight.box[3]),
    ],
    landmarks: sights[0].landmarks.map((_, i) => [
      of((sight) => sight.landmarks[i][0]),
      of((sight) => sight.landmarks[i][1]),
    ]),
  };
}

/**
 * Return what is seen of a face in each view, turned back by so much.
 *
 * @param {Detector} detector
 * @param {Near} near
 * @param {Pose} pose
 * @param {[number, View][]} views
 * @param {number} [side] of the views
 */
async function sightsOf(detector, near, pose, views, side = PATCH) {
  const patches = views.map(([turn, view]) => patch(near, pose, turn, view, side));
  const outputs = await detector.run(patches, CANDIDATE, false);
  return outputs.map((rows, i) => sightOf(rows, views[i][1], side));
}

/**
 * Return a view of a face, (h, w, 3), or (h, w, 1) of what is near in gray.
 *
 * @param {Near} near
 * @param {Pose} pose
 * @param {number} turn
 * @param {View} view
 * @param {number} side
 * @param {number} [outside] what lies outside the picture
 */
function patch(near, pose, turn, [mirrored, offset, zoom], side, outside = 0) {
  const scale = (zoom * FACE) / pose.height / near.scale;
  const cosine = scale * Math.cos(radians(turn));
  const sine = scale * Math.sin(radians(turn));
  const across = mirrored ? -1 : 1;
  // Where the face's centre is in what is near; pixels' centres lie at whole numbers.
  const x = (pose.x - near.left) * near.scale - 0.5;
  const y = (pose.y - near.top) * near.scale - 0.5;
  const middle = side / 2 - 0.5 + offset;
  /** @type {Affine} */
  const affine = [
    across * cosine,
    across * sine,
    middle - across * (cosine * x + sine * y),
    -sine,
    cosine,
    middle - (cosine * y - sine * x),
  ];
  return warped(near.image, affine, side, { cubic: scale > 1, outside });
}

/**
 * Return the face in the middle of a view, of what the network sees there.
 *
 * @param {Row[]} rows
 * @param {View} view
 * @param {number} side
 * @returns {Sight | null}
 */
function sightOf(rows, [mirrored, offset, zoom], side) {
  const middle = side / 2 + offset;
  const farthest = fround(0.4 * zoom * FACE);
  const inMiddle = rows.filter((row) =>
    [0, 1].every((axis) => {
      const centre = fround(fround(row[axis] + row[axis + 2] / 2) - middle);
      return Math.abs(centre) < farthest;
    }),
  );
  if (!inMiddle.length) return null;
  // Neighbouring anchors show the same face, each with an error of its own.
  const weight = inMiddle.reduce((sum, row) => sum + row[14], 0);
  /** @param {number} k */
  const mean = (k) => inMiddle.reduce((sum, row) => sum + row[14] * row[k], 0) / weight;
  const [width, height] = [mean(2), mean(3)];
  const x = mean(0) + width / 2 - middle;
  const y = mean(1) + height / 2 - middle;
  /** @type {Point[]} */
  const landmarks = MIRRORED.map((other, i) => {
    const k = 4 + 2 * (mirrored ? other : i);
    const across = mean(k) - middle;
    return [(mirrored ? -across : across) / zoom, (mean(k + 1) - middle) / zoom];
  });
  return {
    score: Math.max(...inMiddle.map((row) => row[14])),
    box: [(mirrored ? -x : x) / zoom, y / zoom, width / zoom, height / zoom],
    landmarks,
  };
}

/**
 * Return the degrees by which a head is turned from where its patch has it upright.
 *
 * @param {Sight} sight
 */
function rollOf({ landmarks: [rightEye, leftEye, , rightMouth, leftMouth] }) {
  const eyes = degrees(Math.atan2(leftEye[1] - rightEye[1], leftEye[0] - rightEye[0]));
  const [x, y] = [0, 1].map(
    (axis) => (rightMouth[axis] + leftMouth[axis] - rightEye[axis] - leftEye[axis]) / 2,
  );
  return (ROLL_GAIN * (eyes + degrees(Math.atan2(-x, y)))) / 2;
}

/**
 * Whether a face is as its patch has it, but for a part of its height and a few degrees.
 *
 * @param {Sight} sight
 * @param {number} away
 * @param {number} roll
 */
function isWithin(sight, away, roll) {
  const [x, y, , height] = sight.box;
  const farthest = Math.max(Math.abs(x), Math.abs(y), Math.abs(height - FACE));
  return farthest < away * FACE && Math.abs(rollOf(sight)) < roll;
}

/**
 * Whether a patch about this box would show much the same.
 *
 * @param {Sight} sight
 */
function isSteady(sight) {
  return isWithin(sight, STEADY, STEADY_ROLL);
}

/**
 * Whether a face needs no search.
 *
 * @param {Sight} sight
 */
function isSure(sight) {
  return sight.score >= UPRIGHT_SCORE && isWithin(sight, SURE_AWAY, SURE_ROLL);
}

/**
 * Return a face where the picture has it, from where its patch about `pose` has it.
 *
 * @param {Pose} pose
 * @param {number} turn
 * @param {Sight} sight
 * @returns {Pose}
 */
function place(pose, turn, sight) {
  const by = pose.height / FACE;
  const cosine = by * Math.cos(radians(turn));
  const sine = by * Math.sin(radians(turn));
  /** @type {(x: number, y: number) => Point} */
  const back = (x, y) => [cosine * x - sine * y + pose.x, sine * x + cosine * y + pose.y];
  const [x, y] = back(sight.box[0], sight.box[1]);
  return {
    x,
    y,
    width: sight.box[2] * by,
    height: sight.box[3] * by,
    score: sight.score,
    landmarks: sight.landmarks.map(([across, down]) => back(across, down)),
    roll: wrapped(turn + rollOf(sight)),
  };
}
