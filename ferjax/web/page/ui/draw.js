/**
 * Draw pictures with their faces: a box in the colour of the class, and above it the label.
 *
 * The box is dashed where no label is given, and dotted where the face is too small to tell.
 *
 * @import { ReadFace } from "./reading.js"
 */

import { drawing } from "./elements.js";
import { colourOf, GROUND, INK, onColour } from "./palette.js";
import { roundPercent } from "./words.js";

/** Degrees from upright, or lying, up to which a box stays upright. */
const LEVEL = 15;
const FONT = "system-ui, sans-serif";

/**
 * Draw a picture as large as a canvas has room for.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource} source
 * @param {{width: number, height: number}} size of the picture that the boxes are in
 * @param {ReadFace[]} faces
 * @param {string[]} labels
 * @param {{mirrored?: boolean, mostHeight?: number}} [options]
 */
export function drawPicture(
  canvas,
  source,
  size,
  faces,
  labels,
  { mirrored = false, mostHeight = 720 } = {},
) {
  const { width, height, scale } = fitted(canvas, size, mostHeight);
  const context = drawing(canvas);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const left = (canvas.width - width) / 2;
  context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? left + width : left, 0);
  context.drawImage(source, 0, 0, width, height);
  context.setTransform(1, 0, 0, 1, left, 0);
  const shown = mirrored ? faces.map((face) => mirroredFace(face, size.width)) : faces;
  const least = faces.length > 3 ? 11 : 13; // pixels of the page
  const text = Math.round(Math.max(least, Math.min(17, width / 40 / ratio())) * ratio());
  for (const face of shown) drawBox(context, face, scale, labels);
  drawLabels(context, shown, { scale, labels, text, width, height });
}

/** How many pixels of the screen are one of the page. */
const ratio = () => Math.min(3, globalThis.devicePixelRatio || 1);

/**
 * Size a canvas for a picture and return what the picture has on it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {{width: number, height: number}} size
 * @param {number} mostHeight
 */
function fitted(canvas, size, mostHeight) {
  const room = (canvas.parentElement?.clientWidth || 640) * ratio();
  const most = Math.min(mostHeight, Math.max(240, 0.72 * globalThis.innerHeight)) * ratio();
  const scale = Math.min(room / size.width, most / size.height);
  const [width, height] = [Math.max(1, size.width * scale), Math.max(1, size.height * scale)];
  const [columns, rows] = [Math.round(room), Math.round(height)];
  if (canvas.width !== columns || canvas.height !== rows)
    [canvas.width, canvas.height] = [columns, rows];
  return { width, height, scale };
}

/**
 * @param {ReadFace} face
 * @param {number} width of the picture
 * @returns {ReadFace}
 */
function mirroredFace(face, width) {
  const [x, y, across, down] = face.box;
  return { ...face, box: [width - x - across, y, across, down], roll: -face.roll };
}

/**
 * Return the corners of a box, turned with the head where that is turned much.
 *
 * @param {ReadFace} face
 * @returns {[number, number][]}
 */
export function outline(face) {
  const [x, y, width, height] = face.box;
  const quarter = 90 * Math.round(face.roll / 90);
  const turn = ((Math.abs(face.roll - quarter) <= LEVEL ? quarter : face.roll) * Math.PI) / 180;
  const upright = Math.abs(face.roll) < 45 || Math.abs(face.roll) > 135;
  const [across, along] = upright ? [width / 2, height / 2] : [height / 2, width / 2];
  const [sine, cosine] = [Math.sin(turn), Math.cos(turn)];
  const corner = (/** @type {number} */ a, /** @type {number} */ b) =>
    /** @type {[number, number]} */ ([
      x + width / 2 + a * across * cosine - b * along * sine,
      y + height / 2 + a * across * sine + b * along * cosine,
    ]);
  return [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
}

/**
 * @param {ReadFace} face
 * @param {string[]} labels
 */
const colour = (face, labels) => (face.index === null ? INK : colourOf(face.index, labels));

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ReadFace} face
 * @param {number} scale
 * @param {string[]} labels
 */
function drawBox(context, face, scale, labels) {
  const line = Math.max(2, Math.min(4, (face.size * scale) / 40)) * Math.sqrt(ratio());
  context.beginPath();
  for (const [x, y] of outline(face)) context.lineTo(x * scale, y * scale);
  context.closePath();
  context.lineJoin = "round";
  context.setLineDash(
    face.tooSmall ? [line, 1.5 * line] : face.label === null ? [4 * line, 3 * line] : [],
  );
  context.lineWidth = line * 1.9;
  context.strokeStyle = GROUND;
  context.stroke();
  context.lineWidth = line;
  context.strokeStyle = colour(face, labels);
  context.stroke();
  context.setLineDash([]);
}

