/**
 * What the controls make of faces: which count as faces, and how probable each class is.
 *
 * @import { Face } from "../worker.js"
 * @import { Prior } from "../probabilities.js"
 * @import { Settings } from "../settings.js"
 *
 * @typedef {object} Choices what the controls say
 * @property {Prior} prior how common each class is
 * @property {boolean} calibrated
 * @property {number} abstainBelow
 * @property {number} minScore
 *
 * @typedef {object} Reading
 * @property {number} number from 1 in a picture, or the track in a film
 * @property {number[]} probabilities (K,)
 * @property {string | null} label null where none is given
 * @property {number | null} index
 * @property {number} best the index of the most probable class
 * @property {number} confidence
 *
 * @typedef {Face & Reading} ReadFace
 */

import { confident } from "../probabilities.js";
import { complain, wordsOf } from "./messages.js";

/**
 * Return what is said of a face; as the network says it, and a sentence for people, where its
 * outputs cannot be calibrated or brought under a prior.
 *
 * @param {number[]} raw
 * @param {Settings} settings
 * @param {Choices} choices
 */
function guessed(raw, settings, choices) {
  try {
    return confident(raw, settings, choices);
  } catch (error) {
    complain(wordsOf(error, "The controls cannot be applied to what these weights say."));
    return confident(raw, settings, { abstainBelow: choices.abstainBelow });
  }
}

/**
 * Return the faces that count, with their probabilities.
 *
 * @param {(Face & {track?: number})[]} faces
 * @param {Settings} settings
 * @param {Choices} choices
 * @returns {ReadFace[]}
 */
export function read(faces, settings, choices) {
  return faces
    .filter((face) => face.score >= choices.minScore)
    .map((face, index) => {
      const {
        probabilities,
        label,
        index: said,
        confidence,
      } = guessed(face.raw, settings, choices);
      const best = said ?? probabilities.indexOf(Math.max(...probabilities));
      return {
        ...face,
        number: face.track ?? index + 1,
        probabilities,
        label,
        index: said,
        best,
        confidence,
      };
    });
}
