"""The state of an optimizer is read as what it is, or left out with a note that names it."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import WeightFileError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "optimizers" / "keras-2.15.0"
UNKNOWN = "optimizer state is left out: nothing in the file says which optimizer it is of"


def label(path: Path) -> str:
    return path.name


def files(*names: str) -> Any:
    paths = [p for p in sorted(FIXTURES.iterdir()) if p.name.split(".")[0] in names]
    return pytest.mark.parametrize(
        "path", [p for p in paths if ".weights." not in p.name], ids=label
    )


def stored(path: Path, m: str | int, v: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Return the moments of the dense kernel as Keras's own file has them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content: Any = io.BytesIO(archive.read("model.weights.h5"))
    else:
        content = path
    with h5py.File(content) as root:
        group = root["optimizer/vars" if "optimizer" in root else "optimizer_weights"]
        return group[str(m)][()], group[str(v)][()]


def load(path: Path, config: Any = None) -> tuple[ferjax.keras.OptimizerState | None, list[str]]:
    model = ferjax.keras.load(path, config)
    return model.optimizer_state, model.notes


@files("adamax", "legacy_adamax")
def test_adamax_is_not_read_as_adam(path: Path) -> None:
    state, (note,) = load(path)
    assert state is None
    assert note.endswith("the state of 'Adamax' is not read, only that of Adam and AdamW is")


@files("amsgrad")
def test_amsgrad_is_not_read_as_adam(path: Path) -> None:
    state, (note,) = load(path)
    assert state is None and "the state of Adam with amsgrad=True is not read" in note


@files("adamw", "adam_decay")
def test_weight_decay_makes_an_adamw(path: Path) -> None:
    state, notes = load(path)
    assert state is not None and (state.name, state.step) == ("AdamW", 3)
    if path.name.startswith("adamw"):
        assert state.settings["weight_decay"] == 0.02 and notes == []
    else:
        assert state.settings["weight_decay"] == 0.03
        assert notes == ["optimizer: Adam with weight_decay=0.03 is AdamW"]
    names = (5, 6) if path.suffix == ".keras" else (f"AdamW/{w}/dense/kernel:0" for w in "mv")
    m, v = stored(path, *names)
    np.testing.assert_array_equal(state.mu["dense"]["kernel"], m)
    np.testing.assert_array_equal(state.nu["dense"]["kernel"], v)


@files("ema")
def test_averages_are_not_taken_for_moments(path: Path) -> None:
    """In a .keras they stand between the step count and the moments, in an .h5 they have names."""
    state, notes = load(path)
    assert state is not None and (state.name, state.step) == ("Adam", 3)
    assert notes == ["optimizer: use_ema=True is left out"]
    names = (9, 10) if path.suffix == ".keras" else (f"Adam/{w}/dense/kernel:0" for w in "mv")
    m, v = stored(path, *names)
    np.testing.assert_array_equal(state.mu["dense"]["kernel"], m)
    np.testing.assert_array_equal(state.nu["dense"]["kernel"], v)


@files("loss_scale")
def test_adam_inside_a_loss_scale_optimizer_is_read(path: Path) -> None:
    state, notes = load(path)
    assert state is not None and (state.name, state.step) == ("Adam", 3)
    assert notes == ["optimizer: the loss scale of its LossScaleOptimizer is left out"]
    names = (5, 6) if path.suffix == ".keras" else (f"{w}/dense/kernel:0" for w in "mv")
    m, v = stored(path, *names)
    np.testing.assert_array_equal(state.mu["dense"]["kernel"], m)
    np.testing.assert_array_equal(state.nu["dense"]["kernel"], v)


# --- files of weights alone, in which Keras 2 does not say which optimizer it was ----------------


def as_json(path: Path, tmp_path: Path, key: str | None) -> Path:
    """Return a model.json of an archive's config, which says by `key` how it was compiled."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    compiled = config.pop("compile_config")
    target = tmp_path / "model.json"
    target.write_text(json.dumps(config if key is None else {**config, key: compiled}))
    return target


@pytest.mark.parametrize("name", ["adamax", "loss_scale"])
def test_weights_alone_are_not_guessed_to_be_adams(name: str, tmp_path: Path) -> None:
    config = as_json(FIXTURES / "adamax.keras", tmp_path, None)
    state, (note,) = load(FIXTURES / f"{name}.weights.h5", config)
    assert state is None
    assert note.startswith(UNKNOWN) and "--config" in note


