"""Show names from strangers as HTML, with invisible and direction-changing characters marked."""

from __future__ import annotations

from itertools import groupby

from markupsafe import Markup, escape

from hashscan.text import printable

_SPACES = frozenset("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}")
"""Spaces that our own numbers contain; in a path they must be marked."""


def marked(name: str) -> Markup:
    """Return a name as markup, isolated from the text direction around it; mark unprintable characters."""
    return Markup("<bdi>{}</bdi>").format(_pieces(name, of_path=False))


def marked_path(path: str) -> Markup:
    """Return a path as markup like `marked`; lines break after slashes, and unusual spaces are marked."""
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
