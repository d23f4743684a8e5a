"""Sphinx configuration: ``python -m docs`` builds the site into ``docs/_build``, warnings being errors."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jaxqsm
from docs.generate import equation, generate

project = "jaxqsm"
author = "the jaxqsm developers"
copyright = "the jaxqsm developers, Apache-2.0"
release = version = jaxqsm.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "mailto": None}
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "README.md", "generated/snippets"]
html_theme = "furo"
html_title = "jaxqsm"
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
html_static_path = ["static"]
html_css_files = ["wide.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"
default_role = "literal"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source", ("Example", "Example"), "Notes"]
napoleon_use_ivar = True
LITERAL = re.compile(r"(``.*?``|:\w+:`.*?`|`.*?`)")


def _escape(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Bars and stars of equations are not RST's substitutions and emphasis."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = LITERAL.split(line)
        for place in range(0, len(parts), 2):
            parts[place] = re.sub(r"([|*])", r"\\\1", parts[place])
            parts[place] = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", parts[place])
        lines[number] = "".join(parts)


def _typeset(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The problem that the summary states is shown once more as a formula."""
    problem = equation((inspect.getdoc(obj) or "").split("\n", 1)[0])
    if what == "function" and problem is not None:
        lines[1:1] = ["", ".. math::", "", f"   {problem}", ""]


def setup(app: Any) -> None:
    """Write the generated pages first, then let Sphinx find them."""
    generate()
    app.connect("autodoc-process-docstring", _escape, priority=400)
    app.connect("autodoc-process-docstring", _typeset, priority=450)
