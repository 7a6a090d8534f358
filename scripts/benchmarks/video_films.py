"""Films to time video pipelines on: H.264, 640x480, 30 frames/s, with one face and with six."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks import face_pictures
from benchmarks.face_pictures import UInt8Array

RATE = 30
KINDS = ("one", "six")


def prepare(
    photograph: Path, folder: Path, seconds: int, seed: int, faces: UInt8Array | None = None
) -> None:
    """Write folder/one.mp4 and folder/six.mp4, in which faces move slowly, with a camera's noise.

    Args:
        photograph: the astronaut, whole.
        folder: where the films go.
        seconds: of each film.
        seed: of the pictures and of the noise.
        faces: other faces, uint8 (N, h, h), for every other of the six.

    Raises:
        OSError: the photograph cannot be read.
    """
    face_pictures.prepare(photograph, folder, 1, seed, faces)
    for kind in KINDS:
        picture = cv2.imread(str(folder / kind / "0000.jpg"))
        assert picture is not None
        frames = moving(np.asarray(picture[..., ::-1], np.uint8), seconds * RATE, seed)
        write(folder / f"{kind}.mp4", frames)


def moving(picture: UInt8Array, count: int, seed: int) -> Iterator[UInt8Array]:
    """Yield a picture that moves by up to 12 pixels, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    noise = rng.normal(0, 4, (8, height, width, 1)).astype(np.float32)
    for i in range(count):
        x, y = 12 * np.sin(i / 17), 8 * np.cos(i / 23)
        shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
        moved = cv2.warpAffine(picture, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
        noisy = moved.astype(np.float32) + noise[i % len(noise)]
        yield np.asarray(noisy.clip(0, 255), np.uint8)


def write(path: Path, frames: Iterator[UInt8Array]) -> None:
    """Write RGB frames as a film."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = face_pictures.WIDTH, face_pictures.HEIGHT
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23", "bf": "0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def repeat(short: Path, long: Path, seconds: int) -> int:
    """Write a film over and over into a long one, without encoding it anew; return its frames."""
    with av.open(str(short)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        assert stream.time_base is not None
        span = round(len(packets) / RATE / stream.time_base)
        with av.open(str(long), "w") as target:
            copy = target.add_stream_from_template(stream)
            tick, written = Fraction(stream.time_base), 0
            for turn in range(max(1, round(seconds * RATE / len(packets)))):
                for packet in packets:
                    again = av.Packet(bytes(packet))
                    assert packet.pts is not None and packet.dts is not None
                    again.pts, again.dts = packet.pts + turn * span, packet.dts + turn * span
                    again.time_base, again.is_keyframe = tick, packet.is_keyframe
                    again.stream = copy
                    target.mux(again)
                    written += 1
    return written
