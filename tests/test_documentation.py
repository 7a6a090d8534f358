"""Pages that list what the code has."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import ferjax
from ferjax.emotions import ORDERS
from ferjax.nets.layers import VOCABULARY
from ferjax.train.recipes import RECIPES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "ferjax"
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# Imports that lead down the map, inside functions.
DOWNWARD = {("classifier", "faces"), ("faces", "explain")}


def test_all_layers_are_listed() -> None:
    page = (DOCS / "keras.md").read_text(encoding="utf-8")
    table = page[page.index("## Layers") : page.index("The `activation` of a layer")]
    listed = re.findall(r"\b[A-Z]\w+", table.removeprefix("## Layers"))
    assert len(set(listed)) == len(listed)
    # What is read as another layer: Keras's classes without one of their own.
    assert set(listed) - set(VOCABULARY) == {
        "ThresholdedReLU",
        "StochasticDepth",
        "CustomScaleLayer",
    }
    assert set(VOCABULARY) <= set(listed)


def test_all_recipes_are_listed() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in RECIPES:
        assert f"\n| `{name}` | " in page


def test_all_orders_are_listed() -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    for order in ORDERS:
        assert f"\n| `{order}` | " in page


# --- the map and the steps for contributors ------------------------------------------------------


def contributing() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rooms() -> dict[str, int]:
    """Return the row of each room in the map of CONTRIBUTING.md."""
    table = contributing().partition("\n## The map\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {
        name.removesuffix("/").removesuffix(".py"): row
        for row, cell in enumerate(rows)
        for name in re.findall(r"`([^`]+)`", cell)
    }


def test_every_room_is_on_the_map() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert set(rooms()) == modules | set(PACKAGES), "add it to the map in CONTRIBUTING.md"


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the rooms that a file imports, and whether later than the file itself, or for types."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while pending:
        node, later = pending.pop()
        later = later or isinstance(node, ast.FunctionDef)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            later = True
        pending += [(child, later) for child in ast.iter_child_nodes(node)]
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected imports by their whole names"
            names = [node.module or ""]
            if names == ["ferjax"]:
                names = [f"ferjax.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "ferjax" and rest:
                yield rest.split(".")[0], later


def test_imports_go_up_the_map() -> None:
    row = rooms()
    down = set()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room in ("__init__", "__main__"):  # the face of the package, which knows all
            continue
        for other, later in imported(path):
            if row.get(other, 0) > row[room]:
                down.add((room, other))
                assert later and (room, other) in DOWNWARD, f"{path} imports ferjax.{other}"
    assert down == DOWNWARD, "CONTRIBUTING.md names imports that are no more"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # In backticks, with a folder; NAME is for one's own.
    named = re.findall(r"`((?:\.?\w+/)+[\w.]*)`", text)
    named += [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert len(named) > 3
    named = [name for name in named if "NAME" not in name]
    assert not [name for name in named if not any((p / name).exists() for p in (ROOT, PACKAGE))]


def test_names_that_the_steps_tell_to_change_are_in_their_files() -> None:
    named = re.findall(r"`(\w+)`\s+in\s+`([\w./]+\.py)`", contributing())
    assert len(named) > 10
    for name, path in named:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (name, path)


@pytest.mark.parametrize("name", PACKAGES)
def test_names_in_a_package_s_map_exist(name: str) -> None:
    package = importlib.import_module(f"ferjax.{name}")
    tree = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))
    for word in re.findall(r"`(\w+)`", ast.get_docstring(tree) or ""):
        folder = PACKAGE / name / word
        known = folder.is_dir() or folder.with_suffix(".py").is_file() or word in package.__all__
        assert known, f"ferjax/{name}/__init__.py names `{word}`"


def test_the_citation_says_what_pyproject_says() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"] == ferjax.__version__
    assert citation["title"] == project["name"]
    assert citation["abstract"] == project["description"]
    assert citation["keywords"] == project["keywords"]
    assert citation["license"] in project["license"].split(" AND ")
    assert not {"authors", "urls"} & set(project)  # nobody and nothing to repeat