@pytest.mark.parametrize("key", ["compile_config", "training_config", "h5", "keras"])
@pytest.mark.parametrize("name", ["adamax", "loss_scale"])
def test_a_config_says_which_optimizer_it_was(name: str, key: str, tmp_path: Path) -> None:
    config = FIXTURES / f"{name}.{key}"
    if key not in ("h5", "keras"):
        config = as_json(FIXTURES / f"{name}.keras", tmp_path, key)
    state, (note,) = load(FIXTURES / f"{name}.weights.h5", config)
    if name == "adamax":
        assert state is None and "the state of 'Adamax' is not read" in note
        return
    assert state is not None and (state.name, state.step) == ("Adam", 3)
    assert state.settings["learning_rate"] == pytest.approx(0.01)
    m, _ = stored(FIXTURES / "loss_scale.weights.h5", 5, 6)
    np.testing.assert_array_equal(state.mu["dense"]["kernel"], m)


def test_what_the_file_says_comes_before_the_config() -> None:
    state, _ = load(FIXTURES / "adamax.keras", FIXTURES / "adamw.keras")
    assert state is None
    state, _ = load(FIXTURES / "adamw.keras", FIXTURES / "adamax.keras")
    assert state is not None and state.name == "AdamW"


def rename(path: Path, name: str | None) -> None:
    """Let a file of weights alone say only what Keras 3 writes: the name of the optimizer."""
    with h5py.File(path, "r+") as root:
        root.attrs.pop("ferjax_compile_config")
        del root["optimizer/vars"].attrs["name"]
        if name is not None:
            root["optimizer/vars"].attrs["name"] = name


@pytest.mark.parametrize(
    "name, kind",
    [("adam", "Adam"), ("adam_2", "Adam"), ("Adam", "Adam"), ("adam_w", "AdamW")],
)
def test_the_name_of_the_optimizer_is_enough(name: str, kind: str, saved: Any, small: Any) -> None:
    path = saved("weights.h5", optimizer=True)
    rename(path, name)
    model = ferjax.keras.load(path, architecture=small.graph)
    state = model.optimizer_state
    assert state is not None and (state.name, state.step) == (kind, 17)
    assert state.settings["learning_rate"] == pytest.approx(0.002)  # it is among the arrays
    decay = "weight_decay=0.004" if kind == "AdamW" else "no weight decay"
    assert model.notes == [
        f"optimizer: the file names {kind}, but not its settings: learning_rate=0.002, beta_1=0.9, "
        f"beta_2=0.999, epsilon=1e-07, {decay} are taken; give what has them as config (--config)"
    ]


@pytest.mark.parametrize("name", ["adamax", "lamb_1", "schedule_free_adam_w", "mine", "adam_x", ""])
def test_another_name_is_left_out(name: str, saved: Any, small: Any) -> None:
    path = saved("weights.h5", optimizer=True)
    rename(path, name)
    model = ferjax.keras.load(path, architecture=small.graph)
    assert model.optimizer_state is None
    assert f"it is of an optimizer called '{name}', only that of Adam" in model.notes[0]


def test_no_name_is_left_out(saved: Any, small: Any) -> None:
    path = saved("weights.h5", optimizer=True)
    rename(path, None)
    model = ferjax.keras.load(path, architecture=small.graph)
    assert model.optimizer_state is None and model.notes[0].startswith(UNKNOWN)


def test_a_config_of_another_training_is_noticed(saved: Any) -> None:
    """The config says Adam, the file that its arrays are of something called adamax."""
    path, config = saved("weights.h5", optimizer=True), saved("keras", optimizer=True)
    rename(path, "adamax")
    model = ferjax.keras.load(path, config)
    assert model.optimizer_state is None
    assert "the config says Adam, but the file that it is of 'adamax'" in model.notes[0]
    with h5py.File(path, "r+") as root:
        root["optimizer/vars"].attrs["name"] = "adam"
    assert ferjax.keras.load(path, config).optimizer_state is not None


@pytest.mark.parametrize("more", [6, 12])
def test_arrays_beside_the_moments_are_not_guessed_at(more: int, saved: Any, small: Any) -> None:
    """Of amsgrad, of averages or of summed gradients: only a config tells."""
    path = saved("weights.h5", optimizer=True)
    rename(path, "adam")
    with h5py.File(path, "r+") as root:
        for position in range(more):
            root["optimizer/vars"][str(14 + position)] = np.float32(1)
    model = ferjax.keras.load(path, architecture=small.graph)
    assert model.optimizer_state is None
    found = "nothing in the file says whether of amsgrad" if more == 6 else "got 26"
    assert found in model.notes[0]


