"""Initial values: limits and deviations by Keras's formulas."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from ferjax.errors import LayerError
from ferjax.nets.initializers import SETTINGS, Initializer

KEY = jax.random.key(0)
CONV = (3, 3, 50, 200)  # fan_in 450, fan_out 1800
DENSE = (400, 200)
# The deviation of a normal of deviation 1 that is cut at 2 deviations.
CUT = 0.87962566


def draw(name: str, shape: tuple[int, ...], **settings: Any) -> np.ndarray:
    initializer = Initializer(name, tuple(sorted(settings.items())))
    values = np.asarray(initializer(KEY, shape, "float32"))
    assert values.shape == shape
    assert values.dtype == np.float32
    return values


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Uniform values fill their range, and their deviation is the range over sqrt(12)."""
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high * (1 + 1e-6)
    assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("name", "shape", "limit"),
    [
        ("glorot_uniform", CONV, (6 / (450 + 1800)) ** 0.5),
        ("glorot_uniform", DENSE, (6 / (400 + 200)) ** 0.5),
        ("he_uniform", CONV, (6 / 450) ** 0.5),
        ("he_uniform", DENSE, (6 / 400) ** 0.5),
        ("lecun_uniform", CONV, (3 / 450) ** 0.5),
        ("random_uniform", DENSE, 0.05),
    ],
)
def test_uniform(name: str, shape: tuple[int, ...], limit: float) -> None:
    assert_uniform(draw(name, shape), -limit, limit)


@pytest.mark.parametrize(
    ("name", "shape", "deviation"),
    [
        ("glorot_normal", CONV, (2 / (450 + 1800)) ** 0.5),
        ("he_normal", CONV, (2 / 450) ** 0.5),
        ("he_normal", DENSE, (2 / 400) ** 0.5),
        ("lecun_normal", DENSE, (1 / 400) ** 0.5),
    ],
)
def test_truncated_normal_by_fan_has_the_deviation_after_the_cut(
    name: str, shape: tuple[int, ...], deviation: float
) -> None:
    values = draw(name, shape)
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert abs(values.mean()) < 0.02 * deviation
    limit = 2 * deviation / CUT
    assert 0.95 * limit < np.abs(values).max() <= limit * (1 + 1e-5)


def test_settings_of_the_plain_distributions() -> None:
    assert_uniform(draw("random_uniform", DENSE, minval=1.0, maxval=3.0), 1.0, 3.0)
    normal = draw("random_normal", DENSE, mean=2.0, stddev=0.5)
    assert normal.mean() == pytest.approx(2.0, abs=0.01)
    assert normal.std() == pytest.approx(0.5, rel=0.02)
    assert normal.max() > 2 + 3 * 0.5
    default = draw("random_normal", DENSE)
    assert default.std() == pytest.approx(0.05, rel=0.02)


def test_truncated_normal_is_cut_at_two_deviations_and_not_rescaled() -> None:
    values = draw("truncated_normal", DENSE, mean=1.0, stddev=0.5)
    assert values.std() == pytest.approx(0.5 * CUT, rel=0.02)
    assert values.mean() == pytest.approx(1.0, abs=0.01)
    assert 0.95 < np.abs(values - 1).max() <= 1.0 + 1e-6


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 450), ("fan_out", 1800), ("fan_avg", 1125)])
def test_variance_scaling(mode: str, fan: float) -> None:
    deviation = (3 / fan) ** 0.5
    for distribution in ("truncated_normal", "untruncated_normal", "uniform"):
        values = draw("variance_scaling", CONV, scale=3.0, mode=mode, distribution=distribution)
        assert values.std() == pytest.approx(deviation, rel=0.02)
    values = draw("variance_scaling", CONV, scale=3.0, mode=mode, distribution="untruncated_normal")
    assert np.abs(values).max() > 3 * deviation


def test_constants() -> None:
    assert not draw("zeros", DENSE).any()
    assert (draw("ones", (3,)) == 1).all()
    assert (draw("constant", (2, 2), value=0.5) == 0.5).all()
    np.testing.assert_array_equal(draw("identity", (2, 3), gain=2.0), [[2, 0, 0], [0, 2, 0]])


def test_orthogonal_columns() -> None:
    matrix = draw("orthogonal", (3, 3, 4, 8), gain=2.0).reshape(36, 8)
    np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(8), atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_initializer_draws_a_kernel(name: str) -> None:
    assert np.isfinite(draw(name, (4, 3))).all()


@pytest.mark.parametrize(
    ("name", "scale"), [("glorot_uniform", 1.0), ("he_uniform", 2.0), ("lecun_uniform", 1.0)]
)
def test_fans_of_a_vector_are_both_its_size(name: str, scale: float) -> None:
    limit = (3 * scale / 5000) ** 0.5
    assert_uniform(draw(name, (5000,)), -limit, limit)


@pytest.mark.parametrize("name", ["orthogonal", "identity"])
def test_vectors_are_not_orthogonal(name: str) -> None:
    with pytest.raises(LayerError, match=rf"'{name}' cannot draw a weight of shape \(3,\)"):
        draw(name, (3,))


def test_wrong_initializers_are_refused() -> None:
    with pytest.raises(LayerError, match="got 'he_norm'; did you mean 'he_normal'"):
        Initializer("he_norm")
    with pytest.raises(LayerError, match="initializer 'zeros' takes no setting gain"):
        Initializer("zeros", (("gain", 1.0),))
    with pytest.raises(LayerError, match="expected a finite number for value, got 'x'"):
        Initializer("constant", (("value", "x"),))
    with pytest.raises(LayerError, match="expected a finite number for stddev"):
        Initializer("random_normal", (("stddev", 10**400),))
    with pytest.raises(LayerError, match="one of fan_in, fan_out, fan_avg for mode, got 'fan'"):
        Initializer("variance_scaling", (("mode", "fan"),))
