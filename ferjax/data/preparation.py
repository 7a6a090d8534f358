"""Prepare a source once: checked, split, cleaned, written as arrays and as a TFDS dataset."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax._version import __version__
from ferjax.data import checks, photographs, sources, splits, votes_files, votes_joining
from ferjax.data.class_numbers import NumberNames, as_text
from ferjax.data.containers import files_of
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.manifest import ARRAYS, FORMAT, MANIFEST, differences, manifest_of
from ferjax.data.reading import Read
from ferjax.data.votes import Votes
from ferjax.digests import sha256
from ferjax.errors import DataError, WriteError, printable
from ferjax.files import check_folder, is_utf8, json_text, make_folder, replacing

# What may be dropped: a mask of images, and why they are.
DROPS: Final[dict[str, tuple[Callable[[Faces], checks.Mask], str]]] = {
    "blank": (checks.blank, "all pixels are equal"),
    "conflicts": (checks.conflicts, "exact copies of it have another label"),
    "leaks": (checks.leaks, "a training image with an exact copy in validation or test"),
}


@dataclass(frozen=True)
class Prepared:
    """A prepared folder; `fresh` is False where it was there already."""

    path: Path
    manifest: dict[str, Any]
    fresh: bool


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: str = "official",
    seed: int = 0,
    drop: Sequence[str] = (),
    size: tuple[int, int] = (48, 48),
    skip_bad: bool = False,
    classes_level: int | None = None,
    labels: NumberNames | None = None,
    find_faces: photographs.FindFaces | bool = False,
    votes: str | os.PathLike[str] | None = None,
    classes: int | None = None,
    with_tfds: bool | None = None,
    force: bool = False,
    progress: sources.Progress | None = None,
) -> Prepared:
    """Read a source and write a prepared dataset, whole or not at all.

    The folder `out` gets `faces.npz` (see `load`), `manifest.json`, and `tfds/`, the data folder of
    a TensorFlow Datasets builder. A second call with the same source and options does nothing.

    Args:
        source: any form that `sources.read` reads.
        split: "official" or "card".
        seed: of the "card" split.
        drop: any of `DROPS`: "blank", "conflicts", "leaks".
        size: (H, W) of the images, in pixels.
        skip_bad: leave images out that cannot be read, and list them in the manifest; and go on
            without classes of which there are no images.
        classes_level, labels, find_faces: as in `sources.read`. With `find_faces` the manifest says
            where each image's face is in its picture, by which rule it was cropped, and which
            pictures have none or several.
        votes: a table of what several people said of each image: FER+'s fer2013new.csv, or image
            names and a column a class; see `votes_files`. They become `Faces.votes`.
        classes: 8 adds contempt to FER2013's seven classes, which votes may be for though no label
            of FER2013 is; 7, or None, leaves them as they are.
        with_tfds: write `tfds/`; None: where tensorflow and tensorflow-datasets are installed, and
            a folder that is prepared already stays as it is, with or without.
        force: replace a folder that holds something else; never one that holds the source.

    Raises:
        DataError: the source or the votes cannot be used, or `out` holds something else, or one of
            them.
        WriteError: `out` cannot be written.
    """
    _check_choices(split, drop, votes, classes)
    target = Path(out)
    _refuse_around(source, target, "source")
    if votes is not None:
        _refuse_around(votes, target, "votes")
    installed = all(map(importlib.util.find_spec, ("tensorflow", "tensorflow_datasets")))
    find = sources.finding(find_faces)
    table = None if votes is None else votes_files.read(votes)
    options: dict[str, Any] = {
        "split": split,
        "seed": seed if split == "card" else None,
        "drop": sorted(set(drop)),
        "size": list(size),
        "skip_bad": skip_bad,
        "tfds": installed if with_tfds is None else with_tfds,
    }
    further = {
        "classes_level": classes_level,
        "labels": None if labels is None else as_text(labels),
        "find_faces": None if find is None else find.to_json(),
        "votes": None if table is None else table.sha256,
        "classes": classes,
    }
    options |= {name: value for name, value in further.items() if value is not None}
    wanted = {"format": FORMAT, "source_sha256": fingerprint(source), "options": options}
    unlike: list[str] = []
    if (earlier := _earlier(target, force=force)) is not None:
        unlike = differences(earlier, wanted, tfds_too=with_tfds is not None)
        if not unlike:
            return Prepared(target, earlier, False)
    _check_target(target, source, unlike, force=force, with_tfds=options["tfds"])

    read = sources.read(
        source,
        size=size,
        skip_bad=skip_bad,
        classes_level=classes_level,
        labels=labels,
        find_faces=find or False,
        progress=progress,
    )
    faces, described = _made_of(read, table, split, seed, classes, drop)
    manifest = {**wanted, "ferjax": __version__, "source": Path(source).name, **described}
    if find is not None:
        manifest |= photographs.described(read.pictures, faces)
    _write(target, faces, manifest, progress)
    return Prepared(target, manifest, True)


def _made_of(
    read: Read,
    table: votes_files.VotesTable | None,
    split: str,
    seed: int,
    classes: int | None,
    drop: Sequence[str],
) -> tuple[Faces, dict[str, Any]]:
    """Return what is written of the faces that were read, and what the manifest says of it.

    Arguments are those of `prepare`; `table` has the votes.
    """
    described: dict[str, Any] = {}
    if table is not None:  # before images go or move: by their place in the source
        joined = votes_joining.join(read, table)
        read = replace(read, faces=joined.faces)
        described["votes"] = joined.to_json(table)
    faces = splits.apply(read.faces, split, seed=seed, left_out=read.left_out)
    if classes is not None:
        faces = votes_joining.with_classes(faces, classes)
    faces, described["dropped"] = _drop(faces, drop)
    described |= _described(read, faces)
    if faces.votes is not None:
        images = int(faces.votes.asked.sum())  # of those that stay
        described["votes"] |= {"images": images, "without": len(faces) - images}
    return faces, described


def _write(
    target: Path, faces: Faces, manifest: dict[str, Any], progress: sources.Progress | None
) -> None:
    """Write the folder, whole or not at all, and add what the arrays' hash is to the manifest."""
    make_folder(target.parent)
    with replacing(target, directory=True) as temporary:
        temporary.mkdir()
        _write_arrays(temporary / ARRAYS, faces)
        manifest["arrays_sha256"] = sha256(temporary / ARRAYS)
        if manifest["options"]["tfds"]:
            _write_tfds(temporary / "tfds", faces, manifest["options"]["split"], progress)
        (temporary / MANIFEST).write_text(json_text(manifest), encoding="utf-8")


