"""Match the digests of a file with the lists, and derive its verdict.

The file was read now, or in an earlier scan. A picture has a threshold for each of its variants.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import counting_hint, install_hint
from hashscan.hashing.recognition.names import BEGIN_SIZE, claims_to_be_shown, ending_of_type
from hashscan.hashing.records import DecodedPicture, fault_in, unpack_reply
from hashscan.hashing.variants import (
    PLAIN,
    RESTORED,
    SECTION,
    SIMILARITY_DOUBTS,
    DigestRun,
    Kind,
    Part,
    is_opacity,
    is_shown,
    is_trimmed,
)
from hashscan.lists.exceptions import fingerprint
from hashscan.lists.formats.base import content_of
from hashscan.lists.index import CompiledIndex
from hashscan.lists.index.base import Hits, default_threshold
from hashscan.lists.index.video_matching import VideoRule
from hashscan.lists.storage.columns import ListHandle
from hashscan.lists.storage.degenerate import is_degenerate
from hashscan.matching.listed_videos import VideoMatcher
from hashscan.matching.policy import (
    NO_SUBJECT,
    ONLY_REPORT,
    Policy,
    Subject,
    explained,
    judge,
    only_test,
    sort_key,
)
from hashscan.matching.worker_setup import VPDQ_RULE, WorkerSetup, distance_rule
from hashscan.model import (
    ALGORITHMS,
    MATCHES_MAX,
    NONE_BY,
    CtimeTrust,
    Digest,
    DistanceRule,
    Doubt,
    ExceptedEntry,
    FileResult,
    Item,
    Match,
    Reason,
    VariantDigest,
    Verdict,
)
from hashscan.reports.records import FINDINGS
from hashscan.sandbox.client import PendingFile
from hashscan.sources.base import FileError, OpenFile, StoredChecksum

if TYPE_CHECKING:
    from hashscan.hashing.member_records import OpenedContainer

TIGHT_THRESHOLD = 21
"""Largest distance in bits of a match for pictures that were turned, mirrored or trimmed, for single planes
and those whose contrast was raised. See `benchmarks/recall/recall.py` for what it finds.
"""
TIGHT_REACH = 30
"""Largest distance in bits at which an entry is for review there. Nearly all distances of PDQ are even, since
half of the bits are set, so that 31 would find no more."""
RESTORED_THRESHOLD = 34
"""Largest distance in bits of a match for restored pictures, which are for review only.

A query costs 1.4 times as much as at 31; at 36 it would cost 1.8 times as much. Of 60 photographs that were
altered in 60 ways, none came within 80 bits of another one's entry (`benchmarks/recall/near_copies.py` alters
them).
"""
RENDERING_DOUBTS = {RESTORED: Doubt.RESTORED, SECTION: Doubt.SECTION}
"""The reason why matches of these renderings are for review only: there are 30 such chances for each
picture, and many pictures of one site have the same frame."""

CONFIRMING = frozenset({"phash", "dhash", "photodna"})
"""Algorithms that confirm a review by PDQ. The other two of 64 bits say little more than where a picture is
bright, which many pictures share."""

_FEW = 16
"""Number of queries up to which it is worthwhile to ask first if none can have a match."""


def thresholds_of_lists(
    lists: Sequence[ListHandle],
    videos: VideoRule | None = None,
    distances: Sequence[DistanceRule] = (),
) -> dict[str, int]:
    """Return the largest distance of a match by algorithm, given the number of the lists' entries.

    Args:
        videos: the rule by which videos are matched.
        distances: the distances of PhotoDNA, of which the result has the largest of all lists.
    """
    entries = Counter[str]()
    for handle in lists:
        for files in handle.columns:
            entries[files.algorithm] += files.entries
    found = {name: default_threshold(name, entries[name]) for name in ALGORITHMS}
    reaches = reach_of_vectors(lists, distances).values()
    return found | {
        "vpdq": (videos or VPDQ_RULE).threshold,
        "photodna": max(reaches, default=found["photodna"]),
    }


def reach_of_vectors(lists: Iterable[ListHandle], distances: Sequence[DistanceRule]) -> dict[str, int]:
    """Return the largest distance of PhotoDNA at which entries are named, by list that has any."""
    return {
        handle.name: distance_rule(distances, handle.name).review
        for handle in lists
        if any(files.algorithm == "photodna" for files in handle.columns)
    }


def has_tight_threshold(rendering: int, turn: int, shown: int) -> bool:
    """Return True if only entries within `TIGHT_THRESHOLD` accuse by a digest.

    Args:
        shown: the turn that EXIF asks for.
    """
    if rendering == RESTORED:
        return False
    turned = turn not in {0, shown}
    return turned or is_trimmed(rendering) or not is_shown(rendering) or rendering == SECTION


class Query(NamedTuple):
    """Digests to be looked up, all of one algorithm and of one file."""

    values: bytes
    """One digest, or those of `run`."""
    run: DigestRun | None = None
    """The run of a picture's digests; None for a digest of bytes."""

    @property
    def doubt(self) -> Doubt | None:
        """The reason why similarity alone proves little for the picture."""
        if self.run is None:
            return None
        return RENDERING_DOUBTS.get(self.run.rendering) or SIMILARITY_DOUBTS[self.run.doubt]

    def match(self, place: int, found: Match) -> Match:
        """Return a match of one of the digests, with the variant and doubt of the picture."""
        if self.run is None:
            return found
        (digest,) = islice(self.run.digests(), place, place + 1)
        return structs.replace(found, variant=digest.variant, doubt=self.doubt or found.doubt)


