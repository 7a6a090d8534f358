"""Pages that list what the code has."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

import ferjax
from ferjax import digests, metadata
from ferjax.cli.main import build_parser
from ferjax.emotions import ORDERS
from ferjax.nets.layers import VOCABULARY
from ferjax.train.recipes import RECIPES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PACKAGE = ROOT / "ferjax"
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
# Imports that lead down the map, inside functions.
DOWNWARD = {("classifier", "faces"), ("classifier", "video"), ("faces", "explain")}

sys.path.insert(0, str(DOCS))
robustness, tables = (importlib.import_module(name) for name in ("robustness", "tables"))


def test_all_layers_are_listed() -> None:
    page = (DOCS / "guides" / "convert.md").read_text(encoding="utf-8")
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
    page = tables.recipes()
    for name in RECIPES:
        assert f"\n| [`{name}`](#{name}) | " in page
        assert f"\n## {name}\n" in page


def test_fields_of_recipes_by_hand() -> None:
    page = tables.recipes()
    rows = (line.strip("| ").split(" | ") for line in page.splitlines() if line[:2] == "| ")
    table = {row[0]: row[1:] for row in rows if len(row) == len(RECIPES) + 1}

    def cell(field: str, name: str) -> str:
        return table[field][table["field"].index(f"`{name}`")]

    epochs = [cell("`epochs`", name) for name in ("published", "fast", "fine-tune", "votes-gpu")]
    assert epochs == ["250", "25", "3", "130"]
    assert cell("`augmentation`", "published") == "published"
    assert cell("`augmentation`", "flagship") == "medium, mixup 0.3"
    robust = cell("`augmentation`", "robust")
    assert robust.startswith("medium, blur 0 to 0.025, blur_probability 0.15, noise")
    assert "beta_1" not in page  # the same in all of them


def test_figures_of_weights_are_those_of_their_metadata() -> None:
    page = tables.weights()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    names = ["fer_cnn8_votes", "fer_cnn8", "fer_cnn5", "fer_cnn8_robust"]
    assert [row[0] for row in rows] == [f"| `{name}`" for name in names * 2] + [
        f"| `{name}.h5`" for name in names
    ]
    assert rows[0][1:4] == [
        "86.60 % (2,759 of 3,186), balanced 78.09 %",
        "79.57 % (2,535 of 3,186), balanced 82.78 %",
        "62.72 % (2,251 of 3,589)",
    ]
    assert rows[5][3:] == ["68.27 % (2,259 of 3,309)", "69.13 % (2,264 of 3,275) |"]
    for row, name in zip(rows[8:], names, strict=True):
        assert digests.sha256(ROOT / "checkpoints" / f"{name}.h5") in row[-1]
    assert rows[11][2] == "[`robust`](recipes.md#robust)"  # called otherwise when it ran


def test_figures_of_weights_in_the_readme_are_those_of_their_metadata() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(list((ROOT / "checkpoints").glob("*.h5")))
    for name, _, majority, label in rows:
        (stem,) = re.findall(r"(fer_\w+)", name)
        known = metadata.read(ROOT / "checkpoints" / f"{stem}.h5")
        (measured,) = re.findall(r"([0-9.]+) %\*{0,2} (\(.*\))", label)
        assert f"{measured[0]} % {measured[1]}" == rounded(tables.accuracy(known)[0])
        against = [
            tables.accuracy(known, labels=tables.MAJORITY, **prior)[0]
            for prior in ({}, {"prior": "uniform"})
        ]
        if all(against):
            stated = re.findall(r"[0-9]+\.[0-9](?= |\*)", majority)
            shares = [re.findall(r"([0-9.]+) %", rounded(text)) for text in against]
            assert stated == [share for both in shares for share in both]


def with_interval(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def report_of(name: str) -> dict[str, Any]:
    return json.loads((ROOT / f"checkpoints/reports/{name}.json").read_text(encoding="utf-8"))


def test_tables_of_the_guide_to_evaluation_are_those_of_the_reports() -> None:
    page = (DOCS / "guides" / "evaluate.md").read_text(encoding="utf-8")
    votes = report_of("fer_cnn8_votes")["votes"]["whole"]
    answers = [votes["answers"][prior] for prior in ("training", "calibrated", "uniform")]
    seven, eight = ([a["majorities"][f"{k} classes"] for a in answers] for k in (7, 8))
    rows = [
        ["majority, 7 classes", *cells_of(seven, "accuracy")],
        ["balanced accuracy, 7 classes", *cells_of(seven, "balanced_accuracy")],
        ["majority, 8 classes, 3,199 images", *cells_of(eight, "accuracy")],
        [
            "a person says the predicted class",
            *(with_interval(**answer["single_tagger"]) for answer in answers),
        ],
    ]
    for view, suffix in (("single view", ""), ("`--tta flip`", ".flip")):
        report = report_of(f"fer_cnn8{suffix}")
        measured = [report["whole"], report["without_copies"]]
        rows.append([f"accuracy, {view}", *cells_of(measured, "accuracy")])
    measured = [report_of("fer_cnn8")[part] for part in ("whole", "without_copies")]
    rows.append(["balanced accuracy", *cells_of(measured, "balanced_accuracy")])
    rows.append(["macro F1", *cells_of(measured, "macro_f1")])
    for row in rows:
        assert f"\n| {' | '.join(row)} |\n" in page
    for name in ("fer_cnn8", "fer_cnn8_votes"):
        assert f"{100 * report_of(name)['robustness']['mean']:.2f} %" in page


def cells_of(measured: Sequence[dict[str, Any]], figure: str) -> list[str]:
    return [with_interval(of[figure], of[f"{figure}_interval"]) for of in measured]


def test_points_that_corruptions_cost_are_those_of_the_reports() -> None:
    page = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    stated = re.findall(r"Of their ([0-9.]+) % .* costs (\d+) points, a covered mouth (\d+) ", page)
    stated += re.findall(r"`fer_cnn8` (\d+) and (\d+) of ([0-9.]+);", page)
    stated += re.findall(r"`fer_cnn8_robust.h5` (\d+) of ([0-9.]+)\)", page)
    expected = []
    for name in ("fer_cnn8_votes", "fer_cnn8", "fer_cnn8_robust"):
        report = report_of(name)["robustness"]
        clean, mouth = report["clean"], report["occlusions"]["mouth"]
        noise = report["corruptions"]["shot_noise"][2]
        expected.append(
            (f"{100 * clean:.1f}", f"{100 * (clean - noise):.0f}", f"{100 * (clean - mouth):.0f}")
        )
    default, (clean, noise, mouth), robust = expected
    assert stated == [default, (noise, mouth, clean), (robust[1], robust[0])]


def rounded(text: str) -> str:
    """Return a text with its percentages to a tenth."""
    return re.sub(r"[0-9.]+(?= %)", lambda number: f"{float(number[0]):.1f}", text)


def test_the_page_of_benchmarks_is_made_of_stored_parts(tmp_path: Path) -> None:
    assert tables.benchmarks(tmp_path) == "No part of the suite is stored yet.\n"
    machine = {"cpu": "A CPU", "physical_cores": 2, "threads": 2, "gpu": None, "os": "Linux"}
    results = {
        "machine": {**machine, "memory_gib": 8},
        "versions": {},
        "memory": {"samples": [[100, 9.0]], "growth_mb": 1.5},
    }
    part = {"format": 1, "part": "memory", "date": "2026-01-02", "quick": False, "failed": {}}
    for name, content in (
        ("a-cpu/memory", {**part, "results": {"photographs": results}}),
        ("other/notes", {}),
    ):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content), encoding="utf-8")
    text = tables.benchmarks(tmp_path)
    assert re.findall("^## .*", text, re.MULTILINE) == ["## a-cpu"]
    assert "| growth over 100 pictures, MB | photographs |  | 1.50 |  | none 0 |" in text


def test_every_command_is_listed() -> None:
    page = tables.commands()
    for name in ("predict", "faces", "data info", "data prepare", "train", "verify"):
        assert f"\n## ferjax {name}\n\n```text\nusage: ferjax {name} " in f"\n{page}"


def test_public_modules_are_in_the_api() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"automodule:: (\S+)", pages))
    public = {f"ferjax.{name}" for name in ferjax.__all__}
    modules = {name for name in public if importlib.util.find_spec(name) is not None}
    assert modules | {"ferjax", "ferjax.errors", "ferjax.nets.layers"} <= documented


def test_all_orders_are_listed() -> None:
    page = (DOCS / "guides" / "data.md").read_text(encoding="utf-8")
    for order in ORDERS:
        assert f"\n| `{order}` | " in page


# --- what pages show ----------------------------------------------------------------------------


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


class Rounded(doctest.OutputChecker):
    """Compare output with what stands on a page; OpenCV's versions differ by a pixel or a unit."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        number = r"[0-9]+\.?[0-9]*"
        values, stated = (list(map(float, re.findall(number, t))) for t in (got, want))
        return re.sub(number, "0", got) == re.sub(number, "0", want) and values == pytest.approx(
            stated, rel=0.015, abs=0.011
        )


