"""Files of other programs are told what they are, and how to get what ferjax reads."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

AGAIN = "save the model as .h5 or .keras, with the Keras that made it"
INTO = "into a Keras model and save that as .h5 or .keras"


def safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.h5"))
    return content.getvalue()


def numpy_archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, a=np.zeros(2))
    return content.getvalue()


# The first bytes are those of real files, by TensorFlow 2.15, ONNX and PyTorch's documentation.
BY_CONTENT = {
    "saved_model.pb": (b"\x08\x01\x12\x9d\xd8\x01\x0a\xef", "saved_model.pb of a .*; " + AGAIN),
    "onnx": (b"\x08\x08\x12\x06ferjax\x1a\x05", "an ONNX model, .* give the Keras file"),
    "onnx, of PyTorch": (b"\x08\x07\x12\x07pytorch\x1a", "an ONNX model"),
    "tflite": (b"\x1c\x00\x00\x00TFL3\x14\x00\x20\x00", "a TensorFlow Lite model, .*; " + AGAIN),
    "safetensors": (safetensors(), f"safetensors, arrays without a network; .* {INTO}"),
    "torch, old": (
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        f"a PyTorch file, not one of Keras; bring its weights {INTO}",
    ),
    "torch": (zipped("m/data.pkl", "m/version"), f"a PyTorch file, not one of Keras; .* {INTO}"),
    "pickle": (pickle.dumps({"a": 1}, protocol=3), f"a Python pickle, .*; {AGAIN}"),
    "pickle of text": (pickle.dumps(np.zeros(3), protocol=0), "a Python pickle, which is never"),
    "checkpoint": (b'model_checkpoint_path: "ckpt"\n', "list of a TensorFlow checkpoint; load it"),
    "xml": (b'<?xml version="1.0"?><Error>', "an XML document, .* download went wrong"),
    "yaml": (b"backend: tensorflow\nclass_name: Sequential\n", "as YAML; .* save it by `to_json`"),
    "tar": (tarred(), "a tar archive; unpack it and give what is in it"),
    "bzip2": (b"BZh91AY&SY", "a compressed archive; unpack it"),
    "xz": (b"\xfd7zXZ\x00", "a compressed archive; unpack it"),
    "npz": (numpy_archive(), "NumPy's arrays; ferjax.keras.save writes a pytree"),
    "zip": (zipped("__MACOSX/._a.h5", "m/a.h5", "b.txt"), "holds m/a.h5; unpack it and give that"),
    "zip of two": (zipped("a.h5", "b.keras"), "holds a.h5 and 1 more weight files; unpack it"),
    "zip of a folder": (
        zipped("m/config.json", "m/metadata.json", "m/model.weights.h5"),
        "holds an unzipped .keras, m; unpack it and give that folder",
    ),
    "zip of a SavedModel": (zipped("m/saved_model.pb"), "with a TensorFlow SavedModel; " + AGAIN),
    "keras of NumPy": (
        zipped("config.json", "metadata.json", "model.weights.npz"),
        r"a .keras archive with model.weights.npz; save it with model.weights.h5",
    ),
}
BY_NAME = {
    "ckpt.index": (
        b"\0\0\6\x08",
        "a part of a TensorFlow checkpoint; load it into its Keras model",
    ),
    "ckpt.data-00000-of-00001": (b"\xd0\xf3\xd4", "a part of a TensorFlow checkpoint"),
    "frozen.pb": (b"\x0ab\x0a\x06arg", f"a TensorFlow graph; {AGAIN}"),
    "m.pt": (b"\x00\x01", "a PyTorch file"),
    "m.joblib": (b"\x00\x01", "a Python pickle, which is never opened"),
    "m.metadata.json": (b'{"labels": []}', "the metadata of a weight file; give the weight file"),
}


@pytest.mark.parametrize("case", BY_CONTENT)
def test_content_tells(case: str, tmp_path: Path, refused: Any) -> None:
    content, found = BY_CONTENT[case]
    path = tmp_path / "m.h5"
    path.write_bytes(content)
    refused(path, found)
    refused(path, found, config={})


@pytest.mark.parametrize("name", BY_NAME)
def test_a_name_tells_where_content_does_not(name: str, tmp_path: Path, refused: Any) -> None:
    content, found = BY_NAME[name]
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, found)
