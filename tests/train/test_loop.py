"""A whole run: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ferjax
from ferjax import digests, keras, metadata
from ferjax.data.augment import Augmentation
from ferjax.data.dataset import Faces
from ferjax.errors import DataError, FerjaxError, LabelsError, WriteError
from ferjax.nets import Network
from ferjax.nets.layers import BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D, Layer
from ferjax.train import (
    NonFiniteError,
    Recipe,
    TrainingError,
    TrainingResult,
    initialization,
    run_folder,
    train_and_evaluate,
)
from ferjax.train.devices import Devices
from ferjax.train.errors import RecipeError
from ferjax.train.initialization import with_dropout
from ferjax.train.recipes import NEED_WEIGHTS
from ferjax.train.reporting import Reporter, Status
from ferjax.train.step import to_input

from ..networks import chain, drawn, tiny
from .conftest import make_faces, prepared

pytestmark = pytest.mark.usefixtures("curves_as_text")

NETWORK = tiny()
RECIPE = Recipe(
    name="test",
    epochs=3,
    batch_size=32,
    learning_rate=3e-3,
    ema_decay=0.9,
    augmentation=Augmentation(horizontal_flip=0.5, rotation=(-10, 10)),
)
STILL = replace(RECIPE, learning_rate=1e-12, ema_decay=0.0, augmentation=Augmentation())
"""One that all but leaves the weights as they are, for what does not depend on them."""


class Recorder(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.statuses: list[Status] = []
        self.epochs: list[dict[str, Any]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, status: Status) -> None:
        self.statuses.append(status)

    def epoch(self, row: dict[str, Any], *, is_best: bool) -> None:
        self.epochs.append({**row, "is_best": is_best})


def train(
    data: Faces | Path | None, run: Path, recipe: Recipe | str | None = RECIPE, **options: Any
) -> TrainingResult:
    if not options.get("resume"):
        options = {"architecture": NETWORK} | options
    return train_and_evaluate(recipe, data, run, **{"reporter": Reporter()} | options)


def variables(path: Path | None) -> Any:
    assert path is not None
    return keras.load(path).variables


def assert_equal(ours: TrainingResult, theirs: TrainingResult) -> None:
    """Every bit of the weights, and the log but for what tells of time."""
    timed = ("seconds", "images_per_second")

    def untimed(result: TrainingResult) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in timed} for row in result.history]

    assert untimed(ours) == untimed(theirs)
    for a, b in ((ours.best, theirs.best), (ours.last, theirs.last)):
        jax.tree.map(np.testing.assert_array_equal, variables(a), variables(b))


def test_x64_changes_nothing(tmp_path: Path, faces: Faces) -> None:
    recipe = replace(RECIPE, epochs=1, schedule="cosine", clip_norm=1.0)
    expected = train(faces, tmp_path / "plain", recipe)
    with jax.enable_x64(True):
        assert_equal(train(faces, tmp_path / "x64", recipe), expected)


# --- what a run leaves ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces() -> Faces:
    return make_faces(copies=10)


@pytest.fixture(scope="module")
def done(
    faces: Faces, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingResult, Recorder, Faces]:
    """A whole run, which many tests look at and none changes."""
    recorder = Recorder()
    run = tmp_path_factory.mktemp("done") / "deep" / "run"
    told = {"command": "a command", "licence": "CC0-1.0"}
    return train(faces, run, reporter=recorder, **told), recorder, faces


@pytest.fixture
def whole(done: tuple[TrainingResult, Recorder, Faces]) -> TrainingResult:
    return done[0]


@pytest.fixture
def finished(whole: TrainingResult, tmp_path: Path) -> Path:
    """The folder of a finished run to change."""
    return Path(shutil.copytree(whole.run_dir, tmp_path / "finished"))


def test_the_log_has_a_row_an_epoch(done: tuple[TrainingResult, Recorder, Faces]) -> None:
    result, recorder, _ = done
    with open(result.run_dir / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [8, 16, 24]
    assert [float(row["val_loss"]) for row in rows] == [r["val_loss"] for r in result.history]
    assert [row["epoch"] for row in recorder.epochs] == [1, 2, 3]
    assert recorder.statuses[-1].step == 24
    assert recorder.statuses[-1].steps == 24


def test_it_learns(done: tuple[TrainingResult, Recorder, Faces]) -> None:
    losses = [row["loss"] for row in done[0].history]
    assert losses[-1] < losses[0] - 0.1


def test_the_recipe_is_printed_in_full_and_stored(
    done: tuple[TrainingResult, Recorder, Faces],
) -> None:
    result, recorder, _ = done
    stored = json.loads((result.run_dir / "run.json").read_text(encoding="utf-8"))
    assert Recipe.from_json(stored["recipe"]) == RECIPE
    assert str(RECIPE) in recorder.notes[0]
    assert stored["command"] == "a command"


def test_copies_of_training_images_are_told_and_counted(
    done: tuple[TrainingResult, Recorder, Faces],
) -> None:
    result, recorder, _ = done
    assert any("10 of the validation images are exact copies" in n for n in recorder.notes)
    whole, others = result.best_accuracy
    assert (whole["images"], others["images"]) == (64, 54)
    assert others["note"] == "without exact copies of training images"


def test_the_weights_predict_what_their_metadata_says(
    done: tuple[TrainingResult, Recorder, Faces],
) -> None:
    result, _, faces = done
    best = result.best
    assert best is not None
    classifier = ferjax.load(best)
    assert classifier.labels == ferjax.EMOTIONS
    validation = faces.take(faces.in_split("validation"))
    correct = classifier.predict_proba(validation.images).argmax(1) == validation.labels
    metadata = json.loads(best.with_name("best.metadata.json").read_text(encoding="utf-8"))
    assert metadata["accuracy"][0]["correct"] == correct.sum()
    assert correct.mean() == max(row["val_accuracy"] for row in result.history)
    assert metadata["training"]["recipe"]["epochs"] == 3
    assert metadata["trained_on"]["images"] == 256
    assert metadata["selected_on"]["copies_of_training_images"] == 10
    assert metadata["parameters"] == NETWORK.num_params


def test_learning_curves_and_events(done: tuple[TrainingResult, Recorder, Faces]) -> None:
    from PIL import Image
    from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401 (it is installed)

    run = done[0].run_dir
    with Image.open(run / "curves.png") as picture:
        assert picture.width > 1000
    (events,) = (run / "tensorboard").iterdir()
    assert b"validation/accuracy" in events.read_bytes()


def test_best_and_last_checkpoints_are_kept(done: tuple[TrainingResult, Recorder, Faces]) -> None:
    result = done[0]
    steps = {int(p.name) for p in (result.run_dir / "checkpoints").iterdir() if p.name.isdigit()}
    best = max(result.history, key=lambda row: row["val_accuracy"])["step"]
    assert {24, best} <= steps
    assert len(steps) <= 3


# --- going on ------------------------------------------------------------------------------------


def stopped_at(data: Path, run: Path, model_json: Path, epochs: int) -> None:
    """Train in a process of its own, and stop it with SIGTERM after some epochs."""
    command = [sys.executable, "-m", "ferjax.cli.main", "train", "--data", str(data)]
    command += ["--architecture", str(model_json), "--out", str(run), "--checkpoint-every", "1000"]
    command += ["--set", "epochs=30", "batch_size=32"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"epoch {epochs}:"):
            break
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"go on with: ferjax train --out {run} --resume" in out


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on(tmp_path: Path, data: Path, model_json: Path) -> None:
    run = tmp_path / "run"
    stopped_at(data, run, model_json, epochs=2)
    steps = [int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()]
    assert 16 <= max(steps) < 240  # far from the end, and not the first, of step 0
    assert (run / "best.h5").is_file()
    recorder = Recorder()
    resumed = train(None, run, None, resume=True, reporter=recorder)
    assert resumed.step == 240
    assert recorder.notes[-3].startswith(f"resumed at step {max(steps)} of 240, epoch")
    assert recorder.notes[-2] == "measuring the last and the best weights"
    changes = ["epochs=30", "batch_size=32"]
    alone = train(data, tmp_path / "alone", "fast", changes=changes, architecture=model_json)
    assert_equal(resumed, alone)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_out_what_follows_the_save(
    tmp_path: Path, faces: Faces, whole: TrainingResult, first: signal.Signals
) -> None:
    run = tmp_path / "run"

    class Stop(Recorder):
        def epoch(self, row: dict[str, Any], *, is_best: bool) -> None:
            if row["epoch"] == 2:
                signal.raise_signal(first)

        def note(self, text: str) -> None:
            super().note(text)
            if "(Ctrl-C leaves that out)" in text:
                signal.raise_signal(signal.SIGINT)

    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        train(faces, run, reporter=stop, checkpoint_every=1000)
    assert stop.notes[-1].startswith("step 16 is saved; measuring the last and the best weights")
    assert not (run / "last.h5").exists()
    assert_equal(train(faces, run, resume=True), whole)


def test_a_finished_run_resumed_is_as_it_was(
    finished: Path, faces: Faces, whole: TrainingResult
) -> None:
    resumed = train(faces, finished, resume=True)
    assert_equal(resumed, whole)
    assert resumed.step == 24


def test_a_finished_run_resumed_keeps_what_was_said_and_measured(
    finished: Path, faces: Faces
) -> None:
    last = finished / run_folder.LAST
    stated = ferjax.metadata.read(last)
    assert stated["licence"] == "CC0-1.0"
    flipped = stated["accuracy"][0] | {"view": "flip"}
    later = {"accuracy": [flipped, *stated["accuracy"]], "calibration": {"temperature": 1.5}}
    ferjax.metadata.write(last, {**stated, **later})
    train(faces, finished, resume=True)
    resumed = ferjax.metadata.read(last)
    assert resumed["licence"] == "CC0-1.0"
    assert resumed["calibration"] == {"temperature": 1.5}
    assert resumed["accuracy"] == [flipped, *stated["accuracy"]]
    stated.pop("accuracy")  # as by hand
    ferjax.metadata.write(last, stated)
    train(faces, finished, resume=True)
    assert ferjax.metadata.read(last)["accuracy"] == resumed["accuracy"][1:]


def test_what_was_measured_of_other_weights_is_not_kept(tmp_path: Path, faces: Faces) -> None:
    short, run = replace(RECIPE, epochs=1), tmp_path / "run"
    last = train(faces, run, short).last
    assert last is not None
    ferjax.metadata.write(last, ferjax.metadata.read(last) | {"calibration": {"temperature": 1.5}})
    stored = json.loads((run / "run.json").read_text(encoding="utf-8"))
    stored["recipe"]["epochs"] = 2
    (run / "run.json").write_text(json.dumps(stored), encoding="utf-8")
    train(faces, run, None, resume=True)
    assert "calibration" not in ferjax.metadata.read(last)


def test_resume_begins_where_there_is_no_run(
    tmp_path: Path, faces: Faces, whole: TrainingResult
) -> None:
    result = train(faces, tmp_path / "run", resume=True, architecture=NETWORK)
    assert_equal(result, whole)


def damage(folder: Path) -> None:
    """Change bytes in the middle of the largest file, which holds arrays."""
    file = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - b for b in content[middle : middle + 8])
    file.write_bytes(bytes(content))


def cut_short(tmp_path: Path, faces: Faces) -> Path:
    """Return a run with checkpoints at steps 8 and 16 of 24."""
    run = tmp_path / "run"

    class Stop(Recorder):
        def epoch(self, row: dict[str, Any], *, is_best: bool) -> None:
            if row["epoch"] == 3:
                raise KeyboardInterrupt  # before this epoch's checkpoint

    with pytest.raises(KeyboardInterrupt):
        train(faces, run, reporter=Stop(), checkpoint_every=0.0)
    steps = sorted(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    assert steps[-1] >= 16
    return run


@pytest.fixture(scope="module")
def cut_once(faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_short(tmp_path_factory.mktemp("cut"), faces)


@pytest.fixture
def cut(cut_once: Path, tmp_path: Path) -> Path:
    """A run that was cut short, to change."""
    return Path(shutil.copytree(cut_once, tmp_path / "cut"))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    cut: Path, faces: Faces, whole: TrainingResult
) -> None:
    run = cut
    last = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    damage(run / "checkpoints" / str(last) / "state")
    with pytest.warns(UserWarning, match=rf"checkpoint .*{last} is damaged .* before it is used"):
        resumed = train(faces, run, resume=True)
    assert (run / f"damaged-checkpoint-{last}").is_dir()
    assert_equal(resumed, whole)


def test_a_run_that_goes_on_elsewhere_names_both(
    tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Devices, "describe", lambda self: "NVIDIA L4")
    run = cut_short(tmp_path, faces)
    monkeypatch.setattr(Devices, "describe", lambda self: "NVIDIA H100")
    resumed = train(faces, run, resume=True)
    assert metadata.read(resumed.best)["training"]["hardware"] == "NVIDIA L4, then NVIDIA H100"
    finished = train(faces, run, resume=True)
    assert metadata.read(finished.last)["training"]["hardware"] == "NVIDIA L4, then NVIDIA H100"


def test_only_damaged_checkpoints(cut: Path, faces: Faces) -> None:
    run = cut
    for folder in (run / "checkpoints").iterdir():
        if folder.name.isdigit():
            damage(folder / "state")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(TrainingError, match=r"no checkpoint is whole .* begin anew with --force"),
    ):
        train(faces, run, resume=True)


def test_arrays_other_than_those_saved_are_noticed(cut: Path, faces: Faces) -> None:
    """What Orbax reads without complaint, but is not what was written."""
    run = cut
    last, before = sorted(
        (p for p in (run / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: -int(p.name)
    )[:2]
    shutil.rmtree(last / "state")
    shutil.copytree(before / "state", last / "state")
    with pytest.warns(UserWarning, match=r"damaged \(its arrays are not those that were saved\)"):
        train(faces, run, resume=True)


def test_a_non_finite_loss_stops_the_run_with_its_step(tmp_path: Path, faces: Faces) -> None:
    run = tmp_path / "run"
    wild = replace(STILL, optimizer="sgd", learning_rate=1e30, epochs=5)
    with pytest.raises(NonFiniteError, match=r"no longer finite at step \d+ \(epoch 1\)") as error:
        train(faces, run, wild)
    assert 0 <= error.value.step < 8
    assert (run / "checkpoints" / "0").is_dir()


def test_weights_to_start_from(tmp_path: Path, faces: Faces, whole: TrainingResult) -> None:
    first = whole
    still = replace(STILL, epochs=1)
    second = train(faces, tmp_path / "second", still, init=first.last, architecture=None)
    assert second.last is not None
    metadata = json.loads(second.last.with_name("last.metadata.json").read_text(encoding="utf-8"))
    by = f"trained by ferjax {ferjax.__version__} from"
    assert metadata["source"] == f"{by} last.h5 ({by} scratch)"
    begun = metadata["training"]["started_from"]
    assert begun["sha256"] == digests.sha256(first.last)
    assert begun["training"]["command"] == "a command"
    assert begun["training"]["started_from"] is None
    assert [t["recipe"]["epochs"] for t in ferjax.metadata.trainings(metadata)] == [
        RECIPE.epochs,
        1,
    ]
    a, b = variables(first.last)["params"], variables(second.last)["params"]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-9), a, b)


def test_weights_for_another_range_of_values_are_refused(tmp_path: Path, faces: Faces) -> None:
    first = tmp_path / "first.h5"
    keras.save(first, NETWORK, drawn(NETWORK), labels=ferjax.EMOTIONS)
    ferjax.metadata.write(first, {"value_range": [-1, 1]})
    message = (
        r"in \[-1, 1\] by its metadata, .* \[0, 1\] in training; put Rescaling\(2, offset=-1\)"
    )
    with pytest.raises(TrainingError, match=message):
        train(faces, tmp_path / "run", init=first, architecture=None)
    ferjax.metadata.write(first, {"value_range": [0, 1]})
    train(faces, tmp_path / "run", replace(RECIPE, epochs=1), init=first, architecture=None)


def test_a_run_keeps_the_range_of_values_that_statistics_told(tmp_path: Path, faces: Faces) -> None:
    """What the statistics become in training must not change what a resumed run is given."""
    layers = [BatchNormalization(), GlobalAveragePooling2D(), Dense(units=7)]
    network = chain(*layers, shape=(12, 12, 1))
    variables = drawn(network)
    stats = variables["batch_stats"]["batch_normalization"]
    stats |= {"mean": np.float32([129]), "var": np.float32([4225])}
    path = tmp_path / "first.h5"
    keras.save(path, network, variables, labels=ferjax.EMOTIONS)
    start = initialization.start(RECIPE, faces, init=path)
    assert start.network.graph.value_range == (0, 255)
    resumed = initialization.recorded_start(json.loads(json.dumps(start.description)), None)
    assert resumed.network.graph.value_range == (0, 255)
    images = np.full((1, 12, 12), 0.5, np.float32)
    np.testing.assert_allclose(to_input(resumed.network, images), 127.5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_network_of_open_size_is_used_at_the_size_it_learnt(
    tmp_path: Path, faces: Faces, data_format: str
) -> None:
    shape = (None, None, 1) if data_format == "channels_last" else (1, None, None)
    layers: list[Layer] = [
        Conv2D(filters=4, kernel_size=3, activation="relu", data_format=data_format),
        GlobalAveragePooling2D(data_format=data_format),
        Dense(units=7, activation="softmax"),
    ]
    network = chain(*layers, shape=shape)
    recipe = replace(RECIPE, epochs=1, augmentation=Augmentation(horizontal_flip=0.5))
    result = train(faces, tmp_path / "run", recipe, architecture=network)
    assert result.last is not None
    classifier = ferjax.load(result.last)
    assert classifier.image_size == (12, 12)
    validation = faces.take(faces.in_split("validation"))
    guessed = classifier.predict_proba(validation.images).argmax(1)
    assert (guessed == validation.labels).sum() == result.last_accuracy[0]["correct"]


@pytest.mark.parametrize("recipe", sorted(NEED_WEIGHTS))
def test_fine_tuning_goes_on_from_weights(
    tmp_path: Path, faces: Faces, whole: TrainingResult, recipe: str
) -> None:
    changes = ["epochs=1", "batch_size=32", "clean_statistics=64"]
    with pytest.raises(TrainingError, match=r"from trained weights: expected `init` \(--init WEI"):
        train(faces, tmp_path / "tuned", recipe, changes=changes)
    assert not (tmp_path / "tuned").exists()
    options: dict[str, Any] = {"init": whole.last, "architecture": None, "changes": changes}
    tuned = train(faces, tmp_path / "tuned", recipe, **options)
    resumed = train(faces, tmp_path / "tuned", None, resume=True)
    assert resumed.best_accuracy == tuned.best_accuracy


def test_bfloat16_on_a_cpu_is_warned_of(
    tmp_path: Path, done: tuple[TrainingResult, Recorder, Faces]
) -> None:
    _, in_float32, faces = done

    class Stop(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if "exact copies" in text:  # the last before training
                raise KeyboardInterrupt

    recorder, recipe = Stop(), replace(RECIPE, epochs=1, compute_dtype="bfloat16")
    with pytest.raises(KeyboardInterrupt):
        train(faces, tmp_path / "run", recipe, reporter=recorder)
    slow = jax.default_backend() == "cpu"
    assert any("flagship-cpu" in note for note in recorder.notes) == slow
    assert not any("flagship-cpu" in note for note in in_float32.notes)


def test_held_out_images_are_the_same_for_copies_and_runs(faces: Faces) -> None:
    from ferjax.train.training_data import load_data

    recipe = replace(RECIPE, hold_out=0.25)
    faces = make_faces(copies=0)
    twice = replace_images(faces)
    data = load_data(twice, recipe)
    assert data.is_held_out
    assert len(data.train) + len(data.validation) == 256
    assert 30 <= len(data.validation) <= 98
    assert not set(data.train.digests) & set(data.validation.digests)
    assert load_data(twice, recipe).describe() == data.describe()
    assert load_data(twice, replace(recipe, seed=1)).describe() != data.describe()


def replace_images(faces: Faces) -> Faces:
    """Make every second training image a copy of the one before it."""
    images = faces.images.copy()
    images[1:256:2] = images[0:256:2]
    return replace(faces, images=images)


def test_early_stopping_ends_the_run(tmp_path: Path, faces: Faces) -> None:
    recipe = replace(STILL, epochs=50, early_stopping=2)
    result = train(faces, tmp_path / "run", recipe)
    assert len(result.history) < 50
    assert result.interrupted is None
    assert_equal(train(faces, tmp_path / "run", resume=True, recipe=recipe), result)


def test_a_plateau_reduces_the_rate(tmp_path: Path, faces: Faces) -> None:
    recipe = replace(
        STILL,
        epochs=4,
        schedule="plateau",
        plateau_patience=1,
        plateau_factor=0.5,
        plateau_min_delta=1.0,
    )
    rates = [row["learning_rate"] for row in train(faces, tmp_path / "run", recipe).history]
    # The first epoch is the best; after each of the others the rate is halved.
    np.testing.assert_allclose(rates, [1e-12, 1e-12, 5e-13, 2.5e-13], rtol=1e-6)


@pytest.mark.slow
def test_tf_data_gives_the_same_run(tmp_path: Path, faces: Faces, whole: TrainingResult) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'ferjax[train]'")
    plain = whole
    other = train(faces, tmp_path / "tf", replace(RECIPE, pipeline="tf.data"))
    for a, b in zip(plain.history, other.history):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)


@pytest.mark.slow
def test_training_needs_no_tensorflow_keras_matplotlib_or_tensorboard(
    tmp_path: Path, data: Path, model_json: Path
) -> None:
    code = f"""
