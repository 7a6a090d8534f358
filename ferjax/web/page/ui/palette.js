/**
 * The colours of classes, which the colour-blind tell apart (Okabe and Ito, 2008): the same as in
 * annotated pictures, `ferjax/faces/marks.py`.
 */

const ORANGE = "#e69f00";
const SKY = "#56b4e9";
const GREEN = "#009e73";
const YELLOW = "#f0e442";
const BLUE = "#0072b2";
const VERMILLION = "#d55e00";
const PURPLE = "#cc79a7";
const GRAY = "#d2d2d2";

/** @type {Record<string, string>} */
const BY_NAME = {
  angry: VERMILLION,
  disgust: GREEN,
  fear: PURPLE,
  happy: YELLOW,
  neutral: GRAY,
  sad: SKY,
  surprise: ORANGE,
  contempt: BLUE,
};
const CYCLE = [SKY, ORANGE, GREEN, YELLOW, PURPLE, VERMILLION, BLUE, GRAY];

/** What stands under letters in pictures, and letters on it. */
export const GROUND = "rgb(18 20 24 / 88%)";
export const INK = "#ffffff";

/**
 * Return the colour of a class.
 *
 * @param {number} index of the class among `labels`
 * @param {string[]} labels
 */
export function colourOf(index, labels) {
  const name = labels[index] ?? "";
  return Object.hasOwn(BY_NAME, name) ? BY_NAME[name] : CYCLE[index % CYCLE.length];
}

/**
 * Return black or white, whichever is read better on a colour.
 *
 * @param {string} colour in hexadecimal
 */
export function onColour(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 110 ? "#000000" : INK;
}
