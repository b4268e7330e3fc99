"""Settings of the documentation's pages: ``make docs`` builds them, without network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the extensions beside this file

from m2l_bench import __version__

project = "m2l_bench"
author = "The m2l_bench developers"
copyright = author
version = release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "from_code", "gallery_figures"]
exclude_patterns = ["_build"]
nitpicky = False  # internal modules are named in docstrings, and have no page
myst_heading_anchors = 4

autodoc_typehints = "none"  # the docstrings give types with shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "set_fit_request, set_score_request"}  # scikit-learn writes them
autosummary_generate = False  # tables alone: each module has one page
numpydoc_show_class_members = False
templates_path: list[str] = []

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"install": [], "index": []}  # nothing is below them
html_theme_options = {
    "logo": {"text": project},
    "navbar_align": "left",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