class Matcher:
    """The index of some lists with the thresholds that follow from their size."""

    def __init__(
        self,
        lists: Sequence[ListHandle],
        review_threshold: int | None = None,
        excepted: Iterable[ExceptedEntry] = (),
        thresholds: Mapping[str, int] | None = None,
        *,
        videos: VideoRule | None = None,
        distances: Sequence[DistanceRule] = (),
        many: bool = False,
    ) -> None:
        """Map the lists into memory.

        Args:
            review_threshold: distance in bits up to which an entry of PDQ that is too far away for a match is
                a near miss, for review; None leaves near misses out. Turned and trimmed pictures have near
                misses up to `TIGHT_REACH` at least; doubted and restored ones and sections have none.
            thresholds: by algorithm, where these lists are only a part of those they follow from.
            videos: the rule by which videos are matched.
            distances: the distances of PhotoDNA.
            many: True if so many digests will be looked up that small lists are worth an index, too.
        """
        excepted = tuple(excepted)
        self.videos = VideoMatcher(lists, excepted, videos or VPDQ_RULE)
        self._index = CompiledIndex.open(lists, many=many)
        self.algorithms = self._index.algorithms
        """The algorithms for which the lists have entries."""
        if thresholds is None:
            thresholds = thresholds_of_lists(lists, distances=distances)
        self.thresholds = thresholds
        self._distances = distances
        self._review_threshold = review_threshold
        self._tight_reach = max(min(thresholds["pdq"], TIGHT_REACH), review_threshold or 0)
        self._excepted = {(entry.list_name, entry.entry_id): entry for entry in excepted}

    @classmethod
    def of_setup(cls, setup: WorkerSetup) -> Matcher:
        """Return a matcher with the lists, exceptions and distances of a worker."""
        return cls(
            setup.lists,
            setup.review_threshold,
            setup.excepted,
            videos=setup.videos,
            distances=setup.distances,
        )

    def ask(self, name: str, queries: Sequence[Query]) -> Iterator[tuple[int, Match]]:
        """Look up digests of one algorithm in the index, all at once.

        Returns:
            The index of a query and an entry near it, for every such pair. An entry farther away than the
            match's threshold is a near miss.
        """
        if name not in self.algorithms or not queries:
            return
        if ALGORITHMS[name].metric == "euclidean":
            yield from self._ask_of_vectors(name, queries)
            return
        size = ALGORITHMS[name].size
        # Of a picture, a query has the digests of several variants.
        few = len(queries) <= _FEW and all(len(query.values) == size for query in queries)
        if few and self._index.lacks(name, [query.values for query in queries]):
            return
        full = self.thresholds[name]
        tight = min(full, TIGHT_THRESHOLD)
        limits = np.frombuffer(b"".join(_limits(query.run, full, tight) for query in queries), np.int64)
        reach = limits
        if name == "pdq":
            near = self.reach(name)
            wide = [
                _limits(query.run, full, tight)
                if query.doubt
                else _limits(query.run, near, self._tight_reach)
                for query in queries
            ]
            reach = np.frombuffer(b"".join(wide), np.int64)
        values = np.frombuffer(b"".join(query.values for query in queries), np.uint8)
        found = self._index.query(name, values.reshape(len(limits), -1), reach)
        for row, asked, place, entry, distance in _placed(found, queries):
            match = self._match(name, entry, distance, int(limits[row]))
            yield asked, queries[asked].match(place, match)

    def ask_digests(self, name: str, values: bytes) -> Iterator[tuple[int, Match]]:
        """Look up many digests of one algorithm, of which no picture is known, without near misses.

        Args:
            values: the digests, one after another.

        Returns:
            The index of a digest and an entry near it, for every such pair.
        """
        size = ALGORITHMS[name].size
        if ALGORITHMS[name].metric == "euclidean":
            each = (values[start : start + size] for start in range(0, len(values), size))
            yield from self.ask(name, [Query(value) for value in each])
        elif name in self.algorithms:
            rows = np.frombuffer(values, np.uint8).reshape(-1, size)
            limit = self.thresholds[name]
            found = self._index.query(name, rows, np.full(len(rows), limit, np.int64))
            for row, entry, distance in zip(*(column.tolist() for column in found), strict=True):
                yield row, self._match(name, entry, distance, limit)

    def _ask_of_vectors(self, name: str, queries: Sequence[Query]) -> Iterator[tuple[int, Match]]:
        """Look up vectors as `ask` does, with the distances of each list."""
        values = np.frombuffer(b"".join(query.values for query in queries), np.uint8)
        values = values.reshape(-1, ALGORITHMS[name].size)
        found = self._index.query(name, values, np.full(len(values), self.thresholds[name], np.int64))
        for _, asked, place, entry, distance in _placed(found, queries):
            match = self._match(name, entry, distance, distance)
            rule, query = distance_rule(self._distances, match.list_name), queries[asked]
            if distance > rule.review:
                continue
            doubt = Doubt.PHOTODNA if rule.match is None else None
            if query.run is not None and has_tight_threshold(
                query.run.rendering, query.run.turns[place], query.run.shown
            ):
                doubt = Doubt.PHOTODNA_VARIANT
            threshold = rule.review if rule.match is None else rule.match
            yield asked, query.match(place, structs.replace(match, threshold=threshold, doubt=doubt))

    def reach(self, name: str, rendering: int = PLAIN, turn: int = 0, shown: int = 0) -> int:
        """Return the largest distance at which an entry is named for a digest, for a match or for review.

        Args:
            rendering: index in `variants.RENDERINGS`.
            turn: the digest's.
            shown: the turn that EXIF asks for.
        """
        full = self.thresholds[name]
        if ALGORITHMS[name].metric == "euclidean":
            return full
        if has_tight_threshold(rendering, turn, shown):
            wide = name == "pdq" and rendering != SECTION
            return self._tight_reach if wide else min(full, TIGHT_THRESHOLD)
        if rendering == RESTORED:
            return RESTORED_THRESHOLD
        if name != "pdq" or self._review_threshold is None:
            return full
        return max(full, self._review_threshold)

    def near(self, name: str, values: NDArray[np.uint8], reach: int) -> NDArray[np.int64]:
        """Return which of many digests of one algorithm are near any entry, for a match or for review.

        Args:
            values: shape (digests, size).
            reach: the largest distance; see the method of that name.

        Returns:
            Their indices; some may be included although the picture is too doubtful for review.
        """
        return np.unique(self._index.query(name, values, np.full(len(values), reach, np.int64))[0])

    def _match(self, name: str, entry: int, distance: int, threshold: int) -> Match:
        """Return the match with an entry, given by its number in the index; withheld if it is excepted."""
        list_name, entry_id, category = self._index.entry(name, entry)
        excepted = self._excepted.get((list_name, entry_id))
        if excepted and excepted.fingerprint != fingerprint(name, self._index.value(name, entry)):
            excepted = None
        return Match(list_name, entry_id, name, category, distance, threshold, excepted=excepted)


