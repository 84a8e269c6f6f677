"""The common frame of our HTML pages: one self-contained file, no network access, no picture, one style.

A page is a template that extends `frame.html`, with its own style sheets and scripts beside it:

    page = Page(Path(__file__).parent / "page", "stats.html", styles=("stats.css",), scripts=("stats.js",))
    for part in page.parts(title="Statistics", months=months):
        stream.write(part)

The template fills the blocks `main` and `footer`, and gets `title` from the caller. `frame.css` is always
included: it defines the colours as variables (`--ink`, `--soft`, `--line`, `--wash`, `--accent`, one for each
verdict), and the classes `tiles`, `charts`, `note`, `number`; `bars.html` has a macro for bars. The page's
Content-Security-Policy allows only these styles and scripts, by their hashes: no `style=` and no `on…=`
attribute works, and no script may set markup. The filters `number`, `bytes`, `duration`, `time` and `day`
format numbers and times; the filters `name` and `path` show names and paths from strangers, and mark
characters that are invisible or change the text direction.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hashscan.reports.page.names import marked, marked_path
from hashscan.reports.page.text import day, duration, format_bytes, number
from hashscan.timefmt import readable_time

_FRAME = Path(__file__).parent


class Page:
    """A kind of page; its files are read once."""

    def __init__(
        self, folder: Path, template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()
    ) -> None:
        """Read the template, styles and scripts.

        Args:
            folder: the folder of the page's files.
            template: name of the template, which extends `frame.html`.
            styles: style sheets besides `frame.css`.
            scripts: scripts to run after the page is loaded, in this order.
        """
        self._styles = [_text(_FRAME / "frame.css"), *(_text(folder / name) for name in styles)]
        self._scripts = [_text(folder / name) for name in scripts]
        environment = Environment(
            loader=FileSystemLoader([folder, _FRAME]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(
            number=number,
            bytes=format_bytes,
            duration=duration,
            time=readable_time,
            day=day,
            name=marked,
            path=marked_path,
        )
        self._template = environment.get_template(template)

    def parts(self, *, title: str, **context: Any) -> Iterator[bytes]:
        """Yield the page in UTF-8, in pieces, so that its content can be generated while it is written.

        Args:
            title: title of the window.
            context: the variables of the template.
        """
        pieces = self._template.generate(
            title=title,
            policy=_policy(self._styles, self._scripts),
            styles=self._styles,
            scripts=self._scripts,
            **context,
        )
        # A report that was written by hand may contain lone surrogates.
        return (piece.encode("utf-8", errors="replace") for piece in pieces)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy of a page that has only these styles and scripts."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_sources(styles)}",
            f"script-src {_sources(scripts)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _sources(texts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
