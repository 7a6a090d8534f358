"""The manifest of a prepared dataset: what it holds, and of what and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ferjax.data.containers import PREPARED
from ferjax.data.dataset import SPLITS
from ferjax.errors import DataError, printable

ARRAYS, MANIFEST = PREPARED
FORMAT: Final = 1

_KINDS: Final[dict[str, type]] = {
    "format": int,
    "source_sha256": str,
    "options": dict,
    "source": str,
    "counts": dict,
    "notes": list,
    "bad": list,
    "dropped": list,
}
_LATER: Final[dict[str, type]] = {"votes": dict, "several_faces": list, "no_face": list}
# What entries of lists have.
_ENTRIES: Final[dict[str, dict[str, type]]] = {
    "bad": {"name": str, "reason": str},
    "dropped": {"drop": str},
    "several_faces": {"name": str, "taken": bool},
}


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a complete prepared folder, None for any other.

    Raises:
        DataError: there is one that says less than `ferjax data prepare` writes, or what it does
            not.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or not (folder / ARRAYS).is_file():
        return None
    if wrong := _wrong_key(manifest):
        raise DataError(
            f"{folder / MANIFEST}: damaged, at {wrong!r}; `ferjax data prepare --force` "
            "(force=True) makes the folder anew"
        )
    return manifest


def _wrong_key(manifest: Mapping[str, Any]) -> str | None:
    """Return the name of something that is missing or of another kind, or None."""
    kinds = _KINDS | {name: kind for name, kind in _LATER.items() if name in manifest}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name), kind):
            return name
    for name, keys in _ENTRIES.items():
        if not all(_has(entry, keys) for entry in manifest.get(name, ())):
            return name
    for name in ("notes", "no_face"):
        if not all(isinstance(text, str) for text in manifest.get(name, ())):
            return name
    options, counts = manifest["options"], manifest["counts"]
    if not _has(options, {"split": str, "tfds": bool}):
        return "options"
    if options.get("find_faces") and not {"several_faces", "no_face"} <= manifest.keys():
        return "several_faces"
    if not _has(counts, dict.fromkeys(SPLITS, dict)) or not all(
        isinstance(count, int) for split in SPLITS for count in counts[split].values()
    ):
        return "counts"
    return None


def _has(entry: Any, kinds: Mapping[str, type]) -> bool:
    """Whether it is a mapping with values of these kinds by these names."""
    return isinstance(entry, dict) and all(
        isinstance(entry.get(name), kind) for name, kind in kinds.items()
    )


def differences(
    earlier: Mapping[str, Any], wanted: Mapping[str, Any], *, tfds_too: bool
) -> list[str]:
    """Return in what a manifest is not that of what is wanted, in words; empty where it is.

    Args:
        earlier: the manifest.
        wanted: what counts of the other: "format", "source_sha256" and "options".
        tfds_too: whether it matters that one has `tfds/`.
    """
    texts = []
    if earlier["format"] != wanted["format"]:
        texts.append("another version of ferjax made it")
    if earlier["source_sha256"] != wanted["source_sha256"]:
        source = printable(earlier["source"], 80)
        texts.append(f"it was made from other content, of {source}")
    had, asked = earlier["options"], wanted["options"]
    for name in sorted(had.keys() | asked.keys()):
        if had.get(name) != asked.get(name) and (tfds_too or name != "tfds"):
            values = [printable(json.dumps(options.get(name)), 60) for options in (had, asked)]
            texts.append(f"its {name} is {values[0]}, asked for is {values[1]}")
    return texts
