"""Compare the bytes of objects with the checksums that their stores keep, and read again where they differ.

Digests are computed anyway, and a CRC as the bytes arrive; so nothing is read or hashed twice but an object
that differs. An ETag of 32 digits is an MD5 in most stores, but not in all, nor of all objects of those. So
where it differs, the store is asked for another checksum. Without one, the ETag counts only where another
object of the same target has shown that it is an MD5, and the store says that this one is not encrypted by
keys with which the ETag is something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hashscan.matching.evaluation import FileTask
from hashscan.model import Reason
from hashscan.sources.base import FileError, OpenFolder, StoredChecksum


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
        """Set `compared` and `differs` of the objects that were read; `read_again` reads and decodes files
        anew."""
        differing: list[FileTask] = []
        for file in files:
            if file.checksum is None or file.unreadable:
                continue
            equal = _is_equal(file)
            file.compared = equal is True
            if equal and file.checksum.from_etag:
                self._proven.add(target)
            if equal is False:
                differing.append(file)
        doubtful = [(file, stated) for file in differing if (stated := self._denied(target, folder, file))]
        if not doubtful:
            return
        read_again([file for file, _ in doubtful])
        for file, checksum in doubtful:
            if not file.unreadable:
                _state(file, checksum)
                file.compared = True
                file.differs = _is_equal(file) is False

    def _denied(self, target: bytes, folder: OpenFolder, file: FileTask) -> StoredChecksum | None:
        """Return the checksum that shows that the bytes of a file have changed; None if none does."""
        checksum = self._counting(target, folder, file)
        if checksum is None:
            return None
        _state(file, checksum)
        file.compared = _is_equal(file) is True
        return checksum if _is_equal(file) is False else None

    def _counting(self, target: bytes, folder: OpenFolder, file: FileTask) -> StoredChecksum | None:
        """Return the checksum with which a difference shows that the bytes have changed; None without one."""
        checksum, proven = file.checksum, target in self._proven
        if checksum is None or not checksum.from_etag:
            return checksum
        if not proven and not file.item.checksum:
            return None
        stated = folder.stated_checksum(file.item)
        return stated if stated is not None and (proven or not stated.from_etag) else None


def _state(file: FileTask, checksum: StoredChecksum) -> None:
    """Compare a file that was read with this checksum."""
    received = None if file.checksum is None else file.checksum.received
    file.checksum = checksum._replace(received=received)


def _is_equal(file: FileTask) -> bool | None:
    """Return whether an object has its checksum; None if that was not computed."""
    checksum = file.checksum
    if checksum is None:
        return None
    found = file.exact.get(checksum.algorithm, None if checksum.from_etag else checksum.received)
    return None if found is None else found == checksum.stored


def fail_if_differing(file: FileTask) -> None:
    """Make an object that differs from its checksum unreadable, unless it matches all the same.

    Some stores let customers state the checksum, and nobody may hide a listed file by a wrong one.
    """
    if file.differs and not file.matches and not file.unreadable:
        assert file.checksum is not None
        file.fail(FileError(Reason.CHECKSUM, f"{file.checksum.algorithm}, read twice"))
