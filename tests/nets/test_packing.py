"""Variables come out of a program's arguments as they went in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ferjax.nets.packing import in_one_piece, packed

VARIABLES = {
    "params": {
        "a": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.arange(3.0)},
        "b": {"scale": jnp.float32([7, 8]), "steps": jnp.int32([1, 2])},
    },
    "prepared": {"a": [jnp.zeros((0,)), jnp.ones((2, 2))]},
}


def test_variables_come_out_as_they_went_in() -> None:
    arguments, packing = packed(VARIABLES)
    assert [a.shape for a in arguments] == [(5,), (2, 3), (2,), (2, 2)]
    found = jax.jit(packing.unpacked)(arguments)
    assert jax.tree.structure(found) == jax.tree.structure(VARIABLES)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(VARIABLES)):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_others_of_the_same_shapes_are_packed_alike() -> None:
    _, packing = packed(VARIABLES)
    _, same = packed(jax.tree.map(lambda a: a + 1, VARIABLES))
    assert same == packing and hash(same) == hash(packing)
    _, other = packed(VARIABLES | {"batch_stats": {"a": jnp.ones(3)}})
    assert other != packing


def test_arrays_of_numpy_are_packed_too() -> None:
    arguments, packing = packed(jax.tree.map(np.asarray, VARIABLES))
    np.testing.assert_array_equal(arguments[0], [0, 1, 2, 7, 8])
    assert packing == packed(VARIABLES)[1]


def test_arrays_in_one_piece_are_copies() -> None:
    written = np.arange(5, dtype=np.float32)
    arrays: Any = {
        "a": [written, np.float64(3), np.zeros((0, 2), np.int8)],
        "b": jnp.ones((2, 3)),
        "key": jax.random.key(0),
    }
    found = in_one_piece(arrays)
    written += 1
    assert jax.tree.structure(found) == jax.tree.structure(arrays)
    assert all(isinstance(array, jax.Array) for array in jax.tree.leaves(found))
    np.testing.assert_array_equal(found["a"][0], np.arange(5))
    assert float(found["a"][1]) == 3 and found["a"][2].shape == (0, 2)
    np.testing.assert_array_equal(found["b"], np.ones((2, 3)))
