"""Define what opens a container that is no archive, such as a document, and what it yields.

An opener yields the members of a container one by one; `archives.members` digests, decodes and opens them.
Pictures that are no files, such as a page of a document, are yielded as drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from hashscan.hashing.archives.library import PIECE_SIZE, ArchiveMember, MemberError
from hashscan.hashing.container_kinds import VIDEOS
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS, TEXT
from hashscan.hashing.member_records import ContainerError, SampledFrames
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import fault_of
from hashscan.model import Reason

Part = TypeVar("Part")

READ_MAX = 64 << 20
"""Maximum length in bytes of what an opener holds in memory: one mail, one text, one stream of a document."""

_USUAL = b"!"
_SEPARATORS: Mapping[str, bytes] = {"PDF": b"#", TEXT.name: b"#", **dict.fromkeys(VIDEOS, b"@")}


def separator(kind: FileFormat) -> bytes:
    """Return the separator between the name of such a container and that of its member, in a place."""
    return _SEPARATORS.get(kind.name, _USUAL)


class DrawnPicture(NamedTuple):
    """A picture of a document that is no file of its own."""

    name: bytes
    """Its place in the document."""
    content: bytes
    """Its pixels, as a PNM file."""


class HashedPicture(NamedTuple):
    """A picture that is no file of its own, and was hashed: a frame of a video."""

    name: bytes
    reply: bytes
    """Its digests, as a picture of the format `DRAWN`, packed by `records.pack_picture`."""


class Stopped(NamedTuple):
    """The place up to which a container was looked at, and the reason why not further."""

    name: bytes
    reason: Reason
    fault: str = ""
    """The name of the exception's type, for `Reason.PART_FAILED`."""


DRAWN = next(known for known in FORMATS if known.name == "PNM")
"""The format of pictures that are no files of their own."""

Found: TypeAlias = "ArchiveMember | DrawnPicture | HashedPicture | SampledFrames | Stopped"


class Opener(Protocol):
    """An object that opens containers of one format."""

    def members(self, file: PreadFile) -> Iterator[Found]:
        """Yield the members of a container, of which there may be none.

        Each part that may fail while others can be read goes through `guarded`.

        Raises:
            ContainerError: the rest can't be read.
        """


def stored(name: bytes, content: bytes) -> ArchiveMember:
    """Return a member with these bytes."""
    pieces = (content[at : at + PIECE_SIZE] for at in range(0, len(content), PIECE_SIZE))
    return ArchiveMember(name, True, pieces)


def failed(name: bytes, reason: Reason, fault: str = "") -> ArchiveMember:
    """Return a member that can't be read, or not as all programs read it."""
    return ArchiveMember(name, True, _failing(reason, fault))


def _failing(reason: Reason, fault: str) -> Iterator[bytes]:
    # A generator, so that the error comes where the bytes are read.
    yield from ()
    raise MemberError(reason, fault)


def guarded(name: bytes, parts: Iterable[Part]) -> Iterator[Part | ArchiveMember]:
    """Yield what is in a part of a container; an unexpected exception costs this part, and no other one.

    Args:
        name: the part's, which the member has that says what happened.

    Raises:
        ContainerError: the rest of the container can't be read.
    """
    try:
        yield from parts
    except (ContainerError, MemoryError):
        raise
    except Exception as error:
        yield failed(name, Reason.PART_FAILED, fault_of(error))
