"""Image files: find them, check them, decode them with OpenCV.

An image file is untrusted input: its size is read from its header, and what ends early is refused,
before anything is decoded.
"""

from __future__ import annotations

import inspect
import io
import operator
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax.errors import ImageError, printable

UInt8Array: TypeAlias = npt.NDArray[np.uint8]

MAX_PIXELS: Final = 178_956_970  # Pillow's own error limit; about 0.5 GB of RGB
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_BYTES: Final = (bytes, bytearray, memoryview)
_SUFFIXES = "avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp"
IMAGE_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())

_FORMATS: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, JPEG 2000 or AVIF"
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
# In a JPEG's compressed data 0xFF is followed by 0x00 (a stuffed byte), a restart marker or a fill
# byte; anything else begins the next segment.
_JPEG_MARKER: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)


class Readable(Protocol):
    """An open file, or what else gives bytes by `.read()`, such as an upload to a web server."""

    def read(self) -> bytes: ...


def read_image(
    source: str | os.PathLike[str] | bytes | Readable, *, channels: Literal[1, 3] = 1
) -> UInt8Array:
    """Read an image file, from its path, its bytes or an open file, as gray or RGB.

    Args:
      source: path of the file, the file's content, or a file opened in binary mode, which is read
        to its end from where it stands.
      channels: 1 for gray, 3 for RGB.

    Returns:
      uint8 in [0, 255]: (H, W) for one channel, (H, W, 3) in RGB order for three; upright by the
      file's EXIF orientation, transparency shown over white.

    Raises:
      ImageError: the file cannot be read; one line that names it.
    """
    if channels not in (1, 3):
        raise ValueError(f"expected 1 (gray) or 3 (RGB) for `channels`, got {channels!r}")
    if not is_file(source):
        raise ImageError(f"expected a path, bytes or an open file, got {type(source).__name__}")
    name = file_name(source)
    return decode(file_bytes(source, name), name, channels)


