"""Holds an accused file by the descriptor through which its digests are computed."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from hashscan.hashing.exact import MD5, SHA1, SHA256, ExactReader
from hashscan.quarantine.custody_record import Facts, facts_of
from hashscan.quarantine.flags import why_fixed
from hashscan.quarantine.searching import Whereabouts
from hashscan.sources.base import FileTrouble
from hashscan.sources.beneath import PASS_FLAGS, open_absolute
from hashscan.sources.posix import file_trouble
from hashscan.sources.regular import open_regular

_BLOCK = 1 << 18


class Outcome(StrEnum):
    """What became of a file that was to be moved or restored."""

    DONE = "done"
    RACED = "raced"
    """Something else was put in its place as we looked."""
    CHANGED = "changed"
    """It is not what was found."""
    GONE = "gone"
    REFUSED = "refused"
    """The system doesn't allow it, or it would replace something."""


class Why(StrEnum):
    """What is known of why a file stays, for whoever tries again."""

    LEASED = "leased"
    """A process holds a lease on it, which the kernel breaks within `lease-break-time`."""
    CROSSED = "crossed"
    """It can't be renamed into the quarantine, though that is on its mount."""


class NotDone(Exception):
    """A file stays where it is."""

    def __init__(self, outcome: Outcome, detail: str, why: Why | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.why = why


class UnsureError(NotDone):
    """A server's last answer was lost, so where a thing is can't be told yet; `repair` will find out."""

    def __init__(self, why: NotDone) -> None:
        super().__init__(Outcome.REFUSED, f"how it ended can't be told yet, say verify --repair later: {why}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a sweep saw of a file; its device is left out, since that changes when a machine is started."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """What a sweep saw of an object; where all of it is empty, whatever is there now is meant."""

    etag: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One file or object that is to be moved."""

    path: bytes
    """Absolute, and no link in it is followed; or a URL."""
    accusation: Mapping[str, Any]
    """What speaks against it, for the record; JSON values by key."""
    sha256: str | None = None
    """Of the content that was found, in hex."""
    identity: Identity | ObjectIdentity | None = None
    """Where the content's digest is not known; without either, whatever is there is meant."""

    @property
    def of_object(self) -> bool:
        """Whether it is no file of this machine."""
        return is_url(self.path)

    @property
    def version(self) -> str:
        """Of an object, where it is known."""
        return self.identity.version if isinstance(self.identity, ObjectIdentity) else ""


@dataclass(frozen=True, slots=True)
class Held:
    """A file that was hashed and is still open."""

    request: Request
    item: str
    parent_path: bytes
    name: bytes
    parent: int
    """Descriptor that only passes through."""
    file: int
    status: os.stat_result
    facts: Facts
    digests: Mapping[str, str]

    @property
    def entry(self) -> bytes:
        """Its name in quarantine."""
        return self.item.encode()


def split(path: bytes) -> tuple[bytes, bytes]:
    """The folder of a plain absolute path, and the name in it.

    Raises:
        NotDone: it is none.
    """
    names = path.split(b"/")
    if names[0] or len(names) < 2 or {b"", b".", b".."} & set(names[1:]) or b"\0" in path:
        raise NotDone(Outcome.REFUSED, "not a plain absolute path of a file")
    return path[: -len(names[-1]) - 1] or b"/", names[-1]


def is_url(path: bytes) -> bool:
    """Whether a path leads off this machine; those that don't are absolute."""
    return not path.startswith(b"/") and b"://" in path


@contextmanager
def hold(
    request: Request,
    twin: Callable[[os.stat_result, str], Facts | None],
    at: Whereabouts | None = None,
) -> Iterator[Held]:
    """Open a file beneath the root without following a link, and hash it.

    Args:
        request: which, and what is known of it.
        twin: asked, with its status and the sha256 of its content, what it was before another name of it was
            taken.
        at: where it is, if it is not where it was found.

    Raises:
        NotDone: it can't be read, or is not what was found.
    """
    parent_path, name = split(request.path) if at is None else (at.parent_path, at.name)
    parent = file = -1
    try:
        try:
            parent = open_absolute(parent_path, PASS_FLAGS) if at is None else os.dup(at.parent)
            seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
            file, _ = open_regular(parent, name, seen.st_dev, seen.st_ino, patient=True)
            # To look at evidence must not change when it was read last. Only its owner and root may ask so.
            with suppress(PermissionError):
                fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_NOATIME)
            status = os.fstat(file)
            if fixed := why_fixed(file, request.path, parent, parent_path):
                raise NotDone(Outcome.REFUSED, fixed)
            if isinstance(request.identity, Identity) and request.identity.size != status.st_size:
                # Whoever made it endless meanwhile does not keep us reading.
                raise NotDone(Outcome.CHANGED, "it was changed since it was found")
            facts = facts_of(file, status)
            reader = _reader()
            reader.begin_pieces(_pieces(file, status.st_size))
            digests = {name: value.hex() for name, value in reader.finish()[0].items()}
            # Where the content is known, a chmod or touch meanwhile is nothing to stop for.
            if request.sha256 is None and not same(status, os.fstat(file)):
                raise NotDone(Outcome.CHANGED, "it changed while it was read")
        except OSError as error:
            raise file_trouble(error) from error
        if (known := twin(status, digests["sha256"])) is not None:
            facts = {**known, "links": status.st_nlink}
        _check(request, facts, digests["sha256"])
        item = f"{digests['sha256'][:16]}-{secrets.token_hex(4)}"
        yield Held(request, item, parent_path, name, parent, file, status, facts, digests)
    except FileTrouble as trouble:
        gone = Outcome.GONE if trouble.reason.name == "VANISHED" else Outcome.REFUSED
        outcome = Outcome.RACED if trouble.reason.name == "REPLACED" else gone
        cause = trouble.__cause__
        leased = isinstance(cause, OSError) and cause.errno == errno.EAGAIN
        raise NotDone(
            outcome,
            "a process holds a lease on it, and takes another when that is broken"
            if leased
            else f"{trouble.reason.value}{trouble.detail and ': ' + trouble.detail}",
            Why.LEASED if leased else None,
        ) from trouble
    finally:
        for descriptor in (file, parent):
            if descriptor >= 0:
                os.close(descriptor)


@cache
def _reader() -> ExactReader:
    """One for all files: its buffer takes longer to make than most of them to read."""
    return ExactReader((MD5(), SHA1(), SHA256()))


def _pieces(file: int, size: int) -> Iterator[bytes]:
    """A file's content; somebody may make it longer for ever."""
    offset = 0
    while block := os.pread(file, _BLOCK, offset):
        if offset > size:
            raise NotDone(Outcome.CHANGED, "it grew while it was read")
        yield block
        offset += len(block)


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two looks at a file saw the same content."""
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_dev,
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    )


def _check(request: Request, facts: Facts, sha256: str) -> None:
    if request.sha256 is not None:
        if request.sha256 != sha256:
            raise NotDone(Outcome.CHANGED, "its content is not what was found")
    elif request.identity is not None:
        seen = Identity(facts["inode"], facts["size"], facts["mtime_ns"], facts["ctime_ns"])
        if seen != request.identity:
            raise NotDone(Outcome.CHANGED, "it was changed since it was found")
