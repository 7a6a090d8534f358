"""An evaluation as text for the terminal, as JSON, and as one self-contained HTML page."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferjax.data.reading import Progress
from ferjax.errors import FerjaxError, printable
from ferjax.evaluate import gallery
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITIES
from ferjax.evaluate.evaluation import Evaluation
from ferjax.evaluate.metrics import Calibration, Metrics
from ferjax.evaluate.subgroups_text import text as subgroups_text
from ferjax.evaluate.tables import aligned, between, percent
from ferjax.evaluate.votes_tables import EXPLAINED
from ferjax.evaluate.votes_tables import tables as votes_tables
from ferjax.files import json_text, make_folder, replacing
from ferjax.pictures.figures import require_matplotlib


def write_report(
    evaluation: Evaluation,
    folder: str | os.PathLike[str],
    *,
    command: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write report.html, report.json and the pictures into a folder, and return the page's path.

    Args:
        folder: made where it does not exist; files of an earlier report in it are replaced.
        command: what made the evaluation, to be shown.
        progress: called with (done, total, "pictures") now and then.

    Raises:
        FerjaxError: matplotlib or Jinja is missing.
        WriteError: the folder cannot be written to.
    """
    require()
    folder = Path(folder)
    make_folder(folder)
    earlier = (folder / "report.json").exists()
    pictures = gallery.draw_all(evaluation, folder, progress=progress)
    if earlier:
        gallery.remove_others(folder, pictures)
    report = {**evaluation.to_json(), "command": command}
    with replacing(folder / "report.json") as temporary:
        temporary.write_text(json_text(report, allow_nan=False), encoding="utf-8")
    encoded = [
        (description, base64.b64encode((folder / name).read_bytes()).decode("ascii"))
        for name, description in pictures.items()
    ]
    page = render(
        "report.html",
        e=evaluation,
        command=command,
        columns=_columns(evaluation),
        pictures=encoded,
        summary=summary_rows(evaluation),
        calibrated=_calibrated_rows(evaluation),
        corruptions=CORRUPTIONS,
        occlusions=OCCLUSIONS,
        severities=SEVERITIES,
        votes=votes_tables(report),
        explained=EXPLAINED,
        subgroups=subgroups_text(evaluation.subgroups) if evaluation.subgroups else None,
    )
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "report.html"


def require() -> None:
    """Raise where what a report is made with is not installed."""
    require_matplotlib()
    _jinja()


def render(template: str, **values: Any) -> str:
    """Fill one of the package's templates; values are escaped in HTML.

    Raises:
        FerjaxError: Jinja is missing.
    """
    jinja2 = _jinja()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=percent, between=between, cell=_cell)
    filled = environment.get_template(template).render(**values)
    return filled.encode(errors="backslashreplace").decode()  # names of files that are no text


def _jinja() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise FerjaxError("reports and cards need Jinja: pip install 'ferjax[evaluate]'") from error
    return jinja2


def text(evaluation: Evaluation) -> str:
    """Return the evaluation as tables for the terminal."""
    e = evaluation
    views = "single view" if e.tta == "none" else f"mean of {e.views} views ({e.tta})"
    lines = [f"{e.weights['name']} on {e.data['name']} ({e.data['split']}), {views}"]
    if e.weights["architecture"] is not None:  # else only what was predicted is known
        lines.append(
            f"trained on {e.weights['trained_on']}; selected on {e.weights['selected_on']}"
        )
    lines.append("")
    names, rows = _columns(e), summary_rows(e) + _calibrated_rows(e)
    lines += aligned([["", *names], *([label, *values] for label, values in rows)])
    for name, m in zip(names, _measured(e)):
        heading = [f"class ({name})" if len(names) > 1 else "class"]
        heading += ["precision", "recall", "F1", "images"]
        lines += ["", *aligned([heading, *class_rows(m)])]
    lines += ["", *aligned(_abstention_rows(e))]
    if e.votes is not None:
        for table in votes_tables(e.to_json()):
            lines += ["", *aligned(table.rows), *table.notes]
    if e.robustness is not None:
        lines += ["", *robustness_lines(e)]
    if e.subgroups is not None:
        lines += ["", subgroups_text(e.subgroups)]
    return "\n".join(printable(line, 500) if line else "" for line in "\n".join(lines).split("\n"))


