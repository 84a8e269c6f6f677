"""Compare cached contents with the list entries that were added since the last comparison."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.member_records import OpenedContainer
from hashscan.lists.storage.columns import ColumnFiles, ListHandle
from hashscan.matching.container_members import member_tasks
from hashscan.matching.evaluation import (
    RESTORED_THRESHOLD,
    TIGHT_REACH,
    FileTask,
    Matcher,
    reach_of_vectors,
    thresholds_of_lists,
)
from hashscan.matching.worker_setup import VPDQ_RULE, WorkerSetup
from hashscan.model import ALGORITHMS
from hashscan.state.store.contents import NOWHERE, OPAQUE, Contents, file_task_of
from hashscan.state.store.profile import meaning_of
from hashscan.state.store.stored_contents import COLUMN_DIGESTS, Content
from hashscan.state.store.unpacking import Beyond, Block, Rows, Unpacked, blocks_of

_BLOCK = 1 << 16
_MANY = 10_000
"""Number of contents from which on an index of few entries pays."""
_AT_ONCE = 1 << 13
"""Number of digests that are compared together: each part of an index is fetched once for all of them."""
_THREADS_MAX = 8
"""Maximum number of threads; each has a block and its unpacked digests in memory."""
LINE_SECONDS = 60.0
"""Seconds between two messages about the progress."""


class RetroMatcher:
    """A record of the parts of lists with which the contents were compared."""

    def __init__(
        self,
        database: sqlite3.Connection,
        contents: Contents,
        setup: WorkerSetup,
        notify: Callable[[str], None],
    ) -> None:
        """Prepare the comparison of the contents with the lists; `notify` gets a message a minute while
        contents are compared, which may take minutes."""
        self._notify = notify
        self._shown = time.monotonic()
        self._database = database
        self._contents = contents
        self._review = setup.review_threshold
        self._videos = setup.videos or VPDQ_RULE
        self._lists = lists = setup.lists
        self._meaning = meaning_of(contents.wanted)
        self._distances = setup.distances
        self._thresholds = thresholds_of_lists(lists, distances=setup.distances)
        self._vectors = reach_of_vectors(lists, setup.distances)
        self._parts = [
            (handle, files, self._label(handle, files)) for handle in lists for files in handle.columns
        ]

    def _label(self, handle: ListHandle, files: ColumnFiles) -> str:
        """Return a label that identifies a part of a list together with the way it is asked.

        A part with fewer withdrawn entries than before counts as another part.
        """
        name = files.algorithm
        metric = ALGORITHMS[name].metric
        reach = str(self._thresholds[name] if metric in {"hamming", "quadrants"} else 0)
        if name == "pdq":
            near = self._review or 0
            reach = f"{max(self._thresholds[name], near)}, {max(TIGHT_REACH, near)}, {RESTORED_THRESHOLD}"
        elif metric == "euclidean":
            reach = str(self._vectors[handle.name])
        elif metric == "video":
            # Workers name the videos that match by this rule, and no others that are near.
            reach = f"{self._videos.listed_percent:g}/{self._videos.scanned_percent:g}"
        part = files.content or f"{handle.name} {handle.version}"
        return f"{self._meaning} {name} {reach} {part} {files.withdrawn_rows}"

    def take(self) -> int:
        """Compare what is new, and record the contents near an entry; return how many were compared."""
        done = dict(self._database.execute("SELECT part, contents FROM matched"))
        compared = 0
        by_start: dict[int, list[tuple[ListHandle, ColumnFiles]]] = {}
        for handle, files, label in self._parts:
            if ALGORITHMS[files.algorithm].scanned and done.get(label, 0) < self._contents.rows:
                by_start.setdefault(done.get(label, 0), []).append((handle, files))
        for start, parts in by_start.items():
            matcher = Matcher(
                [
                    replace(handle, columns=tuple(f for h, f in parts if h is handle))
                    for handle in self._lists
                    if any(h is handle for h, _ in parts)
                ],
                self._review,
                thresholds=self._thresholds,
                distances=self._distances,
                many=self._contents.rows - start >= _MANY,
            )
            for row in self._near(matcher, start):
                self._contents.hit(row)
            compared = max(compared, self._contents.rows - start)
        return compared

    def commit(self) -> None:
        """Store in the open transaction that all contents were compared with all parts.

        `take` has compared those that were stored before, and the workers those that were read since.
        """
        self._database.executemany(
            "INSERT INTO matched VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET contents=excluded.contents",
            [(label, self._contents.rows) for _, _, label in self._parts],
        )

    def _near(self, matcher: Matcher, start: int) -> Iterator[int]:
        """Yield rows from `start` on that came near to an entry; some may be repeated."""
        contents = self._contents
        for first in range(start, contents.rows, _BLOCK):
            self._show(first)
            count = min(_BLOCK, contents.rows - first)
            for name in matcher.algorithms.intersection(COLUMN_DIGESTS):
                values = contents.columns[name].read(first, count).view(np.uint8).reshape(count, -1)
                yield from (first + matcher.near(name, values, matcher.reach(name))).tolist()
        others = matcher.algorithms - set(COLUMN_DIGESTS)
        of_bytes = frozenset(name for name in others if not ALGORITHMS[name].of_picture)
        if of_bytes:
            for rows in self._serving(start):
                yield from self._near_one_by_one(matcher, of_bytes, rows)
        yield from self._near_pictures(matcher, start)
        yield from self._near_members(matcher, start)

    def _near_members(self, matcher: Matcher, start: int) -> Iterator[int]:
        for row in self._contents.opened_rows(start):
            self._show(row)
            if self._contents.attention[row] & OPAQUE:
                continue
            content = self._contents.load(row)
            container = self._contents.members(content)
            if container is not None and _has_near(matcher, content, container):
                yield row

    def _near_pictures(self, matcher: Matcher, start: int) -> Iterator[int]:
        """Yield the rows that are near by digests of pictures; blocks are compared in parallel threads."""
        names = matcher.algorithms - set(COLUMN_DIGESTS)
        # Unpacking takes long, and few states have all that lists have entries of.
        kept = {name for by in self._contents.profiles.values() for name in by.picture_names}
        names = frozenset(names & kept)
        if not names:
            return
        threads = min(len(os.sched_getaffinity(0)), _THREADS_MAX)
        waiting: deque[Future[tuple[list[Rows], list[Rows]]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            blocks = (block for rows in self._serving(start) for block in blocks_of(self._contents, rows))
            for block in blocks:
                waiting.append(pool.submit(_near_of_block, matcher, names, block))
                if len(waiting) > threads:
                    yield from self._found(matcher, names, waiting.popleft())
            while waiting:
                yield from self._found(matcher, names, waiting.popleft())

    def _found(
        self, matcher: Matcher, names: frozenset[str], block: Future[tuple[list[Rows], list[Rows]]]
    ) -> Iterator[int]:
        near, beyond = block.result()
        for rows in near:
            yield from rows.tolist()
        for rows in beyond:
            yield from self._near_one_by_one(matcher, names, rows)

    def _serving(self, start: int) -> Iterator[Rows]:
        """Yield blocks of rows from `start` on that can be used."""
        attention = self._contents.attention
        for first in range(start, self._contents.rows, _BLOCK):
            self._show(first)
            # Includes rows that this scan would digest differently: for another scan they are still valid.
            yield first + np.flatnonzero((attention[first : first + _BLOCK] & OPAQUE) == 0)

    def _show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown >= LINE_SECONDS:
            self._shown = now
            self._notify(f"{done} of {self._contents.rows} known contents are compared with new entries")

    def _near_one_by_one(
        self, matcher: Matcher, names: frozenset[str], rows: NDArray[np.int64]
    ) -> Iterator[int]:
        """Yield those of some rows that are near by digests that can't be taken from columns."""
        checked: list[tuple[int, FileTask]] = [
            (row, file_task_of(self._contents.load(row), NOWHERE)) for row in rows.tolist()
        ]
        for name in names:
            asking = [(row, query) for row, file in checked for query in file.queries(name)]
            yield from (asking[place][0] for place, _ in matcher.ask(name, [q for _, q in asking]))


