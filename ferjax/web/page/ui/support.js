/** What the page needs of the browser. */

/** The least module with an instruction of 128 bits: a function that returns such a value. */
const SIMD = [
  ...[0, 97, 115, 109, 1, 0, 0, 0],
  ...[1, 5, 1, 96, 0, 1, 123],
  ...[3, 2, 1, 0],
  ...[10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
];

/** Return why this browser cannot run the page, in a sentence, or null where it can. */
export function lacking() {
  if (typeof WebAssembly !== "object") {
    return "This browser has no WebAssembly, or it is switched off; the page cannot compute without it.";
  }
  if (!WebAssembly.validate(new Uint8Array(SIMD))) {
    return "This browser's WebAssembly has no SIMD, which the page needs: Chrome and Edge 91, Firefox 89 and Safari 16.4 have it.";
  }
  if (typeof OffscreenCanvas !== "function" || typeof createImageBitmap !== "function") {
    return "This browser cannot draw in the background, which the page needs: Chrome and Edge 69, Firefox 105 and Safari 16.4 can.";
  }
  return null;
}
