"""Evaluate what was read of a file, now or in an earlier scan: match it and derive its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hashscan.hashing.formats import PictureFormat, install_hint
from hashscan.hashing.records import DecodedPicture, unpack_reply
from hashscan.hashing.variants import Kind
from hashscan.matching.matcher import Matcher, Query, closest_of_each
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
from hashscan.model import (
    ALGORITHMS,
    MATCHES_MAX,
    CtimeTrust,
    Digest,
    FileResult,
    Item,
    Match,
    Reason,
    VariantDigest,
    Verdict,
)
from hashscan.sandbox.client import PendingFile
from hashscan.sources.base import FileError, OpenFile


@dataclass(slots=True)
class FileTask:
    """The task of checking one file."""

    item: Item
    opened: OpenFile | None = None
    kind: PictureFormat | None = None
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
    confirmed: bool = False
    """True if `reply` is that of a fresh decoder, started for this file alone."""
    matches: list[Match] = field(default_factory=list)
    bytes_read: int = 0
    hole_bytes: int = 0
    """Number of those that were holes, where there are many."""
    deferred: int = 0
    """Size in bytes, if reading was deferred until the large files are read."""

    def fail(self, trouble: FileError) -> None:
        """Mark the file as unreadable, since its bytes can't be relied on, and drop what was computed."""
        self.unreadable, self.reason, self.detail = True, trouble.reason, trouble.detail
        self.exact = {}
        self.decoded = None
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
            if run.algorithm == name and run.quality >= least
        ]

    def close(self) -> None:
        """Close the file."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


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
            file.detail = f"{file.kind.name}, matched by what was decoded of it"
            if answer.left_out:
                file.detail += f"; {answer.left_out} digests beyond the limit were not matched"
    else:
        file.reason, file.detail = answer, file.kind.name
        if answer is Reason.UNSUPPORTED:
            file.detail += install_hint(file.kind)
    return True


LIMIT_REASONS = frozenset({Reason.MEMORY, Reason.TIMEOUT, Reason.DECODER_DIED})
"""Reasons that may not hold with other limits or libraries than those under which they were found."""


def take_undecodable(file: FileTask) -> None:
    """Store that the file is a picture of a format that can't be decoded here."""
    assert file.kind is not None
    file.reason, file.detail = Reason.UNSUPPORTED, file.kind.name


def match_files(matcher: Matcher, algorithms: Sequence[str], files: Sequence[FileTask]) -> None:
    """Match all files with the index at once, algorithm by algorithm."""
    for name in algorithms:
        if name not in matcher.algorithms:
            continue
        asking = [(file, query) for file in files for query in file.queries(name)]
        for row, match in matcher.ask(name, [query for _, query in asking]):
            asking[row][0].matches.append(match)
    for file in files:
        if file.matches:
            file.matches = sorted(closest_of_each(file.matches), key=sort_key)


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
    return replace(
        result,
        matches=_first_of(explained(file.matches, subject, policy)) if because else (),
        digests=tuple(digests[name] for name in algorithms if name in digests),
        picture=None if decoded is None else decoded.picture,
        augmented=() if decoded is None or not augment else tuple(_augmented(decoded, augment)),
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
