"""The released weights reach what their metadata, their reports and their card say."""

from __future__ import annotations

from pathlib import Path

import pytest

import ferjax
from ferjax.classifier import DEFAULT_WEIGHTS
from ferjax.data import sources, splits
from ferjax.evaluate import card, evaluate

ROOT = Path(__file__).parents[2]
NAME = Path(DEFAULT_WEIGHTS).stem
REPORTS = [
    ROOT / "checkpoints" / "reports" / f"{NAME}{view}.json" for view in ("", ".flip", ".ten-crop")
]
SEEDS = sorted((ROOT / "checkpoints" / "seeds").glob(f"{NAME}.*.metadata.json"))


@pytest.mark.slow
def test_the_default_weights_reach_their_accuracy(fer_zip: Path) -> None:
    classifier = ferjax.load()
    whole, without_copies = classifier.metadata["accuracy"][:2]
    assert whole["view"] == without_copies["view"] == "single"
    assert whole["dataset"] == without_copies["dataset"] == "FER2013 PublicTest"
    found = evaluate(classifier, splits.official(sources.read(fer_zip).faces))
    assert found.without_copies is not None
    for measured, said in ((found.whole, whole), (found.without_copies, without_copies)):
        assert measured.images == said["images"]
        # Two classes that are equally probable may change places on another machine.
        assert abs(measured.correct - said["correct"]) <= 1


def test_the_reports_say_what_the_metadata_says() -> None:
    said = iter(ferjax.load().metadata["accuracy"])
    for path, view in zip(REPORTS, ("single", "flip", "ten-crop"), strict=True):
        report = card.read_report(path)
        for measured in (report["whole"], report["without_copies"]):
            entry = next(said)
            assert entry["view"] == view
            assert (measured["correct"], measured["images"]) == (entry["correct"], entry["images"])
    assert not list(said)


def test_the_card_is_what_ferjax_writes() -> None:
    stored = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.text(None, REPORTS, SEEDS) == stored, "write it anew: ferjax card --report ..."
