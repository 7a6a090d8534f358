/**
 * The worker that finds faces and tells their expressions; ./analysis.js speaks with it.
 *
 * @import { Detection } from "./detect.js"
 * @import { Picture } from "./picture.js"
 * @import { Settings } from "./settings.js"
 *
 * @typedef {Detection & {raw: number[]}} Face a face, and the K probabilities that the network says
 *
 * @typedef {object} Options
 * @property {number} [minScore] the score that a face needs, in [0, 1]
 * @property {number | null} [minSize] the height in pixels that a face needs
 * @property {boolean} [largest] only the largest face
 * @property {Face[]} [follow] faces of the last frame: only these are looked for, near where they
 *   were
 *
 * @typedef {object} Analyzed
 * @property {number} width of the picture as a viewer shows it, in pixels
 * @property {number} height
 * @property {Face[]} faces in reading order, or in that of `follow`
 *
 * @typedef {{kind: "load", base: string, threads?: number}} Load
 * @typedef {{kind: "analyze", image: ImageData | ImageBitmap | Blob, options: Options}} Analyze
 * @typedef {(Load | Analyze) & {id: number}} Request
 * @typedef {{id: number, result?: any, error?: string}} Reply
 */

import { Classifier } from "./classify.js";
import { crop } from "./crop.js";
import { detect, followed } from "./detect.js";
import { AnalysisError } from "./errors.js";
import { decoded, fromBitmap, fromImageData } from "./image.js";
import { Progress } from "./progress.js";
import { loadRuntime, openNetwork } from "./runtime.js";
import { Detector } from "./yunet.js";

/** @type {{detector: Detector, classifier: Classifier} | null} */
let networks = null;
/** @type {Promise<void>} */
let last = Promise.resolve(); // one picture after the other: a network runs once at a time

self.addEventListener("message", ({ data }) => {
  last = last.then(() => answer(data));
});

/** @param {Request} request */
async function answer(request) {
  /** @type {Reply} */
  let reply;
  try {
    const result =
      request.kind === "load"
        ? await load(request.base, request.threads)
        : await analyze(request.image, request.options);
    reply = { id: request.id, result };
  } catch (error) {
    const told = error instanceof AnalysisError ? error.message : `It failed: ${String(error)}`;
    reply = { id: request.id, error: told };
  }
  self.postMessage(reply);
}

/**
 * Load the settings, the runtime and both networks; return the settings.
 *
 * @param {string} base
 * @param {number} [threads]
 * @returns {Promise<Settings>}
 */
async function load(base, threads) {
  const progress = new Progress((loaded, total) => self.postMessage({ loaded, total }));
  const loading = loadRuntime(base, threads);
  /** @param {string} name */
  const opened = async (name) => {
    const model = fetched(base, name).then((response) => progress.read(response));
    const runtime = await loading;
    return { runtime, session: await openNetwork(runtime, await model) };
  };
  const [settings, detector, network] = await Promise.all([
    fetched(base, "settings.json").then((response) => response.json()),
    opened("detector.onnx").then(async ({ runtime, session }) => {
      const detector = new Detector(runtime, session);
      await detector.warmUp(); // while the other network, which is larger, is on its way
      return detector;
    }),
    opened("network.onnx"),
  ]);
  const classifier = new Classifier(network.runtime, network.session, settings);
  networks = { detector, classifier };
  return settings;
}

/**
 * @param {string} base
 * @param {string} name
 */
async function fetched(base, name) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(new URL(name, base));
  } catch {
    throw new AnalysisError(`${name} cannot be loaded: no connection.`);
  }
  if (!response.ok) throw new AnalysisError(`${name} cannot be loaded: status ${response.status}.`);
  return response;
}

/**
 * @param {ImageData | ImageBitmap | Blob} image
 * @param {Options} options
 * @returns {Promise<Analyzed>}
 */
async function analyze(image, options) {
  if (networks === null) throw new AnalysisError("The networks are not loaded.");
  const { detector, classifier } = networks;
  const picture = await pictureOf(image);
  const { minScore, minSize, largest = false, follow } = options;
  let faces = follow
    ? await followed(detector, picture, follow, minScore, minSize)
    : await detect(detector, picture, minScore, minSize);
  if (largest && faces.length) {
    faces = [faces.reduce((most, face) => (face.size > most.size ? face : most))];
  }
  const rows = await classifier.run(faces.map((face) => crop(picture, face)));
  return {
    width: picture.width,
    height: picture.height,
    faces: faces.map((face, i) => ({ ...face, raw: rows[i] })),
  };
}

/**
 * @param {ImageData | ImageBitmap | Blob} image
 * @returns {Promise<Picture>}
 */
async function pictureOf(image) {
  if (image instanceof Blob) return decoded(image);
  if (image instanceof ImageData) return fromImageData(image);
  try {
    return fromBitmap(image);
  } finally {
    image.close();
  }
}
