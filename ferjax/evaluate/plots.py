"""Pictures of an evaluation: light background, colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ferjax.errors import WriteError, printable
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITIES
from ferjax.evaluate.corruptions import rows as corrupted_rows
from ferjax.evaluate.votes_tables import ANSWERS
from ferjax.files import replacing
from ferjax.pictures import palette, sheet
from ferjax.pictures.figures import missing_letters_told, new_figure, percent_ticks, shortened
from ferjax.pictures.palette import INK, PAPER, SOFT_INK, in_hex

if TYPE_CHECKING:
    from ferjax.evaluate.evaluation import Evaluation
    from ferjax.evaluate.metrics import Bin, Calibration, Reliability
    from ferjax.evaluate.subgroups import GroupComparison

    _Series = tuple[Calibration | Reliability, str]

_BLUE: Final = in_hex(palette.BLUE)
_ORANGE: Final = in_hex(palette.VERMILLION)
_GREEN: Final = in_hex(palette.GREEN)
_DPI: Final = 150
_MISTAKES: Final = 32
_COLUMNS: Final = 8
_MOST_GROUPS: Final = 40
_NAMES: Final = (  # of the pictures that some evaluations have and others have not
    r"(reliability|mistakes|votes_recall|votes_reliability|robustness|corruptions"
    r"|groups_[1-9]\d*)\.png"
)


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
    e = evaluation
    pictures: list[tuple[str, str, Any]] = [
        (
            "confusion.png",
            "Which class is taken for which, in percent of the true class.",
            confusion(e),
        )
    ]
    if e.whole.calibration is not None:
        text = "Accuracy against confidence; on the diagonal a confidence can be taken at its word."
        pictures.append(("reliability.png", text, reliability(e)))
    text = "Accuracy among the most confident predictions, where the others get no answer"
    text += "; confidences as the network says." if e.calibrated else "."
    pictures += [
        ("coverage.png", text, coverage(e)),
        ("precision_recall.png", "Precision against recall by class.", precision_recall(e)),
    ]
    if e.whole.correct < e.whole.images:
        text = "The mistakes of the highest confidence: true class, predicted class, confidence."
        pictures.append(("mistakes.png", text, mistakes(e)))
    if e.votes is not None:
        text = "Recall by class against the dataset's own label and against the majority of people."
        pictures.append(("votes_recall.png", text, votes_recall(e)))
        if e.votes.whole.answers["training"].reliability is not None:
            text = "The share of people who say the predicted class against confidence."
            pictures.append(("votes_reliability.png", text, votes_reliability(e)))
    if e.robustness is not None:
        text = "Accuracy by corruption and severity, and with parts of the face covered."
        pictures.append(("robustness.png", text, robustness(e)))
        text = "Two of the faces under each corruption, as they are and at severities 1 to 5."
        pictures.append(("corruptions.png", text, None))
    for number, comparison in enumerate(e.subgroups.comparisons if e.subgroups else ()):
        if len(comparison.attributes) == 1 and len(comparison.groups) <= _MOST_GROUPS:
            name = printable(comparison.attributes[0], 60)
            text = f"Accuracy and macro F1 by {name}, with 95 % intervals."
            pictures.append((f"groups_{number + 1}.png", text, groups(comparison)))
    for number, (name, _, figure) in enumerate(pictures, start=1):
        if figure is None:
            two = e.predictions.images[:: max(len(e.predictions.images) - 1, 1)][:2]
            sheet.draw(corrupted_rows(two, seed=e.made["seed"]), Path(folder) / name)
        else:
            with replacing(Path(folder) / name) as temporary:
                figure.savefig(temporary, format="png", dpi=_DPI, facecolor=PAPER)
        if progress is not None:
            progress(number, len(pictures), "pictures")
    return {name: text for name, text, _ in pictures}


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


def confusion(e: Evaluation) -> Any:
    """Draw the confusion matrix, each row in percent of the true class."""
    from matplotlib.ticker import PercentFormatter

    counts = np.array(e.whole.confusion)
    support = counts.sum(1, keepdims=True)
    share = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    k = len(e.class_names)
    figure = _figure(max(5.2, 0.78 * k + 1.6), max(4.4, 0.66 * k + 1.4))
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        axes.text(
            column,
            row,
            f"{100 * value:.0f}\n",
            ha="center",
            va="center",
            fontsize=10,
            color="white" if value > 0.7 else INK,
            linespacing=0.9,
        )
        axes.text(
            column,
            row,
            f"\n{counts[row, column]:,}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if value > 0.7 else INK,
        )
    names = [_short(name) for name in e.class_names]
    axes.set_xticks(range(k), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), [f"{n} ({s:,})" for n, s in zip(names, support[:, 0])])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (images)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, format=PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    _title(figure, f"Confusion matrix, percent of the true class (and images): {_subject(e)}")
    return figure


def reliability(e: Evaluation) -> Any:
    """Draw accuracy against confidence, before and after calibration, over a histogram."""
    before = e.whole.calibration
    assert before is not None
    series: list[_Series] = [(before, "as the network says")]
    if e.calibrated is not None:
        series.append((e.calibrated.whole, f"with {e.calibrated.words}"))
    return _reliability(series, "accuracy", f"Reliability: {_subject(e)}")


def votes_reliability(e: Evaluation) -> Any:
    """Draw the share of people who say the predicted class against confidence."""
    assert e.votes is not None
    series: list[_Series] = [
        (answers.reliability, ANSWERS[name])
        for name, answers in e.votes.whole.answers.items()
        if answers.reliability is not None
    ]
    return _reliability(series, "people who say so", f"Reliability against votes: {_subject(e)}")


def votes_recall(e: Evaluation) -> Any:
    """Draw the recall of each class against the dataset's own label and against the majority."""
    assert e.votes is not None
    series = [("own label", e.whole.classes)]
    confusions = []
    for name, answers in e.votes.whole.answers.items():
        measured = next(iter(answers.majorities.values()), None)
        # A temperature changes no answer.
        if measured is not None and measured.confusion not in confusions:
            series.append((f"majority, {ANSWERS[name]}", measured.classes))
            confusions.append(measured.confusion)
    figure = _figure(8.6, max(3.0, 0.52 * len(e.class_names) + 1.6))
    axes = figure.subplots()
    styles = zip(series, (SOFT_INK, _ORANGE, _BLUE, _GREEN), "osD^")
    for number, ((label, classes), color, marker) in enumerate(styles):
        shift = 0.18 * (number - (len(series) - 1) / 2)
        rows = [
            (row + shift, classes[name].recall, classes[name].recall_interval)
            for row, name in enumerate(e.class_names)
            if name in classes and classes[name].support
        ]
        for row, _, ends in rows:
            axes.plot(ends, [row, row], color=color, linewidth=1.4, clip_on=False)
        axes.plot(
            [recall for _, recall, _ in rows],
            [row for row, *_ in rows],
            marker,
            color=color,
            markersize=5.5,
            label=label,
            clip_on=False,
        )
    own, *others = (classes for _, classes in series)
    names = [
        f"{_short(name)} ({', '.join(f'{c[name].support:,}' for c in (own, *others[:1]))})"
        for name in e.class_names
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("recall")
    figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=len(series))
    _percent(axes, "x")
    _tidy(axes)
    _title(
        figure,
        f"Recall by own label and by majority of people: {_subject(e)}\n"
        "with 95 % intervals; in brackets the images of each label",
    )
    return figure


