/** What is said to people: problems as sentences that stay, results as words that are read out. */

import { make, part } from "./elements.js";

const MOST = 4; // sentences at once

/**
 * Show a sentence until it is closed; the oldest goes where there are too many.
 *
 * @param {string} text
 */
export function complain(text) {
  const list = part("messages");
  for (const shown of list.children) {
    if (shown.firstChild?.textContent === text) return;
  }
  const close = make("button", { type: "button", class: "quiet" }, "Close");
  const message = make("div", { class: "message" }, make("span", {}, text), close);
  close.addEventListener("click", () => message.remove());
  list.append(message);
  while (list.children.length > MOST) list.firstElementChild?.remove();
}

/** Take away what no longer holds. */
export function clearMessages() {
  part("messages").replaceChildren();
}

/**
 * Have a screen reader say a text, when it has said what it is at.
 *
 * @param {string} text
 */
export function announce(text) {
  part("announcer").textContent = text;
}

/**
 * Return what an error says to people.
 *
 * @param {unknown} error
 * @param {string} otherwise what to say of an error that was not meant for them
 */
export function wordsOf(error, otherwise) {
  if (error instanceof Error && error.name === "AnalysisError") return sentenceOf(error.message);
  console.error(error);
  return otherwise;
}

/** @param {string} text */
function sentenceOf(text) {
  const isName = /^\S+\.\S/.test(text); // of a file, which stays as it is
  const begun = isName ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
