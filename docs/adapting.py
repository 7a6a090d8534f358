"""What Sphinx needs to be told of docstrings, links and tables; the pages read well without it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import tables
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

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

    source[0] = _LINK.sub(adapted, source[0])


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
        lines.insert(0, "")


class Made(SphinxDirective):
    """Put a table of `tables` in the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = {f.__name__: f for f in (tables.recipes, tables.weights, tables.commands)}
        return self.parse_text_to_nodes(text[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("made", Made)
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
