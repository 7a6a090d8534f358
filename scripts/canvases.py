"""Pictures without faces, made by arithmetic: textures of several kinds, from a seed.

Dimension keys: H height, W width of a canvas; h and w of a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Texture: TypeAlias = Callable[[int, int, np.random.Generator], Float32Array]


def canvas(
    height: int, width: int, rng: np.random.Generator, kind: str | None = None
) -> UInt8Array:
    """Return a textured picture, uint8 (H, W, 3) in RGB order, with the grain of a camera.

    Args:
        height: H in pixels.
        width: W in pixels.
        rng: what everything is drawn from.
        kind: a name of `TEXTURES`; None: one of them at random.
    """
    kind = kind or str(rng.choice(list(TEXTURES)))
    values = TEXTURES[kind](height, width, rng)
    low, high = float(values.min()), float(values.max())
    values = (values - low) / max(high - low, 1e-6)
    dark, light = rng.uniform(0, 110, 3), rng.uniform(120, 255, 3)
    picture = dark + values[..., None] * (light - dark)
    picture += rng.normal(0, rng.uniform(0, 6), (height, width, 1))
    return np.clip(picture, 0, 255).round().astype(np.uint8)


def clouds(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Noise of several scales, the coarse ones stronger, float32 (H, W)."""
    total = np.zeros((height, width), np.float32)
    for octave in range(2, 8):
        grid = rng.random((2**octave, 2**octave), dtype=np.float32)
        size = (width, height)
        total += cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC) / np.float32(1.7**octave)
    return total


def noise(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """White noise, blurred by up to 3 pixels."""
    values = rng.normal(0, 1, (height, width)).astype(np.float32)
    return _floats(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.3, 3))))


def stripes(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Waves in two directions, as of cloth."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    total = np.zeros((height, width), np.float32)
    for angle in rng.uniform(0, np.pi, 2):
        length = np.float32(rng.uniform(6, 80))
        along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        total += np.sin(along * np.float32(2 * np.pi) / length)
    return total


def bricks(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Bricks of uneven brightness with joints between them."""
    high, wide = int(rng.integers(14, 60)), int(rng.integers(30, 140))
    y, x = np.mgrid[:height, :width]
    row = y // high
    moved = x + (row % 2) * (wide // 2)
    shades = rng.random((height // high + 2, (width + wide) // wide + 2), dtype=np.float32)
    values = 0.4 + 0.6 * shades[row, moved // wide]
    joint = (y % high < 3) | (moved % wide < 3)
    return np.where(joint, np.float32(0), values).astype(np.float32)


def checks(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """A board of checks, turned."""
    angle, side = rng.uniform(0, np.pi), rng.uniform(10, 70)
    y, x = np.mgrid[:height, :width]
    across = np.floor((x * np.cos(angle) + y * np.sin(angle)) / side)
    down = np.floor((y * np.cos(angle) - x * np.sin(angle)) / side)
    return ((across + down) % 2).astype(np.float32)


def discs(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Overlapping ellipses of many sizes, some with smaller ones in them."""
    values = np.full((height, width), 128, np.uint8)
    for _ in range(150):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(4, 80)), int(rng.integers(4, 80)))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(values, centre, axes, angle, 0, 360, int(rng.integers(256)), -1, cv2.LINE_AA)
        if rng.random() < 0.5:
            inner = (axes[0] // 3 + 1, axes[1] // 3 + 1)
            cv2.ellipse(
                values, centre, inner, angle, 0, 360, int(rng.integers(256)), -1, cv2.LINE_AA
            )
    return _floats(values)


def cells(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Cells about random points, brighter towards their edges, as of stones or leaves."""
    seeds = np.ones((height, width), np.uint8)
    count = int(rng.integers(60, 600))
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance = cv2.distanceTransform(seeds, cv2.DIST_L2, 5)
    return _floats(np.sqrt(distance))


def lettering(height: int, width: int, rng: np.random.Generator) -> Float32Array:
    """Lines of letters of many sizes on a gradient."""
    gradient = np.linspace(150, rng.uniform(60, 255), width)
    values = np.tile(gradient, (height, 1)).astype(np.uint8)
    y = 0
    while y < height:
        scale = float(rng.uniform(0.4, 3))
        y += int(34 * scale)
        text = "".join(rng.choice(list("ABCDEFGHJKLMNOPQRSTUVWXYZ038 "), 60))
        at = (-int(rng.integers(0, 40)), y)
        cv2.putText(values, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, max(1, int(2 * scale)))
    return _floats(values)


def _floats(values: object) -> Float32Array:
    return np.asarray(values, np.float32)


TEXTURES: Final[Mapping[str, Texture]] = {
    "clouds": clouds,
    "noise": noise,
    "stripes": stripes,
    "bricks": bricks,
    "checks": checks,
    "discs": discs,
    "cells": cells,
    "lettering": lettering,
}
