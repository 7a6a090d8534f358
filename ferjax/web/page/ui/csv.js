/**
 * Tables in UTF-8: of photographs as `ferjax faces --csv` writes them; of films and cameras as
 * `ferjax video --csv`, but with the probabilities once, for nothing is smoothed.
 *
 * @import { ReadFace } from "./reading.js"
 *
 * @typedef {object} PhotographRows
 * @property {string} name
 * @property {ReadFace[]} faces
 * @property {string | null} error
 */

const LANDMARKS = ["right_eye", "left_eye", "nose", "right_mouth", "left_mouth"];
const BOX = ["x", "y", "width", "height", "score"];
const BEFORE = [
  "path",
  "face",
  ...BOX,
  ...LANDMARKS.flatMap((name) => [`${name}_x`, `${name}_y`]),
  "roll",
  "size",
  "too_small",
  "label",
  "confidence",
];
const OVER_TIME = [
  "time",
  "frame",
  "track",
  ...BOX,
  "roll",
  "size",
  "too_small",
  "label",
  "confidence",
];
const FORMULA = ["=", "+", "-", "@", "\t", "\r", "\n"]; // what spreadsheets compute
const BYTE_ORDER_MARK = "\ufeff"; // without which Excel shows other letters than ASCII's wrongly

/**
 * Return the table of photographs: a row for each face, and one for a photograph without.
 *
 * @param {PhotographRows[]} photographs
 * @param {string[]} labels
 */
export function photographsTable(photographs, labels) {
  const header = [...BEFORE, ...classColumns(labels, [...BEFORE, "error"]), "error"];
  const rows = photographs.flatMap(({ name, faces, error }) => {
    const path = pathCell(name);
    if (!faces.length)
      return [[path, "0", ...Array(header.length - 3).fill(""), pathCell(error ?? "")]];
    return faces.map((face, index) => [
      path,
      String(index + 1),
      ...boxCells(face),
      ...face.landmarks.flat().map((value) => decimal(value, 2)),
      ...readCells(face),
      "",
    ]);
  });
  return csv([header, ...rows]);
}

/**
 * Return the table of a film or a camera: a row for each face of each frame.
 *
 * @param {{time: number, number: number, faces: ReadFace[]}[]} frames
 * @param {string[]} labels
 */
export function framesTable(frames, labels) {
  const header = [...OVER_TIME, ...classColumns(labels, OVER_TIME)];
  const rows = frames.flatMap(({ time, number, faces }) =>
    faces.map((face) => [
      decimal(time, 6),
      String(number),
      String(face.number),
      ...boxCells(face),
      ...readCells(face),
    ]),
  );
  return csv([header, ...rows]);
}

/**
 * @param {string[]} labels
 * @param {string[]} others the names of the other columns
 */
function classColumns(labels, others) {
  const taken = new Set(others.map((name) => name.toLowerCase()));
  const prefix = labels.some((label) => taken.has(label.toLowerCase())) ? "p_" : "";
  return labels.map((label) => cell(prefix + label));
}

/** @param {ReadFace} face */
const boxCells = (face) => [...face.box.map((value) => decimal(value, 2)), decimal(face.score, 4)];

/** @param {ReadFace} face */
const readCells = (face) => [
  decimal(face.roll, 2),
  decimal(face.size, 2),
  face.tooSmall ? "True" : "False",
  cell(face.label ?? ""),
  decimal(face.confidence, 6),
  ...face.probabilities.map((share) => decimal(share, 6)),
];

/**
 * @param {number} value
 * @param {number} digits
 */
const decimal = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "");

/** @param {string} text */
const isFormula = (text) => FORMULA.some((start) => text.startsWith(start));

/**
 * Return a text that no spreadsheet takes for a formula.
 *
 * @param {string} text
 */
const cell = (text) => (isFormula(text) ? `'${text}` : text);

/** @param {string} text */
const pathCell = (text) => (isFormula(text) ? `./${text}` : text);

/** @param {string[][]} rows */
function csv(rows) {
  const quoted = (/** @type {string} */ text) =>
    /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const text = rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
  return /^[\x00-\x7f]*$/.test(text) ? text : BYTE_ORDER_MARK + text;
}

/**
 * Have the browser save a table.
 *
 * @param {string} text
 * @param {string} name
 */
export function download(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
