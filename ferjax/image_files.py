"""Image files: find them, check them, decode them with OpenCV.

An image file is untrusted input: its size is read from its header, and what ends early is refused,
before anything is decoded.
"""

from __future__ import annotations

import inspect
import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax import image_formats
from ferjax.errors import ImageError, printable

UInt8Array: TypeAlias = npt.NDArray[np.uint8]

MAX_PIXELS: Final = 178_956_970  # Pillow's own error limit; about 0.5 GB of RGB
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_BYTES: Final = (bytes, bytearray, memoryview)
_SUFFIXES = "avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp"
_SWAPPED_AT_ONCE: Final = 1_000_000  # pixels
IMAGE_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
_UNREAD = "heic heif hif jxl arw cr2 cr3 dng nef orf raf rw2"  # phones' and cameras' own
_UNREAD_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in _UNREAD.split())


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
    check_channels(channels)
    if not is_file(source):
        raise ImageError(f"expected a path, bytes or an open file, got {type(source).__name__}")
    name = file_name(source)
    return decode(file_bytes(source, name), name, channels)


def check_channels(channels: object) -> None:
    """Raise a ValueError unless a network takes as many channels: 1 for gray, 3 for RGB."""
    if channels not in (1, 3):
        raise ValueError(f"expected 1 (gray) or 3 (RGB) for `channels`, got {channels!r}")


