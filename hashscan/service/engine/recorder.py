"""Define how the engine reports its checks: to cases of refused uploads, statistics and metrics."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod

from hashscan.errors import HashscanError
from hashscan.model import FileResult, Verdict
from hashscan.service.engine.contents import Content
from hashscan.service.engine.uploads import Client, Outcome, Upload

REFERENCE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Digits and letters of references (Crockford's base 32): none looks like another."""
REFERENCE_LENGTH = 16
"""Characters of a reference: 80 bits."""


class Recorder(ABC):
    """Gets every check of the engine; all methods are called from the engine's loop."""

    @abstractmethod
    async def refused(self, upload: Upload, result: FileResult, content: Content) -> str:
        """Record a refused upload durably before it is answered, and return its reference; never raises.

        The content is open until this returns. The sha256 is among the result's digests, where it is known.
        """

    @abstractmethod
    def checked(self, client: Client, verdict: Verdict, outcome: Outcome, size: int, seconds: float) -> None:
        """Count a check that is answered: an upload of `size` bytes, `seconds` after it had arrived."""

    @abstractmethod
    def matched(self, client: Client, digests: int, found: int) -> None:
        """Count a request about digests, and how many of them match."""

    @abstractmethod
    def failed(self, client: Client, error: HashscanError) -> None:
        """Count an upload that was not checked: Overloaded, TooLarge, Unchecked, UnusableDescriptor."""


class NoRecorder(Recorder):
    """Records nothing, for an engine without a service."""

    async def refused(self, upload: Upload, result: FileResult, content: Content) -> str:
        """Return a random reference."""
        return "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(REFERENCE_LENGTH))

    def checked(self, client: Client, verdict: Verdict, outcome: Outcome, size: int, seconds: float) -> None:
        """Do nothing."""

    def matched(self, client: Client, digests: int, found: int) -> None:
        """Do nothing."""

    def failed(self, client: Client, error: HashscanError) -> None:
        """Do nothing."""