def _has_near(matcher: Matcher, content: Content, container: OpenedContainer) -> bool:
    if matcher.videos.is_near(container.sampled):
        return True
    tasks = list(member_tasks(container, content.profile.exact_names, content.profile.picture_names))
    return any(
        True
        for name in matcher.algorithms
        for _ in matcher.ask(name, [query for task in tasks for query in task.queries(name)])
    )


def _near_of_block(matcher: Matcher, names: frozenset[str], block: Block) -> tuple[list[Rows], list[Rows]]:
    """Return the contents of a block that came near to an entry, and those to be compared one by one."""
    near: list[Rows] = []
    beyond: list[Rows] = []
    waiting: dict[tuple[str, int], list[Unpacked]] = {}
    for found in block.digests():
        if isinstance(found, Beyond):
            beyond.append(found.rows)
        elif found.algorithm in names:
            reach = matcher.reach(found.algorithm, found.rendering, found.turn, found.shown)
            key = found.algorithm, reach
            alike = waiting.setdefault(key, [])
            alike.append(found)
            if sum(len(some.rows) for some in alike) >= _AT_ONCE:
                near.append(_near_of(matcher, *key, waiting.pop(key)))
    near.extend(_near_of(matcher, *key, alike) for key, alike in waiting.items())
    return near, beyond


def _near_of(matcher: Matcher, name: str, reach: int, alike: list[Unpacked]) -> Rows:
    places = matcher.near(name, np.concatenate([some.values for some in alike]), reach)
    return np.concatenate([some.rows for some in alike])[places]
