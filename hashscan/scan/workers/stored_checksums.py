"""Compare the bytes of objects with the checksums that their stores keep, and read again where they differ.

Digests are computed anyway, and a CRC as the bytes arrive; so nothing is read or hashed twice but an object
that differs. An ETag of 32 digits is an MD5 in most stores, but not in all, nor of all objects of those. So
it counts only where another object of the same target has shown that, and the store says that this one is
not encrypted by keys with which the ETag is something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hashscan.matching.evaluation import FileTask
from hashscan.model import Reason
from hashscan.sources.base import FileError, OpenFolder


class ChecksumComparison:
    """Compare the objects of batches; it remembers which targets have MD5s as ETags."""

    def __init__(self) -> None:
        self._proven: set[bytes] = set()

    def compare(
        self,
        target: bytes,
        folder: OpenFolder,
        files: Sequence[FileTask],
        read_again: Callable[[Sequence[FileTask]], None],
    ) -> None:
        """Set `compared` and `differs` of the objects that were read.

        Args:
            target: URL of the container.
            read_again: reads and decodes files anew.
        """
        differing = []
        for file in files:
            if file.checksum is None or file.unreadable:
                continue
            equal = _is_equal(file)
            file.compared = equal is True
            if equal and file.checksum.from_etag:
                self._proven.add(target)
            if equal is False:
                differing.append(file)
        doubtful = [file for file in differing if self._counts(target, folder, file)]
        if not doubtful:
            return
        read_again(doubtful)
        for file in doubtful:
            if not file.unreadable:
                file.compared = True
                file.differs = _is_equal(file) is False

    def _counts(self, target: bytes, folder: OpenFolder, file: FileTask) -> bool:
        """Return True if a difference shows that the bytes have changed."""
        if file.checksum is None or not file.checksum.from_etag:
            return True
        return target in self._proven and folder.has_md5_as_etag(file.item)


def _is_equal(file: FileTask) -> bool | None:
    """Return whether an object has its checksum; None if that was not computed."""
    checksum = file.checksum
    if checksum is None:
        return None
    found = file.exact.get(checksum.algorithm) if checksum.received is None else checksum.received
    return None if found is None else found == checksum.stored


def fail_if_differing(file: FileTask) -> None:
    """Make an object that differs from its checksum unreadable, unless it matches all the same.

    Some stores let customers state the checksum, and nobody may hide a listed file by a wrong one.
    """
    if file.differs and not file.matches and not file.unreadable:
        assert file.checksum is not None
        file.fail(FileError(Reason.CHECKSUM, f"{file.checksum.algorithm}, read twice"))
