"""Find the contents of a state that new entries of a list match, and count the files that have them: those
of one version, and those of all that were admitted within a week.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hashscan.atomic_files import output_errors, replace_file
from hashscan.lists.difference import EntryChange
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.lists.storage.video_frames import FrameId, parse_id
from hashscan.matching.worker_setup import VPDQ_RULE, distance_rule
from hashscan.model import ALGORITHMS, KNOWN_GOOD_CATEGORY, TEST_CATEGORY, DistanceRule
from hashscan.schema import Count, InvalidDocumentError, decode_file, encode_file
from hashscan.state.queries.digest_lookup import (
    VECTORS,
    matching_contents,
    matching_members,
    matching_videos,
)
from hashscan.state.queries.known_files import KnownFile, KnownFiles
from hashscan.state.queries.overview import overview_of
from hashscan.state.store.reading import NoStateError, StateReader
from hashscan.state.store.stored_contents import COLUMN_DIGESTS
from hashscan.state_dir import StateDir


class Hit(NamedTuple):
    """An entry that a content matches."""

    distance: int
    algorithm: str
    category: str
    entry_id: str
    member: str = ""
    """Place of the member that it matches; empty for the file itself."""


@dataclass(slots=True)
class Hits:
    """The matches of all new entries."""

    nearest: dict[int, Hit] = field(default_factory=dict)
    entries: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of entries by algorithm whose digests the state has in no column."""


def hits_of(
    reader: StateReader,
    changes: Iterable[EntryChange],
    list_name: str = "",
    distances: Sequence[DistanceRule] = (),
) -> Hits:
    """Look up new entries.

    Exact digests are searched in their columns. PDQ and PhotoDNA are compared with pictures as they are
    stored, unless the quality is too low, PDQ by its default distance. Members of containers are searched in
    the same way. Videos of vPDQ are compared with videos as they are stored, by the default match rule.

    Args:
        list_name: the list that the entries are of.
        distances: the distances of PhotoDNA, for all lists.
    """
    hits = Hits()
    vectors = distance_rule(distances, list_name).review
    by_algorithm: dict[str, list[EntryChange]] = {}
    for change in changes:
        by_algorithm.setdefault(change.algorithm, []).append(change)
    for name, some in by_algorithm.items():
        if name in {*COLUMN_DIGESTS, "pdq", VECTORS}:
            limit = vectors if name == VECTORS else ALGORITHMS[name].threshold
            _look_up(reader, name, some, limit, hits)
        elif name == VPDQ:
            _look_up_videos(reader, some, hits)
        else:
            hits.left_out[name] += sum(map(len, some))
    return hits


def files_hit(reader: StateReader, hits: Hits) -> Iterator[KnownFile]:
    """Yield the known files and objects that are matched, except those of findings that are gone."""
    for file in KnownFiles(reader).having(list(hits.nearest)):
        if file.identity is not None or file.finding is None or file.finding.gone is None:
            yield file


def _look_up(reader: StateReader, name: str, changes: list[EntryChange], limit: int, hits: Hits) -> None:
    values = np.concatenate([change.values for change in changes])
    starts = np.cumsum([0, *map(len, changes)])
    limits = [limit] * len(values)
    met = set()
    contents = ((*near, "") for near in matching_contents(reader, name, values, limits))
    for number, content, distance, member in chain(contents, matching_members(reader, name, values, limits)):
        met.add(number)
        place = int(np.searchsorted(starts, number, "right")) - 1
        change = changes[place]
        entry = bytes(change.raw_ids[number - starts[place]]).decode("ascii")
        hit = Hit(distance, name, change.category, entry, member)
        hits.nearest[content] = min(hit, hits.nearest.get(content, hit))
    hits.entries += len(met)


