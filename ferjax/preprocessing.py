"""Images to network input: a file, bytes or an array becomes float32 (B, H, W, C).

The published preprocessing is `cv2.imread(path, cv2.IMREAD_GRAYSCALE)`, bilinear `cv2.resize(image,
(48, 48))`, float32 / 255, then the batch and channel axes. `preprocess` gives those numbers bit for
bit. It differs where that recipe would give nothing or something that nobody sees in a viewer:

- Transparency is shown over white. `imread` drops alpha and shows the hidden colours. OpenCV does
  not see the alpha of BMP and of gray TIFF and JPEG 2000 files; these stay opaque.
- A file that ends early, is too large or cannot be decoded is an ImageError that names it.
- An AVIF whose header asks for a rotation is refused, because OpenCV would not rotate it.

EXIF orientation is applied and 16-bit images become 8-bit, as `imread` does. Of an animation or a
multi-page file the first picture is read.

A bilinear resize takes four pixels for each of the result: of a large picture it skips most.
`resize="area"` averages all of them instead, which is right for faces cropped from photographs.

Dimension keys: B batch, H height, W width, C channels (1 gray or 3 RGB).
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from ferjax import image_files
from ferjax.errors import ImageError, SkippedPixelsWarning, printable, warn_caller
from ferjax.image_files import MAX_PIXELS, Readable, UInt8Array, find_images, over_white, read_image

if TYPE_CHECKING:
    import PIL.Image

Source: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, Readable, npt.NDArray[Any], "PIL.Image.Image"
]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]
Resize: TypeAlias = Literal["linear", "area"]
Float32Array: TypeAlias = npt.NDArray[np.float32]

RESIZES: Final = ("linear", "area")
FLOAT_TOLERANCE: Final = 1e-6  # how far rounding may carry a float image outside [0, 1]
_MAX_LISTED: Final = 50  # bad images listed in one error

__all__ = [
    "ChannelOrder",
    "Resize",
    "Source",
    "find_images",
    "load_picture",
    "preprocess",
    "read_image",
    "resized",
]


def preprocess(
    images: Source | Sequence[Source],
    *,
    size: tuple[int, int] = (48, 48),
    channels: Literal[1, 3] = 1,
    channel_order: ChannelOrder = "rgb",
    value_range: tuple[float, float] = (0.0, 1.0),
    resize: Resize | None = "linear",
) -> Float32Array:
    """Turn images into network input, float32 (B, H, W, C), exactly as the published recipe does.

    Args:
        images: one image or a sequence of them. An image is a path, the bytes of an image file, a
            file opened in binary mode (or another object with `.read()`, such as an upload; it is
            read to its end from where it stands), a PIL image or an array. Arrays, NumPy's or what
            turns into them, hold uint8 in [0, 255] or floats of any width in [0, 1] and are (H, W),
            (H, W, 1|3|4) or, on their own and not in a sequence, a batch (B, H, W) or
            (B, H, W, 1|3|4). Three axes of which the last is 1, 3 or 4 long are ONE image
            (H, W, C). Four channels are colour and alpha; the picture is then shown over white.
        size: (H, W) of the result in pixels.
        channels: 1 for gray, 3 for RGB.
        channel_order: order of the colours in arrays of three or four channels: "rgb" or "bgr".
        value_range: what black and white become: (0, 1) is x / 255, (0, 255) keeps the values,
            (-1, 1) is x / 127.5 - 1.
        resize: "linear" is bilinear, as published; "area" averages where the image shrinks in both
            directions and is bilinear elsewhere, see `resized`. None: "linear", with a
            SkippedPixelsWarning where an image is more than twice as high and as wide as `size`.

    Returns:
        float32 (B, H, W, C) in `value_range`.

    Raises:
        ImageError: an image cannot be read, or an array is not as above. In a sequence all bad
            items are named at once, one line each.
        ValueError: an option is out of range.

    >>> preprocess(np.full((2, 6, 6), 255, np.uint8), size=(3, 3))[:, 0, 0, 0]
    array([1., 1.], dtype=float32)
    """
    height, width = check_size(size)
    low, high = check_value_range(value_range)
    image_files.check_channels(channels)
    check_channel_order(channel_order)
    check_resize(resize)

    if is_array(images):
        batch = _to_channels(check_array(images, "array", channel_order), channels)
        resize = _chosen(resize, batch.shape[1:], (height, width))
        return _scale(_resize(batch, height, width, resize), low, high)
    named = _named(images)
    result = np.empty((len(named), height, width, channels), np.float32)
    problems: list[str] = []
    for index, (name, source) in enumerate(named):
        try:
            image = _load(source, name, channels, channel_order)
            resize = _chosen(resize, image.shape, (height, width))
            result[index] = _scale(_resize(image[None], height, width, resize), low, high)[0]
        except ImageError as error:
            problems.append(str(error))
    if problems:
        raise ImageError(joined(problems, len(named)))
    return result


def _named(images: Any) -> list[tuple[str, Any]]:
    """Return images, one or a sequence of them, with what errors call them."""
    if is_single(images):
        return [(name_of(images), images)]
    if not isinstance(images, Sequence):
        raise ImageError(
            "expected a path, bytes, array, PIL image or a sequence of them, or an open file, "
            f"got {type(images).__name__}"
        )
    if not images:
        raise ImageError("expected at least one image, got an empty sequence")
    return [(name_of(image, index), image) for index, image in enumerate(images)]


def load_picture(
    source: Source, *, name: str | None = None, channel_order: ChannelOrder = "rgb"
) -> UInt8Array:
    """Return one image as a viewer shows it, uint8 (H, W, 3) in RGB order, at its full size.

    Args:
        source: one image, see `preprocess`; floats are rounded to uint8, gray becomes RGB.
        name: what an error calls the image; None: its path or its kind.
        channel_order: order of the colours in arrays of three or four channels: "rgb" or "bgr".

    Raises:
        ImageError: it cannot be read, or is no image; one line that names it.
    """
    check_channel_order(channel_order)
    name = name or name_of(source)
    shape = np.shape(source) if is_array(source) else ()  # type: ignore[arg-type]
    if len(shape) >= 2 and not is_batch(shape):
        image_files.check_pixels(shape[1], shape[0], name)
    image = _load(source, name, 3, channel_order)
    return image if image.dtype == np.uint8 else np.rint(image * 255).astype(np.uint8)


def resized(image: npt.NDArray[Any], height: int, width: int, resize: Resize) -> npt.NDArray[Any]:
    """Return an image, uint8 or float32 (H, W) or (H, W, 1|3), resized in its own dtype.

    Args:
        image: the image; a channel axis stays.
        height, width: of the result, in pixels.
        resize: "linear" is `cv2.resize` as it is called by default, bilinear. "area" is INTER_AREA,
            the mean of the pixels that fall into each of the result, where neither side grows, and
            bilinear otherwise: enlarging, INTER_AREA repeats pixels.

    >>> resized(np.array([[0, 0, 0, 255]] * 4, np.uint8), 1, 1, "area")
    array([[64]], dtype=uint8)
    >>> resized(np.array([[0, 0, 0, 255]] * 4, np.uint8), 1, 1, "linear")
    array([[0]], dtype=uint8)
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image  # cv2.resize, too, only copies then
    import cv2

    shrinks = height <= rows and width <= columns
    interpolation = cv2.INTER_AREA if resize == "area" and shrinks else cv2.INTER_LINEAR
    result = cv2.resize(image, (width, height), interpolation=interpolation)
    return result.reshape(height, width, *image.shape[2:])  # OpenCV drops the axis of gray


