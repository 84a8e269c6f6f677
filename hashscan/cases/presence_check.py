"""Check if the file or object of a case is still there, with the same content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import closing, suppress
from enum import StrEnum
from typing import NamedTuple

from hashscan.cases.queries import Case
from hashscan.cases.sightings import Sightings
from hashscan.cases.tracker import NOTICE, Sighting
from hashscan.errors import HashscanError
from hashscan.model import Access, FileStat, Item, Reason
from hashscan.sources.base import FileError, Source
from hashscan.sources.filesystem.quarantined_files import sha256_of
from hashscan.sources.filesystem.safe_open import (
    FILE_FLAGS,
    PASS_FLAGS,
    closing_descriptor,
    open_absolute,
    open_child,
)
from hashscan.sources.filesystem.targets import leads_somewhere
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import ObjectStore, RetryableError
from hashscan.state.store.folder_rows import is_file_gone
from hashscan.state.store.listings import wrapped


class Presence(StrEnum):
    """The result of a check; the values are also those for how a case ends."""

    THERE = "there"
    GONE = "gone"
    CHANGED = "changed"
    """A file is there, with other content."""
    NEVER_SEEN = "never_seen"
    """It is not there, and nobody here has ever seen it."""
    UNKNOWN = "unknown"


class CheckResult(NamedTuple):
    """The result of the check of a case."""

    case: Case
    presence: Presence
    reason: str = ""
    """The reason for an unknown presence."""
    seen: Sighting | None = None
    """The sighting of a file that is gone, if only a scan's listing has it."""
    device: int | None = None
    """Device of the folder of a file that is there; None if it is not known."""


