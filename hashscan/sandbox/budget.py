"""How many decoders one owner's files may cost.

An owner who uses it up hides nothing: the rest of the owner's pictures are `undecoded` with a reason of its
own, exact digests are checked all the same, and the scan is incomplete. Losses that follow from the content
are kept with it and cost the next scan nothing, so that one comes farther.
"""

from __future__ import annotations


class OwnerBudget:
    """What was spent of it, by owner; for one sandbox."""

    def __init__(self, losses: int, seconds: float) -> None:
        """Let each owner's files cost so many decoders, and so many seconds of decoders that were lost."""
        self._losses = losses
        self._seconds = seconds
        self._spent: dict[int, tuple[int, float]] = {}

    def charge(self, owner: int, seconds: float) -> None:
        """Count a decoder that was lost over a file.

        Args:
            owner: of the file.
            seconds: how long the decoder had it.
        """
        losses, before = self._spent.get(owner, (0, 0.0))
        self._spent[owner] = losses + 1, before + seconds

    def used_up(self, owner: int) -> bool:
        """Whether an owner's files are not to be decoded any more."""
        losses, seconds = self._spent.get(owner, (0, 0.0))
        return losses >= self._losses or seconds >= self._seconds
