"""How Sphinx builds these pages: `sphinx-build -W docs DIR`; CONTRIBUTING.md says more."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import ferjax  # noqa: E402

project = "ferjax"
author = "the ferjax authors"
project_copyright = "Apache-2.0"
release = version = ferjax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "adapting",
]
smartquotes_action = "D"  # dashes alone
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_title = f"ferjax {release}"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],  # a second search button
}
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # as GitHub makes them
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_mock_imports = ["tensorflow"]  # takes five seconds, and one class alone needs it
default_role = "py:obj"  # what docstrings have in backticks, a link where it is a public name
nitpicky = True
# Types of other libraries, which are not looked up at other sites, and those inside of ferjax.
# What stands in backticks in docstrings may be no name at all.
nitpick_ignore_regex = [
    ("py:.*", r"(?!ferjax\.).*"),
    ("py:.*", r"ferjax(\.\w+){2,}"),
    ("py:obj", r"(?s).*"),
]
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
