/**
 * What the first bytes of image files say, before anything is decoded: format, size, whether a file
 * is whole, and how a WebP is oriented; as ferjax/image_formats.py.
 */

import { AnalysisError } from "./errors.js";

/** @type {[string, RegExp][]} by the first bytes, as characters */
const SIGNATURES = [
  ["JPEG", /^\xff\xd8\xff/],
  ["PNG", /^\x89PNG\r\n\x1a\n/],
  ["WebP", /^RIFF[^]{4}WEBP/],
  ["GIF", /^GIF8[79]a/],
  ["BMP", /^BM/],
  ["AVIF", /^[^]{4}ftyp(?:avif|avis|mif1|msf1)/],
  ["HEIC", /^[^]{4}ftyp(?:hei[cmsx]|hev[cmsx])/],
  ["a video", /^(?:[^]{4}(?:ftyp|moov|mdat)|RIFF[^]{4}AVI |\x1aE\xdf\xa3|FLV\x01|\0\0\x01\xba)/],
];
/** Of these the page says what to do instead where the browser cannot decode them. */
const HINTS = new Map([
  ["HEIC", "This browser does not read HEIC; save the picture as JPEG."],
  ["a video", "This is a video, not a picture."],
]);

/**
 * Return the format of an image file, or null where it is none that is known.
 *
 * @param {Uint8Array} bytes
 */
export function kindOf(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  return SIGNATURES.find(([, signature]) => signature.test(start))?.[0] ?? null;
}

/**
 * Return why a browser cannot decode a file.
 *
 * @param {string | null} kind
 */
export function whyNot(kind) {
  if (kind === null) return "This is not a picture that the browser can read.";
  return HINTS.get(kind) ?? `The browser cannot read this ${kind}: it is corrupt or unsupported.`;
}

/**
 * Return [width, height] from the header alone, or null where it does not say.
 *
 * @param {Uint8Array} bytes
 * @param {string | null} kind
 * @returns {[number, number] | null}
 */
export function headerSize(bytes, kind) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    switch (kind) {
      case "PNG":
        return [view.getUint32(16), view.getUint32(20)];
      case "GIF":
        return [view.getUint16(6, true), view.getUint16(8, true)];
      case "BMP":
        if (view.getUint32(14, true) === 12) {
          return [view.getUint16(18, true), view.getUint16(20, true)];
        }
        return [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
      case "WebP":
        return webpSize(view);
      case "JPEG":
        return jpegSize(view);
      default:
        return null;
    }
  } catch (error) {
    if (error instanceof RangeError) return null; // it ends before its size
    throw error;
  }
}

/**
 * @param {DataView} view
 * @returns {[number, number] | null}
 */
function webpSize(view) {
  const kind = String.fromCharCode(...[12, 13, 14, 15].map((at) => view.getUint8(at)));
  if (kind === "VP8 ") {
    return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
  }
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
  }
  if (kind !== "VP8X") return null;
  /** @param {number} at */
  const side = (at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16) + 1;
  return [side(24), side(27)];
}

/**
 * @param {DataView} view
 * @returns {[number, number] | null}
 */
function jpegSize(view) {
  for (const [marker, start] of jpegSegments(view)) {
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return [view.getUint16(start + 5), view.getUint16(start + 3)];
  }
  return null;
}

/**
 * Yield the marker of each segment of a JPEG and where its length stands; that of the end of the
 * image, 0xd9, has none.
 *
 * @param {DataView} view
 * @returns {Generator<[number, number]>}
 */
function* jpegSegments(view) {
  let position = 2;
  while (position + 1 < view.byteLength) {
    const marker = view.getUint8(position + 1);
    // In compressed data 0xff is followed by 0x00, a restart marker or a fill byte.
    const isMarker =
      view.getUint8(position) === 0xff &&
      marker !== 0 &&
      marker !== 0xff &&
      (marker < 0xd0 || marker > 0xd7);
    if (!isMarker) {
      position++;
      continue;
    }
    position += 2;
    yield [marker, position];
    if (marker === 0x01 || marker === 0xd8) continue; // these have no length
    // A segment is skipped whole: an embedded thumbnail has an end marker of its own.
    if (position + 2 <= view.byteLength) position += view.getUint16(position);
  }
}

/**
 * Raise an error of a file that ends early, of which browsers show a part.
 *
 * @param {Uint8Array} bytes
 * @param {string | null} kind
 */
export function checkWhole(bytes, kind) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isWhole =
    kind === "JPEG"
      ? jpegEnds(view)
      : kind === "PNG"
        ? pngEnds(view)
        : kind !== "WebP" || view.getUint32(4, true) + 8 <= view.byteLength;
  if (!isWhole) throw new AnalysisError(`The file is only a part of a ${kind}: it ends early.`);
}

/** @param {DataView} view */
function jpegEnds(view) {
  for (const [marker] of jpegSegments(view)) if (marker === 0xd9) return true;
  return false;
}

/** @param {DataView} view */
function pngEnds(view) {
  for (let position = 8; position + 12 <= view.byteLength;) {
    const [length, kind] = [view.getUint32(position), view.getUint32(position + 4)];
    position += 12 + length;
    if (kind === 0x49454e44) return position <= view.byteLength; // IEND
  }
  return false;
}

/**
 * Return a whole PNG without its animation: browsers show an animation's first frame, which may be
 * another picture than the still one.
 *
 * @param {Blob} blob
 * @param {Uint8Array} bytes of the blob
 * @returns {Blob}
 */
export function stillPng(blob, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Blob[]} */
  const parts = [blob.slice(0, 8)];
  let isAnimated = false;
  for (let position = 8; position + 12 <= view.byteLength;) {
    const end = position + 12 + view.getUint32(position);
    const kind = String.fromCharCode(...bytes.subarray(position + 4, position + 8));
    if (["acTL", "fcTL", "fdAT"].includes(kind)) isAnimated = true;
    else parts.push(blob.slice(position, end));
    if (kind === "IEND") break;
    position = end;
  }
  return isAnimated ? new Blob(parts) : blob;
}

/**
 * Return the EXIF orientation of a WebP, 1 to 8, which browsers do not apply; 1 where it says none.
 *
 * @param {Uint8Array} bytes
 */
export function webpOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let position = 12; position + 8 <= view.byteLength;) {
    const [kind, length] = [view.getUint32(position), view.getUint32(position + 4, true)];
    position += 8;
    if (kind === 0x45584946) return orientationOf(bytes.subarray(position, position + length)); // EXIF
    position += length + (length % 2); // chunks are padded to even lengths
  }
  return 1;
}

/** @param {Uint8Array} exif */
function orientationOf(exif) {
  const named = String.fromCharCode(...exif.subarray(0, 6)) === "Exif\0\0";
  const tiff = named ? exif.subarray(6) : exif;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const order = view.getUint32(0);
    const isLittle = order === 0x49492a00;
    if (!isLittle && order !== 0x4d4d002a) return 1;
    const start = view.getUint32(4, isLittle);
    const count = view.getUint16(start, isLittle);
    for (let entry = start + 2; entry < start + 2 + 12 * count; entry += 12) {
      if (view.getUint16(entry, isLittle) !== 274) continue;
      const isLong = view.getUint16(entry + 2, isLittle) === 4;
      const value = isLong
        ? view.getUint32(entry + 8, isLittle)
        : view.getUint16(entry + 8, isLittle);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it ends early
  }
  return 1;
}
