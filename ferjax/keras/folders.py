"""Guarded reading of the files of a folder: Keras's unzipped `.keras`, and shards of weights."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path

from ferjax.foreign import CHECKPOINT, SAVE_AS_KERAS
from ferjax.problems import Problem

_MOST_ENTRIES = 1000
_WEIGHTS = (".h5", ".hdf5", ".keras", ".weights.json", ".msgpack")


def member(folder: str | os.PathLike[str], name: str) -> Path | None:
    """Return the path of a regular file of the folder, or None where there is none.

    Raises:
        Problem: the name leaves the folder, or what it stands for does.
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\\0") or os.path.isabs(name):
        raise Problem(f"expected the name of a file beside it, got {name!r}")
    path = Path(folder) / name
    try:
        mode = os.stat(path).st_mode
        target, home = path.resolve(), Path(folder).resolve()
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError) as error:  # also a circle of links
        raise Problem(f"{name}: cannot be opened ({getattr(error, 'strerror', error)})") from None
    # The Hugging Face cache links from snapshots/REVISION to files of its own folder blobs.
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if home not in target.parents and target.parent != blobs:
        raise Problem(f"{name} is a link out of its folder, which is not followed")
    if not stat.S_ISREG(mode):
        raise Problem(f"{name}: not a regular file")
    return path


def contents(folder: str | os.PathLike[str], name: str, most: int) -> bytes | None:
    """Return the bytes of a file of the folder, at most `most`, or None where there is none."""
    path = member(folder, name)
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise Problem(f"{name}: cannot be opened ({error.strerror})") from None
    if len(raw) > most:
        raise Problem(f"{name}: more than {most} bytes")
    return raw


def names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names in a folder, sorted; of a large folder a part."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _MOST_ENTRIES))
    except OSError as error:
        raise Problem(f"a folder that cannot be listed ({error.strerror})") from None


def described(folder: str | os.PathLike[str]) -> str:
    """Return what a folder is that ferjax does not read, and what to do about it."""
    members = names(folder)
    member_names = set(members)
    if "saved_model.pb" in member_names:
        return f"a TensorFlow SavedModel folder; {SAVE_AS_KERAS}"
    if member_names & {"_METADATA", "_CHECKPOINT_METADATA"}:
        return "an Orbax folder; `ferjax convert` reads it"
    if "checkpoint" in member_names or any(name.endswith(".index") for name in members):
        return f"a folder with {CHECKPOINT}"
    weights = [n for n in members if n.lower().endswith(_WEIGHTS)]
    indexes = [n[: -len(".weights.json")] for n in weights if n.lower().endswith(".weights.json")]
    weights = [n for n in weights if not any(_is_shard(n, index) for index in indexes)]
    if len(weights) == 1:
        return f"a folder; it holds one weight file, give that: {Path(folder) / weights[0]}"
    if weights:
        listed = ", ".join(weights[:5]) + (", ..." if len(weights) > 5 else "")
        return f"a folder with {len(weights)} weight files, give one of them: {listed}"
    if "config.json" in member_names:
        return f"a folder with a config.json, but without model.weights.h5; {SAVE_AS_KERAS}"
    return "a folder, expected a Keras file"


def _is_shard(name: str, index: str) -> bool:
    number = name.removeprefix(f"{index}_")
    return number != name and number.removesuffix(".weights.h5").isdigit()
