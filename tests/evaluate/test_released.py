"""The released weights reach what their metadata says, on the real images."""

from __future__ import annotations

from pathlib import Path

import ferjax
from ferjax.data import sources, splits
from ferjax.evaluate import evaluate


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