def skips_pixels(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether a bilinear resize of (height, width) to `size` leaves out much of the image."""
    return height > 2 * size[0] and width > 2 * size[1]


# --- options -------------------------------------------------------------------------------------


def check_size(size: tuple[int, int], longest: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) as plain integers, or raise a ValueError.

    Args:
        longest: pixels that either side may have; both together have at most `MAX_PIXELS`.
    """
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= longest and 1 <= width <= longest) or height * width > MAX_PIXELS:
        pixels = "pixels" if longest == MAX_PIXELS else f"[1, {longest}]"
        raise ValueError(f"expected (height, width) in {pixels} for `size`, got {size!r}")
    return height, width


def check_channel_order(channel_order: object) -> None:
    """Raise a ValueError unless the order of colours is "rgb" or "bgr"."""
    if channel_order not in ("rgb", "bgr"):
        raise ValueError(f"expected 'rgb' or 'bgr' for `channel_order`, got {channel_order!r}")


def check_resize(resize: object) -> None:
    """Raise a ValueError unless it is a way to resize, or None."""
    if resize is not None and resize not in RESIZES:
        raise ValueError(f"expected 'linear' or 'area' for `resize`, got {resize!r}")


def check_value_range(value_range: tuple[float, float]) -> tuple[float, float]:
    """Return (low, high) as floats, or raise a ValueError."""
    try:
        # Plain floats: a NumPy scalar would promote the result to float64.
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected (low, high) for `value_range`, got {value_range!r}")
    return low, high


