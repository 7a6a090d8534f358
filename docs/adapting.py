"""What Sphinx needs to be told of docstrings, links and tables; the pages read well without it."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import tables

ROOT = Path(__file__).parents[1]
# Files beside the package that are pages too; here stands a page with no more than a link to each.
PAGES = {
    "MODEL_CARD.md": "project/model_card",
    "checkpoints/fer_cnn8.card.md": "project/fer_cnn8_card",
    "checkpoints/ablations/README.md": "project/ablations",
    "benchmarks/README.md": "project/benchmarks",
    "CONTRIBUTING.md": "project/contributing",
    "SECURITY.md": "project/security",
    "CHANGELOG.md": "project/changelog",
    "README.md": "index",
    "README.md#limits-and-intended-use": "limits",
}
_LOGGER = logging.getLogger(__name__)
# Where a function of `tables` says what stands there.
_MADE = re.compile(r"```\{made\} (\w+)\n```\n")
_LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Put a file in the place of the page that links to it, and let links lead to pages."""
    path = file = Path(app.srcdir, f"{page}.md")
    for name, of in PAGES.items():
        if of == page != "index":
            file, part = ROOT / name.partition("#")[0], name.partition("#")[2]
            source[0] = text_of(file, part)
            app.env.note_dependency(str(file))

    def adapted(link: re.Match[str]) -> str:
        image, text, target, anchor = link.groups(default="")
        whole = Path(os.path.normpath(file.parent / target)) if target else file
        inside = whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else ""
        if inside + anchor in PAGES:
            inside, anchor = inside + anchor, ""
        if inside in PAGES:
            whole = Path(app.srcdir, f"{PAGES[inside]}.md")
        elif not (image or whole.is_relative_to(app.srcdir)):
            return text  # of the checkout alone
        return f"{image}[{text}]({os.path.relpath(whole, path.parent)}{anchor})"

    text = _MADE.sub(lambda made: str(getattr(tables, made[1])()), source[0])
    source[0] = _LINK.sub(adapted, text)


def text_of(file: Path, part: str = "") -> str:
    """Return a file without its front matter, or one section of it as a page of its own."""
    text = re.sub(r"\A---\n.*?\n---\n", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for section in text.split("\n## ")[1:] if part else ():
        if section.partition("\n")[0].lower().replace(" ", "-") == part:
            return f"# {section}"
    return text


def docstring(
    app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]
) -> None:
    """Mark code that stands in a docstring, and keep a property's sentence whole."""
    for number, line in enumerate(lines[:-2]):
        code = not lines[number + 1] and lines[number + 2].startswith("    ")
        if code and line.endswith(":") and not line.startswith(" "):
            lines[number] += ":"
    if what in ("attribute", "property"):  # else napoleon takes what precedes a colon for a type
        lines[:0] = ["..", ""]


def load(app: Sphinx, page: str, source: list[str]) -> None:
    """Import what a module imports when it is first used; autodoc shows what lies in it."""
    for name in re.findall(r"automodule:: (\S+)", source[0]):
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            setattr(module, public, getattr(module, public))


def check(app: Sphinx, environment: BuildEnvironment) -> None:
    """Warn of public names that no page has."""
    documented = environment.domaindata["py"]
    for name in documented["modules"]:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            known = f"{name}.{public}" in documented["objects"]
            if not known and not isinstance(getattr(module, public), ModuleType):
                _LOGGER.warning("docs/api/ lacks %s.%s", name, public)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read)
    app.connect("source-read", load)
    app.connect("env-check-consistency", check)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
