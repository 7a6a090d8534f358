"""Guarded reading of HDF5: a weight file is untrusted input.

Nothing is reached but by names that are listed or expected; links out of the file, external
storage, virtual datasets and unknown filters are refused before they are followed; shapes and
sizes are checked before anything is read.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import h5py
import numpy as np

from ferjax.keras.hdf5_text import read_texts
from ferjax.keras.json_text import decoded
from ferjax.nets.variables import check_finite
from ferjax.problems import Problem

# The filters that h5py itself brings: deflate, shuffle, fletcher32, lzf. For any other id the HDF5
# library would look for native code in a plugin directory.
_FILTERS = {1, 2, 3, 32000}
# Trained weights compress by a tenth; a thousandfold is what zeros reach.
_MOST_EXPANSION = 100
_SMALL = 1 << 20
_MOST_BYTES = 1 << 30
MOST_NAMES = 20_000
_MOST_CHUNKS = 4096
_MOST_PARTS = 100  # of a path; a group may be in itself
_MOST_SHOWN = 200  # characters of a path that is refused

# What h5py, and the reading of texts, raise on files that are damaged or lie; RecursionError and
# MemoryError included.
_BROKEN = (
    *(OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError),
    struct.error,
)

# The files behind open HDF5 files, by HDF5's identifier, one for each time that a file is opened.
_files: dict[int, IO[bytes]] = {}


@contextmanager
def opened(file: str | os.PathLike[str] | IO[bytes]) -> Iterator[h5py.File]:
    """Open a path or a file object for reading.

    Raises:
        Problem: it is not HDF5, or truncated or damaged.
    """
    with ExitStack() as stack:
        try:
            root = stack.enter_context(h5py.File(file, "r"))
            raw = (
                stack.enter_context(open(file, "rb"))
                if isinstance(file, str | os.PathLike)
                else file
            )
        except _BROKEN as error:
            cause = "truncated" if "truncated" in str(error) else "damaged"
            raise Problem(f"{cause} HDF5 file ({_first_line(error)})") from None
        _files[root.id.id] = raw
        stack.callback(_files.pop, root.id.id)
        yield root


def is_hdf5(file: IO[bytes]) -> bool:
    """Whether the HDF5 signature stands where it may: at 0, 512, 1024, 2048, ..."""
    offset = 0
    file.seek(0, 2)
    size = file.tell()
    while offset + 8 <= size and offset <= 1 << 20:
        file.seek(offset)
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
        offset = 2 * offset or 512
    return False


@contextmanager
def _readable(subject: str) -> Iterator[None]:
    """Turn an error over a damaged file into a problem: `subject` cannot be read."""
    try:
        yield
    except _BROKEN as error:
        raise Problem(f"{subject} cannot be read ({_first_line(error)})".lstrip()) from None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else "no details"


@dataclass(frozen=True)
class Spread:
    """A group whose content is in several files; the functions here take it in a group's place."""

    parts: tuple[h5py.Group, ...]


Group: TypeAlias = h5py.Group | Spread


def child(group: Group, path: str) -> Any:
    """Return the group or dataset at `path` below `group`, or None where there is none.

    Raises:
        Problem: a part of the path is a link of another kind than a hard link, or unreadable; or
            a dataset is in several files.
    """
    if isinstance(group, Spread):
        parts = [part for g in group.parts if (part := child(g, path)) is not None]
        if len(parts) > 1 and all(isinstance(part, h5py.Group) for part in parts):
            return Spread(tuple(parts))
        if len(parts) > 1:  # nothing says which one is meant
            raise Problem(f"{path!r} is in {len(parts)} files")
        return parts[0] if parts else None
    node: Any = group
    with _readable(repr(path)):
        for name in _safe_names(path):
            if not isinstance(node, h5py.Group):
                return None
            links, link = node.id.links, name.encode()
            if not links.exists(link):
                return None
            _check_link(links.get_info(link).type, path)
            node = node[name]
    return node


