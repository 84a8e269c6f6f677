"""Names from strangers as markup in which nothing is invisible or turns the text around."""

from __future__ import annotations

from itertools import groupby

from markupsafe import Markup, escape

from hashscan.reports.names import printable


def marked(name: str) -> Markup:
    """A name, isolated from the direction of what is around it; what can't be seen is marked."""
    return Markup("<bdi>{}</bdi>").format(_pieces(name, breaks=False))


def marked_path(path: str) -> Markup:
    """The same for a path, whose lines break after slashes."""
    return Markup('<bdi class="path">{}</bdi>').format(_pieces(path, breaks=True))


def _pieces(name: str, *, breaks: bool) -> Markup:
    if name.isprintable():
        return _escaped(name, breaks=breaks)
    pieces: list[Markup] = []
    for visible, characters in groupby(name, str.isprintable):
        if visible:
            pieces.append(_escaped("".join(characters), breaks=breaks))
        else:
            pieces += (Markup('<span class="mark">{}</span>').format(printable(c)) for c in characters)
    return Markup("").join(pieces)


def _escaped(text: str, *, breaks: bool) -> Markup:
    return Markup("/<wbr>").join(text.split("/")) if breaks else escape(text)
