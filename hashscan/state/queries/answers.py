"""Keep the answers of matching services: which contents were asked about and when, and the entries named.

Each content is asked about once, and again when its answer has expired or when the service says that a
change of its list may affect it. The table `asked` has ranges of contents with the hour of their answers; a
later row replaces earlier ones, and a content without a row waits. An earlier match stays in `answers` until
a new answer replaces it, so that a service that is down clears nobody.

Of the digests that a filter of the service's list covers, only those are asked about that it lets through; a
content without such a digest has its answer at once. The filter's version is stored with the list's. With
another version of it, the contents wait again that have a digest which it lets through.

A service may stop to take an algorithm. A content that has such a digest is asked about without it, and still
waits; what the service has named for such a digest before stays. `StoredService.refused` says which
algorithms count: those that the operator has chosen, or that the service has ever taken.

A digest is asked about as it is stored, so nothing that a file's owner does later changes what an answer is
for. Owners take turns: the next contents are of the owner for whom the fewest digests were asked in this
scan, so that a million files of one don't keep the service from the others. Those of an owner, and after them
those of unknown owners, come in the order in which they were stored.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashscan.errors import UsageError
from hashscan.lists.filters.arrays import heads_of, let_through
from hashscan.lists.filters.format import DigestFilter
from hashscan.lists.services.settings import StoredService
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import closest_of_each
from hashscan.matching.policy import sort_key
from hashscan.matching.remote.asker import AskedBatch, Asker, Introduction, OwnerTurns
from hashscan.matching.remote.questions import Question, excepted_of, match_of, questions_about
from hashscan.matching_service_api import Changes
from hashscan.model import ALGORITHMS, Doubt, ExceptedEntry, Match
from hashscan.registry import MATCHING_SERVICES
from hashscan.shortcomings import Shortcoming
from hashscan.state.queries.overview import remember_taken, taken_before
from hashscan.state.store.contents import CONFIRMED, NOWHERE, OPAQUE, Contents, file_task_of
from hashscan.state.store.profile import meaning_of
from hashscan.state.store.stored_contents import COLUMN_DIGESTS

_HOUR = 3600
_ASKING = (1 << 32) - 1
"""Hour of contents that are being asked about."""
_PARTLY = (1 << 32) - 2
"""Hour of contents that were asked about in this scan without a digest that the service does not take."""
_BLOCK = 1 << 16
_CONTENTS_MAX = 10_000
"""Most contents in a batch; many may have no digest that the service takes."""
_DELAY = 1.0
"""Seconds after which a batch is sent although it is not full."""


_StoredMatch = tuple[str, str, Doubt | None, str, str, int | None]
"""Algorithm, variant and doubt of the digest asked about; entry, category and distance."""
_stored_matches = msgspec.json.Decoder(list[_StoredMatch])


class _Batch(NamedTuple):
    """Contents that are asked about together."""

    contents: list[int]
    digests: list[Question]
    partly: set[int]
    """Those that have digests that the service does not take."""
    begun: float


_NO_BATCH = _Batch([], [], set(), 0.0)


class _ServiceAnswers(ClosedOnExit):
    """The answers of one service."""

    def __init__(
        self,
        database: sqlite3.Connection,
        contents: Contents,
        service: StoredService,
        show: Callable[[str], None] | None,
        excepted: Iterable[ExceptedEntry],
    ) -> None:
        self._database = database
        self._contents = contents
        self._service = service
        self._excepted = excepted_of(service, excepted)
        self._settings = service.settings
        self.name = service.name
        asked = ",".join(self._settings.algorithms) + (" variants" if self._settings.variants else "")
        self._key = f"{service.identity} {asked} {meaning_of(contents.wanted)}"
        for table in ("asked", "answers"):
            # Answers to other questions are not answers to today's.
            database.execute(
                f"DELETE FROM {table} WHERE service LIKE ? AND service<>?",  # noqa: S608 - our own names
                (f"{service.identity} %", self._key),
            )
        database.execute(
            "DELETE FROM meta WHERE key LIKE ? AND key<>?",
            (f"service {service.identity} %", f"service {self._key}"),
        )
        self._hours = np.zeros(max(1024, contents.rows), np.uint32)
        """Hour of the answer of each content; 0 for those that wait, `_ASKING` for those under way, and
        `_PARTLY`."""
        self._load()
        rows = database.execute("SELECT content FROM answers WHERE service=?", (self._key,))
        self.positive = {content for (content,) in rows}
        """Contents for which the service has named an entry."""
        self._known = self._known_version()
        if self._settings.adapter not in MATCHING_SERVICES:
            raise UsageError(
                f"the list {self.name} needs the adapter {self._settings.adapter}, which is not installed",
                advice="Install it, or remove the list with `hashscan lists remove`.",
            )
        self.asker = Asker(
            service, MATCHING_SERVICES[self._settings.adapter], self._known.get("version", ""), show
        )
        self.begun = False
        """True if contents wait again that a change of the service's list may affect."""
        self._answered, self._first_asked = 0, 0.0
        """Contents answered in this scan, and when the first batch was sent."""
        self._algorithms: tuple[str, ...] = ()
        self._refused: tuple[str, ...] = ()
        """Algorithms that the service should take, and does not."""
        self._next = 0
        """All contents before this one have answers, or are under way."""
        self._turns = OwnerTurns()
        self._batch = _NO_BATCH
        self._introduction: Introduction | None = None

    def _load(self) -> None:
        ranges = self._database.execute(
            "SELECT first, count, hour FROM asked WHERE service=? ORDER BY id", (self._key,)
        ).fetchall()
        for first, count, hour in ranges:
            self._hours[first : first + count] = hour
        now = int(time.time() // _HOUR)
        oldest = max(0, now - int(self._settings.ask_again // _HOUR))
        # A clock that was ahead does not make answers last longer.
        self._hours[(self._hours < oldest) | (self._hours > now + 1)] = 0
        if len(ranges) > 1000:
            self._rewrite()

    def _rewrite(self) -> None:
        """Store the hours of all contents anew, in as few rows as possible; none may be under way."""
        hours = self._hours[: self._contents.rows]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(hours)) + 1)) if hours.size else np.zeros(0, int)
        self._database.execute("DELETE FROM asked WHERE service=?", (self._key,))
        for first, end in zip(starts.tolist(), [*starts.tolist()[1:], len(hours)], strict=True):
            if hours[first]:
                self._store_range(first, end - first, int(hours[first]))

    def _store_range(self, first: int, count: int, hour: int) -> None:
        self._database.execute(
            "INSERT INTO asked (service, first, count, hour) VALUES (?, ?, ?, ?)",
            (self._key, first, count, hour),
        )

    def _known_version(self) -> dict[str, Any]:
        row = self._database.execute(
            "SELECT value FROM meta WHERE key=?", (f"service {self._key}",)
        ).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def waiting(self, contents: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which contents have no answer yet."""
        self._grow()
        hours = self._hours[contents]
        waits: NDArray[np.bool_] = (hours == 0) | (hours >= _PARTLY)
        return waits

    def waits(self, content: int) -> bool:
        """Return True if a content has no answer yet."""
        return content >= len(self._hours) or int(self._hours[content]) in {0, _ASKING, _PARTLY}

    @property
    def worth_waiting(self) -> bool:
        """True if an answer is to be expected soon."""
        if self.asker.down:
            return False
        return not self.begun or bool(self.asker.outstanding or self._batch.contents) or self._any_waits()

    def _any_waits(self) -> bool:
        self._grow()
        return self._next < self._contents.rows

    def _grow(self) -> None:
        if len(self._hours) < self._contents.rows:
            more = np.zeros(max(len(self._hours), self._contents.rows), np.uint32)
            self._hours = np.concatenate((self._hours, more))

    def pump(self, *, flush: bool, timeout: float) -> list[int]:
        """Store the answers that have arrived, and ask more; return the contents that have answers now.
        `flush` asks although a batch is not full; the timeout is in seconds, for the first answer."""
        answered = [content for batch in self.asker.collect(timeout) for content in self._store(batch)]
        if not self.begun:
            if self.asker.introduction is None:
                return answered
            self._begin(self.asker.introduction)
        while self.asker.outstanding < self.asker.capacity and not self.asker.refusal:
            full = self._fill()
            if not self._batch.contents:
                break
            if not full and not flush and time.monotonic() - self._batch.begun < _DELAY:
                break
            self._first_asked = self._first_asked or time.monotonic()
            self.asker.submit(self._batch, [asked.digest for asked in self._batch.digests])
            self._batch = _NO_BATCH
        return answered

    def _begin(self, found: Introduction) -> None:
        """Have contents wait again that a change of the service's list may affect."""
        self.begun = True
        self._introduction = found
        self._algorithms = tuple(name for name in self._settings.algorithms if name in found.algorithms)
        self._limit = found.digests_max
        taken = taken_before(self._database, self._service)
        self._refused = self._service.refused(found.algorithms, taken)
        if not taken.issuperset(self._algorithms):
            remember_taken(self._database, self._service, taken.union(self._algorithms))
        known = {**self._known, "version": found.version, "algorithms": sorted(self._algorithms)}
        changes = found.changes
        if found.filter is not None and known.get("filter") != found.filter.version:
            known["filter"] = found.filter.version
            if self._known and changes is None:
                changes = Changes(found.version or "-")
        if known == self._known:
            return
        # After the loss of an algorithm, earlier answers still hold.
        if self._known and not set(self._algorithms).issubset(self._known["algorithms"]):
            changes = Changes(found.version or "-", everything=True)
        if changes is not None:
            affected = self._affected(changes, found.filter)
            self._hours[affected] = 0
            self._rewrite()
            self._next = 0
        self._remember(known)

    def _remember(self, known: dict[str, Any]) -> None:
        self._known = known
        self._database.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"service {self._key}", json.dumps(known))
        )

    def _affected(self, changes: Changes, known_by: DigestFilter | None) -> NDArray[np.bool_]:
        """Return which contents a change of the list may affect, shape (rows,) or larger.

        Of the digests that a filter covers, only those that it lets through can be in the list now. The
        service may have named entries before for others.
        """
        rows, columns = self._contents.rows, self._contents.columns
        affected = np.zeros(len(self._hours), bool)
        asked = {*self._algorithms, *self._refused}
        if known_by is not None and (covered := asked & known_by.algorithms):
            self._mark_let_through(affected, known_by, covered)
            affected[list(self.positive)] = True
            asked -= covered
            if changes.everything:
                changes = Changes(changes.version, algorithms=sorted(asked))
        whole = asked.intersection(changes.algorithms)
        prefixes = {name: found for name, found in changes.prefixes.items() if name in asked}
        # Only digests that are equal have equal beginnings, and only some have a column.
        whole |= prefixes.keys() - set(COLUMN_DIGESTS)
        if changes.everything or any(not ALGORITHMS[name].of_picture for name in whole):
            affected[:rows] = True
            return affected
        for start in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - start)
            if whole:
                affected[start : start + count] |= columns["about"].read(start, count)["kind"] >= 0
            for name in prefixes.keys() & set(COLUMN_DIGESTS):
                values = columns[name].read(start, count).view(np.uint8).reshape(count, -1)[:, :2]
                first = np.ascontiguousarray(values).view(">u2").ravel()
                sought = np.array([int(prefix, 16) for prefix in prefixes[name]], np.uint16)
                affected[start : start + count] |= np.isin(first, sought)
        named = set(changes.entries)
        for content in self.positive if named else ():
            if any(match.entry_id in named for match in self.matches(content)):
                affected[content] = True
        return affected

    def _mark_let_through(
        self, affected: NDArray[np.bool_], known_by: DigestFilter, algorithms: Collection[str]
    ) -> None:
        """Mark the contents with a digest of some algorithms that a filter lets through."""
        rows, columns = self._contents.rows, self._contents.columns
        for name in sorted(algorithms):
            if name not in COLUMN_DIGESTS:
                for content in np.flatnonzero((self._contents.attention & OPAQUE) == 0).tolist():
                    value = self._contents.load(content).exact.get(name)
                    affected[content] |= value is not None and known_by.lets_through(name, value)
                continue
            for start in range(0, rows, _BLOCK):
                count = min(_BLOCK, rows - start)
                values = columns[name].read(start, count).view(np.uint8).reshape(count, -1)
                affected[start : start + count] |= let_through(known_by, name, heads_of(values))

    def ask(self, content: int, owner: Hashable) -> None:
        """Ask about a content when it is its owner's turn."""
        if self.waits(content):
            self._turns.put(owner, content)

    def _fill(self) -> bool:
        """Add waiting contents to the batch; return True if it is full."""
        self._grow()
        for owner, content in self._turns.contents():
            if self._hours[content] == 0:
                before = len(self._batch.digests)
                full = self._add(content)
                if full is None:
                    self._turns.put_back(owner, content)
                    return True
                self._turns.charge(owner, len(self._batch.digests) - before + 1)
                if full:
                    return True
        rows = self._contents.rows
        while self._next < rows:
            end = min(rows, self._next + _BLOCK)
            for content in (self._next + np.flatnonzero(self._hours[self._next : end] == 0)).tolist():
                full = self._add(content)
                self._next = content if full is None else content + 1
                if full is not False:
                    return True
            self._next = end
        return False

    def _add(self, content: int) -> bool | None:
        """Add a content to the batch; return True if it is full now, and None if the content is too much."""
        assert self._introduction is not None
        digests = self._introduction.needed(self._digests(content, self._algorithms))
        held = len(self._batch.digests)
        if held and held + len(digests) > self._limit:
            return None
        if not self._batch.contents:
            self._batch = _Batch([], [], set(), time.monotonic())
        if self._refused and any(True for _ in self._digests(content, self._refused)):
            self._batch.partly.add(content)
        self._hours[content] = _ASKING
        self._batch.contents.append(content)
        self._batch.digests.extend(digests)
        return len(self._batch.digests) >= self._limit or len(self._batch.contents) >= _CONTENTS_MAX

    def _digests(self, content: int, algorithms: Sequence[str]) -> Iterator[Question]:
        """Yield the digests of a content that the service is asked about, of some algorithms."""
        if self._contents.attention[content] & OPAQUE:
            # It is lost, or was digested in a way that has no meaning now: its files are read again.
            return
        kept = self._contents.load(content)
        decoded = None
        if any(ALGORITHMS[name].of_picture for name in algorithms):
            decoded = file_task_of(kept, NOWHERE).decoded
        runs = () if decoded is None else decoded.runs
        yield from questions_about(content, kept.exact, runs, algorithms, variants=self._settings.variants)

    def _store(self, answer: AskedBatch) -> list[int]:
        """Store the answer for a batch; return its contents if there is one."""
        batch = answer.key
        assert isinstance(batch, _Batch)
        if answer.matches is None:
            self._hours[batch.contents] = 0
            self._next = min(self._next, *batch.contents)
            return []
        hour = int(time.time() // _HOUR)
        self._hours[batch.contents] = hour
        self._hours[list(batch.partly)] = _PARTLY
        whole = np.array(sorted(set(batch.contents) - batch.partly), np.int64)
        for run in np.split(whole, np.flatnonzero(np.diff(whole) != 1) + 1):
            if run.size:
                self._store_range(int(run[0]), len(run), hour)
        found: dict[int, list[_StoredMatch]] = {}
        for content in batch.partly & self.positive:
            if kept := [fields for fields in self._answer(content) if fields[0] in self._refused]:
                found[content] = kept
        for match in answer.matches:
            asked = batch.digests[match.digest]
            found.setdefault(asked.content, []).append(
                (
                    *(asked.digest.algorithm, asked.variant, asked.doubt),
                    *(match.entry, match.category, match.distance),
                )
            )
        for content in self.positive.intersection(batch.contents) - found.keys():
            self.positive.remove(content)
            self._database.execute("DELETE FROM answers WHERE service=? AND content=?", (self._key, content))
        for content, matches in found.items():
            self._database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (self._key, content, json.dumps(matches))
            )
            self.positive.add(content)
            self._contents.hit(content)
        self._answered += len(batch.contents)
        seconds = max(time.monotonic() - self._first_asked, 0.001)
        if not self.asker.outstanding:
            # Contents in a second, which the status of the list shows.
            self._remember({**self._known, "rate": self._answered / seconds})
        return batch.contents

    def matches(self, content: int) -> list[Match]:
        if content not in self.positive:
            return []
        confirmed = bool(self._contents.attention[content] & CONFIRMED)
        return [
            match_of(self._service, self._excepted, *fields, confirmed=confirmed)
            for fields in self._answer(content)
        ]

    def _answer(self, content: int) -> list[_StoredMatch]:
        """Return the stored answer about a content for which the service has named entries."""
        (text,) = self._database.execute(
            "SELECT answer FROM answers WHERE service=? AND content=?", (self._key, content)
        ).fetchone()
        return _stored_matches.decode(text)

    def shortcomings(self) -> list[Shortcoming]:
        """Return why contents may have no answer."""
        return self.asker.shortcomings(self._refused)

    def close(self) -> None:
        self.asker.close()


