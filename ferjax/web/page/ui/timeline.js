/**
 * Draw what faces show over time: a band for each face that is followed, its probabilities stacked.
 * Nothing is smoothed: each column is what the network says of a frame.
 *
 * @import { ReadFrame, TrackSummary } from "./recording.js"
 */

import { drawing, make, part } from "./elements.js";
import { colourOf } from "./palette.js";
import { summaries } from "./recording.js";
import { clock, count, percent } from "./words.js";

const ROW = 30; // of the page's pixels
const GAP = 8;
const AXIS = 20;
const NUMBERS = 22; // at the left
const MOST_ROWS = 8; // the faces that are seen longest
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];

/**
 * Say what the colours stand for.
 *
 * @param {string[]} labels
 */
export function showLegend(labels) {
  const items = labels.map((label, index) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colourOf(index, labels);
    return make("li", {}, swatch, label);
  });
  part("legend").replaceChildren(...items);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ReadFrame[]} frames
 * @param {string[]} labels
 * @param {{start: number, end: number, now?: number}} span of time that is shown, in seconds
 * @returns {TrackSummary[]} what is shown of whom
 */
export function drawTimeline(canvas, frames, labels, { start, end, now }) {
  const first = frames.findIndex(({ time }) => time >= start);
  const inside = first < 0 ? [] : frames.slice(first).filter(({ time }) => time <= end + 1e-6);
  const tracks = summaries(inside, labels.length)
    .sort((a, b) => b.frames - a.frames)
    .slice(0, MOST_ROWS)
    .sort((a, b) => a.track - b.track);
  const ratio = Math.min(3, globalThis.devicePixelRatio || 1);
  const wide = Math.max(200, canvas.parentElement ? canvas.clientWidth : 600);
  const high = Math.max(1, tracks.length) * (ROW + GAP) + AXIS;
  const [columns, rows] = [Math.round(wide * ratio), Math.round(high * ratio)];
  if (canvas.width !== columns || canvas.height !== rows)
    [canvas.width, canvas.height] = [columns, rows];
  const context = drawing(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, wide, high);
  const style = getComputedStyle(canvas);
  const [ink, line] = [style.color, style.getPropertyValue("--track")];
  const x = (/** @type {number} */ time) =>
    NUMBERS + ((time - start) / Math.max(end - start, 1e-3)) * (wide - NUMBERS);
  drawAxis(context, { start, end, x, high, wide, ink, line });
  tracks.forEach(({ track }, row) => {
    const top = row * (ROW + GAP);
    context.fillStyle = line;
    context.fillRect(NUMBERS, top, wide - NUMBERS, ROW);
    context.fillStyle = ink;
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(String(track), 0, top + ROW / 2);
    drawBand(context, inside, track, top, x, labels);
  });
  if (now !== undefined && now >= start && now <= end) {
    context.fillStyle = ink;
    context.fillRect(x(now) - 1, 0, 2, high - AXIS);
  }
  return tracks;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ReadFrame[]} frames
 * @param {number} track
 * @param {number} top
 * @param {(time: number) => number} x
 * @param {string[]} labels
 */
function drawBand(context, frames, track, top, x, labels) {
  const longest = 2.5 * usualStep(frames);
  for (const [index, { time, faces }] of frames.entries()) {
    const face = faces.find(({ number }) => number === track);
    if (!face) continue;
    const until = Math.min(frames[index + 1]?.time ?? time + longest / 2.5, time + longest);
    const [left, right] = [Math.floor(x(time)), Math.ceil(x(until))];
    let foot = top + ROW;
    const sum = face.probabilities.reduce((total, share) => total + share, 0) || 1;
    face.probabilities.forEach((share, which) => {
      const tall = (share / sum) * ROW;
      context.fillStyle = colourOf(which, labels);
      context.fillRect(left, foot - tall, Math.max(1, right - left), tall + 0.3);
      foot -= tall;
    });
  }
}

/**
 * Return the seconds that usually lie between frames.
 *
 * @param {ReadFrame[]} frames
 */
function usualStep(frames) {
  const steps = frames.slice(1).map(({ time }, index) => time - frames[index].time);
  steps.sort((a, b) => a - b);
  return steps[steps.length >> 1] ?? 0.1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{start: number, end: number, x: (time: number) => number, high: number, wide: number, ink: string,
 *   line: string}} axis
 */
function drawAxis(context, { start, end, x, high, wide, ink, line }) {
  const step = STEPS.find((seconds) => (end - start) / seconds <= wide / 70) ?? 3600;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "bottom";
  context.textAlign = "center";
  for (let time = Math.ceil(start / step) * step; time <= end + 1e-6; time += step) {
    const at = x(time);
    context.fillStyle = line;
    context.fillRect(at, 0, 1, high - AXIS + 4);
    context.fillStyle = ink;
    const words = step < 1 ? clock(time) : clock(time).replace(/\.0$/, "");
    const half = context.measureText(words).width / 2;
    context.fillText(words, Math.min(wide - half, Math.max(half, at)), high);
  }
}

/**
 * Say in words what a timeline shows.
 *
 * @param {TrackSummary[]} tracks
 * @param {string[]} labels
 */
export function timelineWords(tracks, labels) {
  if (!tracks.length) return "No face over time.";
  const each = tracks.map(({ track, start, end, index, share }) => {
    const said =
      index === null ? "no label" : `mostly ${labels[index]} (${percent(share)} of the frames)`;
    return `Face ${track}, ${clock(start)} to ${clock(end)}: ${said}.`;
  });
  return `${count(tracks.length, "face")} over time. ${each.join(" ")}`;
}