def summary_rows(e: Evaluation) -> list[tuple[str, list[str]]]:
    """Return a label and a value for each column, for every figure."""
    measured = _measured(e)
    rows = [
        ("images", [f"{m.images:,}" for m in measured]),
        ("correct", [f"{m.correct:,}" for m in measured]),
        ("accuracy", [percent(m.accuracy) for m in measured]),
        ("  95 % interval", [between(m.accuracy_interval) for m in measured]),
        ("balanced accuracy", [percent(m.balanced_accuracy) for m in measured]),
        ("  95 % interval", [between(m.balanced_accuracy_interval) for m in measured]),
        ("macro F1", [percent(m.macro_f1) for m in measured]),
        ("  95 % interval", [between(m.macro_f1_interval) for m in measured]),
    ]
    return rows + _calibration_rows([m.calibration for m in measured])


def class_rows(m: Metrics) -> list[list[str]]:
    """Return name, precision, recall, F1 and support of each class."""
    return [
        [name, percent(c.precision), percent(c.recall), percent(c.f1), f"{c.support:,}"]
        for name, c in m.classes.items()
    ]


def robustness_lines(e: Evaluation) -> list[str]:
    """Return the tables of a robustness measurement."""
    r = e.robustness
    assert r is not None
    view = "" if e.tta == "none" else "single-view "  # whatever the figures above are of
    rows = [[f"{view}accuracy at severity", *map(str, SEVERITIES), "mean"]]
    for name, kind in CORRUPTIONS.items():
        values = r.corruptions[name]
        rows.append([kind.title, *map(percent, values), percent(sum(values) / len(values))])
    covered = [["covered", f"{view}accuracy"], ["nothing", percent(r.clean)]]
    covered += [[o.title, percent(r.occlusions[name])] for name, o in OCCLUSIONS.items()]
    lines = [*aligned(rows), "", *aligned(covered)]
    lines += ["", f"mean over corruptions: {percent(r.mean)}"]
    if r.mean_corruption_error is None:
        lines.append("mean corruption error: the baseline was measured on other images")
    else:
        relative = r.relative_mean_corruption_error
        ending = "" if relative is None else f", relative to clean accuracy {percent(relative)}"
        lines.append(
            f"mean corruption error: {percent(r.mean_corruption_error)} of that of {r.baseline}"
            + ending
        )
    return lines


def _cell(value: object) -> str:
    """Return text that stays inside its cell of a Markdown table."""
    return printable(str(value)).replace("|", "\\|").replace("<", "&lt;")


def _measured(e: Evaluation) -> list[Metrics]:
    return [e.whole] if e.without_copies is None else [e.whole, e.without_copies]


def _columns(e: Evaluation) -> list[str]:
    return ["all images", "without copies"][: len(_measured(e))]


def _abstention_rows(e: Evaluation) -> list[list[str]]:
    """Return a heading and what is left above each confidence, with and without calibration."""
    rows = [["confidence at least", "coverage", "accuracy"]] + [
        [f"{a.threshold:g}", percent(a.coverage), percent(a.accuracy)] for a in e.whole.abstention
    ]
    if e.calibrated is not None:
        rows[0] += ["calibrated coverage", "calibrated accuracy"]
        for row, a in zip(rows[1:], e.calibrated.abstention):
            row += [percent(a.coverage), percent(a.accuracy)]
    return rows


def _calibrated_rows(e: Evaluation) -> list[tuple[str, list[str]]]:
    if e.calibrated is None:
        return []
    c = e.calibrated
    parts = [c.whole] if c.without_copies is None else [c.whole, c.without_copies]
    where = "fitted on these images" if c.fitted_here else f"fitted on {c.fitted_on}"
    heading = (f"with {c.words}, {where}", ["" for _ in parts])
    rows = _calibration_rows(parts)
    if c.offsets is not None:  # a temperature alone changes no label
        shares = [c.correct / e.whole.images]
        if e.without_copies is not None and c.correct_without_copies is not None:
            shares.append(c.correct_without_copies / e.without_copies.images)
        rows.insert(0, ("accuracy", [percent(share) for share in shares]))
    return [heading, *rows]


def _calibration_rows(parts: Sequence[Calibration | None]) -> list[tuple[str, list[str]]]:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return [("calibration: the outputs are no distribution", ["-" for _ in parts])]
    return [
        ("negative log-likelihood (nats)", [f"{c.negative_log_likelihood:.4f}" for c in known]),
        ("Brier score (0 to 2)", [f"{c.brier_score:.4f}" for c in known]),
        ("calibration error, equal width", [percent(c.ece_equal_width) for c in known]),
        ("calibration error, equal mass", [percent(c.ece_equal_mass) for c in known]),
    ]
