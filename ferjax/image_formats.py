"""What the headers of image files say: format, size, alpha, EXIF, and whether a file is whole.

An image file is untrusted input; nothing here decodes pixels.
"""

from __future__ import annotations

import io
import operator
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import ImageError

_FORMATS: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, JPEG 2000 or AVIF"
# Beside what phones and browsers save: TIFF, as scanners do, and JPEG 2000, as passports' chips.
_SIGNATURES: Final = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WebP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("BMP", re.compile(rb"BM")),
    ("TIFF", re.compile(rb"II[*+]\x00|MM\x00[*+]")),
    ("PNM", re.compile(rb"P[1-6]\s")),
    ("JPEG 2000", re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n")),
    ("AVIF", re.compile(rb"....ftyp(?:avif|avis|mif1|msf1)", re.DOTALL)),
)
# What people take for one of these.
_OTHERS: Final = (
    ("HEIC", re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmsx])", re.DOTALL), "save it as JPEG"),
    (
        "a video",
        re.compile(
            rb"....(?:ftyp|moov|mdat)|RIFF....AVI |\x1aE\xdf\xa3|FLV\x01|\x00\x00\x01\xba",
            re.DOTALL,
        ),
        "`ferjax video` takes films; or save its frames as images",
    ),
)
_MAX_SCANS: Final = 200  # of a JPEG; what makes them writes about ten
# In a JPEG's compressed data 0xFF is followed by 0x00 (a stuffed byte), a restart marker or a fill
# byte; anything else begins the next segment. A pattern that begins with a plain byte is ten times
# as fast as one that takes fill bytes along.
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def kind_of(data: bytes, name: str) -> str:
    """Return the format of an image file, one of those in `_FORMATS`, by its first bytes.

    Raises:
        ImageError: it is none of them; `name` is what the error calls the file.
    """
    kind = next((kind for kind, signature in _SIGNATURES if signature.match(data)), None)
    if kind is None:
        for format_, signature, hint in _OTHERS:
            if signature.match(data):
                raise ImageError(f"{name}: {format_}, not an image that ferjax can read; {hint}")
        raise ImageError(
            f"{name}: not an image that ferjax can read (starts with {data[:12]!r}); "
            f"expected {_FORMATS}"
        )
    return kind


def checked(data: bytes, kind: str, name: str) -> tuple[bytes, bytes, bool]:
    """Check that an image file is whole. Return it as a still image, its EXIF, and if it may have
    alpha.

    Raises:
        ImageError: it ends early, is corrupt, or asks for what OpenCV does not do.
    """
    if kind == "PNG":
        return _still_png(data, name)
    guards = {"JPEG": _check_jpeg, "WebP": _check_webp, "TIFF": _check_tiff, "AVIF": _check_avif}
    if kind in guards:
        guards[kind](data, name)
    exif = _webp_exif(data) if kind == "WebP" else b""
    return data, exif, kind not in ("JPEG", "BMP", "PNM")


def header_size(data: bytes, kind: str) -> tuple[int, int]:
    """Return (width, height) from the header alone, (-1, -1) if it does not say."""
    if kind == "PNG" and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if kind == "JPEG" and (size := _jpeg_size(data)) is not None:
        return size
    # Where the general reader takes unsigned numbers for signed ones, or knows newer headers only.
    if kind == "GIF" and len(data) >= 10:
        width, height = struct.unpack_from("<HH", data, 6)
        return width, height
    if kind == "BMP" and len(data) >= 26 and struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    if kind == "AVIF":
        sizes = re.findall(rb"ispe....(....)(....)", data[: _media_start(data)], re.DOTALL)
        # Tiles and thumbnails have sizes as well; the largest is the whole picture.
        pairs = [(int.from_bytes(w, "big"), int.from_bytes(h, "big")) for w, h in sizes]
        return max(pairs, key=lambda pair: pair[0] * pair[1], default=(-1, -1))
    import imagesize  # type: ignore[import-untyped,unused-ignore]  # takes longer than a prediction

    try:
        width, height = imagesize.get(io.BytesIO(data))
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, struct.error):
        return -1, -1
    return int(width), int(height)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from the first segment that has them, or None where none is found."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length, _, height, width = struct.unpack_from(">HBHH", data, position + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return width, height
        if length < 2:
            return None
        position += 2 + length
    return None


def _check_jpeg(data: bytes, name: str) -> None:
    """Raise if a JPEG ends before its end-of-image marker; bytes after it do not matter.

    Without it OpenCV shows what is there over gray, or nothing, depending on how it reads. Each
    scan of a progressive one may go over all pixels in a few bytes, so that a small file of
    thousands would be decoded for hours.
    """
    position = 2
    scans = 0
    while match := _JPEG_MARKER.search(data, position):
        position = match.end()
        marker = match[1][0]
        if marker == 0xD9:  # end of image
            return
        if marker in (0x01, 0xD8):  # these have no length
            continue
        scans += marker == 0xDA
        if scans > _MAX_SCANS:
            raise ImageError(
                f"{name}: a JPEG of more than {_MAX_SCANS} scans; expected a dozen, save it anew"
            )
        if position + 2 > len(data):
            break
        # A segment is skipped whole: an embedded thumbnail has an end marker of its own.
        position += int.from_bytes(data[position : position + 2], "big")
    raise ImageError(f"{name}: truncated: a JPEG without its end-of-image marker")


