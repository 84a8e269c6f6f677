"""Open what lies behind the end of a picture, or in parts of it that pictures of its format do not have."""

from __future__ import annotations

from collections.abc import Iterator

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.embedded.ends import behind, starts_in
from hashscan.hashing.formats import PREFIX_SIZE, sniff
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

_PIECE_SIZE = 1 << 20


class AppendedOpener:
    """Opens pictures, for what decoders of pictures pass over."""

    def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
        """Yield each part, and what begins within it: a phone writes a name or a number before a video. More
        files than are opened are a ContainerError."""
        file.seek(0)
        kind = sniff(file.read(PREFIX_SIZE))
        if kind is None or kind.pillow is None:
            return
        found = behind(file, kind.pillow)
        for start, length in found.rest:
            part = file.subfile(start, length)
            yield _member(part, b"%d" % start)
            try:
                for more in starts_in(part):
                    yield _member(part.subfile(more), b"%d" % (start + more))
            except NotImplementedError as error:
                raise ContainerError(Reason.TOO_MANY) from error
        if found.more:
            raise ContainerError(Reason.TOO_MANY)


def _member(file: PreadFile, name: bytes) -> ArchiveMember:
    def pieces() -> Iterator[bytes]:
        while piece := file.read(_PIECE_SIZE):
            yield piece

    return ArchiveMember(name, True, pieces())
