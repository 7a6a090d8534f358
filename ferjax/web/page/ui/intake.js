/** Files that are dropped, pasted or chosen. */

import { byId } from "./elements.js";

/**
 * Take files that are dropped on the page or pasted into it.
 *
 * @param {HTMLElement} stage what shows that files may be dropped
 * @param {(files: File[]) => void} take
 */
export function takeDropsAndPastes(stage, take) {
  let inside = 0;
  const hasFiles = (/** @type {DragEvent} */ event) =>
    event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragenter", (event) => {
    if (hasFiles(event) && ++inside) stage.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (hasFiles(event) && --inside <= 0) stage.classList.remove("dropping");
  });
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault(); // or the browser would leave the page for the file
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    inside = 0;
    stage.classList.remove("dropping");
    take([...(event.dataTransfer?.files ?? [])]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}

/**
 * Let a person choose files.
 *
 * @param {string} accept kinds of files, such as "image/*"
 * @param {boolean} several
 * @param {(files: File[]) => void} take
 */
export function choose(accept, several, take) {
  const field = byId("file-field", HTMLInputElement);
  [field.accept, field.multiple, field.value] = [accept, several, ""];
  field.onchange = () => take([...(field.files ?? [])]);
  field.click();
}
