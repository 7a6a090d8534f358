"""The released weights reach what their metadata, their reports and their card say."""

from __future__ import annotations

from pathlib import Path

import pytest

import ferjax
from ferjax import metadata, released
from ferjax.data import sources, splits
from ferjax.evaluate import card, evaluate, provenance
from ferjax.train.recipes import Recipe, differences, recipe

ROOT = Path(__file__).parents[2]
NAME = released.FER2013
CHECKPOINTS = ROOT / "checkpoints"
RELEASED = sorted(path.stem for path in CHECKPOINTS.glob("*.h5"))


def reports(name: str) -> list[Path]:
    return [CHECKPOINTS / "reports" / f"{name}{view}.json" for view in ("", ".flip", ".ten-crop")]


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


@pytest.mark.parametrize("name", RELEASED)
def test_the_reports_say_what_the_metadata_says(name: str) -> None:
    entries = metadata.read(CHECKPOINTS / f"{name}.h5")["accuracy"]
    own = [entry for entry in entries if not entry.get("labels")]
    said = iter([entry for entry in own if entry["dataset"] == "FER2013 PublicTest"])
    for path, view in zip(reports(name), ("single", "flip", "ten-crop"), strict=True):
        report = card.read_report(path)
        for measured in (report["whole"], report["without_copies"]):
            entry = next(said)
            assert entry["view"] == view
            assert (measured["correct"], measured["images"]) == (entry["correct"], entry["images"])
    assert not list(said)


@pytest.mark.parametrize(
    ("name", "stored"),
    [(released.DEFAULT, ROOT / "MODEL_CARD.md"), (NAME, CHECKPOINTS / f"{NAME}.card.md")],
)
def test_the_card_is_what_ferjax_writes(name: str, stored: Path) -> None:
    seeds = sorted((CHECKPOINTS / "seeds").glob(f"{name}.seed*.metadata.json"))
    assert len(seeds) == 2
    text = card.text(released.path_of(name), reports(name), seeds)
    assert text == stored.read_text(encoding="utf-8"), "write it anew: ferjax card --report ..."


def test_the_default_says_what_people_see_more_often_than_the_weights_it_began_with() -> None:
    known = metadata.read(released.path_of(released.DEFAULT))
    started = metadata.read(released.path_of(NAME))
    assert known["training"]["started_from"]["sha256"] == started["sha256"]
    assert Recipe.from_json(known["training"]["recipe"]) == recipe("votes")
    (report,) = [card.read_report(path) for path in reports(released.DEFAULT)[:1]]
    against = report["votes"]["whole"]["answers"]["training"]["majorities"]["7 classes"]
    of = {"labels": "majority of people, 7 classes", "view": "single", "prior": None}
    matching = [a for a in known["accuracy"] if all(a.get(key) == of[key] for key in of)]
    said = next(a for a in matching if a["images"] == 3186)
    assert (said["correct"], said["images"]) == (against["correct"], against["images"])
    assert against["images"] == 3186


def test_the_robust_weights_are_those_of_their_recipe() -> None:
    found = metadata.read(CHECKPOINTS / "fer_cnn8_robust.h5")["training"]
    different = differences(Recipe.from_json(found["recipe"]), recipe("robust"))
    assert [text.split(":")[0] for text in different] == ["name", "seed"]
    default = metadata.read(CHECKPOINTS / f"{NAME}.h5")
    assert found["started_from"]["sha256"] == default["sha256"]


@pytest.mark.parametrize("name", RELEASED)
def test_their_chain_of_trainings_has_seen_training_images_alone(name: str) -> None:
    known = metadata.read(CHECKPOINTS / f"{name}.h5")
    checksum = known["trained_on"]["checksum"]
    images = {"images": 3589, "copies": 0, "checksum": "", "data_checksum": checksum}
    for part, split, count in (("PublicTest", "validation", 1), ("PrivateTest", "test", 0)):
        measured = provenance.Measured(name=f"FER2013 {part}", split=split, **images)
        notes = provenance.overlaps(known, measured)
        assert len(notes) == count, notes
        assert all("were selected on these images" in note for note in notes)
        assert provenance.copies_unknown(known, measured) is None


@pytest.mark.parametrize("name", RELEASED)
def test_copies_are_told_as_unknown_where_the_data_lacks_training_images(name: str) -> None:
    known = metadata.read(CHECKPOINTS / f"{name}.h5")
    measured = provenance.Measured(
        name="FER2013 PublicTest",
        split="validation",
        images=3589,
        copies=0,
        checksum="",
        data_checksum="another",
    )
    (_, note) = provenance.overlaps(known, measured)
    votes = ", with people's votes" if name == released.VOTES else ""
    assert note == (
        "exact copies could be looked for only among this data's own training images, not among "
        f"what the weights were trained on (FER2013 Training (28,709 images){votes})"
    )
    assert provenance.copies_unknown(known, measured) is not None