def _safe_names(path: str) -> list[str]:
    """Return the parts of a path that leads down from a group, and nowhere else."""
    names = path.split("/", _MOST_PARTS)
    if len(names) > _MOST_PARTS:
        raise Problem(f"unsafe name {path[:_MOST_SHOWN]!r}, of more than {_MOST_PARTS} parts")
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        raise Problem(f"unsafe name {path[:_MOST_SHOWN]!r}")
    return names


def _check_link(link_type: int, path: str) -> None:
    """Refuse any but a hard link, by HDF5's type of it: others may lead out of the file."""
    if link_type != h5py.h5l.TYPE_HARD:
        kind = "an external" if link_type == h5py.h5l.TYPE_EXTERNAL else "a soft"
        raise Problem(f"{path!r} is {kind} link, which is not followed")


def subgroup(group: Group, path: str) -> Group | None:
    """Return the group at `path`, or None where there is none."""
    node = child(group, path)
    if node is not None and not isinstance(node, Group):
        raise Problem(f"expected a group at {path!r}, got a {type(node).__name__.lower()}")
    return node


def keys(group: Group) -> list[str]:
    """Return the names in a group, sorted."""
    if isinstance(group, Spread):
        return sorted({key for part in group.parts for key in keys(part)})
    with _readable("a group"):
        return sorted(str(key) for key in group)


def count(group: Group) -> int:
    """Return how many names a group has."""
    if isinstance(group, Spread):
        return len(keys(group))
    with _readable("a group"):
        return len(group)


def described(dataset: Any) -> tuple[tuple[int, ...] | None, str]:
    """Return the shape and the kind of dtype that something claims; (None, "") if no array."""
    if not isinstance(dataset, h5py.Dataset):
        return None, ""
    try:
        return dataset.shape, dataset.dtype.kind
    except _BROKEN:
        return None, ""


def has_attribute(group: Group, name: str) -> bool:
    if isinstance(group, Spread):
        return any(has_attribute(part, name) for part in group.parts)
    try:
        return name in group.attrs
    except _BROKEN:
        return False


def _attribute(group: h5py.Group, name: str) -> Any:
    """Return an attribute of text, numbers or nothing; None where there is none."""
    if not has_attribute(group, name):
        return None
    with _readable(f"attribute {name!r}"):
        attribute = group.attrs.get_id(name)
        if attribute.shape is None:
            return h5py.Empty(attribute.dtype)
        _check_attribute(attribute, name)
        if attribute.dtype.kind != "O":
            return group.attrs[name]
        texts = read_texts(_files[group.file.id.id], group, name)
        return np.array(texts, object).reshape(attribute.shape)


def _check_attribute(attribute: Any, name: str) -> None:
    """Refuse more values than names in a model, and what is of variable length and no text."""
    dtype = attribute.dtype
    if math.prod(attribute.shape) > MOST_NAMES:
        raise Problem(f"attribute {name!r}: more than {MOST_NAMES} values")
    if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None:
        raise Problem(f"attribute {name!r}: expected text, got {dtype.metadata or dtype}")


def _decoded(value: Any, name: str) -> str:
    if isinstance(value, bytes):  # np.bytes_ too
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise Problem(f"attribute {name!r}: expected UTF-8 text") from None
    raise Problem(f"attribute {name!r}: expected text, got {type(value).__name__}")


def text(group: Group, name: str) -> str | None:
    """Return a text attribute, or None where there is none."""
    value = _scalar(group, name)
    return None if value is None else _decoded(value, name)


def json_text(group: Group, name: str) -> str | None:
    """Return an attribute of JSON in any of its encodings, or None where there is none."""
    value = _scalar(group, name)
    if isinstance(value, np.void):
        value = value.tobytes()
    if isinstance(value, bytes) and json.detect_encoding(value) != "utf-8":
        return decoded(value)
    return None if value is None else _decoded(value, name)


