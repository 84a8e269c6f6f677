"""The base of all object sources: from URLs to batches."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from hashscan.errors import TargetError
from hashscan.model import DIRECT, Access, Batch, FileStat, FolderReason, Item, Reason
from hashscan.sources.base import (
    Acquire,
    Gathering,
    Listing,
    ListingOptions,
    NonFileCounts,
    Opener,
    SkippedFile,
    Source,
    UnlistedFolder,
    UnreadableName,
    no_rate_limit,
    strip_secrets,
)
from hashscan.sources.objects.download import ObjectOpener
from hashscan.sources.objects.listing import Sieve, list_parallel
from hashscan.sources.objects.store import UNKNOWN_SIZE, ObjectStore, StoredObject


@dataclass(frozen=True, slots=True)
class ObjectTarget:
    """A parsed target URL: a container, or the objects under a prefix of it."""

    container: str
    prefix: bytes
    """The bytes that keys begin with, as the stores use them; no slash is added."""


class ObjectSource(Source):
    """A source for objects by URL: `scheme://container[/prefix]`.

    Each scheme is a subclass with a name and a store.
    """

    def __init__(self, targets: Sequence[bytes], options: ListingOptions, access: Access = DIRECT) -> None:
        """Find the targets, and request the first object of each.

        Raises:
            TargetError: a URL is not valid, or its container can't be listed.
            UnreachableError: the service doesn't answer.
        """
        self._options = options
        self._access = access
        self._found = _without_covered([self.parse(target) for target in targets])
        self._stores: dict[str, ObjectStore] = {}
        try:
            for found in self._found:
                store = self._store(found.container)
                try:
                    found.prefix.decode("utf-8")
                except UnicodeDecodeError:
                    url = f"{self.name}://{found.container}"
                    raise TargetError(f"the prefix of {url} is not UTF-8", advice="Correct it.") from None
                store.probe(found.prefix, all_versions=options.all_versions)
        except BaseException:
            self._close()
            raise

    def _store(self, container: str) -> ObjectStore:
        if container not in self._stores:
            self._stores[container] = self.make_store(container, self._access)
        return self._stores[container]

    def _close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    @classmethod
    @abstractmethod
    def make_store(cls, container: str, access: Access) -> ObjectStore:
        """Return the store of one container for this process, without sending anything.

        Raises:
            TargetError: a library or credentials are missing.
        """

    container_name: ClassVar[re.Pattern[bytes] | None] = None
    """The form of valid names, if the provider defines one. Then messages don't repeat a URL that is not
    valid, because people put accounts and keys into URLs.
    """
    container_kind: ClassVar[str] = "container"

    @classmethod
    def parse(cls, target: bytes) -> ObjectTarget:
        """Parse a URL.

        Raises:
            TargetError: it is not valid.
        """
        scheme, _, rest = target.partition(b"://")
        container, _, prefix = rest.partition(b"/")
        if cls.container_name is not None:
            if not cls.container_name.fullmatch(container):
                kind = cls.container_kind
                example = f"{cls.name}://{kind.upper()}"
                raise TargetError(
                    f"a target of {cls.name}:// names no {kind}",
                    advice=f"Write {example} or {example}/PREFIX, without any account or key.",
                )
            return ObjectTarget(container.decode("ascii"), prefix)
        if b"@" in container:
            # The URL is not shown, because it may contain a password.
            raise TargetError(
                f"a {cls.name}:// URL must not hold credentials",
                advice="Give them by the provider's own variables or files.",
            )
        if not container or not container.isascii() or scheme.lower() != cls.name.encode():
            raise TargetError(
                f"{target.decode(errors='replace')!r} is no URL of a target",
                advice=f"Write {cls.name}://NAME or {cls.name}://NAME/PREFIX.",
            )
        return ObjectTarget(container.decode("ascii"), prefix)

    @classmethod
    def url(cls, container: str, key: bytes = b"") -> bytes:
        """Return the URL of a container, or of an object in it: the unchanged key follows after one slash."""
        whole = f"{cls.name}://{container}".encode()
        return whole + b"/" + key if key else whole

    @property
    def targets(self) -> tuple[bytes, ...]:
        """The containers, each once: an item's name is its whole key, so that all keys stay distinct."""
        return tuple(dict.fromkeys(self.url(target.container) for target in self._found))

    @property
    def containers(self) -> tuple[bytes, ...]:
        """The container of each of `paths`."""
        return tuple(self.url(target.container) for target in self._found)

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The URLs that are scanned."""
        return tuple(self.url(target.container, target.prefix) for target in self._found)

    def listings(self) -> Iterator[Listing]:
        """List the targets, one after the other."""
        try:
            yield from self._listings()
        finally:
            self._close()

    def _listings(self) -> Iterator[Listing]:
        empty: list[ObjectTarget] = []
        filled: set[str] = set()
        for target in self._found:
            something = False
            for listing in self._list(target):
                something = something or not isinstance(listing, UnlistedFolder)
                yield listing
            if something:
                filled.add(target.container)
            else:
                empty.append(target)
        for target in empty:
            # If a whole container is empty, the scan reports that itself.
            if target.container in filled:
                yield UnlistedFolder(
                    self.url(target.container),
                    target.prefix,
                    FolderReason.VANISHED,
                    "nothing is stored under this prefix",
                )

    def listings_by_name(self, names: Iterator[bytes]) -> Iterator[Listing]:
        """List objects by URL; nothing is requested before they are read, so their sizes are unknown.

        The text after the container is the key as it is, without any encoding. If a key has versions, it
        means the current one.
        """
        sieves = [(found, Sieve(found.prefix, self._options)) for found in self._found]
        anything = Sieve(b"", self._options)

        def look_up(name: bytes) -> NamedObject | Listing:
            try:
                found = self.parse(name)
            except TargetError:
                return UnreadableName(strip_secrets(name), b"", b"", Reason.NO_NAME, "")
            sieve = next(
                (
                    sieve
                    for target, sieve in sieves
                    if target.container == found.container and found.prefix.startswith(target.prefix)
                ),
                None if sieves else anything,
            )
            if sieve is None:
                return UnreadableName(name, b"", b"", Reason.OUTSIDE, "")
            if not found.prefix:
                return UnreadableName(name, b"", b"", Reason.NO_NAME, "it names no object")
            url = self.url(found.container)
            stored = StoredObject(found.prefix, UNKNOWN_SIZE, 0)
            return url, item_of(stored, owner_of(url)), sieve.reason(stored, url)

        return list_named(self.name, names, self._options, look_up)

    def _list(self, target: ObjectTarget) -> Iterator[Listing]:
        options = self._options
        url = self.url(target.container)
        owner = owner_of(url)
        sieve = Sieve(target.prefix, options)
        head = Batch(self.name, url, b"", 0, 0, ())
        gathering = Gathering(options)
        store = self._store(target.container)
        with closing(list_parallel(store, target.prefix, all_versions=options.all_versions)) as found:
            for page in found:
                if isinstance(page, tuple):
                    prefix, trouble = page
                    yield UnlistedFolder(url, prefix, trouble.reason, trouble.detail)
                    continue
                for stored in page:
                    item = item_of(stored, owner)
                    reason = sieve.reason(stored, url)
                    if reason is not None:
                        yield SkippedFile(url, b"", item, reason)
                    else:
                        yield from gathering.add(head, item)
        yield from gathering.flush()

    @classmethod
    def opener(cls, access: Access, spend: Acquire = no_rate_limit) -> Opener:
        """Return an object that downloads objects."""
        return ObjectOpener(partial(_store_of_url, cls, access=access), access, spend)


def _store_of_url(source: type[ObjectSource], url: bytes, *, access: Access) -> ObjectStore:
    return source.make_store(source.parse(url).container, access)


NamedObject = tuple[bytes, Item, Reason | None]
"""URL of the container or host of an object, the object, and the reason if it is left out."""


def list_named(
    source: str,
    names: Iterable[bytes],
    options: ListingOptions,
    look_up: Callable[[bytes], NamedObject | Listing],
) -> Iterator[Listing]:
    """List objects by URL, in batches of one container or host each; `look_up` returns the object that a URL
    names, or a listing if it names none that can be scanned."""
    gathering = Gathering(options)
    for name in names:
        if not name:
            yield from gathering.flush()
            yield NonFileCounts()
            continue
        found = look_up(name)
        if not isinstance(found, tuple):
            yield found
            continue
        url, item, reason = found
        if reason is not None:
            yield SkippedFile(url, b"", item, reason)
        else:
            yield from gathering.add(Batch(source, url, b"", 0, 0, ()), item)
    yield from gathering.flush()


def owner_of(url: bytes) -> int:
    """Return an owner number for a container: containers share no decoder, like customers."""
    return int.from_bytes(hashlib.blake2b(url, digest_size=8).digest(), "little") >> 1


def item_of(stored: StoredObject, owner: int) -> Item:
    """Return the item for a listed object; an object has no device and no inode."""
    stat = FileStat(
        device=0, inode=0, size=stored.size, mtime_ns=stored.modified_ns, ctime_ns=0, links=1, uid=owner
    )
    return Item(stored.key, stat, stored.etag, stored.version, stored.checksum)


def _without_covered(targets: Iterable[ObjectTarget]) -> tuple[ObjectTarget, ...]:
    """Leave out targets that the listing of another target contains, so that each object has one verdict."""
    named = list(dict.fromkeys(targets))
    return tuple(
        target
        for target in named
        if not any(
            other is not target
            and other.container == target.container
            and target.prefix.startswith(other.prefix)
            for other in named
        )
    )
