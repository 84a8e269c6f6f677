"""The source for single objects on web servers, by `http://` and `https://`: one URL is one object.

A server can't list anything, so each URL is requested when it is to be listed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import ClassVar

from hashscan.errors import TargetError, UsageError
from hashscan.model import DIRECT, Access, Batch, Item, Reason
from hashscan.sources.base import (
    Acquire,
    Listing,
    NonFileCounts,
    Opener,
    SkippedFile,
    Source,
    UnreadableName,
    no_rate_limit,
    strip_secrets,
)
from hashscan.sources.gathering import Gathering
from hashscan.sources.objects.download import ObjectOpener
from hashscan.sources.objects.sifting import Sieve
from hashscan.sources.objects.source import item_of, owner_of
from hashscan.sources.objects.store import UNKNOWN_SIZE, StoredObject
from hashscan.sources.objects.web_address import WebAddress, parse
from hashscan.sources.objects.web_client import WebClient
from hashscan.sources.objects.web_store import WebStore
from hashscan.sources.options import ListingOptions


class HttpSource(Source):
    """The source for objects by URL, without encryption."""

    name: ClassVar[str] = "http"
    libraries: ClassVar[tuple[str, ...]] = ("urllib3",)

    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Parse the URLs; if all are of one host, check that it answers.

        Args:
            targets: URLs; each is one object.
            options: rules for leaving files out.
            access: number of parallel requests. There is no endpoint here, and all requests are anonymous.

        Raises:
            UsageError: a URL contains a user or password.
            TargetError: a URL is not valid.
            UnreachableError: the only host doesn't answer.
        """
        self._options = options
        self._access = access
        self._addresses = tuple(dict.fromkeys(parse(target) for target in targets))
        for address in self._addresses:
            if address.scheme != self.name:
                raise TargetError(f"{address.shown.decode(errors='replace')!r} is no {self.name} address")
        if len(self.targets) == 1:
            store = WebStore(self.targets[0], WebClient(1))
            try:
                store.probe(self._addresses[0].path, all_versions=False)
            finally:
                store.close()

    @property
    def targets(self) -> tuple[bytes, ...]:
        """The hosts, each once."""
        return tuple(dict.fromkeys(address.origin for address in self._addresses))

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The URLs; queries, which may be signatures, are replaced by a digest."""
        return tuple(address.shown for address in self._addresses)

    def listings(self) -> Iterator[Listing]:
        """Request the headers of each URL; each batch is of one host."""
        sieve = Sieve(b"", self._options)
        waiting: dict[bytes, list[Item]] = {}
        bytes_waiting: dict[bytes, int] = {}
        for address, stored in self._looked():
            origin = address.origin
            item = item_of(stored, owner_of(origin))._replace(hidden=address.query)
            # Patterns apply to paths; the digest that replaces a query is not part of a path.
            reason = sieve.reason(replace(stored, key=address.path))
            if reason is not None:
                yield SkippedFile(origin, b"", item, reason)
                continue
            items = waiting.setdefault(origin, [])
            size = max(stored.size, 0)
            total = bytes_waiting.get(origin, 0) + size
            if items and (total > self._options.batch_bytes or len(items) >= self._options.batch_files):
                yield Batch(self.name, origin, b"", 0, 0, tuple(items))
                items.clear()
                total = size
            items.append(item)
            bytes_waiting[origin] = total
        for origin, items in waiting.items():
            if items:
                yield Batch(self.name, origin, b"", 0, 0, tuple(items))

    def listings_by_name(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """List objects by URL; nothing is requested before they are read, so their sizes are unknown."""
        gathering = Gathering(self._options)
        sieve = Sieve(b"", self._options)
        asked_for = frozenset(self._addresses)
        for name in names:
            if not name:
                if (due := gathering.flush()) is not None:
                    yield due
                yield NonFileCounts()
                continue
            try:
                address = parse(name)
            except UsageError as error:
                yield UnreadableName(strip_secrets(name), b"", b"", Reason.NO_NAME, str(error))
                continue
            if asked_for and address not in asked_for:
                yield UnreadableName(address.shown, b"", b"", Reason.OUTSIDE, "")
                continue
            origin = address.origin
            stored = StoredObject(address.name, UNKNOWN_SIZE, 0)
            item = item_of(stored, owner_of(origin))._replace(hidden=address.query)
            reason = sieve.reason(replace(stored, key=address.path))
            if reason is not None:
                yield SkippedFile(origin, b"", item, reason)
            elif (full := gathering.add(Batch(self.name, origin, b"", 0, 0, ()), item)) is not None:
                yield full
        if (due := gathering.flush()) is not None:
            yield due

    def _looked(self) -> Iterator[tuple[WebAddress, StoredObject]]:
        """Yield the URLs in order, with the servers' answers; several are requested in parallel."""
        threads = self._access.concurrency
        client = WebClient(threads)
        pending: deque[tuple[WebAddress, Future[StoredObject]]] = deque()
        executor = ThreadPoolExecutor(threads)
        try:
            for address in self._addresses:
                store = WebStore(address.origin, client)
                pending.append((address, executor.submit(store.look, address)))
                if len(pending) > 2 * threads:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            executor.shutdown(cancel_futures=True)
            client.close()

    @classmethod
    def opener(cls, access: Access, spend: Acquire = no_rate_limit) -> Opener:
        """Return an object that downloads objects."""
        return ObjectOpener(partial(WebStore, client=WebClient(access.concurrency)), access, spend)


class HttpsSource(HttpSource):
    """The source for objects by URL, over TLS."""

    name: ClassVar[str] = "https"
