/**
 * Decode pictures as `load_picture` in ferjax/preprocessing.py does: upright by their EXIF, over
 * white where they are transparent, colours as stored.
 *
 * @import { Picture } from "./picture.js"
 */

import { AnalysisError } from "./errors.js";
import {
  checkWhole,
  headerSize,
  kindOf,
  stillPng,
  webpOrientation,
  whyNot,
} from "./image_formats.js";
import { fromRgba, upright } from "./picture.js";

const MAX_PIXELS = 178_956_970;
const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** The side of the parts that a picture is read in; browsers limit the size of a canvas. */
const PART = 2048;

/**
 * Return an encoded picture's pixels.
 *
 * @param {Blob} blob
 * @returns {Promise<Picture>}
 */
export async function decoded(blob) {
  if (blob.size > MAX_FILE_BYTES) {
    throw new AnalysisError(
      `The file has ${Math.round(blob.size / 2 ** 20)} MiB; a picture may have 256 at most.`,
    );
  }
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const kind = kindOf(bytes);
  const size = headerSize(bytes, kind);
  if (size !== null) checkPixels(...size);
  checkWhole(bytes, kind);
  let bitmap;
  try {
    const still = kind === "PNG" ? stillPng(blob, bytes) : blob;
    bitmap = await createImageBitmap(still, {
      imageOrientation: kind === "WebP" ? "none" : "from-image",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new AnalysisError(whyNot(kind));
  }
  try {
    const picture = fromBitmap(bitmap);
    return kind === "WebP" ? upright(picture, webpOrientation(bytes)) : picture;
  } finally {
    bitmap.close();
  }
}

/**
 * @param {ImageBitmap} bitmap
 * @returns {Picture}
 */
export function fromBitmap(bitmap) {
  const { width, height } = bitmap;
  checkPixels(width, height);
  const canvas = new OffscreenCanvas(Math.min(width, PART), Math.min(height, PART));
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  if (context === null) throw new AnalysisError("The browser cannot draw pictures.");
  const data = new Uint8ClampedArray(width * height * 3);
  for (let top = 0; top < height; top += PART) {
    for (let left = 0; left < width; left += PART) {
      const columns = Math.min(PART, width - left);
      const rows = Math.min(PART, height - top);
      context.fillStyle = "#fff";
      context.fillRect(0, 0, columns, rows);
      context.drawImage(bitmap, -left, -top);
      const { data: seen } = context.getImageData(0, 0, columns, rows);
      for (let y = 0, from = 0; y < rows; y++) {
        let to = ((top + y) * width + left) * 3;
        for (let x = 0; x < columns; x++, from += 4) {
          data[to++] = seen[from];
          data[to++] = seen[from + 1];
          data[to++] = seen[from + 2];
        }
      }
    }
  }
  return { data, width, height, channels: 3 };
}

/**
 * Return the pixels of a frame.
 *
 * @param {ImageData} image
 * @returns {Picture}
 */
export function fromImageData({ data, width, height }) {
  checkPixels(width, height);
  return fromRgba(data, width, height);
}

/**
 * @param {number} width
 * @param {number} height
 */
function checkPixels(width, height) {
  if (width * height > MAX_PIXELS) {
    throw new AnalysisError(
      `The picture has ${width} x ${height} pixels; expected at most ` +
        `${MAX_PIXELS.toLocaleString("en")} in all. Scale it down.`,
    );
  }
}
