"""Reads notices from a file of whatever form."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hashscan.cases.notices.base import Notice, NoticeError, NoticeFormat
from hashscan.errors import OutputError, UsageError
from hashscan.lists.formats.text import BOM
from hashscan.registry import Registry, Row

NOTICE_FORMATS: Registry[NoticeFormat] = Registry(
    "notice format",
    NoticeFormat,  # type: ignore[type-abstract]
    Row("csv", "hashscan.cases.notices.csv:CsvNotices", "a table whose header names url or path"),
    Row("xarf", "hashscan.cases.notices.xarf:XarfNotices", "XARF 4 or 3 as JSON, one or many"),
    Row("mail", "hashscan.cases.notices.mail:MailNotices", "an e-mail with XARF in it or attached"),
)

_HEAD = 1 << 12
_HEADER = re.compile(rb"From |[A-Za-z][A-Za-z0-9-]*:[ \t]", re.ASCII)


class Notices(Iterator[Notice]):
    """Those of one file, one by one; the file is closed at its end or at a fault."""

    def __init__(self, path: Path, form: str | None) -> None:
        """Open the file.

        Args:
            path: of the file; - is standard input.
            form: a name in `NOTICE_FORMATS`; None to tell it by how the file begins.

        Raises:
            UsageError: there is no such file, or it can't be opened.
        """
        self.label = "standard input" if str(path) == "-" else os.fspath(path)
        self._stream = _open(path)
        try:
            self.form = form or _guessed(self._stream)
        except OSError as error:
            self._stream.close()
            raise self._unreadable(error) from error
        self._format = NOTICE_FORMATS[self.form]()
        self._notices = self._format.notices(self._stream, self.label)

    @property
    def passed_over(self) -> dict[str, int]:
        """How many records were no notices for us, by reason in printable words; complete at the end."""
        return dict(self._format.passed_over)

    def __next__(self) -> Notice:
        """The next one.

        Raises:
            NoticeError: the file is not what it should be.
            OutputError: it can't be read.
        """
        try:
            return next(self._notices)
        except OSError as error:
            self._stream.close()
            raise self._unreadable(error) from error
        except BaseException:
            # At its end, or at a fault, behind which nothing is read any more.
            self._stream.close()
            raise

    def _unreadable(self, error: OSError) -> OutputError:
        return OutputError(f"can't read {self.label}: {error.strerror or error}")


def read_notices(path: Path, form: str | None = None) -> Notices:
    """The notices in a file, read as they are asked for.

    Args:
        path: of the file; - is standard input.
        form: a name in `NOTICE_FORMATS`; None to tell it by how the file begins.

    Raises:
        UsageError: there is no such file, or it can't be opened.
        NoticeError, OutputError: as the notices are asked for, the file is not what it should be or can't be
            read.
    """
    return Notices(path, form)


def _open(path: Path) -> BinaryIO:
    if str(path) == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        # Without waiting for whoever may write into a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "no such name"
        raise UsageError(
            f"can't open {path}: {words}", advice="Name files of notices that this user may read."
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is no regular file", advice="Name a file, or - for standard input.")
    return os.fdopen(descriptor, "rb")


def _guessed(stream: BinaryIO) -> str:
    """The form of what begins like this."""
    head: bytes = stream.peek(_HEAD)[:_HEAD].removeprefix(BOM).lstrip()  # type: ignore[attr-defined]
    if head.startswith((b"{", b"[")):
        return "xarf"
    return "mail" if _HEADER.match(head) else "csv"


__all__ = ["NOTICE_FORMATS", "Notice", "NoticeError", "Notices", "read_notices"]
