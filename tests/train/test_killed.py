"""A run that is killed again and again ends bit for bit as one that is left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ferjax import keras
from ferjax.train import run_folder
from ferjax.train.checkpoints import FOLDER

SETTINGS = [
    "batch_size=16",
    "optimizer=adam",
    "learning_rate=0.003",
    "schedule=plateau",
    "plateau_patience=3",
    "ema_decay=0.9",
    "augmentation=strong",
    "augmentation.crop=(10, 10)",
    "augmentation.mixup=0.2",
]


def command(data: Path, model_json: Path, out: Path, epochs: int, *more: str) -> list[str]:
    settings = [*SETTINGS, f"epochs={epochs}"]
    return [
        *[sys.executable, "-m", "ferjax.cli.main", "train", "--data", str(data)],
        *["--architecture", str(model_json), "--set", *settings, "--out", str(out)],
        *["--checkpoint-every", "0.1", *more],
    ]


def final_state(run: Path) -> Any:
    """Return every array of the last checkpoint."""
    last = max(int(p.name) for p in (run / FOLDER).iterdir() if p.name.isdigit())
    arrays = ocp.StandardCheckpointer().restore((run / FOLDER / str(last) / "state").absolute())
    return jax.tree.map(np.asarray, arrays)


def history(run: Path) -> list[list[str]]:
    """Return the log without what tells of time."""
    rows = (run / "log.csv").read_text().splitlines()
    return [row.split(",")[:7] for row in rows]


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(
    tmp_path: Path, data: Path, model_json: Path
) -> None:
    kills, epochs = 10, 240
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    subprocess.run(command(data, model_json, alone, epochs), check=True, capture_output=True)

    moments = random.Random(0)
    resume = command(data, model_json, killed, epochs, "--resume")
    for kill in range(kills):
        process = subprocess.Popen(resume, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        if kill % 5:  # while it trains, saves and writes logs
            left = moments.randint(1, 8)
            for line in process.stderr:
                left -= line.startswith("epoch ")
                if not left:
                    break
            time.sleep(moments.uniform(0.0, 0.1))  # an epoch takes about as long
        else:  # while it starts
            time.sleep(moments.uniform(0.5, 4.0))
        assert process.poll() is None, "the run ended before its last kill"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    subprocess.run(resume, check=True, capture_output=True)

    ours, theirs = final_state(killed), final_state(alone)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for path, leaf in jax.tree_util.tree_leaves_with_path(ours):
        expected = theirs
        for key in path:
            expected = expected[key.key if hasattr(key, "key") else key.idx]
        assert leaf.tobytes() == np.asarray(expected).tobytes(), jax.tree_util.keystr(path)
    assert history(killed) == history(alone)
    for name in (run_folder.BEST, run_folder.LAST):
        a, b = (keras.load(run / name).variables for run in (killed, alone))
        jax.tree.map(np.testing.assert_array_equal, a, b)
