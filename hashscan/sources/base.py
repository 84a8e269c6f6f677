"""What every source of files can do: list its targets in batches and open the files of a batch."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from hashscan.model import DIRECT, Access, Batch, CtimeTrust, FileStat, FolderReason, Item, Reason
from hashscan.sources.options import ListingOptions


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file left out on purpose while listing."""

    target: bytes
    folder: bytes
    item: Item
    reason: Reason


@dataclass(frozen=True, slots=True)
class LostFile:
    """A name that could be listed but not looked at; it ends as unreadable."""

    target: bytes
    folder: bytes
    name: bytes
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ClosedFolder:
    """A folder that could not be entered or not be listed to its end."""

    target: bytes
    folder: bytes
    reason: FolderReason
    detail: str


@dataclass(frozen=True, slots=True)
class Passed:
    """Things that are no files, counted as they go by."""

    folders: int = 0
    """Folders entered, the target included."""
    links: int = 0
    """Symbolic links, never followed."""
    specials: int = 0
    """Devices, sockets and FIFOs."""
    excluded_folders: int = 0
    """Folders left out by a pattern, as mount points of pseudo file systems (or of any, with one file system
    asked for), or because they are our own."""


Listing = Batch | SkippedFile | LostFile | ClosedFolder | Passed


def shown_path(target: bytes, folder: bytes, name: bytes = b"") -> bytes:
    """The whole path of a file, or of a folder where no name is given, to show and to open.

    Args:
        target: of a batch or another listing.
        folder: the folder beneath the target; empty for the target itself.
        name: the file's name in the folder.
    """
    path = target
    for part in (folder, name):
        if part:
            path += part if path.endswith(b"/") else b"/" + part
    return path


def without_secrets(url: bytes) -> bytes:
    """A URL without user, password, query and fragment, in which secrets may stand."""
    scheme, separator, rest = re.split(rb"[?#]", url, maxsplit=1)[0].partition(b"://")
    if not separator:
        return scheme
    host, slash, path = rest.partition(b"/")
    return scheme + separator + host.rpartition(b"@")[2] + slash + path


Spend = Callable[[int, int], None]
"""Called with how many files are about to be opened and how many bytes to be read; returns when they may be.
May be called from several threads."""


def unlimited(files: int, size: int) -> None:
    """Let everything be read at once."""


class FileTrouble(Exception):
    """A file that can't be read; becomes the verdict unreadable with this reason."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
        self.detail = detail


class OpenFile(ABC):
    """A file held open by descriptor, so that nobody can put another in its place."""

    @property
    @abstractmethod
    def descriptor(self) -> int:
        """Open for reading; read with pread only, since its offset is shared with the decoder."""

    @property
    def content(self) -> memoryview | None:
        """All its bytes, where they are in memory anyway; else they are read by the descriptor."""
        return None

    @property
    def pieces(self) -> Iterator[bytes | memoryview] | None:
        """All its bytes in order and once, where there is no room to keep them; it has no descriptor then.

        Getting them may raise FileTrouble.
        """
        return None

    @property
    def compressed(self) -> str:
        """What viewers decompress its bytes by before they show them; empty where they don't."""
        return ""

    stat: FileStat
    """What fstat said just after opening; of an object that comes in pieces, its size is known at last."""

    hole_bytes: int = 0
    """Bytes that take no room on the disk, as the file system says."""

    fetched: ClassVar[bool] = False
    """Whether its bytes have come from elsewhere, and were asked for then; to read them costs nothing."""

    def probe(self, on_trust: Collection[str]) -> CtimeTrust:
        """Find out how far its ctime is to be trusted; before anything of it is read.

        Args:
            on_trust: names of filesystem types that are trusted on the operator's word.
        """
        return CtimeTrust.PROVEN

    def holes_exceed(self, limit: int) -> bool:
        """Whether the file has more than `limit` bytes of holes."""
        return False

    @abstractmethod
    def check_unchanged(self) -> None:
        """Compare the file with `stat` after reading.

        Raises:
            FileTrouble: it is not the same, or can't be looked at any more.
        """

    @abstractmethod
    def close(self) -> None:
        """Let the descriptor go."""


class OpenFolder(ABC):
    """A folder of a batch, reopened by a worker."""

    @abstractmethod
    def announce(self, items: Sequence[Item]) -> None:
        """Say which items will be opened, each once and in this order, so that they can be fetched ahead."""

    @abstractmethod
    def open(self, item: Item) -> OpenFile:
        """Open one file of the batch.

        Raises:
            FileTrouble: it can't be opened, or is not the file that was listed.
        """


class Opener(ABC):
    """What a worker opens the files of batches with; connections and the like last from batch to batch."""

    @abstractmethod
    def reopen(self, batch: Batch) -> AbstractContextManager[OpenFolder]:
        """Reopen a batch's folder in another process than the one that listed it.

        Raises:
            FileTrouble: the folder is gone, or another is in its place; it concerns every item.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what was kept."""


class Source(ABC):
    """One kind of storage."""

    name: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules of others that take long to import, and that opening needs."""

    @abstractmethod
    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Find the targets.

        Args:
            targets: what to sweep; none where all is `named`.
            options: what to leave out.
            access: how to reach what is not on this machine.

        Raises:
            TargetError: one can't be swept at all.
        """

    @property
    @abstractmethod
    def targets(self) -> tuple[bytes, ...]:
        """The targets as they stand in what is listed."""

    @property
    @abstractmethod
    def paths(self) -> tuple[bytes, ...]:
        """What is swept, for people to read."""

    @abstractmethod
    def listings(self) -> Iterator[Listing]:
        """List the targets: batches of files to read, and everything passed by."""

    def begin_with(self, folders: Mapping[bytes, Sequence[bytes]]) -> None:  # noqa: B027
        """Say where to begin, before `listings` is; sources whose listing is quick need not heed it.

        Args:
            folders: by target, what `left` said when listing was given up last.
        """

    def left(self) -> Mapping[bytes, Sequence[bytes]]:
        """By target, which folders beneath it to begin with when listing, given up now, is begun anew.

        To be asked while the iterator of `listings` is still there, and once.
        """
        return {}

    def named(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """List files by name, instead of looking for what there is.

        Each name ends in exactly one file of a batch, SkippedFile or LostFile; one named twice ends in two.
        With targets, what doesn't lie beneath one is lost as OUTSIDE. Sources that can't look up a name lose
        them all. What is told of a name must hold no secret that it may hold, such as a signature.

        Args:
            names: paths or URLs as somebody wrote them. An empty one says that none has come for a while:
                what was gathered is due, and a listing in any case.
        """
        for name in names:
            if name:
                shown = without_secrets(name)
                yield LostFile(shown, b"", b"", Reason.NO_NAME, f"{self.name} can't look up single names")
            else:
                yield Passed()

    @classmethod
    @abstractmethod
    def opener(cls, access: Access, spend: Spend = unlimited) -> Opener:
        """What opens the files of this source's batches, in any process.

        Args:
            access: how to reach what is not on this machine.
            spend: asked before each file is opened, and before bytes are fetched from elsewhere. Bytes of
                files on this machine are for whoever reads them to ask for.
        """
