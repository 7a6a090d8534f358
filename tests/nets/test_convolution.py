"""Convolution against sums in float64: every way of computing it, forward and backward."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax import nets
from ferjax.nets import batch_norm, convolution, ops
from ferjax.nets.convolution import conv2d
from ferjax.nets.forward import inference, with_prepared
from ferjax.nets.layers import BatchNormalization, Conv2D, Flatten
from ferjax.nets.ops import max_pool2d

from ..networks import as_trained, chain, drawn

needs_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs the CPU backend")


def exact(x: Any, kernel: Any, padding: str) -> np.ndarray:
    """Cross-correlate in float64, tap by tap."""
    kh, kw = kernel.shape[:2]
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    if padding == "same":
        edges = [((size - 1) // 2, size // 2) for size in (kh, kw)]
        x = np.pad(x, ((0, 0), *edges, (0, 0)))
    height, width = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    taps = [
        x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(kh) for j in range(kw)
    ]
    return np.sum(taps, axis=0)


def convolved(x: Any, kernel: Any, padding: str, data_format: str = "channels_last") -> jax.Array:
    return conv2d(
        x,
        kernel,
        strides=(1, 1),
        padding=padding,
        data_format=data_format,
        dilation_rate=(1, 1),
    )


def example(*sizes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images, (B, H, W, C), and a kernel of 3x3 to K filters."""
    *shape, filters = sizes
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 3, shape[-1], filters)) / np.sqrt(9 * shape[-1])
    return rng.normal(size=shape).astype("float32"), kernel.astype("float32")


# Sizes, and whether Winograd's algorithm is used: for how many images at once.
CASES = [
    ((2, 48, 48, 1, 64), "valid", 0),
    ((3, 7, 9, 1, 8), "same", 0),
    ((1, 22, 22, 64, 128), "same", 1),
    ((8, 22, 22, 64, 64), "valid", 8),
    ((4, 46, 46, 64, 64), "valid", 2),
    ((12, 11, 13, 128, 128), "same", 12),
    ((40, 11, 12, 128, 128), "same", 10),
    ((25, 11, 12, 128, 128), "valid", 5),
    ((40, 13, 14, 64, 128), "valid", 20),
    ((64, 46, 46, 64, 64), "valid", 2),
    ((1, 11, 11, 64, 64), "same", 0),
    ((4, 5, 5, 128, 128), "same", 0),
    ((2, 23, 21, 32, 64), "same", 0),
]


@needs_cpu
@pytest.mark.parametrize(("sizes", "padding", "images"), CASES)
def test_way_chosen(sizes: tuple[int, ...], padding: str, images: int) -> None:
    *x, filters = sizes
    kernel = (3, 3, x[-1], filters)
    assert convolution.images_at_once(x, kernel, 1 if padding == "same" else 0) == images


