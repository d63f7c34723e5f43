"""Sphinx's settings: pages are Markdown, the reference comes from docstrings."""

from importlib.metadata import version as version_of

project = "distributed"
author = "distributed developers"
copyright = "2026, distributed developers"
version = release = version_of("distributed")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["changes/*.*.md"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings write `name`
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them
napoleon_use_rtype = False
nitpicky = False

html_theme = "furo"
html_title = f"distributed {release}"
