"""The checks of arrays that are to be a network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferjax.nets.variables import check_finite
from ferjax.problems import Problem

LARGEST = np.finfo(np.float32).max


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [[], [0.0, -1.5], [LARGEST, LARGEST], [-LARGEST, -LARGEST, 1], [LARGEST, -LARGEST]],
)
def test_finite_values_pass_even_where_their_sum_overflows(values: list[float]) -> None:
    check_finite(np.array(values, np.float32))


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.int8])
def test_integers_are_finite(dtype: Any) -> None:
    check_finite(np.full(1000, np.iinfo(dtype).max, dtype))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, np.nan], "1 of its 2"),
        ([np.inf, -np.inf, 0], "2 of its 3"),
        ([LARGEST, LARGEST, np.inf], "1 of its 3"),
        ([-np.inf], "1 of its 1"),
    ],
)
def test_what_is_not_finite_is_counted(values: list[float], said: str) -> None:
    with pytest.raises(Problem, match=f"{said} values not finite"):
        check_finite(np.array(values, np.float32))
