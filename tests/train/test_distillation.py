"""Networks that learn what others make of the images."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ferjax
from ferjax import digests, keras, metadata
from ferjax.data.dataset import Faces
from ferjax.errors import LabelsError, WeightFileError
from ferjax.nets import Network
from ferjax.train import (
    Recipe,
    TrainingError,
    TrainingResult,
    begin,
    distillation,
    train_and_evaluate,
)
from ferjax.train.reporting import Reporter, Status

from ..networks import drawn, tiny, tiny_graph
from .conftest import make_faces

pytestmark = pytest.mark.usefixtures("curves_as_text")

NETWORK = tiny()
RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=3e-3, distillation=1.0)
SHORT = dataclasses.replace(RECIPE, epochs=1)
LONGER = dataclasses.replace(RECIPE, epochs=12)
OTHER_ORDER = tuple(reversed(ferjax.EMOTIONS))


class Recorder(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(data: Faces, run: Path, recipe: Recipe | None = RECIPE, **options: Any) -> TrainingResult:
    if not options.get("resume"):
        options = {"architecture": NETWORK} | options
    return train_and_evaluate(recipe, data, run, **{"reporter": Reporter()} | options)


def write_teacher(path: Path, seed: int, *, labels: tuple[str, ...], **facts: Any) -> Path:
    keras.save(path, NETWORK, drawn(NETWORK, seed), labels=labels)
    metadata.write(path, {"labels": labels, **facts})
    return path


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that have learnt nothing: one with a temperature, one with its classes turned round."""
    folder, warm = tmp_path_factory.mktemp("teachers"), {"calibration": {"temperature": 0.5}}
    return [
        write_teacher(folder / "warm.h5", 1, labels=ferjax.EMOTIONS, **warm),
        write_teacher(folder / "turned.h5", 2, labels=OTHER_ORDER),
    ]


@pytest.fixture(scope="module")
def taught_once(teachers: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        make_faces(), tmp_path_factory.mktemp("taught") / "run", SHORT, teachers=teachers[:1]
    ).run_dir


@pytest.fixture
def taught(taught_once: Path, tmp_path: Path) -> Path:
    """The folder of a finished run with the first teacher, to change."""
    return Path(shutil.copytree(taught_once, tmp_path / "run"))


