"""Weights in several files: `model.weights.json` says which group is in which, as Keras 3 does.

{"metadata": {"total_size": 8e9},
 "weight_map": {"/layers/dense/vars": "model_00000.weights.h5", "/vars": [...]}}
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ferjax.errors import printable
from ferjax.keras import folders, hdf5
from ferjax.keras.json_text import read_json
from ferjax.problems import Problem

_MOST_SHARDS = 200  # each is open while it is read


def is_index(value: Mapping[str, Any]) -> bool:
    """Whether JSON is an index of shards."""
    return "weight_map" in value


def names(index: Mapping[str, Any]) -> list[str]:
    """Return the file names of the shards, checked, in the order in which they are mentioned.

    Raises:
        Problem: it is no index, names too many files, or files elsewhere.
    """
    mapped = index.get("weight_map")
    if not isinstance(mapped, Mapping) or not mapped:
        raise Problem("an index of shards whose weight_map is empty, or no map")
    mentions = [
        (group, name)
        for group, files in mapped.items()
        for name in (files if isinstance(files, list) else [files])
    ]
    for group, name in mentions:
        if not isinstance(name, str):
            raise Problem(
                f"weight_map: expected file names for {printable(group, 80)!r}, got "
                f"{printable(repr(name), 80)}"
            )
        if name.endswith((".safetensors", ".bin")):
            raise Problem("an index of PyTorch or safetensors files, not of Keras's")
    listed = list(dict.fromkeys(name for _, name in mentions))
    if len(listed) > _MOST_SHARDS:
        raise Problem(
            f"more than {_MOST_SHARDS} shards; save it again with a larger max_shard_size"
        )
    return listed


@contextmanager
def opened(path: str | os.PathLike[str], index: Mapping[str, Any]) -> Iterator[tuple[Any, int]]:
    """Open the shards of an index; yield their common root and their size in bytes together.

    Raises:
        Problem: one is missing, lies elsewhere or is damaged.
    """
    folder = Path(path).parent
    paths = {name: folders.member(folder, name) for name in names(index)}
    missing = [name for name, shard in paths.items() if shard is None]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Problem(f"shards are missing beside it: {', '.join(missing[:5])}{more}")
    with ExitStack() as stack:
        roots, size = [], 0
        for name, shard in paths.items():
            assert shard is not None
            try:
                file = stack.enter_context(open(shard, "rb"))
                if not hdf5.is_hdf5(file):
                    raise Problem("not HDF5")
                roots.append(stack.enter_context(hdf5.opened(file)))
                size += os.fstat(file.fileno()).st_size
            except OSError as error:
                raise Problem(f"{name}: cannot be opened ({error.strerror})") from None
            except Problem as problem:
                raise Problem(f"{name}: {problem}") from None
        yield hdf5.Spread(tuple(roots)), size


def index_of(shard: str | os.PathLike[str]) -> str | None:
    """Return the name of the index beside a file that lists it as a shard, or None."""
    path = Path(shard)
    base, _, number = path.name.removesuffix(".weights.h5").rpartition("_")
    name = f"{base}.weights.json"
    if not (base and number.isdigit() and path.with_name(name).is_file()):
        return None
    with suppress(Problem):
        if path.name in names(read_json(path.with_name(name), name)):
            return name
    return None
