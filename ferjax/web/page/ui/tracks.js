/**
 * Which face of a frame is which of those before, by where it is: one line per face in a timeline.
 *
 * @import { Face } from "../worker.js"
 */

/** Seconds for which a face may be unseen and stay the same. */
const MOST_GAP = 2;
/** The least intersection over union of boxes, and the distance in heights, of one face. */
const LEAST_OVERLAP = 0.2;
const MOST_DISTANCE = 0.6;

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
    for (const [track, { face: before }] of this.live) {
      for (const [index, face] of faces.entries()) {
        const likeness = likenessOf(before, face);
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
 */
function likenessOf(before, after) {
  const [left, top, width, height] = before.box;
  const [x, y, across, down] = after.box;
  const common =
    Math.max(0, Math.min(left + width, x + across) - Math.max(left, x)) *
    Math.max(0, Math.min(top + height, y + down) - Math.max(top, y));
  const overlap = common / (width * height + across * down - common);
  if (overlap >= LEAST_OVERLAP) return 1 + overlap;
  const away = Math.hypot(left + width / 2 - x - across / 2, top + height / 2 - y - down / 2);
  const distance = away / Math.max(height, down, 1);
  return distance <= MOST_DISTANCE ? 1 - distance : 0;
}
