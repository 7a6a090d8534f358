"""Faces and their expressions by the bare libraries, as one writes that by hand in twenty lines.

YuNet finds the faces, by OpenCV or by ONNX Runtime, in the picture as it is; each is cut out, made
48x48 by area and classified by ONNX Runtime, all of a picture at once. There is no second look at a
face, no batch over pictures and nothing that is done ahead: what is left is what the libraries
take.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ferjax import hardware
from ferjax.faces import yunet_network

Boxes = npt.NDArray[np.float32]  # (N, 4): x, y, width, height
Finder = Callable[[npt.NDArray[np.uint8]], Boxes]
MIN_SCORE, SAME = 0.7, 0.3


def by_opencv() -> Finder:
    """Return YuNet run by OpenCV, as its documentation has it."""
    finder = cv2.FaceDetectorYN.create(str(yunet_network.MODEL), "", (640, 480), MIN_SCORE, SAME)

    def find(image: npt.NDArray[np.uint8]) -> Boxes:
        finder.setInputSize((image.shape[1], image.shape[0]))
        rows = finder.detect(image)[1]
        return np.zeros((0, 4), np.float32) if rows is None else np.asarray(rows[:, :4], np.float32)

    return find


def by_onnx_runtime() -> Finder:
    """Return YuNet run by ONNX Runtime, for pictures whose sides are multiples of 32."""
    session = opened(yunet_network.model_of_open_sizes())

    def find(image: npt.NDArray[np.uint8]) -> Boxes:
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        outputs = session.run(None, {"input": pixels})
        named = dict(zip([output.name for output in session.get_outputs()], outputs))
        boxes, scores = [], []
        for stride in (8, 16, 32):
            score = np.sqrt(named[f"cls_{stride}"].clip(0, 1) * named[f"obj_{stride}"].clip(0, 1))
            (at,) = np.nonzero(score.ravel() >= MIN_SCORE)
            row, column = np.divmod(at, image.shape[1] // stride)
            box = named[f"bbox_{stride}"].reshape(-1, 4)[at]
            size = np.exp(box[:, 2:])
            corner = np.stack([column, row], 1) + box[:, :2] - size / 2
            boxes.append(stride * np.concatenate([corner, size], 1))
            scores.append(score.ravel()[at])
        found: Any = np.concatenate(boxes)
        sure: Any = np.concatenate(scores)
        best = cv2.dnn.NMSBoxes(found, sure, MIN_SCORE, SAME)
        return np.asarray(found[np.asarray(best, np.intp)], np.float32)

    return find


def classifier(model: Path) -> Callable[[npt.NDArray[np.uint8], Boxes], npt.NDArray[np.float32]]:
    """Return what gives the probabilities (N, 7) of the faces in a picture, BGR."""
    session = opened(model.read_bytes())
    name = session.get_inputs()[0].name

    def classify(image: npt.NDArray[np.uint8], boxes: Boxes) -> npt.NDArray[np.float32]:
        if not len(boxes):
            return np.zeros((0, 7), np.float32)
        gray, crops = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), []
        for x, y, width, height in boxes.tolist():
            side = max(1, round(0.9 * height))
            left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
            square = gray[max(0, top) : top + side, max(0, left) : left + side]
            crops.append(cv2.resize(square, (48, 48), interpolation=cv2.INTER_AREA))
        batch = np.stack(crops)[..., None].astype(np.float32) / 255
        return np.asarray(session.run(None, {name: batch})[0])

    return classify


def opened(content: bytes) -> Any:
    """Return a session with a thread for each core, and without telemetry."""
    runtime = hardware.onnx_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # it warns of YuNet's outputs
    # Of two sessions that take turns, the threads of one would wait at full speed beside the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
