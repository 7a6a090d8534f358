"""An open weight file of any kind, with the members that its kind has."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from ferjax.keras import folders, hdf5, kinds, shards
from ferjax.keras.json_text import MOST_BYTES, decoded, is_json, parse_json, read_json
from ferjax.metadata import METADATA
from ferjax.problems import Problem

COMPILED = "ferjax_compile_config"  # of weights alone: which optimizer the state is of
_MOST_ARCHIVE_BYTES = 1 << 30

PathLike = str | os.PathLike[str]


@dataclass
class WeightFile:
    """An open file, or folder, with the members that its kind has."""

    path: str
    kind: str
    root: hdf5.Group
    size: int  # of what is HDF5, in bytes
    member: Callable[[str, int], bytes | None] | None = None  # of an archive or a folder

    def json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON member of the archive, or JSON attribute of the file; None without it."""
        if self.member is not None:
            raw = self.member(name, MOST_BYTES)
            return None if raw is None else parse_json(decoded(raw), name)
        text = hdf5.json_text(self.root, name)
        return None if text is None else parse_json(text, name)

    def config(self) -> dict[str, Any] | None:
        if self.kind == kinds.ARCHIVE:
            return self.json(kinds.ARCHIVE_CONFIG)
        return self.json("model_config") if self.kind == kinds.WHOLE else None

    def keras_version(self) -> str | None:
        if self.kind == kinds.ARCHIVE:
            version = (self.json(kinds.ARCHIVE_METADATA) or {}).get("keras_version")
            return version if isinstance(version, str) else None
        version = hdf5.text(self.root, "keras_version")
        if version is None and self.kind == kinds.WHOLE:
            weights = hdf5.subgroup(self.root, "model_weights")
            version = None if weights is None else hdf5.text(weights, "keras_version")
        return version

    def compiled(self) -> Mapping[str, Any]:
        """Return how the model was compiled, empty where that is unknown or not JSON."""
        try:
            if self.kind == kinds.ARCHIVE:
                return compiled_in(self.config() or {})
            name = {kinds.WHOLE: "training_config", kinds.V3_WEIGHTS: COMPILED}.get(self.kind)
            return (self.json(name) or {}) if name else {}
        except Problem:
            return {}

    def metadata(self) -> dict[str, Any]:
        try:
            if self.kind == kinds.ARCHIVE:
                stored = (self.json(kinds.ARCHIVE_METADATA) or {}).get(METADATA)
            else:
                stored = self.json(METADATA)
        except Problem:
            return {}
        return stored if isinstance(stored, dict) else {}


def compiled_in(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a model's JSON that says how it was compiled; empty without one."""
    for key in ("compile_config", "training_config"):
        if isinstance(compiled := config.get(key), Mapping):
            return compiled
    return {}


def opened(path: PathLike, kind: str) -> AbstractContextManager[WeightFile]:
    """Open a file or folder of a kind that `identify` told.

    Raises:
        Problem: it is damaged, or lies.
    """
    if kinds.is_folder(path):
        return _opened_folder(path)
    if kind == kinds.ARCHIVE:
        return _opened_archive(path)
    if kind == kinds.V3_WEIGHTS and is_json(kinds.first_bytes(path)):
        return _opened_shards(path, read_json(path, "index of shards"))
    return _opened_hdf5(path, kind)


@contextmanager
def _opened_hdf5(path: PathLike, kind: str) -> Iterator[WeightFile]:
    if kind == kinds.V3_WEIGHTS and (index := shards.index_of(path)) is not None:
        raise Problem(f"a shard of the weights that {index} beside it lists; give that")
    with hdf5.opened(path) as root:
        yield WeightFile(str(path), kind, root, os.stat(path).st_size)


@contextmanager
def _opened_shards(path: PathLike, index: Mapping[str, Any]) -> Iterator[WeightFile]:
    with shards.opened(path, index) as (root, size):
        yield WeightFile(str(path), kinds.V3_WEIGHTS, root, size)


@contextmanager
def _opened_folder(path: PathLike) -> Iterator[WeightFile]:
    """Open what Keras 3 saves with `zipped=False`."""

    def member(name: str, most: int) -> bytes | None:
        return folders.contents(path, name, most)

    weights = folders.member(path, kinds.ARCHIVE_WEIGHTS)
    index = None if weights else member(kinds.FOLDER_INDEX, MOST_BYTES)
    if weights:
        with hdf5.opened(weights) as root:
            yield WeightFile(str(path), kinds.ARCHIVE, root, os.stat(weights).st_size, member)
    elif index is not None:
        listed = parse_json(decoded(index), kinds.FOLDER_INDEX)
        with shards.opened(os.path.join(path, kinds.FOLDER_INDEX), listed) as (root, size):
            yield WeightFile(str(path), kinds.ARCHIVE, root, size, member)
    else:
        raise Problem(f"a folder without {kinds.ARCHIVE_WEIGHTS}")


@contextmanager
def _opened_archive(path: PathLike) -> Iterator[WeightFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise Problem(f"a truncated or damaged zip archive ({error})") from None
    with archive:
        weights = _member(archive, kinds.ARCHIVE_WEIGHTS, _MOST_ARCHIVE_BYTES)
        if weights is None:
            raise Problem(f"a .keras archive without {kinds.ARCHIVE_WEIGHTS}")

        def member(name: str, most: int) -> bytes | None:
            return _member(archive, name, most)

        with hdf5.opened(io.BytesIO(weights)) as root:
            yield WeightFile(str(path), kinds.ARCHIVE, root, len(weights), member)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes | None:
    """Return a member by its exact name, or None where there is none."""
    members = [info for info in archive.infolist() if info.filename == name]
    if not members:
        return None
    if len(members) > 1:  # programs differ in which one they take
        raise Problem(f"{name} is there {len(members)} times")
    (info,) = members
    _check_size(info, most)
    try:
        with archive.open(info) as member:
            content = member.read(info.file_size)  # no more than that is unpacked
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise Problem(f"{name}: cannot be read ({error})") from None
    except (zlib.error, struct.error, ValueError) as error:
        raise Problem(f"{name}: cannot be unpacked ({error})") from None
    if len(content) != info.file_size:
        raise Problem(f"{name}: expected {info.file_size} bytes, got {len(content)}")
    return content


def _check_size(info: zipfile.ZipInfo, most: int) -> None:
    """Refuse a member that claims too many bytes, or to be compressed beyond reason."""
    name, size, packed = info.filename, info.file_size, info.compress_size
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Problem(f"{name}: unknown compression method {info.compress_type}")
    if size > most:
        raise Problem(f"{name}: {size} bytes are more than {most}")
    if size > (1 << 20) and size > 100 * packed:
        raise Problem(f"{name}: expands from {packed} bytes to {size}")
