"""ferjax verify: equal is 0, different is 1, what cannot be compared is 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..networks import constant

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def test_equal_files(cli: Cli, model: Path, tmp_path: Path) -> None:
    cli("convert", model, tmp_path / "m.keras")
    done = cli("verify", model, tmp_path / "m.keras")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "equal: largest difference 0 over 64 generated images (tolerance 1e-05), "
        "another class for 0\n"
    )


def test_different_files(cli: Cli, tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.25, 0.75)
    b = constant(tmp_path / "b.h5", 0.75, 0.25)
    done = cli("verify", a, b)
    assert (done.code, done.err) == (1, "")
    assert done.out == (
        "different: largest difference 0.5 over 64 generated images (tolerance 1e-05), "
        "another class for 64\n"
    )


def test_equal_numbers_for_other_emotions_are_different(cli: Cli, tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.25, 0.75, labels=["calm", "tense"])
    b = constant(tmp_path / "b.h5", 0.25, 0.75, labels=["tense", "calm"])
    done = cli("verify", a, b)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith("different: largest difference 0 over 64 generated images")
    assert done.out.endswith("another class for 0; the labels differ\n")


@pytest.mark.parametrize("tolerance", ["nan", "-1", "x"])
def test_a_tolerance_is_a_probability(cli: Cli, tmp_path: Path, tolerance: str) -> None:
    done = cli("verify", "a.h5", "b.h5", f"--tolerance={tolerance}")
    assert done.code == 2
    assert f"--tolerance: expected a number from 0 to 1, got '{tolerance}'" in done.err


def test_json_is_one_document(cli: Cli, faces: Path, tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.25, 0.75)
    b = constant(tmp_path / "b.h5", 0.375, 0.625)
    done = cli("verify", a, b, "--images", faces, "--json")
    found = json.loads(done.out)
    assert found.pop("largest_difference") == pytest.approx(0.125, abs=1e-6)
    assert found == {
        "a": str(a),
        "b": str(b),
        "images": 3,
        "different_classes": 0,
        "tolerance": 1e-5,
        "same_labels": True,
        "equal": False,
    }
    assert (done.code, done.err) == (1, "")


def test_the_tolerance_decides(cli: Cli, tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.5, 0.5)
    b = constant(tmp_path / "b.h5", 0.51, 0.49)
    assert cli("verify", a, b, "--tolerance", "0.02").code == 0
    assert cli("verify", a, b, "--tolerance", "0.005").code == 1


def test_given_images_are_counted(cli: Cli, faces: Path, model: Path) -> None:
    images = [faces, ROOT / "examples" / "astronaut.png"]
    done = cli("verify", model, model, "--images", *images)
    assert done.code == 0
    assert "over 4 images " in done.out


def test_what_cannot_be_compared_is_one_line(cli: Cli, model: Path, tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.25, 0.75)
    b = constant(tmp_path / "b.h5", 0.25, 0.25, 0.5)
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([a, b], "b.h5 has 3"),
        ([a, tmp_path / "gone.h5"], "gone.h5: no such file"),
        ([tmp_path / "gone.h5", a], "gone.h5: no such file"),
        ([a, ROOT / "README.md"], "README.md: neither HDF5"),
        ([a, a, "--images", tmp_path / "empty"], "no images in this folder"),
        ([a, a, "--images", tmp_path / "gone.png"], "gone.png: no such file"),
        ([a, a, "--images", ROOT / "LICENSE"], "LICENSE"),
    ):
        done = cli("verify", *arguments)
        assert done.code == 2, arguments
        assert message in done.error


def test_the_architecture_goes_to_the_file_that_has_none(
    cli: Cli, model: Path, config: Path, tmp_path: Path
) -> None:
    cli("convert", model, tmp_path / "m.msgpack")
    done = cli("verify", model, tmp_path / "m.msgpack")
    assert done.code == 2
    assert "give the architecture" in done.error
    assert cli("verify", model, tmp_path / "m.msgpack", "--config", config).code == 0
    assert cli("verify", tmp_path / "m.msgpack", model, "--config", config).code == 0