def _placed(hits: Hits, queries: Sequence[Query]) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield for each hit the digest, its query, its place there, the entry, and the distance."""
    rows, entries, distances = (column.tolist() for column in hits)
    if not rows:
        return
    first = list(accumulate((len(q.run.turns) if q.run else 1 for q in queries), initial=0))
    for row, entry, distance in zip(rows, entries, distances, strict=True):
        asked = bisect_right(first, row) - 1
        yield row, asked, row - first[asked], entry, distance


def _limits(run: DigestRun | None, full: int, tight: int) -> bytes:
    """Return the largest distance for each digest of a run, 8 bytes each."""
    if run is None:
        return _limits_of(0, (0,), 0, full, tight)
    return _limits_of(run.rendering, run.turns, run.shown, full, tight)


@lru_cache(maxsize=1024)
def _limits_of(rendering: int, turns: tuple[int, ...], shown: int, full: int, tight: int) -> bytes:
    if rendering == RESTORED:
        full = RESTORED_THRESHOLD
    limits = [tight if has_tight_threshold(rendering, turn, shown) else full for turn in turns]
    return np.array(limits, np.int64).tobytes()


def closest_of_each(matches: Iterable[Match]) -> list[Match]:
    """Return one match for each entry: of several variants one that accuses, and of those the closest."""
    best: dict[tuple[str, str, str], Match] = {}
    for match in matches:
        key = match.list_name, match.entry_id, match.algorithm
        if key not in best or _weight(match) < _weight(best[key]):
            best[key] = match
    return list(best.values())


def _weight(match: Match) -> tuple[bool, int]:
    return match.doubt is not None or match.near_miss, match.distance


@dataclass(slots=True)
class FileTask:
    """The task of checking one file."""

    item: Item
    opened: OpenFile | None = None
    kind: FileFormat | None = None
    exact: dict[str, bytes] = field(default_factory=dict)
    decoded: DecodedPicture | None = None
    """The decoder's data of the picture, once validated."""
    begun: PendingFile | None = None
    """A request to a decoder whose reply was not received yet."""
    reply: bytes = b""
    """The decoder's reply, once validated; it may also be used for equal content."""
    reason: Reason | None = None
    detail: str = ""
    unreadable: bool = False
    as_listed: bool = False
    """True if it was unchanged since the listing when it was opened."""
    ctime: CtimeTrust = CtimeTrust.FILESYSTEM
    """Trust in its ctime, as determined before it was read."""
    none_by: str = ""
    """The row of `none_kinds` that proves that no viewer shows a picture of it; empty if none does."""
    recognised: bool = False
    """True if something is in a file that no signature tells."""
    by_signature: bool = False
    """True if no library could be asked what such a file is."""
    looked_into: bool = False
    """True if it is a container that was opened, so that its verdict depends on its members, too."""
    members: OpenedContainer | None = None
    """The members of a container; None where they are not kept."""
    confirmed: bool = False
    """True if `reply` or `members` is that of a decoder that had seen no other file."""
    matches: list[Match] = field(default_factory=list)
    bytes_read: int = 0
    hole_bytes: int = 0
    """Number of those that were holes, where there are many."""
    deferred: int = 0
    """Size in bytes, if reading was deferred until the large files are read."""
    checksum: StoredChecksum | None = None
    """The checksum that the store of an object keeps."""
    compared: bool | None = None
    """True if an object was compared with its checksum, False if it was read only; None for a file."""
    differs: bool = False
    """True if it differs from its checksum, and was read twice."""

    def restart(self) -> None:
        """Forget all that was read, to read it again."""
        self.close()
        self.kind = self.decoded = self.reason = self.checksum = None
        self.exact, self.reply, self.detail, self.none_by = {}, b"", "", ""

    def fail(self, trouble: FileError) -> None:
        """Mark the file as unreadable, since its bytes can't be relied on, and drop what was computed."""
        self.unreadable, self.reason, self.detail = True, trouble.reason, trouble.detail
        self.exact = {}
        self.decoded = self.members = None
        self.matches.clear()
        self.close()

    def queries(self, name: str) -> list[Query]:
        """Return the queries to the lists for this file, by one algorithm."""
        algorithm = ALGORITHMS[name]
        if not algorithm.of_picture:
            return [Query(self.exact[name])] if name in self.exact else []
        if self.decoded is None:
            return []
        least = algorithm.min_quality
        return [
            Query(run.values, run)
            for run in self.decoded.runs
            if run.algorithm == name and run.quality >= least and not _is_featureless(run)
        ]

    def close(self) -> None:
        """Close the file."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def _is_featureless(run: DigestRun) -> bool:
    """Return True for a plane of opacity that shows nothing but a shape, such as round corners."""
    if not is_opacity(run.rendering):
        return False
    return is_degenerate(run.algorithm, next(run.digests()).value)


def store_reply(file: FileTask, reply: bytes, pictures: Sequence[str]) -> bool:
    """Validate a decoder's reply and store it; return False if it is invalid, which is stored, too.

    Args:
        reply: the received or cached bytes; untrusted.
        pictures: the algorithms the decoder was asked for, in that order.
    """
    assert file.kind is not None
    try:
        answer = unpack_reply(reply, file.kind, pictures)
    except ValueError as error:
        file.reason, file.detail = Reason.DECODER_DIED, f"{error}"
        return False
    if isinstance(answer, DecodedPicture):
        file.decoded = answer
        if answer.damage is not None:
            file.reason = answer.damage
            what = "the picture" if answer.damage is Reason.CONTAINER else "what was decoded of it"
            file.detail = f"{file.kind.name}, matched by {what}"
            if fault := fault_in(reply):
                file.detail += f"; {fault}"
            if answer.damage is Reason.UNSUPPORTED:
                file.detail += counting_hint()
            if answer.left_out:
                file.detail += f"; {answer.left_out} digests beyond the limit were not matched"
    else:
        file.reason, file.detail = answer, file.kind.name
        if answer is Reason.UNSUPPORTED:
            file.detail += install_hint(file.kind)
        elif answer is Reason.PART_FAILED:
            file.detail += f"; {fault_in(reply)}"
        elif answer is Reason.TOO_LARGE:
            file.detail += "; see --large-decoder-memory"
    return True


LIMIT_REASONS = frozenset(
    {Reason.TOO_LARGE, Reason.MEMORY, Reason.TIMEOUT, Reason.DECODER_DIED, Reason.HASH_FAILED}
)
"""Reasons that may not hold with other limits or libraries than those under which they were found."""


def disprove(file: FileTask, match: Match, reason: Reason | None) -> None:
    """Store that a second decoder has not confirmed a match.

    Args:
        reason: why it did not get as far as the first one, if it did not. Where the system is the cause, that
            is not the file's fault.
    """
    blameless = reason in {Reason.STARVED, Reason.OVER_BUDGET}
    file.reason = reason if blameless else Reason.UNCONFIRMED
    file.detail = f"a match with entry {match.entry_id} was not confirmed by a second decoder"
    if reason is not None:
        file.detail += f": {reason.value}"


def take_name(file: FileTask) -> None:
    """Store for a file in which nothing was recognised that its name or its MIME type says otherwise, if it
    does.
    """
    begin, names = b"", [file.item.name]
    if file.opened is not None and file.opened.media_type:
        names.append(ending_of_type(file.opened.media_type))
    if file.opened is not None and file.opened.content is not None:
        begin = bytes(file.opened.content[:BEGIN_SIZE])
    elif file.opened is not None:
        with suppress(OSError):
            begin = os.pread(file.opened.descriptor, BEGIN_SIZE, 0)
    if any(claims_to_be_shown(name, file.none_by, begin) for name in names):
        file.reason = Reason.NAMED


def recognition_counts(files: Iterable[FileTask]) -> dict[str, int]:
    """Return how files were recognised that no signature tells: the fields of `model.Recognition`."""
    found = Counter[str]()
    for file in files:
        named = file.reason is Reason.NAMED
        if file.none_by:
            found[f"{NONE_BY}{file.none_by}"] += 1
        found["named"] += named
        if file.kind == UNRECOGNISED and not file.unreadable:
            found["probed"] += 1
            found["opened"] += file.recognised
            found["undecoded"] += file.reason is not None and not named
            found["by_signatures"] += file.by_signature
    return dict(+found)


def take_undecodable(file: FileTask) -> None:
    """Store that the file is a container, or a picture of a format that can't be decoded here."""
    assert file.kind is not None
    file.reason = Reason.CONTAINER if file.kind.container else Reason.UNSUPPORTED
    file.detail = file.kind.name