# --- what is refused -----------------------------------------------------------------------------


def _check_choices(
    split: str, drop: Sequence[str], votes: str | os.PathLike[str] | None, classes: int | None
) -> None:
    """Raise where options of `prepare` are not known, or do not go together."""
    if unknown := sorted(set(drop) - set(DROPS)):
        raise DataError(f"expected what to drop among {', '.join(DROPS)}, got {', '.join(unknown)}")
    if split not in splits.SCHEMES:
        raise DataError(f"expected a split among {', '.join(splits.SCHEMES)}, got {split!r}")
    if classes is not None and votes is None:
        raise DataError("--classes (classes=) is for --votes (votes=)")
    if classes is not None:
        votes_joining.check_classes(classes)


def _earlier(target: Path, *, force: bool) -> dict[str, Any] | None:
    """Return the manifest of what was prepared before, or None; with `force` a damaged one is."""
    try:
        return manifest_of(target)
    except DataError:
        if not force:
            raise
    return None


def _check_target(
    target: Path,
    source: str | os.PathLike[str],
    unlike: Sequence[str],
    *,
    force: bool,
    with_tfds: bool,
) -> None:
    """Raise where a dataset cannot be written, before reading, which takes a while.

    `unlike` says in what a dataset that was prepared there before is another one.
    """
    if with_tfds and not is_utf8(os.path.realpath(target)):
        raise WriteError(
            f"{printable(str(target))}: TensorFlow writes to paths in UTF-8 alone; --no-tfds "
            "(with_tfds=False) leaves tfds/ out"
        )
    check_folder(Path(os.path.realpath(target)).parent)
    if target.exists() and not target.is_dir():
        raise WriteError(f"{target}: is a file already, expected a place for a folder")
    if target.exists() and any(target.iterdir()):
        _refuse_parts(source, target)
        if not force:
            other = f"another prepared dataset: {'; '.join(unlike)}"
            content = other if unlike else "something else"
            raise DataError(f"{target}: holds {content}; --force (force=True) replaces it")


def _refuse_around(source: str | os.PathLike[str], target: Path, role: str) -> None:
    """Refuse a target that is a source or a folder around it, which would be deleted with it."""
    path = Path(os.path.realpath(source))
    if not (path.exists() and target.exists()):
        return
    # Names of one folder may differ, where capitals do not count.
    if any(os.path.samefile(folder, target) for folder in (path, *path.parents)):
        raise DataError(
            f"{target}: holds the {role}, {source}, which would be deleted; give another folder "
            "for --out (`out`)"
        )


def _refuse_parts(source: str | os.PathLike[str], target: Path) -> None:
    """Refuse a target that holds files of the source: as a folder in it, or linked to from it."""
    if not Path(source).is_dir():
        return
    place = os.path.realpath(target)
    for name, file in _files(Path(source)):
        if Path(os.path.realpath(file)).is_relative_to(place):
            raise DataError(
                f"{target}: holds files of the source, such as {printable(name, 100)}, which would "
                "be deleted; give another folder for --out (`out`)"
            )


# --- what is written and read --------------------------------------------------------------------


