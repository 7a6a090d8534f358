/** Start the page: load the networks, and join its parts. */

/**
 * @import { Analysis } from "../analysis.js"
 * @import { Settings } from "../settings.js"
 * @import { Mode, Page } from "./view.js"
 */

import { AnalysisError, load } from "../analysis.js";
import { Camera } from "./camera.js";
import { setUpCard } from "./card.js";
import { Controls } from "./controls.js";
import { button, part, setText } from "./elements.js";
import { takeDropsAndPastes } from "./intake.js";
import { announce, clearMessages, complain, wordsOf } from "./messages.js";
import { Photographs } from "./photographs.js";
import { lacking } from "./support.js";
import { showLegend } from "./timeline.js";
import { Video } from "./video.js";
import { View } from "./view.js";
import { megabytes } from "./words.js";

/** What can be pressed only once the networks are loaded. */
const NEEDING = ["choose-photographs", "try-sample", "start-camera", "choose-video"];

/** @type {(files: File[]) => void} takes what is dropped or pasted */
let take = () => complain("The networks are still loaded; drop it again in a moment.");

part("not-started").remove();
part("app").hidden = false;
for (const id of NEEDING) button(id).disabled = true;
takeDropsAndPastes(part("stage"), (files) => take(files)); // from now on, or a drop leaves the page
void start();

async function start() {
  const why = lacking();
  if (why) return stopLoading(why);
  // Fetched now, so that the page needs nothing from its server later.
  const sample = fetchSample();
  sample.catch(() => {}); // told when it is asked for
  try {
    introduce(await fetchSettings());
    setUp(await load("./", { onProgress: showProgress }), sample);
  } catch (error) {
    return stopLoading(wordsOf(error, "The networks could not be loaded; load the page again."));
  }
  part("loading").hidden = true;
  for (const id of NEEDING) button(id).disabled = false;
  document.documentElement.dataset.ready = "";
  announce("Ready.");
}

/** @returns {Promise<Settings>} */
async function fetchSettings() {
  const answer = await fetch("settings.json");
  if (!answer.ok)
    throw new AnalysisError(`settings.json cannot be loaded: status ${answer.status}.`);
  return answer.json();
}

/** @returns {Promise<Blob>} */
async function fetchSample() {
  const answer = await fetch("sample.jpg");
  if (!answer.ok) throw new AnalysisError(`The sample cannot be loaded: status ${answer.status}.`);
  return answer.blob();
}

/** @param {string} why the page cannot go on */
function stopLoading(why) {
  part("loading").hidden = true;
  take = () => complain(why);
  complain(why);
}

/**
 * @param {number} loaded bytes
 * @param {number} total
 */
function showProgress(loaded, total) {
  const bar = /** @type {HTMLProgressElement} */ (part("loading-bar"));
  if (total) [bar.max, bar.value] = [total, loaded];
  const words = `${megabytes(loaded)} of ${megabytes(total)} are loaded…`;
  setText(part("loading-words"), loaded < total ? words : "The networks are prepared…");
}

/**
 * Say which weights these are, which takes none of the networks.
 *
 * @param {Settings} settings
 */
function introduce(settings) {
  setText(part("title"), settings.title);
  document.title = settings.title;
  setText(part("version"), `ferjax ${settings.ferjax}`);
  setText(part("weights-name"), settings.card.file ?? settings.name);
  setUpCard(settings);
  showLegend(settings.labels);
}

/**
 * @param {Analysis} analysis
 * @param {Promise<Blob>} sample
 */
function setUp(analysis, sample) {
  const { settings } = analysis;
  /** @type {Record<string, Mode>} */
  const modes = {};
  let current = "photographs";
  const controls = new Controls(settings, (what) => modes[current]?.refresh(what));
  /** @type {Page} */
  const page = {
    analysis,
    settings,
    view: new View(settings.labels),
    choices: () => controls.choices,
  };
  const [photographs, camera, video] = [
    new Photographs(page, sample),
    new Camera(page),
    new Video(page),
  ];
  Object.assign(modes, { photographs, camera, video });

  /** @param {string} name */
  const change = (name) => {
    if (name === current) return;
    modes[current].leave();
    current = name;
    for (const pressed of modeButtons())
      pressed.setAttribute("aria-pressed", String(pressed.dataset.mode === name));
    clearMessages();
    modes[name].enter();
  };
  for (const pressed of modeButtons()) {
    pressed.addEventListener("click", () => change(pressed.dataset.mode ?? "photographs"));
  }
  button("download-csv").addEventListener("click", () => modes[current].save());
  take = (files) => {
    if (!files.length) return complain("Only files can be dropped here.");
    const film = files.find(({ type }) => type.startsWith("video/"));
    change(film ? "video" : "photographs");
    if (!film) return photographs.add(files);
    if (files.length > 1) complain(`Of these files only ${film.name} is looked at.`);
    void video.open(film);
  };
  modes[current].enter();
}

/** @returns {HTMLButtonElement[]} */
function modeButtons() {
  return [...document.querySelectorAll("button")].filter((element) => element.dataset.mode);
}
