"""Ask one matching service in the background: several requests at a time, limits, and retries.

Threads send the requests; the caller submits digests and collects answers, and never waits for the network
unless it wants to. A busy service is asked again after the time that it names, or after a pause that doubles
up to a minute. A service that has not answered for longer than its settings allow is down: it is still tried
again, but a scan does not wait for it. One that refuses, or whose answers are not valid, is not asked again.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hashscan.lists.filters.format import DigestFilter, FilterError
from hashscan.lists.services.adapter import AskedDigest, MatchingService, ServiceMatch, checked_matches
from hashscan.lists.services.settings import StoredService, key_headers, read_key
from hashscan.locking import ClosedOnExit
from hashscan.matching_service_api import Changes, FilterAddress
from hashscan.service_client import ServiceBusyError, ServiceClient, ServiceRefusedError
from hashscan.shortcomings import Shortcoming, ShortcomingCode

if TYPE_CHECKING:
    from hashscan.lists.filters.fetching import FilterCache
    from hashscan.matching.remote.questions import Question

CONFIRM_SECONDS = 60.0
"""Time for which a filter is used before the service must say its version again."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_INTRODUCTION = object()
"""The key of a job in which the service describes itself."""
_PAUSE_FIRST, _PAUSE_MAX = 0.05, 60.0
_WAIT_MAX = 3600.0
"""Longest wait at a time: a service may name a year that no condition can wait for."""


class _StoppedError(Exception):
    """No further request may be sent."""


class AskedBatch(NamedTuple):
    """Digests that were asked, and the answer."""

    key: object
    """As the caller gave it."""
    matches: tuple[ServiceMatch, ...] | None
    """None if there is no answer."""


class Introduction(NamedTuple):
    """The service's own description, before it is asked about digests."""

    digests_max: int
    """Most digests at once."""
    algorithms: frozenset[str]
    version: str
    """Version of its list; empty where it tells none."""
    changes: Changes | None
    """The answers that may have changed since the version that was known before; None if none was known."""
    filter: DigestFilter | None = None
    """The filter of this version; None if the service names none, or it can't be had."""

    def needed(self, questions: Iterable[Question]) -> list[Question]:
        """Return the questions without those whose answer the filter knows: that no entry matches."""
        if self.filter is None:
            return list(questions)
        passes = self.filter.lets_through
        return [asked for asked in questions if passes(asked.digest.algorithm, asked.digest.value)]


