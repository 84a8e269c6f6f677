"""Names from strangers as markup in which nothing is invisible or turns the text around."""

from __future__ import annotations

from itertools import groupby

from markupsafe import Markup, escape

from hashscan.reports.names import printable

_SPACES = frozenset("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}")
"""Our own words have them in numbers; of a path it must be known."""


def marked(name: str) -> Markup:
    """A name, isolated from the direction of what is around it; what can't be seen is marked."""
    return Markup("<bdi>{}</bdi>").format(_pieces(name, of_path=False))


def marked_path(path: str) -> Markup:
    """The same for a path, whose lines break after slashes, and whose odd spaces are marked."""
    return Markup('<bdi class="path">{}</bdi>').format(_pieces(path, of_path=True))


def _pieces(name: str, *, of_path: bool) -> Markup:
    if name.isprintable():
        return _escaped(name, breaks=of_path)
    pieces: list[Markup] = []
    for visible, characters in groupby(name, lambda c: c.isprintable() or (not of_path and c in _SPACES)):
        if visible:
            pieces.append(_escaped("".join(characters), breaks=of_path))
        else:
            pieces += (Markup('<span class="mark">{}</span>').format(printable(c)) for c in characters)
    return Markup("").join(pieces)


def _escaped(text: str, *, breaks: bool) -> Markup:
    return Markup("/<wbr>").join(text.split("/")) if breaks else escape(text)
