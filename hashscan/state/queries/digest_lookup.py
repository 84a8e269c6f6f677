"""Find the contents of a state that have a digest or are near one, and the digests of a report's findings."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.member_records import (
    FRAME_SIZE,
    Borders,
    Member,
    OpenedContainer,
    SampledFrames,
    digests_of,
)
from hashscan.hashing.records import DecodedPicture
from hashscan.hashing.variants import TURNS
from hashscan.lists.index.base import Segment, Strategy, default_threshold
from hashscan.lists.index.euclidean import Euclidean
from hashscan.lists.index.quadrants import distances as quadrant_distances
from hashscan.lists.index.segments import SMALL
from hashscan.lists.storage.video_frames import ALGORITHM as VPDQ
from hashscan.locking import ClosedOnExit
from hashscan.matching.container_members import member_tasks, place_text
from hashscan.matching.evaluation import TIGHT_THRESHOLD, FileTask, Query, has_tight_threshold, store_reply
from hashscan.model import ALGORITHMS, QUADRANTS, StoredContentData
from hashscan.reports.records import Record, path_bytes
from hashscan.state.queries.checksums import rows_of
from hashscan.state.store.columns import Blocks, equal_rows, near_rows
from hashscan.state.store.contents import LOW, NOWHERE, file_task_of
from hashscan.state.store.listings import wrapped
from hashscan.state.store.members import unpack_members
from hashscan.state.store.packing import Packed, unpack
from hashscan.state.store.profile import Profile
from hashscan.state.store.reading import NoStateError, StateReader
from hashscan.state.store.stored_contents import ABOUT, COLUMN_DIGESTS, NOTHING, Content
from hashscan.state.store.unpacking import Beyond, blocks_of
from hashscan.state_dir import StateDir

_BLOCK = 1 << 16
VECTORS = "photodna"
"""The algorithm whose digests are vectors."""
_REPEATED = ALGORITHMS[VPDQ].threshold // 4
"""Distance in bits up to which a frame is looked up no more than the one before it."""
_AS_STORED = 0
"""Index in `variants.TURNS`."""


class DigestQuery(NamedTuple):
    """One digest that is looked up."""

    algorithm: str
    value: bytes
    distance: int
    """Largest distance of a match."""
    variant: str = "as stored"
    """Rendering of the picture that it was computed from."""


class ContentMatch(NamedTuple):
    """A content that has the digest, or is within its distance."""

    content: int
    sought: DigestQuery
    distance: int
    variant: str = "as stored"
    """Rendering of the known picture that matched."""
    member: str = ""
    """Place within a container; empty for the content itself."""


def sought_of_digest(reader: StateReader, name: str, value: bytes, distance: int | None) -> DigestQuery:
    """Return a digest with the requested distance, or else its algorithm's default."""
    if name == VPDQ:
        return DigestQuery(name, value, ALGORITHMS[name].threshold if distance is None else distance)
    if ALGORITHMS[name].metric == "exact":
        return DigestQuery(name, value, 0)
    own = default_threshold(name, reader.contents.rows) if distance is None else distance
    return DigestQuery(name, value, own)


def sought_of_file(
    kept: StoredContentData, exact: Sequence[str], pictures: Sequence[str], distance: int | None
) -> list[DigestQuery]:
    """Return all digests of a file, with the distances by which a scan would match pictures with an entry.

    Args:
        distance: replaces the algorithm's default, but is not increased for variants with a tighter one.
    """
    sought = [DigestQuery("sha256", dict(zip(exact, kept.exact, strict=True))["sha256"], 0)]
    if kept.members is not None:
        limit = ALGORITHMS[VPDQ].threshold if distance is None else distance
        for variant, values in _sampled_frames(unpack_members(kept.members, pictures).sampled):
            sought += [DigestQuery(VPDQ, value, limit, variant) for value in values]
    if kept.packed is None:
        return sought
    checked = FileTask(NOWHERE, kind=FORMATS[kept.kind])
    store_reply(checked, unpack(Packed(*kept.packed), pictures), pictures)
    limit = ALGORITHMS[QUADRANTS].threshold if distance is None else distance
    sought += [DigestQuery(QUADRANTS, query.values, limit) for query in checked.queries(QUADRANTS)]
    full = ALGORITHMS["pdq"].threshold if distance is None else distance
    for query in checked.queries("pdq"):
        assert query.run is not None
        for digest in query.run.digests():
            tight = has_tight_threshold(digest.rendering, digest.turn, query.run.shown)
            limit = min(full, TIGHT_THRESHOLD) if tight else full
            sought.append(DigestQuery("pdq", digest.value, limit, digest.variant))
    return sought


