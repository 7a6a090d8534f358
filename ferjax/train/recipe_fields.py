"""What a recipe says: everything that determines a training run but the data and the machine.

A recipe is a frozen dataclass. It is printed when a run begins, stored with it, and compared when
the run is resumed. `--set key=value` changes any field: `override`.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ferjax import settings
from ferjax.data.augmentation import Augmentation, preset
from ferjax.errors import near_misses
from ferjax.settings import setting
from ferjax.train.errors import RecipeError


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


_fraction = settings.within(settings.real, 0, 1, "a fraction in [0, 1]")


def _seed(value: Any) -> int:
    # 2**31 and more are seeds too, but jax.random.key takes 32 bits unless x64 is on.
    seed: int = settings.natural(value)
    return seed


def _augmentation(value: Any) -> Augmentation:
    if isinstance(value, str):
        return preset(value)
    if isinstance(value, Mapping):
        names = _names(Augmentation)
        for name in sorted(map(str, set(value) - names)):
            raise ValueError(f"no setting {name!r}{near_misses(name, names)}")
        return Augmentation(**value)
    if not isinstance(value, Augmentation):
        raise ValueError(f"expected an Augmentation or a preset's name, got {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Every value is checked; the error names the field.

    `str` writes it in full, a field a line, as `--set` takes it.
    """

    name: str = setting(settings.text, "custom")  # what it is called in logs and metadata

    # --- the network ---

    architecture: str = setting(settings.text, "fer_cnn8")  # where no file and no --init says
    # Times the dropout rates of a named architecture; those of a file's network stay.
    dropout_scale: float = setting(settings.non_negative, 1.0)
    # Of convolutions and dense layers; weights, statistics, logits and loss stay float32.
    compute_dtype: str = setting(settings.choice("float32", "bfloat16"), "float32")

    # --- the data ---

    batch_size: int = setting(settings.positive_int, 64)  # images a step, over all devices
    epochs: int = setting(settings.positive_int, 30)  # passes over the training images, at most
    seed: int = setting(_seed, 0)  # of weights, order, augmentation and dropout
    # "balanced": all classes equally often, by the majority where votes are used.
    sampling: str = setting(settings.choice("shuffled", "balanced"), "shuffled")
    # Fraction of the training images kept for validation in place of the validation split.
    hold_out: float = setting(settings.rate, 0.0)
    # Share of people's votes in each target, the rest is the image's own label; above 0 the
    # validation images are those with a majority, which is their label; 0: votes are not used.
    votes: float = setting(_fraction, 0.0)
    # What votes say: the share of each class among them, or the class of more than half.
    vote_target: str = setting(settings.choice("distribution", "majority"), "distribution")
    # A class with this many votes of an image or fewer counts as none.
    vote_outliers: float = setting(settings.non_negative, 1.0)
    # Training images whose votes name no class: their own label is learnt, or nothing.
    unclear: str = setting(settings.choice("own label", "leave out"), "own label")
    # `ferjax.data.augmentation.preset("light")`, or a preset's name.
    augmentation: Augmentation = setting(_augmentation, "none")
    # Where batches are gathered: the same batches, "tf.data" needs TensorFlow.
    pipeline: str = setting(settings.choice("device", "tf.data"), "device")
    # Steps in one jit; None: 1 on CPU, where a scan is slower, 16 on accelerators.
    steps_per_call: int | None = setting(settings.optional(settings.positive_int), None)

    # --- the loss: softmax cross-entropy; mixup is augmentation.mixup ---

    label_smoothing: float = setting(settings.rate, 0.0)  # (Szegedy et al., arXiv 1512.00567)
    # Where there are teachers: their share of each label (Hinton et al., arXiv 1503.02531); the
    # rest is the image's own label, or what `votes` makes of it.
    distillation: float = setting(_fraction, 0.7)
    # "balanced": n / (K * n_k), the rarer the heavier.
    class_weights: str = setting(settings.choice("none", "balanced"), "none")
    # Tau: logits + tau * log of the class frequencies in the loss, so that rare classes are not
    # learnt to be rare (Menon et al., arXiv 2007.07314); 1: all alike, 0: none.
    logit_adjustment: float = setting(settings.non_negative, 0.0)

    # --- the optimizer ---

    optimizer: str = setting(settings.choice("adam", "adamw", "sgd"), "adam")
    learning_rate: float = setting(settings.positive, 1e-3)  # the highest of the schedule
    beta_1: float = setting(settings.rate, 0.9)  # adam, adamw
    beta_2: float = setting(settings.rate, 0.999)  # adam, adamw
    epsilon: float = setting(settings.positive, 1e-7)  # before the bias correction, as in Keras
    momentum: float = setting(settings.rate, 0.9)  # sgd
    nesterov: bool = setting(settings.boolean, True)  # sgd
    # Of kernels alone: decoupled (arXiv 1711.05101) for adam and adamw, in the gradient for sgd.
    weight_decay: float = setting(settings.non_negative, 0.0)
    # Largest global norm of the gradient.
    clip_norm: float | None = setting(settings.optional(settings.positive), None)
    # Sharpness-aware minimization (arXiv 2010.01412): the gradient is taken this far uphill, at
    # twice the time a step; 0: at the weights themselves.
    sam_rho: float = setting(settings.non_negative, 0.0)
    # Of the average of weights and statistics that is evaluated and saved; 0: none.
    ema_decay: float = setting(settings.rate, 0.0)
    # Training images, neither augmented nor under dropout, that give batch norm's statistics in
    # what is evaluated and saved ("precise BN"; arXiv 2105.07576); 0: the averages of training.
    clean_statistics: int = setting(settings.natural, 0)

    # --- the schedule of the learning rate ---

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

    # --- what the validation images decide ---

    # What the plateau and early stopping look at.
    monitor: str = setting(settings.choice("loss", "accuracy"), "loss")
    # Epochs without improvement after which the run ends.
    early_stopping: int | None = setting(settings.optional(settings.positive_int), None)
    select: str = setting(settings.choice("loss", "accuracy"), "accuracy")  # what "best" means

    # --- the device ---

    # On GPUs only kernels that give the same bits each time.
    deterministic: bool = setting(settings.boolean, True)

    def __post_init__(self) -> None:
        settings.convert_fields(self, lambda name, error: RecipeError(f"`{name}`: {error}"))
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

        >>> recipe = Recipe(epochs=3, augmentation="light")
        >>> Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
        True
        """
        for name in sorted(map(str, set(values) - _names(cls))):
            raise RecipeError(f"no field `{name}` in a recipe of this version of ferjax")
        return cls(**values)

    def __str__(self) -> str:
        values = _flat(self.to_json())
        width = max(map(len, values))
        return "\n".join(f"  {key:<{width}}  {_written(value)}" for key, value in values.items())


def override(base: Recipe, changes: Iterable[str]) -> Recipe:
    """Change fields of a recipe by texts such as "learning_rate=3e-4".

    A value is written as in Python or JSON, names without quotes; `augmentation=strong` takes a
    preset, `augmentation.rotation=(-5, 5)` or `augmentation.mixup=0.2` changes one part of it.

    >>> override(Recipe(), ["epochs=3", "augmentation=none", "early_stopping=none"]).epochs
    3

    Raises:
        RecipeError: a key is unknown or a value invalid.
    """
    defaults = {"augmentation": "none"} | _flat(Recipe().to_json())
    values: dict[str, Any] = {}
    parts: dict[str, Any] = {}  # of the augmentation
    for change in changes:
        key, equals, text = (word.strip() for word in change.partition("="))
        if not equals or not text:
            raise RecipeError(f"expected key=value, got {change!r}")
        if key not in defaults:
            fields = f"; its fields are {', '.join(sorted(_names(Recipe)))}"
            raise RecipeError(
                f"a recipe has no field {key!r}{near_misses(key, defaults) or fields}"
            )
        name, _, part = key.partition(".")
        if key == "augmentation":
            parts.clear()  # a whole one replaces what was said of its parts before
        (parts if part else values)[part or name] = _parsed(text, optional=defaults[key] is None)
    # All at once: some fit only together, such as a shorter run and a shorter warm-up.
    try:
        if parts:
            whole = _augmentation(values.get("augmentation", base.augmentation))
            values["augmentation"] = dataclasses.replace(whole, **parts)
        return dataclasses.replace(base, **values)
    except RecipeError:
        raise
    except ValueError as error:  # an AugmentationError among them
        raise RecipeError(f"`augmentation`: {error}") from None


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """Return "key: OURS, THEIRS" for each field in which two recipes differ.

    >>> differences(Recipe(), override(Recipe(), ["seed=1", "augmentation.mixup=0.2"]))
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


def _parsed(text: str, *, optional: bool) -> Any:
    lower = text.lower()
    if lower in ("true", "false"):
        return lower == "true"
    if lower in ("none", "null"):  # a name of its own where the field has no None
        return None if optional else lower
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
