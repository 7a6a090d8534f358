/**
 * What was seen in the frames of a film or a camera, as the network said it.
 *
 * @import { Face } from "../worker.js"
 * @import { Settings } from "../settings.js"
 * @import { Choices, ReadFace } from "./reading.js"
 *
 * @typedef {object} Frame
 * @property {number} time in seconds
 * @property {number} number from 0
 * @property {(Face & {track: number})[]} faces
 *
 * @typedef {object} ReadFrame
 * @property {number} time
 * @property {number} number
 * @property {ReadFace[]} faces
 */

import { read } from "./reading.js";
import { Tracks } from "./tracks.js";
import { count } from "./words.js";

const MOST_FACES = 60_000; // half an hour of a face at 30 frames a second; earlier ones are dropped

/**
 * Return what a frame counts for among `MOST_FACES`: one without a face takes room, too.
 *
 * @param {Frame} frame
 */
const sizeOf = ({ faces }) => Math.max(1, faces.length);

export class Recording {
  constructor() {
    /** @type {Frame[]} */
    this.frames = [];
    this.tracks = new Tracks();
    this.faces = 0;
    this.dropped = 0;
    this.number = 0;
    /** @type {{frames: ReadFrame[], choices: string}} */
    this.known = { frames: [], choices: "" };
  }

  /**
   * Take the faces of the next frame.
   *
   * @param {number} time
   * @param {Face[]} faces
   * @returns {Frame}
   */
  add(time, faces) {
    const frame = { time, number: this.number++, faces: this.tracks.follow(faces, time) };
    this.frames.push(frame);
    this.faces += sizeOf(frame);
    if (this.faces > MOST_FACES) {
      const early = this.frames.splice(0, Math.ceil(this.frames.length / 10));
      this.known.frames.splice(0, early.length);
      this.dropped += early.length;
      this.faces -= early.reduce((sum, seen) => sum + sizeOf(seen), 0);
    }
    return frame;
  }

  /** Say how many frames are no longer kept, if any. */
  lacking() {
    if (!this.dropped) return "";
    return ` The first ${count(this.dropped, "frame")} are no longer kept.`;
  }

  /**
   * Return all frames as the controls have them; those that were read before are not read anew.
   *
   * @param {Settings} settings
   * @param {Choices} choices
   * @returns {ReadFrame[]}
   */
  read(settings, choices) {
    const key = JSON.stringify(choices);
    if (this.known.choices !== key) this.known = { frames: [], choices: key };
    for (const { time, number, faces } of this.frames.slice(this.known.frames.length)) {
      this.known.frames.push({ time, number, faces: read(faces, settings, choices) });
    }
    return this.known.frames;
  }

  /**
   * Return the frame that is shown at a time, or null where none is near.
   *
   * @param {number} time
   */
  at(time) {
    let [low, high] = [0, this.frames.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.frames[middle].time <= time + 1e-3) low = middle;
      else high = middle - 1;
    }
    return this.frames[low] ?? null;
  }
}

/**
 * @typedef {object} TrackSummary
 * @property {number} track
 * @property {number} start in seconds
 * @property {number} end
 * @property {number} frames
 * @property {number | null} index the class that is said most often
 * @property {number} share of the frames in which it is said
 */

/**
 * Return what is said of each face that was followed.
 *
 * @param {ReadFrame[]} frames
 * @param {number} classes K
 * @returns {TrackSummary[]}
 */
export function summaries(frames, classes) {
  /** @type {Map<number, {start: number, end: number, frames: number, said: number[]}>} */
  const tracks = new Map();
  for (const { time, faces } of frames) {
    for (const face of faces) {
      const track = tracks.get(face.number) ?? {
        start: time,
        end: time,
        frames: 0,
        said: Array(classes).fill(0),
      };
      track.end = time;
      track.frames++;
      if (face.index !== null) track.said[face.index]++;
      tracks.set(face.number, track);
    }
  }
  return [...tracks].map(([track, { start, end, frames: seen, said }]) => {
    const most = Math.max(...said);
    return {
      track,
      start,
      end,
      frames: seen,
      index: most ? said.indexOf(most) : null,
      share: most / seen,
    };
  });
}
