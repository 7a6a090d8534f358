/**
 * The controls: the prior, calibration, abstention, and the score that a face needs.
 *
 * @import { Settings } from "../settings.js"
 * @import { Choices } from "./reading.js"
 */

import { priorOf, takesPriors } from "../probabilities.js";
import { button, byId, input, make, part, setText } from "./elements.js";
import { percent, roundPercent } from "./words.js";

export class Controls {
  /**
   * @param {Settings} settings
   * @param {(what: "reading" | "score") => void} changed is told what may be another now
   */
  constructor(settings, changed) {
    this.settings = settings;
    this.changed = changed;
    this.form = byId("controls", HTMLFormElement);
    this.calibrated = input("calibrated");
    this.abstainBelow = input("abstain-below");
    this.minScore = input("min-score");
    this.numbers = this.makeNumbers();
    this.allow();
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) =>
      this.update(event.target === this.minScore ? "score" : "reading"),
    );
    button("reset-controls").addEventListener("click", () => this.reset());
    /** @type {Choices} */
    this.choices = {
      prior: "training",
      calibrated: false,
      abstainBelow: 0,
      minScore: this.minScore.valueAsNumber,
    };
    this.reset();
  }

  /** Make a field for the share of each class, in percent. */
  makeNumbers() {
    const shares =
      priorOf(this.settings) ?? this.settings.labels.map((_, __, all) => 1 / all.length);
    const fields = this.settings.labels.map((label, index) => {
      const field = make("input", {
        type: "number",
        min: "0.001",
        step: "any",
        required: "",
        inputmode: "decimal",
      });
      field.defaultValue = (100 * shares[index]).toPrecision(3);
      return { field, label: make("label", {}, `${label}, %`, field) };
    });
    part("own-numbers").replaceChildren(...fields.map(({ label }) => label));
    return fields.map(({ field }) => field);
  }

  /** Leave only what these weights allow, and say why. */
  allow() {
    const { settings } = this;
    let why = "";
    if (!priorOf(settings))
      why = "The weights do not say how common each class was in their training.";
    else if (!takesPriors(settings))
      why = "Not with these weights, whose outputs need not sum to 1.";
    for (const radio of this.radios()) radio.disabled = why !== "" && radio.value !== "training";
    setText(part("prior-problem"), why);
    this.noPrior = why;
    this.calibrated.disabled = !settings.scaling;
    const { trainingFrequencies: shares, labels } = settings;
    if (shares) {
      const order = labels.map((_, index) => index).sort((a, b) => shares[b] - shares[a]);
      const [most, least] = [order[0], order[order.length - 1]];
      const words = `(${labels[most]} ${percent(shares[most])}, …, ${labels[least]} ${percent(shares[least])})`;
      setText(part("prior-training-words"), words);
    }
  }

  radios() {
    return [...this.form.querySelectorAll("input")].filter((field) => field.name === "prior");
  }

  reset() {
    this.form.reset();
    this.update("score");
  }

  /** @param {"reading" | "score"} what */
  update(what) {
    const chosen = this.radios().find((radio) => radio.checked)?.value ?? "training";
    part("own-numbers").hidden = chosen !== "own";
    const prior =
      chosen === "own" ? this.ownNumbers() : chosen === "uniform" ? "uniform" : "training";
    this.sayCalibration(chosen !== "training");
    setText(
      byId("abstain-below-value", HTMLOutputElement),
      roundPercent(this.abstainBelow.valueAsNumber),
    );
    setText(byId("min-score-value", HTMLOutputElement), this.minScore.valueAsNumber.toFixed(2));
    if (prior === null) return; // until the numbers are some
    this.choices = {
      prior,
      calibrated: this.calibrated.checked,
      abstainBelow: this.abstainBelow.valueAsNumber,
      minScore: this.minScore.valueAsNumber,
    };
    this.changed(what);
  }

  /** Return the shares that were filled in, of which only the ratios matter; null where some are none. */
  ownNumbers() {
    const values = this.numbers.map((field) => field.valueAsNumber);
    const wrong = values.findIndex((value) => !(value > 0 && Number.isFinite(value)));
    this.numbers.forEach((field, index) =>
      field.setAttribute("aria-invalid", String(!(values[index] > 0))),
    );
    const label = this.settings.labels[wrong];
    setText(
      part("prior-problem"),
      wrong < 0 ? "" : `${label} needs a number above 0; until then nothing changes.`,
    );
    if (wrong >= 0) return null;
    return Object.fromEntries(this.settings.labels.map((name, index) => [name, values[index]]));
  }

  /** @param {boolean} hasPrior whether a prior other than the training's is chosen */
  sayCalibration(hasPrior) {
    const { scaling } = this.settings;
    let words = "The weights come without a calibration.";
    if (scaling) {
      words = `A confidence of 80 % is to be right in 80 % of the cases: temperature ${scaling.temperature.toFixed(3)}`;
      words += `${scaling.offsets ? " and an offset of each class" : ""}.`;
    }
    if (scaling && hasPrior)
      words = "Another prior is applied to calibrated probabilities, whatever is chosen here.";
    if (!hasPrior || this.noPrior) setText(part("prior-problem"), this.noPrior ?? "");
    setText(part("calibrated-words"), words);
    part("calibrated-row").classList.toggle("soft", hasPrior);
  }
}
