"""Read faces from the forms in which they circulate; the content says which one a source is.

- Folders, or a .zip or .tar.gz of them: <split>/<class>/<image>, as in Kaggle's archive of FER2013
  (train and test; angry, disgusted, ... im0.png, im1.png) and in people's own datasets, in which
  `folders` tells splits and classes by their names and structure.
- The JPEG mirror of FER2013: class folders with files Training_*, PublicTest_*, PrivateTest_*.
- fer2013.csv and icml_face_data.csv, as they are or inside any of these, and other tables of pixels
  in the dialects that `csv_dialect` knows.
- Images beside a list of their labels, such as RAF-DB's.
- Parquet files as Hugging Face has them: an image and a label a row, a file a split.

Everything becomes `Faces` of one size, by the published preprocessing: OpenCV's gray, then its
bilinear resize. Emotions have one order, `ferjax.EMOTIONS`, whatever the source calls them.

Dimension keys: N images, H height, W width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ferjax.data import photographs, tables
from ferjax.data.class_numbers import NumberNames
from ferjax.data.containers import PREPARED, Container, Member, opened
from ferjax.data.csv_dialect import Dialect, recognized
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.image_folders import read_images
from ferjax.data.reading import Options, Progress, Read, opened_member, suffix
from ferjax.errors import DataError, printable
from ferjax.image_files import IMAGE_SUFFIXES
from ferjax.preprocessing import check_size

__all__ = ["KINDS", "Progress", "Read", "read"]

KINDS: Final = {
    "csv": "fer2013.csv: a row an image",
    "kaggle": "Kaggle's archive of FER2013: train and test, images im0, im1, ...",
    "mirror": "JPEG mirror of FER2013: images Training_*, PublicTest_*, PrivateTest_*",
    "parquet": "parquet: a row an image",
    "folders": "class folders",
    "prepared": "prepared by `ferjax data prepare`",
}

_LISTED: Final = 5  # bad items named in an error
_LONGEST: Final = 4096  # of a side, pixels: all of a dataset's images are held at once


def read(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] = (48, 48),
    skip_bad: bool = False,
    classes_level: int | None = None,
    labels: NumberNames | None = None,
    find_faces: photographs.FindFaces | bool = False,
    progress: Progress | None = None,
) -> Read:
    """Read a dataset of faces.

    Args:
        path: a folder, a zip or tar archive, a csv or a parquet file; see the module.
        size: (H, W) of the result in pixels.
        skip_bad: go on without images, rows and classes that are bad or missing.
        classes_level: which of the folders that lead to an image is its class, counted from the
            outermost, 1; None: told by their names and structure.
        labels: what numbers mean in the place of class names: one of `ferjax.emotions.ORDERS` by
            its name; names in the order of the numbers; {1: "happy", ...}; or "numbers", which
            keeps them. None: 0 to 6 in a csv of pixels are fer2013.csv's, others are asked for.
        find_faces: the images are whole photographs: find and crop the face in each. True stands
            for the defaults of `FindFaces`.
        progress: called now and then with what is done, the total, and their unit.

    Returns:
        The faces, uint8 (N, H, W), and what was left out. Splits are those of the source:
        `ferjax.data.splits.official` finds PublicTest in Kaggle's archive.

    Raises:
        DataError: nothing can be read, or, without `skip_bad`, anything is bad; the first bad items
            are named, with their number.
    """
    options = Options(
        size=check_size(size, _LONGEST),
        classes_level=classes_level,
        labels=labels,
        find_faces=finding(find_faces),
        progress=progress or (lambda done, total, unit: None),
    )
    shown = printable(os.fsdecode(path)) or "''"
    with opened(path) as container:
        try:
            source = _read(container, options)
        except DataError as error:
            raise DataError(f"{shown}: {error}") from error
    faces = source.faces
    if source.pictures:
        faces = faces.with_notes(*photographs.notes_of(source.pictures.values()))
    missing = _missing(faces, "faces" if source.pictures else "images")
    if not skip_bad or not len(faces):
        problems = _problems(source, missing)
        if problems:
            hint = "; skip_bad (--skip-bad) goes on without them" if len(faces) else ""
            raise DataError(f"{shown}: {'; '.join(problems)}{hint}")
    return replace(source, faces=faces.with_notes(*missing))


def finding(find_faces: photographs.FindFaces | bool) -> photographs.FindFaces | None:
    """Return how faces are found; None where they are not."""
    if isinstance(find_faces, photographs.FindFaces):
        return find_faces
    if not isinstance(find_faces, bool):
        raise DataError(f"expected True, False or a FindFaces for `find_faces`, got {find_faces!r}")
    return photographs.FindFaces() if find_faces else None


# --- which kind of source ------------------------------------------------------------------------


def _read(container: Container, options: Options) -> Read:
    images = [m for m in container.members if suffix(m) in IMAGE_SUFFIXES]
    dialects, problems = _tables(container, (".csv",) if images else (".csv", ".tsv", ".txt"))
    parquets = [member for member in container.members if tables.is_parquet(container, member)]
    forms = [form for form in (list(dialects), images, parquets) if form]
    if problems and not forms:
        raise problems[0]
    if container.kind == "file" and not (dialects or parquets):
        container.read(container.members[0])  # says what is expected
    _check_forms(container, forms)
    if options.classes_level is not None and not images:
        raise DataError("--classes-level (classes_level=) is for images in folders")
    if parquets:
        return tables.read_parquets(container, parquets, options)
    if dialects:
        return tables.read_tables(container, dialects, options)
    return read_images(container, images, options)


def _tables(
    container: Container, suffixes: Sequence[str]
) -> tuple[dict[Member, Dialect], list[DataError]]:
    """Return the tables of pixels, and what others lack."""
    dialects: dict[Member, Dialect] = {}
    problems = []
    for member in container.in_order(container.members):
        if container.kind == "file" or suffix(member) in suffixes:
            try:
                with opened_member(container, member) as stream:
                    if dialect := recognized(stream):
                        dialects[member] = dialect
            except DataError as error:
                problems.append(error)
    # The competition's archive has a train.csv beside icml_face_data.csv.
    if len(dialects) > 1 and any(dialect.usage is not None for dialect in dialects.values()):
        dialects = {m: dialect for m, dialect in dialects.items() if dialect.usage is not None}
    return {m: dialects[m] for m in container.members if m in dialects}, problems


# --- what is refused -----------------------------------------------------------------------------


def _problems(source: Read, missing: list[str]) -> list[str]:
    """Return what is wrong with a source, a sentence each; `missing` says which classes are."""
    images, pictures = len(source.faces), len(source.pictures)
    if source.bad:
        total = len(source.bad) + max(images, pictures)
        # Of a damaged source hardly any class may be left; the damage says enough.
        return [_list_bad(source.bad, total, source.kind), *(missing if images else [])]
    if images:
        return missing
    if pictures:
        return [f"no face to take in any of {pictures:,} pictures"]
    return ["no rows under the header" if source.kind == "csv" else "no images"]


def _list_bad(bad: Sequence[tuple[str, str]], total: int, kind: str) -> str:
    unit = "images" if kind in ("kaggle", "mirror", "folders") else "rows"
    listed = "; ".join(printable(f"{name}: {reason}", 300) for name, reason in bad[:_LISTED])
    more = f"; and {len(bad) - _LISTED:,} more" if len(bad) > _LISTED else ""
    return f"{len(bad):,} of {total:,} {unit} cannot be used: {listed}{more}"


def _missing(faces: Faces, unit: str) -> list[str]:
    """Return a sentence if there is nothing to learn a class from."""
    train = faces.counts[SPLITS.index("train")]
    counts, where = (train, " in train") if train.any() else (faces.counts.sum(0), "")
    names = [printable(name) for name in faces.class_names]
    missing = [name for name, count in zip(names, counts) if not count]
    present = [name for name, count in zip(names, counts) if count]
    only = f", only of {', '.join(present)}" if 0 < len(present) <= len(missing) else ""
    return [f"no {unit} of {', '.join(missing)}{where}{only}"] if missing else []


def _check_forms(container: Container, forms: Sequence[Sequence[Member]]) -> None:
    """Raise unless a source holds one form of dataset: `forms` are the files of each."""
    if len(forms) > 1:
        raise DataError(
            f"holds {forms[0][0].name!r} and {forms[1][0].name!r}; expected either a csv, images "
            "or parquet files, name one"
        )
    if forms or container.bad:
        return
    inside = [member.name for member in container.members]
    if "xl/workbook.xml" in inside:
        raise DataError("an Excel workbook; save it as a csv")
    if set(PREPARED) <= set(inside):
        raise DataError("prepared already; expected what it was prepared from")
    content = f"{len(inside):,} other files, such as {inside[0]!r}" if inside else "nothing"
    packed = any(re.search(r"\.(zip|t?gz|tar|bz2|xz|rar|7z)$", name) for name in inside)
    raise DataError(
        f"expected images in <split>/<class>/ or fer2013.csv, got {content}"
        f"{'; unpack the archives in it first' if packed else ''}"
    )
