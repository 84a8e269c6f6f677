"""The interface of all file sources: options, listings in batches, and the opening of files."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from msgspec import structs

from hashscan.model import DIRECT, Access, Batch, CtimeTrust, FileStat, FolderReason, Item, Reason
from hashscan.sources.patterns import Patterns


class KeptFile(Protocol):
    """A file that a quarantine keeps."""

    def matches(self, folder: int, name: bytes, status: FileStat) -> bool:
        """Return True if a file is this one, unchanged."""


KeptFiles = Mapping[bytes, KeptFile]
"""The files that are kept in one folder, by name."""


class KeptFolders(Protocol):
    """The folders in which quarantines keep files."""

    def kept_in(self, folder: int, path: bytes) -> KeptFiles | None:
        """Return the files that are kept in an open folder; None if no log names it."""


@dataclass(frozen=True)
class ListingOptions:
    """The rules for leaving files out when targets are listed, and the size of batches."""

    exclude: Patterns = field(default_factory=Patterns)
    """Patterns for names and paths beneath the target that are left out; a target itself is never left
    out."""
    one_file_system: bool = False
    max_file_size: int | None = None
    """Maximum size in bytes; larger files are skipped."""
    all_versions: bool = False
    protected: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of folders that are never entered: hashscan's own state."""
    kept: KeptFolders | None = None
    """Files that a quarantine keeps in folders of this machine, which are left out."""
    evidence: frozenset[bytes] = frozenset()
    """URLs of objects that a quarantine keeps, which are left out."""
    batch_files: int = 256
    """Maximum number of files in a batch. For small files, one batch of 256 takes a tenth less time than four
    of 64."""
    batch_bytes: int = 32 * 1024 * 1024
    """Maximum number of bytes in a batch; a larger file is a batch by itself."""
    pending_in_memory: int = 16_384
    """Maximum number of folders waiting to be walked that are kept in memory; further ones go to a temporary
    file."""


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file left out on purpose while listing."""

    target: bytes
    folder: bytes
    item: Item
    reason: Reason


@dataclass(frozen=True, slots=True)
class UnreadableName:
    """A name that was listed, but whose file could not be examined; its verdict is unreadable."""

    target: bytes
    folder: bytes
    name: bytes
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class UnlistedFolder:
    """A folder that could not be entered, or whose listing could not be completed."""

    target: bytes
    folder: bytes
    reason: FolderReason
    detail: str


@dataclass(frozen=True, slots=True)
class NonFileCounts:
    """Counts of listed things that are not files."""

    folders: int = 0
    """Folders entered, the target included."""
    links: int = 0
    """Symbolic links, never followed."""
    specials: int = 0
    """Devices, sockets and FIFOs."""
    excluded_folders: int = 0
    """Folders left out: by a pattern, as mount points of pseudo file systems (or of any file system, if one
    file system was asked for), or because they belong to hashscan itself."""


Listing = Batch | SkippedFile | UnreadableName | UnlistedFolder | NonFileCounts


def full_path(target: bytes, folder: bytes, name: bytes = b"") -> bytes:
    """Return the full path of a file, or of a folder if no name is given, to show and to open.

    Args:
        folder: the folder beneath the target; empty for the target itself.
    """
    path = target
    for part in (folder, name):
        if part:
            path += part if path.endswith(b"/") else b"/" + part
    return path


def strip_secrets(url: bytes) -> bytes:
    """Return a URL without user, password, query and fragment, because these may contain secrets."""
    scheme, separator, rest = re.split(rb"[?#]", url, maxsplit=1)[0].partition(b"://")
    if not separator:
        return scheme
    host, slash, path = rest.partition(b"/")
    return scheme + separator + host.rpartition(b"@")[2] + slash + path


Acquire = Callable[[int, int], None]
"""A rate limiter: called with the number of files about to be opened and of bytes about to be read. It
returns when they may be. It may be called from several threads."""


def no_rate_limit(files: int, size: int) -> None:
    """Allow everything at once: an `Acquire` that never waits."""


class FileError(Exception):
    """An error that makes a file unreadable; it becomes the verdict unreadable with this reason."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
        self.detail = detail


class StoredChecksum(NamedTuple):
    """A checksum of an object's bytes that its store keeps."""

    algorithm: str
    """Name of an exact hash, or of a CRC."""
    stored: bytes
    received: bytes | None = None
    """The CRC of the bytes that were received, if one was computed: the one that `algorithm` names, or for an
    ETag the one that the store has of the object, too."""
    from_etag: bool = False
    """True if it is an MD5 only if this store makes ETags of MD5s."""


class OpenFile(ABC):
    """A file held open by descriptor, so that nobody can replace it with another file."""

    @property
    @abstractmethod
    def descriptor(self) -> int:
        """A descriptor open for reading. Use pread only: its offset is shared with the decoder."""

    @property
    def content(self) -> memoryview | None:
        """All bytes of the file if they are in memory already; otherwise None: read the descriptor."""
        return None

    @property
    def stream(self) -> Iterator[bytes | memoryview] | None:
        """All bytes in order, readable once, if there is no space to store them; otherwise None.

        A file with `pieces` has no descriptor. Iterating may raise FileError.
        """
        return None

    @property
    def compressed(self) -> str:
        """The encodings that viewers decompress before they show the file; empty if there are none."""
        return ""

    @property
    def media_type(self) -> str:
        """The MIME type that the store of an object states; empty if there is none. Call it after reading."""
        return ""

    stat: FileStat
    """The result of fstat just after opening. For an object that is read in pieces, the size is known only at
    the end."""

    @property
    def checksum(self) -> StoredChecksum | None:
        """The checksum that the store of an object keeps; None if there is none. Call it after reading."""
        return None

    hole_bytes: int = 0
    """Bytes that use no space on the disk, as the file system reports it."""

    fetched: ClassVar[bool] = False
    """True if the bytes were already fetched from another machine and counted by the rate limiter; reading
    them costs nothing more."""

    def ctime_trust(self, on_trust: Collection[str]) -> CtimeTrust:
        """Determine how far the file's ctime can be trusted. Call it before anything is read.

        Args:
            on_trust: names of filesystem types that the operator has declared to be trusted.
        """
        return CtimeTrust.PROVEN

    def holes_exceed(self, limit: int) -> bool:
        """Return True if the file has more than `limit` bytes of holes."""
        return False

    @abstractmethod
    def check_unchanged(self) -> None:
        """Compare the file with `stat` after reading.

        Raises:
            FileError: the file has changed, or can't be examined any more.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the descriptor."""


