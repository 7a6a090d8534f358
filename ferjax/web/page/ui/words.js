/** Numbers and results in words. */

/** @import { ReadFace } from "./reading.js" */

const WHOLE = new Intl.NumberFormat("en");

/** @param {number} value */
export const whole = (value) => WHOLE.format(Math.round(value));

/**
 * Return a share in percent, to a tenth.
 *
 * @param {number} share
 */
export function percent(share) {
  return Number.isFinite(share) ? `${(100 * share).toFixed(1)}\u00a0%` : "?";
}

/** @param {number} share */
export function roundPercent(share) {
  return Number.isFinite(share) ? `${Math.round(100 * share)}\u00a0%` : "?";
}

/**
 * @param {number} number
 * @param {string} singular
 * @param {string} [plural]
 */
export function count(number, singular, plural = `${singular}s`) {
  return `${whole(number)} ${number === 1 ? singular : plural}`;
}

/** @param {number} bytes */
export const megabytes = (bytes) => `${Math.max(1, Math.round(bytes / 1e6))}\u00a0MB`;

/**
 * Return a time as people read it: minutes, seconds and their tenths.
 *
 * @param {number} seconds
 */
export function clock(seconds) {
  const tenths = Math.floor(10 * Math.max(0, seconds) + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const left = (tenths % 600) / 10;
  return `${minutes}:${left < 10 ? "0" : ""}${left.toFixed(1)}`;
}

/**
 * Say what a face is taken for.
 *
 * @param {ReadFace} face
 * @param {string[]} labels
 */
export function guess(face, labels) {
  if (face.label !== null) return face.label;
  return `no label (perhaps ${labels[face.best] ?? "?"})`;
}

/**
 * Say what is seen in a picture.
 *
 * @param {string} name
 * @param {ReadFace[]} faces
 * @param {string[]} labels
 */
export function sentence(name, faces, labels) {
  if (!faces.length) return `${name}: no face.`;
  const each = faces.map((face) => {
    const small = face.tooSmall ? ", too small to tell" : "";
    return `Face ${face.number}: ${guess(face, labels)}, ${roundPercent(face.confidence)}${small}.`;
  });
  const listed = each.length > 12 ? [...each.slice(0, 12), `And ${each.length - 12} more.`] : each;
  return `${name}: ${count(faces.length, "face")}. ${listed.join(" ")}`;
}
