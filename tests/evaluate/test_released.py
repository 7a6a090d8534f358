"""The released weights reach what their metadata, their reports and their card say."""

from __future__ import annotations

from pathlib import Path

import ferjax
from ferjax.data import sources, splits
from ferjax.evaluate import card, evaluate

ROOT = Path(__file__).parents[2]
REPORTS = [
    ROOT / "checkpoints" / "reports" / f"fer_cnn5{view}.json" for view in ("", ".flip", ".ten-crop")
]


def test_the_default_weights_reach_their_accuracy(fer_zip: Path) -> None:
    classifier = ferjax.load()
    whole, without_copies = classifier.metadata["accuracy"]
    assert whole["dataset"] == without_copies["dataset"] == "FER2013 PublicTest"
    found = evaluate(classifier, splits.official(sources.read(fer_zip).faces))
    assert found.without_copies is not None
    for measured, said in ((found.whole, whole), (found.without_copies, without_copies)):
        assert measured.images == said["images"]
        # Two classes that are equally probable may change places on another machine.
        assert abs(measured.correct - said["correct"]) <= 1


def test_the_reports_say_what_the_metadata_says() -> None:
    report = card.read_report(REPORTS[0])
    whole, without_copies = ferjax.load().metadata["accuracy"]
    for measured, said in ((report["whole"], whole), (report["without_copies"], without_copies)):
        assert measured["correct"] == said["correct"]
        assert measured["images"] == said["images"]


def test_the_card_is_what_ferjax_writes() -> None:
    stored = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.text(None, REPORTS) == stored, "write it anew: ferjax card --report ..."
