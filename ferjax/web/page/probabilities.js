/**
 * What calibration, priors and abstention make of what a network says; as ferjax/scaling.py,
 * ferjax/priors.py and ferjax/confidence.py.
 *
 * Dimension keys: K classes.
 *
 * @import { Settings } from "./settings.js"
 *
 * @typedef {"training" | "uniform" | Record<string, number>} Prior how common each class is; by
 *   label only the ratios matter
 *
 * @typedef {object} Confident
 * @property {number[]} probabilities (K,), in output order
 * @property {string | null} label the most probable class; null where it abstains
 * @property {number | null} index its position
 * @property {number} confidence the highest probability
 */

import { AnalysisError } from "./errors.js";

/** How far from 1 probabilities may sum. */
const SUM_TOLERANCE = 1e-3;
/** The share of a class of which Bayes' rule keeps something. */
const SMALLEST = 1e-12;

/**
 * Return what is said of a face.
 *
 * @param {number[]} raw (K,), as the network says
 * @param {Settings} settings
 * @param {object} [options]
 * @param {boolean} [options.calibrated] by the temperature and offsets of the weights; under a prior
 *   other than "training" they are calibrated in any case, where the weights have a calibration
 * @param {Prior} [options.prior]
 * @param {number} [options.abstainBelow] the confidence, in [0, 1], that a label needs
 * @returns {Confident}
 */
export function confident(raw, settings, options = {}) {
  const { calibrated = false, prior = "training", abstainBelow = 0 } = options;
  if (!(abstainBelow >= 0 && abstainBelow <= 1)) {
    throw new AnalysisError(
      `expected a confidence in [0, 1] to abstain below, got ${abstainBelow}`,
    );
  }
  if (calibrated && settings.scaling === null) {
    throw new AnalysisError("the weights come without a calibration");
  }
  let probabilities = raw;
  if ((calibrated || prior !== "training") && settings.scaling !== null) {
    probabilities = scaled(raw, settings.scaling);
  }
  if (prior !== "training") probabilities = underPrior(probabilities, settings, prior);
  const index = predicted(probabilities, settings.output === "second");
  const confidence = probabilities[index];
  if (confidence < abstainBelow) return { probabilities, label: null, index: null, confidence };
  return { probabilities, label: settings.labels[index], index, confidence };
}

/**
 * Whether a prior can be given: somebody knows how common each class was in training.
 *
 * @param {Settings} settings
 */
export function takesPriors(settings) {
  const sums = settings.distribution || settings.output === "probabilities";
  return sums && priorOf(settings) !== null;
}

/**
 * Return what probabilities hold for once they are calibrated, (K,), or null where nobody knows.
 *
 * @param {Settings} settings
 */
export function priorOf({ scaling, trainingFrequencies }) {
  return scaling === null ? trainingFrequencies : scaling.prior;
}

/**
 * Return the index of the class that is said: the most probable. Of equally probable ones it is the
 * first, but with a single unit the second.
 *
 * @param {number[]} probabilities
 * @param {boolean} isSingleUnit
 */
function predicted(probabilities, isSingleUnit) {
  if (isSingleUnit) return probabilities[1] >= probabilities[0] ? 1 : 0;
  return probabilities.indexOf(Math.max(...probabilities));
}

/**
 * Return calibrated probabilities.
 *
 * @param {number[]} probabilities
 * @param {NonNullable<Settings["scaling"]>} scaling
 */
function scaled(probabilities, { temperature, offsets }) {
  checkSum(probabilities, "others cannot be calibrated");
  if (offsets === null && temperature === 1) return probabilities;
  const logits = probabilities.map(
    (value, i) => Math.log(value) / temperature + (offsets === null ? 0 : offsets[i]),
  );
  const most = Math.max(...logits);
  return normalized(logits.map((logit) => Math.exp(logit - most)));
}

/**
 * Return what probabilities become under another prior, by Bayes' rule.
 *
 * @param {number[]} probabilities
 * @param {Settings} settings
 * @param {Exclude<Prior, "training">} prior
 */
function underPrior(probabilities, settings, prior) {
  checkSum(probabilities, "of others a prior says nothing");
  const before = priorOf(settings);
  if (before === null) {
    throw new AnalysisError(
      "the weights do not say how common each class was in their training, which a prior needs",
    );
  }
  const after = prior === "uniform" ? before.map(() => 1) : shares(prior, settings.labels);
  return normalized(probabilities.map((value, i) => (value * after[i]) / before[i]));
}

/**
 * Return the share of each class, which sum to 1.
 *
 * @param {Record<string, number>} byLabel
 * @param {string[]} labels
 */
function shares(byLabel, labels) {
  if (typeof byLabel !== "object") {
    throw new AnalysisError(`expected "training", "uniform" or shares by class, got ${byLabel}`);
  }
  const values = labels.map((label) => {
    const value = Object.hasOwn(byLabel, label) ? byLabel[label] : NaN;
    if (!(value > 0 && value < Infinity)) {
      throw new AnalysisError(`expected a share above 0 of ${label}, got ${byLabel[label]}`);
    }
    return value;
  });
  const unknown = Object.keys(byLabel).find((label) => !labels.includes(label));
  if (unknown !== undefined) throw new AnalysisError(`there is no class ${unknown}`);
  const most = Math.max(...values); // their sum may be beyond all numbers
  const result = normalized(values.map((value) => value / most));
  const least = Math.min(...result);
  if (least < SMALLEST) {
    const label = labels[result.indexOf(least)];
    throw new AnalysisError(`expected a share of at least ${SMALLEST} of ${label}, got ${least}`);
  }
  return result;
}

/** @param {number[]} values */
function normalized(values) {
  const sum = values.reduce((a, b) => a + b, 0);
  return values.map((value) => value / sum);
}

/**
 * @param {number[]} probabilities
 * @param {string} reason
 */
function checkSum(probabilities, reason) {
  const sum = probabilities.reduce((a, b) => a + b, 0);
  if (!(Math.abs(sum - 1) <= SUM_TOLERANCE)) {
    throw new AnalysisError(`expected outputs that sum to 1, as softmax's do; ${reason}`);
  }
}
