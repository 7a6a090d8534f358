"""Tell what kind of file a weight file is, by its content and never by its name."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

from ferjax.keras import hdf5
from ferjax.keras.problems import Problem

# The kinds, by the names that `--to` takes.
WHOLE, WEIGHTS_ONLY, V3_WEIGHTS, ARCHIVE = "h5", "weights-only-h5", "weights.h5", "keras"
KINDS = (WHOLE, WEIGHTS_ONLY, V3_WEIGHTS, ARCHIVE)

_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"<!doctype", "an HTML page, not a weight file; the download went wrong"),
    (b"<html", "an HTML page, not a weight file; the download went wrong"),
    (b"\x1f\x8b", "gzip-compressed; unpack it first"),
    (b"\x93numpy", "a NumPy file; ferjax.keras.save writes a pytree of arrays as a Keras file"),
    (b"\x80\x02", "a Python pickle, which is never opened"),
    (b"\x80\x04", "a Python pickle, which is never opened"),
    (b"{", "JSON; give it as the config of a weight file"),
)


def identify(path: str | os.PathLike[str]) -> str:
    """Return which of `KINDS` a file is.

    Raises:
        Problem: it is none of them, or cannot be opened.
    """
    head = first_bytes(path)
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path)
    with open(path, "rb") as file:
        if not hdf5.is_hdf5(file):
            raise Problem(_foreign(path, head))
    with hdf5.opened(path) as root:
        if hdf5.has_attribute(root, "model_config") or hdf5.exists(root, "model_weights"):
            return WHOLE
        if any(hdf5.has_attribute(root, n) for n in ("layer_names", "layer_names0")):
            return WEIGHTS_ONLY
        v3 = ("layers", "_layer_checkpoint_dependencies", "vars")
        if any(hdf5.exists(root, name) for name in v3):
            return V3_WEIGHTS
        content = ", ".join(hdf5.keys(root)[:5]) or "nothing"
    raise Problem(f"HDF5, but not of Keras: no layer_names and no layers, it holds {content}")


def first_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the first 512 bytes of a regular file that can be read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            if (Path(path) / "saved_model.pb").exists():
                raise Problem("a TensorFlow SavedModel folder; save the model as .h5 or .keras")
            raise Problem("a folder, expected a Keras file")
        if not stat.S_ISREG(mode):
            raise Problem("not a regular file")
        with open(path, "rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise Problem("no such file") from None
    except OSError as error:
        raise Problem(f"cannot be opened ({error.strerror})") from None
    except ValueError as error:  # a null byte in the name
        raise Problem(f"cannot be opened ({error})") from None


def _identify_zip(path: str | os.PathLike[str]) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Problem(f"a truncated or damaged zip archive ({error})") from None
    if {"config.json", "model.weights.h5"} <= names:
        return ARCHIVE
    lacking = {"config.json", "model.weights.h5"} - names
    if len(lacking) == 1:
        raise Problem(f"a .keras archive without {lacking.pop()}")
    if any(name.endswith("data.pkl") for name in names):
        raise Problem("a PyTorch file, not one of Keras")
    raise Problem(f"a zip archive, but not one of Keras: it holds {', '.join(sorted(names)[:5])}")


def _foreign(path: str | os.PathLike[str], head: bytes) -> str:
    if not head:
        return "an empty file"
    for start, what in _FOREIGN:
        if head.lstrip().lower().startswith(start):
            return what
    return f"neither HDF5 nor a .keras archive (it starts with {head[:16]!r})"
