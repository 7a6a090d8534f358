"""The images of a run, what is learnt of each, and the order in which they come."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax.data import balance, checks, preparation, splits
from ferjax.data.dataset import Faces, checksum
from ferjax.data.order import Order, Shuffled
from ferjax.data.votes import BY_MAJORITY, OUTLIERS
from ferjax.train import targets
from ferjax.train.errors import TrainingError
from ferjax.train.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The training and the validation images of the data, all of them, with their own labels.

    Attributes:
        train, validation: the images.
        copies: bool (N validation,), which of them are exact copies of images trained on.
    """

    train: Faces
    validation: Faces
    copies: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The images of a run.

    Attributes:
        train: what is trained on.
        validation: what is measured after each epoch, and chosen by; where votes are used, the
            images with a majority, which is their label.
        copies: bool (N validation,), which of them are exact copies of training images.
        path: where they come from, if anywhere.
        is_held_out: whether validation is a part of the training images.
        soft_labels: float32 (N train, K), what is learnt in place of the labels; None: these.
        majority: int32 (N train,), the class of most votes, -1 where none is; None: votes are not
            used.
        labels: what the labels of `validation` are; None: the images' own.
        parts: what `train` and `validation` were taken from; None: they are the whole.
    """

    train: Faces
    validation: Faces
    copies: npt.NDArray[np.bool_]
    path: str | None
    is_held_out: bool
    soft_labels: npt.NDArray[np.float32] | None = None
    majority: npt.NDArray[np.int32] | None = None
    labels: str | None = None
    parts: Parts | None = None

    @property
    def whole(self) -> Parts:
        """The parts of the data with their own labels."""
        if self.parts is not None:
            return self.parts
        return Parts(train=self.train, validation=self.validation, copies=self.copies)

    def name(self, split: str) -> str:
        """Return what "train" or "validation" is called: a part of FER2013, or its split."""
        faces = self.whole.train if split == "train" else self.whole.validation
        if split == "validation" and self.is_held_out:
            split = "held out of train"
        return splits.part_name(faces, split, self.path)

    def describe(self) -> dict[str, Any]:
        """Return what tells this data from other data, ready for JSON.

        Where votes are used, "votes" is a checksum of them, "left_out" how many of the images are,
        "labels" what the labels of the validation images are.
        """
        whole = self.whole
        images = {"train": len(whole.train), "validation": len(whole.validation)}
        described = {
            "path": self.path,
            "names": {split: self.name(split) for split in images},
            "images": images,
            "validation_copies_of_training": int(whole.copies.sum()),
            "size": list(self.train.images.shape[1:]),
            "class_names": list(self.train.class_names),
            "checksum": checksum(whole.train, whole.validation),
        }
        votes = [v for v in (whole.train.votes, whole.validation.votes) if v is not None]
        if self.majority is not None:
            used = {"train": len(self.train), "validation": len(self.validation)}
            described["votes"] = targets.checksum(*votes)
            described["labels"] = self.labels
            described["left_out"] = {split: n - used[split] for split, n in images.items()}
        return described

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """The class by which training images are balanced, (N,): the majority or the label."""
        if self.majority is None:
            return self.train.labels
        return np.where(self.majority < 0, self.train.labels, self.majority).astype(np.int32)

    def class_weights(self, recipe: Recipe) -> npt.NDArray[np.float32] | None:
        """Return the weight of each class in the loss, (K,), or None where all weigh the same."""
        if recipe.class_weights == "none":
            return None
        if self.majority is None or self.soft_labels is None:
            return balance.class_weights(self.train.labels, len(self.train.class_names))
        return targets.balanced_weights(self.soft_labels)

    def frequencies(self, recipe: Recipe) -> npt.NDArray[np.float64]:
        """Return how often the loss is shown each class, (K,); see `targets.frequencies`."""
        learnt = self.soft_labels
        if learnt is None:
            learnt = np.eye(len(self.train.class_names), dtype=np.float32)[self.train.labels]
        groups = self.groups if recipe.sampling == "balanced" else None
        return targets.frequencies(learnt, groups, self.class_weights(recipe))

    def described_shares(self, recipe: Recipe) -> dict[str, dict[str, float]]:
        """Return the class frequencies that metadata has, ready for JSON: of what was learnt, under
        "training_frequencies", and those that the outputs stand for, under "prior".
        """
        frequencies = self.frequencies(recipe)
        prior = targets.prior(frequencies, recipe.logit_adjustment)
        names = self.train.class_names
        return {
            key: {name: float(f"{share:.6g}") for name, share in zip(names, shares)}
            for key, shares in (("training_frequencies", frequencies), ("prior", prior))
        }


def load_data(data: str | os.PathLike[str] | Faces, recipe: Recipe) -> TrainingData:
    """Read prepared faces and divide them as the recipe says.

    Raises:
        DataError: there is no prepared dataset.
        TrainingError: it has no images to train or to validate on, or fewer than a batch, or no
            votes, where the recipe learns them.
    """
    path = None if isinstance(data, Faces) else str(Path(data).absolute())
    faces = data if isinstance(data, Faces) else preparation.load(data)
    faces = faces.take(~faces.in_split("test"))  # neither trained on nor looked at
    if recipe.hold_out:
        faces = _held_out(faces.take(faces.in_split("train")), recipe)
    rows = {split: faces.in_split(split) for split in ("train", "validation")}
    for split, chosen in rows.items():
        if not chosen.any():
            hint = "; --set hold_out=0.1 keeps a part of train" if split == "validation" else ""
            raise TrainingError(f"{path or 'the data'}: no {split} images{hint}")
    if recipe.votes:
        return _with_votes(faces, recipe, path)
    _check_batch(int(rows["train"].sum()), recipe, path)
    copies = checks.copies_of_training(faces)[rows["validation"]]
    return TrainingData(
        train=faces.take(rows["train"]),
        validation=faces.take(rows["validation"]),
        copies=copies,
        path=path,
        is_held_out=bool(recipe.hold_out),
    )


def _with_votes(faces: Faces, recipe: Recipe, path: str | None) -> TrainingData:
    """Return the images with targets by their votes, and those to validate on by their majority."""
    place = path or "the data"
    if faces.votes is None:
        raise TrainingError(
            f"{place}: has no votes, of which recipe {recipe.name} makes {recipe.votes:g} of each "
            "target; `ferjax data prepare SOURCE --votes VOTES.csv` adds them, --set votes=0 "
            "does without"
        )
    train, validation = (faces.in_split(split) for split in ("train", "validation"))
    wanted = targets.of_votes(faces, recipe)
    learnt = train & wanted.named if recipe.unclear == "leave out" else train
    measured = validation & (wanted.majority >= 0)
    for split, chosen in (("train", train & wanted.named), ("validation", measured)):
        if not chosen.any():
            raise TrainingError(
                f"{place}: no {split} image has votes for one of the data's classes, "
                f"{', '.join(faces.class_names)}; --set votes=0 does without votes"
            )
    _check_batch(int(learnt.sum()), recipe, path)
    labels = f"{BY_MAJORITY}, {len(faces.class_names)} classes"
    if recipe.vote_outliers != OUTLIERS:
        labels += f", without classes of {recipe.vote_outliers:g} votes or fewer"
    copies = np.zeros(len(faces), np.bool_)
    copies[learnt | validation] = checks.copies_of_training(faces.take(learnt | validation))
    by_majority = replace(faces.take(measured), labels=wanted.majority[measured])
    return TrainingData(
        train=faces.take(learnt),
        validation=by_majority,
        copies=copies[measured],
        path=path,
        is_held_out=bool(recipe.hold_out),
        soft_labels=wanted.values[learnt],
        majority=wanted.majority[learnt],
        labels=labels,
        parts=Parts(
            train=faces.take(train),
            validation=faces.take(validation),
            copies=copies[validation],
        ),
    )


def vote_notes(data: TrainingData, recipe: Recipe) -> list[str]:
    """Return what is to be said of the targets where votes are used; else nothing."""
    if data.majority is None or data.soft_labels is None:
        return []
    whole, labels, names = data.whole, data.train.labels, data.train.class_names
    named = targets.of_votes(data.train, recipe).named
    unnamed = len(whole.train) - int(named.sum())
    what = "are left out" if recipe.unclear == "leave out" else "have their own label alone"
    own = float(data.soft_labels[np.arange(len(labels)), labels].mean())
    before = np.bincount(labels, minlength=len(names)) / len(labels)
    after = data.frequencies(recipe)
    shares = ", ".join(f"{n} {b:.1%} ({a:.1%})" for n, b, a in zip(names, after, before))
    clear = data.majority >= 0
    same = float((data.majority == labels)[clear].mean()) if clear.any() else 0.0
    return [
        f"targets by votes of {int(named.sum()):,} of {len(whole.train):,} training images; "
        f"{unnamed:,}, whose votes name no class, {what}",
        f"the majority of votes is the image's own label in {same:.1%}; targets give the own label "
        f"{own:.1%} on average",
        f"classes in the loss (in the labels): {shares}",
        f"validation: {len(data.validation):,} of {len(whole.validation):,} images, those with a "
        "majority of votes, which is their label",
    ]


def _check_batch(images: int, recipe: Recipe, path: str | None) -> None:
    if recipe.batch_size > images:  # an epoch would have no step
        raise TrainingError(
            f"expected a `batch_size` of at most {images}, the training images in "
            f"{path or 'the data'}, got {recipe.batch_size}; --set batch_size={images}"
        )


def _held_out(train: Faces, recipe: Recipe) -> Faces:
    """Put a part of the training images into validation: by pixels and seed, copies together."""
    salt = f"ferjax hold out {recipe.seed:d} ".encode()
    drawn = np.array(
        [
            int.from_bytes(hashlib.blake2b(salt + digest, digest_size=8).digest(), "big")
            for digest in train.digests
        ],
        np.float64,
    )
    return replace(train, splits=(drawn / 2**64 < recipe.hold_out).astype(np.int8))


def order(recipe: Recipe, labels: npt.NDArray[np.int32]) -> Order:
    """Return the order in which training images come.

    Args:
        labels: int32 (N,), by which they are balanced, if at all.
    """
    if recipe.sampling == "balanced":
        from ferjax.data.balance import Balanced

        return Balanced(labels=labels, seed=recipe.seed)
    return Shuffled(size=len(labels), seed=recipe.seed)
