"""Explanations: the map lies where the score comes from, whatever the network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax import explain as explaining
from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError, LabelsError, LayerError
from ferjax.explain import MAX_FACES, Explanation, check_drawing, draw, explain
from ferjax.nets import Network, fer_cnn5, fer_cnn8
from ferjax.nets.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    MaxPooling2D,
    Multiply,
    ReLU,
    Rescaling,
    Reshape,
    SeparableConv2D,
    Softmax,
    ZeroPadding2D,
)

from . import networks
from .networks import as_trained, functional

LABELS = ("cat", "dog", "owl")


chain = partial(networks.chain, shape=(12, 12, 1))


def trained(network: Network) -> EmotionClassifier:
    """Return a classifier with random weights."""
    return EmotionClassifier(network, as_trained(network), LABELS)


def faces(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)


def reader(*layers: Layer, at: Any, shape: Any, label: int = 1) -> EmotionClassifier:
    """Return a network of all-one kernels whose one class reads the last map `at` some places."""
    network = chain(*layers, Flatten(), Dense(name="out", units=3), shape=shape)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    height, width, channels = network.graph.shapes[-3]
    assert height is not None and width is not None and channels == 1
    kernel = np.zeros((height, width, 3), np.float32)
    kernel[(*at, label)] = 1
    variables["params"]["out"] = {"kernel": kernel.reshape(-1, 3), "bias": np.zeros(3, np.float32)}
    return EmotionClassifier(network, variables, LABELS)


# --- where the map lies ------------------------------------------------------------------------


def test_map_lies_where_the_class_is_read_and_nowhere_else() -> None:
    region = (slice(2, 5), slice(7, 11))
    classifier = reader(
        Conv2D(filters=1, kernel_size=1, use_bias=False, activation="relu"),
        at=region,
        shape=(12, 14, 1),
    )
    image = faces(1, 12, 14)[0]
    (found,) = explain(classifier, image, labels="dog")
    expected = np.zeros((12, 14))
    expected[region] = image[region]  # kernel and gradient are 1, so the map is the brightness
    np.testing.assert_allclose(found.heatmap, expected / expected.max(), atol=1e-6)
    assert not found.heatmap[expected == 0].any()


def test_a_position_is_drawn_around_the_middle_of_what_it_sees() -> None:
    layers = (Conv2D(filters=1, kernel_size=3), AveragePooling2D())  # 24 -> 22 -> 11
    classifier = reader(*layers, at=(4, 7), shape=(24, 24, 1))
    (found,) = explain(classifier, faces(1, 24, 24), labels="dog")
    # Position 4 is the mean of 8 and 9 of the convolution, which stand at 9 and 10 in the image,
    # so its middle is 9.5; positions are 2 apart, so (1/4, 3/4, 3/4, 1/4) of it lie at 8 to 11.
    tent = np.array([1, 3, 3, 1]) / 3
    np.testing.assert_allclose(found.heatmap[8:12, 14:18], np.outer(tent, tent), atol=1e-6)
    assert found.heatmap.sum() == pytest.approx(tent.sum() ** 2, rel=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        [Conv2D(filters=1, kernel_size=(5, 3))],
        [Conv2D(filters=1, kernel_size=3, padding="same", strides=2)],
        [Conv2D(filters=1, kernel_size=(2, 4), padding="same")],
        [Conv2D(filters=1, kernel_size=3, dilation_rate=(3, 2))],
        [DepthwiseConv2D(kernel_size=3, strides=2), Conv2D(filters=1, kernel_size=2)],
        [SeparableConv2D(filters=1, kernel_size=3), AveragePooling2D(pool_size=3, strides=2)],
        [ZeroPadding2D(padding=((3, 0), (0, 5))), Conv2D(filters=1, kernel_size=3)],
        [Conv2D(filters=1, kernel_size=3), Cropping2D(cropping=((4, 0), (1, 2)))],
        [Conv2D(filters=1, kernel_size=1), AveragePooling2D(padding="same", pool_size=(3, 4))],
    ],
    ids=lambda layers: "-".join(layer.kind for layer in layers),
)
def test_middle_of_the_map_is_the_middle_of_the_pixels_that_matter(layers: list[Layer]) -> None:
    classifier = reader(*layers, at=(3, 4), shape=(25, 30, 1))
    image = np.full((25, 30), 128, np.uint8)
    last = classifier.network.graph.calls[-3].layer
    (found,) = explain(classifier, image, labels="dog", layer=last)
    batch = classifier.preprocess(image)
    score = jax.jit(jax.grad(lambda x: classifier.network.apply(classifier.variables, x)[0, 1]))
    gradient = score(batch)
    seen = np.argwhere(np.asarray(gradient)[0, :, :, 0] != 0)
    middle = (seen.min(0) + seen.max(0)) / 2
    weights = found.heatmap / found.heatmap.sum()
    np.testing.assert_allclose(np.einsum("hw,ahw->a", weights, np.mgrid[:25, :30]), middle, 1e-5)


def test_map_is_output_times_gradient_by_finite_differences() -> None:
    network = chain(
        Conv2D(filters=3, kernel_size=3, padding="same", activation="elu"),
        BatchNormalization(),
        Conv2D(filters=4, kernel_size=3, strides=2, activation="tanh"),
        Flatten(),
        Dense(units=3, activation="softmax"),
        shape=(12, 12, 1),
    )
    classifier = trained(network)
    image = faces(1, 12, 12)
    found = explain(classifier, image, labels="owl", layer="batch_normalization")[0].heatmap
    seen: dict[int, Any] = {}

    @jax.jit
    def scores(images: Any, changes: Any) -> Any:
        def hook(position: int, output: Any) -> Any:
            seen[position] = output
            return output + changes if position == 2 else output

        outputs: Any = network.apply(classifier.variables, images, logits=True, hook=hook)
        return outputs[:, 2], seen[2]

    # One value changed in each image of a batch, up and down.
    count, step = 12 * 12 * 3, 1e-2
    changes = step * np.eye(count, dtype=np.float32).reshape(count, 12, 12, 3)
    batch = classifier.preprocess(image).repeat(count, axis=0)
    (above, outputs), (below, _) = scores(batch, changes), scores(batch, -changes)
    slopes = np.reshape((above - below) / (2 * step), (12, 12, 3))
    contributions = np.asarray(outputs[0]) * slopes
    expected = np.maximum(contributions, 0).sum(2)
    np.testing.assert_allclose(found, expected / expected.max(), atol=5e-3)


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros() -> None:
    layer = Conv2D(filters=1, kernel_size=1, activation="relu")
    classifier = reader(layer, at=(slice(None), slice(None)), shape=(12, 12, 1))
    dog, cat = explain(classifier, faces(1, 12, 12).repeat(2, 0), labels=["dog", "cat"])
    assert dog.heatmap.max() == 1
    np.testing.assert_array_equal(cat.heatmap, np.zeros((12, 12), np.float32))


# --- all kinds of networks ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        [Dense(name="d", units=3, activation="softmax")],
        [Dense(name="d", units=3, activation="log_softmax")],
        [Dense(name="d", units=3, activation="sigmoid"), Dropout(rate=0.5)],
        [Dense(name="d", units=3), Activation(activation="softmax")],
        [Dense(name="d", units=3), Softmax()],
    ],
    ids=["softmax", "log_softmax", "sigmoid", "activation", "layer"],
)
def test_the_end_does_not_matter_even_where_it_saturates(end: list[Layer]) -> None:
    start = [Conv2D(name="c", filters=2, kernel_size=3, activation="relu"), Flatten()]
    linear = trained(chain(*start, Dense(name="d", units=3)))
    params = dict(linear.variables["params"])
    params["d"] = {**params["d"], "bias": jnp.array([0.0, 200.0, 0.0])}
    other = EmotionClassifier(chain(*start, *end), {"params": params, "batch_stats": {}}, LABELS)
    images = faces(2, 12, 12)
    expected = explain(linear, images, labels="dog")
    found = explain(other, images)
    assert [(e.label, e.confidence) for e in found] == [("dog", 1.0)] * 2
    for a, b in zip(expected, found):
        assert a.heatmap.max() == 1
        np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-5)


def test_one_unit_speaks_for_either_class() -> None:
    start = [Conv2D(name="c", filters=2, kernel_size=3, activation="relu"), Flatten()]
    two = trained(chain(*start, Dense(name="d", units=3)))
    kernel = np.array(two.variables["params"]["d"]["kernel"])
    # The logit is what the second class's is above the first's.
    dense = {"kernel": kernel[:, 1:2] - kernel[:, :1], "bias": np.float32([40.0])}
    variables = {"params": {**two.variables["params"], "d": dense}, "batch_stats": {}}
    one = EmotionClassifier(
        chain(*start, Dense(name="d", units=1, activation="sigmoid")), variables, LABELS[:2]
    )
    kernel = np.concatenate([-dense["kernel"], dense["kernel"], kernel[:, 2:]], 1)
    params = {**variables["params"], "d": {**two.variables["params"]["d"], "kernel": kernel}}
    expected = EmotionClassifier(two.network, {"params": params, "batch_stats": {}}, LABELS)
    images = faces(2, 12, 12)
    for label in LABELS[:2]:
        for a, b in zip(
            explain(expected, images, labels=label), explain(one, images, labels=label)
        ):
            assert a.heatmap.max() == 1
            np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-5)
    (said, _) = explain(one, images)
    assert (said.label, said.index, said.confidence) == (LABELS[1], 1, 1.0)


def test_softmax_that_is_shared_with_the_inside_is_left_out_at_the_end_only() -> None:
    softmax = Activation(name="softmax", activation="softmax")
    graph = functional(
        (InputLayer(name="x", shape=(12, 12, 1)), ()),
        (Conv2D(name="conv", filters=3, kernel_size=3), (0,)),
        (softmax, (1,)),
        (GlobalAveragePooling2D(name="mean"), (2,)),
        (softmax, (3,)),
    )
    (found,) = explain(trained(Network(graph)), faces(1, 12, 12))
    # The score is the mean of the probabilities of its class, so the map is these.
    assert found.layer == "softmax"
    assert found.heatmap[1:-1, 1:-1].min() > 0


@pytest.mark.parametrize("size", [(12, 12), (None, None)], ids=["fixed", "open"])
@pytest.mark.parametrize("channels", [1, 3])
def test_order_of_axes_and_open_size_do_not_matter(size: Any, channels: int) -> None:
    def build(data_format: str, shape: Any) -> Network:
        return chain(
            Conv2D(filters=2, kernel_size=3, activation="relu", data_format=data_format),
            DepthwiseConv2D(kernel_size=3, padding="same", data_format=data_format),
            GlobalAveragePooling2D(data_format=data_format),
            Dense(units=3, activation="softmax"),
            shape=shape,
        )

    last = trained(build("channels_last", (*size, channels)))
    first = EmotionClassifier(
        build("channels_first", (channels, *size)), last.variables, LABELS, value_range=(-1, 1)
    )
    scaled = EmotionClassifier(last.network, last.variables, LABELS, value_range=(-1, 1))
    assert last.image_size == (size[0] or 48, size[1] or 48)
    images = faces(2, *last.image_size, 3)
    for a, b in zip(explain(scaled, images), explain(first, images)):
        assert a.heatmap.shape == last.image_size
        np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-5)
        np.testing.assert_array_equal(a.image, b.image)
        assert (a.label, a.layer) == (b.label, b.layer)


def residual(*, shared: bool = False) -> Network:
    """Return a network of 16 -> 8 -> 8 whose second block has a way around its convolution."""
    inner = Conv2D(name="inner", filters=4, kernel_size=3, padding="same")
    block: list[tuple[Layer, tuple[int, ...]]] = [
        (InputLayer(name="x", shape=(32, 32, 1)), ()),
        (Conv2D(name="stem", filters=4, kernel_size=3, padding="same", strides=2), (0,)),
        (ReLU(name="relu"), (1,)),
        (inner, (2,)),
    ]
    if shared:  # inner is called on its own output
        block.append((inner, (3,)))
    last = len(block) - 1
    graph = functional(
        *block,
        (Conv2D(name="down", filters=4, kernel_size=3, padding="same", strides=2), (last,)),
        (Conv2D(name="around", filters=4, kernel_size=1, strides=2), (2,)),
        (Add(name="add"), (last + 1, last + 2)),
        (GlobalAveragePooling2D(name="mean"), (last + 3,)),
        (Dense(name="out", units=3, activation="softmax"), (last + 4,)),
    )
    return Network(graph)


def test_layer_is_one_that_no_skip_connection_goes_around() -> None:
    classifier = trained(residual())
    images = faces(2, 32, 32)
    for found in explain(classifier, images):
        assert found.layer == "relu"  # not "inner", the last of 16x16, nor "add" of 8x8
    for name in ("inner", "down", "around", "add"):
        (found, _) = explain(classifier, images, layer=name)
        assert found.layer == name and found.heatmap.max() == 1


def test_of_a_shared_layer_the_last_call_is_taken() -> None:
    classifier = trained(residual(shared=True))
    assert explaining.looked_at(classifier.network.graph, "inner")[0] == 4
    (found,) = explain(classifier, faces(1, 32, 32), layer="inner")
    assert found.layer == "inner" and found.heatmap.max() == 1


def test_layer_of_squeeze_and_excitation_is_the_scaled_map() -> None:
    graph = functional(
        (InputLayer(name="x", shape=(12, 12, 1)), ()),
        (Conv2D(name="conv", filters=4, kernel_size=3), (0,)),
        (GlobalAveragePooling2D(name="squeeze", keepdims=True), (1,)),
        (Conv2D(name="excite", filters=4, kernel_size=1, activation="sigmoid"), (2,)),
        (Multiply(name="scale"), (3, 1)),
        (GlobalAveragePooling2D(name="mean"), (4,)),
        (Dense(name="out", units=3), (5,)),
    )
    classifier = trained(Network(graph))
    assert explain(classifier, faces(1, 12, 12))[0].layer == "scale"
    with pytest.raises(LayerError, match=r"'excite' \(Conv2D\): its output does not lie over"):
        explain(classifier, faces(1, 12, 12), layer="excite")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (fer_cnn5(), "max_pooling2d_1"),  # 10x10, behind which there are 8, 4 and 2
        (fer_cnn8(), "batch_normalization_5"),  # 11x11
        (chain(Conv2D(filters=1, kernel_size=1), MaxPooling2D(), Flatten(), Dense(units=3),
               shape=(8, 8, 1)), "conv2d"),
        (chain(Rescaling(scale=1 / 255), Conv2D(filters=1, kernel_size=5), Dropout(rate=0.1),
               MaxPooling2D(), Flatten(), Dense(units=3)), "conv2d"),
    ],
    ids=["fer_cnn5", "fer_cnn8", "small", "rescaled"],
)  # fmt: skip
def test_layer_that_is_looked_at(network: Network, expected: str) -> None:
    graph = network.graph
    position, _ = explaining.looked_at(graph, None)
    assert graph.calls[position].layer == expected


# --- labels and layers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> EmotionClassifier:
    return trained(
        chain(
            Conv2D(filters=4, kernel_size=3, activation="relu"),
            Flatten(),
            Dense(units=3, activation="softmax"),
        )
    )


def test_what_an_explanation_holds(small: EmotionClassifier) -> None:
    images = faces(3, 24, 24)
    found = explain(small, images)
    predictions = small.predict(images)
    for e, prediction, image in zip(found, predictions, small.preprocess(images)):
        assert (e.label, e.index, e.confidence) == (
            prediction.label, prediction.index, prediction.confidence,
        )  # fmt: skip
        assert e.layer == "conv2d"
        assert (e.heatmap.dtype, e.heatmap.shape) == (np.float32, (12, 12))
        assert e.heatmap.min() == 0 and e.heatmap.max() == 1
        assert (e.image.dtype, e.image.shape) == (np.float32, (12, 12, 1))
        np.testing.assert_array_equal(e.image, image)


@pytest.mark.parametrize("count", [5, 67])  # at most 64 are looked at at once
def test_batch_equals_one_by_one(small: EmotionClassifier, count: int) -> None:
    images = faces(count, 12, 12)
    whole = explain(small, images)
    singly = [explain(small, image)[0] for image in images]
    assert [e.label for e in singly] == [e.label for e in whole]
    for a, b in zip(singly, whole, strict=True):
        np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-5)


def test_images_are_resized_as_predictions_do(small: EmotionClassifier) -> None:
    stripes = np.zeros((60, 60), np.uint8)
    stripes[::5] = 255
    height, width = small.image_size
    for resize in ("linear", "area"):
        (explanation,) = explain(small, stripes, resize=resize)  # type: ignore[arg-type]
        expected = small.predict_proba(stripes, resize=resize)  # type: ignore[arg-type]
        assert explanation.confidence == pytest.approx(float(expected.max()), abs=1e-6)
        assert explanation.image.shape[:2] == (height, width)
    np.testing.assert_allclose(explanation.image, 0.2, atol=0.01)  # a line of five is white


def test_labels_by_name_and_index(small: EmotionClassifier) -> None:
    images = faces(2, 12, 12)
    by_name = explain(small, images, labels="owl")
    by_index = explain(small, images, labels=2)
    mixed = explain(small, images, labels=["owl", np.int64(2)])
    probabilities = small.predict_proba(images)
    for row, *found in zip(probabilities, by_name, by_index, mixed):
        for e in found:
            assert (e.label, e.index, e.confidence) == ("owl", 2, float(row[2]))
            np.testing.assert_array_equal(e.heatmap, found[0].heatmap)
    cat = explain(small, images, labels="cat")
    assert not np.array_equal(cat[0].heatmap, by_name[0].heatmap)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("owls", r"a label among cat, dog, owl, or its index, got 'owls'; did you mean 'owl'\?"),
        (3, "got 3"),
        (-1, "got -1"),
        (["cat", None], "got None"),
        (["cat"], "expected a label, or one for each of 2 images, got 1"),
    ],
)
def test_unknown_labels(small: EmotionClassifier, labels: Any, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        explain(small, faces(2, 12, 12), labels=labels)


def test_layer_errors() -> None:
    layers = (Rescaling(scale=1.0), Conv2D(filters=1, kernel_size=3), Flatten(), Dense(units=3))
    classifier = trained(chain(*layers))
    image = faces(1, 12, 12)
    with pytest.raises(LayerError, match=r"among conv2d, got 'conv2'; did you mean 'conv2d'\?"):
        explain(classifier, image, layer="conv2")
    for name, kind in (("dense", "Dense"), ("flatten", "Flatten"), ("rescaling", "Rescaling")):
        message = rf"layer '{name}' \({kind}\): its output does not lie over the image; .* conv2d"
        with pytest.raises(LayerError, match=message):
            explain(classifier, image, layer=name)


@pytest.mark.parametrize(
    "layers",
    [
        [Flatten(), Dense(units=3)],
        [Flatten(), Dense(units=144), Reshape(target_shape=(12, 12, 1)),
         Conv2D(filters=1, kernel_size=3), Flatten(), Dense(units=3)],
    ],
    ids=["dense", "places made up"],
)  # fmt: skip
def test_network_without_places(layers: list[Layer]) -> None:
    with pytest.raises(LayerError, match=r"convolutions over the image; .* InputLayer, Flatten"):
        explain(trained(chain(*layers)), faces(1, 12, 12))


# --- pictures ----------------------------------------------------------------------------------


def explanation(*, channels: int = 1) -> Explanation:
    heatmap = np.zeros((48, 48), np.float32)
    heatmap[20:30, 5:15] = 1
    image = np.full((48, 48, channels), 0.5, np.float32)
    return Explanation(
        heatmap=heatmap, label="happy", index=3, confidence=0.917, layer="c", image=image
    )


def test_picture_shows_the_face_and_the_face_under_its_map(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    path = tmp_path / "a.png"
    draw([explanation(), explanation(channels=3)], path, names=["a.jpg", "b.jpg"])
    picture = cv2.imread(str(path))
    assert picture is not None
    height, width, _ = picture.shape
    assert 400 < height < 600 and 500 < width < 1000
    gray = (picture == 128).all(2).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(gray, connectivity=4)
    large = sorted(tuple(map(int, s)) for s in stats[1:] if s[4] > 1000)
    assert [s[2:4] for s in large] == [(192, 192)] * 4
    whole = 192 * 192
    assert [s[4] == whole for s in large] == [True, True, False, False]  # from left to right
    blue, green, red = picture[large[2][1] + 100, large[2][0] + 40].tolist()
    assert red > 180 and green > 180 and blue < 90  # yellow
    assert np.all(picture[:15] == 255) and np.all(picture[:, -15:] == 255)


def test_what_is_not_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    with pytest.raises(FerjaxError, match=r"a\.txt: expected a name that ends in \.png"):
        draw([explanation()], tmp_path / "a.txt")
    with pytest.raises(FerjaxError, match=r"at most 48 faces to draw, got 49; give fewer"):
        draw([explanation()] * (MAX_FACES + 1), tmp_path / "a.png")
    with pytest.raises(FerjaxError, match="expected faces to draw, got none"):
        draw([], tmp_path / "a.png")
    with pytest.raises(FerjaxError, match="expected 2 names, one a face, got 1"):
        draw([explanation()] * 2, tmp_path / "a.png", names=["a"])
    with pytest.raises(FerjaxError, match="give fewer"):
        check_drawing(tmp_path / "a.png", 1000)
    check_drawing(tmp_path / "a.png", MAX_FACES)
    assert list(tmp_path.iterdir()) == []
