"""Compare digests with the lists of a hub's node, in memory-mapped indexes.

No picture is decoded here, so that no worker and no sandbox is needed. Requests in progress are answered by
the lists they began with; lists that can't be used are logged, and the present ones stay in use.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from hashscan.errors import HashscanError
from hashscan.lists.entries import find_entry
from hashscan.lists.exceptions import exceptions_at
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore, OpenedLists, fingerprinted
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import Matcher
from hashscan.matching.policy import accusing, sort_key
from hashscan.model import ALGORITHMS, MATCHED, USABLE_STATES, ListInfo, Match
from hashscan.service.engine.list_changes import RELOAD_SECONDS, list_state, now_unusable
from hashscan.state_dir import StateDir

_AT_A_TIME = 1000
"""Digests that are looked up before those of another request may be."""
_log = logging.getLogger(__name__)


class _Opened:
    """Lists that are released when nobody uses them any more."""

    def __init__(
        self, lists: OpenedLists, matcher: Matcher, infos: tuple[ListInfo, ...], version: str
    ) -> None:
        self.matcher = matcher
        self.infos = infos
        self.version = version
        self.handles = lists.handles
        self._lists = lists
        self._users = 1  # the lookup itself
        self._counting = threading.Lock()

    def enter(self) -> bool:
        """Use the lists; return False if they were released."""
        with self._counting:
            if not self._users:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        with self._counting:
            self._users -= 1
            last = not self._users
        if last:
            self._lists.close()


class Lookup(ClosedOnExit):
    """The lists in use; threads may share it."""

    def __init__(self, state: StateDir, names: Sequence[str] | None = None) -> None:
        """Open the lists of these names, None for all."""
        self._state = state
        self._names = names
        self._reloading = threading.Lock()
        self._matching = threading.Lock()
        self._seen = list_state(state)
        self._opened = self._open()
        self._reloaded = time.monotonic()

    @property
    def version(self) -> str:
        """A text of `[0-9a-f]{16}`: equal at all nodes that have the same lists and exceptions."""
        return self._opened.version

    @property
    def infos(self) -> tuple[ListInfo, ...]:
        return self._opened.infos

    @property
    def algorithms(self) -> list[str]:
        """The algorithms of which the lists have entries."""
        return [name for name in MATCHED if name in self._opened.matcher.algorithms]

    def match(self, digests: Mapping[str, bytes]) -> tuple[str, dict[str, dict[int, list[Match]]]]:
        """Look up digests, by algorithm, one after another. Return the version of the lists; and by algorithm
        and row, the entries that accuse a digest, the closest first: none for one that an exception or
        known-good content withholds, and no near misses."""
        with self._using() as opened:
            found: dict[str, dict[int, list[Match]]] = {}
            for algorithm, values in digests.items():
                of_algorithm: defaultdict[int, list[Match]] = defaultdict(list)
                size = ALGORITHMS[algorithm].size
                for start in range(0, len(values) // size, _AT_A_TIME):
                    with self._matching:
                        part = values[start * size : (start + _AT_A_TIME) * size]
                        for row, match in opened.matcher.ask_digests(algorithm, part):
                            of_algorithm[start + row].append(match)
                accused = {row: accusing(sorted(each, key=sort_key)) for row, each in of_algorithm.items()}
                found[algorithm] = {row: each for row, each in accused.items() if each}
            return opened.version, found

    def has_entry(self, entry_id: str) -> bool:
        with self._using() as opened:
            return any(find_entry(handle, entry_id) is not None for handle in opened.handles)

    @contextmanager
    def _using(self) -> Iterator[_Opened]:
        opened = self._opened
        while not opened.enter():
            opened = self._opened
        try:
            yield opened
        finally:
            opened.leave()

    def reload(self) -> bool:
        """Use the lists as they are now, if they have changed; return True if they have.

        They are also read again after a while for what changes by time alone: exceptions expire.
        """
        with self._reloading:
            seen = list_state(self._state)
            same = seen == self._seen
            if same and time.monotonic() - self._reloaded < RELOAD_SECONDS:
                return False
            self._seen = seen
            try:
                opened = self._open()
            except (HashscanError, OSError) as error:
                _log.error("the lists can't be loaded again, the present ones stay in use: %s", error)
                return False
            finally:
                self._reloaded = time.monotonic()
            worse = now_unusable(self.infos, opened.infos)
            if worse:
                _log.error("the present lists stay in use: %s", worse)
            if worse or (same and opened.version == self.version):
                opened.leave()
                return False
            former, self._opened = self._opened, opened
            former.leave()
            _log.info("lists of version %s are in use", opened.version)
            return True

    def close(self) -> None:
        self._opened.leave()

    def _open(self) -> _Opened:
        now = datetime.now(UTC)
        lists = ListStore(self._state.lists).open(self._names, now, VerificationLevel.CHECKSUMS)
        try:
            lists.require_usable()
            infos = fingerprinted(lists)
            excepted = exceptions_at(self._state, {info.name for info in infos}, now).in_force
            matcher = Matcher(lists.handles, excepted=excepted, many=True)
        except BaseException:
            lists.close()
            raise
        for info in infos:
            if info.problem is not None:
                _log.warning("list %s is %s: %s", info.name, info.state.value, info.problem)
        parts = [(info.name, info.fingerprint, info.state in USABLE_STATES) for info in infos], excepted
        document = msgspec.msgpack.encode(parts, enc_hook=str, order="deterministic")
        return _Opened(lists, matcher, infos, hashlib.blake2b(document, digest_size=8).hexdigest())
