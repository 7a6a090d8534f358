"""ferjax inspect: what a file is, and why it cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image

from ferjax import EMOTIONS, keras
from ferjax.nets.layers import Conv2D, Dense, Flatten, MaxPooling2D

from ..networks import chain, drawn, tiny

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "checkpoints" / "fer_cnn5.h5"


def with_lambda(model: Path, path: Path) -> Path:
    """Copy a whole model, with a Lambda layer before its last layer."""
    shutil.copy(model, path)
    with h5py.File(path, "r+") as root:
        config = json.loads(root.attrs["model_config"])
        code = ["4wEAAAAAAAAAAAAAAAEAAABTAAAA", None, None]
        settings = {"name": "double", "function": code, "function_type": "lambda"}
        config["config"]["layers"].insert(-1, {"class_name": "Lambda", "config": settings})
        root.attrs["model_config"] = json.dumps(config)
    return path


def test_a_whole_model_is_described(cli: Cli, model: Path) -> None:
    done = cli("inspect", model)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"file:      {model}"
    assert lines[1] == "kind:      h5"
    assert lines[2] == "Keras:     2.15.0"
    assert lines[3].startswith("optimizer: Adam, ")
    assert lines[4] == "labels:    none"
    assert lines[5] == "classes:   7"
    assert lines[6].startswith("note:      no class names: --labels gives them, --data FACES tells")
    assert any("Layer (type)" in line for line in lines)
    assert any(line.startswith("Total params: ") for line in lines)


def test_a_known_network_whose_order_has_no_name(cli: Cli, tmp_path: Path) -> None:
    convolution = Conv2D(filters=10, kernel_size=(4, 4), activation="relu")
    pool = MaxPooling2D(data_format="channels_first")
    block = (convolution, convolution, pool)
    layers = (*block, *block, Flatten(), Dense(units=4, activation="relu"))
    network = chain(*layers, shape=(48, 48, 1))
    keras.save(tmp_path / "emopy.h5", network, drawn(network))
    assert (
        "network:   EmoPy's network of four emotions: anger, fear, neutral, surprise, images in "
        "[0, 255]; https://github.com/thoughtworksarts/EmoPy\n"
    ) in cli("inspect", tmp_path / "emopy.h5").out
    done = cli("export", "--weights", tmp_path / "emopy.h5", tmp_path / "emopy.onnx")
    assert (
        "--labels anger,fear,neutral,surprise (the order of EmoPy's network of four emotions) "
        "stores them\n"
    ) in done.err


def test_json_is_one_document(cli: Cli) -> None:
    done = cli("inspect", WEIGHTS, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    layers = found.pop("layers")
    version = found.pop("keras_version")
    assert version.split(".")[0] == "2"
    assert found == {
        "path": str(WEIGHTS),
        "kind": "h5",
        "usable": True,
        "problems": [],
        "name": "fer_cnn5",
        "input_shape": [48, 48, 1],
        "output_shape": [7],
        "outputs": [{"name": "dense_2", "shape": [7]}],
        "classes": 7,
        "value_range": [0, 1],
        "parameters": 2631815,
        "labels": list(EMOTIONS),
        "recognised": {
            "name": "fer_cnn5, the published network",
            "order": "sorted",
            "labels": list(EMOTIONS),
            "value_range": [0, 1],
            "source": "kaggle.com, vinitvyas09/cnn_model_emotion_classification",
        },
        "optimizer": None,
        "notes": [],
    }
    first = next(layer for layer in layers if layer["weights"])
    assert first == {
        "name": "conv2d",
        "class": "Conv2D",
        "weights": {"kernel": [3, 3, 1, 32], "bias": [32]},
    }


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("m.h5", "h5"),
        ("m.h5", "weights-only-h5"),
        ("m.weights.h5", "weights.h5"),
        ("m.keras", "keras"),
        ("m.msgpack", "msgpack"),
        ("m", "orbax"),
    ],
)
def test_the_kind_is_told_by_the_content(
    cli: Cli, model: Path, config: Path, tmp_path: Path, name: str, to: str
) -> None:
    cli("convert", model, tmp_path / name, "--to", to)
    path = tmp_path / "renamed.bin"
    (tmp_path / name).rename(path)
    done = cli("inspect", path, "--config", config, "--json")
    found = json.loads(done.out)
    assert (done.code, found["kind"], found["usable"]) == (0, to, True)
    text = cli("inspect", path, "--config", config).out
    assert f"kind:      {to}\n" in text
    assert ("Keras:     " in text) == (to not in ("msgpack", "orbax"))


@pytest.mark.parametrize("to", ["weights-only-h5", "weights.h5", "msgpack", "orbax"])
def test_weights_alone_cannot_be_used_without_an_architecture(
    cli: Cli, model: Path, tmp_path: Path, to: str
) -> None:
    path = tmp_path / "m"
    cli("convert", model, path, "--to", to)
    done = cli("inspect", path)
    assert (done.code, done.err) == (1, "")
    assert f"kind:      {to}\n" in done.out
    (reason,) = [line for line in done.out.splitlines() if line.startswith("unusable:  ")]
    assert "give the architecture" in reason


def test_a_named_architecture_describes_weights_alone(cli: Cli, tmp_path: Path) -> None:
    cli("convert", WEIGHTS, tmp_path / "w.h5", "--to", "weights-only-h5")
    done = cli("inspect", tmp_path / "w.h5", "--architecture", "fer_cnn5")
    assert done.code == 0
    assert "Total params: 2631815 (10.04 MB)" in done.out


def test_a_lambda_layer_is_named_and_never_run(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = with_lambda(model, tmp_path / "lambda.h5")
    done = cli("inspect", path)
    assert (done.code, done.err) == (1, "")
    assert "kind:      h5\n" in done.out
    assert "Keras:     2.15.0\n" in done.out
    (reason,) = [line for line in done.out.splitlines() if line.startswith("unusable:  ")]
    assert "Lambda" in reason
    assert "double" in reason
    found = json.loads(cli("inspect", path, "--json").out)
    assert found["usable"] is False
    assert any("Lambda" in problem for problem in found["problems"])
    for command in (["predict", WEIGHTS, "--weights", path], ["convert", path, tmp_path / "m.h5"]):
        done = cli(*command)
        assert done.code == 2
        assert "Lambda" in done.error


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"just text", "neither HDF5 nor a .keras archive"),
        (b"<!DOCTYPE html><html>", "an HTML page, not a weight file"),
        (b"\n<html>", "an HTML page, not a weight file"),
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"{}", "JSON; give it as the config"),
        (b"\x80\x04pickle", "a Python pickle, which is never opened"),
        (b"PK\x03\x04", "a truncated or damaged zip archive"),
        (b"\x89HDF\r\n\x1a\n", ""),
        (b"\x81\xa6params\xc1", "not a Flax msgpack"),
    ],
)
@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_other_files_are_told_apart(
    cli: Cli, tmp_path: Path, content: bytes, reason: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    done = cli("inspect", path)
    assert (done.code, done.err) == (1, "")
    unusable = [line for line in done.out.splitlines() if line.startswith("unusable:  ")]
    assert len(unusable) == 1
    assert reason in unusable[0]
    assert len(unusable[0]) > len("unusable:  ")
    found = json.loads(cli("inspect", path, "--json").out)
    assert found["usable"] is False
    assert len(found["problems"]) == 1


def test_a_missing_file_and_a_folder_are_unusable(cli: Cli, tmp_path: Path) -> None:
    done = cli("inspect", tmp_path / "gone.h5")
    assert done.code == 1
    assert done.out == f"file:      {tmp_path / 'gone.h5'}\nunusable:  no such file\n"
    done = cli("inspect", tmp_path)
    assert done.code == 1
    assert "unusable:  a folder, expected a Keras file\n" in done.out


def test_a_truncated_model_is_unusable(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    whole = model.read_bytes()
    for keep in (100, 2048, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        done = cli("inspect", path)
        assert (done.code, done.err) == (1, ""), keep
        assert "unusable:  " in done.out


def test_names_from_a_file_cannot_drive_the_terminal(cli: Cli, model: Path, tmp_path: Path) -> None:
    labels = "\x1b[31mred,b,c,d,e,f,g"
    cli("convert", model, tmp_path / "m.h5", "--labels", labels)
    assert "\x1b" not in cli("inspect", tmp_path / "m.h5").out
    image = ROOT / "examples" / "astronaut.png"
    done = cli("predict", image, "--weights", tmp_path / "m.h5", "--top", "7")
    assert r"\x1b[31mred" in done.out
    assert "\x1b" not in done.out


def test_the_order_is_measured(cli: Cli, tmp_path: Path) -> None:
    network = tiny()
    variables = drawn(network)
    weights = tmp_path / "tiny.h5"
    keras.save(weights, network, variables)
    for name, level in (("calm", 40), ("tense", 200)):
        folder = tmp_path / "faces" / "test" / name
        folder.mkdir(parents=True)
        for index in range(3):
            Image.new("L", (12, 12), level + index).save(folder / f"{index}.png")
    done = cli("inspect", weights, "--data", tmp_path / "faces")
    assert done.code == 0
    text = done.out.partition("measured on ")[2].splitlines()
    assert text[0] == "6 images, test of faces, in [0, 1]"
    assert text[1].startswith("best:      ") and text[1].endswith("% right")
    assert text[2].startswith("runner-up: ")
    assert text[3].startswith("clear:     no: the data has no class for outputs ")
    assert "fewer than 10 images of calm, tense" in text[3]
    assert text[4].startswith("at best:   --labels ")
    found = json.loads(cli("inspect", weights, "--data", tmp_path / "faces", "--json").out)
    assert found["label_order"]["classes"] == ["calm", "tense"]
    assert found["label_order"]["clear"] is False
    assert found["labels"] is found["recognised"] is None


def test_what_only_preparing_can_be_told(cli: Cli, model: Path, tmp_path: Path) -> None:
    for name in ("0", "1"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        Image.new("L", (12, 12), 9).save(tmp_path / "faces" / name / "a.png")
    done = cli("inspect", model, "--data", tmp_path / "faces")
    assert done.code == 2
    assert "give their names by --labels" in done.error
    assert done.error.endswith(
        "these are options of `ferjax data prepare`, whose folder is taken too"
    )


def test_data_that_cannot_be_read(cli: Cli, model: Path, tmp_path: Path) -> None:
    done = cli("inspect", model, "--data", tmp_path / "nowhere")
    assert done.code == 2
    assert "nowhere: no such file or folder" in done.error
    done = cli("inspect", model, "--data", tmp_path, "--value-range", "1", "0")
    assert done.code == 2
    assert "expected BLACK below WHITE for --value-range" in done.error


def test_a_value_range_is_for_data(cli: Cli, model: Path) -> None:
    done = cli("inspect", model, "--value-range", "-1", "1")
    assert done.code == 2
    assert "--value-range is for --data" in done.error
