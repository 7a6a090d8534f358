"""`ferjax train`: the call, what it prints, its exit codes."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from ferjax.cli.main import build_parser
from ferjax.data.dataset import SPLITS
from ferjax.train import RECIPES, Recipe
from ferjax.train.recipes import NAMED, NamedRecipe, differences, override, recipe

from ..networks import tiny_graph
from ..train.conftest import (
    curves_as_text,  # noqa: F401
    make_faces,
    prepared,
    write_config,
)

pytestmark = pytest.mark.usefixtures("curves_as_text")

Cli = Callable[..., "Done"]  # noqa: F821


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepared(tmp_path / "data", make_faces(copies=5))


@pytest.fixture
def model_json(tmp_path: Path) -> Path:
    return write_config(tmp_path / "tiny.json", tiny_graph())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_printed(cli: Cli, name: str) -> None:
    done = cli("train", "--recipe", name, "--print-recipe")
    assert done.code == 0
    assert done.out == f"recipe {name}:\n{recipe(name)}\n"


def test_a_recipe_as_json_is_what_would_be_trained(cli: Cli) -> None:
    done = cli(
        "train", "--architecture", "fer_cnn8", "--print-recipe", "--set", "epochs=3", "--json"
    )
    expected = dataclasses.replace(recipe("fast"), architecture="fer_cnn8", epochs=3)
    assert Recipe.from_json(json.loads(done.out)) == expected


def test_the_help_has_all_recipes(cli: Cli) -> None:
    done = cli("train", "--help")
    assert done.code == 0
    text = "".join(done.out.split())  # lines break after hyphens too
    assert all("".join(f"{n.recipe.name}: {n.summary}".split()) in text for n in NAMED)


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.recipe.name)
def test_the_command_of_a_recipe_trains_it(named: NamedRecipe) -> None:
    program, *arguments = shlex.split(named.command)
    args = build_parser().parse_args(arguments)
    assert (program, args.command, args.recipe) == ("ferjax", "train", named.recipe.name)
    assert args.data == "fer2013"
    assert args.out.startswith("runs/")
    assert (args.init is not None) == (named.start == "init")
    assert differences(named.recipe, override(named.recipe, args.set)) == (
        ["seed: 0, 2"] if args.set else []
    )


def test_a_run(cli: Cli, tmp_path: Path, data: Path, model_json: Path) -> None:
    run = tmp_path / "run"
    done = cli(
        *("train", "--data", data, "--architecture", model_json, "--recipe", "published"),
        *("--set", "epochs=1", "hold_out=0", "--set", "batch_size=64", "--out", run),
        *("--licence", "CC0-1.0"),
    )
    assert done.code == 0
    best, best_clean, last, last_clean, command = done.out.splitlines()
    assert best.startswith(f"{run / 'best.h5'} (best): ")
    assert "of 64), validation of data, 5 of the images are exact copies" in best
    assert "of 59), validation of data, without exact copies" in best_clean
    assert last.startswith(f"{run / 'last.h5'} (last): ")
    assert last_clean != last
    assert command == f"evaluate with: ferjax evaluate --weights {run / 'best.h5'} --data {data}"
    assert "epoch 1: loss " in done.err
    stored = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert Recipe.from_json(stored["recipe"]).epochs == 1

    # The printed command says of the weights what their metadata says.
    evaluated = cli(*command.removeprefix("evaluate with: ferjax ").split(), "--json")
    metadata = json.loads((run / "best.metadata.json").read_text(encoding="utf-8"))
    assert metadata["licence"] == "CC0-1.0"
    measured = json.loads(evaluated.out)
    assert measured["whole"]["correct"] == metadata["accuracy"][0]["correct"]
    assert measured["without_copies"]["correct"] == metadata["accuracy"][1]["correct"]


@pytest.mark.parametrize(
    ("other", "options"), [("validation", ""), ("test", " --split test"), ("train", None)]
)
def test_the_command_that_evaluates_is_one_that_works(
    cli: Cli, tmp_path: Path, model_json: Path, other: str, options: str | None
) -> None:
    """Images are held out: the data's own validation split may not be there."""
    faces = make_faces()
    faces.splits[faces.splits == 1] = SPLITS.index(other)
    data, run = prepared(tmp_path / "data", faces), tmp_path / "run"
    done = cli(
        *("train", "--data", data, "--architecture", model_json, "--out", run),
        *("--set", "epochs=1", "hold_out=0.2"),
    )
    assert done.code == 0
    *_, last = done.out.splitlines()
    if options is None:
        assert last.startswith(f"{run / 'last.h5'} (last): ")
        return
    command = f"ferjax evaluate --weights {run / 'best.h5'} --data {data}{options}"
    assert last == f"evaluate with: {command}"
    assert cli(*command.split()[1:]).code == 0


def test_the_result_as_json(cli: Cli, tmp_path: Path, data: Path, model_json: Path) -> None:
    run = tmp_path / "run"
    done = cli(
        *("train", "--data", data, "--architecture", model_json, "--set", "epochs=1"),
        *("--out", run, "--json"),
    )
    result = json.loads(done.out)
    assert result["best"] == str(run / "best.h5")
    assert result["history"][0]["epoch"] == 1
    assert result["interrupted"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "fats"], "got 'fats'; did you mean 'fast'?"),
        (["--set", "lerning_rate=1"], "no field 'lerning_rate'; did you mean 'learning_rate'"),
        (["--set", "epochs=many"], "`epochs`: expected a positive integer, got 'many'"),
        (["--set", "epochs=3"], "expected `data`: a folder that `ferjax data prepare` made"),
        (["--data", "nowhere"], "nowhere: no faces.npz; `ferjax data prepare` makes it"),
        (["--num-processes", "4", "--process-id", "3"], "expected --coordinator HOST:PORT with"),
        (["--process-id", "0"], "expected --coordinator HOST:PORT with --num-processes"),
    ],
)
def test_mistakes(cli: Cli, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = cli("train", "--out", tmp_path / "run", *arguments)
    assert done.code == 2
    assert done.error.startswith("ferjax: error: ")
    assert message in done.error
    assert not (tmp_path / "run").exists()


def test_a_run_needs_a_folder(cli: Cli) -> None:
    done = cli("train", "--data", "fer2013")
    assert done.code == 2
    assert "expected --out RUN, a folder for the run" in done.error


def test_resume_and_force_exclude_each_other(cli: Cli, tmp_path: Path) -> None:
    done = cli("train", "--out", tmp_path, "--resume", "--force")
    assert done.code == 2
    assert "not allowed with" in done.error
