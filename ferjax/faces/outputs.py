"""Which photographs are given, and where what is made of them goes: drawings and crops.

What comes from a folder keeps its place below it. `party.jpg` is drawn as `party.faces.jpg`, and
its faces are `party.face1.png`, ... No two photographs share a name, and no name is that of a file
which ferjax did not make.
"""

from __future__ import annotations

import os
import re
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ferjax.errors import ImageError, printable
from ferjax.image_files import find_images

_MADE: Final = re.compile(r".\.(?:faces\.[^.]+(?:\.png)?|face[0-9]+\.png)$", re.DOTALL)
_CROP: Final = re.compile(r"(\.face)[0-9]+\.png$")
_MARK: Final = b"ferjax faces"
_LONGEST: Final = 200  # bytes of a name's stem; a name has at most 255


@dataclass(frozen=True)
class InputFile:
    """A photograph, and the folder that it lies in, seen from the folder that was given."""

    path: Path
    folder: Path

    @property
    def key(self) -> str:
        """What tells photographs apart, wherever the process runs."""
        return os.path.abspath(self.path)


def find_photographs(arguments: Sequence[str]) -> tuple[list[InputFile], int]:
    """Return the photographs at some paths, each once, and how many files were left out.

    Left out are drawings and crops that ferjax made, where other photographs are given too.

    Raises:
        ImageError: as for `find_images`, or all that a folder holds is left out.
    """
    inputs: dict[str, InputFile] = {}
    products: dict[str, InputFile] = {}  # drawings and crops that were given one by one
    left_out = 0
    for argument in arguments:
        paths = find_images([argument])
        if not os.path.isdir(argument):
            item = InputFile(paths[0], Path())
            (products if is_made(item.path) else inputs).setdefault(item.key, item)
            continue
        photographs = [path for path in paths if not is_made(path)]
        left_out += len(paths) - len(photographs)
        if not photographs:
            raise ImageError(
                printable(
                    f"{argument}: no photographs in this folder but drawings and crops of some"
                )
            )
        for path in photographs:
            item = InputFile(path, path.parent.relative_to(argument))
            inputs.setdefault(item.key, item)
    if inputs:
        return list(inputs.values()), left_out + len(products)
    return list(products.values()), 0


# --- what was made -------------------------------------------------------------------------------


def marked(data: bytes, encoding: str) -> bytes:
    """Return an image file that `is_made` tells from a photograph.

    Args:
        data: the file.
        encoding: its format, one of the values of `ENCODINGS`.
    """
    if encoding == ".png":  # after the header's chunk
        chunk = b"tEXtSoftware\0" + _MARK
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:33] + chunk + data[33:]
    if encoding == ".jpg" and data[2:4] == b"\xff\xe0":  # after the segment that says it is JFIF
        end = 4 + int.from_bytes(data[4:6], "big")
        comment = b"\xff\xfe" + struct.pack(">H", len(_MARK) + 2) + _MARK
        return data[:end] + comment + data[end:]
    return data + _MARK  # what no decoder looks at


def is_made(path: Path) -> bool:
    """Whether a file is a drawing or a crop that ferjax made, by its name and by what is in it."""
    if not _MADE.search(path.name):
        return False
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            head = file.read(256)
            file.seek(-min(len(_MARK), os.fstat(file.fileno()).st_size), os.SEEK_END)
            return _MARK in head or file.read() == _MARK
    except (OSError, ValueError):
        return False


def has_made_name(name: str) -> bool:
    """Whether a file is called as drawings and crops are."""
    return _MADE.search(name) is not None


def is_marked(data: bytes) -> bool:
    """Whether an image file is a drawing or a crop that ferjax made; see `marked`."""
    return _MARK in data[:256] or data.endswith(_MARK)


# --- names ---------------------------------------------------------------------------------------


def drawing_names(root: str | os.PathLike[str], inputs: Sequence[InputFile]) -> list[Path]:
    """Return the file of every photograph's drawing."""
    sources = {_folded(os.path.realpath(item.path)) for item in inputs}
    suffixes = [suffix_of(item.path) for item in inputs]
    return _names(root, inputs, ".faces", suffixes, sources, _is_of_others)


