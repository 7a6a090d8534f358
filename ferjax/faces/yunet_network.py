"""Run YuNet's network: by ONNX Runtime, or by OpenCV where that cannot be imported.

Both compute the same: boxes differ by less than a hundredth of a pixel. ONNX Runtime takes a third
of the time, for it lays out channels in blocks that fill the CPU's registers. What OpenCV does
behind the network, from its outputs to rows of faces, is done here for ONNX Runtime.

Dimension keys: B pictures, H height, W width; A anchors of a picture, N faces.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ferjax import hardware, onnx_runtime
from ferjax.errors import DetectorError
from ferjax.image_files import UInt8Array, quiet_opencv
from ferjax.preprocessing import Float32Array

MODEL: Final = Path(__file__).parent / "face_detection_yunet_2023mar.onnx"
MODEL_SHA256: Final = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

NARROWEST: Final = 64  # pixels that the network takes; of fewer OpenCV 4 sees faces at random
STRIDES: Final = (8, 16, 32)  # pixels between the anchors of its three scales
SAME: Final = 0.3  # of their union, from which on two boxes are of one face
MOST: Final = 5000  # boxes of a picture that are compared with each other
SMALL: Final = 128  # the side of the patches that a face is looked at in

_OUTPUTS: Final = [f"{k}_{stride}" for k in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
# The shape of the network's input in its file, 1x3x640x640, and with open sizes, of equal length.
_FIXED: Final = bytes.fromhex("0a020801 0a020803 0a03088005 0a03088005")
_OPEN: Final = bytes.fromhex("0a021200 0a020803 0a03120168 0a03120177")  # ?x3xhxw


def read_model(path: Path = MODEL) -> bytes:
    """Return the network's file, or raise a DetectorError where it is missing or another one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DetectorError(
            f"{path}: the face detector cannot be read: {reason}; reinstall ferjax"
        ) from error
    if hashlib.sha256(data).hexdigest() != MODEL_SHA256:
        raise DetectorError(f"{path}: the face detector's file was altered; reinstall ferjax")
    return data


def model_of_open_sizes() -> bytes:
    """Return the network as ONNX for pictures of any size, multiples of 32, and any number."""
    return read_model().replace(_FIXED, _OPEN)


def run(
    images: Sequence[UInt8Array], min_score: float, *, is_distinct: bool = True
) -> list[Float32Array]:
    """Return what the network sees in pictures of one size, uint8 (H, W, 3) in RGB order or (H, W).

    Of each (N, 15), in pixels: x, y, width, height, x and y of five landmarks, score. Without
    `is_distinct`, what every anchor shows: several boxes of each face.
    """
    missing = [(0, max(0, NARROWEST - side)) for side in images[0].shape[:2]]
    if any(after for _, after in missing):
        images = [np.pad(image, missing + [(0, 0)] * (image.ndim - 2)) for image in images]
    runtime = session()
    if runtime is None:
        seen = [_run_opencv(image, min_score, SAME if is_distinct else 1.0) for image in images]
    else:
        seen = _run_onnx(runtime, images, min_score)
        if is_distinct:
            seen = [distinct(rows) for rows in seen]
    finite = np.isfinite(np.concatenate(seen)).all(axis=1)
    if finite.all():
        return seen
    ends = np.cumsum([len(rows) for rows in seen])[:-1]
    return [rows[part] for rows, part in zip(seen, np.split(finite, ends), strict=True)]


# --- ONNX Runtime --------------------------------------------------------------------------------

_lock = threading.Lock()


def session() -> Any:
    """Return the process's session, which several threads may run, or None without the runtime."""
    with _lock:
        return open_session()


@lru_cache(maxsize=1)
def open_session() -> Any:
    """Open a session; see `session`, which opens one alone."""
    try:
        runtime = hardware.onnx_runtime()
    except ImportError:
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # several pictures are looked at in as many threads
    options.enable_mem_pattern = False  # sizes differ from call to call
    options.log_severity_level = 4  # it warns of the outputs' shapes, which the file has for 640
    content = model_of_open_sizes()
    return onnx_runtime.session(content, options, ["CPUExecutionProvider"])


