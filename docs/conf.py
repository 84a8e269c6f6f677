"""Settings of Sphinx for the site: `sphinx-build --fail-on-warning --keep-going -c docs . site`.

The source is the whole repository, so that a link from a page to README.md or SECURITY.md leads to the same
file here and where the repository is shown. The navigation is made of the lists of `index.md`.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "hashscan"
author = "hashscan maintainers"
root_doc = "docs/index"
extensions = ["myst_parser"]
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/reference/*.md",
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


BARRIERS = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages and search">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="On this page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="On this page">',
    # Both scroll sideways on a phone, and so must be reached by the keyboard.
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper colwidths-auto docutils container">': (
        '<div class="table-wrapper colwidths-auto docutils container" tabindex="0">'
    ),
    '<th class="head"><p></p></th>': "<td></td>",
    '<div id="search-results"></div>': '<h1>Search</h1><div id="search-results" tabindex="-1"></div>',
}
"""HTML of Sphinx and of the theme that axe-core reports as a violation, and its replacement."""


def remove_barriers(app: Sphinx, failure: Exception | None) -> None:
    """Replace HTML of the theme, which has no setting for it, in all pages that were made."""
    for page in Path(app.outdir).rglob("*.html"):
        before = after = page.read_text(encoding="utf-8")
        for old, new in BARRIERS.items():
            after = after.replace(old, new)
        if after != before:
            page.write_text(after, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register what this page adds to Sphinx."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", remove_barriers)
