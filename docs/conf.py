"""Settings of Sphinx for the site: `sphinx-build --fail-on-warning --keep-going -c docs . site`.

The source is the whole repository, so that a link from a page to README.md or SECURITY.md leads to the same
file here and where the repository is shown. The navigation is made of the lists of `index.md`.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

project = "hashscan"
author = "hashscan maintainers"
root_doc = "docs/index"
extensions = ["myst_parser"]
include_patterns = [
    "*.md",
    "docs/*.md",
    "examples/dask/README.md",
    "examples/plugin/README.md",
    "hashlists/FORMAT.md",
]
exclude_patterns = [".*", "build", "dist", "site"]
myst_heading_anchors = 4
nitpicky = True
pygments_style = "default"
html_theme = "furo"
html_title = "hashscan"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_extra_path = ["site"]


def add_navigation(app: Sphinx, name: str, text: list[str]) -> None:
    """Add a table of contents to the first page: for each of its sections, the pages that its list links."""
    if name != root_doc:
        return
    for title, body in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", text[0], re.MULTILINE):
        links = re.findall(r"^- \[([^\]]+)\]\(([^)]+)\.md\)", body, re.MULTILINE)
        pages = "\n".join(f"{label} <{page}>" for label, page in links)
        if pages:
            text[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Register what this page adds to Sphinx."""
    app.connect("source-read", add_navigation)
