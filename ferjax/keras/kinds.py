"""Tell what kind of file a weight file is, by its content and never by its name."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferjax import foreign, released
from ferjax.errors import printable
from ferjax.foreign import CHECKPOINT, PICKLE, PYTORCH, SAVE_AS_KERAS
from ferjax.hub import address
from ferjax.keras import folders, hdf5, shards
from ferjax.keras.config_entries import MODELS
from ferjax.keras.json_text import is_json, read_json
from ferjax.problems import Problem

# The kinds, by the names that `--to` takes.
WHOLE, WEIGHTS_ONLY, V3_WEIGHTS, ARCHIVE = "h5", "weights-only-h5", "weights.h5", "keras"
KINDS = (WHOLE, WEIGHTS_ONLY, V3_WEIGHTS, ARCHIVE)
# The members that an archive must have, and those that Keras may write in the second's place.
ARCHIVE_CONFIG, ARCHIVE_WEIGHTS = "config.json", "model.weights.h5"
ARCHIVE_METADATA = "metadata.json"
FOLDER_INDEX = "model.weights.json"  # of shards, in an unzipped archive
_ARCHIVE_NUMPY = "model.weights.npz"

TENSORFLOW_JS = (
    "the model.json of TensorFlow.js; `tensorflowjs_converter --input_format tfjs_layers_model "
    "--output_format keras` makes an .h5 of it"
)
_UNPACK = "unpack it and give what is in it"
# How files of other programs begin.
_FOREIGN = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (rb"\s*<(!doctype|html|head)", "an HTML page, not a weight file; the download went wrong"),
    (rb"\s*<\?xml", "an XML document, not a weight file; the download went wrong"),
    (rb"model_checkpoint_path:", f"the list of {CHECKPOINT}"),
    (
        rb"(backend|class_name|config|keras_version):",
        "an architecture as YAML; load it with the Keras that made it and save it by `to_json`",
    ),
    (rb"\x1f\x8b", "gzip-compressed; unpack it first"),
    (rb"BZh\d|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", f"a compressed archive; {_UNPACK}"),
    (rb".{257}ustar", f"a tar archive; {_UNPACK}"),
    (rb"\x93numpy", "a NumPy file; ferjax.keras.save writes a pytree of arrays as a Keras file"),
    (rb"\x80\x02\x8a\x0al\xfc\x9cf\xf9 j\xa8p\x19", PYTORCH),
    (rb"\x80[\x02-\x05]|cnumpy|ccopy_reg", PICKLE),
    (rb".{4}tfl3", foreign.TENSORFLOW_LITE),
    (rb".{8}\{\"", foreign.SAFETENSORS),
    (rb"\x08\x01\x12", f"the saved_model.pb of a TensorFlow SavedModel; {SAVE_AS_KERAS}"),
    (rb"\x08[\x03-\x20][\x12\x3a\x42]", foreign.ONNX),
)


def identify(path: str | os.PathLike[str]) -> str:
    """Return which of `KINDS` a file, or an unzipped `.keras` folder, is.

    Raises:
        Problem: it is none of them, or cannot be opened.
    """
    if is_folder(path):
        return _identify_folder(path)
    head = first_bytes(path)
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path)
    with open(path, "rb") as file:
        is_hdf5 = hdf5.is_hdf5(file)
    if is_hdf5:
        return _identify_hdf5(path)
    if is_json(head):
        return _identify_json(path)
    raise Problem(_foreign(path, head))


def _identify_folder(path: str | os.PathLike[str]) -> str:
    has_weights = any(os.path.lexists(Path(path, n)) for n in (ARCHIVE_WEIGHTS, FOLDER_INDEX))
    if has_weights and os.path.lexists(Path(path, ARCHIVE_CONFIG)):
        return ARCHIVE
    raise Problem(folders.described(path))


def _identify_hdf5(path: str | os.PathLike[str]) -> str:
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


def is_folder(path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # a null byte in the name
        return False


def first_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the first 512 bytes of a regular file that can be read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                return file.read(512)
    except FileNotFoundError:
        raise Problem(f"no such file{_instead(os.fspath(path))}") from None
    except NotADirectoryError:
        name = os.fspath(path)
        is_file = name.endswith(os.sep) and os.path.isfile(name.rstrip(os.sep))
        hint = "; it is a file: leave the / at its end out" if is_file else ""
        raise Problem(f"no such folder{hint}") from None
    except OSError as error:
        raise Problem(f"cannot be opened ({error.strerror})") from None
    except ValueError as error:  # a null byte in the name
        raise Problem(f"cannot be opened ({error})") from None
    raise Problem(folders.described(path) if stat.S_ISDIR(mode) else "not a regular file")


def _instead(name: str) -> str:
    """Return what there is in the place of a missing file, for its error."""
    if os.path.exists(f"{name}.index"):
        return f", but the name of {CHECKPOINT}"
    base = os.path.splitext(name)[0]
    if base.endswith(".weights") and os.path.isfile(f"{base}.json"):
        return f", but {os.path.basename(base)}.json, the index of shards; give that"
    if name in released.NAMES:
        return "; `ferjax.load` knows the weights of this name"
    return address.hint(name)


def _identify_zip(path: str | os.PathLike[str]) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Problem(f"a truncated or damaged zip archive ({error})") from None
    if {ARCHIVE_CONFIG, ARCHIVE_WEIGHTS} <= names:
        return ARCHIVE
    raise Problem(_foreign_zip(names))


def _foreign_zip(names: set[str]) -> str:
    """Return what a zip archive is that ferjax does not read, and what to do about it."""
    if {ARCHIVE_CONFIG, _ARCHIVE_NUMPY} <= names:
        return f"a .keras archive with {_ARCHIVE_NUMPY}; save it with {ARCHIVE_WEIGHTS}"
    lacking = {ARCHIVE_CONFIG, ARCHIVE_WEIGHTS} - names
    if len(lacking) == 1:
        return f"a .keras archive without {lacking.pop()}"
    if any(name.endswith("data.pkl") for name in names):
        return PYTORCH
    if any(name.rpartition("/")[2] == "saved_model.pb" for name in names):
        return f"a zip archive with a TensorFlow SavedModel; {SAVE_AS_KERAS}"
    if all(name.endswith(".npy") for name in names):
        return "NumPy's arrays; ferjax.keras.save writes a pytree of them as a Keras file"
    configs = [name for name in names if name.endswith(f"/{ARCHIVE_CONFIG}")]
    unzipped = [name.removesuffix(f"/{ARCHIVE_CONFIG}") for name in configs]
    unzipped = [folder for folder in unzipped if f"{folder}/{ARCHIVE_WEIGHTS}" in names]
    archive = "a zip archive that holds"
    if unzipped:
        return f"{archive} an unzipped .keras, {min(unzipped)}; unpack it and give that folder"
    suffixes = (".h5", ".hdf5", ".keras")
    files = [n for n in names if n.lower().endswith(suffixes) and "__MACOSX/" not in n]
    if files:
        more = f" and {len(files) - 1} more weight files" if len(files) > 1 else ""
        return f"{archive} {min(files)}{more}; unpack it and give that"
    return f"a zip archive, but not one of Keras: it holds {', '.join(sorted(names)[:5])}"


def _identify_json(path: str | os.PathLike[str]) -> str:
    value = read_json(path, "begins as JSON")
    if shards.is_index(value):
        return V3_WEIGHTS
    if is_model(value):
        raise Problem("JSON; give it as the config of a weight file (--config)")
    if "modelTopology" in value:
        raise Problem(TENSORFLOW_JS)
    if os.fspath(path).endswith(".metadata.json"):
        raise Problem("the metadata of a weight file; give the weight file")
    keys = printable(", ".join(map(str, list(value)[:5])) or "nothing", 200)
    raise Problem(
        f"JSON; give it as the config of a weight file if it is one of Keras's: it holds {keys}"
    )


def is_model(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is the architecture of a model."""
    return value.get("class_name") in MODELS


def _foreign(path: str | os.PathLike[str], head: bytes) -> str:
    if not head:
        return "an empty file; copy or download it again"
    for start, description in _FOREIGN:
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            return description
    if (told := foreign.by_name(Path(path).name)) is not None:
        return told
    return f"neither HDF5 nor a .keras archive (it starts with {head[:16]!r})"
