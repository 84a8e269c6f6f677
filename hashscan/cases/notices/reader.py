"""Read notices from a file: the base class of its formats, and their detection."""

from __future__ import annotations

import os
import re
import stat
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

from hashscan.cases.notices.notice import Notice
from hashscan.errors import OutputError, UsageError
from hashscan.lists.formats.text import BOM
from hashscan.plugins import Row
from hashscan.registry import Registry


class NoticeError(UsageError):
    """An error for a malformed file of notices."""

    advice = "Correct the file and import it again; a notice that is known already makes no second case."


class SkipReason(StrEnum):
    """The reason why a record of a file of notices makes no case."""

    OTHER_ABUSE = "of another kind of abuse"
    NOT_XARF = "JSON that is no XARF"
    OWN_SITE = "an address of the sender's own site"
    NO_ADDRESS = "a removal order without a web address"
    UNKNOWN_COLUMN = "a column that means nothing here"


class Skipped(NamedTuple):
    """A kind of records that make no case."""

    reason: SkipReason
    what: str = ""
    """The kind of abuse or the column, as printable text."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.what}" if self.what else str(self.reason)


DigestPicture = Callable[[bytes], tuple[tuple[str, str], ...]]


class NoticeFormat(ABC):
    """A format of notices; their senders may be malicious."""

    name: ClassVar[str]

    def __init__(self, digest: DigestPicture | None = None) -> None:
        """Prepare to read one file.

        Args:
            digest: returns the digests of a picture's bytes, none for other bytes; None to digest none.
        """
        self.digest = digest
        self.passed_over: Counter[Skipped] = Counter()
        """Number of skipped records by kind; complete when `notices` has ended."""

    @abstractmethod
    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        """Parse a file, in bounded memory.

        Args:
            stream: the file, open for reading bytes; it need not be seekable.

        Raises:
            NoticeError: the file is malformed; says where, what is wrong, how to correct it. The notices that
                were yielded before are valid.
            OSError: the file can't be read.
        """


NOTICE_FORMATS: Registry[NoticeFormat] = Registry(
    "notice format",
    NoticeFormat,  # type: ignore[type-abstract]
    Row("csv", "hashscan.cases.notices.csv:CsvNotices", "a table whose header names url or path"),
    Row("xarf", "hashscan.cases.notices.xarf:XarfNotices", "XARF 4 or 3 as JSON, one or many"),
    Row(
        "mail",
        "hashscan.cases.notices.mail:MailNotices",
        "an e-mail with XARF, ARF or a removal order, or with web addresses in its text",
    ),
    Row(
        "removal-order",
        "hashscan.cases.notices.removal_order:RemovalOrders",
        "the form of Regulation (EU) 2021/784, annex I, as English text",
    ),
)

_HEAD = 1 << 12
_ORDER = re.compile(rb"^[^\w\n]{0,20}SECTION[ \t]{1,20}A\b", re.MULTILINE | re.IGNORECASE)
_HEADER = re.compile(rb"From |[A-Za-z][A-Za-z0-9-]*:[ \t]", re.ASCII)


class Notices(Iterator[Notice]):
    """An iterator over the notices of one file; it closes the file at its end or at an error."""

    def __init__(self, path: Path, form: str | None = None, digest: DigestPicture | None = None) -> None:
        """Open the file.

        Args:
            path: path of the file; - is standard input.
            form: a name in `NOTICE_FORMATS`; None to detect it from the beginning of the file.
            digest: as in `NoticeFormat`.

        Raises:
            UsageError: the file doesn't exist, or can't be opened.
        """
        self.label = "standard input" if str(path) == "-" else os.fspath(path)
        self._stream = _open(path)
        try:
            self.form = form or _detect_format(self._stream)
        except OSError as error:
            self._stream.close()
            raise self._unreadable(error) from error
        self._format = NOTICE_FORMATS[self.form](digest)
        self._notices = self._format.notices(self._stream, self.label)

    @property
    def passed_over(self) -> dict[Skipped, int]:
        """Number of skipped records by kind; complete at the end."""
        return dict(self._format.passed_over)

    def __next__(self) -> Notice:
        try:
            return next(self._notices)
        except OSError as error:
            self._stream.close()
            raise self._unreadable(error) from error
        except BaseException:
            # At the end, or at an error, after which nothing more is read.
            self._stream.close()
            raise

    def _unreadable(self, error: OSError) -> OutputError:
        return OutputError(f"can't read {self.label}: {error.strerror or error}")


def _open(path: Path) -> BinaryIO:
    if str(path) == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        # O_NONBLOCK: don't wait for a writer of a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise UsageError(
            f"can't open {path}: {reason}", advice="Name files of notices that this user may read."
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is not a regular file", advice="Name a file, or - for standard input.")
    return os.fdopen(descriptor, "rb")


def _detect_format(stream: BinaryIO) -> str:
    """Detect the format from the beginning of the file."""
    head: bytes = stream.peek(_HEAD)[:_HEAD].removeprefix(BOM).lstrip()  # type: ignore[attr-defined]
    if head.startswith((b"{", b"[")):
        return "xarf"
    if _HEADER.match(head):
        return "mail"
    return "removal-order" if b"2021/784" in head and _ORDER.search(head) else "csv"