def _sampled_frames(sampled: Sequence[SampledFrames]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the frames of a video in each variant, with its name; those that repeat the one before once."""
    for frames in sampled:
        trimmed = "borders trimmed" if frames.borders is Borders.TRIMMED else ""
        turns = len(frames.turns)
        values = [frames.values[at : at + FRAME_SIZE] for at in range(0, len(frames.values), FRAME_SIZE)]
        for place, turn in enumerate(frames.turns):
            kept: list[bytes] = []
            last = -1
            for value in values[place::turns]:
                number = int.from_bytes(value)
                if last < 0 or (number ^ last).bit_count() > _REPEATED:
                    kept.append(value)
                    last = number
            yield ", ".join(filter(None, (TURNS[turn], trimmed))) or "as stored", kept


def has_sampled_videos(reader: StateReader) -> bool:
    """Return True if scans have sampled videos, so that others can be compared with them."""
    return any(by.is_readable and by.videos for by in reader.contents.profiles.values())


def find_contents(
    reader: StateReader, sought: Sequence[DigestQuery], *, every_variant: bool = False
) -> list[ContentMatch]:
    """Return all contents near a digest, each once for each digest that is near, the nearest first; a video
    once for all digests of frames.

    Pictures are compared by the digest of the picture as it is stored; the quality of their PDQ must be high
    enough for that.

    Args:
        every_variant: compare with frames, previews and turned pictures, too, which takes long.

    Raises:
        ValueError: the state is damaged.
    """
    found: list[ContentMatch] = []
    for name in dict.fromkeys(one.algorithm for one in sought):
        asked = [one for one in sought if one.algorithm == name]
        if name == "sha256":
            found += [ContentMatch(row, one, 0) for one in asked for row in reader.by_sha256(one.value)]
        elif name in COLUMN_DIGESTS or (name == "pdq" and not every_variant):
            values = _rows_of_bytes([one.value for one in asked])
            near = matching_contents(reader, name, values, [one.distance for one in asked])
            found += [ContentMatch(row, asked[number], distance) for number, row, distance in near]
        elif name == VPDQ:
            values = _rows_of_bytes([one.value for one in asked])
            videos: dict[tuple[int, str], ContentMatch] = {}
            for number, row, distance, place in matching_videos(
                reader, values, [one.distance for one in asked]
            ):
                # Of two long videos, very many frames can be alike.
                before = videos.get((row, place))
                if before is None or distance < before.distance:
                    videos[row, place] = ContentMatch(row, asked[number], distance, member=place)
            found += videos.values()
        else:
            found += _in_further(reader, name, asked)
    found += _in_members(reader, [one for one in sought if one.algorithm != VPDQ])
    return sorted(found, key=lambda near: (near.distance, near.content))


def _opened_containers(reader: StateReader) -> Iterator[tuple[int, Content, OpenedContainer]]:
    """Yield the row, content and members of each container that was opened and can be read."""
    for row in reader.contents.opened_rows():
        content = load_content(reader, row)
        container = None if content is None else reader.contents.members(content)
        if content is not None and container is not None and content.profile.is_readable:
            yield row, content, container


def _in_members(reader: StateReader, sought: Sequence[DigestQuery]) -> Iterator[ContentMatch]:
    """Search the members of all containers; their pictures are compared in every variant."""
    for row, content, container in _opened_containers(reader):
        tasks = member_tasks(container, content.profile.exact_names, content.profile.picture_names)
        for member, task in zip(container.members, tasks, strict=True):
            for near in _near_task(row, task, sought):
                yield near._replace(member=place_text(member.place))


def _near_task(row: int, task: FileTask, sought: Sequence[DigestQuery]) -> Iterator[ContentMatch]:
    for one in sought:
        if not ALGORITHMS[one.algorithm].of_picture:
            if task.exact.get(one.algorithm) == one.value:
                yield ContentMatch(row, one, 0)
            continue
        for query in task.queries(one.algorithm):
            yield from _near_runs(row, query, [one])


def load_content(reader: StateReader, row: int) -> Content | None:
    """Return a content; None where a power cut may have destroyed it.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return reader.contents.load(row)
    except ValueError as error:
        if reader.may_be_destroyed(row):
            return None
        raise ValueError(f"content {row}: {error}") from error


def matching_contents(
    reader: StateReader, name: str, values: NDArray[np.uint8], limits: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    """Yield the contents near some digests, shape (n, size), of an algorithm that has a column, with the
    index of a digest and the distance; the limits are the largest distance of each, shape (n,). Pictures are
    compared as they are stored, unless the quality of their PDQ is too low."""
    if name == VECTORS:
        owners = array("I")
        found = near_rows(
            _vector_blocks(reader, owners), values, np.array(limits, np.int64), _vector_segment(values)
        )
        for number, row, distance in zip(*(part.tolist() for part in found), strict=True):
            yield number, owners[row], distance
        return
    if name == "pdq":
        numbers, pictures, distances = reader.columns[name].near(values, np.array(limits, np.int64))
        rows = rows_of(reader.columns["pictures"], pictures).astype(np.int64)
        good = (rows_of(reader.columns["about"], rows)["flags"] & LOW) == 0
        numbers, rows, distances = numbers[good], rows[good], distances[good]
    else:
        numbers, rows, distances = reader.columns[name].equal(values)
    yield from zip(numbers.tolist(), rows.tolist(), distances.tolist(), strict=True)


def matching_members(
    reader: StateReader, name: str, values: NDArray[np.uint8], limits: Sequence[int]
) -> Iterator[tuple[int, int, int, str]]:
    """Yield the members of containers near some digests, as `matching_contents`, each with its place."""
    containers, numbers = array("I"), array("I")
    blocks = _member_blocks(reader, name, containers, numbers)
    if name in {"pdq", VECTORS}:
        segment = _vector_segment(values) if name == VECTORS else None
        found = near_rows(blocks, values, np.array(limits, np.int64), segment)
    else:
        found = equal_rows(blocks, values)
    places: tuple[int, Sequence[Member]] = (-1, ())
    for asked, row, distance in sorted(
        zip(*(part.tolist() for part in found), strict=True), key=itemgetter(1)
    ):
        content = containers[row]
        if content != places[0]:
            container = reader.contents.members(reader.contents.load(content))
            assert container is not None
            places = content, container.members
        yield asked, content, distance, place_text(places[1][numbers[row]].place)


def _member_blocks(reader: StateReader, name: str, containers: array[int], numbers: array[int]) -> Blocks:
    """Yield the digests of all members by one algorithm, those of pictures as they are stored; add the
    content of each digest's container to `containers`, and the index of its member in that to `numbers`."""
    found: list[bytes] = []
    start = 0
    for row, content, container in _opened_containers(reader):
        for number, member in enumerate(container.members):
            value = _member_digest(member, name, content.profile)
            if value is not None:
                found.append(value)
                containers.append(row)
                numbers.append(number)
        if len(found) >= _BLOCK:
            yield start, _rows_of_bytes(found)
            start += len(found)
            found = []
    if found:
        yield start, _rows_of_bytes(found)


def _vector_segment(values: NDArray[np.uint8]) -> Segment:
    """Return an index of vectors, which many are compared with."""
    vectors = Euclidean()
    return vectors.plain(values) if len(values) < SMALL else Strategy.eager(vectors, values)


def _vector_blocks(reader: StateReader, owners: array[int]) -> Blocks:
    """Yield the vectors of all pictures, and of their frames, as they are stored; add the content of each to
    `owners`."""
    numbers = _profiles_with(reader, VECTORS)
    column = reader.columns["about"]
    for start in range(0, column.rows if numbers else 0, _BLOCK):
        about = column.read(start, _BLOCK).view(ABOUT)
        rows = np.flatnonzero((about["further"] != NOTHING) & np.isin(about["profile"], numbers))
        for some, values in _vectors_of(reader, start + rows):
            before = len(owners)
            owners.extend(some)
            yield before, values


def _vectors_of(
    reader: StateReader, rows: NDArray[np.int64]
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield some rows, and a vector of each."""
    alone: list[int] = []
    try:
        unpacked = [found for block in blocks_of(reader.contents, rows) for found in block.digests()]
    except ValueError:
        # A power cut may have destroyed one.
        unpacked, alone = [], rows.tolist()
    for found in unpacked:
        if isinstance(found, Beyond):
            alone += found.rows.tolist()
        elif found.algorithm == VECTORS and not found.rendering and found.turn == _AS_STORED:
            yield found.rows.tolist(), found.values
    for row in alone:
        content = load_content(reader, row)
        for query in () if content is None else file_task_of(content, NOWHERE).queries(VECTORS):
            if query.run is not None and not query.run.rendering and query.run.turns[0] == _AS_STORED:
                yield [row], _rows_of_bytes([next(query.run.digests()).value])


def matching_videos(
    reader: StateReader, values: NDArray[np.uint8], limits: Sequence[int]
) -> Iterator[tuple[int, int, int, str]]:
    """Yield the frames of videos, sampled for vPDQ, that are near one of some digests, shape (n,
    `FRAME_SIZE`), within the limits in bits, shape (n,): the index of a digest, the content, the distance,
    and the video's place in it, empty for the content itself. Videos are compared as they are stored."""
    places: list[tuple[int, str]] = []
    owners = array("I")
    blocks = _frame_blocks(reader, places, owners)
    found = near_rows(blocks, values, np.array(limits, np.int64))
    for number, row, distance in zip(*(part.tolist() for part in found), strict=True):
        content, place = places[owners[row]]
        yield number, content, distance, place


def _frame_blocks(reader: StateReader, places: list[tuple[int, str]], owners: array[int]) -> Blocks:
    """Yield the frames of all videos as they are stored; add the content and the place of each video, or part
    of one, to `places`, and the index of each frame's video in that to `owners`."""
    found: list[NDArray[np.uint8]] = []
    start = 0
    for row, _, container in _opened_containers(reader):
        for sampled in container.sampled:
            if sampled.borders is not Borders.TRIMMED and _AS_STORED in sampled.turns:
                values = np.frombuffer(sampled.values, np.uint8).reshape(sampled.frames, -1, FRAME_SIZE)
                found.append(values[:, sampled.turns.index(_AS_STORED)])
                owners.extend([len(places)] * sampled.frames)
                places.append((row, place_text(sampled.place[:-1])))
        if len(owners) - start >= _BLOCK:
            yield start, np.concatenate(found)
            start = len(owners)
            found = []
    if found:
        yield start, np.concatenate(found)


def _rows_of_bytes(values: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def _member_digest(member: Member, name: str, profile: Profile) -> bytes | None:
    """Return a digest of a member that can be matched, of a picture as it is stored."""
    if not ALGORITHMS[name].of_picture:
        return digests_of(member, profile.exact_names).get(name)
    decoded = member.decoded(profile.picture_names)
    if not isinstance(decoded, DecodedPicture) or decoded.is_poor(name):
        return None
    digest = decoded.stored(profile.picture_names).get(name)
    return None if digest is None else digest.value


def _in_further(reader: StateReader, name: str, asked: Sequence[DigestQuery]) -> Iterator[ContentMatch]:
    """Search by a digest that has no column, in all contents that have it."""
    of_picture = ALGORITHMS[name].of_picture
    numbers = _profiles_with(reader, name)
    if not numbers:
        return
    for content in _contents_with(reader, numbers):
        if not of_picture:
            yield from (
                ContentMatch(content.row, one, 0) for one in asked if content.exact.get(name) == one.value
            )
            continue
        for query in file_task_of(content, NOWHERE).queries(name):
            yield from _near_runs(content.row, query, asked)


def _profiles_with(reader: StateReader, name: str) -> list[int]:
    """Return the numbers of the profiles of contents that have digests of an algorithm."""
    of_picture = ALGORITHMS[name].of_picture
    return [
        number
        for number, by in reader.contents.profiles.items()
        if by.is_readable and name in (by.picture_names if of_picture else by.exact_names)
    ]


def _near_runs(row: int, query: Query, asked: Sequence[DigestQuery]) -> Iterator[ContentMatch]:
    """Yield a match for each digest of a picture that is near one of those that are looked up."""
    assert query.run is not None
    of_bits = ALGORITHMS[query.run.algorithm].metric != "euclidean"
    for digest in query.run.digests():
        tight = of_bits and has_tight_threshold(digest.rendering, digest.turn, query.run.shown)
        for one in asked:
            apart = _apart(query.run.algorithm, digest.value, one.value)
            if apart <= (min(one.distance, TIGHT_THRESHOLD) if tight else one.distance):
                yield ContentMatch(row, one, apart, digest.variant)


def _apart(name: str, value: bytes, other: bytes) -> int:
    if ALGORITHMS[name].metric == "quadrants":
        return int(quadrant_distances(_rows_of_bytes([value]), _rows_of_bytes([other]))[0])
    if ALGORITHMS[name].metric == "euclidean":
        return sum((x - y) ** 2 for x, y in zip(value, other, strict=True))
    return (int.from_bytes(value) ^ int.from_bytes(other)).bit_count()


def _contents_with(reader: StateReader, profiles: Iterable[int]) -> Iterator[Content]:
    """Yield all contents that were digested by one of these profiles and have a record in `further`."""
    column = reader.columns["about"]
    for start in range(0, column.rows, _BLOCK):
        about = column.read(start, _BLOCK).view(ABOUT)
        chosen = (about["further"] != NOTHING) & np.isin(about["profile"], list(profiles))
        for row in (start + np.flatnonzero(chosen)).tolist():
            content = load_content(reader, row)
            if content is not None:
                yield content


_KINDS = (int | None, bytes | None)
_FINDING_QUERY = (
    "SELECT content, sha256 FROM findings WHERE path=? AND version=? AND size=? AND mtime=? "
    "AND inode IS ? AND ctime IS ? AND etag=? ORDER BY id DESC LIMIT 1"
)


class FindingDigests(ClosedOnExit):
    """A lookup of findings' digests; the state is opened at the first lookup and is not read anew later."""

    def __init__(self, state: StateDir) -> None:
        """Set the state folder.

        Args:
            state: the folder; if no scan has stored anything there, every lookup is empty.
        """
        self._state = state
        self._reader: StateReader | None = None
        self._asked = False

    def of(self, record: Record) -> Mapping[str, str]:
        """Return the digests in hex by algorithm.

        Empty if the state has no finding of a file with exactly the record's attributes.

        Args:
            record: of a finding; size, times, inode or etag of the file must equal those in the state.

        Raises:
            OutputError: the state can't be read, or is damaged.
        """
        reader = self._opened()
        if reader is None or "size" not in record:
            return {}
        of_file = "inode" in record
        with reader.reading():
            rows = reader.rows(
                _FINDING_QUERY,
                _KINDS,
                path_bytes(record),
                record.get("version", ""),
                wrapped(record["size"]),
                wrapped(record.get("mtime_ns", 0)),
                wrapped(record["inode"]) if of_file else None,
                wrapped(record.get("ctime_ns", 0)) if of_file else None,
                record.get("etag", ""),
            )
            for row, sha256 in rows:
                return _digests(reader, row, sha256)
        return {}

    def _opened(self) -> StateReader | None:
        if not self._asked:
            self._asked = True
            # The caller that needs digests reports that there are none, and where they could come from.
            with suppress(NoStateError):
                self._reader = StateReader(self._state)
        return self._reader

    def close(self) -> None:
        """Close the state."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _digests(reader: StateReader, row: int | None, sha256: bytes | None) -> dict[str, str]:
    content = None if row is None else load_content(reader, row)
    if content is not None and sha256 in (None, content.exact["sha256"]):
        return {name: content.exact[name].hex() for name in COLUMN_DIGESTS}
    return {} if sha256 is None else {"sha256": sha256.hex()}
