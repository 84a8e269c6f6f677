"""Open a matched file without following symlinks, hash it, and keep the descriptor open until it is moved."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any

from hashscan.errors import HashscanError
from hashscan.hashing.exact import MD5, SHA1, SHA256, ExactReader
from hashscan.model import Reason
from hashscan.quarantine.file_facts import FileFacts, facts_of, immutable_reason
from hashscan.quarantine.file_search import FileLocation
from hashscan.sources.base import FileError
from hashscan.sources.filesystem.regular_files import file_trouble, open_regular
from hashscan.sources.filesystem.safe_open import PASS_FLAGS, open_absolute

_BLOCK = 1 << 18
_STATUS = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


class Outcome(StrEnum):
    """The outcome of an attempt to move or restore a file."""

    DONE = "done"
    RACED = "raced"
    """Another file was put in its place during the operation."""
    CHANGED = "changed"
    """Its content or status differs from what the scan found."""
    GONE = "gone"
    HELD = "held"
    """A person restored its content, and no other entry accuses it."""
    REFUSED = "refused"
    """The system does not allow it, or it would replace another file."""


class SkipCause(StrEnum):
    """A known cause for which a file was not moved; a later attempt uses it."""

    LEASED = "leased"
    """A process holds a lease on it; the kernel breaks the lease within `lease-break-time`."""
    CROSSED = "crossed"
    """It can't be renamed into the quarantine, though both are on one mount."""


