"""Limit the number of decoders that the files of one owner may cost.

An owner who uses up this budget hides nothing: the rest of the owner's pictures are `undecoded` with a reason
of its own, exact digests are checked all the same, and the scan is incomplete. Losses that depend on the
content are cached with it and cost the next scan nothing, so the next scan gets further.
"""

from __future__ import annotations


class OwnerBudget:
    """The budget of each owner, in one sandbox."""

    def __init__(self, losses: int, seconds: float) -> None:
        """Set the limits of each owner: lost decoders, and seconds that the lost decoders have used."""
        self._losses = losses
        self._seconds = seconds
        self._spent: dict[int, tuple[int, float]] = {}

    def charge(self, owner: int, seconds: float) -> None:
        """Count a decoder that was lost because of a file.

        Args:
            owner: owner of the file.
            seconds: how long the decoder has worked on the file.
        """
        losses, before = self._spent.get(owner, (0, 0.0))
        self._spent[owner] = losses + 1, before + seconds

    def is_exhausted(self, owner: int) -> bool:
        """Return True if no more files of an owner are to be decoded."""
        losses, seconds = self._spent.get(owner, (0, 0.0))
        return losses >= self._losses or seconds >= self._seconds