def _reliability(series: Sequence[_Series], ylabel: str, title: str) -> Any:
    figure = _figure(9.2, 4.9)
    grid = figure.subplots(2, 2, height_ratios=(4, 1), sharex=True)
    for column, (kind, words) in enumerate(
        (("equal_width", "bins of equal width"), ("equal_mass", "bins of equally many images"))
    ):
        axes, counts = grid[0, column], grid[1, column]
        axes.plot([0, 1], [0, 1], color=SOFT_INK, linestyle=":", linewidth=1)
        for (figures, label), color, marker in zip(series, (_ORANGE, _BLUE, _GREEN), "osD"):
            bins: Sequence[Bin] = [b for b in getattr(figures, kind) if b.images]
            error = getattr(figures, f"ece_{kind}")
            axes.plot(
                [b.confidence for b in bins],
                [b.accuracy for b in bins],
                marker=marker,
                markersize=4.5,
                linewidth=1.2,
                color=color,
                label=f"{label}: error {100 * error:.1f} points",
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), title=words)
        axes.title.set_fontsize("medium")
        axes.legend(frameon=False, fontsize="small", loc="upper left")
        _percent(axes, "both")
        _tidy(axes)
        bins = getattr(series[0][0], kind)
        counts.bar(
            [b.low for b in bins],
            [b.images for b in bins],
            width=[max(b.high - b.low, 0.002) for b in bins],
            align="edge",
            color=_ORANGE,
            alpha=0.55,
            edgecolor="white",
            linewidth=0.5,
        )
        counts.set_xlabel("confidence")
        _percent(counts, "x")
        _tidy(counts)
        if column == 0:
            axes.set_ylabel(ylabel)
            counts.set_ylabel("images")
    _title(figure, title)
    return figure


