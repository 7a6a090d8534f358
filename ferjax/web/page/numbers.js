/** Arithmetic as Python and NumPy have it. */

export const { fround } = Math;

/**
 * Round to the nearest whole number, halves to the even one.
 *
 * @param {number} value
 */
export function rounded(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export function clamped(value, low, high) {
  return value < low ? low : value > high ? high : value;
}

/** @param {number} degrees */
export function radians(degrees) {
  return (degrees * Math.PI) / 180;
}

/** @param {number} angle in radians */
export function degrees(angle) {
  return (angle * 180) / Math.PI;
}