class Answers(ClosedOnExit):
    """The answers of all matching services of a scan; used by one thread."""

    def __init__(
        self,
        database: sqlite3.Connection,
        contents: Contents,
        services: Sequence[StoredService],
        show: Callable[[str], None] | None = None,
        excepted: Iterable[ExceptedEntry] = (),
    ) -> None:
        """Begin to ask the services about all contents without an answer.

        Args:
            show: gets the text of each request, without the key; called by several threads.

        Raises:
            UsageError: a service's key can't be read.
        """
        self._services: list[_ServiceAnswers] = []
        try:
            for service in services:
                self._services.append(_ServiceAnswers(database, contents, service, show, excepted))
        except BaseException:
            self.close()
            raise

    def waiting(self, contents: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which contents some service has not answered about yet."""
        found = np.zeros(len(contents), bool)
        for service in self._services:
            found |= service.waiting(contents)
        return found

    def silent(self, content: int) -> list[str]:
        """Return the services that have not answered about a content yet."""
        return [service.name for service in self._services if service.waits(content)]

    @property
    def names(self) -> list[str]:
        """The names of all services."""
        return [service.name for service in self._services]

    def ask(self, content: int, owner: Hashable) -> None:
        """Ask about a content as its owner's turn comes.

        Without this, it is asked about after those of all owners.
        """
        for service in self._services:
            service.ask(content, owner)

    def matches(self, content: int) -> list[Match]:
        """Return the entries that services have named for a content, the closest first."""
        found = [match for service in self._services for match in service.matches(content)]
        return sorted(closest_of_each(found), key=sort_key)

    @property
    def worth_waiting(self) -> bool:
        """True if answers are to be expected soon."""
        return any(service.worth_waiting for service in self._services)

    @property
    def any_begins(self) -> bool:
        """True if some service has yet to say what has changed, and is expected to."""
        return any(service.worth_waiting and not service.begun for service in self._services)

    def pump(self, *, flush: bool = False, timeout: float = 0.0) -> list[int]:
        """Store the answers that have arrived, and ask more; return contents that have an answer now.

        Args:
            flush: True to ask although a batch is not full.
            timeout: seconds to wait for an answer, divided among the services.
        """
        wait = [service for service in self._services if service.worth_waiting]
        found: list[int] = []
        for service in self._services:
            part = timeout / len(wait) if service in wait else 0.0
            found += service.pump(flush=flush, timeout=part)
        return found

    def shortcomings(self) -> list[Shortcoming]:
        """Return which services did not answer, and why."""
        return [each for service in self._services for each in service.shortcomings()]

    def close(self) -> None:
        """Stop asking."""
        for service in self._services:
            service.close()
