"""The recipes that have a name: each opens with what it is for and what it is known to reach.

`published`, `fast`, `flagship` and `fine-tune` are written out, the others say where they differ.
Accuracies are on FER2013's PublicTest, by one view of each image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ferjax.data.augmentation import preset
from ferjax.errors import near_misses
from ferjax.train.errors import RecipeError
from ferjax.train.recipe_fields import Recipe, differences, override

__all__ = ["NAMED", "RECIPES", "NamedRecipe", "Recipe", "differences", "override", "recipe"]


@dataclass(frozen=True, kw_only=True)
class NamedRecipe:
    """A recipe under its name, with what a person wants to know before choosing it.

    Attributes:
        summary: what it is, in a line; the command line's help.
        source: where it comes from, and why it is as it is.
        measured: what it reached, in what time, on what and when; None: nothing was measured yet.
        command: the call that trains it, that of `measured` where there is one.
        start: the weights that it begins with: "drawn" from the seed, those of "init", which has to
            be given, or "released", ferjax's own, where `init` is not given.
        recipe: its fields.
    """

    summary: str
    source: str
    measured: str | None
    command: str
    start: Literal["drawn", "init", "released"] = "drawn"
    recipe: Recipe


_PUBLISHED = NamedRecipe(
    summary="as the published model was trained",
    source="The published training code: Adam at 1e-4, batches of 64, at most 250 epochs, a fifth "
    "of the training images held out, early stopping and a reduced learning rate on their loss, "
    "images zoomed, flipped, rotated, shifted, sheared and brightened.",
    measured="It stopped after 60 epochs, 80 minutes on two CPU cores, at 52.8 % (65.9 % with "
    "`fast`); an epoch takes 60 s where nothing else runs. The published run went on to epoch 124.",
    command="ferjax train --data fer2013 --recipe published --out runs/published",
    recipe=Recipe(
        name="published",
        architecture="fer_cnn5",
        batch_size=64,
        epochs=250,
        hold_out=0.2,
        augmentation=preset("published"),
        optimizer="adam",
        learning_rate=1e-4,
        schedule="plateau",
        plateau_factor=0.2,
        plateau_patience=10,
        early_stopping=10,
        monitor="loss",
        select="loss",
    ),
)

_FAST = NamedRecipe(
    summary="the best network that two CPU cores train in half an hour",
    source="ferjax's own: AdamW with one cycle of the learning rate (Smith and Topin, arXiv "
    "1708.07120), and averaged weights.",
    measured="65.87 % (64.40 % without copies of training images) after 54 minutes on one shared "
    "core; on two an epoch takes about a minute where nothing else runs (2026-11-27).",
    command="ferjax train --data fer2013 --recipe fast --out runs/fast",
    recipe=Recipe(
        name="fast",
        architecture="fer_cnn5",
        batch_size=64,
        epochs=25,
        dropout_scale=0.25,
        augmentation=preset("light"),
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.02,
        label_smoothing=0.1,
        schedule="one_cycle",
        peak_at=0.2,
        ema_decay=0.998,
        clean_statistics=4096,
    ),
)

_FLAGSHIP = NamedRecipe(
    summary="the network of 8 convolutions on one modern GPU",
    source="Long, with what keeps a network from learning wrong labels by heart: all of the "
    "network's dropout, erased parts, mixup (Zhang et al., arXiv 1710.09412), averaged weights.",
    measured="Three seeds at once on one NVIDIA H100 reached 69.66, 69.82 and 69.71 % (68.15, "
    "68.24 and 68.27 % without copies of training images). They were stopped after 107 of the 130 "
    "epochs and 4 minutes and 27 seconds; two had `--set seed=1` and `--set seed=2` (2026-11-27).",
    command="ferjax train --data fer2013 --recipe flagship --out runs/flagship",
    recipe=Recipe(
        name="flagship",
        architecture="fer_cnn8",
        compute_dtype="bfloat16",
        batch_size=128,
        epochs=130,
        augmentation=replace(preset("medium"), mixup=0.3),
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        label_smoothing=0.1,
        schedule="cosine",
        warmup_epochs=5,
        ema_decay=0.999,
        clean_statistics=4096,
    ),
)

_FLAGSHIP_CPU = NamedRecipe(
    summary="the network of 8 convolutions on two CPU cores, some two and a half hours",
    source="`fast` with the larger network, and more dropout for it.",
    measured="67.99 % (66.64 % without copies of training images) after 2 hours and 22 minutes on "
    "two shared cores, with `--set seed=1` 67.57 % (66.06 %), both without clean statistics. The "
    "same weights have 69.13 and 67.87 % with them; they change no step of a training "
    "(2026-11-26).",
    command="ferjax train --data fer2013 --recipe flagship-cpu --out runs/flagship-cpu",
    recipe=replace(
        _FAST.recipe, name="flagship-cpu", architecture="fer_cnn8", epochs=20, dropout_scale=0.4
    ),
)

_FINE_TUNE = NamedRecipe(
    summary="a few epochs at a low rate from trained weights, which --init names",
    source="ferjax's own: without mixup; the network's dropout stays that of the weights.",
    measured="Three seeds of `flagship` went from 69.66, 69.82 and 69.71 % to 69.43, 69.80 and "
    "70.08 %, which is within noise, and their loss from 0.892, 0.901 and 0.922 to 0.850, 0.855 "
    "and 0.868, each on one CPU core in 40 to 42 minutes. They ran with these settings through "
    "`--set` (2026-11-27).",
    command="ferjax train --data fer2013 --recipe fine-tune --init runs/seed2/best.h5 "
    "--out runs/more",
    start="init",
    recipe=Recipe(
        name="fine-tune",
        batch_size=64,
        epochs=3,
        augmentation=preset("medium"),
        optimizer="adamw",
        learning_rate=3e-4,
        weight_decay=0.05,
        label_smoothing=0.1,
        schedule="cosine",
        warmup_epochs=0.25,
        ema_decay=0.998,
        clean_statistics=4096,
    ),
)

_ROBUST = NamedRecipe(
    summary="fine-tune with noise and blur, for images worse than FER2013's",
    source="`fine-tune` for five epochs, with noise and blur in a seventh of the images each. "
    "Gaussian noise is Rusak et al.'s remedy (arXiv 2001.06057), here in fewer images.",
    measured="`checkpoints/fer_cnn8.h5` went from 69.71 to 69.02 %, and from 56.7 to 61.6 % in the "
    "mean over 16 corruptions at five severities, after the last of five epochs, 97 minutes on one "
    "CPU core, one seed. It ran with these settings through `--set`; its `last.h5` is "
    "`checkpoints/fer_cnn8_robust.h5` (2026-11-27).",
    command="ferjax train --data fer2013 --recipe robust --init checkpoints/fer_cnn8.h5 "
    "--set seed=2 --out runs/robust",
    start="init",
    recipe=replace(
        _FINE_TUNE.recipe,
        name="robust",
        epochs=5,
        augmentation=replace(
            preset("medium"),
            blur=(0.0, 0.025),
            blur_probability=0.15,
            noise=(0.0, 0.08),
            noise_probability=0.15,
        ),
    ),
)

_VOTES = NamedRecipe(
    summary="from fer_cnn8, which ferjax brings, or the weights of --init, on what several people "
    "said of each image (data prepare --votes), on two CPU cores",
    source="`fine-tune` on FER+'s ten votes of each image, a part of each target still the image's "
    "own label. `ferjax data prepare SOURCE --votes fer2013new.csv --out fer2013` prepares them.",
    measured="86.60 % of what most people see, seven classes (86.35 % without copies of training "
    "images; the weights it began with: 71.12 %), and 62.72 % against FER2013's own labels, after "
    "76 minutes on two shared CPU cores, one seed (2026-11-29).",
    command="ferjax train --data fer2013 --recipe votes --out runs/votes",
    start="released",
    recipe=replace(
        _FINE_TUNE.recipe,
        name="votes",
        epochs=8,
        learning_rate=5e-4,
        label_smoothing=0.0,  # votes are smooth
        votes=0.8,
    ),
)

_VOTES_GPU = NamedRecipe(
    summary="what votes learns, from scratch, on one modern GPU",
    source="`flagship` with the targets of `votes`.",
    measured=None,
    command="ferjax train --data fer2013 --recipe votes-gpu --out runs/votes-gpu",
    recipe=replace(
        _FLAGSHIP.recipe, name="votes-gpu", label_smoothing=0.0, votes=_VOTES.recipe.votes
    ),
)

NAMED = (_PUBLISHED, _FAST, _FLAGSHIP, _FLAGSHIP_CPU, _FINE_TUNE, _ROBUST, _VOTES, _VOTES_GPU)
RECIPES: Mapping[str, Recipe] = {named.recipe.name: named.recipe for named in NAMED}
NEED_WEIGHTS = frozenset(named.recipe.name for named in NAMED if named.start == "init")
FROM_DEFAULT = frozenset(named.recipe.name for named in NAMED if named.start == "released")


def recipe(name: str) -> Recipe:
    """Return a recipe of `RECIPES`; `dataclasses.replace` or `override` changes it.

    >>> recipe("published").learning_rate
    0.0001
    """
    if name not in RECIPES:
        raise RecipeError(
            f"expected a recipe among {', '.join(RECIPES)}, got {name!r}"
            f"{near_misses(name, RECIPES)}"
        )
    return RECIPES[name]
