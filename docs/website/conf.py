"""Settings of Sphinx; `docs/website/__main__.py` runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.website.docstrings import to_rst

import transprune

project = "transprune"
author = "The transprune developers"
project_copyright = "The transprune developers, Apache-2.0"
version = release = transprune.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"transprune {release}"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False

# the slugs that GitHub gives to headings, so that an anchor works there and here
myst_heading_anchors = 4
# commands and their output
highlight_language = "text"

nitpicky = True
# types of other packages, and private ones of ours, have no page here
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_numpy_docstring = False

# external links: `python -m docs.website linkcheck`, where there is a network
linkcheck_timeout = 20


def setup(app: Any) -> None:
    """Docstrings are brought into Sphinx's form before napoleon (500) reads their sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)


def _process(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Replace the lines in place, as Sphinx asks."""
    lines[:] = to_rst(lines)