def _still_png(data: bytes, name: str) -> tuple[bytes, bytes, bool]:
    """Return a whole PNG as a still image, its EXIF, and if it may have alpha.

    Without the animation's chunks a PNG holds what `imread` shows; from memory OpenCV would decode
    an animation's first frame instead, which may be another picture.
    """
    chunks = list(_png_chunks(memoryview(data), name))
    still = [chunk for kind, chunk in chunks if kind not in (b"acTL", b"fcTL", b"fdAT")]
    exif = next((bytes(chunk[8:-4]) for kind, chunk in chunks if kind == b"eXIf"), b"")
    has_alpha = data[25] in (4, 6) or any(kind == b"tRNS" for kind, _ in chunks)
    return b"".join([data[:8], *still]) if len(still) < len(chunks) else data, exif, has_alpha


def _png_chunks(data: memoryview, name: str) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, chunk) of a PNG; refuse one that ends early or of which a needed chunk is
    corrupt."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunk = data[position : position + 12 + length]
        kind = bytes(chunk[4:8])
        if len(chunk) < 12 + length:
            break
        is_needed = not kind[0] & 0x20
        if is_needed and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ImageError(f"{name}: corrupt: wrong checksum in the PNG's {kind!r} chunk")
        yield kind, chunk
        if kind == b"IEND":
            return
        position += len(chunk)
    raise ImageError(f"{name}: truncated: a PNG without its IEND chunk")


def _check_webp(data: bytes, name: str) -> None:
    """Raise if a WebP ends early."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ImageError(f"{name}: truncated: a WebP shorter than its header says")


def _webp_exif(data: bytes) -> bytes:
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF":
            return data[position + 8 : position + 8 + length].removeprefix(b"Exif\x00\x00")
        position += 8 + length + length % 2  # chunks are padded to even lengths
    return b""


def _check_tiff(data: bytes, name: str) -> None:
    """Raise if pixels of a TIFF's first page lie outside the file; OpenCV may show black then."""
    tags = _tiff_tags(data, (273, 279, 324, 325))  # offsets and sizes of strips and of tiles
    for starts, sizes in ((273, 279), (324, 325)):
        ends = map(operator.add, tags.get(starts, ()), tags.get(sizes, ()))
        if max(ends, default=0) > len(data):
            raise ImageError(f"{name}: truncated: a TIFF whose pixel data lie beyond its end")


def _check_avif(data: bytes, name: str) -> None:
    """Raise if the header asks for a rotation or mirroring, which OpenCV does not apply."""
    header = data[: _media_start(data)]
    if re.search(rb"\x00\x00\x00\x09(?:irot[\x01-\x03]|imir)", header):
        raise ImageError(
            f"{name}: a rotated or mirrored AVIF, which OpenCV shows unrotated; save it upright"
        )


def _media_start(data: bytes) -> int:
    """Return where an AVIF's pixel data begin; everything before is header."""
    start = data.find(b"mdat")
    return start if start >= 0 else len(data)


def alpha(data: bytes, kind: str, raw: npt.NDArray[Any] | None) -> npt.NDArray[np.uint8] | None:
    """Return alpha, uint8 (H, W), of an image decoded unchanged; None if nothing is transparent."""
    if raw is None or raw.dtype not in (np.uint8, np.uint16):
        return None
    if raw.ndim == 3 and raw.shape[-1] == 4:
        alpha = raw[..., 3]
    elif kind == "PNG" and raw.ndim == 2 and data[25] == 0:
        # OpenCV keeps gray PNGs gray also where one value is declared transparent.
        alpha = _gray_key_alpha(data, raw)
    else:
        return None
    if alpha.min() == np.iinfo(alpha.dtype).max:
        return None
    return (alpha >> 8).astype(np.uint8) if alpha.dtype == np.uint16 else alpha.astype(np.uint8)


def _gray_key_alpha(data: bytes, gray: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    key = struct.unpack_from(">H", data, data.index(b"tRNS") + 4)[0]
    depth = data[24]
    if depth < 8:
        key = key * 255 // (2**depth - 1)  # as the gray values have been spread
    return np.where(gray == key, 0, 255).astype(np.uint8)


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 where it says nothing valid."""
    value = (*_tiff_tags(exif, (274,)).get(274, ()), 1)[0]
    return value if 1 <= value <= 8 else 1


def _tiff_tags(data: bytes, numbers: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Return the tags of some numbers, of whole numbers, of a TIFF's first directory.

    EXIF blocks are TIFFs. What cannot be read is left out, as is everything in a BigTIFF.
    """
    tags: dict[int, tuple[int, ...]] = {}
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return tags
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
            if tag in numbers and kind in (3, 4) and count * 2 <= len(data):
                layout = f"{order}{count}{'H' if kind == 3 else 'I'}"
                where = entry + 8  # up to four bytes lie in the entry itself
                if struct.calcsize(layout) > 4:
                    (where,) = struct.unpack_from(order + "I", data, where)
                tags[tag] = struct.unpack_from(layout, data, where)
    except struct.error:
        pass
    return tags
