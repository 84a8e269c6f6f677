"""The frame of a page that stands alone: one file, no network, no picture, the look that all our pages share.

A page is a template that extends `frame.html`, beside it style sheets and scripts of its own:

    page = Page(Path(__file__).parent / "page", "stats.html", styles=("stats.css",), scripts=("stats.js",))
    for part in page.parts(title="Statistics", months=months):
        stream.write(part)

The template fills the blocks `main` and `footer`, and gets `title` from the caller. `frame.css` is there
already: it has the colours as variables (`--ink`, `--soft`, `--line`, `--wash`, `--accent`, one for each
verdict), and `tiles`, `charts`, `note`, `number` as classes; `bars.html` has a macro for bars. The policy
of the page allows these styles and scripts alone, by their hashes: no `style=` and no `on…=` attribute
works, and no script may set markup. Numbers and times are written by the filters `number`, `bytes`,
`duration`, `moment` and `day`; names and paths from strangers by `name` and `path`, which show what would
else be invisible or would turn the text around.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hashscan.reports.page.names import marked, marked_path
from hashscan.reports.page.text import bytes_words, day, duration, moment, number

_FRAME = Path(__file__).parent


class Page:
    """A kind of page; its files are read once."""

    def __init__(
        self, folder: Path, template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()
    ) -> None:
        """Read what it is made of.

        Args:
            folder: where its files are.
            template: which extends `frame.html`.
            styles: of its own, besides `frame.css`.
            scripts: to run when the page is there, in this order.
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
            bytes=bytes_words,
            duration=duration,
            moment=moment,
            day=day,
            name=marked,
            path=marked_path,
        )
        self._template = environment.get_template(template)

    def parts(self, *, title: str, chart_styles: Sequence[str] = (), **context: Any) -> Iterator[bytes]:
        """The page in UTF-8, piece by piece, so that what is in it may be made as it is written.

        Args:
            title: what the window is called.
            chart_styles: what stands between `<style>` and `</style>` in charts that a library has drawn.
            context: what the template asks for.
        """
        pieces = self._template.generate(
            title=title,
            policy=_policy([*self._styles, *chart_styles], self._scripts),
            styles=self._styles,
            scripts=self._scripts,
            **context,
        )
        # A report that someone has written by hand may name characters that are none.
        return (piece.encode("utf-8", errors="replace") for piece in pieces)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The Content-Security-Policy of a page that has these and nothing else."""
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