class OwnerTurns:
    """Contents that wait by owner; the next ones are of the owner for whom the fewest digests were asked."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[int]] = {}
        self._asked: Counter[Hashable] = Counter()

    def put(self, owner: Hashable, content: int) -> None:
        """Append a content."""
        self._queues.setdefault(owner, deque()).append(content)

    def put_back(self, owner: Hashable, content: int) -> None:
        """Make a content the first again."""
        self._queues.setdefault(owner, deque()).appendleft(content)

    def charge(self, owner: Hashable, digests: int) -> None:
        """Count what was asked for an owner."""
        self._asked[owner] += digests

    def contents(self) -> Iterator[tuple[Hashable, int]]:
        """Take out contents: all of the owner whose turn it is, then those of the next one."""
        while self._queues:
            owner = min(self._queues, key=self._asked.__getitem__)
            queue = self._queues[owner]
            while queue:
                yield owner, queue.popleft()
            del self._queues[owner]


class Asker(ClosedOnExit):
    """The requests to one service."""

    def __init__(
        self,
        service: StoredService,
        adapter: type[MatchingService],
        since: str = "",
        show: Callable[[str], None] | None = None,
    ) -> None:
        """Read the key, and start the threads; the first has the service describe itself.

        Args:
            since: the version of the service's list that is known; empty if none is.
            show: gets the text of each request, without the key; called by several threads.

        Raises:
            UsageError: the key can't be read.
        """
        settings = service.settings
        self.name = service.name
        self.refusal = ""
        """The reason why the service is not asked any more; empty if it is."""
        self.trouble = ""
        """The last reason why there was no answer; empty after one."""
        self.introduction: Introduction | None = None
        """None until the service has answered for the first time."""
        self.outstanding = 0
        """Batches that were submitted, and not collected yet."""
        self._settings = settings
        self._client = ServiceClient(settings, key_headers(settings, adapter), show)
        self._kind = adapter
        self._adapter = adapter(self._send, settings.categories)
        self._service, self._show = service, show
        self._since = since
        self._filters: FilterCache | None = None
        self._filter_failed = False
        self._confirmed = 0.0
        """The time when the service has said its version."""
        self._confirming = False
        self._changed = threading.Condition()
        self._answered = time.monotonic()
        self._next_request = 0.0
        """The time before which no request is sent."""
        self._failures = 0
        self._closed = False
        self._defect: BaseException | None = None
        """An error of an adapter that ended a thread."""
        self._jobs: queue.SimpleQueue[tuple[object, Sequence[AskedDigest]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[AskedBatch] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=(first,), name=f"service {self.name}", daemon=True)
            for first in [True] + [False] * (settings.in_flight - 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def down(self) -> bool:
        """True if a scan should not wait for an answer."""
        if self.refusal:
            return True
        return bool(self.trouble) and time.monotonic() - self._answered > self._settings.patience

    def shortcomings(self, refused: Sequence[str]) -> list[Shortcoming]:
        """Return why contents may have no answer.

        Args:
            refused: algorithms that the service should take, and does not.
        """
        why = [self.refusal or self.trouble]
        why += [f"does not take {name}: files with such a digest are not clean" for name in refused]
        return [
            Shortcoming(ShortcomingCode.SERVICE, f"matching service {self.name} {reason}", self.name)
            for reason in why
            if reason
        ]

    @property
    def ready(self) -> bool:
        """True if the service can be asked: it has described itself, lately if a filter is used.

        Where it has named a filter, it is asked for its version again after a minute. With a new version
        everything is asked about until its filter is there.
        """
        if self.introduction is None:
            return False
        if self._filters is None or time.monotonic() - self._confirmed <= CONFIRM_SECONDS:
            return True
        if not self._confirming:
            self._confirming = True
            self._jobs.put((_INTRODUCTION, ()))
        return self.introduction.filter is None

    @property
    def capacity(self) -> int:
        """The number of batches that may be outstanding, so that no thread waits for its next one."""
        return 2 * self._settings.in_flight

    def submit(self, key: object, digests: Sequence[AskedDigest]) -> None:
        """Have a thread ask about digests; the answer is among those that `collect` returns."""
        self.outstanding += 1
        self._jobs.put((key, digests))

    def collect(self, timeout: float = 0.0) -> list[AskedBatch]:
        """Return the answers that have arrived; wait up to `timeout` seconds for the first.

        Raises:
            Exception: an adapter has failed, so that a batch would never be answered.
        """
        found: list[AskedBatch] = []
        with suppress(queue.Empty):
            found.append(self._answers.get(timeout=timeout) if timeout else self._answers.get_nowait())
            while True:
                found.append(self._answers.get_nowait())
        if self._defect is not None:
            raise self._defect
        self.outstanding -= sum(batch.key is not None for batch in found)
        return [batch for batch in found if batch.key is not None]

    def close(self) -> None:
        """Stop asking; what is outstanding gets no answer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for _ in self._threads:
            self._jobs.put(None)
        if self._filters is not None:
            self._filters.close()
        self._client.close()

    def _work(self, first: bool) -> None:
        try:
            if first:
                self._introduce_or_refuse()
            while (job := self._jobs.get()) is not None:
                key, digests = job
                if key is _INTRODUCTION:
                    self._introduce_or_refuse()
                    continue
                # Contents without a digest need no request, and say nothing of the service.
                found = self._answered_or_none(partial(self._check, digests)) if digests else ()
                self._answers.put(AskedBatch(key, found))
        except Exception as error:
            self._defect = error
            self._answers.put(AskedBatch(None, None))

    def _introduce_or_refuse(self) -> None:
        found = self._answered_or_none(self._introduce)
        if found is not None:
            self._accept(found)
        self._confirming = False
        self._answers.put(AskedBatch(None, None))

    def _accept(self, found: Introduction) -> None:
        self._confirmed = time.monotonic()
        self.introduction = found

    def _introduce(self) -> Introduction:
        self._adapter = self._kind(self._send, self._settings.categories)
        limit, algorithms = self._adapter.limits()
        if not algorithms.intersection(self._settings.algorithms):
            # Nothing would be asked, and every file would be clean.
            raise ServiceRefusedError("takes none of the digests that it is to be asked about")
        version = self._adapter.version()
        changed = bool(self._since) and version != self._since
        changes = self._adapter.changes(self._since) if changed else None
        found, wanted = Introduction(limit, algorithms, version, changes), self._adapter.filter()
        if wanted is None:
            return found
        if self.introduction is not None:
            before = self.introduction.filter
            if before is not None and before.version == wanted.version:
                return found._replace(filter=before)
            # Nobody has to wait until the new filter is there.
            self._accept(found)
            self._answers.put(AskedBatch(None, None))
        return found._replace(filter=self._filter(wanted))

    def _filter(self, wanted: FilterAddress) -> DigestFilter | None:
        """Return a filter; None if it can't be used, which is said in the log."""
        # Few services have one, and it takes what verifies signatures.
        from hashscan.lists.filters.fetching import FilterCache

        if self._filters is None:
            self._filters = FilterCache(self._service, read_key(self._settings, self._kind), self._show)
        try:
            found = self._filters.get(wanted)
        except FilterError as error:
            if not (self._filter_failed or self._closed):
                _log.warning(
                    "the filter of matching service %s can't be used, so it is asked about all digests: %s",
                    self.name,
                    error,
                )
            self._filter_failed = True
            return None
        self._filter_failed = False
        return found

    def _check(self, digests: Sequence[AskedDigest]) -> tuple[ServiceMatch, ...]:
        """Return the matches of some digests, which may be more than the service takes at once."""
        assert self.introduction is not None
        limit = self.introduction.digests_max
        found: list[ServiceMatch] = []
        for start in range(0, len(digests), limit):
            part = digests[start : start + limit]
            matches = checked_matches(self._adapter.check(part), part)
            found += [match._replace(digest=start + match.digest) for match in matches]
        return tuple(found)

    def _answered_or_none(self, ask: Callable[[], _T]) -> _T | None:
        """Return the answer; None after a refusal or `close`."""
        if self._closed or self.refusal:
            return None
        try:
            return ask()
        except _StoppedError:
            pass
        except ServiceRefusedError as error:
            self._refuse(str(error))
        except ValueError as error:
            self._refuse(f"answers with data that is not valid: {error}")
        return None

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send one request as often as is needed for an answer; an adapter may send several for a check. What
        was answered before is not asked for again when a later request has to wait: otherwise a content with
        a thousand digests would never be done at a service that is busy now and then. Raise _StoppedError if
        none may be sent any more."""
        # Equal in all tries, so that the service counts a request once whose answer was lost.
        with_key = self._kind.sends_idempotency_keys and body is not None
        headers = {"Idempotency-Key": secrets.token_hex(16)} if with_key else {}
        while self._may_ask():
            try:
                answer = self._client(method, path, body, headers)
            except ServiceBusyError as error:
                self._put_off(error)
            else:
                self._note_answer()
                return answer
        raise _StoppedError

    def _may_ask(self) -> bool:
        """Wait until the next request may be sent; return False if none may be any more."""
        with self._changed:
            while not (self._closed or self.refusal):
                now = time.monotonic()
                if now >= self._next_request:
                    if self._settings.rate:
                        self._next_request = now + 1 / self._settings.rate
                    return True
                self._changed.wait(min(self._next_request - now, _WAIT_MAX))
            return False

    def _put_off(self, error: ServiceBusyError) -> None:
        with self._changed:
            self.trouble = str(error)
            pause = min(_PAUSE_FIRST * 2**self._failures, _PAUSE_MAX)
            self._failures = min(self._failures + 1, 11)
            wait = pause if error.wait is None else max(error.wait, _PAUSE_FIRST)
            self._next_request = max(self._next_request, time.monotonic() + wait)

    def _refuse(self, why: str) -> None:
        with self._changed:
            self.refusal = self.refusal or why
            self._changed.notify_all()

    def _note_answer(self) -> None:
        with self._changed:
            self.trouble, self._failures, self._answered = "", 0, time.monotonic()
