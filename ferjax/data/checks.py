"""What is wrong with a dataset: copies, contradictions, blank images.

Copies are exact: the same pixels, after resizing. FER2013 has them within its parts and across,
some with different labels.

Dimension keys: N images, H height, W width, K classes, S splits.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import SPLITS, Faces

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `check` found. Names are those of `Faces.names`."""

    images: int
    unique_images: int  # with different pixels
    size: tuple[int, int]  # (H, W)
    class_names: tuple[str, ...]
    counts: dict[str, dict[str, int]]  # images by split and class
    surplus_copies: dict[str, int]  # by split: copies of another image of the same split
    # By split: images that are copies of a training image; of an image of any earlier split.
    copies_of_training: dict[str, int]
    copies_of_earlier: dict[str, int]
    copies_of_validation: int  # test images that are copies of a validation image
    copied_training_images: int  # training images with a copy in validation or test: `leaks`
    conflicts: tuple[tuple[str, ...], ...]  # groups of copies with more than one label
    blank: tuple[str, ...]
    blank_counts: dict[str, int]  # by split
    resized: int  # images of another size in the source
    source_sizes: dict[str, int]  # images by height x width in the source, the most common first
    pixels: dict[str, dict[str, float]]  # mean and std in [0, 255], of all and by split

    def to_json(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def check(faces: Faces) -> Report:
    """Check a dataset for what makes training or measured accuracy wrong."""
    by_split = {split: faces.in_split(split) for split in SPLITS}
    group = _groups(faces)
    groups = {split: np.unique(group[rows]) for split, rows in by_split.items()}
    of_training, of_earlier = {}, {}
    earlier = groups["train"]
    for split in SPLITS[1:]:
        of_training[split] = int(np.isin(group[by_split[split]], groups["train"]).sum())
        of_earlier[split] = int(np.isin(group[by_split[split]], earlier).sum())
        earlier = np.union1d(earlier, groups[split])

    conflicting: defaultdict[int, list[str]] = defaultdict(list)
    for row in np.flatnonzero(conflicts(faces)).tolist():
        conflicting[int(group[row])].append(faces.names[row])
    sizes = Counter(map(tuple, faces.source_sizes.tolist()))
    is_blank = blank(faces)
    size = (int(faces.images.shape[1]), int(faces.images.shape[2]))
    return Report(
        images=len(faces),
        unique_images=len(np.unique(group)),
        size=size,
        class_names=faces.class_names,
        counts={
            split: dict(zip(faces.class_names, row))
            for split, row in zip(SPLITS, faces.counts.tolist())
        },
        surplus_copies={
            split: int(rows.sum()) - len(groups[split]) for split, rows in by_split.items()
        },
        copies_of_training=of_training,
        copies_of_earlier=of_earlier,
        copies_of_validation=int(copies_of_validation(faces).sum()),
        copied_training_images=int(leaks(faces).sum()),
        conflicts=tuple(map(tuple, conflicting.values())),
        blank=tuple(faces.names[row] for row in np.flatnonzero(is_blank)),
        blank_counts={split: int((is_blank & rows).sum()) for split, rows in by_split.items()},
        resized=len(faces) - sizes[size],
        source_sizes={f"{h}x{w}": n for (h, w), n in sizes.most_common()},
        pixels=_pixels(faces),
    )


def blank(faces: Faces) -> Mask:
    """Return a mask, (N,), of images whose pixels are all equal."""
    flat = faces.images.reshape(len(faces), faces.images[0].size if len(faces) else 1)
    return np.asarray(flat.min(1) == flat.max(1))


def conflicts(faces: Faces) -> Mask:
    """Return a mask, (N,), of images of which an exact copy, in any split, has another label.

    All copies are in it: which label is right, nothing says.
    """
    group = _groups(faces)
    pairs = np.unique(np.stack([group, faces.labels]), axis=1)[0]  # a group once a label
    return np.asarray(np.bincount(pairs, minlength=1)[group] > 1)


def leaks(faces: Faces) -> Mask:
    """Return a mask, (N,), of training images of which an exact copy is in validation or test.

    Dropping these keeps the evaluation splits whole, so that accuracy on them stays comparable with
    published figures and yet none of their images was trained on. For the other side, see
    `copies_of_training`.
    """
    train = faces.in_split("train")
    return _copies(faces, train, of=~train)


def copies_of_training(faces: Faces) -> Mask:
    """Return a mask, (N,), of validation and test images that are exact copies of training images.

    An honest accuracy leaves these out, or says how many there are.
    """
    train = faces.in_split("train")
    return _copies(faces, ~train, of=train)


def copies_of_validation(faces: Faces) -> Mask:
    """Return a mask, (N,), of test images that are exact copies of validation images.

    Weights that were selected on those are flattered by these.
    """
    return _copies(faces, faces.in_split("test"), of=faces.in_split("validation"))


def _copies(faces: Faces, mask: Mask, *, of: Mask) -> Mask:
    """Return a mask, (N,), of the images of one mask that are exact copies of those of another."""
    group = _groups(faces)
    return np.asarray(mask & np.isin(group, group[of]))


def _groups(faces: Faces) -> npt.NDArray[np.int64]:
    """Number the different images: exact copies have one number, (N,)."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(d, len(numbers)) for d in faces.digests], np.int64)


def _pixels(faces: Faces) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation over all pixels, from exact counts of the 256 values."""
    histograms = np.zeros((len(SPLITS), 256), np.int64)
    for start in range(0, len(faces), 1024):  # bincount makes eight bytes of each pixel
        part = slice(start, start + 1024)
        for split in range(len(SPLITS)):
            chosen = faces.images[part][faces.splits[part] == split]
            histograms[split] += np.bincount(chosen.ravel(), minlength=256)
    values = np.arange(256)
    pixels = {}
    for name, histogram in zip(("all", *SPLITS), (histograms.sum(0), *histograms)):
        if count := histogram.sum():
            mean = float((values * histogram).sum() / count)
            variance = float((((values - mean) ** 2) * histogram).sum() / count)
            pixels[name] = {"mean": mean, "std": variance**0.5}
    return pixels