class PresenceChecker:
    """A checker of files, without following symlinks as in scans, and of objects."""

    def __init__(
        self,
        sources: Mapping[str, type[Source]],
        endpoint: str | None = None,
        sightings: Sightings | None = None,
    ) -> None:
        """Create a checker; open no store yet.

        Args:
            sources: source classes by URL scheme.
            endpoint: endpoint of the service that holds the objects; None for the provider's default.
            sightings: what scans have seen; None if it is not known.
        """
        self._sightings = sightings
        self._sources = sources
        self._access = Access(endpoint=endpoint)
        self._stores: dict[bytes, ObjectStore] = {}

    def check(self, case: Case) -> CheckResult:
        """Check the file or object of one case."""
        found = self._check(case)
        if case.verdict != NOTICE or case.path is None:
            return found
        # Nobody has compared the content that a notice names with the file's.
        if found.presence is Presence.CHANGED:
            return CheckResult(case, Presence.UNKNOWN, "it has another content than the notice names")
        if found.presence is not Presence.GONE:
            return found
        if case.path.startswith(b"/") and leads_somewhere(case.path):
            return CheckResult(case, Presence.UNKNOWN, "it is a folder, or a symlink leads to it")
        if case.witness:
            return found
        seen = None
        # Whether a listed file had the content that a notice names is not known.
        if self._sightings is not None and case.sha256 is None:
            seen = self._sightings.listed(case.path)
        return found._replace(presence=Presence.NEVER_SEEN) if seen is None else found._replace(seen=seen)

    def _check(self, case: Case) -> CheckResult:
        if case.path is None:
            return CheckResult(case, Presence.UNKNOWN, "its location is not known")
        if not case.path.startswith(b"/"):
            # The endpoint may come from a report that others wrote: no credentials are sent there unasked.
            if case.host and case.host != self._access.endpoint:
                return CheckResult(case, Presence.UNKNOWN, f"it is at {case.host}: name that with --endpoint")
            return self._check_object(case, case.path)
        if case.host:
            return CheckResult(case, Presence.UNKNOWN, f"it is on {case.host}, whose next report shows it")
        if b"\0" in case.path or not {b"", b".", b".."}.isdisjoint(case.path[1:].split(b"/")):
            return CheckResult(case, Presence.UNKNOWN, Reason.NO_NAME.value)
        try:
            presence, reason = _check_file(case, case.path)
            device = wrapped(device_above(case.path)) if presence is Presence.THERE else None
            return CheckResult(case, presence, reason, device=device)
        except OSError as error:
            return CheckResult(case, Presence.UNKNOWN, error.strerror or str(error))

    def _check_object(self, case: Case, url: bytes) -> CheckResult:
        try:
            store, key = self._store(url)
            for etag in dict.fromkeys((case.etag, "")):
                item = Item(key, FileStat(0, 0, case.size or 0, case.mtime or 0, 0, 1, 0), etag, case.version)
                with suppress(_Replaced):
                    return CheckResult(case, _compare_object(store, item, case.sha256))
            return CheckResult(case, Presence.UNKNOWN, "it changes while it is read")
        except FileError as trouble:
            if trouble.reason is Reason.VANISHED:
                return CheckResult(case, Presence.GONE)
            return CheckResult(case, Presence.UNKNOWN, f"{trouble.reason.value} {trouble.detail}".rstrip())
        except RetryableError as trouble:
            return CheckResult(case, Presence.UNKNOWN, trouble.detail)
        except HashscanError as error:
            return CheckResult(case, Presence.UNKNOWN, f"{error}. {error.remedy}")

    def _store(self, url: bytes) -> tuple[ObjectStore, bytes]:
        scheme = url.partition(b"://")[0].decode("ascii", errors="replace").lower()
        source = self._sources.get(scheme)
        if source is None or not issubclass(source, ObjectSource):
            raise FileError(Reason.NO_NAME, f"there is no store for {scheme}://")
        target = source.parse(url)
        name = source.url(target.container)
        if name not in self._stores:
            self._stores[name] = source.make_store(target.container, self._access)
        return self._stores[name], target.prefix

    def close(self) -> None:
        """Close all stores."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()


class _Replaced(Exception):
    """An error for an object whose etag has changed; its content may be the same."""


def _check_file(case: Case, path: bytes) -> tuple[Presence, str]:
    if is_file_gone(path):
        if case.device is not None and wrapped(device_above(path)) != case.device:
            return Presence.UNKNOWN, "its filesystem is not mounted"
        return Presence.GONE, ""
    with closing_descriptor(open_absolute(os.path.dirname(path), PASS_FLAGS)) as folder:
        opened = open_child(folder, os.path.basename(path), FILE_FLAGS)
    with closing_descriptor(opened) as file:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return Presence.GONE, ""
        identity = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = (case.inode, case.size, case.mtime, case.ctime)
        if tuple(map(wrapped, identity)) == known or case.sha256 is None:
            return Presence.THERE, ""
        if case.size is not None and status.st_size != case.size:
            return Presence.CHANGED, ""
        is_same = sha256_of(file, status.st_size) == case.sha256.hex()
        return (Presence.THERE if is_same else Presence.CHANGED), ""


def device_above(path: bytes) -> int:
    """Return the device of the nearest parent folder that exists."""
    while path != b"/":
        path = os.path.dirname(path)
        with suppress(OSError), closing_descriptor(open_absolute(path, PASS_FLAGS)) as folder:
            return os.fstat(folder).st_dev
    return 0


def _compare_object(store: ObjectStore, item: Item, sha256: bytes | None) -> Presence:
    """Read an object and compare its content; if it still has its etag, its content is not read."""
    try:
        reading = store.read(item, 0)
    except FileError as trouble:
        if trouble.reason is Reason.REPLACED:
            raise _Replaced from trouble
        raise
    with closing(reading):
        if sha256 is None or (item.etag and reading.etag == item.etag):
            return Presence.THERE
        digest = hashlib.sha256()
        for chunk in reading.chunks:
            digest.update(chunk)
        return Presence.THERE if digest.digest() == sha256 else Presence.CHANGED
