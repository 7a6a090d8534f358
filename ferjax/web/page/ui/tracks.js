/**
 * Which face of a frame is which of those before, by where it is: one line per face in a timeline.
 *
 * @import { Face } from "../worker.js"
 */

/** Seconds for which a face may be unseen and stay the same. */
const MOST_GAP = 2;
/** How far a face may be from where it was, in heights: at once, for each second since, at most. */
const AT_ONCE = 0.6;
const EACH_SECOND = 5;
const AT_MOST = 2.5;
/** How many times as large it may be, or as small. */
const GROWTH = 1.6;

export class Tracks {
  constructor() {
    /** @type {Map<number, {face: Face, time: number}>} */
    this.live = new Map();
    this.last = 0;
  }

  /**
   * Return the faces of the next frame with their tracks, numbers from 1.
   *
   * @param {Face[]} faces
   * @param {number} time in seconds
   * @returns {(Face & {track: number})[]}
   */
  follow(faces, time) {
    for (const [track, { time: seen }] of this.live) {
      if (time - seen > MOST_GAP || time < seen) this.live.delete(track);
    }
    const pairs = [];
    for (const [track, { face: before, time: seen }] of this.live) {
      for (const [index, face] of faces.entries()) {
        const likeness = likenessOf(before, face, time - seen);
        if (likeness > 0) pairs.push({ track, index, likeness });
      }
    }
    pairs.sort((a, b) => b.likeness - a.likeness);
    /** @type {Map<number, number>} */
    const tracks = new Map();
    const taken = new Set();
    for (const { track, index } of pairs) {
      if (tracks.has(index) || taken.has(track)) continue;
      tracks.set(index, track);
      taken.add(track);
    }
    return faces.map((face, index) => {
      const track = tracks.get(index) ?? ++this.last;
      this.live.set(track, { face, time });
      return { ...face, track };
    });
  }
}

/**
 * Return how likely two boxes are of one face: above 0 where they may be.
 *
 * @param {Face} before
 * @param {Face} after
 * @param {number} seconds between them
 */
function likenessOf(before, after, seconds) {
  const [left, top, width, height] = before.box;
  const [x, y, across, down] = after.box;
  const growth = down / height;
  if (!(growth < GROWTH && growth > 1 / GROWTH)) return 0;
  const away = Math.hypot(left + width / 2 - x - across / 2, top + height / 2 - y - down / 2);
  const reach = Math.min(AT_MOST, AT_ONCE + EACH_SECOND * seconds);
  return 1 - away / height / reach;
}
