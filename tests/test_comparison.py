"""Comparing two weight files: differences that a person can work out."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

import ferjax.keras
from ferjax import metadata
from ferjax.comparison import Comparison, compare, generated_images
from ferjax.conversion import convert
from ferjax.errors import FerjaxError, ImageError, LabelsError, WeightFileError
from ferjax.nets import Network, fer_cnn5
from ferjax.nets.layers import Conv2D

from .networks import constant, dense_weights, drawn, one_dense


def reading(path: Path) -> Path:
    """Write a network of two classes, sigmoid(x) and sigmoid(-x) of a single pixel x."""
    ferjax.keras.save(path, one_dense(2, "sigmoid"), dense_weights([[1, -1]]))
    return path


def test_a_file_equals_itself_and_its_conversions(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.3, 0.5)
    convert(a, tmp_path / "b.keras")
    expected = Comparison(images=64, largest_difference=0, different_classes=0)
    assert compare(a, a) == expected
    assert compare(a, tmp_path / "b.keras") == expected


def test_the_largest_difference_of_a_probability_is_found(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.3, 0.5)
    b = constant(tmp_path / "b.h5", 0.45, 0.15, 0.4)
    found = compare(a, b)
    assert found.images == found.different_classes == 64
    assert found.largest_difference == pytest.approx(0.25, abs=1e-6)


def test_nameless_files_of_any_number_of_classes_compare_without_a_warning(
    tmp_path: Path,
) -> None:
    a = constant(tmp_path / "a.h5", 0.5, 0.5)
    b = constant(tmp_path / "b.h5", 0.5, 0.5, labels=["x", "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare(a, b).largest_difference == 0


def test_files_with_other_labels_are_told(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.5, 0.5, labels=["x", "y"])
    b = constant(tmp_path / "b.h5", 0.5, 0.5, labels=["y", "x"])
    nameless = constant(tmp_path / "c.h5", 0.5, 0.5)
    assert not compare(a, b).same_labels
    assert compare(a, a).same_labels and compare(a, nameless).same_labels


def test_different_numbers_of_classes_are_an_error(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.8)
    b = constant(tmp_path / "b.h5", 0.2, 0.3, 0.5)
    with pytest.raises(LabelsError, match=r"a\.h5 has 2 classes, .*b\.h5 has 3"):
        compare(a, b)


def test_given_images_are_compared(tmp_path: Path) -> None:
    a, b = reading(tmp_path / "a.h5"), constant(tmp_path / "b.h5", 0.5, 0.5)
    for name, value in (("black", 0), ("white", 255)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((3, 3), value, np.uint8))
    black, white = tmp_path / "black.png", tmp_path / "white.png"
    # sigmoid(0) = 0.5 and sigmoid(1) = 0.7310586.
    assert compare(a, b, [black]) == Comparison(1, 0, 0)
    found = compare(a, b, [black, white])
    assert found.images == 2
    assert found.largest_difference == pytest.approx(0.2310586, abs=1e-6)


def test_each_file_gets_its_own_value_range(tmp_path: Path) -> None:
    a, b = reading(tmp_path / "a.h5"), reading(tmp_path / "b.h5")
    metadata.write(b, {"value_range": [0, 2]})
    cv2.imwrite(str(tmp_path / "white.png"), np.full((3, 3), 255, np.uint8))
    # sigmoid(2) - sigmoid(1) = 0.8807971 - 0.7310586
    found = compare(a, b, [tmp_path / "white.png"])
    assert found.largest_difference == pytest.approx(0.1497385, abs=1e-6)


def test_the_architecture_goes_to_the_file_that_has_none(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.8)
    convert(a, tmp_path / "b.h5", to="weights-only-h5")
    convert(a, tmp_path / "c.msgpack")
    for other in ("b.h5", "c.msgpack"):
        with pytest.raises(WeightFileError, match="architecture"):
            compare(a, tmp_path / other)
        assert compare(a, tmp_path / other, config=a).largest_difference == 0
    with pytest.raises(WeightFileError, match=r"b\.h5: layer 'conv2d"):
        compare(a, tmp_path / "b.h5", architecture="fer_cnn5")


def test_the_architecture_does_not_go_to_a_file_that_has_another(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.8)
    convert(a, tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "r+") as root:
        config = json.loads(root.attrs["model_config"])
        config["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "secret"}})
        root.attrs["model_config"] = json.dumps(config).encode()
    with pytest.raises(WeightFileError, match=r"b\.h5: .*'Lambda'"):
        compare(a, tmp_path / "b.h5", config=a)


def test_a_flax_file_has_the_architecture_that_is_given(tmp_path: Path) -> None:
    """Its arrays fit a named one, too, which computes something else."""
    graph = fer_cnn5().graph
    elu = [
        dataclasses.replace(layer, activation="elu") if isinstance(layer, Conv2D) else layer
        for layer in graph.layers
    ]
    network = Network(dataclasses.replace(graph, layers=tuple(elu)))
    variables = drawn(network)
    ferjax.keras.save(tmp_path / "a.keras", network, variables)
    convert(tmp_path / "a.keras", tmp_path / "b.msgpack")
    guessed = compare(tmp_path / "a.keras", tmp_path / "b.msgpack")
    given = compare(tmp_path / "a.keras", tmp_path / "b.msgpack", config=tmp_path / "a.keras")
    assert guessed.largest_difference > 1e-3 and given.largest_difference == 0


def test_an_architecture_that_cannot_be_used_is_an_error_even_where_none_is_needed(
    tmp_path: Path,
) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.8)
    with pytest.raises(WeightFileError, match=r"gone\.json: no such file"):
        compare(a, a, config=tmp_path / "gone.json")
    with pytest.raises(FerjaxError, match=r"expected an architecture among .*, got 'fer_cnn9'"):
        compare(a, a, architecture="fer_cnn9")


def test_bad_files_and_images_are_errors(tmp_path: Path) -> None:
    a = constant(tmp_path / "a.h5", 0.2, 0.8)
    with pytest.raises(WeightFileError, match=r"gone\.h5: no such file"):
        compare(a, tmp_path / "gone.h5")
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        compare(a, a, [tmp_path / "gone.png"])
    with pytest.raises(FerjaxError, match="at least one image"):
        compare(a, a, [])


def test_generated_images_are_tiles_and_always_the_same() -> None:
    images = generated_images(3)
    assert images.shape == (3, 48, 48)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, generated_images(3))
    assert not np.array_equal(images, generated_images(3, seed=1))
    assert (images[:, :8, :8] == images[:, :1, :1]).all()
    assert len(np.unique(images)) > 50
