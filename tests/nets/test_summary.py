"""The summary against what Keras 2.15.0 prints; its output is kept in tests/nets/expected."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ferjax.keras
from ferjax.nets import Call, Graph, fer_cnn5
from ferjax.nets.layers import (
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    InputLayer,
    MaxPooling2D,
)
from ferjax.nets.summary import summary

from ..networks import chain

EXPECTED = Path(__file__).parent / "expected"


def expected(name: str) -> list[str]:
    return (EXPECTED / f"{name}_summary.txt").read_text().splitlines()


def test_summary_of_the_published_network_is_keras_s() -> None:
    # Keras calls the published model by its class.
    graph = dataclasses.replace(fer_cnn5().graph, name="sequential")
    assert summary(graph).splitlines() == expected("published")


def test_summary_of_a_branching_network_is_keras_s(fixtures: Path) -> None:
    read = ferjax.keras.load(fixtures / "keras-2.15.0" / "functional.h5")
    assert summary(read.graph).splitlines() == expected("functional")


def test_summary_of_shared_and_frozen_layers_and_a_long_name_is_keras_s() -> None:
    conv = "a_name_longer_than_its_column_is_wide"
    layers = (
        InputLayer(name="images", shape=(20, 16, 3)),
        Conv2D(name=conv, filters=3, kernel_size=3, padding="same"),
        MaxPooling2D(name="pool"),
        GlobalAveragePooling2D(name="mean"),
        Concatenate(name="both"),
        BatchNormalization(name="norm"),
        Dense(name="frozen", units=2000, trainable=False),
    )
    calls = (
        Call("images", ()),
        Call(conv, (0,)),
        Call("pool", (1,)),
        Call(conv, (2,)),
        Call("mean", (1,)),
        Call("mean", (3,)),
        Call("both", (4, 5)),
        Call("norm", (6,)),
        Call("frozen", (7,)),
    )
    graph = Graph(layers, calls, "shared", functional=True)
    assert summary(graph).splitlines() == expected("shared")


def test_functional_chain_has_its_input_and_the_narrow_table() -> None:
    chain = Graph.sequential([Dense(units=2)], input_shape=(3,))
    functional = dataclasses.replace(chain, functional=True)
    assert "InputLayer" not in summary(chain)
    lines = summary(functional).splitlines()
    assert lines[4] == f"{' input (InputLayer)':<29}{'[(None, 3)]':<26}{0:<10}"
    assert "Connected to" not in lines[2]


def test_network_without_weights_counts_nothing() -> None:
    graph = Graph.sequential([MaxPooling2D()], input_shape=(4, 4, 1))
    assert summary(graph).splitlines()[-4:-1] == [
        "Total params: 0 (0.00 Byte)",
        "Trainable params: 0 (0.00 Byte)",
        "Non-trainable params: 0 (0.00 Byte)",
    ]


def test_network_prints_its_summary() -> None:
    network = chain(Dense(units=2), shape=(3,))
    printed: list[str] = []
    network.summary(print_fn=printed.append)
    assert "\n".join(printed) == summary(network.graph)
