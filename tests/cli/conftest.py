"""The command line in this process: exit code, stdout, stderr."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferjax.cli.main import main


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line on stderr, where nothing is on stdout."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command: `cli("predict", path)`."""

    def run(*arguments: object) -> Done:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", UserWarning)  # lines on stderr, not errors
                code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            assert isinstance(stop.code, int)
            code = stop.code
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def model(fixtures: Path) -> Path:
    """A whole model of Keras 2.15: 12x12x1, 7 classes, no labels, Adam's state."""
    return fixtures / "keras-2.15.0" / "sequential.h5"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder of three images."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, seed in (("im2", 0), ("im10", 1), ("im1", 2)):
        tiles = np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), tiles.repeat(12, axis=0).repeat(12, axis=1))
    return folder
