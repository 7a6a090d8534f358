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
    """The training and the validation images of the data, all of them, with their own labels."""

    train: Faces
    validation: Faces
    copies: npt.NDArray[np.bool_]  # (N validation,), which are exact copies of images trained on


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The images of a run: what is trained on, and what is measured after each epoch.

    Where votes are used, those to validate on are the images with a majority, their label.
    """

    train: Faces
    validation: Faces
    copies: npt.NDArray[np.bool_]  # (N validation,), which are exact copies of images trained on
    path: str | None  # where they come from, if anywhere
    is_held_out: bool  # whether validation is a part of the training images
    # (N train, K), what is learnt in place of the labels; None: these.
    soft_labels: npt.NDArray[np.float32] | None = None
    # (N train,), the class of most votes, -1 where none is; None: votes are not used.
    majority: npt.NDArray[np.int32] | None = None
    labels: str | None = None  # what the labels of `validation` are; None: the images' own
    parts: Parts | None = None  # that `train` and `validation` are of; None: they are the whole

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


def load_data(data: str | os.PathLike[str] | Faces | None, recipe: Recipe) -> TrainingData:
    """Read prepared faces and divide them as the recipe says.

    Raises:
        DataError: there is no prepared dataset.
        TrainingError: there is no data, or it has no images to train or to validate on, or fewer
            than a batch, or no votes, where the recipe learns them.
    """
    if data is None:
        raise TrainingError(
            "expected `data`: a folder that `ferjax data prepare` made (--data DIR)"
        )
    path = None if isinstance(data, Faces) else str(Path(data).absolute())
    place = path or "the data"
    faces = data if isinstance(data, Faces) else preparation.load(data)
    faces = faces.take(~faces.in_split("test"))  # neither trained on nor looked at
    if recipe.hold_out:
        faces = _held_out(faces.take(faces.in_split("train")), recipe)
    train, validation = (faces.in_split(split) for split in ("train", "validation"))
    for split, rows in (("train", train), ("validation", validation)):
        if not rows.any():
            hint = "; --set hold_out=0.1 keeps a part of train" if split == "validation" else ""
            raise TrainingError(f"{place}: no {split} images{hint}")
    by_votes = _vote_targets(faces, recipe, place) if recipe.votes else None
    learnt, measured = train, validation
    if by_votes is not None:
        learnt = train & by_votes.named if recipe.unclear == "leave out" else train
        measured = validation & (by_votes.majority >= 0)
    if recipe.batch_size > (count := int(learnt.sum())):  # an epoch would have no step
        raise TrainingError(
            f"expected a `batch_size` of at most {count}, the training images in {place}, got "
            f"{recipe.batch_size}; --set batch_size={count}"
        )
    copies = np.zeros(len(faces), np.bool_)
    copies[learnt | validation] = checks.copies_of_training(faces.take(learnt | validation))
    images = TrainingData(
        train=faces.take(learnt),
        validation=faces.take(measured),
        copies=copies[measured],
        path=path,
        is_held_out=bool(recipe.hold_out),
    )
    if by_votes is None:
        return images
    labels = f"{BY_MAJORITY}, {len(faces.class_names)} classes"
    if recipe.vote_outliers != OUTLIERS:
        labels += f", without classes of {recipe.vote_outliers:g} votes or fewer"
    whole = faces.take(train), faces.take(validation)
    return replace(
        images,
        validation=replace(images.validation, labels=by_votes.majority[measured]),
        soft_labels=by_votes.values[learnt],
        majority=by_votes.majority[learnt],
        labels=labels,
        parts=Parts(train=whole[0], validation=whole[1], copies=copies[validation]),
    )


def _vote_targets(faces: Faces, recipe: Recipe, place: str) -> targets.VoteTargets:
    """Return what votes make of the images' labels; refuse data where they say nothing."""
    if faces.votes is None:
        raise TrainingError(
            f"{place}: has no votes, of which recipe {recipe.name} makes {recipe.votes:g} of each "
            "target; `ferjax data prepare SOURCE --votes VOTES.csv` adds them, --set votes=0 "
            "does without"
        )
    by_votes = targets.of_votes(faces, recipe)
    for split, useful in (("train", by_votes.named), ("validation", by_votes.majority >= 0)):
        if not (faces.in_split(split) & useful).any():
            raise TrainingError(
                f"{place}: no {split} image has votes for one of the data's classes, "
                f"{', '.join(faces.class_names)}; --set votes=0 does without votes"
            )
    return by_votes


def vote_notes(data: TrainingData, recipe: Recipe) -> list[str]:
    """Return what to know of the targets where votes are used; else nothing."""
    if data.majority is None or data.soft_labels is None:
        return []
    whole, labels, names = data.whole, data.train.labels, data.train.class_names
    named = targets.of_votes(data.train, recipe).named
    unnamed = len(whole.train) - int(named.sum())
    unclear = "are left out" if recipe.unclear == "leave out" else "have their own label alone"
    own = float(data.soft_labels[np.arange(len(labels)), labels].mean())
    in_labels = np.bincount(labels, minlength=len(names)) / len(labels)
    in_loss = data.frequencies(recipe)
    shares = ", ".join(
        f"{name} {loss:.1%} ({label:.1%})" for name, loss, label in zip(names, in_loss, in_labels)
    )
    clear = data.majority >= 0
    same = float((data.majority == labels)[clear].mean()) if clear.any() else 0.0
    return [
        f"targets by votes of {int(named.sum()):,} of {len(whole.train):,} training images; "
        f"{unnamed:,}, whose votes name no class, {unclear}",
        f"the majority of votes is the image's own label in {same:.1%}; targets give the own label "
        f"{own:.1%} on average",
        f"classes in the loss (in the labels): {shares}",
        f"validation: {len(data.validation):,} of {len(whole.validation):,} images, those with a "
        "majority of votes, which is their label",
    ]


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
        return balance.Balanced(labels=labels, seed=recipe.seed)
    return Shuffled(size=len(labels), seed=recipe.seed)