# --- what else a file may say --------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry, called",
    [
        ({"class_name": "Adamax"}, "Adamax"),
        ({"class_name": "Addons>AdamW"}, "Addons>AdamW"),
        ({"class_name": "adamax"}, "adamax"),
        ("nadam", "nadam"),
        ({"class_name": "Adam", "module": "mine.optimizers"}, "mine.optimizers.Adam"),
        ({"class_name": "Adam", "module": None, "registered_name": "Adam"}, "custom.Adam"),
        ({"class_name": "Adam", "registered_name": "mine>Adam"}, "mine>Adam"),
        (
            {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": "sgd"}},
            "sgd",
        ),
        (
            {"class_name": "Custom>LossScaleOptimizerV3", "config": {"optimizer": "Ftrl"}},
            "Ftrl",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_every_other_class_is_left_out_by_its_name(
    entry: Any, called: str, saved: Any, edit_json: Any
) -> None:
    path = saved("h5", optimizer=True)
    edit_json(path, lambda config: config.update(optimizer_config=entry), "training_config")
    model = ferjax.keras.load(path)
    assert model.optimizer_state is None
    assert f"the state of '{called}' is not read" in model.notes[0]


def test_without_a_training_config_the_names_of_arrays_tell(saved: Any) -> None:
    path = saved("h5", optimizer=True)
    with h5py.File(path, "r+") as root:
        del root.attrs["training_config"]
    model = ferjax.keras.load(path)
    assert model.optimizer_state is not None and model.optimizer_state.name == "Adam"
    assert "the file names Adam, but not its settings" in model.notes[0]
    adamax = path.with_name("adamax.h5")
    shutil.copy(FIXTURES / "legacy_adamax.h5", adamax)  # whose arrays are called m and v
    with h5py.File(adamax, "r+") as root:
        del root.attrs["training_config"]
    state, (note,) = load(adamax)
    assert state is None and "called 'Adamax', only that of Adam" in note


def test_summed_gradients_are_no_steps(saved: Any, edit_json: Any) -> None:
    path = saved("h5", optimizer=True)
    edit_json(
        path,
        lambda c: c["optimizer_config"]["config"].update(gradient_accumulation_steps=4),
        "training_config",
    )
    model = ferjax.keras.load(path)
    assert model.optimizer_state is not None and model.optimizer_state.step == 17 // 4


def test_second_moments_below_zero_are_not_adams(saved: Any, small: Any) -> None:
    """Ftrl's linear terms, for example: Adam's are means of squares."""
    path = saved("weights.h5", optimizer=True)
    with h5py.File(path, "r+") as root:
        root["optimizer/vars/3"][0] = -0.25
    model = ferjax.keras.load(path, architecture=small.graph)
    assert model.optimizer_state is None
    assert "layer 'conv2d': moment of kernel: expected squares, as Adam's are" in model.notes[0]


def test_an_optimizer_that_never_stepped_needs_no_note(saved: Any, small: Any) -> None:
    path = saved("weights.h5", optimizer=True)
    with h5py.File(path, "r+") as root:
        for position in range(2, 14):
            del root[f"optimizer/vars/{position}"]
    model = ferjax.keras.load(path, architecture=small.graph)
    assert model.optimizer_state is None and model.notes == []


def test_settings_that_nothing_knows_are_noted(saved: Any, edit_json: Any) -> None:
    path = saved("h5", optimizer=True)
    settings = {
        "beta_1": "high",
        "weight_decay": "much",
        "loss_scale_factor": 2.0,
        "new\nthing": [1],
        "lookahead": None,
    }
    edit_json(path, lambda c: c["optimizer_config"]["config"].update(settings), "training_config")
    assert ferjax.keras.load(path).notes == [
        "optimizer: beta_1='high' is left out, beta_1 is 0.9",
        "optimizer: weight_decay='much' is left out",
        "optimizer: loss_scale_factor=2.0 is left out",
        "optimizer: new\\nthing=[1] is left out",
    ]


@pytest.mark.parametrize("depth", [300, 900, 980])
@pytest.mark.parametrize("key", ["beta_1", "clipnorm", "name", "weight_decay", "learning_rate"])
def test_deep_settings_are_left_out(depth: int, key: str, saved: Any, edit_json: Any) -> None:
    path = saved("h5", optimizer=True)
    edit_json(
        path, lambda c: c["optimizer_config"]["config"].update({key: "DEEP"}), "training_config"
    )
    with h5py.File(path, "r+") as root:
        text = root.attrs["training_config"]
        text = text if isinstance(text, str) else text.decode()
        root.attrs["training_config"] = text.replace('"DEEP"', "[" * depth + "]" * depth).encode()
    model = ferjax.keras.load(path)
    assert all(note.isprintable() and len(note) < 300 for note in model.notes)
    assert model.optimizer_state is None or model.optimizer_state.step == 17


@pytest.mark.parametrize("kind", ["h5", "keras", "weights.h5"])
def test_only_a_state_of_adam_is_written(kind: str, small: Any, tmp_path: Path) -> None:
    state = dataclasses.replace(small.optimizer_state, name="adam")
    with pytest.raises(WeightFileError, match="expected the name 'Adam' or 'AdamW', got 'adam'"):
        ferjax.keras.save(tmp_path / "m", small.graph, small.variables, state, kind=kind)
    assert not any(tmp_path.iterdir())
