"""Which files of a repository are to be fetched: the weights, and what belongs to them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from ferjax import foreign, metadata
from ferjax.errors import HubError, listed, near_misses
from ferjax.hub.address import Address

MOST_BYTES: Final = 16 << 30  # weights of 4 GiB, and Adam's moments of them
FETCH: Final = "; fetch it once where the hub can be reached"
_WEIGHTS: Final = (".h5", ".hdf5", ".keras", ".msgpack")
_INDEX: Final = ".weights.json"  # of weights in several files, by Keras 3
# What Keras writes where a model is saved to a repository: an unzipped .keras.
_FOLDER: Final = ("config.json", "model.weights.h5")
_FOLDER_IN_SHARDS: Final = ("config.json", "model.weights.json")


@dataclass(frozen=True)
class Choice:
    """What is fetched.

    Attributes:
        path: what is opened, in the repository; "" for the repository as a folder.
        files: all that this takes.
        metadata: where the metadata of the weights would be, or None.
        size: of all files together in bytes, as far as it is known.
    """

    path: str
    files: tuple[str, ...]
    metadata: str | None
    size: int = 0


def of_file(address: Address, file: str) -> Choice:
    """Return the choice of a file alone.

    Raises:
        HubError: it is a file of another program, by its name.
    """
    if description := foreign.by_name(file):
        raise HubError(address, description)
    return Choice(file, (file,), metadata.sidecar(file).as_posix())


def chosen(address: Address, sizes: Mapping[str, int | None], where: str = "") -> Choice:
    """Return what an address stands for in a repository.

    Args:
        sizes: the paths of all files, and their bytes where these are known.
        where: what was looked through, as messages say it.

    Raises:
        HubError: there is no such file; or none is given, and not exactly one is there; or it is
            too large.
    """
    names = [name for name in sizes if _is_inside(name)]
    choice = _only(address, names, where) if address.file is None else None
    if choice is None:
        assert address.file is not None
        if address.file not in names:
            raise HubError(address, _missing(address, names, where))
        choice = _with_shards(of_file(address, address.file), names)
    if choice.metadata not in sizes:
        choice = replace(choice, metadata=None)
    size = sum(sizes[name] or 0 for name in choice.files)
    check_size(address, size)
    return replace(choice, size=size)


def check_size(address: Address, size: int | None) -> None:
    """Refuse a download that is larger than weights are.

    Raises:
        HubError: it is.
    """
    if (size or 0) > MOST_BYTES:
        raise HubError(
            address,
            f"{size:,} bytes, expected at most {MOST_BYTES:,} for weights; nothing is fetched",
        )


def files_under(folder: str | os.PathLike[str]) -> dict[str, int | None]:
    """Return the paths of all files under a folder, as in a repository, with their bytes."""
    root = Path(folder)
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in paths}


def _is_inside(name: str) -> bool:
    """Whether a name that a hub gives stays inside the folder into which it is fetched."""
    parts = name.split("/")
    return not (set(parts) & {"", ".", ".."}) and "\\" not in name and name.isprintable()


def _only(address: Address, names: Sequence[str], where: str) -> Choice:
    """Return the only weights: at the top, or else anywhere."""
    top = [name for name in names if "/" not in name]
    for parts in (_FOLDER, _FOLDER_IN_SHARDS):
        if set(parts) <= set(top) and len(_weights(top)) == 1:
            choice = _with_shards(Choice(parts[1], parts, None), names)
            about = [name for name in top if name == "metadata.json"]
            return Choice("", (*choice.files, *about), None)
    weights = _weights(top) or _weights(names)
    if len(weights) == 1:
        return _with_shards(of_file(address, weights[0]), names)
    if weights:
        addresses = ", ".join(str(_without_pin(address, name)) for name in weights[:10])
        more = ", ..." if len(weights) > 10 else ""
        raise HubError(address, f"{len(weights)} weight files{where}, give one: {addresses}{more}")
    told = next(filter(None, map(foreign.by_name, names)), None)
    content = f"it has {listed(names)}" if names else "it is empty"
    raise HubError(
        address, f"no weight file of Keras or Flax{where}: {content}" + (f"; {told}" * bool(told))
    )


def _weights(names: Sequence[str]) -> list[str]:
    """Return the weight files among names, no shards, which their index stands for."""
    indexes = [name.removesuffix(_INDEX) for name in names if name.endswith(_INDEX)]
    return [
        name
        for name in names
        if name.lower().endswith((*_WEIGHTS, _INDEX))
        and not PurePosixPath(name).name.startswith(".")
        and not any(_is_shard(name, index) for index in indexes)
    ]


def _is_shard(name: str, index: str) -> bool:
    return re.fullmatch(re.escape(index) + r"_\d+\.weights\.h5", name) is not None


def _with_shards(choice: Choice, names: Sequence[str]) -> Choice:
    """Add to an index of shards these themselves."""
    if not choice.path.endswith(_INDEX):
        return choice
    index = choice.path.removesuffix(_INDEX)
    shards = tuple(name for name in names if _is_shard(name, index))
    return replace(choice, files=choice.files + shards, metadata=None)


def _missing(address: Address, names: Sequence[str], where: str) -> str:
    """Return what to say of a file that is not in a repository."""
    file = str(address.file)
    close = near_misses(file, names)
    if close:
        return f"no such file{where}{close}"
    inside = [name for name in names if name.startswith(f"{file}/")]
    if inside:
        return f"a folder{where}, give a file in it: {listed(_weights(inside) or inside)}"
    content = _weights(names) or names
    return f"no such file{where}" + (f"; it has {listed(content)}" if content else "")


def _without_pin(address: Address, file: str) -> Address:
    return replace(address, file=file, sha256=None)