def match_files(matcher: Matcher, algorithms: Sequence[str], files: Sequence[FileTask]) -> None:
    """Match all files with the index at once, algorithm by algorithm.

    A review by PDQ for which another hash of the same picture is near the same content becomes a match.
    """
    found: list[tuple[FileTask, Query, Match]] = []
    for name in algorithms:
        if name not in matcher.algorithms:
            continue
        asking = [(file, query) for file in files for query in file.queries(name)]
        for row, match in matcher.ask(name, [query for _, query in asking]):
            found.append((*asking[row], match))
    confirmed = {_shown(*each) for each in found if _confirms(each[2])}
    for file, query, match in found:
        is_confirmed = confirmed and _is_confirmable(match) and _shown(file, query, match) in confirmed
        file.matches.append(_acting(match) if is_confirmed else match)
    for file in files:
        if file.matches:
            file.matches = sorted(closest_of_each(file.matches), key=sort_key)


def _confirms(match: Match) -> bool:
    """Return True if a match shows that a review by PDQ of the same content is no accident.

    However far the settings have PhotoDNA named for review, it confirms within its default distance.
    """
    if match.algorithm not in CONFIRMING or match.near_miss or match.excepted is not None:
        return False
    doubted = match.doubt and match.doubt not in {Doubt.PHOTODNA, Doubt.PHOTODNA_VARIANT}
    return not doubted and match.distance <= ALGORITHMS[match.algorithm].threshold


