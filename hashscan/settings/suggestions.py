"""What somebody may have meant who wrote a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable

_ALIKE = 0.6
"""As difflib counts; with less, short words are near everything."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like another, whichever of `-` and `_` stands in both.

    Args:
        word: what is not known.
        known: what is.

    Returns:
        One of `known`, as it is written there; None where none is near.
    """
    # Most commands find nothing wrong.
    import difflib

    plain = {_plain(one): one for one in known}
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=_ALIKE)
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_")