class QuarantineSkipped(Exception):
    """An error that says that a file was not moved or restored."""

    def __init__(self, outcome: Outcome, detail: str, why: SkipCause | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.why = why
        self.lost_answer = False
        """True if an earlier try of the same call may have succeeded, without an answer."""


class OutcomeUnknown(QuarantineSkipped):
    """An error for a lost server answer: the location of an object is unknown until `repair` checks it."""

    def __init__(self, why: QuarantineSkipped) -> None:
        super().__init__(
            Outcome.REFUSED,
            f"its outcome is not known yet; run `hashscan quarantine verify --repair` later: {why}",
        )


_OUTCOMES = {
    Reason.VANISHED: Outcome.GONE,
    Reason.REPLACED: Outcome.RACED,
    Reason.CHANGED: Outcome.RACED,
}


def to_skipped(error: Exception) -> QuarantineSkipped:
    """Convert an error of a file, a store or the system to `QuarantineSkipped`."""
    if isinstance(error, QuarantineSkipped):
        return error
    if isinstance(error, FileError):
        outcome = _OUTCOMES.get(error.reason, Outcome.REFUSED)
        return QuarantineSkipped(outcome, f"{error.reason.value}{error.detail and ': ' + error.detail}")
    if isinstance(error, HashscanError):
        return QuarantineSkipped(Outcome.REFUSED, f"{error}. {error.remedy}")
    if isinstance(error, OSError) and error.errno in {errno.EIO, errno.EROFS}:
        return QuarantineSkipped(Outcome.REFUSED, f"the disk fails: {error.strerror}")
    return QuarantineSkipped(Outcome.REFUSED, getattr(error, "strerror", None) or str(error))


@dataclass(frozen=True, slots=True)
class Identity:
    """The status of a file as a scan saw it, without its device, which can change when a machine restarts."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """The identity of an object as a scan saw it; if all fields are empty, it means the current object."""

    etag: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class QuarantineRequest:
    """A request to move one file or object."""

    path: bytes
    """Absolute path, in which no symlink is followed; or a URL."""
    accusation: Mapping[str, Any]
    """Matches and lists that justify the move, for the record; JSON values by key."""
    sha256: str | None = None
    """sha256 of the content that was found, in hex."""
    identity: Identity | ObjectIdentity | None = None
    """Used if the sha256 is not known; without both, the request means the current content."""
    acting: tuple[Mapping[str, Any], ...] = ()
    """The matches that justify the move by themselves; none for a move by hand."""

    @property
    def is_object(self) -> bool:
        """True if the path is the URL of an object, not a file of this machine."""
        return is_url(self.path)

    @property
    def version(self) -> str:
        """Version of an object if it is known, else empty."""
        return self.identity.version if isinstance(self.identity, ObjectIdentity) else ""


@dataclass(frozen=True, slots=True)
class CapturedFile:
    """A file that was hashed and is still open."""

    request: QuarantineRequest
    item: str
    parent_path: bytes
    name: bytes
    parent: int
    """Descriptor of its folder, which may be opened with `O_PATH` only."""
    file: int
    status: os.stat_result
    facts: FileFacts
    digests: Mapping[str, str]

    @property
    def entry(self) -> bytes:
        """Its name in quarantine."""
        return self.item.encode()

    @property
    def inode(self) -> tuple[int, int]:
        """Its device and inode."""
        return self.status.st_dev, self.status.st_ino


def split(path: bytes) -> tuple[bytes, bytes]:
    """Split a plain absolute path into its folder and its name."""
    names = path.split(b"/")
    if names[0] or len(names) < 2 or {b"", b".", b".."} & set(names[1:]) or b"\0" in path:
        raise QuarantineSkipped(Outcome.REFUSED, "its path is not a plain absolute one")
    return path[: -len(names[-1]) - 1] or b"/", names[-1]


def is_url(path: bytes) -> bool:
    """Return True if a path is a URL; paths of this machine are absolute."""
    return not path.startswith(b"/") and b"://" in path


@contextmanager
def capture(
    request: QuarantineRequest,
    twin: Callable[[os.stat_result, str], FileFacts | None],
    at: FileLocation | None = None,
) -> Iterator[CapturedFile]:
    """Open a file beneath the root without following a symlink, and hash it; `at` is its current location, if
    it is not where it was found. `twin` gets the file's status and sha256, and returns the facts that were
    recorded before another hard link of the file was taken, if one was."""
    parent_path, name = split(request.path) if at is None else (at.parent_path, at.name)
    with ExitStack() as stack:
        try:
            parent = open_absolute(parent_path, PASS_FLAGS) if at is None else os.dup(at.parent)
            stack.callback(os.close, parent)
            seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
            file, _ = open_regular(parent, name, seen.st_dev, seen.st_ino, patient=True)
            stack.callback(os.close, file)
            # Reading evidence must not change its access time. Only the owner and root may set this flag.
            with suppress(PermissionError):
                fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_NOATIME)
            status = os.fstat(file)
            if fixed := immutable_reason(file, request.path, parent, parent_path):
                raise QuarantineSkipped(Outcome.REFUSED, fixed)
            if isinstance(request.identity, Identity) and request.identity.size != status.st_size:
                # An owner who makes the file endless in the meantime must not keep us reading.
                raise QuarantineSkipped(Outcome.CHANGED, "it was changed since it was found")
            facts = facts_of(file, status)
            digests = digests_of(file, status.st_size)
            # If the content is known, a chmod or touch in the meantime is no reason to stop.
            if request.sha256 is None and not same_status(status, os.fstat(file)):
                raise QuarantineSkipped(Outcome.CHANGED, "it changed while it was read")
        except (FileError, OSError) as error:
            skipped = to_skipped(file_trouble(error) if isinstance(error, OSError) else error)
            cause = error.__cause__ if isinstance(error, FileError) else error
            if isinstance(cause, OSError) and cause.errno == errno.EAGAIN:
                detail = "a process holds a lease on it, and takes another when that is broken"
                skipped = QuarantineSkipped(skipped.outcome, detail, SkipCause.LEASED)
            raise skipped from error
        if (known := twin(status, digests["sha256"])) is not None:
            facts = {**known, "links": status.st_nlink}
        _check(request, facts, digests["sha256"])
        item = f"{digests['sha256'][:16]}-{secrets.token_hex(4)}"
        yield CapturedFile(request, item, parent_path, name, parent, file, status, facts, digests)


def digests_of(file: int, size: int) -> Mapping[str, str]:
    """Return md5, sha1 and sha256 of a file of `size` bytes, in hex; a file that grows is an error: it could
    grow without end."""
    reader = _reader()
    reader.begin_pieces(_pieces(file, size))
    return {name: value.hex() for name, value in reader.finish()[0].items()}


@cache
def _reader() -> ExactReader:
    """Return one reader for all files: making its buffer takes longer than reading most of the files."""
    return ExactReader((MD5(), SHA1(), SHA256()))


def _pieces(file: int, size: int) -> Iterator[bytes]:
    offset = 0
    while block := os.pread(file, _BLOCK, offset):
        if offset > size:
            raise QuarantineSkipped(Outcome.CHANGED, "it grew while it was read")
        yield block
        offset += len(block)


def same_status(one: os.stat_result, other: os.stat_result) -> bool:
    """Return True if two stat results show the same device, inode, size, mtime and ctime."""
    return bool(_STATUS(one) == _STATUS(other))


def _check(request: QuarantineRequest, facts: FileFacts, sha256: str) -> None:
    if request.sha256 is not None:
        if request.sha256 != sha256:
            raise QuarantineSkipped(Outcome.CHANGED, "its content is not what was found")
    elif request.identity is not None:
        seen = Identity(facts["inode"], facts["size"], facts["mtime_ns"], facts["ctime_ns"])
        if seen != request.identity:
            raise QuarantineSkipped(Outcome.CHANGED, "it was changed since it was found")