def find_images(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List image files: folders are searched in depth, other paths are kept as they are.

    In folders, files with an image suffix count; hidden files and folders do not. A folder's files
    come in natural order, im2 before im10. A path that is no folder is kept whatever its suffix,
    also when nothing is there: reading it then says so. A folder inside that cannot be listed is
    kept as well.

    Raises:
        ImageError: a path is empty, or a folder holds no images or cannot be listed.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    files: list[Path] = []
    for path in paths:
        if not os.fspath(path):
            raise ImageError("expected a path, got an empty string")
        is_folder = os.path.isdir(path)  # unlike Path.is_dir, never raises
        files += _images_in(Path(path)) if is_folder else [Path(path)]
    return files


def _images_in(folder: Path) -> list[Path]:
    files = _walk(folder, IMAGE_SUFFIXES, with_unlisted=True)
    if not files:
        unread = _walk(folder, _UNREAD_SUFFIXES)
        hint = f", got {unread[0].name}; save it as JPEG" if unread else ""
        message = "no images in this folder; expected files such as .png or .jpg"
        raise ImageError(printable(f"{folder}: {message}{hint}"))
    return files


def find_unread_images(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List the files in folders that `find_images` leaves out though they are photographs.

    They are told by the suffixes of formats that are not read, such as .heic and .nef.

    Raises:
        ImageError: a folder cannot be listed.
    """
    folders = [Path(path) for path in paths if os.path.isdir(path)]
    return [path for folder in folders for path in _walk(folder, _UNREAD_SUFFIXES)]


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


def encode(image: UInt8Array, suffix: str, *, quality: int = 95) -> bytes | None:
    """Return a picture as an image file, or None where the format does not take one of its size.

    Args:
        image: uint8 in [0, 255], (H, W) or (H, W, 3) in RGB order.
        suffix: the format, such as ".png".
        quality: of JPEG and WebP, to 100.
    """
    with quiet_opencv() as cv2:
        settings = {
            ".jpg": [
                *(cv2.IMWRITE_JPEG_QUALITY, quality),
                *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
            ],
            ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        }
        try:
            done, data = cv2.imencode(
                suffix, image[..., ::-1] if image.ndim == 3 else image, settings.get(suffix, [])
            )
        except cv2.error:
            return None
    return bytes(data) if done else None


# --- files ---------------------------------------------------------------------------------------


def _walk(folder: Path, suffixes: frozenset[str], *, with_unlisted: bool = False) -> list[Path]:
    """List files by suffix, and with them folders that cannot be listed."""

    def fail(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise ImageError(_not_listed(printable(str(folder)), error))
        unlisted.append(Path(error.filename))

    paths: list[Path] = []
    unlisted: list[Path] = []
    for base, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for file in files:
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in suffixes:
                paths.append(Path(base, file))
    paths += unlisted if with_unlisted else []
    return sorted(paths, key=lambda path: natural(path.relative_to(folder).as_posix()))


def _not_listed(name: str, error: OSError) -> str:
    return f"{name}: cannot list this folder: {error.strerror or type(error).__name__}"


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
    hint = ""
    if isinstance(source, (str, os.PathLike)):
        data = _read_file(os.fsdecode(source), name)
    elif isinstance(source, _BYTES):
        data = bytes(source)
    else:
        data = _read_open(source, name)
        if not getattr(source, "is_whole", False):  # which ferjax itself has opened
            hint = "; where the file was read or written before, seek(0) first"
    if not data:
        raise ImageError(f"{name}: empty, 0 bytes{hint}")
    _check_file_size(len(data), name)
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
            except TypeError:
                if parts:
                    raise
                part, left = file.read(), 0  # it takes no size
            if not isinstance(part, _BYTES):
                raise ImageError(f"{name}: {_no_bytes(part)}")
            parts.append(bytes(part))
            left = left - len(part) if len(part) else 0  # a pipe or a socket gives less than asked
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


def _read_file(path: str, name: str) -> bytes:
    """Return the content of a file, up to a byte more than is allowed."""
    if not path:
        raise ImageError("expected a path, got an empty string")
    try:
        _check_regular(path, name)
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)  # a file in /proc says 0, one may grow meanwhile
    except ImageError:  # a ValueError, too
        raise
    except FileNotFoundError as error:
        url = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path)  # Path makes one slash of two
        hint = "; only local files are read, download it first" if url else ""
        raise ImageError(f"{name}: no such file{hint}") from error
    except PermissionError as error:
        raise ImageError(f"{name}: permission denied") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(printable(f"{name}: cannot be read: {reason}")) from error


def _check_regular(path: str, name: str) -> None:
    """Refuse a folder, a file that is too large, and what may wait or never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        try:
            os.scandir(path).close()
        except OSError as error:
            raise ImageError(_not_listed(name, error)) from error
        raise ImageError(f"{name}: is a folder, not an image file")
    # Opening a pipe would wait, and a device such as /dev/zero never ends.
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name}: not a regular file")
    _check_file_size(status.st_size, name)


def _check_file_size(size: int, name: str) -> None:
    if size > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 2**20
        raise ImageError(
            f"{name}: {size / 2**20:,.0f} MiB; expected an image file of at most {limit} MiB"
        )


# --- decoding ------------------------------------------------------------------------------------


def decode(data: bytes, name: str, channels: int) -> UInt8Array:
    """Decode an image file: uint8 (H, W), or (H, W, 3) in RGB order."""
    kind = image_formats.kind_of(data, name)
    width, height = image_formats.header_size(data, kind)
    if width < 1 or height < 1:
        raise ImageError(f"{name}: {kind} whose header cannot be read: truncated or corrupt")
    check_pixels(width, height, name)

    data, exif, transparent = image_formats.checked(data, kind, name)
    with quiet_opencv() as cv2:
        flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        buffer = np.frombuffer(data, np.uint8)
        raw = _imdecode(buffer, cv2.IMREAD_UNCHANGED) if transparent else None
        alpha = image_formats.alpha(data, kind, raw)
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
        image = _upright(image, image_formats.exif_orientation(exif))
    image = np.ascontiguousarray(image)
    if image.ndim == 3:
        # In place, a part at a time: a second picture of 100 megapixels would be 300 MB more.
        rows = max(1, _SWAPPED_AT_ONCE // width)
        for part in (image[i : i + rows] for i in range(0, len(image), rows)):
            part[...] = cv2.cvtColor(part, cv2.COLOR_BGR2RGB)
    return image


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


def _composite(image: UInt8Array, alpha: UInt8Array, kind: str) -> UInt8Array:
    if image.ndim == 3:
        alpha = alpha[..., None]
    # libtiff multiplies colours with alpha where the file says that alpha is not yet in them; where
    # it does not say, colours are as stored. Multiplied ones never exceed alpha.
    premultiplied = kind == "TIFF" and bool((image <= alpha).all())
    return over_white(image, alpha, premultiplied=premultiplied)


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
def quiet_opencv() -> Iterator[Any]:
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
