/**
 * The expressions on faces, by the network of the page.
 *
 * Dimension keys: B faces, H height, W width, C channels of the network's input; K classes.
 *
 * @import { InferenceSession, TypedTensor } from "onnxruntime-common"
 * @import { Picture } from "./picture.js"
 * @import { Runtime } from "./runtime.js"
 * @import { Settings } from "./settings.js"
 */

import { fround } from "./numbers.js";
import { gray } from "./picture.js";
import { resized } from "./resize.js";

/** Faces that go through the network at once; more are cut into such parts. */
const LARGEST_BATCH = 64;

export class Classifier {
  /**
   * @param {Runtime} runtime
   * @param {InferenceSession} session
   * @param {Settings} settings
   */
  constructor(runtime, session, settings) {
    this.runtime = runtime;
    this.session = session;
    this.settings = settings;
  }

  /**
   * Return what the network says of faces: of each K probabilities.
   *
   * @param {Picture[]} crops RGB
   * @returns {Promise<number[][]>}
   */
  async run(crops) {
    /** @type {number[][]} */
    const rows = [];
    for (let start = 0; start < crops.length; start += LARGEST_BATCH) {
      rows.push(...(await this.#batch(crops.slice(start, start + LARGEST_BATCH))));
    }
    return rows;
  }

  /** @param {Picture[]} crops */
  async #batch(crops) {
    const { imageSize, channels, layout, output } = this.settings;
    const [height, width] = imageSize;
    const input = networkInput(crops, this.settings);
    const shape = layout === "nchw" ? [channels, height, width] : [height, width, channels];
    const images = new this.runtime.Tensor("float32", input, [crops.length, ...shape]);
    const outputs = await this.session.run({ [this.session.inputNames[0]]: images });
    const result = /** @type {TypedTensor<"float32">} */ (outputs[this.session.outputNames[0]]);
    const units = result.data.length / crops.length;
    return crops.map((_, i) =>
      probabilities(Array.from(result.data.subarray(i * units, (i + 1) * units)), output),
    );
  }
}

/**
 * Return crops as the network takes them, (B, H, W, C) or (B, C, H, W).
 *
 * @param {Picture[]} crops RGB
 * @param {Pick<Settings, "imageSize" | "channels" | "layout" | "valueRange">} settings
 */
export function networkInput(crops, { imageSize, channels, layout, valueRange }) {
  const [height, width] = imageSize;
  const [low, high] = valueRange;
  const values = new Float32Array(256).map((_, value) => {
    const scaled = high - low === 255 ? value : fround(value / fround(255 / (high - low)));
    return scaled + low;
  });
  const length = height * width * channels;
  const input = new Float32Array(crops.length * length);
  crops.forEach((crop, index) => {
    const { data } = resized(channels === 1 ? gray(crop) : crop, height, width);
    const start = index * length;
    if (layout === "nhwc" || channels === 1) {
      for (let i = 0; i < length; i++) input[start + i] = values[data[i]];
    } else {
      const plane = height * width;
      for (let i = 0; i < length; i++) {
        input[start + (i % channels) * plane + Math.floor(i / channels)] = values[data[i]];
      }
    }
  });
  return input;
}

/**
 * Return the K probabilities that the network's outputs for a face stand for.
 *
 * @param {number[]} outputs
 * @param {Settings["output"]} kind
 */
export function probabilities(outputs, kind) {
  switch (kind) {
    case "second":
      return [1 - outputs[0], outputs[0]];
    case "log_probabilities":
      return outputs.map(Math.exp);
    case "logits": {
      const most = Math.max(...outputs);
      const raised = outputs.map((logit) => Math.exp(logit - most));
      const sum = raised.reduce((a, b) => a + b, 0);
      return raised.map((value) => value / sum);
    }
    default:
      return outputs;
  }
}
