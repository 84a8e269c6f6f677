"""Keep notices of the public form in a spool folder until the ledger has taken them.

A notice is one file, which is on the disk before its sender has a receipt. Every command that brings the
ledger up to date takes the files: a file is removed after its notice was committed, and one that is read
twice makes no second case, since its reference is known. The process of the form needs no other part of the
state folder, and may run as another user; what it wrote is not trusted.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from hashscan.atomic_files import PRIVATE_FOLDER, replace_file, sync_folder
from hashscan.attribution.customers import Customers
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.notices.notice import Notice, NoticeKind, SenderRole
from hashscan.cases.sightings import Sightings
from hashscan.errors import OutputError
from hashscan.schema import InvalidDocumentError, decode_file, encode_file
from hashscan.state_dir import StateDir

URLS_MAX = 500
EXPLANATION_MAX = 10_000
"""Longest explanation in characters, with `\\n` between its lines."""
_FILE_MAX = 64 << 20
"""Largest file that is read: `URLS_MAX` addresses with 32 paths each, in base64."""
_NAME = re.compile(r"N(-[A-Z2-7]{4}){4}\.json", re.ASCII)
_FULL = "full"
"""Name of the file whose time is that of the last notice that was refused since the spool was full."""


_LATEST = 253_402_300_799
"""The end of the year 9999, in seconds since 1970: Python knows no later time."""


class SpoolFullError(Exception):
    """The spool takes no more notices until the ledger has taken some."""


class Place(Struct, frozen=True):
    """A file that a web address may show, by the rules for sites."""

    path: bytes
    customer: str


class SpooledNotice(Struct, frozen=True):
    """A notice as the form has received it; all but `reference`, `received` and `places` is its sender's."""

    reference: Annotated[str, Meta(pattern=_NAME.pattern.removesuffix(r"\.json") + r"\Z")]
    received: Annotated[int, Meta(ge=0, le=_LATEST)]
    """Seconds since 1970."""
    urls: list[str]
    places: list[list[Place]]
    """For each URL the files that it may show, the likeliest first."""
    subject: str
    explanation: str
    name: str
    email: str


class Spool:
    """The folder, for the process of the form.

    Raises, in all methods:
        OSError: the folder can't be used.
    """

    def __init__(self, state: StateDir, notices_max: int, bytes_max: int) -> None:
        """Create the folder unless it exists.

        Args:
            notices_max: most notices that wait in it.
            bytes_max: most bytes of them together.
        """
        self._folder = state.form
        self._notices_max = notices_max
        self._bytes_max = bytes_max
        state.make()
        self._folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)

    def add(self, notice: SpooledNotice) -> SpooledNotice:
        """Store a notice durably; return the one that is stored under its reference.

        Raises:
            SpoolFullError: there is no space for it.
        """
        path = self._folder / f"{notice.reference}.json"
        with suppress(FileNotFoundError, InvalidDocumentError):
            return _read(path)
        data = encode_file(notice)
        sizes = list(self._sizes())
        if len(sizes) >= self._notices_max or sum(sizes) + len(data) > self._bytes_max:
            (self._folder / _FULL).touch()
            raise SpoolFullError
        replace_file(path, data)
        return notice

    def _sizes(self) -> Iterator[int]:
        """Yield the sizes of all files, those that a killed writer has left, too."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.name != _FULL:
                        yield entry.stat(follow_symlinks=False).st_size


def last_refused(state: StateDir) -> float | None:
    """Return when the form last refused a notice since its spool was full, in seconds since 1970."""
    try:
        return os.lstat(state.form / _FULL).st_mtime
    except OSError:
        return None


def follow_form(ledger: Ledger, state: StateDir) -> int:
    """Make cases of the notices in the spool, and return the number of new cases.

    Raises:
        OutputError: a file can't be read or is damaged, or the folder can't be changed; the other files are
            taken all the same.
        LedgerError: the ledger can't be written.
    """
    try:
        names = sorted(filter(_NAME.fullmatch, os.listdir(state.form)))
        if not names:
            return 0
        new, trouble = 0, None
        with Sightings(state) as sightings:
            for name in names:
                path = state.form / name
                try:
                    new += _take(ledger, sightings, path)
                    path.unlink()
                except FileNotFoundError:
                    continue  # Another process has taken it.
                except (OSError, InvalidDocumentError) as error:
                    reason = error.strerror if isinstance(error, OSError) else error
                    trouble = OutputError(
                        f"can't take the notice {path}: {reason}", advice="Look at the file; move it away."
                    )
        sync_folder(state.form)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise OutputError(f"can't read {state.form}: {error.strerror}") from error
    if trouble is not None:
        raise trouble
    return new


class _Stated(Customers):
    """The customers that a spooled notice states."""

    def __init__(self, places: list[list[Place]]) -> None:
        super().__init__()
        self._customers = {place.path: place.customer for found in places for place in found}

    def of(self, path: bytes, uid: int | None) -> str:
        return self._customers.get(path, "")


def _take(ledger: Ledger, sightings: Sightings, path: Path) -> int:
    spooled = _read(path)
    if f"{spooled.reference}.json" != path.name or len(spooled.urls) != len(spooled.places):
        raise InvalidDocumentError("it is not what the form has written")
    paths = {
        url: tuple(place.path for place in places)
        for url, places in zip(spooled.urls, spooled.places, strict=True)
    }
    notices = (
        Notice(
            spooled.reference,
            spooled.email,
            url,
            received=datetime.fromtimestamp(spooled.received, UTC),
            kind=NoticeKind.NOTICE,
            # Anybody can write an address into the form.
            role=SenderRole.USER,
            subject=spooled.subject,
            name=spooled.name,
            explanation=spooled.explanation,
        )
        for url in spooled.urls
    )
    counts = import_notices(
        ledger, notices, paths.__getitem__, int(time.time()), _Stated(spooled.places), sightings=sightings
    )
    return counts.new


def _read(path: Path) -> SpooledNotice:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidDocumentError("it is no regular file")
        data = file.read(_FILE_MAX + 1)
    if len(data) > _FILE_MAX:
        raise InvalidDocumentError("it is too large")
    return decode_file(data, SpooledNotice)
