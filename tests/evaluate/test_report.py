"""The report: complete, self-contained, and safe to open whatever the names are."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.errors import WriteError
from ferjax.evaluate import Evaluation, evaluate, gallery, plots, write_report
from ferjax.evaluate.report import between, percent, text

from ..train.conftest import make_faces
from .conftest import Stub, known_faces


@pytest.fixture(scope="module")
def attributes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attributes") / "people.csv"
    rows = [f"face {256 + row},{'young' if row % 2 else '<b>old</b>'}" for row in range(64)]
    path.write_text("\n".join(["image,age", *rows]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def evaluation(attributes: Path) -> Evaluation:
    """Everything that can be measured, on generated faces."""
    return evaluate(
        Stub(temperature=1.5, licence="<i>free</i>"),
        make_faces(copies=4),
        with_robustness=True,
        attributes=attributes,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, evaluation: Evaluation) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    write_report(evaluation, folder, command="ferjax evaluate --data <x>")
    return folder


class Page(HTMLParser):
    """Collects tags with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_needs_nothing_else(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.open
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "b", "i"}
    sources = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(sources) == 8
    assert all(source and source.startswith("data:image/png;base64,") for source in sources)
    assert all(a["alt"] for tag, a in page.tags if tag == "img")
    assert not re.search(r"https?://", (folder / "report.html").read_text(encoding="utf-8"))


def test_names_that_are_no_text(tmp_path: Path, evaluation: Evaluation) -> None:
    name = os.fsdecode(b"caf\xe9")
    weights, data = ({**part, "name": name} for part in (evaluation.weights, evaluation.data))
    few = dataclasses.replace(evaluation, weights=weights, data=data, robustness=None)
    page = write_report(few, tmp_path / name, command=f"ferjax evaluate --data {name}")
    assert page.read_text(encoding="utf-8").count(r"caf\udce9") >= 4
    report = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert report["data"]["name"] == name


