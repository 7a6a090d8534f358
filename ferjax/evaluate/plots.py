"""Pictures of an evaluation: light background, colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ferjax.errors import printable
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITIES
from ferjax.evaluate.votes_tables import ANSWERS
from ferjax.pictures import palette
from ferjax.pictures.figures import end_at_0_and_1, new_figure, percent_axes, shortened, tidy, title
from ferjax.pictures.palette import INK, SOFT_INK, in_hex

if TYPE_CHECKING:
    from ferjax.evaluate.evaluation import Evaluation
    from ferjax.evaluate.metrics import Bin, Calibration, Reliability
    from ferjax.evaluate.subgroups import GroupComparison

    _Series = tuple[Calibration | Reliability, str]

_BLUE: Final = in_hex(palette.BLUE)
_ORANGE: Final = in_hex(palette.VERMILLION)
_GREEN: Final = in_hex(palette.GREEN)
_CENTRED: Final[dict[str, Any]] = {"ha": "center", "va": "center"}
_MISTAKES: Final = 32
_COLUMNS: Final = 8


def confusion(e: Evaluation) -> Any:
    """Draw the confusion matrix, each row in percent of the true class."""
    from matplotlib.ticker import PercentFormatter

    counts = np.array(e.whole.confusion)
    support = counts.sum(1, keepdims=True)
    share = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    k = len(e.class_names)
    figure = new_figure(max(5.2, 0.78 * k + 1.6), max(4.4, 0.66 * k + 1.4))
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        color = "white" if value > 0.7 else INK
        percent = {"fontsize": 10, "color": color, "linespacing": 0.9}
        axes.text(column, row, f"{100 * value:.0f}\n", **_CENTRED, **percent)
        axes.text(column, row, f"\n{counts[row, column]:,}", **_CENTRED, fontsize=7, color=color)
    names = [_short(name) for name in e.class_names]
    axes.set_xticks(range(k), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), [f"{n} ({s:,})" for n, s in zip(names, support[:, 0])])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (images)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, format=PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    title(figure, f"Confusion matrix, percent of the true class (and images): {_subject(e)}")
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
    figure = new_figure(8.6, max(3.0, 0.52 * len(e.class_names) + 1.6))
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
    counted = [classes for _, classes in series[:2]]
    names = [
        f"{_short(name)} ({', '.join(f'{c[name].support:,}' for c in counted)})"
        for name in e.class_names
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("recall")
    figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=len(series))
    percent_axes(axes, "x")
    tidy(axes)
    title(
        figure,
        f"Recall by own label and by majority of people: {_subject(e)}\n"
        "with 95 % intervals; in brackets the images of each label",
    )
    return figure


def _reliability(series: Sequence[_Series], ylabel: str, heading: str) -> Any:
    figure = new_figure(9.2, 4.9)
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
        percent_axes(axes, "both")
        tidy(axes)
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
        percent_axes(counts, "x")
        tidy(counts)
        if column == 0:
            axes.set_ylabel(ylabel)
            counts.set_ylabel("images")
    title(figure, heading)
    return figure


def coverage(e: Evaluation) -> Any:
    """Draw accuracy among the most confident images against their share."""
    p = e.predictions
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    curves = [(np.ones(len(p.labels), bool), _BLUE, "-", "all images")]
    if e.without_copies is not None:
        curves.append((~p.copies, _ORANGE, "--", "without copies of training images"))
    for keep, color, style, label in curves:
        confidence = p.probabilities[keep].max(1)
        correct = p.predicted[keep] == p.labels[keep]
        order = np.argsort(-confidence, kind="stable")
        count = np.arange(1, len(order) + 1)
        accuracy = np.cumsum(correct[order]) / count
        # A curve over a handful of images is noise, and of few images more than none.
        start = min(max(20, len(order) // 100), len(order) // 4)
        axes.plot(
            count[start:] / len(order),
            accuracy[start:],
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
    end_at_0_and_1(axes, "y")
    axes.set_xlim(0, 1.01)
    axes.set_xlabel("coverage: images that get an answer")
    axes.set_ylabel("accuracy among them")
    dots = "lowest confidence that counts" + (", not calibrated" if e.calibrated else "")
    axes.plot([], [], "o", color=_BLUE, markersize=4, label=dots)
    axes.legend(frameon=False, fontsize="small", loc="lower left")
    percent_axes(axes, "both")
    tidy(axes)
    title(figure, f"Coverage and accuracy: {_subject(e)}")
    return figure


def precision_recall(e: Evaluation) -> Any:
    """Draw a small precision-recall diagram for each class."""
    from sklearn.metrics import precision_recall_curve

    p = e.predictions
    k = len(e.class_names)
    columns = min(4, k)
    rows = math.ceil(k / columns)
    figure = new_figure(2.5 * columns + 0.4, 2.4 * rows + 0.5)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for index, axes in enumerate(grid):
        if index >= k:
            axes.set_axis_off()
            continue
        name = e.class_names[index]
        figures = e.whole.classes[name]
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xticks=(0, 0.5, 1))
        percent_axes(axes, "both")
        tidy(axes)
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
    title(
        figure,
        f"Precision and recall, with average precision: {_subject(e)}\n"
        "orange: as predicted; dotted: by chance",
    )
    return figure


def mistakes(e: Evaluation) -> Any:
    """Draw the mistakes of the highest confidence."""
    p = e.predictions
    assert p.images is not None
    predicted = p.predicted
    confidence = p.probabilities.max(1)
    wrong = np.flatnonzero(predicted != p.labels)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    columns = min(_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = new_figure(max(1.2 * columns + 0.3, 6), 1.62 * lines + 0.7)
    grid = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, row in zip(grid, rows):
        axes.imshow(p.images[row], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        truth, answer = (_short(e.class_names[i], 12) for i in (p.labels[row], predicted[row]))
        axes.set_title(
            f"true {truth}\nsaid {answer}\n{100 * confidence[row]:.1f} %", fontsize=7.5, color=INK
        )
    kind = "confidence as the network says" if e.tta == "none" else f"mean of {e.views} views"
    title(figure, f"Most confident mistakes ({kind}): {_subject(e)}")
    return figure


def robustness(e: Evaluation) -> Any:
    """Draw accuracy by corruption and severity as a table, and by covered region as bars."""
    assert e.robustness is not None
    r = e.robustness
    table = np.array([r.corruptions[name] for name in CORRUPTIONS])
    figure = new_figure(10.2, 0.31 * len(table) + 1.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    left.imshow(table, cmap="cividis", vmin=0, vmax=max(r.clean, table.max()), aspect="auto")
    middle = max(r.clean, table.max()) / 2
    for (row, column), value in np.ndenumerate(table):
        color = "white" if value < middle else INK
        left.text(column, row, f"{100 * value:.1f}", **_CENTRED, fontsize=8.5, color=color)
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
    percent_axes(right, "x")
    tidy(right)
    right.grid(axis="y", visible=False)
    view = "" if e.tta == "none" else " of a single view"
    title(figure, f"Robustness{view}: {_subject(e, views=False)}")
    return figure


def groups(comparison: GroupComparison) -> Any:
    """Draw accuracy and macro F1 of each group with their intervals."""
    members = comparison.groups
    figure = new_figure(8.6, max(2.4, 0.34 * len(members) + 1.5))
    for axes, value, interval, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("accuracy", "macro_f1"),
        ("accuracy_interval", "macro_f1_interval"),
        ("accuracy", "macro F1"),
    ):
        for row, group in enumerate(members):
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
            range(len(members)),
            [f"{_short(g.name, 24)} ({g.images:,}{', few' if g.small else ''})" for g in members],
        )
        axes.set_ylim(len(members) - 0.5, -0.5)
        axes.set_xlabel(label)
        end_at_0_and_1(axes, "x")
        axes.locator_params(axis="x", nbins=6)  # names with decimals need room
        percent_axes(axes, "x")
        tidy(axes)
    name = _short(" and ".join(comparison.attributes), 60)
    title(figure, f"By {name}, with 95 % intervals; hollow: few images")
    return figure


def _subject(e: Evaluation, *, views: bool = True) -> str:
    view = f", {e.tta}" if views and e.tta != "none" else ""
    name, data = printable(str(e.weights["name"]), 40), printable(str(e.data["name"]), 40)
    return f"{name} on {data}{view}, {e.whole.images:,} images"


def _short(text: str, most: int = 18) -> str:
    return shortened(text, most).replace("$", r"\$")  # no mathematics in names
