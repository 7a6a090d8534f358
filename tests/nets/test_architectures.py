"""The named architectures, figure by figure from the published model's card."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ferjax.errors import LayerError
from ferjax.nets import ARCHITECTURES, Network, fer_cnn5, fer_cnn8
from ferjax.nets.architectures import architecture
from ferjax.nets.layers import Conv2D, Dense, Dropout


def kinds(network: Network) -> list[str]:
    return [layer.kind for layer in network.layers]


def test_fer_cnn8_has_8_convolutions_and_3_dense_layers() -> None:
    network = fer_cnn8()
    assert kinds(network).count("Conv2D") == 8
    assert kinds(network).count("Dense") == 3
    assert kinds(network).count("BatchNormalization") == 10
    assert kinds(network).count("MaxPooling2D") == 4
    assert network.num_params == 7_324_615
    assert [la.filters for la in network.layers if isinstance(la, Conv2D)] == [
        64, 64, 128, 128, 256, 256, 512, 512,
    ]  # fmt: skip


def test_fer_cnn5_has_5_convolutions_and_3_dense_layers() -> None:
    network = fer_cnn5()
    assert kinds(network).count("Conv2D") == 5
    assert kinds(network).count("Dense") == 3
    assert network.num_params == 2_631_815
    # 1,536 + 1,024 + ... : two statistics for each channel of a batch norm
    channels = 32 + 64 + 128 + 256 + 512 + 1024 + 512
    frozen = network.num_params - sum(
        weight_size(shape) for shape in (w.shape for _, w in network.graph.trainable_weights())
    )
    assert frozen == 2 * channels


def weight_size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


@pytest.mark.parametrize("build", [fer_cnn8, fer_cnn5])
def test_both_take_48x48_grey_images_and_give_7_probabilities(build: type[Network]) -> None:
    graph = build().graph
    assert graph.image_shape == (48, 48, 1)
    assert graph.value_range == (0.0, 1.0)
    assert graph.output_shape == (7,)
    assert graph.final_activation == "softmax"
    assert graph.is_chain
    assert not graph.functional


@pytest.mark.parametrize("build", [fer_cnn8, fer_cnn5])
def test_dropout_is_a_quarter_behind_pooling_and_a_half_behind_dense_layers(
    build: type[Network],
) -> None:
    layers = build().layers
    for before, layer in pairwise(layers):
        if isinstance(layer, Dropout):
            assert layer.rate == (0.25 if before.kind == "MaxPooling2D" else 0.5)


def test_sizes_before_the_dense_layers() -> None:
    for build, sizes in (
        (fer_cnn8, [22, 11, 5, 2]),
        (fer_cnn5, [23, 10, 4, 2, 1]),
    ):
        graph = build().graph
        pooled = [
            shape[0]
            for call, shape in zip(graph.calls, graph.shapes)
            if graph.by_name[call.layer].kind == "MaxPooling2D"
        ]
        assert pooled == sizes


def test_other_classes_and_sizes() -> None:
    network = fer_cnn8(num_classes=3, input_shape=(64, 64, 3))
    assert network.output_shape == (3,)
    assert network.graph.image_shape == (64, 64, 3)
    last = network.layers[-1]
    assert isinstance(last, Dense)
    assert last.units == 3
    with pytest.raises(LayerError, match="nothing is left of its input"):
        fer_cnn5(input_shape=(20, 20, 1))


def test_named_architectures() -> None:
    assert list(ARCHITECTURES) == ["fer_cnn8", "fer_cnn5"]
    for name in ARCHITECTURES:
        assert architecture(name).graph.name == name
    assert architecture("fer_cnn5") == fer_cnn5()
    with pytest.raises(LayerError, match="got 'fer_cnn6'; did you mean 'fer_cnn"):
        architecture("fer_cnn6")
