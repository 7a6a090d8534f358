"""The service in a few lines, without anything that `ferjax serve` does: what it is compared with.

Each request is answered where it is taken, one at a time, one picture through the network.
"""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile

import ferjax

app = FastAPI()
classifier = ferjax.load()


@app.get("/readyz")
async def readyz() -> str:
    return "ready"


@app.post("/v1/faces")
async def faces(images: UploadFile) -> Any:
    seen = classifier.analyze(await images.read())
    return [{"box": list(map(float, face.box)), **face.probabilities} for face in seen]


@app.post("/v1/predict")
async def predict(images: UploadFile) -> Any:
    return classifier.predict(await images.read(), resize="linear")


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="error", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])