@pytest.fixture(scope="module")
def good_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells the classes apart."""
    run = tmp_path_factory.mktemp("teacher") / "run"
    result = train(make_faces(1024), run, LONGER, command="a command")
    assert result.last is not None
    assert result.last_accuracy[0]["top_1"] > 0.8
    return result.last


def test_a_teacher_that_gives_no_probabilities_is_refused(tmp_path: Path) -> None:
    graph = tiny_graph()
    layers = (*graph.layers[:-1], dataclasses.replace(graph.layers[-1], activation="sigmoid"))
    network = Network(dataclasses.replace(graph, layers=layers))
    path = tmp_path / "sigmoid.h5"
    keras.save(path, network, drawn(network), labels=ferjax.EMOTIONS)
    with pytest.raises(TrainingError, match=r"sigmoid\.h5: .* its last activation is 'sigmoid'"):
        train(make_faces(), tmp_path / "run", teachers=[path])
    assert not (tmp_path / "run").exists()


# --- the labels ----------------------------------------------------------------------------------


def test_labels_are_the_teachers_and_the_images_own(teachers: list[Path]) -> None:
    faces = make_faces(20, 0)
    warm, turned = map(ferjax.load, teachers)
    probabilities = [
        (teacher.predict_proba(faces.images) + teacher.predict_proba(faces.images[:, :, ::-1])) / 2
        for teacher in (warm, turned)
    ]
    squared = probabilities[0] ** 2  # a temperature of one half
    mean = (squared / squared.sum(1, keepdims=True) + probabilities[1][:, ::-1]) / 2
    expected = 0.6 * mean
    expected[np.arange(20), faces.labels] += 0.4
    notes: list[str] = []
    labels = distillation.soft_labels(teachers, faces, 0.6, notes.append)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels, expected, atol=1e-6)
    assert notes == ["asking warm.h5, turned.h5 about 20 images"]


def test_long_asking_is_told_of(teachers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(step=11.0)  # each time that the clock is looked at
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    notes: list[str] = []
    distillation.soft_labels(teachers, make_faces(20, 0), 0.6, notes.append)
    assert notes[1:] == [f"asked about {share}%" for share in (25, 50, 75, 100)]


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_learns_from_teachers_what_the_labels_do_not_say(
    tmp_path: Path, good_teacher: Path
) -> None:
    faces = make_faces(1024)
    labels = faces.labels.copy()
    labels[:1024] = np.random.default_rng(9).integers(0, 7, 1024)  # of training: they say nothing
    noise = dataclasses.replace(faces, labels=labels)
    alone = train(noise, tmp_path / "alone", LONGER)
    taught = train(noise, tmp_path / "taught", LONGER, teachers=[good_teacher])
    assert alone.last_accuracy[0]["top_1"] < 0.4
    assert taught.last_accuracy[0]["top_1"] > 0.6


@pytest.mark.slow
def test_the_metadata_names_the_teachers(tmp_path: Path, good_teacher: Path) -> None:
    recorder = Recorder()
    start = train(make_faces(seed=3), tmp_path / "start", SHORT).last
    assert start is not None
    options: dict[str, Any] = {"init": start, "architecture": None, "teachers": [good_teacher]}
    run = train(make_faces(), tmp_path / "run", SHORT, reporter=recorder, **options)
    assert recorder.notes[0] == "asking last.h5 about 256 images"
    assert run.best is not None
    stated = metadata.read(run.best)
    by = f"trained by ferjax {ferjax.__version__} from"
    assert stated["source"] == (f"{by} last.h5 ({by} scratch), taught by last.h5 ({by} scratch)")
    (teacher,) = stated["training"]["teachers"]
    assert teacher["sha256"] == digests.sha256(good_teacher)
    assert teacher["training"]["command"] == "a command"
    assert stated["training"]["recipe"]["distillation"] == 1.0


@pytest.mark.slow
def test_tf_data_gives_the_same_run(tmp_path: Path, teachers: list[Path]) -> None:
    by_device, by_tf_data = (
        train(make_faces(), tmp_path / name, dataclasses.replace(RECIPE, pipeline=name),
              teachers=teachers).last
        for name in ("device", "tf.data")
    )  # fmt: skip
    assert by_device is not None and by_tf_data is not None
    a, b = (keras.load(path).variables for path in (by_device, by_tf_data))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6), a, b)


def test_held_out_images_that_others_may_have_seen_are_warned_of(
    tmp_path: Path, teachers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(folder: Path, every: float) -> None:
        raise KeyboardInterrupt  # everything is said, and nothing compiled

    monkeypatch.setattr(begin, "Checkpoints", stops)
    recorder = Recorder()
    recipe = dataclasses.replace(RECIPE, epochs=1, hold_out=0.25)
    options: dict[str, Any] = {"init": teachers[0], "architecture": None, "teachers": teachers}
    with pytest.raises(KeyboardInterrupt):
        train(make_faces(), tmp_path / "run", recipe, reporter=recorder, **options)
    expected = "note: warm.h5 and turned.h5 may have been trained on the images that are held out"
    assert any(note.startswith(expected) for note in recorder.notes)
    with pytest.raises(KeyboardInterrupt):
        train(make_faces(), tmp_path / "alone", recipe, reporter=recorder)
    assert any("held out of train" in note for note in recorder.notes[-1:])
    assert sum("may have been trained" in note for note in recorder.notes) == 1


class Stopping(Reporter):
    def step(self, status: Status) -> None:
        if status.step == 10:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_goes_on_without_its_teachers(tmp_path: Path, good_teacher: Path) -> None:
    faces, teacher = make_faces(), tmp_path / "teacher.h5"
    shutil.copyfile(good_teacher, teacher)
    whole = train(faces, tmp_path / "whole", teachers=[teacher])
    run = tmp_path / "run"
    stopped = train(faces, run, teachers=[teacher], reporter=Stopping())
    assert stopped.interrupted == signal.SIGTERM
    assert stopped.step < 24
    teacher.unlink()
    resumed = train(faces, run, resume=True)
    assert resumed.step == whole.step == 24
    a, b = (keras.load(result.last).variables for result in (resumed, whole) if result.last)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert metadata.read(run / "last.h5")["training"]["teachers"][0]["file"] == "teacher.h5"
    assert train(faces, run, resume=True, teachers=[good_teacher]).step == 24  # the same by content


def test_a_stop_between_the_labels_and_the_run_is_no_obstacle(
    tmp_path: Path, good_teacher: Path, teachers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, faces = tmp_path / "run", make_faces()
    write = distillation.write

    def stops(folder: Path, labels: Any) -> None:
        write(folder, labels)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distillation, "write", stops)
        train(faces, run, teachers=teachers)
    assert (run / distillation.FILE).exists() and not (run / "run.json").exists()
    train(faces, run, SHORT, teachers=[good_teacher], resume=True, architecture=NETWORK)
    ours = np.load(run / distillation.FILE)
    expected = distillation.soft_labels(
        [good_teacher], faces.take(faces.in_split("train")), 1.0, lambda text: None
    )
    np.testing.assert_array_equal(ours, expected)
    train(faces, run, SHORT, force=True)
    assert not (run / distillation.FILE).exists()


# --- what is refused -----------------------------------------------------------------------------


def test_other_teachers_are_refused(tmp_path: Path, teachers: list[Path], taught: Path) -> None:
    run, faces = taught, make_faces()
    for others in (teachers, teachers[1:], [tmp_path / "none.h5"]):
        with pytest.raises(TrainingError, match=r"begun with other teachers \(warm.h5\); resume w"):
            train(faces, run, SHORT, teachers=others, resume=True)
    train(faces, tmp_path / "untaught", SHORT)
    with pytest.raises(TrainingError, match=r"begun with other teachers \(none\)"):
        train(faces, tmp_path / "untaught", SHORT, teachers=teachers, resume=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"soft_labels.npy: missing, .* begin anew with --force"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "damaged, expected float32"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: np.save(path, np.zeros((256, 6), np.float32)), r"shape \(256, 7\)"),
        (lambda path: np.save(path, np.full((256, 7), np.nan, np.float32)), "damaged"),
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "damaged"),
    ],
)
def test_damaged_labels(taught: Path, damage: Any, message: str) -> None:
    damage(taught / distillation.FILE)
    with pytest.raises(TrainingError, match=message):
        train(make_faces(), taught, None, resume=True)


def test_nothing_is_written_where_teachers_do_not_fit(tmp_path: Path, teachers: list[Path]) -> None:
    faces, run = make_faces(), tmp_path / "run"
    none = dataclasses.replace(RECIPE, distillation=0.0)
    with pytest.raises(TrainingError, match=r"expected `distillation` above 0, .* --set dist"):
        train(faces, run, none, teachers=teachers)
    foreign = write_teacher(tmp_path / "foreign.h5", 3, labels=("calm", *ferjax.EMOTIONS[1:]))
    with pytest.raises(LabelsError, match=r"foreign.h5: expected a teacher for .*, got calm, dis"):
        train(faces, run, teachers=[teachers[0], foreign])
    with pytest.raises(WeightFileError, match="no such file"):
        train(faces, run, teachers=[tmp_path / "none.h5"])
    keras.save(tmp_path / "nameless.h5", NETWORK, drawn(NETWORK))
    with pytest.raises(
        LabelsError, match=r"nameless.h5: has no class names .* `ferjax convert --la"
    ):
        train(faces, run, teachers=[tmp_path / "nameless.h5"])
    assert not run.exists()
