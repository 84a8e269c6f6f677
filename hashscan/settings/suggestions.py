"""Suggest the known word that is nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable

_ALIKE = 0.6
"""The lowest similarity by difflib's measure; below it, short words are similar to everything."""


def closest_match(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to another; `-` and `_` are equal.

    Args:
        word: the unknown word.
        known: the known words.

    Returns:
        One of `known`, as it is written there; None if none is similar.
    """
    # Imported late, because most commands need no suggestion.
    import difflib

    plain = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=_ALIKE)
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_")