def _run_onnx(session: Any, images: Sequence[UInt8Array], min_score: float) -> list[Float32Array]:
    batch = _batch(images)
    count, _, height, width = batch.shape
    outputs = session.run(_OUTPUTS, {"input": batch})  # (1, B*a, k), a of the A for each stride
    parts = [part.reshape(count, -1, part.shape[2]) for part in outputs]
    classes, objects, boxes, landmarks = (
        np.concatenate(parts[i : i + len(STRIDES)], axis=1)
        for i in range(0, len(parts), len(STRIDES))
    )
    scores = classes[..., 0] * objects[..., 0]  # (B, A); sigmoids, in [0, 1]
    np.sqrt(scores, out=scores)
    pictures, anchors = seen = np.nonzero(scores >= min_score)
    at, strides = (part[anchors] for part in _anchors(height, width))
    rows = np.empty((len(anchors), 15), np.float32)
    box, sides = boxes[seen], rows[:, 2:4]
    np.exp(box[:, 2:], out=sides)
    rows[:, :2] = at + box[:, :2] - sides / 2
    rows[:, 4:14] = landmarks[seen] + np.concatenate([at] * 5, axis=1)
    rows[:, :14] *= strides
    rows[:, 14] = scores[seen]
    if count == 1:
        return [rows]
    ends = np.searchsorted(pictures, np.arange(count + 1)).tolist()
    return [rows[start:end] for start, end in itertools.pairwise(ends)]


class _Memory(threading.local):
    """What a thread's pictures are laid out in: memory that is new each time would have to be
    cleared by the system, which takes ten times as long as the pictures."""

    def __init__(self) -> None:
        self.numbers = np.empty(0, np.float32)
        self.levels = np.empty(0, np.uint8)


_memory = _Memory()


def _batch(images: Sequence[UInt8Array]) -> Float32Array:
    """Return pictures as the network takes them, float32 (B, 3, H, W) in BGR order.

    Gray is in all three. Sides are filled up to a multiple of the largest stride. It is good until
    the thread's next.
    """
    import cv2

    height, width = images[0].shape[:2]
    rows, columns = (side + -side % STRIDES[-1] for side in (height, width))
    size = len(images) * 3 * rows * columns
    if len(_memory.numbers) < size:
        _memory.numbers = np.empty(size, np.float32)
    batch = _memory.numbers[:size].reshape(len(images), 3, rows, columns)
    batch[:, :, height:] = 0
    batch[..., width:] = 0
    if len(_memory.levels) < 3 * height * width:
        _memory.levels = np.empty(3 * height * width, np.uint8)
    channels = list(_memory.levels[: 3 * height * width].reshape(3, height, width))
    for planes, image in zip(batch, images, strict=True):
        if image.ndim == 2:
            planes[:, :height, :width] = image
            continue
        # Apart as bytes first: to make numbers of each third byte takes twice as long.
        for plane, channel in zip(planes, reversed(cv2.split(image, channels))):
            plane[:height, :width] = channel
    return batch


@lru_cache(maxsize=16)
def _anchors(height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """Return the anchors of a picture, column and row, (A, 2), and their strides, (A, 1)."""
    at, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices((height // stride, width // stride), np.float32)
        at.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride, np.float32))
    return np.concatenate(at), np.concatenate(strides)


def distinct(rows: Float32Array) -> Float32Array:
    """Return boxes, (N, 15), the surest first, without those that overlap with a surer one."""
    import cv2

    if len(rows) < 2:
        return rows
    boxes: Any = rows[:, :4]
    scores: Any = rows[:, 14]
    best = cv2.dnn.NMSBoxes(boxes, scores, 0.0, SAME, 1.0, MOST)
    return rows[np.asarray(best, np.intp)]


# --- OpenCV --------------------------------------------------------------------------------------


class _Nets(threading.local):
    """A thread's networks, for pictures and for patches: a change of size costs, and none serves
    two threads."""

    def __init__(self) -> None:
        self.of_size: dict[bool, Any] = {}


_nets = _Nets()


def _run_opencv(image: UInt8Array, min_score: float, same: float) -> Float32Array:
    with quiet_opencv() as cv2:  # OpenCV 5 warns of the engine that it chooses itself
        is_small = max(image.shape) <= SMALL
        net = _nets.of_size.get(is_small)
        if net is None:
            model, settings = np.frombuffer(read_model(), np.uint8), np.zeros(0, np.uint8)
            net = cv2.FaceDetectorYN.create("onnx", model, settings, (SMALL, SMALL))
            _nets.of_size[is_small] = net
        net.setScoreThreshold(min_score)
        net.setNMSThreshold(same)
        net.setTopK(MOST)
        net.setInputSize((image.shape[1], image.shape[0]))
        order = cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR
        _, rows = net.detect(cv2.cvtColor(image, order))
    return np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
