"""The pictures that a run makes of photographs: drawings of the faces in them, and crops."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from ferjax.classifier import EmotionClassifier
from ferjax.errors import WriteError
from ferjax.faces import outputs
from ferjax.faces.cropping import crop
from ferjax.faces.drawing import draw
from ferjax.faces.explaining import heatmaps
from ferjax.faces.face import Face, Photograph
from ferjax.faces.settings import Settings
from ferjax.files import LETTERS, make_folder, remove_left_over, replacing
from ferjax.image_files import UInt8Array, encode


class PictureFiles:
    """The files of a run's photographs, which are told by their number in it."""

    def __init__(
        self,
        classifier: EmotionClassifier,
        inputs: Sequence[outputs.InputFile],
        settings: Settings,
    ) -> None:
        """Choose the names; nothing is written.

        Args:
            classifier: what tells the expressions.
            inputs: the photographs.
            settings: which pictures are made, where, and how.
        """
        self._classifier, self._settings = classifier, settings
        self._sources = {os.path.realpath(item.path) for item in inputs}
        self._drawings: list[Path] = []
        self._crops: list[Path] = []  # what the names of each photograph's crops begin with
        if settings.draw is not None:
            self._drawings = outputs.drawing_names(settings.draw, inputs)
        if settings.crops is not None:
            self._crops = outputs.crop_names(settings.crops, inputs)

    @property
    def are_wanted(self) -> bool:
        """Whether any are made."""
        return bool(self._drawings or self._crops)

    def begin(self, pool: Executor, index: int, photograph: Photograph) -> list[Future[Path]]:
        """Begin to write those of a photograph, and return where each is going to be: the drawing
        first, then a crop for each face; none of one that cannot be read."""
        image, files = photograph.image, []
        if image is not None and self._drawings:
            path = self._drawings[index]
            drawn = self._drawn(image, photograph.faces)
            encoding = outputs.ENCODINGS[path.suffix.lower()]
            files.append(pool.submit(self._save, path, drawn, encoding))
        if image is not None and self._crops:
            for number, face in enumerate(photograph.faces, start=1):
                path = outputs.crop_name(self._crops[index], number)
                files.append(pool.submit(self._save, path, self._cropped(image, face), ".png"))
        return files

    def are_there(self, index: int, drawing: object, faces: int) -> bool:
        """Whether those that an earlier run made of a photograph are there, and would have the same
        names now.

        Args:
            index: the photograph's number.
            drawing: the name of its drawing then.
            faces: how many it had.
        """
        files = []
        if self._drawings:
            expected = self._drawings[index]
            if drawing not in (expected.name, outputs.as_png(expected).name):
                return False
            files.append(expected.with_name(str(drawing)))
        if self._crops:
            files += [outputs.crop_name(self._crops[index], number + 1) for number in range(faces)]
        return all(os.path.isfile(file) for file in files)

    def remove_crops(self, index: int, faces: int, earlier: int) -> None:
        """Remove crops of a photograph that had more faces earlier."""
        for number in range(faces, earlier if self._crops else 0):
            with suppress(OSError):
                outputs.crop_name(self._crops[index], number + 1).unlink()

    def remove_left_over(self) -> None:
        """Remove what a process left that was killed while it wrote one of them."""
        names_in: dict[Path, set[str]] = {}  # by folder, what names begin with
        for path in [*self._drawings, *self._crops]:
            names_in.setdefault(path.parent, set()).add(path.name[:LETTERS])
        for folder, names in names_in.items():
            remove_left_over(folder, partial(_is_of, names))

    def _cropped(self, image: UInt8Array, face: Face) -> UInt8Array:
        """Return what the network is shown of a face: gray, (h, h), where it takes gray.

        A colour PNG would be read as gray by libpng, which rounds down, and predicted otherwise.
        """
        import cv2

        cut = crop(image, face)
        if self._classifier.graph.image_shape[2] == 3:
            return cut
        return np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), np.uint8)

    def _drawn(self, image: UInt8Array, faces: list[Face]) -> UInt8Array:
        settings = self._settings
        maps = None
        if settings.explain:
            maps = heatmaps(self._classifier, image, faces, resize=settings.resize)
        return draw(image, faces, anonymise=settings.anonymise, heatmaps=maps)

    def _save(self, path: Path, image: UInt8Array, encoding: str) -> Path:
        """Write a picture, as PNG where its format does not take it, and return where."""
        data = encode(image, encoding)
        if data is None:
            path, encoding = outputs.as_png(path), ".png"
            data = encode(image, encoding)
        if data is None:
            raise WriteError(f"{path}: no format takes {image.shape[1]} x {image.shape[0]} pixels")
        if os.path.realpath(path) in self._sources:
            raise WriteError(f"{path}: leads to one of the photographs; give another folder")
        make_folder(path.parent)
        with replacing(path) as temporary:
            temporary.write_bytes(outputs.marked(data, encoding))
        return path


def _is_of(names: set[str], name: str) -> bool:
    """Whether a name, perhaps cut, is one of these, or that of a crop which begins with one.

    >>> _is_of({"party.face"}, "party.face12.pn"), _is_of({"party.face"}, "party.face")
    (True, True)
    """
    return name in names or re.sub(r"[0-9]+(\.p?n?g?)?$", "", name) in names
