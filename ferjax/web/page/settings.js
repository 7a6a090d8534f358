/**
 * What the page knows of its weights: settings.json, as ferjax/web/site.py writes it.
 *
 * Dimension keys: H height, W width, K classes.
 *
 * @typedef {object} Scaling what calibrates: softmax(log p / temperature + offsets)
 * @property {number} temperature
 * @property {number[] | null} offsets (K,)
 * @property {number[] | null} prior (K,), what calibrated probabilities hold for
 *
 * @typedef {object} Figure an accuracy as measured; null what is not known
 * @property {string | null} dataset
 * @property {string | null} labels what is right, where that is not the data's own label
 * @property {string | null} prior
 * @property {number | null} images
 * @property {number | null} correct
 * @property {number | null} top1
 * @property {number | null} balanced
 * @property {string | null} note
 *
 * @typedef {object} Card as ferjax/web/card.py writes it; null what is not known
 * @property {string} name
 * @property {string | null} file
 * @property {string | null} sha256
 * @property {number} parameters
 * @property {string} input
 * @property {string | null} source
 * @property {string | null} licence
 * @property {string | null} trainedOn
 * @property {string | null} selectedOn
 * @property {string | null} calibration
 * @property {Figure[]} accuracy
 * @property {string[]} limits
 *
 * @typedef {object} Settings
 * @property {string} ferjax the version
 * @property {string} title the page's heading
 * @property {string} name of the weights
 * @property {string[]} labels (K,), in output order
 * @property {[number, number]} imageSize height and width
 * @property {1 | 3} channels gray or RGB
 * @property {"nhwc" | "nchw"} layout
 * @property {[number, number]} valueRange what black and white are
 * @property {"probabilities" | "logits" | "log_probabilities" | "second"} output what the network
 *   gives; "second": one number, the probability of the second of two classes
 * @property {boolean} distribution whether probabilities are known to sum to 1
 * @property {Scaling | null} scaling
 * @property {number[] | null} trainingFrequencies (K,), what probabilities hold for as they are
 * @property {Card} card what is known of the weights
 * @property {Record<string, string>} sha256 of the site's files by name
 */

export {};
