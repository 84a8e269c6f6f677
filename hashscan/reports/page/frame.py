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
format numbers and times; the filters `name` and `path` show untrusted names and paths, and mark
characters that are invisible or change the text direction.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hashscan.text import printable
from hashscan.timefmt import readable_time

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def number(value: int) -> str:
    """Format a count, with narrow spaces between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def format_bytes(value: int) -> str:
    """Format a number of bytes in a suitable unit."""
    if abs(value) < 1024:
        return f"{value}\N{NO-BREAK SPACE}bytes"
    size = float(value)
    for unit in _UNITS:
        size /= 1024
        if abs(size) < 999.5 or unit == _UNITS[-1]:
            break
    return (
        f"{size:.0f}\N{NO-BREAK SPACE}{unit}" if abs(size) >= 999.5 else f"{size:.3g}\N{NO-BREAK SPACE}{unit}"
    )


def duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def day(seconds: int) -> str:
    """Format seconds since 1970 as a day in UTC; return the number as text if it is outside the calendar."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)


_SPACES = frozenset("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}")
"""Spaces that our own numbers contain; in a path they must be marked."""


def marked(name: str) -> Markup:
    """Return a name as markup, isolated from the text direction around it; mark unprintable characters."""
    return Markup(f"<bdi>{_escaped(name, of_path=False)}</bdi>")  # noqa: S704 - escaped


def marked_path(path: str) -> Markup:
    """Return a path as markup like `marked`; lines break after slashes, and unusual spaces are marked."""
    return Markup(f'<bdi class="path">{_escaped(path, of_path=True)}</bdi>')  # noqa: S704 - escaped


def _escaped(name: str, *, of_path: bool) -> str:
    if name.isprintable():
        return _plain(name, breaks=of_path)
    pieces: list[str] = []
    for visible, characters in groupby(name, lambda c: c.isprintable() or (not of_path and c in _SPACES)):
        if visible:
            pieces.append(_plain("".join(characters), breaks=of_path))
        else:
            pieces += (f'<span class="mark">{escape(printable(c))}</span>' for c in characters)
    return "".join(pieces)


def _plain(text: str, *, breaks: bool) -> str:
    # Not by Markup's own methods, which are slow: a page has hundreds of names.
    escaped = str(escape(text))
    return escaped.replace("/", "/<wbr>") if breaks else escaped


_FRAME = Path(__file__).parent


class Page:
    """A kind of page; its files are read once."""

    def __init__(
        self, folder: Path, template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ()
    ) -> None:
        """Read the template, which extends `frame.html`, and the styles and scripts besides the frame's."""
        self._styles = [_read_text(_FRAME / "frame.css"), *(_read_text(folder / name) for name in styles)]
        self._scripts = [_read_text(folder / name) for name in scripts]
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
        """Yield the page in UTF-8, in pieces, so that its content can be generated while it is written."""
        pieces = self._template.generate(
            title=title,
            policy=_policy(self._styles, self._scripts),
            styles=self._styles,
            scripts=self._scripts,
            **context,
        )
        # A report that was written by hand may contain lone surrogates.
        return (piece.encode("utf-8", errors="replace") for piece in pieces)


def _read_text(path: Path) -> str:
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
