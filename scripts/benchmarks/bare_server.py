"""The service by the bare libraries: FastAPI, YuNet and ONNX Runtime, see `by_hand.py`.

    python bare_server.py MODEL.onnx

Requests are answered in FastAPI's threads, as many at once as it has. `/v1/nothing` takes a picture
and looks at nothing: what FastAPI and the loopback allow.
"""

from __future__ import annotations

import importlib
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile

by_hand = importlib.import_module("by_hand")  # this is a script, not a part of a package
app = FastAPI()
find = by_hand.by_onnx_runtime()
classify = by_hand.classifier(Path(sys.argv[1]))
one_at_a_time = threading.Lock()  # each call already has all cores


@app.get("/readyz")
def readyz() -> str:
    return "ready"


def decoded(images: UploadFile) -> Any:
    return cv2.imdecode(np.frombuffer(images.file.read(), np.uint8), cv2.IMREAD_COLOR)


@app.post("/v1/faces")
def faces(images: UploadFile) -> Any:
    image = decoded(images)
    with one_at_a_time:
        boxes = find(image)
        rows = classify(image, boxes)
    return [{"box": box, "probabilities": row} for box, row in zip(boxes.tolist(), rows.tolist())]


@app.post("/v1/predict")
def predict(images: UploadFile) -> Any:
    image = decoded(images)
    side = min(image.shape[:2]) / 0.9  # a box whose crop is the whole picture
    box = np.array([[(image.shape[1] - side) / 2, (image.shape[0] - side) / 2, side, side]])
    with one_at_a_time:
        return classify(image, box)[0].tolist()


@app.post("/v1/nothing")
def nothing(images: UploadFile) -> Any:
    return len(images.file.read())


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="error", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])