import sys
# As where they are not installed: imports raise, and find_spec finds nothing.
for name in ('tensorflow', 'keras', 'matplotlib', 'tensorboardX', 'PIL'):
    sys.modules[name] = None
from ferjax.cli.main import main
sys.exit(main(['train', '--data', {str(data)!r}, '--architecture', {str(model_json)!r},
               '--set', 'epochs=1', 'batch_size=64', '--out', {str(tmp_path / "run")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no TensorBoard log: it needs tensorboardX" in done.stderr
    assert "no curves.png: it needs matplotlib" in done.stderr
    assert (tmp_path / "run" / "best.h5").is_file()


@pytest.mark.slow
def test_the_second_start_uses_the_compile_cache(
    tmp_path: Path, data: Path, model_json: Path
) -> None:
    code = f"""
import sys, jax
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith('/cache_hits') else None)
from ferjax.train import train_and_evaluate
for name in sys.argv[1:]:
    train_and_evaluate('fast', {str(data)!r}, {str(tmp_path)!r} + '/' + name,
                       architecture={str(model_json)!r}, changes=['epochs=1', 'batch_size=64'])
print(len(hits))
"""
    counts = []
    for name in ("first", "second"):
        command = [sys.executable, "-c", code, name]
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        del environment["JAX_COMPILATION_CACHE_DIR"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        counts.append(int(done.stdout.split()[-1]))
    assert counts[0] == 0
    assert counts[1] >= 1  # the step; what compiles in no time is not kept


# --- what is refused -----------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"recipe": "slow"}, RecipeError, "expected a recipe among published, fast, flagship"),
        ({"changes": ["epochs=0"]}, RecipeError, "`epochs`: expected a positive integer, got 0"),
        ({"data": None}, TrainingError, "expected `data`: a folder that `ferjax data prepare`"),
        ({"data": Path("nowhere")}, DataError, "nowhere: no faces.npz"),
        ({"architecture": "fer_cnn8"}, TrainingError, "expected images of 48x48, .* got 12x12"),
        ({"architecture": "tiny.json"}, TrainingError, "tiny.json: no such file"),
        ({"architecture": "fer_cnn"}, FerjaxError, "among fer_cnn8, fer_cnn5, got 'fer_cnn'"),
        (
            {"architecture": tiny(classes=3)},
            TrainingError,
            r"an output for each of the data's 7 classes \(angry, .*\), got one of shape \(3,\)",
        ),
        (
            {"changes": ["batch_size=257"]},
            TrainingError,
            "`batch_size` of at most 256, the training images in the data, .* --set batch_size=256",
        ),
        ({"changes": ["augmentation.crop=9"]}, TrainingError, "augmented images of 12x12, .* 9x9"),
        ({"changes": ["augmentation.crop=40"]}, TrainingError, "`crop` of at most the images' 12"),
        ({"resume": True, "force": True}, TrainingError, "`resume` or `force`, got both"),
        ({"checkpoint_every": math.nan}, TrainingError, "of at least 0 seconds, got nan"),
        ({"checkpoint_every": -1.0}, TrainingError, "of at least 0 seconds, got -1.0"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    tmp_path: Path, faces: Faces, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"recipe": RECIPE, "data": faces, "architecture": NETWORK} | options
    with pytest.raises(error, match=message):
        train_and_evaluate(
            arguments.pop("recipe"), arguments.pop("data"), tmp_path / "run", **arguments
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_no_text(tmp_path: Path, faces: Faces) -> None:
    with pytest.raises(TrainingError, match=r"run.udce9: expected a folder whose path is UTF-8"):
        train(faces, tmp_path / os.fsdecode(b"run\xe9"))
    assert list(tmp_path.iterdir()) == []


def test_images_without_a_split(tmp_path: Path, faces: Faces) -> None:
    train_only = faces.take(faces.in_split("train"))
    with pytest.raises(TrainingError, match=r"no validation images; --set hold_out=0\.1"):
        train(train_only, tmp_path / "run")
    with pytest.raises(TrainingError, match="no train images"):
        train(faces.take(faces.in_split("validation")), tmp_path / "run")


def test_weights_of_other_classes_are_refused(tmp_path: Path, faces: Faces) -> None:
    path = tmp_path / "other.h5"
    labels = [*ferjax.EMOTIONS[1:], "angry"]
    keras.save(path, NETWORK, drawn(NETWORK), labels=labels)
    with pytest.raises(LabelsError, match=r"in their order, angry, .*, got disgust, "):
        train(faces, tmp_path / "run", init=path, architecture=None)


def test_a_run_is_neither_overwritten_nor_mixed_with_another(
    tmp_path: Path, finished: Path, faces: Faces
) -> None:
    run = finished
    before = files(run)
    for options, message in (
        ({}, "holds a run; --resume goes on with it, --force replaces it"),
        ({"resume": True, "recipe": replace(RECIPE, seed=1)}, r"\(there, here\): seed: 0, 1; res"),
        ({"resume": True, "changes": ["momentum=0.5"]}, "momentum: 0.9, 0.5"),
        ({"resume": True, "data": make_faces(seed=1)}, "begun with other data: checksum '"),
        ({"resume": True, "init": "other.h5"}, "begun from drawn weights, not from other.h5"),
        (
            {"resume": True, "architecture": Network(with_dropout(NETWORK.graph, 0.5))},
            "begun with another network; resume without --architecture",
        ),
    ):
        arguments = {"data": faces, "recipe": RECIPE} | options
        with pytest.raises(TrainingError, match=message):
            train(arguments.pop("data"), run, **arguments)
    assert files(run) == before

    shorter = replace(RECIPE, epochs=1)
    (run / "mine.txt").write_text("kept")
    result = train(faces, run, shorter, force=True)
    assert result.step == 8
    assert (run / "mine.txt").read_text() == "kept"
    assert_equal(result, train(faces, tmp_path / "other", shorter))


def test_a_run_that_another_process_began_meanwhile_stays(
    tmp_path: Path, finished: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = run_folder.locked

    def after_another(folder: Path) -> Any:
        shutil.copytree(finished, folder)
        return locked(folder)

    monkeypatch.setattr(run_folder, "locked", after_another)
    with pytest.raises(TrainingError, match="another process began a run in it; give another"):
        train(faces, tmp_path / "new", replace(RECIPE, seed=1))
    assert list(files(tmp_path / "new").values()) == list(files(finished).values())


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"force": True}])
def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, faces: Faces, options: dict[str, Any]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(TrainingError, match="holds something else than a run"):
        train(faces, tmp_path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, faces: Faces) -> None:
    with (
        run_folder.locked(tmp_path / "run"),
        pytest.raises(TrainingError, match="another process is training in it"),
    ):
        train(faces, tmp_path / "run")


def test_no_room_and_no_permission(
    tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((WriteError, TrainingError), match="file/run: cannot be"):
        train(faces, tmp_path / "file" / "run")

    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WriteError, match=r"has 1 MB free, .* takes \d+ MB; free some"):
        train(faces, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of file sizes: POSIX")
def test_a_disk_that_fills_up_while_saving(tmp_path: Path, data: Path, model_json: Path) -> None:
    """A limit on the size of files stands in for a full disk: writing fails half-way."""
    run = tmp_path / "run"
    arguments = ["train", "--data", str(data), "--architecture", str(model_json)]
    arguments += ["--set", "epochs=2", "batch_size=64", "--out", str(run)]
    code = f"""
import resource, signal, sys
from ferjax.cli.main import main
from ferjax.train import checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
save = checkpoints.Checkpoints.save
def limited(self, state, progress, *score):
    if progress.step:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    save(self, state, progress, *score)
checkpoints.Checkpoints.save = limited
sys.exit(main({arguments!r}))
"""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2, done.stderr
    # TensorStore's threads write of the closed event loop around it.
    (line,) = (e for e in done.stderr.splitlines() if "ferjax: error: " in e)
    assert "a checkpoint was not saved" in line
    assert "step 0 is the last that was" in line
    resumed = train(data, run, "fast", changes=["epochs=2", "batch_size=64"], resume=True)
    assert resumed.step == 8


def test_a_prepared_folder_is_remembered(tmp_path: Path, faces: Faces) -> None:
    folder = prepared(tmp_path / "data", faces)
    first = train(folder, tmp_path / "run")
    assert first.data == str(folder)
    assert_equal(train(None, tmp_path / "run", None, resume=True), first)