def test_names_are_escaped(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "<b>old</b>" in page.text
    assert "<i>free</i>" in page.text
    assert "ferjax evaluate --data <x>" in page.text


def test_the_page_has_the_figures(folder: Path, evaluation: Evaluation) -> None:
    page = " ".join(Page((folder / "report.html").read_text(encoding="utf-8")).text.split())
    honest = evaluation.without_copies
    assert honest is not None
    assert evaluation.calibrated is not None
    for value in (
        percent(evaluation.whole.accuracy),
        between(evaluation.whole.accuracy_interval),
        percent(honest.macro_f1),
        between(honest.classes["sad"].recall_interval),
        percent(evaluation.calibrated.whole.ece_equal_mass),
        "with temperature 1.500",
        percent(evaluation.robustness.mean),  # type: ignore[union-attr]
        "4 of the 64 images are exact copies",
        "largest gap",
    ):
        assert value in page


def test_the_json_is_the_evaluation(folder: Path, evaluation: Evaluation) -> None:
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert found.pop("command") == "ferjax evaluate --data <x>"
    assert found == json.loads(json.dumps(evaluation.to_json()))


def test_the_pictures_are_light_and_of_a_readable_size(folder: Path) -> None:
    pictures = sorted(folder.glob("*.png"))
    assert [p.stem for p in pictures] == [
        "confusion",
        "corruptions",
        "coverage",
        "groups_1",
        "mistakes",
        "precision_recall",
        "reliability",
        "robustness",
    ]
    for path in pictures:
        image = cv2.imread(str(path))
        assert image is not None
        assert 600 < image.shape[1] < 2000
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (border == 255).all(), path  # nothing is cut off at an edge


@pytest.mark.parametrize(
    "draw",
    [
        plots.confusion,
        plots.coverage,
        plots.mistakes,
        plots.precision_recall,
        plots.reliability,
        plots.robustness,
    ],
)
def test_nothing_is_cut_off(evaluation: Evaluation, draw: Any) -> None:
    long = tuple(f"{name}, and with a long name" for name in evaluation.class_names)
    whole = dataclasses.replace(
        evaluation.whole,
        classes=dict(zip(long, evaluation.whole.classes.values())),
    )
    figure = draw(dataclasses.replace(evaluation, class_names=long, whole=whole))
    figure.canvas.draw()
    box = figure.get_tightbbox(figure.canvas.get_renderer())  # inches
    width, height = figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_the_report_of_a_faultless_network_has_no_mistakes(tmp_path: Path) -> None:
    faces = known_faces()
    faces.labels[2:] = [0, 0, 2, 1, 0, 6]
    found = evaluate(Stub(), faces)
    assert found.whole.correct == 6
    steps: list[tuple[int, int, str]] = []
    write_report(found, tmp_path, progress=lambda *step: steps.append(step))
    assert steps == [(n, 4, "pictures") for n in (1, 2, 3, 4)]
    assert not (tmp_path / "mistakes.png").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "100.00 %" in page
    assert "Robustness" not in page


def test_pictures_of_an_earlier_report_go(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "draw_all", lambda *_, **__: {"mistakes.png": "of now"})
    earlier = ["robustness.png", "corruptions.png", "reliability.png", "groups_12.png"]
    others = ["mistakes.png", "groups_.png", "mine.png"]
    for name in earlier + others:
        (tmp_path / name).touch()
    found = evaluate(stub, known_faces())
    write_report(found, tmp_path)
    assert all((tmp_path / name).exists() for name in earlier)  # of no report, so not ferjax's
    write_report(found, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(others)


def test_abstention_is_shown_with_and_without_the_temperature(
    folder: Path, evaluation: Evaluation
) -> None:
    # 0.94 against 0.01 at a temperature of 1.5 is 0.775.
    lines = [line.split() for line in text(evaluation).splitlines()]
    accuracy = percent(evaluation.whole.accuracy).split()
    assert ["0.8", "100.00", "%", *accuracy, "0.00", "%", "-"] in lines
    page = " ".join(Page((folder / "report.html").read_text(encoding="utf-8")).text.split())
    assert "calibrated: images" in page
    figure = plots.coverage(evaluation)
    labels = [words.get_text() for words in figure.axes[0].get_legend().get_texts()]
    assert labels[-1] == "lowest confidence that counts, not calibrated"


def test_robustness_is_that_of_a_single_view(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = text(evaluation)
    assert "single-view accuracy" not in plain
    several = dataclasses.replace(evaluation, tta="flip", views=2, calibrated=None)
    lines = text(several).splitlines()
    assert any(line.startswith("single-view accuracy at severity") for line in lines)
    title = plots.robustness(several).get_suptitle()
    assert title == "Robustness of a single view: tiny on validation, 64 images"
    monkeypatch.setattr(gallery, "draw_all", lambda *_, **__: {})
    write_report(several, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "over all corruptions and severities, of a single view of each image: " in page


@pytest.mark.parametrize("images", [2, 6, 21])
def test_a_few_images_have_a_curve_within_0_and_100_percent(stub: Stub, images: int) -> None:
    faces = make_faces(train=1, validation=images)
    faces.labels[1:] = stub.predict_proba(faces.images[1:]).argmax(1)
    (axes,) = plots.coverage(evaluate(stub, faces)).axes
    assert len(axes.lines[0].get_xdata()) > 1
    low, high = axes.get_ylim()
    assert 0 <= low < high == 1


def test_ticks_of_groups_are_named_apart(evaluation: Evaluation) -> None:
    comparison = evaluation.subgroups.comparisons[0]  # type: ignore[union-attr]
    narrow = dataclasses.replace(
        comparison,
        groups=tuple(
            dataclasses.replace(group, accuracy=a, accuracy_interval=(a - 0.004, a + 0.004))
            for group, a in zip(comparison.groups, (0.984, 0.99))
        ),
    )
    axes = plots.groups(narrow).axes[0]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert len(set(names)) == len(names)


def test_letters_that_the_font_lacks_are_told_once(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("coverage", "precision_recall"):  # which take longer
        monkeypatch.setattr(plots, name, plots.confusion)
    monkeypatch.setattr(gallery, "DPI", 30)
    names = tuple(f"{name} 表情" for name in evaluation.class_names)
    classes = dict(zip(names, evaluation.whole.classes.values()))
    whole = dataclasses.replace(evaluation.whole, classes=classes, calibration=None, correct=64)
    odd = dataclasses.replace(
        evaluation, class_names=names, whole=whole, robustness=None, subgroups=None
    )
    with pytest.warns(UserWarning) as caught:
        gallery.draw_all(odd, tmp_path)
    (warning,) = caught
    assert str(warning.message).endswith("letters that matplotlib's font lacks: 表, 情")


def test_outputs_that_are_no_distribution(tmp_path: Path) -> None:
    class Sigmoids(Stub):
        def predict_proba(self, images: Any, **_: Any) -> Any:
            return super().predict_proba(images) * 0.5

    found = evaluate(Sigmoids(), known_faces())
    write_report(found, tmp_path)
    assert not (tmp_path / "reliability.png").exists()
    assert "the outputs are no distribution" in text(found)


def test_text(evaluation: Evaluation) -> None:
    lines = text(evaluation).splitlines()
    assert lines[0] == "tiny on validation (validation), single view"
    assert lines[1] == "trained on not known; selected on not known"
    both = [evaluation.whole.accuracy, evaluation.without_copies.accuracy]  # type: ignore[union-attr]
    wanted = ["accuracy", *" ".join(map(percent, both)).split()]
    assert wanted in [line.split() for line in lines]
    assert any(line.startswith("with temperature 1.500, fitted on not known") for line in lines)
    assert "mean corruption error: the baseline was measured on other images" in lines
    assert any("largest gap" in line for line in lines)
    assert max(map(len, lines)) < 120


def test_a_report_without_extras_is_short(stub: Stub) -> None:
    found = text(evaluate(stub, known_faces()))
    assert "without copies" not in found
    assert "temperature" not in found
    assert "severity" not in found


def test_control_characters_in_names_stay_in_their_line(evaluation: Evaluation) -> None:
    odd = dataclasses.replace(evaluation, weights={**evaluation.weights, "name": "a\x1b[2Jb"})
    assert r"a\x1b[2Jb on validation" in text(odd)


def test_a_folder_that_cannot_be_made(tmp_path: Path, stub: Stub) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"report: cannot be made"):
        write_report(evaluate(stub, known_faces()), tmp_path / "file" / "report")
