"""Measure what a run has predicted, by its stored probabilities; no network runs.

Where the expression on pictures is known, by the folder that they lie in or by a list.

Dimension keys: F faces, K classes.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.data import csv_dialect
from ferjax.data.photographs import SEVERAL, chosen
from ferjax.emotions import plain_name
from ferjax.errors import DataError, printable
from ferjax.evaluate import metrics, provenance
from ferjax.evaluate.attributes import read_attributes
from ferjax.evaluate.evaluation import Evaluation, Predictions, made
from ferjax.evaluate.subgroups import check_comparisons, compare_groups
from ferjax.faces.results import uncell
from ferjax.prediction_tables import PredictionTable, opened
from ferjax.prediction_tables.parts import Progress
from ferjax.prediction_tables.rows import Rows

MAX_LIST: Final = 2**30  # bytes of a list of labels: ten million pictures

_LEVELS: Final = 30  # of folders that are looked at
_NAMED: Final = 5  # labels that are no class
_NONE: Final = -1  # no face, no label


@dataclass(frozen=True, kw_only=True, eq=False)
class _Faces:
    """The pictures of a table, and their faces, F.

    Attributes:
        paths: of the pictures.
        failed: which of them could not be read.
        picture: int (F,), of each face, a position in `paths`.
        size: float64 (F,), in pixels; zeros where all of a picture is the face.
        predicted: int (F,), the class that the table says; -1 where it says none.
        probabilities: float32 (F, K).
    """

    paths: list[str]
    failed: npt.NDArray[np.bool_]
    picture: npt.NDArray[np.int64]
    size: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


def evaluate_table(
    table: PredictionTable | str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    several: str = "clear",
    attributes: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure what a table of predictions says of pictures whose label is known.

    Args:
        table: a folder of Parquet files, a Parquet file or a CSV file, or its address; see
            `ferjax.prediction_tables`.
        labels: a CSV with a header, whose first column is the picture's path, or the end of it, and
            of which one is called `label`; None: a picture's label is the name of a folder that it
            lies in, where that is a class. Any name of an emotion will do: "Happiness" for "happy".
        several: which face of several the label is of; see `ferjax.data.photographs.SEVERAL`.
        attributes: as for `ferjax.evaluate.evaluate`.
        seed: of bootstraps and permutations.
        progress: called with (done, total, unit) now and then.

    Returns:
        The same as `ferjax.evaluate.evaluate`, in which nothing is known of the weights and no
        images are kept. `data["left_out"]` says how many pictures do not count, and why.

    Raises:
        DataError: the table or the list cannot be used, or no picture with a face has a label.
        FerjaxError: scikit-learn is missing.
    """
    begun = time.monotonic()
    metrics.require_sklearn()
    if several not in SEVERAL:
        raise DataError(f"expected {', '.join(SEVERAL)} for --several (several=), got {several!r}")
    if not isinstance(table, PredictionTable):
        table = opened(table, progress=progress)
    if table.kind == "films":
        raise DataError(printable(f"{table.shown}: of films; expected faces in pictures"))
    faces = _read(table, progress)
    truth, other_labels = _truth(table, faces.paths, labels)
    face, unclear = _faces_of_pictures(faces, several)
    measured = np.flatnonzero((truth != _NONE) & (face != _NONE))
    _check_some(table, labels, truth, measured, other_labels)
    rows = face[measured]
    left_out = _left_out(faces, truth, face, unclear, other_labels)
    names = tuple(faces.paths[picture] for picture in measured.tolist())
    predictions = Predictions(
        images=None,
        names=names,
        labels=truth[measured].astype(np.int32),
        probabilities=faces.probabilities[rows],
        predicted=_predicted(faces)[rows],
        copies=np.zeros(len(rows), bool),
    )
    subgroups = None
    if attributes is not None:
        described = read_attributes(attributes, names, all_names=faces.paths)
        check_comparisons(described)
        subgroups = compare_groups(
            described, predictions.labels, predictions.predicted, table.class_names, seed=seed
        )
    whole = metrics.measure(
        predictions.labels,
        predictions.probabilities,
        table.class_names,
        predicted=predictions.predicted,
        seed=seed,
    )
    return Evaluation(
        weights=_weights(),
        data={
            "name": table.name,
            "split": "labels by folder" if labels is None else f"labels of {Path(labels).name}",
            "images": len(rows),
            "copies": 0,
            "checksum": None,
            "data_checksum": None,
            "copies_of_validation": 0,
            "pictures": len(faces.paths),
            "left_out": left_out,
        },
        class_names=table.class_names,
        tta="none",
        views=1,
        whole=whole,
        without_copies=None,
        calibrated=None,
        votes=None,
        notes=(
            *["the run is not finished"] * table.is_unfinished,
            *_notes(left_out, len(faces.paths), int((faces.predicted[rows] == _NONE).sum())),
        ),
        robustness=None,
        subgroups=subgroups,
        made=made(begun, seed, "none, the probabilities are stored"),
        predictions=predictions,
    )