@needs_cpu
@pytest.mark.parametrize(
    "sizes",
    # Of 20,000 values of tiles and more, several parts of an image's rows: two, and the most, four.
    [(1, 11, 13, 64, 64), (5, 5, 5, 64, 128), (1, 45, 45, 64, 64), (1, 47, 49, 144, 64)],
)
def test_kernel_transformed_beforehand(sizes: tuple[int, ...]) -> None:
    x, kernel = example(*sizes)
    arguments: Any = {
        "strides": (1, 1),
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": (1, 1),
    }
    prepared = convolution.prepared_kernel(kernel, x.shape, **arguments)
    assert prepared is not None and set(prepared) == {"tiles"}
    # A kernel of nothing but zeros beside it: the sums come from what is prepared.
    y = jax.jit(lambda x, w: conv2d(x, 0 * kernel, prepared=w, **arguments))(x, prepared)
    expected = exact(x, kernel, "same")
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    # What one image has too few pixels for is computed as ever.
    single = conv2d(x[:1, :5, :5], kernel, prepared=prepared, **arguments)
    expected = exact(x[:1, :5, :5], kernel, "same")
    np.testing.assert_allclose(single, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    strided = arguments | {"strides": (2, 2)}
    assert convolution.prepared_kernel(kernel, x.shape, **strided) is None
    assert convolution.prepared_kernel(kernel, (1, 5, 5, 64), **arguments) is None


@needs_cpu
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_wide_kernel_of_a_few_pixels_is_a_matrix(padding: str) -> None:
    x, kernel = example(2, 5, 4, 256, 514)
    arguments: Any = {
        "strides": (1, 1),
        "padding": padding,
        "data_format": "channels_last",
        "dilation_rate": (1, 1),
    }
    single = (1, *x.shape[1:])  # several images may come all the same
    prepared = convolution.prepared_kernel(kernel, single, **arguments)
    assert prepared is not None
    assert prepared["matrix"].shape == (514, 2304)
    convolve = jax.jit(lambda x, w: conv2d(x, 0 * kernel, prepared=w, **arguments))
    y = convolve(x, prepared)
    expected = exact(x, kernel, padding)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    # The kernel is the first factor: as the second, the product takes five times as long.
    program = convolve.lower(x, prepared).compile().as_text()
    assert re.search(rf"f32\[514,{y.size // 514}\]\S* dot\(", program)
    # Batches, wider maps and narrow kernels are computed in other ways.
    for shape in ((2, 5, 4, 256), (1, 11, 11, 256)):
        others = convolution.prepared_kernel(kernel, shape, **arguments)
        assert others is None or "matrix" not in others
    assert convolution.prepared_kernel(kernel[..., :64], single, **arguments) is None


@partial(jax.jit, static_argnames="padding")
def with_gradients(x: Any, kernel: Any, dy: Any, padding: str) -> tuple[jax.Array, ...]:
    """Return the convolution, the same where gradients are asked for, and these."""
    y, pullback = jax.vjp(lambda x, k: convolved(x, k, padding), x, kernel)
    return convolved(x, kernel, padding), y, *pullback(dy)


@pytest.mark.parametrize(
    ("sizes", "padding"),
    # 64 large images go the way of the first case, and are what takes longest.
    [(sizes, padding) for sizes, padding, _ in CASES if sizes[0] < 64],
)
def test_values_and_gradients(sizes: tuple[int, ...], padding: str) -> None:
    x, kernel = example(*sizes)
    expected = exact(x, kernel, padding)
    dy = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
    *ys, dx, dkernel = map(np.asarray, with_gradients(x, kernel, dy, padding))
    for y in ys:
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    # Gradients of a sum: images and kernel are linear, so a difference of any size is exact.
    for gradient, at in ((dx, 0), (dkernel, 1)):
        values = [x, kernel]
        rng = np.random.default_rng(2)
        step = rng.normal(size=values[at].shape)
        values[at] = step  # the map is linear in each
        change = (exact(values[0], values[1], padding) * dy).sum()
        length = np.linalg.norm(step) * np.linalg.norm(gradient.astype(np.float64))
        assert abs((gradient * step).sum() - change) <= 1e-6 * length


# By Winograd's algorithm in four parts, of which a case above is compiled; by columns; by rows.
@pytest.mark.parametrize("sizes", [CASES[6][0], (3, 10, 10, 1, 64), (6, 23, 21, 32, 48)])
def test_gradient_of_every_weight(sizes: tuple[int, ...]) -> None:
    x, kernel = example(*sizes)
    dy = np.random.default_rng(1).normal(size=(*sizes[:3], sizes[-1]))
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    taps = [
        padded[:, i : i + height, j : j + width].reshape(-1, sizes[3]).T @ dy.reshape(-1, sizes[-1])
        for i in range(3)
        for j in range(3)
    ]
    expected = np.reshape(taps, kernel.shape)
    actual = with_gradients(x, kernel, dy.astype("float32"), "same")[-1]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


# By a product of columns, of one image and of several at once; by Winograd's algorithm of one
# image, of all at once, in a few parts and in a loop over them; by rows; by XLA's convolution.
@needs_cpu
@pytest.mark.parametrize(
    "sizes",
    [
        *((5, 46, 46, 1, 64), (6, 12, 12, 1, 8)),
        *((1, 22, 22, 64, 128), CASES[3][0], CASES[4][0], (10, 46, 46, 64, 64)),
        *((6, 23, 21, 32, 48), (4, 5, 5, 64, 64)),
    ],
)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_rectified(sizes: tuple[int, ...], padding: str) -> None:
    x, kernel = example(*sizes)
    bias = np.linspace(-1, 1, sizes[-1]).astype("float32")
    arguments: Any = {"strides": (1, 1), "padding": padding, "data_format": "channels_last"}
    arguments["dilation_rate"] = (1, 1)

    @jax.jit
    def both(x: Any, kernel: Any, bias: Any, dy: Any) -> Any:
        def rectified(*inputs: Any) -> Any:
            return convolution.rectified_conv2d(*inputs, **arguments)

        y, pullback = jax.vjp(rectified, x, kernel, bias)
        (dx,) = jax.vjp(lambda x: rectified(x, kernel, bias), x)[1](dy)
        (dkernel,) = jax.vjp(lambda kernel: rectified(x, kernel, bias), kernel)[1](dy)
        (dbias,) = jax.vjp(lambda bias: rectified(x, kernel, bias), bias)[1](dy)
        return y, pullback(dy), (dx, dkernel, dbias), rectified(x, kernel, bias)

    expected = exact(x, kernel, padding) + bias
    is_open = expected > 0
    dy = np.random.default_rng(1).normal(size=expected.shape).astype("float32")
    dy[np.abs(expected) < 1e-5] = 0  # where rounding decides what is rectified
    y, gradients, of_one, plain = both(x, kernel, bias, dy)
    for values in (y, plain):
        np.testing.assert_allclose(
            values, np.maximum(expected, 0), rtol=0, atol=2e-6 * np.abs(expected).max()
        )
    dbias = (dy * is_open).sum((0, 1, 2), dtype="float64")
    wanted = *with_gradients(x, kernel, dy * is_open, padding)[2:], dbias
    for actual, other, alone in zip(gradients, wanted, of_one, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(actual, other, rtol=0, atol=4e-6 * scale)
        np.testing.assert_allclose(alone, other, rtol=0, atol=4e-6 * scale)


@needs_cpu
def test_what_is_not_rectified_in_one() -> None:
    x, kernel = example(2, 8, 8, 3, 4)
    bias = np.zeros(4, "float32")
    arguments: Any = {"strides": (1, 1), "padding": "same", "data_format": "channels_last"}
    arguments["dilation_rate"] = (1, 1)
    others: list[dict[str, Any]] = [{"strides": (2, 2)}, {"dilation_rate": (2, 2)}]
    for other in (*others, {"data_format": "channels_first"}, {"groups": 3}):
        assert convolution.rectified_conv2d(x, kernel, bias, **{**arguments, **other}) is None
    assert convolution.rectified_conv2d(x[:, :2], kernel, bias, **arguments) is None
    assert convolution.rectified_conv2d(x, kernel, bias.astype("float16"), **arguments) is None
    assert convolution.rectified_conv2d(x, kernel[:2], bias, **arguments) is None


@needs_cpu
def test_images_give_their_memory_to_their_gradient() -> None:
    x, kernel = example(*CASES[4][0])
    dy = exact(x, kernel, "valid").astype("float32")

    def update(x: Any, kernel: Any, dy: Any) -> Any:
        # Images that nothing else needs, as those between two layers are.
        return jax.vjp(lambda x, k: convolved(x, k, "valid"), x + 1, kernel)[1](dy)

    program = jax.jit(update).lower(x, kernel, dy).compile().as_text()
    assert "f32[2,2,46,46,64]" in program
    copies = [line for line in program.splitlines() if " copy(" in line]
    assert not [line for line in copies if "f32[2,2,46,46,64]" in line.split(" copy(")[0]]


# With respect to images, to kernels, and to both, which are then computed in one loop.
@pytest.mark.parametrize("asked", [(0,), (1,), (0, 1)])
def test_second_derivatives(asked: tuple[int, ...]) -> None:
    x, kernel = example(6, 22, 22, 64, 64)

    @jax.jit
    def penalised(k: Any) -> Any:
        inner = jax.grad(lambda x, k: (convolved(x, k, "same") ** 2).mean(), asked)(x, k)
        return sum((g**2).sum() for g in inner)

    direction = example(1, 1, 1, 64, 64, seed=3)[1]
    slope = (np.asarray(jax.jit(jax.grad(penalised))(kernel)) * direction).sum()
    step = 1e-2
    difference = penalised(kernel + step * direction) - penalised(kernel - step * direction)
    np.testing.assert_allclose(slope, difference / (2 * step), rtol=1e-2)


@pytest.mark.parametrize("side", [2, 4, 6, 14])
def test_images_smaller_than_the_kernel(side: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side, 2)).astype("float32")
    kernel = rng.normal(size=(side + 1, side + 1, 2, 3)).astype("float32")
    expected = exact(x, kernel, "same")
    y = jax.jit(partial(convolved, padding="same"))(x, kernel)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_large_kernels_and_pools_stay_few_operations() -> None:
    def program(function: Any, *arguments: Any) -> int:
        return len(str(jax.make_jaxpr(function)(*arguments)).splitlines())

    x, kernel = jnp.zeros((1, 30, 30, 1)), jnp.zeros((31, 31, 1, 1))
    assert program(lambda x, k: convolved(x, k, "same"), x, kernel) < 20
    pool = partial(max_pool2d, pool_size=(15, 15), strides=(15, 15), padding="valid")
    assert program(jax.grad(lambda x: pool(x, data_format="channels_last").sum()), x) < 40


def test_channels_first_is_the_same() -> None:
    x, kernel = example(2, 22, 22, 64, 64)
    first, last = jax.jit(
        lambda x, kernel: (
            convolved(jnp.moveaxis(x, -1, 1), kernel, "valid", "channels_first"),
            convolved(x, kernel, "valid"),
        )
    )(x, kernel)
    np.testing.assert_allclose(np.moveaxis(first, 1, -1), last, rtol=0, atol=1e-5)


def test_bfloat16_is_left_to_xla() -> None:
    x, kernel = (a.astype(jnp.bfloat16) for a in example(8, 22, 22, 64, 64))
    y = convolved(jnp.asarray(x), jnp.asarray(kernel), "same")
    assert y.dtype == jnp.bfloat16
    expected = exact(x.astype("float32"), kernel.astype("float32"), "same")
    np.testing.assert_allclose(np.asarray(y).astype("float32"), expected, atol=0.05)


@pytest.mark.slow
def test_predictions_are_those_of_xla_s_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nets.fer_cnn8()
    variables = jax.jit(network.init)(jax.random.key(0))
    images = np.random.default_rng(0).random((8, 48, 48, 1)).astype(np.float32)
    actual = jax.jit(lambda v, x: network.apply(v, x))(variables, images)
    monkeypatch.setattr(convolution, "has_own_code", lambda *_: False)
    expected = jax.jit(lambda v, x: network.apply(v, x))(variables, images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@needs_cpu
@pytest.mark.slow
def test_gradients_are_those_of_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nets.fer_cnn8()
    variables = drawn(network)
    images = np.random.default_rng(0).random((6, 48, 48, 1)).astype("float32")

    def gradients() -> Any:
        def loss(params: Any, x: Any) -> tuple[Any, Any]:
            y, updated = network.apply(
                {**variables, "params": params},
                x,
                train=True,
                rngs={"dropout": jax.random.key(1)},
                mutable=["batch_stats"],
            )
            return -jnp.log(y[:, 3]).mean(), updated

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables["params"], images)

    actual = gradients()
    # Not by XLA's convolutions: where they round otherwise, other units are open, as they are where
    # images change by 1e-7.
    monkeypatch.setattr(convolution, "rectified_conv2d", lambda *_, **__: None)
    monkeypatch.setattr(ops, "trained_dense", jnp.matmul)
    monkeypatch.setattr(ops, "trained_max_pool2d", max_pool2d)
    monkeypatch.setattr(batch_norm, "_normalized", batch_norm._normalized.__wrapped__)
    expected = gradients()
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_a_network_is_exported_for_batches_of_any_size() -> None:
    layer = Conv2D(filters=64, kernel_size=3)
    network = chain(layer, layer, Flatten(), shape=(8, 8, 1))
    variables = drawn(network)
    (size,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((size, 8, 8, 1), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: network.apply(variables, x)))(images)
    x = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype("float32")
    expected = jax.jit(network.apply)(variables, x)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(exported.call(x), expected, atol=1e-5)


@pytest.mark.parametrize("direct", [False, True])
def test_what_is_prepared_is_exported_for_batches_of_any_size(direct: bool) -> None:
    network = chain(
        Conv2D(filters=64, kernel_size=3), BatchNormalization(), Flatten(), shape=(8, 8, 1)
    )
    graph, variables = network.graph, as_trained(network)
    prepared = with_prepared(graph, variables, 8, direct=direct)
    (size,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((size, 8, 8, 1), jnp.float32)
    predict = jax.jit(lambda x: inference(graph, prepared, x, direct=direct))
    exported = jax.export.export(predict)(images)
    x = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(exported.call(x), network.apply(variables, x), atol=1e-5)