def coverage(e: Evaluation) -> Any:
    """Draw accuracy among the most confident images against their share."""
    p = e.predictions
    figure = _figure(6.4, 4.4)
    axes = figure.subplots()
    for keep, color, style, label in (
        (np.ones(len(p.labels), bool), _BLUE, "-", "all images"),
        (~p.copies, _ORANGE, "--", "without copies of training images"),
    ):
        if label != "all images" and e.without_copies is None:
            continue
        confidence = p.probabilities[keep].max(1)
        correct = p.predicted[keep] == p.labels[keep]
        order = np.argsort(-confidence, kind="stable")
        count = np.arange(1, len(order) + 1)
        accuracy = np.cumsum(correct[order]) / count
        # A curve over a handful of images is noise, and of few images more than none.
        from_here = min(max(20, len(order) // 100), len(order) // 4)
        axes.plot(
            count[from_here:] / len(order),
            accuracy[from_here:],
            color=color,
            linestyle=style,
            label=label,
            clip_on=False,
        )
    for row in e.whole.abstention[1:]:
        if row.accuracy is not None:
            axes.plot([row.coverage], [row.accuracy], "o", color=_BLUE, markersize=4, clip_on=False)
            axes.annotate(
                f"{row.threshold:g}",
                (row.coverage, row.accuracy),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
            )
    _inside(axes, "y")
    axes.set_xlim(0, 1.01)
    axes.set_xlabel("coverage: images that get an answer")
    axes.set_ylabel("accuracy among them")
    dots = "lowest confidence that counts" + (", not calibrated" if e.calibrated else "")
    axes.plot([], [], "o", color=_BLUE, markersize=4, label=dots)
    axes.legend(frameon=False, fontsize="small", loc="lower left")
    _percent(axes, "both")
    _tidy(axes)
    _title(figure, f"Coverage and accuracy: {_subject(e)}")
    return figure


def precision_recall(e: Evaluation) -> Any:
    """Draw a small precision-recall diagram for each class."""
    from sklearn.metrics import precision_recall_curve

    p = e.predictions
    k = len(e.class_names)
    columns = min(4, k)
    rows = math.ceil(k / columns)
    figure = _figure(2.5 * columns + 0.4, 2.4 * rows + 0.5)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for index, axes in enumerate(grid):
        if index >= k:
            axes.set_axis_off()
            continue
        name = e.class_names[index]
        figures = e.whole.classes[name]
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xticks=(0, 0.5, 1))
        _percent(axes, "both")
        _tidy(axes)
        if index >= k - columns:
            axes.set_xlabel("recall")
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel("precision")
        if not figures.support:
            axes.set_title(f"{_short(name)}: no images", fontsize="medium")
            continue
        precision, recall, _ = precision_recall_curve(p.labels == index, p.probabilities[:, index])
        axes.plot(recall, precision, color=_BLUE, linewidth=1.4)
        axes.axhline(figures.support / len(p.labels), color=SOFT_INK, linestyle=":", linewidth=1)
        if figures.recall is not None and figures.precision is not None:
            axes.plot([figures.recall], [figures.precision], "o", color=_ORANGE, markersize=5)
        axes.set_title(f"{_short(name)}: {figures.average_precision:.3f}", fontsize="medium")
    _title(
        figure,
        f"Precision and recall, with average precision: {_subject(e)}\n"
        "orange: as predicted; dotted: by chance",
    )
    return figure


def mistakes(e: Evaluation) -> Any:
    """Draw the mistakes of the highest confidence."""
    p = e.predictions
    predicted = p.predicted
    confidence = p.probabilities.max(1)
    wrong = np.flatnonzero(predicted != p.labels)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    columns = min(_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = _figure(max(1.2 * columns + 0.3, 6), 1.62 * lines + 0.7)
    grid = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, row in zip(grid, rows):
        axes.imshow(p.images[row], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        truth, said = (_short(e.class_names[i], 12) for i in (p.labels[row], predicted[row]))
        axes.set_title(
            f"true {truth}\nsaid {said}\n{100 * confidence[row]:.1f} %", fontsize=7.5, color=INK
        )
    what = "confidence as the network says" if e.tta == "none" else f"mean of {e.views} views"
    _title(figure, f"Most confident mistakes ({what}): {_subject(e)}")
    return figure


def robustness(e: Evaluation) -> Any:
    """Draw accuracy by corruption and severity as a table, and by covered region as bars."""
    assert e.robustness is not None
    r = e.robustness
    table = np.array([r.corruptions[name] for name in CORRUPTIONS])
    figure = _figure(10.2, 0.31 * len(table) + 1.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    left.imshow(table, cmap="cividis", vmin=0, vmax=max(r.clean, table.max()), aspect="auto")
    middle = max(r.clean, table.max()) / 2
    for (row, column), value in np.ndenumerate(table):
        left.text(
            column,
            row,
            f"{100 * value:.1f}",
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if value < middle else INK,
        )
    left.set_xticks(range(len(SEVERITIES)), [str(s) for s in SEVERITIES])
    left.set_yticks(range(len(table)), [c.title for c in CORRUPTIONS.values()])
    left.set_xlabel("severity")
    left.set_title(f"accuracy in percent; {100 * r.clean:.1f} without corruption", fontsize=10)
    left.spines[:].set_visible(False)
    left.tick_params(length=0)
    names = ["nothing", *(o.title for o in OCCLUSIONS.values())]
    values = [r.clean, *(r.occlusions[name] for name in OCCLUSIONS)]
    right.barh(range(len(names)), values, color=[SOFT_INK] + [_BLUE] * len(OCCLUSIONS), height=0.6)
    for row, value in enumerate(values):
        right.text(value + 0.01, row, f"{100 * value:.1f}", va="center", fontsize=8.5)
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set_xlim(0, min(1.0, max(values) + 0.12))
    right.set_title("accuracy with parts covered", fontsize=10)
    _percent(right, "x")
    _tidy(right)
    right.grid(axis="y", visible=False)
    view = "" if e.tta == "none" else " of a single view"
    _title(figure, f"Robustness{view}: {_subject(e, views=False)}")
    return figure


def groups(comparison: GroupComparison) -> Any:
    """Draw accuracy and macro F1 of each group with their intervals."""
    found = comparison.groups
    figure = _figure(8.6, max(2.4, 0.34 * len(found) + 1.5))
    for axes, value, interval, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("accuracy", "macro_f1"),
        ("accuracy_interval", "macro_f1_interval"),
        ("accuracy", "macro F1"),
    ):
        for row, group in enumerate(found):
            color = SOFT_INK if group.small else _BLUE
            if (ends := getattr(group, interval)) is not None:
                axes.plot(ends, [row, row], color=color, linewidth=1.6, clip_on=False)
            axes.plot(
                [getattr(group, value)],
                [row],
                "o",
                color=color,
                markersize=5.5,
                markerfacecolor="white" if group.small else color,
                clip_on=False,
            )
        axes.set_yticks(
            range(len(found)),
            [f"{_short(g.name, 24)} ({g.images:,}{', few' if g.small else ''})" for g in found],
        )
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlabel(label)
        _inside(axes, "x")
        axes.locator_params(axis="x", nbins=6)  # names with decimals need room
        _percent(axes, "x")
        _tidy(axes)
    name = _short(" and ".join(comparison.attributes), 60)
    _title(figure, f"By {name}, with 95 % intervals; hollow: few images")
    return figure


def _figure(width: float, height: float) -> Any:
    return new_figure(figsize=(width, height), layout="constrained")


def _title(figure: Any, text: str) -> None:
    figure.suptitle(_wrapped(text, int(figure.get_figwidth() * 13)), fontsize=10, parse_math=False)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(
        part for line in text.splitlines() for part in textwrap.wrap(line, width) or [""]
    )


def _subject(e: Evaluation, *, views: bool = True) -> str:
    view = f", {e.tta}" if views and e.tta != "none" else ""
    name, data = printable(str(e.weights["name"]), 40), printable(str(e.data["name"]), 40)
    return f"{name} on {data}{view}, {e.whole.images:,} images"


def _percent(axes: Any, which: str) -> None:
    for axis in {"x": (axes.xaxis,), "y": (axes.yaxis,), "both": (axes.xaxis, axes.yaxis)}[which]:
        percent_ticks(axis)


def _inside(axes: Any, which: str) -> None:
    """End an axis of fractions at 0 and 1, whatever margin is around its data."""
    low, high = getattr(axes, f"get_{which}lim")()
    getattr(axes, f"set_{which}lim")(max(low, 0), min(high, 1))


def _tidy(axes: Any) -> None:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _short(text: str, most: int = 18) -> str:
    return shortened(text, most).replace("$", r"\$")  # no mathematics in names