def find_images(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[Path]:
    """List image files: folders are searched in depth, other paths are kept as they are.

    In folders, files with an image suffix count; hidden files and folders do not. A folder's files
    come in natural order, im2 before im10. A path that is no folder is kept whatever its suffix,
    also when nothing is there: reading it then says so.

    Raises:
      ImageError: a path is empty, or a folder holds no images or cannot be listed.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: list[Path] = []
    for given in paths:
        if not os.fspath(given):
            raise ImageError("expected a path, got an empty string")
        path = Path(given)
        if not os.path.isdir(path):  # unlike Path.is_dir, never raises
            found.append(path)
            continue
        inside = _walk(path)
        if not inside:
            raise ImageError(
                printable(f"{path}: no images in this folder; expected files such as .png or .jpg")
            )
        found.extend(inside)
    return found


def over_white(
    colour: npt.NDArray[Any], alpha: npt.NDArray[Any], *, premultiplied: bool = False
) -> npt.NDArray[Any]:
    """Show `colour` over white. Where alpha is at its maximum the colour stays as it is.

    Both are uint8, or floats in [0, 1]; their shapes broadcast.
    """
    if colour.dtype != np.uint8:
        return np.asarray(colour * alpha + (1 - alpha), np.float32)
    # uint16 holds 255 * 255 + 127.
    white = 255 - alpha.astype(np.uint16)
    if premultiplied:
        return (colour + white).astype(np.uint8)
    return ((colour * alpha.astype(np.uint16) + 255 * white + 127) // 255).astype(np.uint8)


# --- files ---------------------------------------------------------------------------------------


def _walk(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        raise ImageError(printable(f"{error.filename}: cannot list this folder: {reason}"))

    found = []
    for base, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for file in files:
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES:
                found.append(Path(base, file))
    return sorted(found, key=lambda path: natural(path.relative_to(folder).as_posix()))


def natural(name: str) -> tuple[object, ...]:
    """Return a sort key by which im2 comes before im10, folder by folder.

    >>> sorted(["a/im10", "a/im2", "a b/im1"], key=natural)
    ['a/im2', 'a/im10', 'a b/im1']
    """
    # Splitting by a group alternates text and number, so that like is compared with like. A number
    # is compared by its length, then digit by digit: no limit on its length, unlike int.
    folders = []
    for part in name.casefold().split("/"):
        pieces = re.split(r"([0-9]+)", part)
        pieces[1::2] = [piece.lstrip("0") for piece in pieces[1::2]]
        folders.append(tuple((len(p), p) if i % 2 else p for i, p in enumerate(pieces)))
    return (tuple(folders), name)


def is_file(source: object) -> bool:
    """Whether this is an image file by its path, its bytes, or open."""
    return isinstance(source, (str, os.PathLike, *_BYTES)) or _is_open(source)


def _is_open(source: object) -> bool:
    return callable(getattr(source, "read", None)) and not isinstance(source, type)


def file_name(source: object) -> str:
    """Return what an error calls an image file."""
    if isinstance(source, (str, os.PathLike)):
        return printable(os.fsdecode(source)) or "''"
    if isinstance(source, _BYTES):
        return "bytes"
    # An upload's own name is `filename`, and `name` that of a form's field.
    names = (getattr(source, key, None) for key in ("filename", "name"))
    name = next((name for name in names if isinstance(name, str) and name), None)
    return type(source).__name__ if name is None else printable(name, 200)


def file_bytes(source: Any, name: str) -> bytes:
    """Return the content of an image file, see `is_file`, of limited size."""
    if isinstance(source, (str, os.PathLike)):
        return _read_file(os.fsdecode(source), name)
    is_open = not isinstance(source, _BYTES)
    data = _read_open(source, name) if is_open else bytes(source)
    if not data:
        hint = "; where the file was read or written before, seek(0) first" if is_open else ""
        raise ImageError(f"{name}: empty, 0 bytes{hint}")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(_too_big(name, len(data)))
    return data


_TEXT: Final = "expected a file opened in binary mode ('rb'), its .read() gives text"


def _read_open(file: Any, name: str) -> bytes:
    """Return what is left of an open file, up to a byte more than is allowed."""
    parts: list[bytes] = []
    left = MAX_FILE_BYTES + 1
    try:
        while left > 0:
            try:
                part = file.read(left)
                ends = False
            except TypeError:
                if parts:
                    raise
                part, ends = file.read(), True  # it takes no size
            if not isinstance(part, _BYTES):
                raise ImageError(f"{name}: {_no_bytes(part)}")
            parts.append(bytes(part))
            left -= len(part)
            if ends or not len(part):  # a pipe or a socket gives less than asked for
                break
    except ImageError:
        raise
    except UnicodeDecodeError:
        raise ImageError(f"{name}: {_TEXT}") from None
    except Exception as error:  # of any library's files
        raise ImageError(printable(f"{name}: cannot be read: {error}")) from error
    return b"".join(parts)


def _no_bytes(part: object) -> str:
    """Return what is wrong with what `.read()` gave."""
    if isinstance(part, str):
        return _TEXT
    if inspect.isawaitable(part):
        if inspect.iscoroutine(part):
            part.close()  # or Python warns that nobody awaited it
        return "expected bytes from .read(), it has to be awaited; pass `await file.read()`"
    return f"expected bytes from .read(), got {type(part).__name__}"


def _too_big(name: str, size: int) -> str:
    limit = MAX_FILE_BYTES // 2**20
    return f"{name}: {size / 2**20:,.0f} MiB; expected an image file of at most {limit} MiB"


def _read_file(path: str, name: str) -> bytes:
    if not path:
        raise ImageError("expected a path, got an empty string")
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: is a folder, not an image file")
        # Opening a pipe would wait, and a device such as /dev/zero never ends.
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name}: not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(_too_big(name, status.st_size))
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)  # a file in /proc says 0, one may grow meanwhile
    except ImageError:  # a ValueError, too
        raise
    except FileNotFoundError as error:
        url = re.match(r"[A-Za-z]{2,}:/", path)  # Path makes one slash of two
        hint = "; only local files are read, download it first" if url else ""
        raise ImageError(f"{name}: no such file{hint}") from error
    except PermissionError as error:
        raise ImageError(f"{name}: permission denied") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(printable(f"{name}: cannot be read: {reason}")) from error
    if not data:
        raise ImageError(f"{name}: empty, 0 bytes")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(_too_big(name, len(data)))
    return data


# --- decoding ------------------------------------------------------------------------------------


def decode(data: bytes, name: str, channels: int) -> UInt8Array:
    """Decode an image file: uint8 (H, W), or (H, W, 3) in RGB order."""
    kind = next((kind for kind, signature in _SIGNATURES if signature.match(data)), None)
    if kind is None:
        raise ImageError(
            f"{name}: not an image that ferjax can read (starts with {data[:12]!r}); "
            f"expected {_FORMATS}"
        )
    width, height = _header_size(data, kind)
    if width < 1 or height < 1:
        raise ImageError(f"{name}: {kind} whose header cannot be read: truncated or corrupt")
    check_pixels(width, height, name)

    exif = b""
    transparent = kind not in ("JPEG", "BMP", "PNM")
    if kind == "JPEG":
        _check_jpeg(data, name)
    elif kind == "PNG":
        data, exif, transparent = _check_png(data, name)
    elif kind == "WebP":
        exif = _check_webp(data, name)
    elif kind == "TIFF":
        _check_tiff(data, name)
    elif kind == "AVIF":
        _check_avif(data, name)

    with _opencv() as cv2:
        flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        buffer = np.frombuffer(data, np.uint8)
        alpha = _alpha(data, kind, _imdecode(buffer, cv2.IMREAD_UNCHANGED)) if transparent else None
        # Alpha comes as it is stored, so the colours have to as well. OpenCV before 5 leaves every
        # WebP as it is stored.
        stored = alpha is not None or kind == "WebP"
        image = _imdecode(buffer, flags | (cv2.IMREAD_IGNORE_ORIENTATION if stored else 0))
    if image is None:
        raise ImageError(
            f"{name}: {kind} that OpenCV cannot decode: truncated, corrupt or unsupported"
        )
    if alpha is not None:
        image = _composite(image, alpha, kind)
    if stored:
        image = _upright(image, _exif_orientation(exif))
    if image.ndim == 3:
        image = image[..., ::-1]  # BGR -> RGB
    return np.ascontiguousarray(image)


def _imdecode(buffer: UInt8Array, flags: int) -> npt.NDArray[Any] | None:
    """Return what OpenCV decodes, or None where it cannot."""
    import cv2

    try:
        image: npt.NDArray[Any] | None = cv2.imdecode(buffer, flags)
    except cv2.error:
        return None
    return image


def check_pixels(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels; expected at most {MAX_PIXELS:,} in all, "
            "scale it down"
        )


def _header_size(data: bytes, kind: str) -> tuple[int, int]:
    """Return (width, height) from the header alone, (-1, -1) if it does not say."""
    import imagesize  # type: ignore[import-untyped,unused-ignore]

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
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, struct.error):
        return -1, -1
    return int(width), int(height)


def _check_jpeg(data: bytes, name: str) -> None:
    """Raise if a JPEG ends before its end-of-image marker; bytes after it do not matter.

    Without it OpenCV shows what is there over gray, or nothing, depending on how it reads.
    """
    position = 2
    while match := _JPEG_MARKER.search(data, position):
        position = match.end()
        marker = match[1][0]
        if marker == 0xD9:  # end of image
            return
        if marker in (0x01, 0xD8):  # these have no length
            continue
        if position + 2 > len(data):
            break
        # A segment is skipped whole: an embedded thumbnail has an end marker of its own.
        position += int.from_bytes(data[position : position + 2], "big")
    raise ImageError(f"{name}: truncated: a JPEG without its end-of-image marker")


def _check_png(data: bytes, name: str) -> tuple[bytes, bytes, bool]:
    """Check that a PNG is whole. Return it as a still image, its EXIF, and if it may have alpha.

    Without the animation's chunks a PNG holds what `imread` shows; from memory OpenCV would decode
    an animation's first frame instead, which may be another picture.
    """
    still = [data[:8]]
    exif = b""
    alpha = data[25] in (4, 6)  # gray or colour with alpha
    position, end = 8, 0
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        body = data[position + 8 : end - 4]
        if not kind[0] & 0x20 and zlib.crc32(kind + body) != int.from_bytes(
            data[end - 4 : end], "big"
        ):
            raise ImageError(f"{name}: corrupt: wrong checksum in the PNG's {kind!r} chunk")
        if kind not in (b"acTL", b"fcTL", b"fdAT"):
            still.append(data[position:end])
        if kind == b"tRNS":
            alpha = True
        elif kind == b"eXIf":
            exif = body
        elif kind == b"IEND":
            animated = sum(map(len, still)) != end
            return b"".join(still) if animated else data, exif, alpha
        position = end
    raise ImageError(f"{name}: truncated: a PNG without its IEND chunk")


def _check_webp(data: bytes, name: str) -> bytes:
    """Check that a WebP is whole and return its EXIF."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ImageError(f"{name}: truncated: a WebP shorter than its header says")
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


def _alpha(data: bytes, kind: str, raw: npt.NDArray[Any] | None) -> UInt8Array | None:
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


def _gray_key_alpha(data: bytes, gray: npt.NDArray[Any]) -> UInt8Array:
    key = struct.unpack_from(">H", data, data.index(b"tRNS") + 4)[0]
    depth = data[24]
    if depth < 8:
        key = key * 255 // (2**depth - 1)  # as the gray values have been spread
    return np.where(gray == key, 0, 255).astype(np.uint8)


def _composite(image: UInt8Array, alpha: UInt8Array, kind: str) -> UInt8Array:
    if image.ndim == 3:
        alpha = alpha[..., None]
    # libtiff multiplies colours with alpha where the file says that alpha is not yet in them; where
    # it does not say, colours are as stored. Multiplied ones never exceed alpha.
    premultiplied = kind == "TIFF" and bool((image <= alpha).all())
    return over_white(image, alpha, premultiplied=premultiplied)


def _exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 where it says nothing valid."""
    value = (*_tiff_tags(exif, (274,)).get(274, ()), 1)[0]
    return value if 1 <= value <= 8 else 1


def _tiff_tags(data: bytes, wanted: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Return the wanted whole-number tags of a TIFF's first directory. EXIF blocks are TIFFs.

    Tags that cannot be read are left out, as is everything in a BigTIFF.
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
            if tag in wanted and kind in (3, 4) and count * 2 <= len(data):
                layout = f"{order}{count}{'H' if kind == 3 else 'I'}"
                where = entry + 8  # up to four bytes lie in the entry itself
                if struct.calcsize(layout) > 4:
                    (where,) = struct.unpack_from(order + "I", data, where)
                tags[tag] = struct.unpack_from(layout, data, where)
    except struct.error:
        pass
    return tags


def _upright(image: UInt8Array, orientation: int) -> UInt8Array:
    """Turn a picture stored with this EXIF orientation upright."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)  # rows are columns
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


_log_lock = threading.Lock()
_log_users = 0
_log_level = 0


@contextmanager
def _opencv() -> Iterator[Any]:
    """Import OpenCV and keep its log off stderr meanwhile; ferjax's own errors say what is wrong.

    The level is one for the process: the first of several threads sets it, the last restores it.
    """
    global _log_users, _log_level
    import cv2

    # OpenCV 4 has it at the top.
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    with _log_lock:
        _log_users += 1
        if _log_users == 1:
            _log_level = set_level(0)  # silent
    try:
        yield cv2
    finally:
        with _log_lock:
            _log_users -= 1
            if _log_users == 0:
                set_level(_log_level)