def _look_up_videos(reader: StateReader, changes: list[EntryChange], hits: Hits) -> None:
    """Look up the new videos; an entry of another form is a video of one frame, as in a scan."""
    values = np.concatenate([change.values for change in changes])
    frames = [
        (change.category, parse_id(entry_id) or FrameId(entry_id, 0, 1))
        for change in changes
        for entry_id in change.ids
    ]
    near: dict[tuple[int, str, str, str], tuple[int, set[int]]] = {}
    for number, content, _, place in matching_videos(reader, values, [VPDQ_RULE.distance] * len(values)):
        category, frame = frames[number]
        near.setdefault((content, place, frame.video, category), (frame.frames, set()))[1].add(number)
    met = set()
    for (content, place, video, category), (of_video, numbers) in near.items():
        share = min(100.0, len(numbers) * 100 / of_video)
        if share >= VPDQ_RULE.listed_percent:
            met |= numbers
            hit = Hit(ceil(100 - share), VPDQ, category, video, place)
            hits.nearest[content] = min(hit, hits.nearest.get(content, hit))
    hits.entries += len(met)


_HARMLESS = frozenset({KNOWN_GOOD_CATEGORY, TEST_CATEGORY})


@dataclass(frozen=True, slots=True)
class Reach:
    """The matches of new accusing entries among the files and objects of the state."""

    entries: int
    files: int
    known: int
    """Number of all files and objects; 0, and not counted, where fewer are matched than matter."""
    left_out: Counter[str]
    """Number of entries that could not be looked up, by algorithm."""


def reach_of(
    state: StateDir,
    changes: Iterable[EntryChange],
    matters: int,
    watch: Callable[[int, int], None],
    list_name: str,
    distances: Sequence[DistanceRule],
) -> Reach | None:
    """Look up the new entries; return None if there is no state.

    Args:
        matters: number of matched files from which on their share is of interest.
        watch: called often during the comparison with the digests of one algorithm; see `ReadColumn.watch`.
        list_name: as for `hits_of`, and so is `distances`.

    Raises:
        OutputError: the state can't be read, or is damaged.
    """
    came = (change for change in changes if change.came and change.category not in _HARMLESS)
    try:
        with StateReader(state) as reader, reader.reading():
            for column in reader.columns.values():
                column.watch = watch
            hits = hits_of(reader, came, list_name, distances)
            files = sum(1 for _ in files_hit(reader, hits))
            known = 0
            if files >= matters:
                overview = overview_of(reader)
                # Files of which only a finding is left count among the matched ones.
                known = max(overview.files + overview.objects, files)
            return Reach(hits.entries, files, known, hits.left_out)
    except NoStateError:
        return None


_WINDOW_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class _Admitted:
    """When a version was admitted, in seconds since 1970, and the known files that its new entries match."""

    at: Count
    files: Count


@dataclass(frozen=True, slots=True)
class _AdmittedVersions:
    versions: dict[str, _Admitted] = field(default_factory=dict)


class RecentHits:
    """The versions of one list that were admitted within a week, until a person confirmed one.

    A check of one version alone would admit a wrong list in small parts, so the files of all count together;
    one that several versions match counts several times. Versions are distinguished by the names of their
    folders, since a list's owner can give one number to many. A file that is not valid starts the count
    again; only the user who pulls can write it.

    Raises, in all methods:
        OutputError: the file can't be read or written.
    """

    def __init__(self, path: Path) -> None:
        """Read them from a file that need not exist."""
        self._path = path
        kept = _AdmittedVersions()
        with output_errors(f"can't read {path}"), suppress(FileNotFoundError, InvalidDocumentError):
            kept = decode_file(path.read_bytes(), _AdmittedVersions)
        since = time.time() - _WINDOW_SECONDS
        self._versions = {name: one for name, one in kept.versions.items() if one.at > since}

    def files_besides(self, version: str) -> int:
        """Return the number of files that the entries of all other versions matched."""
        return sum(one.files for name, one in self._versions.items() if name != version)

    def admit(self, version: str, files: int) -> None:
        """Store that a version was admitted."""
        self._versions[version] = _Admitted(int(time.time()), files)
        with output_errors(f"can't write {self._path}"):
            replace_file(self._path, encode_file(_AdmittedVersions(self._versions)))
