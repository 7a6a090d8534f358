"""What Sphinx needs to be told of docstrings and of links, so that both read well without it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

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
}
_LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Put a file in the place of the page that links to it, and let links lead to pages."""
    path = Path(app.srcdir, f"{page}.md")
    file = next((ROOT / name for name, known in PAGES.items() if known == page), path)
    if page != "index" and file != path:
        app.env.note_dependency(str(file))
        source[0] = file.read_text(encoding="utf-8")
        source[0] = re.sub(r"\A---\n.*?\n---\n", "", source[0], flags=re.DOTALL)
    else:
        file = path

    def adapted(link: re.Match[str]) -> str:
        image, text, target, anchor = link.groups(default="")
        whole = Path(os.path.normpath(file.parent / target)) if target else file
        known = PAGES.get(whole.relative_to(ROOT).as_posix())
        if known is None and not (image or whole.is_relative_to(app.srcdir)):
            return text  # of the checkout alone
        if known is not None:
            whole = Path(app.srcdir, f"{known}.md")
        return f"{image}[{text}]({os.path.relpath(whole, path.parent) if target else ''}{anchor})"

    source[0] = _LINK.sub(adapted, source[0])


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


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