# --- telling sources apart -----------------------------------------------------------------------


def _is_pil(source: object) -> bool:
    # Whoever holds a PIL image has imported Pillow; ferjax does not need it otherwise.
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(source, pil.Image)


def is_array(source: object) -> bool:
    # Other libraries' arrays (jax.Array among them) convert themselves. So do NumPy's own texts,
    # which are paths.
    if isinstance(source, (str, bytes)):
        return False
    return isinstance(source, np.ndarray) or (
        hasattr(source, "__array__") and hasattr(source, "dtype") and not _is_pil(source)
    )


def is_single(source: object) -> bool:
    return _is_pil(source) or image_files.is_file(source)


def name_of(source: object, index: int | None = None) -> str:
    """Return what an error calls this image: its path, or its kind and place in the sequence."""
    if isinstance(source, (str, os.PathLike)):
        return image_files.file_name(source)
    kind = "PIL image" if _is_pil(source) else "array" if is_array(source) else None
    kind = kind or image_files.file_name(source)
    return kind if index is None else f"image {index} ({kind})"


def joined(problems: Sequence[str], total: int) -> str:
    """Return one message about several bad images of `total`."""
    if total == 1:
        return problems[0]
    lines = [f"{len(problems)} of {total} images cannot be used:", *problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        lines.append(f"... and {len(problems) - _MAX_LISTED} more")
    return "\n".join(lines)


def _load(source: Any, name: str, channels: int, channel_order: ChannelOrder) -> npt.NDArray[Any]:
    """Return one image as uint8, or float32 in [0, 1], (H, W, C)."""
    if _is_pil(source):
        source, channel_order = _from_pil(source, name), "rgb"
    if is_array(source):
        batch = check_array(source, name, channel_order)
        if is_batch(np.shape(source)):
            raise ImageError(
                f"{name}: expected one image, got a batch of shape {np.shape(source)}; "
                "pass the batch on its own"
            )
        return np.asarray(_to_channels(batch, channels)[0])
    if not is_single(source):
        raise ImageError(f"{name}: expected a path, bytes, array or PIL image, or an open file")
    image = image_files.decode(image_files.file_bytes(source, name), name, channels)
    return image[..., None] if channels == 1 else image


# --- arrays --------------------------------------------------------------------------------------


def is_batch(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 or (len(shape) == 3 and shape[-1] not in (1, 3, 4))


def check_array(source: Any, name: str, channel_order: ChannelOrder) -> npt.NDArray[Any]:
    """Return an array of images as uint8 or float32 in [0, 1], (B, H, W, 1|3|4), colours as RGB."""
    try:
        x = np.asarray(source)
    except Exception as error:  # a tensor on another device, for one
        raise ImageError(printable(f"{name}: cannot become a NumPy array: {error}")) from error
    _check_images(x, name)
    if x.ndim < 4 and not is_batch(x.shape):
        x = x[None]  # (1, H, W), (1, H, W, C)
    if x.ndim == 3:
        x = x[..., None]  # (B, H, W, 1)
    if x.dtype != np.uint8:
        x = _check_floats(x, name)
    if channel_order == "bgr" and x.shape[-1] >= 3:
        x = x[..., [2, 1, 0, 3][: x.shape[-1]]]
    return np.ascontiguousarray(x)


def _check_images(x: npt.NDArray[Any], name: str) -> None:
    """Refuse an array whose shape or kind is not that of images."""
    if x.dtype.kind in "OSU":  # as columns of tables have them
        raise ImageError(
            f"{name}: expected numbers, got dtype {x.dtype}; paths and images go in a list, "
            "which `.tolist()` makes"
        )
    if x.ndim not in (2, 3, 4) or (x.ndim == 4 and x.shape[-1] not in (1, 3, 4)):
        raise ImageError(
            f"{name}: expected shape (H, W), (H, W, 1|3|4), (B, H, W) or (B, H, W, 1|3|4), "
            f"got {x.shape}"
        )
    if x.size == 0:
        raise ImageError(f"{name}: expected at least one pixel, got shape {x.shape}")


def _check_floats(x: npt.NDArray[Any], name: str) -> Float32Array:
    """Return floats as float32 in [0, 1]; refuse other kinds and other ranges."""
    # NumPy does not count bfloat16 and its like, which JAX's arrays may be of, among the floats.
    is_float = np.issubdtype(x.dtype, np.floating)
    if not is_float and x.dtype.name.startswith(("bfloat", "float")):
        x, is_float = x.astype(np.float32), True
    if not is_float:
        hint = "convert with astype(np.float32)"
        if x.dtype == np.uint16:
            hint = "divide by the white value, 65535 for 16-bit images"
        elif np.issubdtype(x.dtype, np.integer):
            hint = "convert values in [0, 255] with astype(np.uint8)"
        raise ImageError(
            f"{name}: expected uint8 in [0, 255] or floats in [0, 1], got dtype {x.dtype}; {hint}"
        )
    low, high = float(x.min()), float(x.max())  # NaN and infinities show in one of the two
    problem = None
    if not (np.isfinite(low) and np.isfinite(high)):
        problem = "NaN or infinity"
    elif low < -FLOAT_TOLERANCE:
        problem = f"values down to {low}; shift and scale them"
    elif high > 1 + FLOAT_TOLERANCE:
        problem = f"values up to {high}; divide by 255 or pass uint8"
    if problem is not None:
        raise ImageError(f"{name}: expected float images in [0, 1], got {problem}")
    # Rounding just outside is cut off, so that the result stays in the range that it promises.
    return np.clip(x.astype(np.float32), np.float32(0), np.float32(1))


def _from_pil(image: Any, name: str) -> npt.NDArray[Any]:
    """Return a PIL image, upright, as uint8 (H, W) or (H, W, 3|4), RGB order."""
    from PIL import ImageOps

    width, height = image.size
    image_files.check_pixels(width, height, name)
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            # As OpenCV makes 8 bits of 16: the high byte. Pillow's own convert("L") clips.
            return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        if image.mode in ("I", "F"):
            raise ImageError(
                f"{name}: expected 8 or 16 bits a channel, got mode {image.mode!r}; "
                "scale it to [0, 255] and convert it to 'L'"
            )
        palette = getattr(image.palette, "mode", "")  # without it, `quantize` leaves no other sign
        with_alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or palette == "RGBA"
        if with_alpha or "transparency" in image.info:
            # Pillow has no direct way from some of these modes to RGBA.
            step = {"La": "LA", "1": "L"}.get(image.mode)
            return np.asarray((image.convert(step) if step else image).convert("RGBA"))
        return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise ImageError(printable(f"{name}: Pillow cannot decode it: {error}")) from error


def _to_channels(batch: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """Return (B, H, W, 1|3|4), uint8 or float32, as (B, H, W, C) with C `channels`."""
    if batch.shape[-1] == 4:
        batch = over_white(batch[..., :3], batch[..., 3:])
    if batch.shape[-1] == channels:
        return batch
    if channels == 3:
        return np.repeat(batch, 3, axis=-1)
    import cv2

    b, h, w, _ = batch.shape
    # OpenCV converts row by row, so all rows of the batch go in one call.
    gray = cv2.cvtColor(np.ascontiguousarray(batch).reshape(b * h, w, 3), cv2.COLOR_RGB2GRAY)
    return np.asarray(gray).reshape(b, h, w, 1)


def _resize(
    batch: npt.NDArray[Any], height: int, width: int, resize: Resize | None
) -> npt.NDArray[Any]:
    """Resize (B, H, W, C) in its own dtype."""
    if batch.shape[1:3] == (height, width):
        return batch
    return np.stack([resized(image, height, width, resize or "linear") for image in batch])


def _chosen(resize: Resize | None, shape: tuple[int, ...], size: tuple[int, int]) -> Resize | None:
    """Return how to resize an image (H, W, C); "linear", with a warning, where it skips pixels and
    none was chosen."""
    if resize is not None or not skips_pixels(shape[0], shape[1], size):
        return resize
    warn_caller(
        "an image is more than twice the size that the network takes, and the published bilinear "
        'resize skips most of its pixels; resize="area" averages them, which on faces from '
        'photographs is right more often, and resize="linear" keeps this without a warning',
        SkippedPixelsWarning,
    )
    return "linear"


def _scale(x: npt.NDArray[Any], low: float, high: float) -> Float32Array:
    """Map uint8 [0, 255] or float32 [0, 1] to float32 [low, high]."""
    span = high - low
    y: Float32Array
    if x.dtype == np.uint8 and span != 255:
        y = np.divide(x, 255 / span, dtype=np.float32)
    elif x.dtype != np.uint8 and span != 1:
        y = np.multiply(x, span, dtype=np.float32)
    else:
        y = x.astype(np.float32)  # a copy: the caller's array stays as it is
    if low:
        y += low
    return y
