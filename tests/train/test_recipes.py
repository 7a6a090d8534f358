"""Recipes: their names, how they are printed and stored, and what `--set` makes of them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from ferjax.data.augmentation import PRESETS, Augmentation
from ferjax.train.errors import RecipeError
from ferjax.train.recipes import NAMED, RECIPES, NamedRecipe, Recipe, differences, override, recipe

FIELDS = [field.name for field in dataclasses.fields(Recipe)]
PARTS = [field.name for field in dataclasses.fields(Augmentation)]

# No field and no part has its default.
CHANGED = Recipe(
    name="mine",
    architecture="fer_cnn5",
    dropout_scale=0.25,
    compute_dtype="bfloat16",
    batch_size=7,
    epochs=9,
    seed=2**31 - 1,
    sampling="balanced",
    hold_out=0.125,
    votes=0.75,
    vote_target="majority",
    vote_outliers=0.0,
    unclear="leave out",
    augmentation=Augmentation(
        rotation=(-5, 7.5),
        rotation_probability=0.5,
        shift_x=(-0.1, 0.2),
        shift_y=(0.0, 0.3),
        shift_probability=0.25,
        shear=(-1, 1),
        zoom=(0.9, 1.3),
        scale=(0.8, 1.1),
        horizontal_flip=0.5,
        crop=(40, 36),
        resize_crop=True,
        fill_mode="reflect",
        fill_value=0.5,
        blur=(0.01, 0.02),
        blur_probability=0.75,
        resolution=(0.5, 0.9),
        resolution_probability=0.6,
        brightness=(0.8, 1.1),
        contrast=(0.7, 1.2),
        noise=(0.03, 0.06),
        noise_probability=0.4,
        erase=0.1,
        erase_area=(0.1, 0.2),
        erase_aspect=(0.5, 2),
        erase_value=1.0,
        mixup=0.2,
    ),
    pipeline="tf.data",
    steps_per_call=3,
    label_smoothing=0.05,
    distillation=0.5,
    class_weights="balanced",
    logit_adjustment=0.5,
    optimizer="sgd",
    learning_rate=3e-4,
    beta_1=0.8,
    beta_2=0.99,
    epsilon=1e-6,
    momentum=0.5,
    nesterov=False,
    weight_decay=1e-4,
    clip_norm=2.5,
    sam_rho=0.1,
    ema_decay=0.99,
    clean_statistics=100,
    schedule="one_cycle",
    warmup_epochs=0.5,
    peak_at=0.25,
    start_factor=0.1,
    final_factor=0.01,
    plateau_factor=0.5,
    plateau_patience=4,
    plateau_min_delta=0.0,
    plateau_cooldown=2,
    min_learning_rate=1e-6,
    monitor="accuracy",
    early_stopping=6,
    select="loss",
    deterministic=False,
)


def printed(recipe: Recipe) -> dict[str, str]:
    """Return what `str` writes of each field."""
    return dict(line.split(maxsplit=1) for line in str(recipe).splitlines())


def lines(recipe: Recipe) -> list[str]:
    return [f"{key}={text}" for key, text in printed(recipe).items()]


# --- names and printing --------------------------------------------------------------------------


def test_named_recipes_are_there_under_their_own_names() -> None:
    starts = {  # the weights that each begins with
        "published": "drawn",
        "fast": "drawn",
        "flagship": "drawn",
        "flagship-cpu": "drawn",
        "fine-tune": "init",
        "robust": "init",
        "votes": "released",
        "votes-gpu": "drawn",
    }
    assert [(named.recipe.name, named.start) for named in NAMED] == list(starts.items())
    assert [RECIPES[name].name for name in RECIPES] == list(RECIPES) == list(starts)
    assert recipe("fast") is RECIPES["fast"]


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.recipe.name)
def test_a_named_recipe_says_what_it_is(named: NamedRecipe) -> None:
    for text in (named.summary, named.source, *filter(None, [named.measured])):
        assert text == " ".join(text.split()) != ""
    assert len(named.summary) < 160
    assert "%" not in named.summary  # argparse would fill it in


def test_published_is_as_the_published_code_trains() -> None:
    actual = recipe("published")
    assert actual.augmentation == PRESETS["published"]
    assert (actual.optimizer, actual.learning_rate, actual.batch_size) == ("adam", 1e-4, 64)
    assert (actual.epochs, actual.hold_out, actual.early_stopping) == (250, 0.2, 10)
    assert (actual.schedule, actual.plateau_factor, actual.plateau_patience) == ("plateau", 0.2, 10)
    assert (actual.monitor, actual.select) == ("loss", "loss")


def test_unknown_name_gets_a_near_miss() -> None:
    message = f"among {', '.join(RECIPES)}, got 'fats'; did you mean 'fast'"
    with pytest.raises(RecipeError, match=message):
        recipe("fats")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_printed_in_full(name: str) -> None:
    keys = []
    for field in FIELDS:
        keys += [f"augmentation.{p}" for p in PARTS] if field == "augmentation" else [field]
    assert list(printed(recipe(name))) == keys


def test_printed_values_by_hand() -> None:
    actual = printed(Recipe(name="mine", augmentation="strong"))  # type: ignore[arg-type]
    assert actual["name"] == "mine"
    assert actual["learning_rate"] == "0.001"
    assert actual["nesterov"] == "true"
    assert actual["early_stopping"] == "null"
    assert actual["epsilon"] == "1e-07"
    assert actual["augmentation.crop"] == "[40, 40]"
    assert actual["augmentation.fill_mode"] == "constant"


def test_values_are_converted_and_frozen() -> None:
    actual = Recipe(epochs=3.0, learning_rate=1, augmentation="strong")  # type: ignore[arg-type]
    assert type(actual.epochs) is int
    assert type(actual.learning_rate) is float
    assert actual.augmentation == PRESETS["strong"]
    assert hash(actual) == hash(dataclasses.replace(actual))
    with pytest.raises(dataclasses.FrozenInstanceError):
        actual.epochs = 4  # type: ignore[misc]


# --- override ------------------------------------------------------------------------------------


def test_every_field_and_every_part_is_set_by_its_printed_form() -> None:
    assert (
        len(differences(Recipe(), CHANGED)) == len(lines(CHANGED)) == len(FIELDS) - 1 + len(PARTS)
    )
    assert override(Recipe(), lines(CHANGED)) == CHANGED


@pytest.mark.parametrize("key", list(printed(CHANGED)))
def test_one_printed_line_sets_one_field(key: str) -> None:
    text = printed(CHANGED)[key]
    base = override(Recipe(), ["augmentation.crop=8"]) if key.endswith("resize_crop") else Recipe()
    actual = override(base, [f"{key}={text}"])
    assert printed(actual)[key] == text
    assert [line.split(":")[0] for line in differences(base, actual)] == [key]


@pytest.mark.parametrize("name", RECIPES)
def test_printed_form_of_a_named_recipe_gives_it_again(name: str) -> None:
    assert override(Recipe(), lines(recipe(name))) == recipe(name)


@pytest.mark.parametrize("base", RECIPES)
def test_printed_form_does_not_depend_on_what_it_changes(base: str) -> None:
    for name in RECIPES:
        assert override(recipe(base), lines(recipe(name))) == recipe(name)


@pytest.mark.parametrize(
    "changes",
    [
        ["epochs=5", "warmup_epochs=1"],
        ["augmentation.crop=none", "augmentation.resize_crop=false"],
    ],
)
def test_changes_that_fit_together_come_in_any_order(changes: list[str]) -> None:
    base = Recipe(warmup_epochs=5, schedule="cosine", augmentation="strong")  # type: ignore[arg-type]
    assert override(base, changes) == override(base, changes[::-1])


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ("epochs=3", "epochs", 3),
        ("epochs=3.0", "epochs", 3),
        ("batch_size = 32 ", "batch_size", 32),
        ("learning_rate=3e-4", "learning_rate", 3e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("nesterov=false", "nesterov", False),
        ("nesterov=True", "nesterov", True),
        ("early_stopping=5", "early_stopping", 5),
        ("early_stopping=none", "early_stopping", None),
        ("early_stopping=None", "early_stopping", None),
        ("clip_norm=null", "clip_norm", None),
        ("steps_per_call=none", "steps_per_call", None),
        ("class_weights=none", "class_weights", "none"),
        ("name=a=b", "name", "a=b"),
        ("name='7'", "name", "7"),
        ("architecture=/models/my net.json", "architecture", "/models/my net.json"),
        ("unclear=leave out", "unclear", "leave out"),
        ("pipeline=tf.data", "pipeline", "tf.data"),
        ("pipeline='tf.data'", "pipeline", "tf.data"),
    ],
)
def test_values(change: str, field: str, expected: Any) -> None:
    base = Recipe(early_stopping=3, clip_norm=1.0, steps_per_call=2, class_weights="balanced")
    value = getattr(override(base, [change]), field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["augmentation=strong"], PRESETS["strong"]),
        (["augmentation=none"], Augmentation()),
        (["augmentation={'mixup': 0.5}"], Augmentation(mixup=0.5)),
        (["augmentation.rotation=(-5, 10)"], Augmentation(rotation=(-5, 10), mixup=0.2)),
        (["augmentation.rotation=[-5, 10]"], Augmentation(rotation=(-5, 10), mixup=0.2)),
        (["augmentation.rotation=5"], Augmentation(rotation=(-5, 5), mixup=0.2)),
        (["augmentation=photographs"], PRESETS["photographs"]),
        (["augmentation.resolution=0.5"], Augmentation(resolution=(0.5, 1), mixup=0.2)),
        (["augmentation.zoom=0.25"], Augmentation(zoom=(0.75, 1.25), mixup=0.2)),
        (["augmentation.crop=40"], Augmentation(crop=(40, 40), mixup=0.2)),
        (
            ["augmentation=strong", "augmentation.erase=0"],
            dataclasses.replace(PRESETS["strong"], erase=0.0),
        ),
        (["augmentation.erase=1", "augmentation=published"], PRESETS["published"]),
    ],
)
def test_augmentation(changes: list[str], expected: Augmentation) -> None:
    base = Recipe(augmentation=Augmentation(mixup=0.2))
    assert override(base, changes).augmentation == expected


def test_optional_part_takes_none() -> None:
    cropped = Recipe(augmentation=Augmentation(crop=(4, 4)))
    assert override(cropped, ["augmentation.crop=none"]).augmentation.crop is None


def test_later_changes_win_and_the_base_stays() -> None:
    base = Recipe()
    assert override(base, ["seed=1", "seed=2"]).seed == 2
    assert override(base, []) == base == Recipe()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epochs", "expected key=value, got 'epochs'"),
        ("epochs=", "expected key=value, got 'epochs='"),
        ("epochs= ", "expected key=value"),
        ("learnin_rate=1", "no field 'learnin_rate'; did you mean 'learning_rate'"),
        ("augmentation.rotatoin=1", r"'augmentation.rotatoin'; did you mean 'augmentation.rot"),
        ("augmentation.zoom.x=1", "no field 'augmentation.zoom.x'"),
        ("epochs.x=1", "no field 'epochs.x'"),
        ("q=1", "no field 'q'; its fields are architecture, augmentation, batch_size, "),
        ("=1", "no field ''; its fields are"),
        ("epochs=many", "`epochs`: expected a positive integer, got 'many'"),
        ("epochs=true", "`epochs`: expected a positive integer, got True"),
        ("epochs=none", "`epochs`: expected a positive integer, got 'none'"),
        ("epochs=1.5", "`epochs`: expected a positive integer, got 1.5"),
        ("epochs=1e999", "`epochs`: expected a positive integer, got inf"),
        ("seed=-1", "`seed`: expected an integer of at least 0, got -1"),
        (
            "seed=2147483648",
            "`seed`: expected an integer of at least 0, at most 2147483647, got 2147483648",
        ),
        ("learning_rate=0", "`learning_rate`: expected a number above 0, got 0"),
        ("learning_rate=nan", "`learning_rate`: expected a finite number, got 'nan'"),
        ("learning_rate=(1, 2)", r"`learning_rate`: expected a finite number, got \(1, 2\)"),
        ("clip_norm=0", "`clip_norm`: expected a number above 0, got 0"),
        ("early_stopping=0", "`early_stopping`: expected a positive integer, got 0"),
        ("label_smoothing=1", "`label_smoothing`: expected a rate of at least 0 and below 1"),
        ("distillation=1.1", r"`distillation`: expected a fraction in \[0, 1\], got 1.1"),
        ("votes=1.5", r"`votes`: expected a fraction in \[0, 1\], got 1.5"),
        ("vote_target=mean", "`vote_target`: expected one of 'distribution', 'majority', got"),
        ("vote_outliers=-1", "`vote_outliers`: expected a number of at least 0, got -1"),
        ("unclear=drop", "`unclear`: expected one of 'own label', 'leave out', got 'drop'"),
        ("logit_adjustment=-1", "`logit_adjustment`: expected a number of at least 0, got -1"),
        ("peak_at=1.1", r"`peak_at`: expected a fraction in \[0, 1\], got 1.1"),
        ("weight_decay=-1", "`weight_decay`: expected a number of at least 0, got -1"),
        ("nesterov=1", "`nesterov`: expected true or false, got 1"),
        ("name=7", "`name`: expected a string, got 7"),
        ("optimizer=none", "`optimizer`: expected one of 'adam', 'adamw', 'sgd', got 'none'"),
        ("class_weights=1", "`class_weights`: expected one of 'none', 'balanced', got 1"),
        ("augmentation=strnog", "`augmentation`: .* got 'strnog'; did you mean 'strong'"),
        ("augmentation=3", "`augmentation`: expected an Augmentation or a preset's name, got 3"),
        ("augmentation={'zooom': 1}", "`augmentation`: no setting 'zooom'; did you mean 'zoom'"),
        ("augmentation.zoom=none", "`augmentation`: `zoom`: expected a number or two, got 'none'"),
        ("augmentation.fill_mode=none", "`augmentation`: `fill_mode`: expected one of 'nearest'"),
        ("augmentation.horizontal_flip=2", r"`horizontal_flip`: expected a probability in \[0, 1"),
        ("augmentation.resize_crop=true", "expected a size for `crop` where `resize_crop` is set"),
        ("warmup_epochs=30", "`warmup_epochs`: expected fewer than the 30 epochs, got 30"),
    ],
)
def test_errors(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        override(Recipe(schedule="cosine"), [change])


@pytest.mark.parametrize("change", ["epochs={[]: 1}", "augmentation={1: 2, 'zooom': 3}"])
def test_values_that_are_hard_to_read_are_recipe_errors_too(change: str) -> None:
    with pytest.raises(RecipeError, match=f"`{change.partition('=')[0]}`: "):
        override(Recipe(), [change])


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_only_a_schedule_that_ends_limits_the_warm_up(schedule: str) -> None:
    assert Recipe(epochs=2, warmup_epochs=2, schedule=schedule).warmup_epochs == 2
    with pytest.raises(RecipeError, match="expected fewer than the 2 epochs, got 2"):
        Recipe(epochs=2, warmup_epochs=2, schedule="one_cycle")


# --- JSON and differences ------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [*RECIPES.values(), CHANGED], ids=lambda r: r.name)
def test_json_gives_the_recipe_again(recipe: Recipe) -> None:
    restored = Recipe.from_json(json.loads(json.dumps(recipe.to_json(), allow_nan=False)))
    assert restored == recipe
    assert type(restored.augmentation.zoom) is tuple


def test_json_of_an_older_version_gets_the_defaults() -> None:
    assert Recipe.from_json({"epochs": 4, "augmentation": {"erase": 1}}) == Recipe(
        epochs=4, augmentation=Augmentation(erase=1)
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 4}, "no field `epoch` in a recipe of this version of ferjax"),
        ({"epochs": "4"}, "`epochs`: expected a positive integer, got '4'"),
        ({"augmentation": {"zoo": 1}}, "`augmentation`: no setting 'zoo'; did you mean 'zoom'"),
        ({"augmentation": {"mixup": -1}}, "`augmentation`: `mixup`: expected a number of at least"),
    ],
)
def test_errors_of_json(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.from_json(values)


def test_differences_by_hand() -> None:
    ours = Recipe(epochs=3, nesterov=False, augmentation=Augmentation(zoom=(0.5, 2)))
    theirs = Recipe(epochs=4, early_stopping=2, augmentation=Augmentation(zoom=(0.5, 2), erase=1))
    assert differences(ours, theirs) == [
        "epochs: 3, 4",
        "augmentation.erase: 0.0, 1.0",
        "nesterov: false, true",
        "early_stopping: null, 2",
    ]
    assert differences(theirs, ours)[0] == "epochs: 4, 3"
    assert differences(ours, Recipe.from_json(json.loads(json.dumps(ours.to_json())))) == []
