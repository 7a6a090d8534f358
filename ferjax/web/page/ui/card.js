/**
 * The card of the weights: what they are, how right they were on what, where they fail.
 *
 * @import { Settings } from "../settings.js"
 */

import { button, byId, make, part } from "./elements.js";
import { percent, whole } from "./words.js";

/** @param {Settings} settings */
export function setUpCard(settings) {
  const dialog = byId("card", HTMLDialogElement);
  part("card-content").replaceChildren(...content(settings));
  button("open-card").disabled = false;
  button("open-card").addEventListener("click", () => dialog.showModal());
  button("close-card").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
}

/** @param {Settings} settings */
function content({ card, labels }) {
  /** @type {[string, string | null][]} */
  const facts = [
    ["Name", card.name],
    ["Licence", card.licence ?? "not known"],
    ["Source", card.source ?? "not known"],
    ["Trained on", card.trainedOn ?? "not known"],
    ["Selected on", card.selectedOn],
    ["Calibration", card.calibration ?? "none"],
    ["Tells", labels.join(", ")],
    ["Takes", `faces of ${card.input} pixels`],
    ["Parameters", whole(card.parameters)],
    ["File", card.file],
    ["SHA-256", card.sha256],
  ];
  const list = make("dl", { class: "facts" });
  for (const [name, value] of facts) {
    if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  }
  const limits = make("ul", {}, ...card.limits.map((text) => make("li", {}, text)));
  return [
    make("div", {}, make("h3", {}, "Limits"), limits),
    make("div", {}, make("h3", {}, "Accuracy as measured"), accuracy(card.accuracy)),
    make("div", {}, make("h3", {}, "Origin"), list),
  ];
}

/** @param {Settings["card"]["accuracy"]} figures */
function accuracy(figures) {
  if (!figures.length) {
    return make(
      "p",
      {},
      "Not measured, or not told with the weights: expect nothing of them before you have measured.",
    );
  }
  const rows = figures.map(({ dataset, labels, prior, images, correct, top1, balanced, note }) =>
    make(
      "tr",
      {},
      make("td", {}, [dataset ?? "data not named", note].filter(Boolean).join("; ")),
      make(
        "td",
        {},
        [labels ?? "the data's own label", prior && `prior ${prior}`].filter(Boolean).join("; "),
      ),
      make("td", { class: "number" }, top1 === null ? "not known" : percent(top1)),
      make("td", { class: "number" }, balanced === null ? "–" : percent(balanced)),
      make(
        "td",
        { class: "number" },
        correct === null || images === null ? "–" : `${whole(correct)} of ${whole(images)}`,
      ),
    ),
  );
  const heads = ["On", "Against", "Accuracy", "Balanced", "Right"].map((text, column) =>
    make("th", { scope: "col", ...(column > 1 ? { class: "number" } : {}) }, text),
  );
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...rows),
  );
  const attributes = {
    class: "table-scroll",
    role: "region",
    "aria-label": "Accuracy as measured",
    tabindex: "0",
  };
  return make("div", attributes, table);
}
