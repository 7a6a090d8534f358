/**
 * Draw pictures with their faces: a box in the colour of the class, and above it the label.
 *
 * The box is dashed where no label is given, and dotted where the face is too small to tell.
 *
 * @import { ReadFace } from "./reading.js"
 */

import { drawing } from "./elements.js";
import { colourOf, GROUND, INK, onColour } from "./palette.js";
import { guess, roundPercent } from "./words.js";

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
  const text = Math.round(Math.max(13, Math.min(17, width / 40 / ratio())) * ratio());
  const several = faces.length > 1;
  for (const face of shown) drawBox(context, face, scale, labels);
  for (const face of shown)
    drawLabel(context, face, { scale, labels, text, several, width, height });
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
 * Draw the label above the box, or in it or below where there is no room.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {ReadFace} face
 * @param {{scale: number, labels: string[], text: number, several: boolean, width: number, height: number}} place
 */
function drawLabel(context, face, { scale, labels, text, several, width, height }) {
  const words = `${face.label === null ? "? " : ""}${labels[face.best] ?? guess(face, labels)}  ${roundPercent(face.confidence)}`;
  const number = String(face.number);
  context.font = `600 ${text}px ${FONT}`;
  context.textBaseline = "middle";
  const [pad, tall] = [text * 0.45, text * 1.6];
  const chip = several ? context.measureText(number).width + 2 * pad : pad * 0.9;
  const wide = chip + context.measureText(words).width + 2 * pad;
  const points = outline(face);
  const left = Math.min(...points.map(([x]) => x * scale));
  const top = Math.min(...points.map(([, y]) => y * scale));
  const bottom = Math.max(...points.map(([, y]) => y * scale));
  const x = Math.max(0, Math.min(left, width - wide));
  let y = top - tall - text * 0.25;
  if (y < 0)
    y =
      bottom + tall + text * 0.25 <= height ? bottom + text * 0.25 : Math.max(0, top + text * 0.25);
  context.fillStyle = GROUND;
  context.fillRect(x, y, wide, tall);
  context.fillStyle = colour(face, labels);
  context.fillRect(x, y, chip, tall);
  if (several) {
    context.fillStyle = onColour(colour(face, labels));
    context.fillText(number, x + pad, y + tall / 2);
  }
  context.fillStyle = INK;
  context.fillText(words, x + chip + pad, y + tall / 2);
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
