"""Flax's own files: a plain msgpack of the variables, or an Orbax folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ferjax.errors import FerjaxError, WeightFileError, first_line, printable
from ferjax.files import replacing
from ferjax.nets.architectures import ARCHITECTURES
from ferjax.nets.graph import Graph
from ferjax.nets.variables import from_variables, to_variables
from ferjax.problems import Problems, checked_path

_MOST_BYTES = 1 << 30


def load(path: str | os.PathLike[str], graph: Graph | None = None) -> tuple[Graph, dict[str, Any]]:
    """Read {"params", "batch_stats"} from a msgpack file or an Orbax folder.

    Args:
        graph: the network; None: the named architecture that the arrays fit.

    Returns:
        The graph, and the variables as NumPy arrays, checked against it.

    Raises:
        WeightFileError: the file cannot be read, or its arrays fit no network.
    """
    path = checked_path(path)
    tree = _read_orbax(path) if path.is_dir() else _read_msgpack(path)
    variables = {name: tree.get(name) or {} for name in ("params", "batch_stats")}
    _check_trees(path, variables, tree)
    if graph is None:
        if (fitting := guess(variables)) is None:
            raise WeightFileError(
                path,
                f"its arrays fit none of {', '.join(ARCHITECTURES)}: give the architecture, by "
                "name (--architecture) or as a Keras config (--config model.json)",
            )
        graph = ARCHITECTURES[fitting]().graph
    problems = Problems(path)
    arrays = from_variables(graph, variables, problems)
    problems.raise_any()
    return graph, to_variables(graph, arrays)


def _check_trees(path: Path, variables: Mapping[str, Any], tree: Mapping[str, Any]) -> None:
    """Refuse what are no variables: {"params", "batch_stats"}: {layer: {weight: array}}."""
    if not isinstance(variables["params"], Mapping) or not variables["params"]:
        keys = ", ".join(map(str, list(tree)[:8])) or "nothing"
        raise WeightFileError(path, f"expected 'params' and 'batch_stats', got {keys}")
    for name, layers in variables.items():
        if not _is_tree(layers) or not all(map(_is_tree, layers.values())):
            raise WeightFileError(path, f"expected {name} as {{layer: {{weight: array}}}}")


def guess(variables: Mapping[str, Any]) -> str | None:
    """Return the name of the architecture that the arrays fit, or None.

    A network that differs in something else, such as its activations, is taken for it.
    """
    for name, make in ARCHITECTURES.items():
        problems = Problems(name)
        from_variables(make().graph, variables, problems)
        if not problems.found:
            return name
    return None


def save(path: str | os.PathLike[str], variables: Mapping[str, Any], *, orbax: bool) -> None:
    """Write {"params", "batch_stats"} as a msgpack file or an Orbax folder, atomically."""
    plain = {
        collection: {layer: dict(weights) for layer, weights in variables[collection].items()}
        for collection in ("params", "batch_stats")
    }
    if orbax:
        checkpointer = _orbax()
        with replacing(path, directory=True) as temporary:
            checkpointer.save(temporary.absolute(), plain)
            checkpointer.wait_until_finished()
        return
    from flax.serialization import msgpack_serialize

    with replacing(path) as temporary:
        temporary.write_bytes(msgpack_serialize(plain))


def _read_msgpack(path: Path) -> Mapping[str, Any]:
    from flax.serialization import msgpack_restore

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise WeightFileError(path, f"larger than the {_MOST_BYTES} bytes that are read")
        tree = msgpack_restore(path.read_bytes())
    except WeightFileError:
        raise
    except OSError as error:
        raise WeightFileError(path, f"cannot be opened ({error.strerror})") from None
    except Exception as error:  # msgpack has no common base for what damaged files raise
        raise WeightFileError(path, f"not a Flax msgpack ({printable(str(error), 100)})") from None
    return _checked_tree(path, tree)


def _read_orbax(path: Path) -> Mapping[str, Any]:
    checkpointer = _orbax()
    try:
        tree = checkpointer.restore(path.absolute())
    except Exception as error:  # Orbax and TensorStore raise many kinds
        raise WeightFileError(path, f"not an Orbax checkpoint ({first_line(error)})") from None
    return _checked_tree(path, _numpy(tree))


def _checked_tree(path: Path, tree: Any) -> Mapping[str, Any]:
    if not isinstance(tree, Mapping):
        raise WeightFileError(path, f"expected a pytree of arrays, got {type(tree).__name__}")
    return tree


def _is_tree(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _numpy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _numpy(value) for key, value in tree.items()}
    return np.asarray(tree) if hasattr(tree, "shape") else tree


def _orbax() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        raise FerjaxError(
            "Orbax folders need orbax-checkpoint: pip install 'ferjax[train]'"
        ) from None
    return ocp.StandardCheckpointer()
