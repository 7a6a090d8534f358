"""The model card: what it says comes from metadata and reports, and nothing is made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ferjax
from ferjax import digests, keras, metadata
from ferjax.errors import DataError, LabelsError, WeightFileError, WriteError
from ferjax.evaluate import evaluate, write_card
from ferjax.evaluate.card import read_report, text
from ferjax.nets import fer_cnn5

from ..networks import drawn, tiny
from ..train.conftest import make_faces


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = tiny()
    path = tmp_path / "tiny.h5"
    keras.save(path, network, drawn(network), labels=ferjax.EMOTIONS)
    known = {
        "licence": "CC0-1.0",
        "trained_on": {"data": "FER2013 Training", "images": 28709},
        "selected_on": {"data": "FER2013 PublicTest", "images": 3589},
        "training": {
            "command": "ferjax train --recipe fast",
            "seconds": 12.7,
            "hardware": "CPU, 2 cores",
            "versions": {"jax": "0.10.2"},
        },
        "calibration": {"temperature": 1.25},
    }
    metadata.write(path, known)
    return path


def report(weights: Path, folder: Path, **options: Any) -> Path:
    found = {**evaluate(weights, make_faces(copies=4), **options).to_json(), "command": "ferjax x"}
    path = folder / f"report{len(list(folder.glob('report*')))}.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_the_classes_of_the_training_are_said(weights: Path) -> None:
    known = metadata.read(weights)
    assert "Classes in training" not in text(weights)
    shares = dict.fromkeys(ferjax.EMOTIONS, 0.1) | {"happy": 0.4}
    metadata.write(weights, {**known, "training_frequencies": shares})
    card = text(weights)
    assert (
        "Classes in training: angry 10.00 %, disgust 10.00 %, fear 10.00 %, happy 40.00 %" in card
    )
    metadata.write(weights, {**known, "training_frequencies": {"happy": "often"}})
    assert "Classes in training" not in text(weights)
    offsets = {"temperature": 1.25, "offsets": dict.fromkeys(ferjax.EMOTIONS, 0.0)}
    metadata.write(weights, {**known, "calibration": offsets})
    assert "A temperature of 1.250 and an offset of each class are stored" in text(weights)


def test_without_a_report_nothing_is_claimed(weights: Path) -> None:
    card = text(weights)
    assert "# tiny.h5" in card
    assert digests.sha256(weights) in card
    assert "Not measured: no report was given" in card
    assert "license: cc0-1.0" in card
    assert "Trained on FER2013 Training (28,709 images)" in card
    assert "A temperature of 1.250 is stored" in card
    assert "    ferjax train --recipe fast" in card
    assert "12 seconds on CPU, 2 cores, with jax 0.10.2." in card
    assert card.count("Not measured") == 3
    _check_tables(card)


def test_classes_without_names_are_asked_for(tmp_path: Path) -> None:
    network = tiny()
    path = tmp_path / "nameless.h5"
    keras.save(path, network, drawn(network))
    with pytest.raises(LabelsError, match=r"nameless.h5: has no class names .*; --labels"):
        text(path)
    card = text(path, labels="fer2013")
    assert (
        "probabilities of 7 classes out\n(angry, disgust, fear, happy, sad, surprise, neutral)"
        in card
    )


def test_the_order_of_a_known_network_is_called_that(tmp_path: Path) -> None:
    network = fer_cnn5()
    path = tmp_path / "nameless.h5"
    keras.save(path, network, drawn(network))
    card = text(path)
    assert "sad, surprise: the order of fer_cnn5, the published network, kaggle.com" in card


def test_all_trainings_in_turn(weights: Path) -> None:
    known = metadata.read(weights)
    first = {"command": "ferjax train --out first", "seconds": 900, "hardware": "2 x GPU"}
    known["training"]["started_from"] = {"file": "best.h5", "training": first}
    metadata.write(weights, known)
    made = text(weights).partition("## How it was made\n")[2]
    begun, _, then = made.partition("    ferjax train --recipe fast\n")
    assert begun == "\n    ferjax train --out first\n\n900 seconds on 2 x GPU.\n\n"
    assert then == "\n12 seconds on CPU, 2 cores, with jax 0.10.2.\n"


def test_teachers_are_named(weights: Path) -> None:
    known = metadata.read(weights)
    known["training"]["teachers"] = [{"file": "a|b.h5", "sha256": "1f"}, {"file": "c.h5"}]
    metadata.write(weights, known)
    made = text(weights).partition("## How it was made\n")[2]
    assert made.endswith("\nTaught by a\\|b.h5 (SHA-256 1f), c.h5 (SHA-256 not recorded).\n")


def test_a_training_that_is_not_recorded(weights: Path) -> None:
    metadata.write(weights, {})
    assert text(weights).endswith("## How it was made\n\nNot recorded.\n")


def test_uses_that_are_ruled_out_are_always_there(weights: Path) -> None:
    card = text(weights)
    for phrase in ("Article 5(1)(f)", "no reading of what a person feels", "Barrett", "work or in"):
        assert phrase in card


def test_the_figures_of_reports(tmp_path: Path, weights: Path) -> None:
    people = tmp_path / "people.csv"
    rows = [f"face {256 + row},{'young' if row % 2 else 'old|er'}" for row in range(64)]
    people.write_text("\n".join(["image,age", *rows]), encoding="utf-8")
    main = report(weights, tmp_path, with_robustness=True, attributes=people)
    flipped = report(weights, tmp_path, tta="flip")
    card = text(weights, [main, flipped])
    found = json.loads(main.read_text(encoding="utf-8"))
    assert f"{100 * found['whole']['accuracy']:.2f} %" in card
    assert f"{100 * found['without_copies']['accuracy']:.2f} %" in card
    assert "### validation, single view" in card
    assert "### validation, mean of 2 views (flip)" in card
    assert "With the stored temperature, 1.250" in card
    assert "4 of the 64 images are exact copies of training images" in card
    assert f"{100 * found['robustness']['occlusions']['eyes']:.2f} %" in card
    assert "At medium severity it loses most to" in card
    assert "Not measured" not in card
    assert "| age | young |" in card
    assert "    ferjax x\n" in card
    _check_tables(card)


def test_other_seeds(tmp_path: Path, weights: Path) -> None:
    known = metadata.read(weights)
    known["training"]["recipe"] = {"seed": 1}
    note = "without exact copies of training images"
    known["accuracy"] = [metadata.accuracy("PublicTest", 126, 200, 0.9, note=note)]
    metadata.write(weights, known)
    others = []
    for seed, correct in ((0, 124), (2, 130)):
        known["training"]["recipe"]["seed"] = seed
        known["accuracy"][0]["correct"] = correct
        others.append(tmp_path / f"{seed}.metadata.json")
        others[-1].write_text(json.dumps(known))
    card = text(weights, (), others)
    assert "this file is\ntheir median." in card
    assert "| | seed 0 | seed 1 (this file) | seed 2 | mean and standard deviation |" in card
    row = "| PublicTest, single, 200 images without copies | 62.00 % | 63.00 % | 65.00 % | 63.33 %"
    assert f"{row} ± 1.53 % |" in card
    _check_tables(card)
    assert "this file is\nnumber 1 from the best." in text(weights, (), others[:1])


def _check_tables(card: str) -> None:
    """Every table has a separator and rows of one length."""
    block: list[str] = []
    for line in [*card.splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            assert len(block) > 2, block
            assert set(block[1]) <= set("|-"), block
            cells = {row.replace("\\|", "").count("|") for row in block}
            assert len(cells) == 1, block
            block = []


def test_a_report_on_other_weights(tmp_path: Path, weights: Path) -> None:
    path = report(weights, tmp_path)
    network = tiny()
    other = tmp_path / "other.h5"
    keras.save(other, network, drawn(network, 1), labels=ferjax.EMOTIONS)
    with pytest.raises(DataError, match=r"report0.json: measured tiny.h5 \(\w{12}\), not .*other"):
        text(other, [path])


def changed(path: Path, **parts: Any) -> Path:
    """Change a report by paths such as `whole__accuracy`."""
    found = json.loads(path.read_text(encoding="utf-8"))
    for name, value in parts.items():
        *above, last = name.split("__")
        part = found
        for key in above:
            part = part[int(key)] if isinstance(part, list) else part[key]
        part[last] = value
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_notes_of_later_reports_are_told_unless_the_first_has_them(
    tmp_path: Path, weights: Path
) -> None:
    first = changed(report(weights, tmp_path), notes=["one", "both"])
    second = changed(report(weights, tmp_path, tta="flip"), notes=["both", "two"])
    card = text(weights, [first, second])
    head, _, tail = card.partition("### validation, mean of 2 views")
    assert "Read with care:\n\n- one\n- both\n\n95 %" in head
    assert "Read with care:\n\n- two\n\n95 %" in tail
    assert card.count("- both") == 1


def test_robustness_beside_several_views_is_called_that_of_one(
    tmp_path: Path, weights: Path
) -> None:
    path = report(weights, tmp_path, tta="flip", with_robustness=True)
    assert "Accuracy on validation, single view, " in text(weights, [path])


def test_groups_of_which_none_is_right_have_no_ratio(tmp_path: Path, weights: Path) -> None:
    people = tmp_path / "people.csv"
    rows = [f"face {256 + row},{'young' if row % 2 else 'old'}" for row in range(64)]
    people.write_text("\n".join(["image,age", *rows]), encoding="utf-8")
    path = report(weights, tmp_path, attributes=people)
    changed(path, subgroups__comparisons__0__ratio=None)
    card = text(weights, [path])
    assert "- age: largest gap " in card
    assert ", ratio " not in card


def test_limits_name_no_mistakes_that_were_not_made(tmp_path: Path, weights: Path) -> None:
    path = report(weights, tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    found["without_copies"] = None
    found["whole"]["confusion"] = [[9 * (i == j) for j in range(7)] for i in range(7)]
    for figures in found["whole"]["classes"].values():
        figures["recall"] = 1.0
    path.write_text(json.dumps(found), encoding="utf-8")
    limits = text(weights, [path]).partition("## Limits\n\n")[2]
    assert limits.startswith("- Posed and searched-for expressions")
    found["whole"]["confusion"][0][1] = 1
    found["whole"]["classes"]["angry"]["recall"] = 0.9
    path.write_text(json.dumps(found), encoding="utf-8")
    limits = text(weights, [path]).partition("## Limits\n\n")[2]
    assert limits.startswith(
        "- Of angry it finds the fewest images, 90.00 %.\n"
        "- Most often confused: angry taken for disgust (10.00 % of angry).\n"
    )


def test_a_folder_of_weights_has_no_reports(tmp_path: Path, weights: Path) -> None:
    path = report(weights, tmp_path)
    folder = tmp_path / "orbax"
    folder.mkdir()
    with pytest.raises(WeightFileError, match=r"a folder has no hash .* `ferjax convert` makes"):
        text(folder, [path])
    changed(path, weights__sha256=None)
    with pytest.raises(DataError, match=r"measured tiny.h5 \(no hash\), not "):
        text(weights, [path])


@pytest.mark.parametrize("missing", ["weights", "made", "robustness", "notes"])
def test_a_report_that_lacks_something(tmp_path: Path, weights: Path, missing: str) -> None:
    path = report(weights, tmp_path)
    assert read_report(path)
    found = json.loads(path.read_text(encoding="utf-8"))
    del found[missing]
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(DataError, match=r"expected the report.json of `ferjax evaluate --out`"):
        text(weights, [path])


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": None},
        {"weights": {"sha256": 1}},
        {"data": []},
        {"data": {}},
        {"whole": 3},
        {"whole": {}},
        {"without_copies": {"images": 3}},
        {"notes": 5},
        {"made": {}},
        {"votes": {"names": []}},
        {"robustness": {"clean": 0.5}},
        {"subgroups": {"groups": {}}},
    ],
    ids=str,
)
def test_a_damaged_report_is_one_line(
    tmp_path: Path, weights: Path, damage: dict[str, Any]
) -> None:
    path = report(weights, tmp_path)
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**whole, **damage}), encoding="utf-8")
    match = r"damaged report; make it again by `ferjax evaluate --out`$|: measured .* not "
    with pytest.raises(DataError, match=match) as caught:
        text(weights, [path])
    assert str(caught.value).count("\n") == 0


def test_an_earlier_report_without_calibrated_abstention_is_read(
    tmp_path: Path, weights: Path
) -> None:
    path = report(weights, tmp_path)
    found = json.loads(path.read_text(encoding="utf-8"))
    del found["calibrated"]["abstention"]
    del found["data"]["copies_of_validation"]
    path.write_text(json.dumps(found), encoding="utf-8")
    assert "With the stored temperature, 1.250" in text(weights, [path])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{}", "expected the report.json"),
        ("[1]", "expected the report"),
        ('{"format": "ferjax evaluation 1"}', "expected the report.json"),
    ],
)
def test_what_is_no_report(
    tmp_path: Path, weights: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        text(weights, [path])


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match="no such file"):
        text(tmp_path / "none.h5")


def test_only_a_card_of_ferjaxs_own_is_replaced(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "MODEL_CARD.md"
    path.write_text("by hand\n")
    with pytest.raises(WriteError, match="is no card that ferjax wrote; --force replaces it"):
        write_card(weights, out=path)
    assert path.read_text() == "by hand\n"
    assert write_card(weights, out=path, force=True) == path
    first = path.read_text(encoding="utf-8")
    write_card(weights, out=path)
    assert path.read_text(encoding="utf-8") == first