def _weights() -> dict[str, Any]:
    """Return what is said of weights of which nothing is known."""
    unknown = provenance.described(None)
    return {
        "name": "stored probabilities",
        **dict.fromkeys(("sha256", "architecture", "parameters", "source", "licence")),
        **dict.fromkeys(("trained_on", "selected_on", "calibrated_on"), unknown),
    }


# --- the table -----------------------------------------------------------------------------------


def _read(table: PredictionTable, progress: Progress | None) -> _Faces:
    """Return the pictures and faces of a table.

    Raises:
        DataError: it has no rows, or some are without a path or have no probabilities.
    """
    numbers: dict[str, int] = {}  # of the pictures
    failed: list[int] = []
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for rows in table.batches(progress=progress):
        codes, names = rows.codes("path")
        of_name = np.array([*(numbers.setdefault(name, len(numbers)) for name in names), _NONE])
        picture = of_name[codes]
        if (picture == _NONE).any():
            raise DataError(
                printable(f"{table.shown}: expected a path in every row, some have none")
            )
        failed += picture[rows.has_error()].tolist()
        is_face = rows.is_face()
        probabilities = rows.probabilities()[is_face].astype(np.float32)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise DataError(
                printable(f"{table.shown}: expected probabilities from 0 to 1 for every face")
            )
        size = np.zeros(len(rows)) if table.kind == "crops" else rows.numbers("size")
        parts.append((picture[is_face], size[is_face], _labels(rows)[is_face], probabilities))
    empty = (np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    parts.append((*empty, np.zeros((0, len(table.class_names)), np.float32)))
    columns = [np.concatenate(column) for column in zip(*parts)]
    if not numbers:
        raise DataError(printable(f"{table.shown}: expected rows, the table is empty"))
    is_failed = np.zeros(len(numbers), bool)
    is_failed[failed] = True
    return _Faces(
        paths=list(numbers),
        failed=is_failed,
        picture=columns[0],
        size=columns[1],
        predicted=columns[2],
        probabilities=columns[3],
    )


def _labels(rows: Rows) -> npt.NDArray[np.int64]:
    """Return the class that each row says, int (rows,); -1 for none."""
    codes, names = rows.codes("label")
    classes = {name: number for number, name in enumerate(rows.table.class_names)}
    return np.array([*(classes.get(uncell(name), _NONE) for name in names), _NONE])[codes]


def _predicted(faces: _Faces) -> npt.NDArray[np.int64]:
    """Return a class for each face: the most probable where the run has abstained."""
    best = faces.probabilities.argmax(1)
    return np.where(faces.predicted == _NONE, best, faces.predicted)


def _faces_of_pictures(
    faces: _Faces, several: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the face of each picture that its label is of, -1 for none, and which have several
    of which none is taken.
    """
    face = np.full(len(faces.paths), _NONE)
    unclear = np.zeros(len(faces.paths), bool)
    order = np.lexsort((-faces.size, faces.picture))
    pictures, starts, counts = np.unique(
        faces.picture[order], return_index=True, return_counts=True
    )
    face[pictures] = order[starts]
    for place in np.flatnonzero(counts > 1).tolist():
        of_picture = order[starts[place] : starts[place] + counts[place]]
        taken = chosen(faces.size[of_picture].tolist(), several)
        picture = pictures[place]
        unclear[picture] = taken is None
        face[picture] = _NONE if taken is None else of_picture[taken]
    return face, unclear


# --- labels --------------------------------------------------------------------------------------


def _truth(
    table: PredictionTable, paths: Sequence[str], labels: str | os.PathLike[str] | None
) -> tuple[npt.NDArray[np.int64], Counter[str]]:
    """Return the class of each picture, -1 for none, and how many have labels that are no class."""
    if labels is not None:
        return _numbers(_listed(labels, paths), table.class_names)
    truth, _ = _numbers(_folders(paths, table.class_names), table.class_names)
    return truth, Counter()  # folders that are no class say nothing


def _folders(paths: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Return the name of a folder of each picture, "" for none: at the level, from the picture
    outwards, that names the most classes, so that photographs/happy/2024/im0.png is happy, too.

    Where folders of a level beyond the first name one class alone, they are no class folders.

    >>> _folders(["/home/happy/sad/a.png", "/home/happy/fear/b.png"], ("fear", "happy", "sad"))
    ['sad', 'fear']
    """
    classes = {plain_name(name).casefold() for name in class_names}
    heads = [path[: max(path.rfind("/"), path.rfind("\\")) + 1] for path in paths]
    pictures = Counter(heads)
    # From the picture outwards; what is before the first separator of an absolute path is nothing.
    folders = {head: re.split(r"[/\\]", head)[-2::-1] for head in pictures}
    best, most = 0, (0, 0)
    for level in range(min(_LEVELS, max(map(len, folders.values()), default=0))):
        names: Counter[str] = Counter()
        for head, of_head in folders.items():
            if level < len(of_head):
                names[of_head[level]] += pictures[head]
        known = [name for name in names if plain_name(name).casefold() in classes]
        different = len({plain_name(name).casefold() for name in known})
        score = (different, sum(names[name] for name in known))
        if score > most and (level == 0 or different > 1):
            best, most = level, score
    of_level = {head: names[best] if best < len(names) else "" for head, names in folders.items()}
    return [of_level[head] for head in heads]


def _listed(path: str | os.PathLike[str], paths: Sequence[str]) -> list[str]:
    """Return the label of each picture by a list, "" where it has none."""
    columns = read_attributes(path, paths, most_bytes=MAX_LIST).columns
    plain = {csv_dialect.plain(name): name for name in reversed(columns)}
    name = next((plain[name] for name in csv_dialect.LABELS if name in plain), None)
    if name is None and len(columns) == 1:
        name = next(iter(columns))
    if name is None:
        raise DataError(
            printable(f"{os.fspath(path)}: expected a column label, got {', '.join(columns)}")
        )
    return [label or "" for label in columns[name]]


def _numbers(
    texts: Sequence[str], class_names: Sequence[str]
) -> tuple[npt.NDArray[np.int64], Counter[str]]:
    """Return the class of each label, -1 for none, and how many have labels that are no class."""
    classes = {plain_name(name).casefold(): number for number, name in enumerate(class_names)}
    numbers = {text: classes.get(plain_name(text).casefold(), _NONE) for text in set(texts)}
    others = Counter(text for text in texts if text and numbers[text] == _NONE)
    return np.array([numbers[text] for text in texts], np.int64), others


def _left_out(
    faces: _Faces,
    truth: npt.NDArray[np.int64],
    face: npt.NDArray[np.int64],
    unclear: npt.NDArray[np.bool_],
    other_labels: Counter[str],
) -> dict[str, Any]:
    """Return how many pictures do not count, by why."""
    has_label = truth != _NONE
    has_no_face = has_label & ~faces.failed & ~unclear & (face == _NONE)
    return {
        "without_label": int((~has_label).sum()) - other_labels.total(),
        "other_labels": dict(other_labels.most_common()),
        "failed": int((has_label & faces.failed).sum()),
        "without_face": int(has_no_face.sum()),
        "several_faces": int((has_label & unclear).sum()),
    }


def _check_some(
    table: PredictionTable,
    labels: str | os.PathLike[str] | None,
    truth: npt.NDArray[np.int64],
    measured: npt.NDArray[np.intp],
    other_labels: Counter[str],
) -> None:
    """Raise where there is nothing to measure."""
    if len(measured):
        return
    classes = f"expected a class among {', '.join(table.class_names)}"
    if (truth != _NONE).any():
        reason = "no face was found, or none clearly the largest, in the pictures that have a label"
    elif labels is None:
        reason = (
            f"{classes} for the names of pictures' folders, as in happy/im0.png, and none is; "
            "--labels FILE.csv (labels=) takes a list of path and label"
        )
    else:
        got = ", ".join(text for text, _ in other_labels.most_common(_NAMED))
        reason = f"{classes} for labels in {os.fspath(labels)}, got {got or 'none'}"
    raise DataError(printable(f"{table.shown}: {reason}"))


def _notes(left_out: dict[str, Any], pictures: int, abstained: int) -> tuple[str, ...]:
    """Return what does not count, a sentence each."""
    notes = []
    if left_out["without_label"]:
        count = left_out["without_label"]
        notes.append(f"pictures without a label, which are left out: {count:,} of {pictures:,}")
    if left_out["other_labels"]:
        others = list(left_out["other_labels"].items())
        listed = ", ".join(f"{text} {count:,}" for text, count in others[:_NAMED])
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        count = sum(left_out["other_labels"].values())
        note = "pictures with labels that are no class of the table, which are left out"
        notes.append(printable(f"{note}: {count:,} of {pictures:,} ({listed}{more})", 400))
    reasons = {
        "failed": "that could not be read",
        "without_face": "without a face",
        "several_faces": "with several faces, none clearly the largest (--several largest)",
    }
    unused = [f"{left_out[key]:,} {text}" for key, text in reasons.items() if left_out[key]]
    if unused:
        notes.append(
            "pictures with a label that are left out, so that the figures flatter: "
            f"{', '.join(unused)}"
        )
    if abstained:
        notes.append(
            "faces of which the run has said nothing, whose most probable class counts: "
            f"{abstained:,}"
        )
    return tuple(notes)