def _is_confirmable(match: Match) -> bool:
    """Return True for a review of a restored or turned picture or a section, not for other near misses."""
    if match.algorithm != "pdq":
        return False
    if match.doubt:
        return match.doubt in RENDERING_DOUBTS.values()
    return match.near_miss and match.threshold <= TIGHT_THRESHOLD and match.distance <= TIGHT_REACH


def _acting(match: Match) -> Match:
    return structs.replace(match, threshold=TIGHT_REACH if match.near_miss else match.threshold, doubt=None)


def _shown(file: FileTask, query: Query, match: Match) -> tuple[int, Part | None, str, str, str]:
    """Return a key of a picture of a file and of the content that the matched entry is a hash of."""
    part = None if query.run is None else query.run.part
    content = content_of(match.entry_id, match.algorithm)
    return id(file), part, match.list_name, content, match.category


def result_of(
    file: FileTask,
    algorithms: Sequence[str],
    *,
    with_digests: bool = False,
    augment: frozenset[Kind] = frozenset(),
    subject: Subject = NO_SUBJECT,
    policy: Policy = ONLY_REPORT,
) -> FileResult:
    """Return the result of a file that was read and matched.

    Args:
        algorithms: those whose digests are reported, in that order.
        augment: kinds of pictures whose digests are included besides.
        subject: the file's attributes; its digest is added.
    """
    stat = file.item.stat
    if file.unreadable:
        # Not every store says in a listing which objects it does not allow to be read.
        archived = file.reason is Reason.ARCHIVED
        verdict = Verdict.SKIPPED if archived else Verdict.UNREADABLE
        return FileResult(file.item.name, stat, verdict, reason=file.reason, detail=file.detail)
    if file.matches:
        # Without matches the digest is not needed, and nearly all files have none.
        subject = subject._replace(sha256=file.exact.get("sha256"))
    verdict, because, action = judge(file.matches, file.reason, subject, policy)
    decoded = file.decoded
    result = FileResult(
        file.item.name,
        stat,
        verdict,
        reason=file.reason,
        detail=file.detail,
        because=because,
        action=action,
        only_test=only_test(file.matches),
        low_quality=decoded is not None and decoded.is_poor("pdq"),
        format="" if file.reason is None or file.kind is None else file.kind.name,
    )
    if verdict is Verdict.CLEAN and not with_digests:
        return result
    digests = {name: Digest(name, value) for name, value in file.exact.items()}
    if decoded is not None:
        digests |= decoded.stored([name for name in algorithms if ALGORITHMS[name].of_picture])
    return structs.replace(
        result,
        matches=_first_of(explained(file.matches, subject, policy)) if verdict in FINDINGS else (),
        digests=tuple(digests[name] for name in algorithms if name in digests),
        picture=None if decoded is None else decoded.picture,
        augmented=() if decoded is None or not augment else tuple(_augmented(decoded, augment)),
    )


