"""Match today's lists with the cached digests of files, without reading any file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.attribution.customers import NO_CUSTOMERS, Customers
from hashscan.lists.services.settings import StoredService
from hashscan.matching.policy import Subject
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import FileResult, FileStat, Item, Verdict
from hashscan.reports.records import FINDINGS, Record, path_bytes
from hashscan.reports.summary import Summary
from hashscan.shortcomings import Shortcoming
from hashscan.sources.base import full_path
from hashscan.state.findings.coverage import Coverage
from hashscan.state.findings.findings import Findings, Place
from hashscan.state.findings.history import begin_account, conclude_account
from hashscan.state.queries.answers import Answers
from hashscan.state.queries.cached_results import CachedResults
from hashscan.state.queries.retro_match import RetroMatcher
from hashscan.state.store.contents import HIT, LOW, QUIET, STALE, WritableState
from hashscan.state.store.database import closed_on_failure, errors_explained
from hashscan.state.store.listings import Listing, from_bytes, joined
from hashscan.state.store.object_rows import KnownObject, ObjectRows
from hashscan.state_dir import StateDir

_UNKNOWN = 0
"""Placeholder for attributes that a listing doesn't hold."""
_TURN = 1000

Row = tuple[bytes, int, bytes]


class Answer(NamedTuple):
    """A file with something to report."""

    path: bytes
    item: Item
    result: FileResult
    endpoint: str = ""
    """URL of the service that holds an object; empty for the provider's own."""


