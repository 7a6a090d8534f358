"""Compare a Keras model with what ferjax reads from the file that Keras saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest

import ferjax.keras
from ferjax.nets import Network

Compare = Callable[..., ferjax.keras.KerasModel]


def _randomise(model: Any, generator: np.random.Generator) -> None:
    """Give every weight a value that no initializer gives, such that outputs are of order 1."""
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.split("/")[-1]
        if name == "count":
            continue
        if "variance" in name:
            value = generator.uniform(0.5, 2.0, shape)
        elif name == "gamma":
            value = generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape)
        elif "kernel" in name:
            # (kh, kw, in, out) or (in, out); a depthwise kernel sums over (kh, kw) alone.
            fan_in = np.prod(shape[:2]) if "depthwise" in variable.path else np.prod(shape[:-1])
            value = generator.normal(0.0, (2 / fan_in) ** 0.5, shape)  # as He: for rectifiers
        else:
            value = generator.normal(0.0, 0.5, shape)
        variable.assign(value.astype("float32"))


@pytest.fixture(scope="session")
def randomise() -> Callable[..., None]:
    """Replace all weights of a Keras model: `randomise(model, seed=0)`."""

    def randomise(model: Any, seed: int = 0) -> None:
        _randomise(model, np.random.default_rng(seed))

    return randomise


def _values(model: Any) -> list[list[Any]]:
    return [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]


def _outputs(
    model: Any, network: Network, variables: Any, images: Any
) -> tuple[np.ndarray, np.ndarray]:
    @jax.jit
    def both(values: Any, variables: Any, images: Any) -> Any:
        theirs, _ = model.stateless_call(*values, images, training=False)
        return theirs, _strictly(network, variables, images)

    theirs, ours = both(_values(model), variables, images)
    return np.asarray(theirs), np.asarray(ours)


def _strictly(network: Network, variables: Any, images: Any) -> Any:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        return network.apply(variables, images)


@pytest.fixture(scope="session")
def outputs_of_both() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return what Keras and ferjax compute: `outputs_of_both(model, network, variables, images)`.

    In one program, which takes less to compile than one of each operation.
    """
    return _outputs


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Save a Keras model, read it and compare: `compare(model, images, tolerance=1e-6)`.

    Weights are random unless `randomise=False`. Files of further suffixes have the same network in
    them, with the same arrays. Returns what ferjax read of the first.
    """

    def compare(
        model: Any,
        images: Any,
        *,
        tolerance: float = 1e-6,
        suffixes: Sequence[str] = (".keras",),
        randomise: bool = True,
    ) -> ferjax.keras.KerasModel:
        if randomise:
            _randomise(model, np.random.default_rng(0))
        read, *others = (_saved_and_read(model, tmp_path / f"model{end}") for end in suffixes)
        expected, outputs = _outputs(model, read.network, read.variables, images)
        assert np.isfinite(expected).all()
        assert np.ptp(expected) > 0.01, "constant outputs would prove nothing"
        assert outputs.shape == expected.shape
        assert read.graph.output_shape == tuple(model.output_shape[1:])
        if not np.allclose(outputs, expected, rtol=0, atol=tolerance):
            # In one program, XLA may round the sums of either otherwise.
            expected = np.asarray(model(images, training=False))
            outputs = np.asarray(_strictly(read.network, read.variables, images))
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
        assert read.graph.num_params == model.count_params()
        for other in others:
            assert other.graph == read.graph
            assert list(other.variables["params"]) == list(read.variables["params"])
            jax.tree.map(np.testing.assert_array_equal, other.variables, read.variables)
        return read

    return compare


def _saved_and_read(model: Any, path: Path) -> ferjax.keras.KerasModel:
    model.save(path)
    return ferjax.keras.load(path)


def _config(model: Any) -> dict[str, Any]:
    config = model.get_config()
    for end in {"input_layers", "output_layers"} & set(config):
        if len(config[end]) == 1:  # a list of one is the one itself
            (config[end],) = config[end]
    return config


def _predicted(models: Sequence[Any], images: Any) -> list[np.ndarray]:
    @jax.jit
    def all_of_them(values: Any, images: Any) -> Any:
        return [
            model.stateless_call(*own, images, training=False)[0]
            for model, own in zip(models, values)
        ]

    return [np.asarray(outputs) for outputs in all_of_them([*map(_values, models)], images)]


@pytest.fixture
def reopens(tmp_path: Path) -> Callable[..., None]:
    """Check that Keras opens what ferjax writes of a model: `reopens(model, read, images)`.

    In both kinds: the same weights in the same layers. Where Keras tells one of these by other
    settings, it must predict the same. Nested models are written flat, whose layers Keras may
    bring into another order: `ordered=False`.
    """

    def reopens(
        model: Any,
        read: ferjax.keras.KerasModel,
        images: Any,
        suffixes: Sequence[str] = (".keras", ".h5"),
        ordered: bool = True,
        tolerance: float = 1e-6,
    ) -> None:
        others = []
        for suffix in suffixes:
            path = tmp_path / f"again{suffix}"
            ferjax.keras.save(path, read.graph, read.variables)
            written = ferjax.keras.load(path).graph.layers
            if ordered:
                assert written == read.graph.layers
            assert set(map(str, written)) == set(map(str, read.graph.layers))
            again = keras.models.load_model(path, compile=False)
            if _config(again) == _config(model):
                for mine, theirs in zip(again.weights, model.weights, strict=True):
                    np.testing.assert_array_equal(mine, theirs, err_msg=suffix)
            else:
                others.append(again)
        if others:
            expected, *outputs = _predicted([model, *others], images)
            for mine in outputs:
                np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance)

    return reopens


@pytest.fixture(scope="module")
def numpy_initializers() -> Iterator[None]:
    """Draw Keras's initial weights by NumPy: for each shape, JAX compiles a program."""
    generator = np.random.default_rng(0)

    def uniform(self: Any, shape: Any, dtype: Any = None) -> np.ndarray:
        *window, fan_in, fan_out = shape
        limit = math.sqrt(6 / (math.prod(window) * (fan_in + fan_out)))
        return generator.uniform(-limit, limit, shape).astype(dtype or "float32")

    with pytest.MonkeyPatch.context() as patch:
        for kind, draw in (
            (keras.initializers.VarianceScaling, uniform),
            (keras.initializers.Orthogonal, uniform),
            (keras.initializers.Zeros, lambda _, shape, dtype=None: np.zeros(shape, dtype or "f4")),
            (keras.initializers.Ones, lambda _, shape, dtype=None: np.ones(shape, dtype or "f4")),
        ):
            patch.setattr(kind, "__call__", draw)
        yield


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    """Start Keras's automatic names at `conv2d` again."""
    keras.utils.clear_session(free_memory=False)