def without_answer(result: FileResult, services: Sequence[str]) -> FileResult:
    """Return the result of a file about which matching services have not answered yet.

    A verdict that does not promise anything stays; a clean file becomes undecoded.
    """
    verdict = Verdict.UNDECODED if result.verdict is Verdict.CLEAN else result.verdict
    earlier = "" if result.reason is None else f"; {result.reason.value} {result.detail}".rstrip()
    return structs.replace(
        result, verdict=verdict, reason=Reason.PENDING, detail=f"{', '.join(services)}{earlier}"
    )


def _first_of(matches: Sequence[Match]) -> tuple[Match, ...]:
    """Return the first `MATCHES_MAX` matches, and the first of each further list.

    A finding must name all its lists.
    """
    kept = list(matches[:MATCHES_MAX])
    lists = {match.list_name for match in kept}
    for match in matches[MATCHES_MAX:]:
        if match.list_name not in lists:
            lists.add(match.list_name)
            kept.append(match)
    return tuple(kept)


def _augmented(decoded: DecodedPicture, kinds: frozenset[Kind]) -> Iterator[VariantDigest]:
    for run in decoded.runs:
        if run.part.kind in kinds and not run.rendering and not run.turns[0]:
            found = next(run.digests())
            yield VariantDigest(run.part.words, Digest(run.algorithm, found.value, run.quality))