class OpenFolder(ABC):
    """A folder of a batch, reopened by a worker."""

    @abstractmethod
    def prefetch(self, items: Sequence[Item]) -> None:
        """Announce the items that will be opened, each once and in this order, to allow prefetching."""

    @abstractmethod
    def open(self, item: Item) -> OpenFile:
        """Open one file of the batch.

        Raises:
            FileError: it can't be opened, or is not the file that was listed.
        """

    def stated_checksum(self, item: Item) -> StoredChecksum | None:
        """Ask the store for the checksum of an object whose ETag differs; see `ObjectStore`."""
        return None


class Opener(ABC):
    """An object with which a worker opens the files of batches; it keeps connections between batches."""

    @abstractmethod
    def reopen(self, batch: Batch) -> AbstractContextManager[OpenFolder]:
        """Reopen a batch's folder in another process than the one that listed it.

        Raises:
            FileError: the folder is gone, or another folder is in its place; this applies to every item.
        """

    @abstractmethod
    def close(self) -> None:
        """Release all resources that were kept."""


class Source(ABC):
    """A kind of storage."""

    name: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ()
    """Third-party modules that opening needs and that take long to import."""

    @abstractmethod
    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Find the targets.

        Args:
            targets: the targets to scan; empty if all files are given to `listings_by_name`.

        Raises:
            TargetError: a target can't be scanned at all.
        """

    @property
    @abstractmethod
    def targets(self) -> tuple[bytes, ...]:
        """The targets, in the form that listings use."""

    @property
    @abstractmethod
    def paths(self) -> tuple[bytes, ...]:
        """The scanned paths or URLs, in a form for people."""

    @abstractmethod
    def listings(self) -> Iterator[Listing]:
        """List the targets: batches of files to read, and everything that is not read."""

    def resume_with(self, folders: Mapping[bytes, Sequence[bytes]]) -> None:  # noqa: B027
        """Set where to begin; call it before `listings`. Sources that list quickly may ignore it.

        Args:
            folders: by target, the result of `unlisted_folders` when the last listing was abandoned.
        """

    def unlisted_folders(self) -> Mapping[bytes, Sequence[bytes]]:
        """Return by target the folders to begin with next time, if the listing is abandoned now.

        Call it once, while the iterator of `listings` still exists.
        """
        return {}

    def listings_by_name(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """List files by name, instead of searching for files.

        Each name gives one file of a batch, SkippedFile or UnreadableName; a name that is given twice gives
        two. If there are targets, a name that is not beneath one of them is lost with the reason OUTSIDE.
        Sources that can't look up names report all of them as lost. The result for a name must not contain a
        secret that the name may contain, such as a signature.

        Args:
            names: paths or URLs as somebody wrote them. An empty name means that none has arrived for a
                while: the files gathered so far are due, and at least one listing must be yielded.
        """
        for name in names:
            if name:
                shown = strip_secrets(name)
                yield UnreadableName(
                    shown, b"", b"", Reason.NO_NAME, f"{self.name} can't look up single names"
                )
            else:
                yield NonFileCounts()

    @classmethod
    @abstractmethod
    def opener(cls, access: Access, spend: Acquire = no_rate_limit) -> Opener:
        """Return the object that opens the files of this source's batches, in any process.

        Args:
            access: how to reach storage on other machines.
            spend: rate limiter, called before each file is opened, and before bytes are fetched from another
                machine. For files on this machine, whoever reads the bytes calls it for them.
        """


class Gathering:
    """A collector for the batch that is being filled."""

    def __init__(self, options: ListingOptions) -> None:
        self._options = options
        self._head: Batch | None = None
        self._items: list[Item] = []
        self._met: set[tuple[bytes, str]] = set()
        self._bytes = 0

    def add(self, head: Batch, item: Item) -> tuple[Batch, ...]:
        """Add a file of a folder, which is given as a batch without items; return the previous batch, if it
        was full or of another folder. A file that is named twice is in two batches."""
        # The size of some objects is unknown before they are read.
        size = max(item.stat.size, 0)
        identity = (item.name, item.version)
        full = (
            head != self._head
            or len(self._items) >= self._options.batch_files
            or self._bytes + size > self._options.batch_bytes
            or identity in self._met
        )
        done = self.flush() if full else ()
        self._head = head
        self._items.append(item)
        self._met.add(identity)
        self._bytes += size
        return done

    def flush(self) -> tuple[Batch, ...]:
        """Return the files collected so far as a batch; none if there are no files."""
        if self._head is None or not self._items:
            return ()
        done = structs.replace(self._head, items=tuple(self._items))
        self._items.clear()
        self._met.clear()
        self._bytes = 0
        return (done,)
