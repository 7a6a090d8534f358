/**
 * ONNX Runtime Web: loaded, and networks opened in it.
 *
 * @import { InferenceSession, Tensor } from "onnxruntime-common"
 *
 * @typedef {object} Runtime the part of ONNX Runtime Web that is used
 * @property {{logLevel: string, wasm: {wasmPaths?: string, numThreads?: number}}} env
 * @property {typeof Tensor} Tensor
 * @property {{create(model: Uint8Array, options?: InferenceSession.SessionOptions):
 *   Promise<InferenceSession>}} InferenceSession
 */

/** Threads; more share out what is little work. */
const MOST_THREADS = 4;

/**
 * Load the runtime.
 *
 * @param {string} base the address of the folder that runtime/ is in
 * @param {number} [threads] how many compute; by default as many as there are cores, where the
 *   page's headers let several share memory, else one
 * @returns {Promise<Runtime>}
 */
export async function loadRuntime(base, threads) {
  /** @type {Runtime} */
  const runtime = await import(new URL("runtime/ort.wasm.min.mjs", base).href);
  runtime.env.logLevel = "fatal"; // it warns of the outputs' shapes, which the file has for 640
  runtime.env.wasm.wasmPaths = new URL("runtime/", base).href;
  const cores = Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
  runtime.env.wasm.numThreads = globalThis.crossOriginIsolated ? (threads ?? cores) : 1;
  return runtime;
}

/**
 * @param {Runtime} runtime
 * @param {Uint8Array} model an ONNX file
 */
export async function openNetwork(runtime, model) {
  return runtime.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
    enableMemPattern: false, // sizes differ from call to call
    logSeverityLevel: 4,
  });
}
