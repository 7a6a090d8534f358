/**
 * Faces and their expressions in pictures, computed in a worker, so that the page never freezes.
 *
 * @import { Analyzed, Options, Reply } from "./worker.js"
 * @import { Settings } from "./settings.js"
 */

import { AnalysisError } from "./errors.js";

export { AnalysisError };

/** The networks in their worker; `load` makes one. */
export class Analysis {
  #worker;
  #count = 0;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
  #waiting = new Map();
  /** @type {Settings | null} */
  #settings = null;
  /** Why nothing is answered any more. */
  #ended = "";

  constructor() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => {
      if ("loaded" in data) this.onProgress(data.loaded, data.total);
      else this.#settle(data);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#fail(`The analysis stopped: ${event.message || "its script cannot be loaded"}.`);
    });
  }

  /** @type {(loaded: number, total: number) => void} is told how many bytes have arrived */
  onProgress = () => {};

  /** settings.json, as parsed. */
  get settings() {
    if (this.#settings === null) throw new AnalysisError("The networks are not loaded.");
    return this.#settings;
  }

  /**
   * Load the networks from a folder's address.
   *
   * @param {string} base
   * @param {number} [threads]
   */
  async load(base, threads) {
    this.#settings = await this.#ask({ kind: "load", base, threads }, []);
  }

  /**
   * Return the faces in a picture.
   *
   * @param {ImageData | ImageBitmap | Blob} image a frame, or an encoded picture. An ImageBitmap is
   *   taken away, which costs the page the least.
   * @param {Options} [options]
   * @returns {Promise<Analyzed>}
   */
  analyze(image, options = {}) {
    const taken = image instanceof ImageBitmap ? [image] : [];
    return this.#ask({ kind: "analyze", image, options }, taken);
  }

  /** End the worker; what it still computes is never answered but refused. */
  close() {
    this.#worker.terminate();
    this.#fail("The analysis was ended.");
  }

  /**
   * @param {object} request
   * @param {Transferable[]} taken
   * @returns {Promise<any>}
   */
  #ask(request, taken) {
    const id = this.#count++;
    if (this.#ended) return Promise.reject(new AnalysisError(this.#ended));
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...request, id }, taken);
    });
  }

  /** @param {Reply} reply */
  #settle({ id, result, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new AnalysisError(error));
  }

  /** @param {string} message */
  #fail(message) {
    this.#ended = message;
    for (const { reject } of this.#waiting.values()) reject(new AnalysisError(message));
    this.#waiting.clear();
  }
}

/**
 * Load the page's networks.
 *
 * @param {string} [base] the folder that settings.json, detector.onnx, network.onnx and runtime/ are
 *   in; relative to the document
 * @param {object} [options]
 * @param {number} [options.threads]
 * @param {(loaded: number, total: number) => void} [options.onProgress] is told how many bytes of
 *   the networks have arrived; a total of 0 is not known
 * @returns {Promise<Analysis>}
 */
export async function load(base = "./", { threads, onProgress } = {}) {
  const analysis = new Analysis();
  if (onProgress) analysis.onProgress = onProgress;
  try {
    await analysis.load(new URL(base, document.baseURI).href, threads);
  } catch (error) {
    analysis.close();
    throw error;
  }
  return analysis;
}
