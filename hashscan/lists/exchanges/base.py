"""Exchanges of hashes: the base class of all, and the messages between the command and the fetching process.

The library (python-threatexchange) runs in a process of its own, `fetching_process`, which gets a `Request`
on its standard input and answers with `Answer`s on its standard output. Nothing of an exchange's answers gets
into a message, a log or an error: what a person reads consists of our own sentences, host names and numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from hashscan.lists.exchanges.transport import Transport

FRAME_MAX = 64 << 20
"""Largest message in bytes; a page of an exchange is smaller by far."""

_Key = Annotated[str, Meta(min_length=1, max_length=1024)]
_Value = Annotated[str, Meta(max_length=4096)]


class Record(Struct, frozen=True):
    """One record of an exchange, which may have several digests."""

    key: _Key
    """The exchange's own key; a later record with this key replaces the earlier one."""
    stem: _Key
    """Beginning of the ids of its entries; empty parts are not allowed."""
    category: Annotated[str, Meta(max_length=32)]
    digests: dict[Annotated[str, Meta(max_length=64)], _Value]
    """Values by algorithm: hexadecimal for those in `model.ALGORITHMS`, as sent for all others."""


class Page(Struct, frozen=True, tag=True):
    """One page of an exchange, and the place from which to go on after it."""

    records: list[Record]
    removed: list[_Key]
    """Keys of records that are withdrawn or deleted."""
    checkpoint: str
    """JSON; only the exchange's class knows what is in it."""
    afresh: bool = False
    """True to forget all earlier records first."""


class Failed(Struct, frozen=True, tag=True):
    """The fetch has ended without reaching the end; what was sent before remains valid."""

    message: str
    advice: str = ""
    usage: bool = False
    """True if this machine's settings are at fault, not the exchange."""


class Finished(Struct, frozen=True, tag=True):
    """The fetch has reached the end."""

    unread: int
    """Records that the library could not read and left out."""


class Submitted(Struct, frozen=True, tag=True):
    """The exchange's reply to one opinion."""

    number: int
    """Index of the opinion in the request."""
    problem: str = ""
    """The reason why the exchange does not take it; empty if it does."""
    advice: str = ""


Answer = Page | Failed | Finished | Submitted


class Opinion(Struct, frozen=True):
    """The operator's opinion on one digest of a record."""

    key: _Key
    """Key of the record."""
    algorithm: Annotated[str, Meta(max_length=64)]
    value: _Value
    """In hexadecimal."""
    wrong: bool
    """True to say that it does not belong in the database, False to confirm it."""
    reason: Annotated[str, Meta(max_length=512)]


class Request(Struct, frozen=True):
    """The input of the fetching process."""

    target: str
    """Location of the exchange's class: `package.module:Class`."""
    name: str
    """Name of the list."""
    environment: str
    address: str
    """Address of the environment: requests go to its server only."""
    credentials: dict[str, str]
    checkpoint: str | None
    proxy: str | None
    ca_file: str | None
    pauses: tuple[float, ...]
    """Seconds before each retry at a busy server that names no time."""
    opinions: list[Opinion] | None = None
    """Opinions to send; None to fetch."""


encode = msgspec.msgpack.encode


class Exchange(ABC):
    """An exchange of hashes, fetched by a class of the library or of an extension of it."""

    name: ClassVar[str]
    credentials_form: ClassVar[str]
    """The content of the file with the credentials, for a person."""
    categories: ClassVar[Mapping[str, str]]
    """Maps the exchange's categories to ours; the key `*` is for all others. The documentation shows it."""
    takes_feedback: ClassVar[bool] = False
    """True if `submit` sends opinions to the exchange."""

    environment_form: ClassVar[str] = ""
    """The name of an environment, for a person, where they can't be listed."""

    @abstractmethod
    def environments(self) -> Mapping[str, str]:
        """Return the addresses of the exchange's databases by their names; empty if they can't be listed."""

    def address(self, environment: str, credentials: Mapping[str, str]) -> str:
        """Return the address of an environment.

        Raises:
            KeyError: there is none of this name.
            UsageError: it can't be used.
        """
        return self.environments()[environment]

    @abstractmethod
    def parse_credentials(self, text: str) -> dict[str, str]:
        """Return the fields of the credentials from the content of their file.

        Raises:
            ValueError: the file does not hold them.
        """

    @abstractmethod
    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield what the exchange has after the checkpoint of the request, until it has nothing more.

        Runs in the fetching process only. All requests go through `transport`.

        Raises:
            FetchError: the exchange is not reached, refuses, or answers with something else.
        """

    def submit(self, request: Request, transport: Transport) -> Iterator[Submitted]:
        """Send the opinions of the request in their order, and yield the exchange's reply to each.

        Runs in the fetching process only, where `takes_feedback` is true. An opinion may be sent twice: a
        process that is killed does not know if the exchange has received it.

        Raises:
            FetchError: the exchange is not reached, or refuses all opinions, not only one.
        """
        raise NotImplementedError