def _scalar(group: Group, name: str) -> Any:
    if isinstance(group, Spread):
        group = next((part for part in group.parts if has_attribute(part, name)), group.parts[0])
    value = _attribute(group, name)
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.reshape(-1)[0]
    return value


def names(group: h5py.Group, name: str) -> list[str] | None:
    """Return a list of names, whole or in the chunks `name0`, `name1`, ...; None without one."""
    values = _attribute(group, name)
    if values is None:
        parts: list[list[str]] = []
        while has_attribute(group, f"{name}{len(parts)}"):
            if len(parts) == _MOST_CHUNKS:
                raise Problem(f"attribute {name!r}: more than {_MOST_CHUNKS} chunks")
            part = _attribute(group, f"{name}{len(parts)}")
            parts.append(_name_list(part, f"{name}{len(parts)}"))
        return [n for part in parts for n in part] if parts else None
    return _name_list(values, name)


def _name_list(values: Any, name: str) -> list[str]:
    if isinstance(values, h5py.Empty):
        return []
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        kind = values.shape if isinstance(values, np.ndarray) else type(values).__name__
        raise Problem(f"attribute {name!r}: expected a list of names, got {kind}")
    if values.size == 0:  # Keras stores an empty list as float64
        return []
    if values.dtype.kind not in "SO":
        raise Problem(f"attribute {name!r}: expected a list of names, got {values.dtype}")
    return [_decoded(value, name) for value in values]


def read_array(dataset: Any, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Return a dataset as little-endian `dtype`, once everything about it is as expected.

    Raises:
        Problem: there is none, it has another shape or type, lies elsewhere, expands beyond
            reason, cannot be read, or holds NaN or infinity.
    """
    if dataset is None:
        raise Problem(f"missing, expected an array of shape {shape}")
    if not isinstance(dataset, h5py.Dataset):
        raise Problem(f"expected an array of shape {shape}, got a {type(dataset).__name__}")
    with _readable(""):
        _check_storage(dataset, shape)
        is_bfloat16 = dataset.dtype == np.dtype("V2") and text(dataset, "dtype") == "bfloat16"
        if not is_bfloat16:
            _check_type(dataset.dtype, dtype)
        values = np.asarray(dataset[()])
    if is_bfloat16:
        values = (values.view("<u2").astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused
        array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    check_finite(array)
    return array.reshape(shape)


def _check_type(stored: np.dtype[Any], dtype: str) -> None:
    """Refuse values that are not of the kind of `dtype`; floats may have another width."""
    is_float = dtype == "float32" and stored.kind == "f" and stored.itemsize in (2, 4, 8)
    if not (is_float or (dtype.startswith("int") and stored.kind in "iu")):
        raise Problem(f"expected {dtype} values, got {stored}")


def _check_storage(dataset: h5py.Dataset, shape: tuple[int, ...]) -> None:
    """Refuse what has another shape, lies elsewhere, or is larger than what is stored of it."""
    if dataset.shape is None or tuple(dataset.shape) != shape:
        raise Problem(f"expected shape {shape}, got {dataset.shape}")
    creation = dataset.id.get_create_plist()
    if dataset.is_virtual:
        raise Problem("a virtual dataset, whose values lie elsewhere")
    if creation.get_external_count():
        raise Problem("its values lie in another file, which is not read")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if not filters <= _FILTERS:
        raise Problem(f"unknown compression filter {sorted(filters - _FILTERS)}")
    size = math.prod(shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if size > _MOST_BYTES:
        raise Problem(f"{size} bytes are more than the {_MOST_BYTES} that one array may have")
    if size > _SMALL and size > _MOST_EXPANSION * stored:
        raise Problem(f"expands from {stored} bytes to {size}")
    if size and not stored:
        raise Problem("declared, but its values were never written")


def exists(group: Group, path: str) -> bool:
    try:
        return child(group, path) is not None
    except Problem:
        return False
