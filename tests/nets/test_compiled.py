"""What is made of the variables beforehand is made anew where they are others."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax import hardware
from ferjax.errors import LayerError
from ferjax.nets import Graph, Network
from ferjax.nets.compiled import Compiled, batches_at_once
from ferjax.nets.forward import inference, with_prepared
from ferjax.nets.head import Head
from ferjax.nets.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    LeakyReLU,
)
from ferjax.nets.ops import kept_apart

from ..networks import as_trained, chain

needs_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs the CPU backend")

NETWORK = chain(
    Conv2D(filters=64, kernel_size=1, activation="relu"),
    BatchNormalization(),
    Conv2D(filters=64, kernel_size=3, padding="same", name="wide"),
    GlobalAveragePooling2D(),
    Dense(units=3, activation="softmax"),
    shape=(11, 11, 1),
)
VARIABLES = as_trained(NETWORK.graph)
IMAGES = np.random.default_rng(0).random((1, 11, 11, 1)).astype(np.float32)


def doubled(variables: Any) -> Any:
    """Return variables with twice the kernel that is prepared."""
    params = variables["params"]
    wide = params["wide"] | {"kernel": 2 * params["wide"]["kernel"]}
    return variables | {"params": params | {"wide": wide}}


@needs_cpu
def test_kernels_and_normalizations_are_prepared() -> None:
    prepared = with_prepared(NETWORK.graph, VARIABLES, 8)["prepared"]
    assert {name: list(made["weights"]) for name, made in prepared.items()} == {
        "batch_normalization": ["prepared_factor", "prepared_shift"],
        "wide": ["prepared_kernel"],
    }


@pytest.mark.parametrize("has_weights", [True, False])
def test_a_prepared_normalization_by_hand(has_weights: bool) -> None:
    layer = BatchNormalization(epsilon=1.0, scale=has_weights, center=has_weights)
    statistics = {"mean": jnp.float32([2, 5]), "var": jnp.float32([3, 8])}
    more = {"scale": jnp.float32([6, 3]), "bias": jnp.float32([1, 1])} if has_weights else {}
    made = layer.prepared(statistics | more, (8, 2))
    factor, shift = ([3, 1], [-5, -4]) if has_weights else ([1 / 2, 1 / 3], [-1, -5 / 3])
    np.testing.assert_array_equal(made["prepared_factor"], np.float32(factor))
    np.testing.assert_array_equal(made["prepared_shift"], np.float32(shift))


@needs_cpu
@pytest.mark.parametrize("count", [1, 8])
def test_what_is_prepared_gives_the_same_in_batches_of_each_kind(count: int) -> None:
    images = np.repeat(IMAGES, count, axis=0)
    prepared = with_prepared(NETWORK.graph, VARIABLES, 8)
    found = inference(NETWORK.graph, prepared, images)
    expected = inference(NETWORK.graph, VARIABLES, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_inference_is_what_the_module_applies() -> None:
    expected = NETWORK.apply(VARIABLES, IMAGES)
    np.testing.assert_array_equal(inference(NETWORK.graph, VARIABLES, IMAGES), expected)


@pytest.mark.parametrize(
    ("kernel", "got"), [({}, "none"), ({"kernel": np.zeros((3, 3, 64, 9), np.float32)}, "9")]
)
def test_weights_that_do_not_fit_are_refused(kernel: Any, got: str) -> None:
    params = VARIABLES["params"]
    wide = {"bias": params["wide"]["bias"], **kernel}
    variables = {**VARIABLES, "params": {**params, "wide": wide}}
    message = rf"layer 'wide': expected kernel of shape \(3, 3, 64, 64\), got .*{got}"
    with pytest.raises(LayerError, match=message):
        Compiled(NETWORK.graph, Head.of(NETWORK.graph))(variables, IMAGES)


@needs_cpu
@pytest.mark.parametrize("count", [1, 3, 8])
def test_few_images_go_through_direct_convolutions(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.random.default_rng(1).random((count, 11, 11, 1)).astype(np.float32)
    compiled, variables = Compiled(NETWORK, Head.of(NETWORK.graph)), jax.device_put(VARIABLES)
    expected = compiled(variables, images)
    compiled.is_few = True
    direct = compiled(variables, images)
    assert np.abs(direct - expected).max() < 1e-6
    rows = inference(NETWORK.graph, with_prepared(NETWORK.graph, VARIABLES, 8, direct=True), images)
    np.testing.assert_allclose(direct, rows, rtol=0, atol=1e-6)
    with jax.log_compiles():  # each is compiled once, whatever was asked for in between
        for is_few in (False, True, False):
            compiled.is_few = is_few
            rows = compiled(variables, images)
            np.testing.assert_array_equal(rows, direct if is_few else expected)
    assert "Compiling jit(_probabilities)" not in caplog.text


@needs_cpu
def test_direct_convolutions_are_xla_s() -> None:
    def programs(direct: bool) -> tuple[int, int]:
        variables = with_prepared(NETWORK.graph, VARIABLES, 1, direct=direct)
        lowered = jax.jit(lambda v, x: inference(NETWORK.graph, v, x, direct=direct))
        text = lowered.lower(variables, IMAGES).as_text()
        return text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")

    assert programs(direct=True) == (2, 1)  # the convolutions, and Dense
    assert programs(direct=False) == (1, 17)  # that of 1x1; 16 products of tiles, and Dense


@needs_cpu
def test_kernels_are_not_prepared_for_direct_convolutions() -> None:
    prepared = with_prepared(NETWORK.graph, VARIABLES, 1, direct=True)["prepared"]
    assert list(prepared) == ["batch_normalization"]


def test_variables_may_be_others_in_each_call() -> None:
    compiled = Compiled(NETWORK, Head.of(NETWORK.graph))
    on_device, others = jax.device_put(VARIABLES), jax.device_put(doubled(VARIABLES))
    expected, different = (NETWORK.apply(v, IMAGES) for v in (on_device, others))
    assert np.abs(expected - different).max() > 1e-3
    for _ in range(2):
        np.testing.assert_allclose(compiled(on_device, IMAGES), expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(compiled(others, IMAGES), different, rtol=0, atol=1e-6)
    # NumPy's arrays can be written to.
    written = jax.tree.map(np.array, VARIABLES)
    np.testing.assert_allclose(compiled(written, IMAGES), expected, rtol=0, atol=1e-6)
    written["params"]["wide"]["kernel"] *= 2
    np.testing.assert_allclose(compiled(written, IMAGES), different, rtol=0, atol=1e-6)


def test_what_is_compiled_is_freed_with_its_variables() -> None:
    compiled = Compiled(NETWORK, Head.of(NETWORK.graph))
    compiled(jax.device_put(VARIABLES), IMAGES)
    alive = weakref.ref(compiled)
    del compiled
    assert alive() is None


def test_float64_elsewhere_compiles_nothing_anew(caplog: pytest.LogCaptureFixture) -> None:
    compiled, variables = Compiled(NETWORK, Head.of(NETWORK.graph)), jax.device_put(VARIABLES)
    with jax.log_compiles():
        expected = compiled(variables, IMAGES)
        assert "Compiling jit(_probabilities)" in caplog.text
        caplog.clear()
        with jax.enable_x64(True):
            found = compiled(variables, IMAGES)
        assert "Compiling jit(_probabilities)" not in caplog.text
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_a_network_of_one_s_own_gets_its_variables_as_they_are() -> None:
    class Halved(Network):
        def __call__(self, images: Any, **options: Any) -> Any:
            assert set(self.variables) == {"params", "batch_stats"}
            return super().__call__(images / 2, **options)

    compiled = Compiled(Halved(NETWORK.graph), Head.of(NETWORK.graph))
    expected = NETWORK.apply(VARIABLES, IMAGES / 2)
    np.testing.assert_allclose(compiled(VARIABLES, IMAGES), expected, rtol=0, atol=1e-6)


@needs_cpu
def test_what_is_kept_apart_is_not_fused() -> None:
    twice = jax.jit(lambda x: [2 * x, 3 * x])

    def program(keep: Any) -> str:
        return str(jax.jit(lambda x: sum(keep(twice(x)))).lower(jnp.ones(9)).compile().as_text())

    assert " call(" in program(kept_apart)
    assert " call(" not in program(lambda results: results)
    slope = jax.grad(lambda x: sum(kept_apart(twice(x))))
    assert float(slope(jnp.float32(1))) == 5


@needs_cpu
def test_a_device_that_a_thread_has_chosen_is_for_that_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 4)
    assert batches_at_once() == 4
    with jax.default_device(jax.devices()[0]):
        assert batches_at_once() == 1


def test_a_layer_of_one_s_own_may_pass_a_run_of_its_own() -> None:
    class Quiet:
        train = False

        def key(self) -> jax.Array:
            raise AssertionError

        def update(self, name: str, value: jax.Array) -> None:
            raise AssertionError

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(Conv2D):
        def forward(self, run: Any, weights: Any, *inputs: Any) -> jax.Array:
            return super().forward(Quiet(), weights, *inputs)  # type: ignore[arg-type]

    def network(kind: type[Conv2D]) -> Graph:
        activation = LeakyReLU(negative_slope=0.1)
        layer = kind(filters=3, kernel_size=3, name="c", activation=activation)
        return Graph.sequential([layer], input_shape=(5, 5, 1))

    variables, images = as_trained(network(Conv2D)), IMAGES[:, :5, :5]
    expected = inference(network(Conv2D), variables, images)
    np.testing.assert_array_equal(inference(network(Mine), variables, images), expected)


@pytest.mark.slow
def test_a_second_process_finds_the_program_for_few_images(tmp_path: Path) -> None:
    code = """
import jax, numpy as np
import ferjax
from ferjax.xla import compile_cache
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith('/cache_hits') else None)
with compile_cache():
    classifier = ferjax.load(engine="jax")
    classifier.expected_images = 1
    classifier.predict_batch(np.zeros((1, 48, 48, 1), np.float32))
print(len(hits))
"""
    unset = {name for name in os.environ if name.startswith("JAX_")}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**kept, "XDG_CACHE_HOME": str(tmp_path)}
    hits = [
        int(subprocess.check_output([sys.executable, "-c", code], text=True, env=environment))
        for _ in range(2)
    ]
    # On a busy machine small programs, too, take long enough to be kept, so there may be more hits;
    # had the second process not found this one, it would have kept another.
    assert hits[0] == 0 < hits[1]
    assert len(list(tmp_path.rglob("jit__probabilities-*-cache"))) == 1