def _described(read: Read, faces: Faces) -> dict[str, Any]:
    """Return what a manifest says of the images."""
    return {
        "source_kind": read.kind,
        "class_names": list(faces.class_names),
        "counts": {
            name: dict(zip(faces.class_names, counts.tolist()))
            for name, counts in zip(SPLITS, faces.counts)
        },
        "notes": list(faces.notes),
        "bad": [{"name": name, "reason": reason} for name, reason in read.bad],
    }


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Whether `load` is for it: a folder that `prepare` made, or its `faces.npz`."""
    path = Path(path)
    return path.name == ARRAYS or all((path / name).is_file() for name in (ARRAYS, MANIFEST))


def load(path: str | os.PathLike[str]) -> Faces:
    """Return the faces of a prepared folder, or of its `faces.npz`, without TensorFlow.

    Raises:
        DataError: there is no prepared dataset, or it is damaged.
    """
    file = Path(path) / ARRAYS if Path(path).is_dir() else Path(path)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            votes = None
            if "votes" in arrays:
                votes = Votes(counts=arrays["votes"], names=_texts(arrays, "vote_names"))
            return Faces(
                images=arrays["images"],
                labels=_integers(arrays, "labels"),
                splits=_integers(arrays, "splits"),
                names=_texts(arrays, "names"),
                class_names=_texts(arrays, "class_names"),
                source_sizes=_integers(arrays, "source_sizes"),
                notes=_texts(arrays, "notes"),
                votes=votes,
            )
    except FileNotFoundError:
        raise DataError(f"{path}: no {ARRAYS}; `ferjax data prepare` makes it") from None
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file}: not a prepared dataset, or damaged ({error}); `ferjax data prepare` makes "
            "one of archives, tables and folders"
        ) from None


def _integers(arrays: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = arrays[name]
    if values.dtype.kind not in "iu":
        raise ValueError(f"expected integers for {name!r}, got {values.dtype}")
    return values


def _texts(arrays: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = arrays[name]
    if values.dtype.kind != "U" or values.ndim != 1:
        raise ValueError(f"expected texts for {name!r}, got {values.dtype} {values.shape}")
    return tuple(values.tolist())


def read_prepared(path: str | os.PathLike[str]) -> tuple[Read, dict[str, Any]]:
    """Return the faces of a prepared folder as a source, and its manifest, which may be empty.

    Raises:
        DataError: as in `load`.
    """
    faces = load(path)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    manifest = manifest_of(folder) or {}
    if manifest:
        source, split = printable(manifest["source"], 80), manifest["options"]["split"]
        left_out = f"{len(manifest['dropped']):,} dropped, {len(manifest['bad']):,} bad"
        note = f"prepared from {source}, {split} split; left out: {left_out}"
        faces = faces.with_notes(note)
    return Read(faces=faces, bad=(), kind="prepared", container="folder"), manifest


def fingerprint(source: str | os.PathLike[str]) -> str:
    """Return a SHA-256 of a file, or of the names and contents of the files read from a folder."""
    path = Path(source)
    if path.is_file():
        return sha256(path)
    if not path.is_dir():
        raise DataError(f"{source}: no such file or folder")
    total = hashlib.sha256()
    for name, file in sorted(_files(path), key=lambda item: item[0].split("/")):
        if os.path.isfile(file):  # opening a pipe would wait
            total.update(f"{name}\0{sha256(file)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _files(source: Path) -> Iterator[tuple[str, str]]:
    """Yield the files of a folder that reading sees, with the folder in errors."""
    try:
        yield from files_of(source)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _drop(faces: Faces, drop: Sequence[str]) -> tuple[Faces, list[dict[str, str]]]:
    """Return the faces that stay, and what went and why; every reason is found before any goes."""
    masks = {name: DROPS[name][0](faces) for name in DROPS if name in drop}
    dropped = []
    gone = np.zeros(len(faces), bool)
    for name, mask in masks.items():
        for row in np.flatnonzero(mask & ~gone).tolist():
            split = SPLITS[faces.splits[row]]
            entry = {"name": faces.names[row], "split": split, "drop": name, "why": DROPS[name][1]}
            dropped.append(entry)
        gone |= mask
    return faces.take(~gone), dropped


def _write_arrays(path: Path, faces: Faces) -> None:
    votes: dict[str, Any] = {}
    if faces.votes is not None:
        votes = {"votes": faces.votes.counts, "vote_names": np.array(faces.votes.names, np.str_)}
    # Uncompressed: faces hardly compress, and training starts in a tenth of the time.
    np.savez(
        path,
        images=faces.images,
        labels=faces.labels,
        splits=faces.splits,
        names=np.array(faces.names, np.str_),
        class_names=np.array(faces.class_names, np.str_),
        source_sizes=faces.source_sizes,
        notes=np.array(faces.notes, np.str_),
        **votes,
    )


def _write_tfds(folder: Path, faces: Faces, scheme: str, progress: sources.Progress | None) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow's own greetings
    try:
        import tensorflow_datasets as tfds

        from ferjax.data.tfds_builder import Fer2013, add_random_access
    except ImportError:
        raise DataError(
            "a TFDS dataset needs tensorflow and tensorflow-datasets: pip install 'ferjax[train]' "
            "(Python 3.11 to 3.13), or leave it out (--no-tfds)"
        ) from None
    tfds.disable_progress_bar()
    builder = Fer2013.from_faces(faces, folder, scheme, progress)
    with redirect_stdout(io.StringIO()):  # it reports a download that does not happen
        builder.download_and_prepare()
        add_random_access(builder)
    shutil.rmtree(folder / "downloads", ignore_errors=True)
