/** Parts of the document: found by their id, or made. */

/**
 * Return the element of an id.
 *
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind what it is
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page lacks #${id}`);
  return element;
}

/** @param {string} id */
export const button = (id) => byId(id, HTMLButtonElement);

/** @param {string} id */
export const input = (id) => byId(id, HTMLInputElement);

/** @param {string} id */
export const part = (id) => byId(id, HTMLElement);

/**
 * Make an element; texts are texts, never markup.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Set a text where it is another one: what stays the same is not read out again.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Return what a canvas is drawn by.
 *
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas
 * @param {CanvasRenderingContext2DSettings} [options]
 * @returns {CanvasRenderingContext2D}
 */
export function drawing(canvas, options) {
  const context = canvas.getContext("2d", options);
  if (!context) throw new Error("expected a canvas to draw on, the browser has none left");
  return /** @type {CanvasRenderingContext2D} */ (context);
}
