"""The pictures of an evaluation, drawn into a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ferjax.errors import WriteError, printable
from ferjax.evaluate import corruptions, plots
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITIES, Images
from ferjax.files import replacing
from ferjax.pictures import sheet
from ferjax.pictures.figures import missing_letters_told
from ferjax.pictures.palette import PAPER
from ferjax.pictures.sheet import Row

if TYPE_CHECKING:
    from ferjax.evaluate.evaluation import Evaluation

DPI: Final = 150
_MOST_GROUPS: Final = 40
_NAMES: Final = (  # of the pictures that some evaluations have and others have not
    r"(reliability|mistakes|votes_recall|votes_reliability|robustness|corruptions"
    r"|groups_[1-9]\d*)\.png"
)
# What they show.
_RELIABILITY = "Accuracy against confidence; on the diagonal a confidence can be taken at its word."
_COVERAGE = "Accuracy among the most confident predictions, where the others get no answer"
_MISTAKES = "The mistakes of the highest confidence: true class, predicted class, confidence."
_VOTES_RECALL = (
    "Recall by class against the dataset's own label and against the majority of people."
)
_VOTES_RELIABILITY = "The share of people who say the predicted class against confidence."
_ROBUSTNESS = "Accuracy by corruption and severity, and with parts of the face covered."
_CORRUPTIONS = "Two of the faces under each corruption, as they are and at severities 1 to 5."


@missing_letters_told()
def draw_all(
    evaluation: Evaluation,
    folder: str | os.PathLike[str],
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, str]:
    """Draw every picture that the evaluation has figures for into a folder.

    Args:
        progress: called with (done, total, "pictures") after each.

    Returns:
        a description of each picture, by file name, in the order of reading.
    """
    pictures = list(_pictures(evaluation))
    for number, (name, _, draw) in enumerate(pictures, start=1):
        draw(Path(folder) / f"{name}.png")
        if progress is not None:
            progress(number, len(pictures), "pictures")
    return {f"{name}.png": text for name, text, _ in pictures}


def _pictures(e: Evaluation) -> Iterator[tuple[str, str, Callable[[Path], None]]]:
    """Yield the name of each picture, what it shows, and what draws it to a file."""
    votes = e.votes and e.votes.whole
    has_images = e.predictions.images is not None
    coverage = f"{_COVERAGE}{'; confidences as the network says' if e.calibrated else ''}."
    for name, is_there, text in (
        ("confusion", True, "Which class is taken for which, in percent of the true class."),
        ("reliability", e.whole.calibration, _RELIABILITY),
        ("coverage", True, coverage),
        ("precision_recall", True, "Precision against recall by class."),
        ("mistakes", has_images and e.whole.correct < e.whole.images, _MISTAKES),
        ("votes_recall", votes, _VOTES_RECALL),
        ("votes_reliability", votes and votes.answers["training"].reliability, _VOTES_RELIABILITY),
        ("robustness", e.robustness, _ROBUSTNESS),
    ):
        if is_there:
            yield name, text, partial(_save, getattr(plots, name), e)
    if e.robustness is not None:
        yield "corruptions", _CORRUPTIONS, partial(_corruptions, e)
    for number, comparison in enumerate(e.subgroups.comparisons if e.subgroups else (), start=1):
        if len(comparison.attributes) == 1 and len(comparison.groups) <= _MOST_GROUPS:
            name = printable(comparison.attributes[0], 60)
            text = f"Accuracy and macro F1 by {name}, with 95 % intervals."
            yield f"groups_{number}", text, partial(_save, plots.groups, comparison)


def _save(plot: Callable[[Any], Any], figures: Any, path: Path) -> None:
    with replacing(path) as temporary:
        plot(figures).savefig(temporary, format="png", dpi=DPI, facecolor=PAPER)


def _corruptions(e: Evaluation, path: Path) -> None:
    assert e.predictions.images is not None
    first_and_last = e.predictions.images[:: max(len(e.predictions.images) - 1, 1)][:2]
    sheet.draw(corrupted_rows(first_and_last, seed=e.made["seed"]), path)


def corrupted_rows(images: Images, *, seed: int = 0) -> list[Row]:
    """Return a row for a sheet by each corruption, and a last one of the occlusions.

    In a row, each face stands as it is and then at severities 1 to 5; two faces fill a sheet.

    Args:
        images: uint8 in [0, 255], (N, H, W), one face or a few.
        seed: as for `corrupt`.
    """

    def row(label: str, detail: str, versions: list[Images]) -> Row:
        by_face = np.stack([images, *versions], 1)  # (N, 6, H, W)
        return Row(label=label, detail=detail, images=by_face.reshape(-1, *images.shape[1:]))

    rows = []
    for kind in CORRUPTIONS.values():
        worse = [corruptions.corrupt(images, kind.name, s, seed=seed) for s in SEVERITIES]
        rows.append(row(kind.title, " ".join(f"{v:g}" for v in kind.values), worse))
    titles = [occlusion.title.lower() for occlusion in OCCLUSIONS.values()]
    detail = f"{', '.join(titles[:3])},\n{', '.join(titles[3:])}"
    covered = [corruptions.occlude(images, name) for name in OCCLUSIONS]
    return [*rows, row("Occlusions", detail, covered)]


def remove_others(folder: Path, drawn: Collection[str]) -> None:
    """Remove the pictures of an earlier evaluation that were not drawn again.

    Raises:
        WriteError: one cannot be removed.
    """
    for path in folder.glob("*.png"):
        if re.fullmatch(_NAMES, path.name) and path.name not in drawn:
            try:
                path.unlink()
            except OSError as error:
                raise WriteError(f"{path}: cannot be removed ({error.strerror or error})") from None
