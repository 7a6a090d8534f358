"""Every optimizer of real Keras, in every kind of file: Adam's state is read, others' named."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import ferjax.keras

pytestmark = pytest.mark.usefixtures("numpy_initializers")

WRAPPERS = {"LossScaleOptimizer", "MultiOptimizer", "Optimizer", "OptimizerMap"}
CLASSES = sorted(
    name
    for name, kind in vars(keras.optimizers).items()
    if isinstance(kind, type)
    and issubclass(kind, keras.optimizers.Optimizer)
    and name not in WRAPPERS
)
STEP = 5


def save(optimizer: Any, folder: Path) -> dict[str, Path]:
    """Save a tiny model, its optimizer's arrays at random, in every kind and as JSON.

    "after" is a .keras saved after an .h5, by which Keras forgets how the model was compiled.
    """
    keras.backend.clear_session(free_memory=False)
    model = keras.Sequential(
        [keras.layers.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    model.compile(loss="mse", optimizer=optimizer)
    model.optimizer.build(model.trainable_variables)
    generator = np.random.default_rng(3)
    for variable in model.optimizer.variables:
        if variable.shape:
            variable.assign(generator.uniform(0.5, 1, variable.shape).astype("float32"))
    getattr(model.optimizer, "inner_optimizer", model.optimizer)._iterations.assign(STEP)
    files = {name: folder / f"{name}.keras" for name in ("keras", "after")}
    files |= {"h5": folder / "m.h5", "weights": folder / "m.weights.h5", "json": folder / "m.json"}
    files["json"].write_text(model.to_json())
    model.save(files["keras"])
    model.save_weights(files["weights"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.save(files["h5"])
        except ValueError:  # Adafactor's arrays have the same name twice
            files["h5"].unlink()
    model.save(files["after"])
    return files


def states(files: dict[str, Path]) -> dict[str, ferjax.keras.KerasModel]:
    """Read each, the weights alone also with the JSON of the compiled model and without."""
    plain = keras.models.load_model(files["keras"], compile=False).to_json()
    bare = files["json"].with_name("bare.json")
    bare.write_text(plain)
    read = {k: ferjax.keras.load(files[k]) for k in ("keras", "h5", "after") if files[k].exists()}
    read["weights with config"] = ferjax.keras.load(files["weights"], files["json"])
    read["weights"] = ferjax.keras.load(files["weights"], bare)
    return read


@pytest.mark.parametrize("kind", CLASSES)
def test_only_adam_is_read_as_adam(kind: str, tmp_path: Path) -> None:
    files = save(getattr(keras.optimizers, kind)(0.01), tmp_path)
    snake = {"AdamW": "adam_w"}.get(kind, kind.lower())
    for how, model in states(files).items():
        state = model.optimizer_state
        if kind in ("Adam", "AdamW"):
            assert state is not None, how
            assert (state.name, state.step) == (kind, STEP), how
            assert state.settings["learning_rate"] == pytest.approx(0.01)
            assert (how in ("after", "weights")) == bool(model.notes), model.notes
        else:
            assert state is None, how
            (note,) = model.notes
            assert kind in note or snake in note.replace("_", ""), note


SETTINGS = {
    "weight_decay": {"weight_decay": 0.25},
    "ema": {"use_ema": True},
    "accumulation": {"gradient_accumulation_steps": 2},
    "amsgrad": {"amsgrad": True},
    "scaled": {},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_variants_of_adam_are_told_apart(case: str, tmp_path: Path) -> None:
    optimizer = keras.optimizers.Adam(0.01, **SETTINGS[case])
    if case == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    files = save(optimizer, tmp_path)
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    m, v = (np.asarray(moments[0]) for moments in (adam._momentums, adam._velocities))
    for how, model in states(files).items():
        state = model.optimizer_state
        (note, *_) = model.notes  # each has something that is not taken over, or not known
        if case == "amsgrad" or (how in ("after", "weights") and case in ("ema", "accumulation")):
            assert state is None and "amsgrad" in note, (how, note)
            continue
        assert state is not None, (how, note)
        np.testing.assert_array_equal(state.mu["dense"]["kernel"], m)
        np.testing.assert_array_equal(state.nu["dense"]["kernel"], v)
        assert state.step == (STEP // 2 if case == "accumulation" else STEP)
        known = how not in ("after", "weights")
        if case == "weight_decay":
            assert state.name == ("AdamW" if known else "Adam")
            assert state.settings.get("weight_decay") == (0.25 if known else None)


@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
def test_adamw_that_ferjax_writes_goes_on_in_keras(kind: str, tmp_path: Path) -> None:
    files = save(keras.optimizers.AdamW(0.01, weight_decay=0.125), tmp_path)
    model = ferjax.keras.load(files["keras"])
    path = tmp_path / f"written.{kind}"
    ferjax.keras.save(path, model.graph, model.variables, model.optimizer_state)
    keras.backend.clear_session(free_memory=False)
    if kind == "keras":
        opened = keras.models.load_model(path)
        assert opened.optimizer.weight_decay == 0.125
    else:
        opened = keras.models.model_from_json(files["json"].read_text())
        opened.compile(loss="mse", optimizer=keras.optimizers.AdamW(0.01))
        opened.optimizer.build(opened.trainable_variables)
        opened.load_weights(path)
    assert type(opened.optimizer) is keras.optimizers.AdamW
    assert int(np.asarray(opened.optimizer.iterations)) == STEP
    state = model.optimizer_state
    assert state is not None
    kernel = np.asarray(opened.optimizer._momentums[0])
    np.testing.assert_array_equal(kernel, state.mu["dense"]["kernel"])
