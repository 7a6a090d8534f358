"""Films that tests make: faces over textures, at any times, turned, damaged and cut off."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ferjax.preprocessing import read_image

ROOT = Path(__file__).parents[2]
# What the header of a track in an MP4 file says of how it is to be turned, clockwise.
_TURNS = {
    90: (0, 1, 0, -1, 0, 0, 0, 0, 0x4000),
    180: (-1, 0, 0, 0, -1, 0, 0, 0, 0x4000),
    270: (0, -1, 0, 1, 0, 0, 0, 0, 0x4000),
}


def write_film(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    times: Sequence[float] | None = None,
    rate: int = 30,
    codec: str = "libx264",
    turned: int = 0,
    aspect: Fraction | None = None,
    key_every: int = 12,
) -> Path:
    """Write pictures, uint8 (H, W, 3) in RGB order, at times in seconds or at a constant rate."""
    tick = Fraction(1, 1000) if times is not None else Fraction(1, rate)
    with av.open(str(path), "w") as container:
        stream: Any = None
        for i, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                stream.time_base = stream.codec_context.time_base = tick
                stream.codec_context.gop_size = key_every
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
                if codec == "libx264":
                    stream.options = {"preset": "ultrafast", "crf": "18", "threads": "1"}
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i if times is None else round(1000 * times[i])
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if turned:
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + 44
        matrix = [v << 16 for v in _TURNS[turned]]
        content[at : at + 36] = struct.pack(">9i", *matrix)
        path.write_bytes(content)
    return path


def packets(path: Path) -> list[tuple[int, int, float]]:
    """Return where each packet of pictures lies, its size, and its time in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (packet.pos, packet.size, float(packet.pts * stream.time_base))
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]


def damage(path: Path, which: slice) -> list[float]:
    """Overwrite some packets with zeros, and return their times in seconds."""
    content, hit = bytearray(path.read_bytes()), packets(path)[which]
    for at, size, _ in hit:
        content[at + 4 : at + size] = bytes(size - 4)
    path.write_bytes(content)
    return sorted(time for *_, time in hit)


def levels(count: int, side: int = 48) -> Iterable[np.ndarray]:
    """Yield pictures, each brighter than the one before, with a white corner at the upper left."""
    for i in range(count):
        picture = np.full((side, side + 16, 3), 10 + 200 * i // count, np.uint8)
        picture[: side // 4, : side // 4] = 255
        yield picture


def texture(seed: int, width: int = 320, height: int = 240) -> np.ndarray:
    """Return a smooth picture without a face."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@lru_cache(maxsize=8)
def head(height: int) -> np.ndarray:
    """Return a head of about so many pixels."""
    picture = read_image(ROOT / "examples" / "astronaut.jpg", channels=3)
    part = picture[30:200, 150:300]
    size = (round(height * 150 / 170), height)
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def pasted(ground: np.ndarray, places: Iterable[tuple[float, float, np.ndarray]]) -> np.ndarray:
    """Return a picture with others pasted on it, each with its left and upper edge."""
    picture = ground.copy()
    for x, y, patch in places:
        left, top = round(x), round(y)
        part = picture[max(0, top) : top + patch.shape[0], max(0, left) : left + patch.shape[1]]
        if part.size:
            down, across = max(0, -top), max(0, -left)
            part[:] = patch[down : down + part.shape[0], across : across + part.shape[1]]
    return picture
