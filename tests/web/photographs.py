"""Photographs for tests, made of one: 50 of them, in the formats and forms that people have."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageEnhance, ImageFilter, PngImagePlugin

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def photographs() -> Iterator[tuple[str, bytes]]:
    """Yield what each is called and its file."""
    base = Image.open(ASTRONAUT).convert("RGB")
    yield "as it is", ASTRONAUT.read_bytes()
    yield from _sizes(base)
    yield from _turns(base)
    yield from _colours(base)
    yield from _formats(base)
    yield from _transparent(base)
    yield from _oriented(base)
    yield from _several(base)
    yield from _faceless()


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _sizes(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    for percent, kind in ((15, "PNG"), (33, "JPEG"), (60, "WEBP"), (210, "JPEG"), (450, "JPEG")):
        size = tuple(side * percent // 100 for side in base.size)
        yield f"{percent} %, {kind}", encoded(base.resize(size), kind)
    wide = Image.new("RGB", (4000, 900), (90, 120, 150))
    wide.paste(base.resize((384, 384)), (2900, 300))
    yield "a small face in a wide picture", encoded(wide, "PNG")
    face = base.crop((150, 40, 300, 210))
    yield "a face that fills the picture", encoded(face, "PNG")
    yield "a narrow picture", encoded(base.crop((190, 0, 260, 400)), "JPEG")


def _turns(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    for degrees in (9, -22, 38, -65, 90, 140, 180):
        turned = base.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        yield f"turned by {degrees}", encoded(turned, "PNG")
    mirrored = base.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    yield "mirrored", encoded(mirrored, "JPEG", quality=90)


def _colours(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    noisy = np.asarray(base) + rng.normal(0, 18, (*base.size[::-1], 3))
    yield "noisy", encoded(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), "PNG")
    yield "dark", encoded(ImageEnhance.Brightness(base).enhance(0.35), "JPEG")
    yield "of much contrast", encoded(ImageEnhance.Contrast(base).enhance(1.8), "WEBP")
    yield "blurred", encoded(base.filter(ImageFilter.GaussianBlur(2.5)), "PNG")
    yield (
        "tinted",
        encoded(ImageChops.multiply(base, Image.new("RGB", base.size, (255, 200, 120))), "PNG"),
    )
    yield "gray PNG", encoded(base.convert("L"), "PNG")
    yield "gray JPEG", encoded(base.convert("L"), "JPEG", quality=85)
    yield "16 bits of gray", encoded(_sixteen_bits(base), "PNG")


def _sixteen_bits(base: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257)


def _formats(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "JPEG of quality 30", encoded(base, "JPEG", quality=30)
    yield "JPEG, progressive, 4:2:0", encoded(base, "JPEG", progressive=True, subsampling="4:2:0")
    yield (
        "JPEG, 4:2:2, odd sides",
        encoded(base.crop((1, 0, 500, 399)), "JPEG", subsampling="4:2:2"),
    )
    yield "JPEG, 4:4:4", encoded(base, "JPEG", quality=95, subsampling="4:4:4")
    yield "WebP of quality 80", encoded(base, "WEBP", quality=80)
    yield "WebP without loss", encoded(base, "WEBP", lossless=True)
    yield "GIF", encoded(base, "GIF")
    still = {"save_all": True, "default_image": True}
    frames = [base.rotate(90), base.rotate(180)]
    yield "animated PNG", encoded(base, "PNG", append_images=frames, duration=100, **still)
    yield "PNG of 64 colours", encoded(base.quantize(64), "PNG")
    yield "AVIF", encoded(base, "AVIF", quality=85)
    yield "JPEG of four inks", encoded(base.convert("CMYK"), "JPEG", quality=90)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield "JPEG with a profile", encoded(base, "JPEG", icc_profile=profile)
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))
    yield "PNG with a gamma", encoded(base, "PNG", pnginfo=gamma)


def _transparent(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    width, height = base.size
    down = Image.fromarray(np.linspace(0, 255, height).astype(np.uint8)[:, None].repeat(width, 1))
    clear = base.copy()
    clear.putalpha(down.transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    yield "PNG that grows clear", encoded(clear, "PNG")
    yield "WebP that grows clear", encoded(clear, "WEBP", lossless=True)
    yield "gray PNG that grows clear", encoded(clear.convert("LA"), "PNG")


def _oriented(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    for orientation in (2, 3, 5, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        kind = {5: "PNG", 8: "WEBP"}.get(orientation, "JPEG")
        yield f"{kind} of orientation {orientation}", encoded(base, kind, exif=exif)


def _several(base: Image.Image) -> Iterator[tuple[str, bytes]]:
    part = base.crop((120, 20, 320, 240))
    for name, count, sizes in (("six", 6, (90, 200)), ("twelve", 12, (60, 140))):
        rng = np.random.default_rng(count)
        columns = math.ceil(math.sqrt(count * 4 / 3))
        canvas = Image.new("RGB", (columns * 220, math.ceil(count / columns) * 240), (70, 80, 90))
        for i in range(count):
            width = int(rng.integers(*sizes))
            copy = part.resize((width, width * 11 // 10))
            if i % 2:
                copy = copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            at = (i % columns * 220 + int(rng.integers(0, 20)), i // columns * 240)
            canvas.paste(copy, (at[0], at[1] + int(rng.integers(0, 15))))
        yield f"{name} faces", encoded(canvas, "JPEG", quality=92)


def _faceless() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (300, 400, 3), np.uint8)
    yield "noise alone", encoded(Image.fromarray(noise), "PNG")
    stripes = np.tile((np.arange(500) // 12 % 2 * 200 + 30).astype(np.uint8), (320, 1))
    yield "stripes alone", encoded(Image.fromarray(stripes), "JPEG")