@pytest.mark.parametrize("name", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_examples_on_a_page_give_what_stands_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("examples", "checkpoints"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / name, "python"):
        compile(block, name, "exec")
    text = "\n".join(blocks(ROOT / name, "pycon"))
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    doctest.DocTestRunner(Rounded()).run(test, out=sys.stderr.write)
    assert not capsys.readouterr().err
    assert bool(test.examples) == (">>> " in text)


@pytest.mark.parametrize("name", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_commands_on_a_page_are_taken(name: str) -> None:
    parser = build_parser()
    text = "".join(blocks(ROOT / name, "console")).replace("\\\n", " ").replace("$I", "0")
    for line in re.findall(r"ferjax (?:[a-z]+ .*)", text):
        call = re.split(r" && | \| |\.\.\.|\"\s", line)[0]
        try:
            parser.parse_args(shlex.split(call, comments=True)[1:])
        except SystemExit:
            pytest.fail(f"{name}: {line}")


@pytest.mark.parametrize(
    "name", [page.relative_to(ROOT).as_posix() for page in [*PAGES, ROOT / "examples/README.md"]]
)
def test_files_that_links_lead_to_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert not [link for link in links if not ((ROOT / name).parent / link).exists()]


def test_pictures_are_small() -> None:
    sizes = [path.stat().st_size for path in (DOCS / "pictures").iterdir()]
    assert max(sizes) < 150_000
    assert sum(sizes) < 660_000


def test_the_picture_of_robustness_is_of_the_stored_figures(tmp_path: Path) -> None:
    robustness.main(
        [str(ROOT / "checkpoints/reports/fer_cnn8_votes.json"), str(tmp_path / "new.png")]
    )
    new, shown = (
        cv2.imread(str(path)) for path in (tmp_path / "new.png", DOCS / "pictures/robustness.png")
    )
    assert new.shape == shown.shape
    assert cv2.absdiff(new, shown).mean() < 2


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