class KnownFiles(WritableState):
    """The state, opened for writing by a rescan of cached digests."""

    def __init__(
        self,
        state: StateDir,
        setup: WorkerSetup,
        *,
        with_digests: bool,
        notify: Callable[[str], None],
        customers: Customers = NO_CUSTOMERS,
        services: Sequence[StoredService] = (),
        show: Callable[[str], None] | None = None,
    ) -> None:
        """Open the state, and compare kept contents with new entries of the lists.

        Args:
            services: matching services to be asked about contents; requests are shown by `show`.
        """
        self.services: Answers | None = None
        """The matching services; None without any."""
        self._customers = customers
        self.unmatched = 0
        """Files that must be read again before everything that the lists ask can be answered."""
        super().__init__(state, setup, notify)
        with closed_on_failure(self._database), errors_explained(self._folder):
            if services:
                self.services = Answers(self._database, self._contents, services, show, setup.excepted)
            self._deriving = CachedResults(
                self._contents, setup, with_digests=with_digests, known=True, answers=self.services
            )
            coverage = Coverage.of_setup(setup, services)
            self._findings = Findings(self._database, coverage, self._contents.sha256)
            gains = RetroMatcher(self._database, self._contents, setup, notify)
            gains.take()
            self._contents.commit()
            gains.commit()
            cursor = self._database.execute("INSERT INTO scans (started) VALUES (?)", (int(time.time()),))
            assert cursor.lastrowid is not None
            self._scan = cursor.lastrowid
            self._database.execute("COMMIT")
            self._database.execute("BEGIN IMMEDIATE")

    def ask_services(self, timeout: float) -> bool:
        """Ask matching services about contents without an answer; return True while it is worth waiting."""
        if self.services is None:
            return False
        with errors_explained(self._folder):
            if self.services.pump(flush=True, timeout=timeout):
                self._database.execute("COMMIT")
                self._database.execute("BEGIN IMMEDIATE")
            return self.services.worth_waiting

    def close(self) -> None:
        """Close the state; what was not committed is lost."""
        if self.services is not None:
            self.services.close()
        super().close()

    def results(self, targets: Sequence[bytes], summary: Summary) -> Iterator[Answer | None]:
        """Derive the verdicts of all files and objects.

        Args:
            targets: paths of folders and files to be limited to; none for all.

        Returns:
            The files that are not clean; None after each folder and some objects, so that the caller gets
            control regularly.
        """
        with errors_explained(self._folder):
            rows = self._database.execute(
                "SELECT path, id, listing FROM folders ORDER BY path, filesystem, id"
            )
            for path, group in groupby(rows, key=itemgetter(0)):
                names = _wanted(path, targets)
                if names is None or names:
                    yield from self._of_folder(path, list(group), names, summary)
                yield None
            for number, known in enumerate(ObjectRows(self._database, None).all()):
                if number % _TURN == 0:
                    yield None
                path = full_path(known.container, b"", known.item.name)
                if _is_beneath(path, targets):
                    yield from self._of_object(path, known, summary)

    def _of_object(self, path: bytes, known: KnownObject, summary: Summary) -> Iterator[Answer]:
        attention = int(self._deriving.flags_of(np.array([known.content]))[0])
        if attention & ~QUIET:
            yield from self._of_file(path, known.item, known.content, attention, summary, known.endpoint)
        else:
            summary.add_quiet(1, low_quality=bool(attention & LOW))

    def _of_folder(
        self, path: bytes, rows: list[Row], wanted: frozenset[bytes] | None, summary: Summary
    ) -> Iterator[Answer]:
        listings = []
        for _, number, stored in rows:
            listings.append(from_bytes(stored))
            pieces = self._database.execute(
                "SELECT listing FROM pieces WHERE folder=? ORDER BY id", (number,)
            )
            listings.extend(from_bytes(piece) for (piece,) in pieces)
        listing = joined([some for some in listings if len(some)])
        if not len(listing):
            return
        if len(listings) > 1 or wanted is not None:
            # Of several entries with one name, the last is the latest.
            last = {name: place for place, name in enumerate(listing.names.split(b"/"))}
            places = [place for name, place in last.items() if wanted is None or name in wanted]
            listing = listing.select(sorted(places))
        attention = self._deriving.flags_of(listing.contents)
        loud = np.flatnonzero(attention & ~np.uint8(QUIET))
        quiet = attention[(attention & ~np.uint8(QUIET)) == 0]
        summary.add_quiet(len(quiet), low_quality=int(np.count_nonzero(quiet & LOW)))
        if loud.size:
            yield from self._of_loud(path, listing, loud, attention, summary)

    def _of_loud(
        self,
        path: bytes,
        listing: Listing,
        loud: NDArray[np.int64],
        attention: NDArray[np.uint8],
        summary: Summary,
    ) -> Iterator[Answer]:
        names = listing.names.split(b"/")
        for place in loud.tolist():
            inode, size, mtime, ctime = listing.identities[:, place].tolist()
            stat = FileStat(_UNKNOWN, inode, size, mtime, ctime, _UNKNOWN, _UNKNOWN)
            full, content = full_path(path, b"", names[place]), int(listing.contents[place])
            item = Item(names[place], stat)
            yield from self._of_file(full, item, content, int(attention[place]), summary)

    def _of_file(
        self, path: bytes, item: Item, content: int, attention: int, summary: Summary, endpoint: str = ""
    ) -> Iterator[Answer]:
        if attention & STALE:
            self.unmatched += 1
            if not self._contents.attention[content] & HIT:
                return
        # The listing does not say who owns a file.
        result = self._deriving.result(content, item, Subject(path))
        if result is None:
            return
        result = self._deriving.without_missing(result)
        place = Place(path, item.version, endpoint)
        result = self._findings.with_stored_verdict(place, result)
        summary.recalled += 1
        summary.add(result)
        if result.verdict is Verdict.CLEAN:
            return
        if result.verdict in FINDINGS:
            self._findings.store(
                place,
                result,
                self._scan,
                etag=item.etag,
                looked=False,
                customer=self._customers.of(path, None),
            )
        yield Answer(path, item, result, endpoint)

    def standing(self, targets: Sequence[bytes]) -> Iterator[Record]:
        """Yield earlier findings whose files have no answer; to be called after all answers were given."""
        with errors_explained(self._folder):
            for found in self._findings.open_findings(self._scan):
                if _is_beneath(found.path, targets):
                    yield from self._deriving.open_finding_record(
                        found, answered=self._findings.is_covered(found)
                    )

    def finish(self) -> None:
        """Commit the results."""
        with errors_explained(self._folder):
            now = int(time.time())
            self._database.execute("UPDATE scans SET ended=? WHERE id=?", (now, self._scan))
            self._contents.commit()
            self._database.execute("COMMIT")

    def hold(self, held: Iterable[Record]) -> None:
        """Store the verdict held for findings that were held after all, given by their records."""
        with errors_explained(self._folder):
            self._database.execute("BEGIN IMMEDIATE")
            places = ((Place(path_bytes(r), r.get("version", ""), r.get("endpoint", "")), r) for r in held)
            self._findings.hold(places)
            self._database.execute("COMMIT")

    def begin(self, begun: Record) -> None:
        """Store the start of this rescan, from the first record of its report."""
        with errors_explained(self._folder):
            begin_account(self._database, self._scan, begun)

    def conclude(self, summary: Record, exit_code: int, incomplete: Sequence[Shortcoming]) -> None:
        """Store the end of this rescan, after `finish`."""
        with errors_explained(self._folder):
            self._database.execute("BEGIN IMMEDIATE")
            conclude_account(self._database, self._scan, summary, exit_code, incomplete)
            self._database.execute("COMMIT")


def _is_beneath(path: bytes, targets: Sequence[bytes]) -> bool:
    return not targets or any(path == target or path.startswith(_beginning_of(target)) for target in targets)


def _beginning_of(target: bytes) -> bytes:
    """Return the beginning of all paths beneath a target; a prefix of keys may end anywhere."""
    _, _, rest = target.partition(b"://")
    return target if b"/" in rest else target.rstrip(b"/") + b"/"


def _wanted(folder: bytes, targets: Sequence[bytes]) -> frozenset[bytes] | None:
    """Return the names of a folder's files that are asked about; None for all."""
    if _is_beneath(folder, targets):
        return None
    return frozenset(os.path.basename(target) for target in targets if os.path.dirname(target) == folder)
