"""Recipes: everything that determines a training run but the data and the machine.

A recipe is a frozen dataclass. It is printed when a run begins, stored with it, and compared when
the run is resumed. `--set key=value` changes any field: `override`.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferjax._lazy import LazyModule
from ferjax.errors import near_misses
from ferjax.nets import settings
from ferjax.nets.settings import setting
from ferjax.train.errors import RecipeError

if TYPE_CHECKING:
    from ferjax.data import augment
    from ferjax.data.augment import Augmentation
else:  # it imports jax, which the command line's help does without
    augment = LazyModule("ferjax.data.augment")


def _fraction(value: Any) -> float:
    if not 0 <= settings.real(value) <= 1:
        raise ValueError(f"expected a fraction in [0, 1], got {value!r}")
    return float(value)


def _positive(value: Any) -> float:
    if settings.real(value) <= 0:
        raise ValueError(f"expected a number above 0, got {value!r}")
    return float(value)


def _seed(value: Any) -> int:
    # 2**31 and more are seeds too, but jax.random.key takes 32 bits unless x64 is on.
    seed: int = settings.natural(value)
    return seed


def _augmentation(value: Any) -> Augmentation:
    if isinstance(value, str):
        return augment.preset(value)
    if isinstance(value, Mapping):
        known = {field.name for field in dataclasses.fields(augment.Augmentation)}
        for name in sorted(map(str, set(value) - known)):
            raise ValueError(f"no setting {name!r}{near_misses(name, known)}")
        return augment.Augmentation(**value)
    if not isinstance(value, augment.Augmentation):
        raise ValueError(f"expected an Augmentation or a preset's name, got {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Every value is checked; the error names the field."""

    name: str = setting(settings.text, "custom")  # what it is called in logs and metadata

    # The network.
    architecture: str = setting(settings.text, "fer_cnn8")  # where no file and no --init says
    dropout_scale: float = setting(
        settings.non_negative, 1.0
    )  # times the dropout rates of a named architecture; those of a file's network stay
    compute_dtype: str = setting(
        settings.choice("float32", "bfloat16"), "float32"
    )  # of convolutions and dense layers; weights, statistics, logits and loss stay float32

    # The data.
    batch_size: int = setting(settings.positive_int, 64)  # images a step, over all devices
    epochs: int = setting(settings.positive_int, 30)  # passes over the training images, at most
    seed: int = setting(_seed, 0)  # of weights, order, augmentation and dropout
    sampling: str = setting(
        settings.choice("shuffled", "balanced"), "shuffled"
    )  # "balanced": all classes equally often, by the majority where votes are used
    hold_out: float = setting(
        settings.rate, 0.0
    )  # fraction of the training images kept for validation in place of the validation split
    votes: float = setting(
        _fraction, 0.0
    )  # share of people's votes in each target, the rest is the image's own label; above 0 the
    # validation images are those with a majority, which is their label; 0: votes are not used
    vote_target: str = setting(
        settings.choice("distribution", "majority"), "distribution"
    )  # what votes say: the share of each class among them, or the class of more than half
    vote_outliers: float = setting(
        settings.non_negative, 1.0
    )  # a class with this many votes of an image or fewer counts as none
    unclear: str = setting(
        settings.choice("own label", "leave out"), "own label"
    )  # training images whose votes name no class: their own label is learnt, or nothing
    augmentation: Augmentation = setting(
        _augmentation, "none"
    )  # `ferjax.data.augment.preset("light")`, or a preset's name
    pipeline: str = setting(
        settings.choice("device", "tf.data"), "device"
    )  # where batches are gathered: the same batches, "tf.data" needs TensorFlow
    steps_per_call: int | None = setting(
        settings.optional(settings.positive_int), None
    )  # steps in one jit; None: 1 on CPU, where a scan is slower, 16 on accelerators

    # The loss: softmax cross-entropy; mixup is augmentation.mixup.
    label_smoothing: float = setting(settings.rate, 0.0)  # (Szegedy et al., arXiv 1512.00567)
    distillation: float = setting(
        _fraction, 0.7
    )  # where there are teachers: their share of each label (Hinton et al., arXiv 1503.02531); the
    # rest is the image's own label, or what `votes` makes of it
    class_weights: str = setting(
        settings.choice("none", "balanced"), "none"
    )  # "balanced": n / (K * n_k), the rarer the heavier
    logit_adjustment: float = setting(
        settings.non_negative, 0.0
    )  # tau: logits + tau * log of the class frequencies in the loss, so that rare classes are not
    # learnt to be rare (Menon et al., arXiv 2007.07314); 1: all alike, 0: none

    # The optimizer.
    optimizer: str = setting(settings.choice("adam", "adamw", "sgd"), "adam")
    learning_rate: float = setting(_positive, 1e-3)  # the highest of the schedule
    beta_1: float = setting(settings.rate, 0.9)  # adam, adamw
    beta_2: float = setting(settings.rate, 0.999)  # adam, adamw
    epsilon: float = setting(_positive, 1e-7)  # before the bias correction, as in Keras
    momentum: float = setting(settings.rate, 0.9)  # sgd
    nesterov: bool = setting(settings.boolean, True)  # sgd
    weight_decay: float = setting(
        settings.non_negative, 0.0
    )  # of kernels alone: decoupled (arXiv 1711.05101) for adam and adamw, in the gradient for sgd
    clip_norm: float | None = setting(
        settings.optional(_positive), None
    )  # largest global norm of the gradient
    sam_rho: float = setting(
        settings.non_negative, 0.0
    )  # sharpness-aware minimization (arXiv 2010.01412): the gradient is taken this far uphill, at
    # twice the time a step; 0: at the weights themselves
    ema_decay: float = setting(
        settings.rate, 0.0
    )  # of the average of weights and statistics that is evaluated and saved; 0: none
    clean_statistics: int = setting(
        settings.natural, 0
    )  # training images, neither augmented nor under dropout, that give batch norm's statistics in
    # what is evaluated and saved ("precise BN"; arXiv 2105.07576); 0: the averages of training

    # The schedule of the learning rate.
    schedule: str = setting(
        settings.choice("constant", "cosine", "one_cycle", "plateau"), "constant"
    )
    warmup_epochs: float = setting(settings.non_negative, 0.0)  # linear from 0, before the rest
    peak_at: float = setting(_fraction, 0.3)  # one_cycle: fraction of all steps (arXiv 1708.07120)
    start_factor: float = setting(_fraction, 0.04)  # one_cycle: first rate by the highest
    final_factor: float = setting(_fraction, 0.0)  # cosine, one_cycle: last rate by the highest
    plateau_factor: float = setting(settings.rate, 0.2)  # plateau: times the rate
    plateau_patience: int = setting(settings.positive_int, 10)  # epochs without improvement
    plateau_min_delta: float = setting(settings.non_negative, 1e-4)  # less is no improvement
    plateau_cooldown: int = setting(settings.natural, 0)  # epochs of rest after a reduction
    min_learning_rate: float = setting(settings.non_negative, 0.0)  # plateau goes no lower

    # What the validation images decide.
    monitor: str = setting(
        settings.choice("loss", "accuracy"), "loss"
    )  # what the plateau and early stopping look at
    early_stopping: int | None = setting(
        settings.optional(settings.positive_int), None
    )  # epochs without improvement after which the run ends
    select: str = setting(settings.choice("loss", "accuracy"), "accuracy")  # what "best" means

    deterministic: bool = setting(
        settings.boolean, True
    )  # on GPUs only kernels that give the same bits each time

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            try:
                value = field.metadata["convert"](getattr(self, field.name))
            except ValueError as error:
                raise RecipeError(f"`{field.name}`: {error}") from None
            object.__setattr__(self, field.name, value)
        if self.warmup_epochs >= self.epochs and self.schedule in ("cosine", "one_cycle"):
            raise RecipeError(
                f"`warmup_epochs`: expected fewer than the {self.epochs} epochs, "
                f"got {self.warmup_epochs:g}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as values that `json.dumps` takes; `from_json` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_json` gave.

        >>> Recipe.from_json(json.loads(json.dumps(RECIPES["fast"].to_json()))) == RECIPES["fast"]
        True
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in sorted(map(str, set(values) - known)):
            raise RecipeError(f"no field `{name}` in a recipe of this version of ferjax")
        return cls(**values)

    def __str__(self) -> str:
        """Write the recipe in full, a field a line, as `--set` takes it."""
        values = _flat(self.to_json())
        width = max(map(len, values))
        return "\n".join(f"  {key:<{width}}  {_written(value)}" for key, value in values.items())


class _Recipes(Mapping[str, Recipe]):
    """The named recipes, each made when it is first asked for."""

    def __init__(self, makers: Mapping[str, Any]) -> None:
        self._makers = makers
        self._made: dict[str, Recipe] = {}

    def __getitem__(self, name: str) -> Recipe:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Any:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def published() -> Recipe:
    """Train as the published model was trained.

    Source: the published training code: Adam at 1e-4, batches of 64, at most 250 epochs, a fifth of
    the training images held out, early stopping and a reduced learning rate on their loss, images
    zoomed, flipped, rotated, shifted, sheared and brightened.

    Measured: on two CPU cores an epoch takes 60 s where nothing else runs; it stopped after 60
    epochs at 52.8 % on PublicTest (65.9 with `fast`). The published run went on to epoch 124.
    By
    `ferjax train --data fer2013 --recipe published --out runs/published`.
    """
    return Recipe(
        name="published",
        architecture="fer_cnn5",
        batch_size=64,
        epochs=250,
        hold_out=0.2,
        augmentation=augment.preset("published"),
        optimizer="adam",
        learning_rate=1e-4,
        schedule="plateau",
        plateau_factor=0.2,
        plateau_patience=10,
        early_stopping=10,
        monitor="loss",
        select="loss",
    )


def fast() -> Recipe:
    """Train the best network that two CPU cores make in about half an hour.

    Measured on 2026-11-27 on one shared core: 65.87 % on PublicTest, single view (64.40 % without
    copies of training images), after 54 minutes; on two an epoch takes about a minute where nothing
    else runs. By `ferjax train --data fer2013 --recipe fast --out runs/fast`.
    """
    return Recipe(
        name="fast",
        architecture="fer_cnn5",
        batch_size=64,
        epochs=25,
        dropout_scale=0.25,
        augmentation=augment.preset("light"),
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.02,
        label_smoothing=0.1,
        schedule="one_cycle",
        peak_at=0.2,
        ema_decay=0.998,
        clean_statistics=4096,
    )


def flagship() -> Recipe:
    """Train the network of 8 convolutions on one modern GPU.

    Long, with what keeps a network from learning wrong labels by heart: all of the network's
    dropout, erased parts, mixup (Zhang et al., arXiv 1710.09412), averaged weights.

    Measured on 2026-11-27 on one NVIDIA H100: three seeds at once reached 69.66, 69.82 and 69.71 %
    on PublicTest, single view (68.15, 68.24 and 68.27 % without copies of training images). They
    were stopped after 107 of the 130 epochs and 4 minutes and 27 seconds. By
    `ferjax train --data fer2013 --recipe flagship --out runs/flagship`, with `--set seed=1` and
    `--set seed=2`.
    """
    return Recipe(
        name="flagship",
        architecture="fer_cnn8",
        compute_dtype="bfloat16",
        batch_size=128,
        epochs=130,
        augmentation=dataclasses.replace(augment.preset("medium"), mixup=0.3),
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        label_smoothing=0.1,
        schedule="cosine",
        warmup_epochs=5,
        ema_decay=0.999,
        clean_statistics=4096,
    )


def flagship_cpu() -> Recipe:
    """Train the network of 8 convolutions on two CPU cores.

    `fast` with the larger network, and more dropout for it.

    Measured on 2 shared cores on 2026-11-26, without clean statistics: 67.99 % on PublicTest,
    single view (66.64 % without copies of training images), after 2 hours and 22 minutes; with
    `--set seed=1` 67.57 % (66.06 %). The same weights have 69.13 and 67.87 % with them; they
    change no step of a training. By
    `ferjax train --data fer2013 --recipe flagship-cpu --out runs/flagship-cpu`.
    """
    return dataclasses.replace(
        fast(), name="flagship-cpu", architecture="fer_cnn8", epochs=20, dropout_scale=0.4
    )


def fine_tune() -> Recipe:
    """Go on from trained weights (`init`): a few epochs at a low rate, without mixup.

    The network's dropout stays that of the weights.

    Measured on 2026-11-27, each on one CPU core for 40 to 42 minutes: three seeds of `flagship`
    went from 69.66, 69.82 and 69.71 % on PublicTest to 69.43, 69.80 and 70.08 %, which is within
    noise, and their loss from 0.892, 0.901 and 0.922 to 0.850, 0.855 and 0.868. They ran with these
    settings through `--set`, which is
    `ferjax train --data fer2013 --recipe fine-tune --init runs/seed2/best.h5 --out runs/more`.
    """
    return Recipe(
        name="fine-tune",
        batch_size=64,
        epochs=3,
        augmentation=augment.preset("medium"),
        optimizer="adamw",
        learning_rate=3e-4,
        weight_decay=0.05,
        label_smoothing=0.1,
        schedule="cosine",
        warmup_epochs=0.25,
        ema_decay=0.998,
        clean_statistics=4096,
    )


def robust() -> Recipe:
    """Go on from trained weights (`init`), with noise and blur in a seventh of the images each.

    `fine-tune` but for that and five epochs. Gaussian noise is Rusak et al.'s remedy (arXiv
    2001.06057), here in fewer images.

    Measured on 2026-11-27 on one CPU core for 97 minutes, one seed: `checkpoints/fer_cnn8.h5` went
    from 69.71 to 69.02 % on PublicTest, single view, after the last epoch, and from 56.7 to
    61.6 % in the mean over 16 corruptions at five severities. It ran with these settings through
    `--set`, which is
    `ferjax train --data fer2013 --recipe robust --init checkpoints/fer_cnn8.h5 --set seed=2
    --out runs/robust`; `last.h5` of it is `checkpoints/fer_cnn8_robust.h5`.
    """
    return dataclasses.replace(
        fine_tune(),
        name="robust",
        epochs=5,
        augmentation=dataclasses.replace(
            augment.preset("medium"),
            blur=(0.0, 0.025),
            blur_probability=0.15,
            noise=(0.0, 0.08),
            noise_probability=0.15,
        ),
    )


def votes() -> Recipe:
    """Go on from ferjax's weights of FER2013's labels with what ten people said of each image.

    `fine-tune` on FER+'s votes, a part of each target still the image's own label. Other weights
    are given by `init`; the data is prepared with
    `ferjax data prepare SOURCE --votes fer2013new.csv --out fer2013`.

    Measured on 2 shared CPU cores on 2026-11-29, one seed: after 76 minutes 86.60 % of what most
    people see on PublicTest, single view, seven classes (86.35 % without copies of training
    images; the weights it began with: 71.12 %), and 62.72 % against FER2013's own labels. By
    `ferjax train --data fer2013 --recipe votes --out runs/votes`.
    """
    return dataclasses.replace(
        fine_tune(),
        name="votes",
        epochs=8,
        learning_rate=5e-4,
        label_smoothing=0.0,  # votes are smooth
        votes=0.8,
    )


def votes_gpu() -> Recipe:
    """Train the network of 8 convolutions from scratch on votes, on one modern GPU.

    `flagship` with the targets of `votes`. By
    `ferjax train --data fer2013 --recipe votes-gpu --out runs/votes-gpu`.
    """
    return dataclasses.replace(
        flagship(), name="votes-gpu", label_smoothing=0.0, votes=votes().votes
    )


RECIPES: Mapping[str, Recipe] = _Recipes(
    {
        "published": published,
        "fast": fast,
        "flagship": flagship,
        "flagship-cpu": flagship_cpu,
        "fine-tune": fine_tune,
        "robust": robust,
        "votes": votes,
        "votes-gpu": votes_gpu,
    }
)
NEED_WEIGHTS = frozenset({"fine-tune", "robust"})  # recipes that go on from trained weights
FROM_DEFAULT = frozenset({"votes"})  # that go on from ferjax's own where no others are given


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


def override(base: Recipe, changes: Iterable[str]) -> Recipe:
    """Change fields of a recipe by texts such as "learning_rate=3e-4".

    A value is written as in Python or JSON, names without quotes; `augmentation=strong` takes a
    preset, `augmentation.rotation=(-5, 5)` or `augmentation.mixup=0.2` changes one part of it.

    >>> override(recipe("fast"), ["epochs=3", "augmentation=none", "early_stopping=none"]).epochs
    3

    Raises:
        RecipeError: a key is unknown or a value invalid.
    """
    fields = {field.name for field in dataclasses.fields(Recipe)}
    parts = {field.name for field in dataclasses.fields(augment.Augmentation)}
    known = fields | {f"augmentation.{part}" for part in parts}
    optional = {f.name for f in dataclasses.fields(Recipe) if f.default is None}
    optional.add("augmentation.crop")
    found: dict[str, Any] = {}
    found_parts: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        key = key.strip()
        if not equals or not text.strip():
            raise RecipeError(f"expected key=value, got {change!r}")
        if key not in known:
            raise RecipeError(
                f"a recipe has no field {key!r}{near_misses(key, known) or _known(fields)}"
            )
        name, _, part = key.partition(".")
        if name == "augmentation" and not part:
            found_parts.clear()  # a whole one replaces what was said of its parts before
        (found_parts if part else found)[part or name] = _value(
            text.strip(), optional=key in optional
        )
    # All at once: some fit only together, such as a shorter run and a shorter warm-up.
    try:
        if found_parts:
            whole = _augmentation(found.get("augmentation", base.augmentation))
            found["augmentation"] = dataclasses.replace(whole, **found_parts)
        return dataclasses.replace(base, **found)
    except RecipeError:
        raise
    except ValueError as error:  # an AugmentationError among them
        raise RecipeError(f"`augmentation`: {error}") from None


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """Return "key: OURS, THEIRS" for each field in which two recipes differ.

    >>> differences(recipe("fast"), override(recipe("fast"), ["seed=1", "augmentation.mixup=0.2"]))
    ['seed: 0, 1', 'augmentation.mixup: 0.0, 0.2']
    """
    a, b = _flat(ours.to_json()), _flat(theirs.to_json())
    return [f"{key}: {_written(a[key])}, {_written(b[key])}" for key in a if a[key] != b[key]]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the parts of the augmentation beside the other fields, as "augmentation.zoom"."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{part}": item for part, item in value.items()})
        else:
            flat[key] = value
    return flat


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str, *, optional: bool) -> Any:
    lower = text.lower()
    if lower in ("true", "false"):
        return lower == "true"
    if lower in ("none", "null"):  # a name of its own where the field has no None
        return None if optional else lower
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _known(fields: Iterable[str]) -> str:
    return f"; its fields are {', '.join(sorted(fields))}"
