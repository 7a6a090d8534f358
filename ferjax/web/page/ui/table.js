/**
 * The results as tables.
 *
 * @import { ReadFace } from "./reading.js"
 * @import { TrackSummary } from "./recording.js"
 */

import { make, part } from "./elements.js";
import { clock, guess, percent, whole } from "./words.js";

const MOST = 500; // rows that are shown; the CSV file has all

/**
 * Show the faces of photographs.
 *
 * @param {{name: string, faces: ReadFace[], error: string | null}[]} photographs
 * @param {string[]} labels
 */
export function showPhotographs(photographs, labels) {
  const rows = photographs.flatMap(({ name, faces, error }) => {
    if (!faces.length) return [[name, "–", error ?? "no face", "", "", ""]];
    return faces.map((face, index) => {
      const [x, y, width, height] = face.box.map(whole);
      const small = face.tooSmall ? ", too small to tell" : "";
      return [
        name,
        String(index + 1),
        `${guess(face, labels)}${small}`,
        percent(face.confidence),
        face.score.toFixed(2),
        `${x}, ${y}; ${width} × ${height}`,
      ];
    });
  });
  show(
    ["Photograph", "#Face", "Expression", "#Confidence", "#Score", "#Box"],
    rows,
    "Each face in each photograph; boxes in pixels: left, top; width × height",
  );
}

/**
 * Show the faces that were followed.
 *
 * @param {TrackSummary[]} tracks
 * @param {string[]} labels
 */
export function showTracks(tracks, labels) {
  const rows = tracks.map(({ track, start, end, frames, index, share }) => [
    String(track),
    clock(start),
    clock(end),
    whole(frames),
    index === null ? "no label" : labels[index],
    percent(share),
  ]);
  const heads = ["#Face", "#From", "#To", "#Frames", "Mostly", "#In so many frames"];
  show(heads, rows, "Each face that was followed; the CSV file has each frame");
}

/**
 * @param {string[]} heads those of numbers begin with #
 * @param {string[][]} rows
 * @param {string} caption
 */
function show(heads, rows, caption) {
  const kind = (/** @type {number} */ column) =>
    /** @type {Record<string, string>} */ (
      heads[column].startsWith("#") ? { class: "number" } : {}
    );
  const head = heads.map((text, column) =>
    make("th", { scope: "col", ...kind(column) }, text.replace("#", "")),
  );
  const body = rows
    .slice(0, MOST)
    .map((row) => make("tr", {}, ...row.map((text, column) => make("td", kind(column), text))));
  const more = rows.length > MOST ? ` (the first ${whole(MOST)} of ${whole(rows.length)})` : "";
  part("table").replaceChildren(
    make("caption", {}, caption + more),
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...body),
  );
  part("table-part").hidden = !rows.length;
}

/** Take the table away. */
export function hideTable() {
  part("table-part").hidden = true;
}
