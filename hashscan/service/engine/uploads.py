"""Define the values that doors and the engine exchange about uploads: who asks, and how it is answered."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from hashscan.errors import HashscanError
from hashscan.model import THREAT_PREFIX, FileResult, Verdict


class Outcome(StrEnum):
    """A door's instruction to its client about an upload."""

    ALLOW = "allow"
    REFUSE = "refuse"
    ERROR = "error"
    """The upload could not be checked now; the client should try again later."""


Turn = tuple[str, str]
"""The names of a client, and of a party of it, by which requests take turns."""


class Client(Struct, frozen=True):
    """The client of one connection."""

    door: str
    """Name of the door's protocol: clamd, icap or http."""
    address: str
    """Its network address, or `uid=NUMBER` for a Unix socket; for logs and cases."""
    connection: int
    """Number of the connection, unique in this process."""
    owner: str = ""
    """Name of the uploads' owner, from a header or key that the door's settings trust. If empty, the
    connection is an owner of its own: no decoder that has seen its files sees files of another."""
    customer: str = ""
    """Name of the uploader as the operator knows it, from a trusted header or key; for cases. Empty if nobody
    trusted has named one, however owners are told apart."""
    account: str = ""
    """Name of the key that it has shown; empty without."""
    once: bool = False
    """True if the owner has no other upload, so that his decoder is not kept for him."""

    @property
    def turn(self) -> Turn:
        """The client, by its key or else its address; and its named uploader, or else its connection."""
        return (
            f"key {self.account}" if self.account else self.address,
            f"name {self.customer}" if self.customer else str(self.connection),
        )


class Upload(Struct, frozen=True):
    """An upload's description, for the case of a refused one; the content travels beside it."""

    client: Client
    name: bytes = b""
    """The name that the client gives it; untrusted."""


class Answer(Struct, frozen=True):
    """The engine's answer about one upload."""

    outcome: Outcome
    """By the door's settings, from the verdict."""
    result: FileResult
    """The verdict with matches, reason and digests. A door shows of it only what its settings allow."""
    version: str
    """Version of the lists that were matched; see `Engine.version`."""
    reference: str = ""
    """Reference of the case of a refused upload: `[0-9A-Z]{1,26}`; empty where it is not refused."""

    @property
    def verdict(self) -> Verdict:
        """The verdict of its result."""
        return self.result.verdict

    @property
    def threat(self) -> str:
        """The name of what was found, as clients are shown it: without list, category and entry."""
        return f"{THREAT_PREFIX}{self.reference}" if self.reference else ""


class Overloaded(HashscanError):
    """The error that an upload is not accepted now: too many bytes or uploads wait already."""


class TooLarge(HashscanError):
    """The error that an upload has more bytes than allowed."""


class Unchecked(HashscanError):
    """The error that an upload could not be checked at all: a defect, or no worker can be started."""


class NoLegalBasis(Unchecked):
    """The error for a door that checks nothing, since its legal basis has ended."""


class UnusableDescriptor(HashscanError):
    """The error that a descriptor which a client passed can't be read as a file."""