/**
 * @typedef {object} Rect
 * @property {number} left
 * @property {number} top
 * @property {number} right
 * @property {number} bottom
 *
 * @typedef {object} Label what stands at a face
 * @property {ReadFace} face
 * @property {string} number "" where there is one face alone
 * @property {string} words "" where there is no room for them
 * @property {Rect} rect
 */

/**
 * Draw a label for each face: above its box or below, where it covers no other face and no other
 * label; where there is no room, its number alone, which the list of faces has too.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {ReadFace[]} faces
 * @param {{scale: number, labels: string[], text: number, width: number, height: number}} picture
 */
function drawLabels(context, faces, { scale, labels, text, width, height }) {
  context.font = `600 ${text}px ${FONT}`;
  context.textBaseline = "middle";
  const [tall, gap] = [text * 1.6, text * 0.25];
  const outlines = faces.map((face) => bounds(outline(face), scale));
  /** @type {Rect[]} */
  const taken = [];
  faces.forEach((face, index) => {
    const { left, top, bottom } = outlines[index];
    const number = faces.length > 1 ? String(face.number) : "";
    const doubt = face.label === null ? "? " : "";
    const all = `${doubt}${labels[face.best]}  ${roundPercent(face.confidence)}`;
    /** @type {(words: string, y: number) => Label} */
    const at = (words, y) => {
      const wide = widthOf(context, number, words, text);
      const x = Math.max(0, Math.min(left, width - wide));
      const rect = { left: x, top: Math.max(0, y), right: x + wide, bottom: Math.max(0, y) + tall };
      return { face, number, words, rect };
    };
    const outside = [top - tall - gap, bottom + gap];
    const inside = at(all, top + gap);
    const hasRoom = 3 * tall < bottom - top && inside.rect.right <= outlines[index].right;
    const places = outside.map((y) => at(all, y));
    if (hasRoom) places.push(inside);
    if (number) places.push(...outside.map((y) => at("", y)));
    const others = outlines.filter((_, k) => k !== index);
    const chosen =
      places.find(
        ({ rect }) =>
          rect.bottom <= height &&
          ![...taken, ...others].some((other) => overlap(rect, other)) &&
          (rect === inside.rect || !overlap(rect, outlines[index])),
      ) ?? at(number ? "" : all, top);
    taken.push(chosen.rect);
    drawLabel(context, chosen, colour(face, labels), text);
  });
}

/**
 * @param {[number, number][]} points
 * @param {number} scale
 * @returns {Rect}
 */
function bounds(points, scale) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis] * scale));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return { left, top, right: Math.max(...xs), bottom: Math.max(...ys) };
}

/**
 * @param {Rect} a
 * @param {Rect} b
 */
function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/** How much room is beside letters, in parts of their size. */
const PAD = 0.45;

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} number
 * @param {string} words
 * @param {number} text
 */
function widthOf(context, number, words, text) {
  const pad = PAD * text;
  const chip = number ? context.measureText(number).width + 2 * pad : 0.9 * pad;
  return chip + (words ? context.measureText(words).width + 2 * pad : 0);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Label} label
 * @param {string} fill
 * @param {number} text
 */
function drawLabel(context, { number, words, rect }, fill, text) {
  const { left, top, right, bottom } = rect;
  const [pad, middle] = [PAD * text, (top + bottom) / 2];
  const chip = widthOf(context, number, "", text);
  context.fillStyle = GROUND;
  context.fillRect(left, top, right - left, bottom - top);
  context.fillStyle = fill;
  context.fillRect(left, top, chip, bottom - top);
  context.fillStyle = onColour(fill);
  if (number) context.fillText(number, left + pad, middle);
  context.fillStyle = INK;
  if (words) context.fillText(words, left + chip + pad, middle);
}

/**
 * Draw the square about a face, small.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource} source
 * @param {ReadFace} face
 * @param {number} sourceScale pixels of the source to one of the picture
 */
export function drawCrop(canvas, source, face, sourceScale) {
  const [x, y, width, height] = face.box;
  const side = Math.max(width, height) * 1.15;
  const pixels = Math.round(56 * ratio());
  if (canvas.width !== pixels) [canvas.width, canvas.height] = [pixels, pixels];
  const [left, top] = [x + width / 2 - side / 2, y + height / 2 - side / 2];
  const context = drawing(canvas);
  context.clearRect(0, 0, pixels, pixels);
  const from = side * sourceScale;
  context.drawImage(
    source,
    left * sourceScale,
    top * sourceScale,
    from,
    from,
    0,
    0,
    pixels,
    pixels,
  );
}
