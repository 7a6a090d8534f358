"""ferjax data info --votes: how far people agree, as a table, as JSON, as a sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.data.votes_sources import write

Cli = Callable[..., Any]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("calm", "tense"):
        for i in range(2):
            path = tmp_path / "own" / name / f"{name}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), rng.integers(0, 256, (48, 48), dtype=np.uint8))
    return tmp_path / "own"


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    lines = ["image,calm,tense,unknown", "calm0.png,4,0,0", "calm1.png,1,3,0", "tense0.png,0,1,3"]
    return write(tmp_path / "votes.csv", lines)


def test_info_shows_agreement(cli: Cli, source: Path, votes: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    drawn = tmp_path / "disputed.png"
    done = cli("data", "info", source, "--votes", votes, "--disagreement", drawn)
    assert done.code == 0 and drawn.exists()
    lines = done.out.splitlines()
    assert "votes:      votes.csv, joined by name" in lines
    assert "            3 images have votes, 1 have none; 4 people an image" in lines
    assert "calm        2         2   50.0%     0.41" in lines
    assert "tense       1         0       -     0.81" in lines
    assert "left out:   1 images by that protocol (33.3%): unknown 1" in lines
    assert "            2 of 12 votes are single ones, which do not count in it" in lines
    assert f"disagreed:  {drawn}" in lines


def test_info_shows_agreement_as_json(cli: Cli, source: Path, votes: Path) -> None:
    done = cli("data", "info", source, "--votes", votes, "--json")
    document = json.loads(done.out)["votes"]
    assert document["file"] == "votes.csv" and document["columns"] == ["calm", "tense", "unknown"]
    assert document["by_class"]["calm"]["agree"] == 1
    assert document["left_out"] == {"unknown": 1}
    assert "votes" not in json.loads(cli("data", "info", source, "--json").out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--disagreement", "a.png"], "--disagreement shows votes: give --votes FILE too"),
        (["--votes", "missing.csv"], "missing.csv: no such file"),
        (["--votes", "{votes}", "--disagreement", "a.txt"], "a.txt: expected a name that ends in"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: list[str], message: str, cli: Cli, source: Path, votes: Path
) -> None:
    done = cli("data", "info", source, *(text.format(votes=votes) for text in arguments))
    assert done.code == 2 and done.out == ""
    assert done.err.count("\n") == 1 and message in done.err


def test_info_shows_the_agreement_of_a_prepared_folder(
    cli: Cli, source: Path, votes: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    out, drawn = tmp_path / "prepared", tmp_path / "disputed.png"
    assert cli("data", "prepare", source, "--out", out, "--votes", votes, "--no-tfds").code == 0
    done = cli("data", "info", out, "--disagreement", drawn)
    assert done.code == 0 and drawn.exists()
    before = cli("data", "info", source, "--votes", votes).out.splitlines()
    for line in before[before.index("votes:      votes.csv, joined by name") :]:
        assert line in done.out.splitlines()
    assert cli("data", "prepare", source, "--out", out, "--no-tfds", "--force").code == 0
    done = cli("data", "info", out, "--disagreement", drawn)
    assert done.code == 2
    assert done.error.endswith("has no votes; `ferjax data prepare --votes` adds some")