def crop_names(root: str | os.PathLike[str], inputs: Sequence[InputFile]) -> list[Path]:
    """Return what the files of every photograph's faces begin with; see `crop_name`."""
    sources = {
        _folded(_CROP.sub(r"\1", os.path.realpath(item.path)))
        for item in inputs
        if _CROP.search(item.path.name)
    }
    folders: dict[Path, set[str]] = {}

    def is_others(path: Path) -> bool:
        if path.parent not in folders:
            folders[path.parent] = _crops_of_others(path.parent)
        return _folded(path.name) in folders[path.parent]

    return _names(root, inputs, ".face", [""] * len(inputs), sources, is_others)


def crop_name(begin: Path, number: int) -> Path:
    """Return the file of a photograph's face.

    >>> crop_name(Path("out/party.face"), 2).as_posix()
    'out/party.face2.png'
    """
    return begin.with_name(f"{begin.name}{number}.png")


def as_png(path: Path) -> Path:
    """Return the file of a drawing whose format does not take a picture of its size."""
    return path.with_name(f"{path.name}.png")


def suffix_of(path: Path) -> str:
    """Return the suffix of what is drawn: the photograph's, where such files can be written.

    >>> suffix_of(Path("a.JPG")), suffix_of(Path("a.gif")), suffix_of(Path("a"))
    ('.JPG', '.png', '.png')
    """
    return path.suffix if path.suffix.lower() in ENCODINGS else ".png"


# By suffix, what OpenCV calls the format.
ENCODINGS: Final = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), ".jpg"),
    **dict.fromkeys((".tif", ".tiff"), ".tiff"),
    **dict.fromkeys((".bmp", ".dib"), ".bmp"),
    **dict.fromkeys((".ppm", ".pnm"), ".ppm"),
    **{suffix: suffix for suffix in (".png", ".webp", ".jp2", ".avif")},
}


def _names(
    root: str | os.PathLike[str],
    inputs: Sequence[InputFile],
    mark: str,
    suffixes: Sequence[str],
    sources: set[str],
    is_others: Callable[[Path], bool],
) -> list[Path]:
    real = Path(os.path.realpath(root))
    taken: dict[str, Path] = {}  # by name, the folder whose photograph has it
    names = []
    for item, suffix in zip(inputs, suffixes, strict=True):
        first = _key(item, _cut(item.path.stem), mark, suffix)
        here = item.path.parent.absolute()
        for stem in _stems(item, beside=taken.get(first, here) != here):
            key = _key(item, stem, mark, suffix)
            name = f"{stem}{mark}{suffix}"
            path = real / item.folder / name
            if not (key in taken or _folded(str(path)) in sources or is_others(path)):
                break
        taken[key] = here
        names.append(Path(root, item.folder, name))
    return names


def _is_of_others(path: Path) -> bool:
    """Whether a drawing would take the place of something that ferjax did not make."""
    return any(os.path.lexists(file) and not is_made(file) for file in (path, as_png(path)))


def _crops_of_others(folder: Path) -> set[str]:
    """Return what names of files in a folder begin with that are called as crops and are none."""
    try:
        names = os.listdir(folder)
    except OSError:  # it is not there yet, for one
        return set()
    return {
        _folded(_CROP.sub(r"\1", name))
        for name in names
        if _CROP.search(name) and not is_made(folder / name)
    }


def _key(item: InputFile, stem: str, mark: str, suffix: str) -> str:
    return _folded(os.path.join(item.folder, f"{stem}{mark}{suffix}"))


def _stems(item: InputFile, *, beside: bool) -> Iterator[str]:
    """Yield stems, the next where one is taken; `beside`, by a photograph of another folder."""
    stem = _cut(item.path.stem)
    yield stem
    if beside:
        stem = _cut(f"{item.path.absolute().parent.name}-{stem}")
        yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _cut(stem: str) -> str:
    while len(os.fsencode(stem)) > _LONGEST:
        stem = stem[: len(stem) - max(1, (len(os.fsencode(stem)) - _LONGEST) // 4)]
    return stem


def _folded(name: str) -> str:
    """Return what is the same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()
