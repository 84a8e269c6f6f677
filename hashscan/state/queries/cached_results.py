"""Derive results from cached contents, as if the files had just been read; decide which must be read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from hashscan.matching.evaluation import FileTask, Matcher, match_files, store_reply, take_undecodable
from hashscan.matching.evaluation import result_of as judged
from hashscan.matching.policy import Subject, judge
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALGORITHMS, Action, FileResult, Item, Verdict
from hashscan.reports.records import Record
from hashscan.state.findings.findings import UNKNOWN_STAT, OpenFinding, open_finding_record
from hashscan.state.store.contents import CONFIRMED, HIT, STALE, Contents
from hashscan.state.store.listings import NONE
from hashscan.state.store.stored_contents import Content

NOWHERE = Item(b"", UNKNOWN_STAT)
"""Placeholder for the file of a content."""
UNCONFIRMED = "not yet confirmed by a second decoder, which the next scan does"


def file_task_of(content: Content, item: Item) -> FileTask:
    """Return a file of this content, before it is matched with lists."""
    checked = FileTask(item, kind=content.kind, exact=content.exact)
    if reply := content.reply:
        # The reply was validated before it was stored, but is validated again: it was on a disk meanwhile.
        store_reply(checked, reply, content.profile.picture_names)
    elif content.kind is not None and content.kind.pillow is None:
        take_undecodable(checked)
    checked.confirmed = bool(content.flags & CONFIRMED)
    return checked


def result_of(
    content: Content,
    item: Item,
    matcher: Matcher | None,
    setup: WorkerSetup,
    subject: Subject,
    *,
    with_digests: bool,
) -> FileResult | None:
    """Return the result of a file with this content; None where a fresh decoder has to confirm a match.

    Args:
        matcher: of the lists; None if the content came near to no entry.
    """
    checked = file_task_of(content, item)
    if matcher is not None:
        match_files(matcher, setup.algorithms, [checked])
        if not checked.confirmed and any(ALGORITHMS[m.algorithm].of_picture for m in checked.matches):
            return None
    return judged(checked, setup.algorithms, with_digests=with_digests, subject=subject, policy=setup.policy)


def known_result_of(
    content: Content,
    item: Item,
    matcher: Matcher | None,
    setup: WorkerSetup,
    subject: Subject,
    *,
    with_digests: bool,
) -> FileResult:
    """Return the result of a file that can't be read now; the arguments are those of `result_of`.

    A perceptual match that no fresh decoder has confirmed is for review.
    """
    result = result_of(content, item, matcher, setup, subject, with_digests=with_digests)
    if result is not None:
        return result
    assert matcher is not None
    checked = file_task_of(content, item)
    match_files(matcher, setup.algorithms, [checked])
    result = judged(
        checked, setup.algorithms, with_digests=with_digests, subject=subject, policy=setup.policy
    )
    exact = [match for match in checked.matches if not ALGORITHMS[match.algorithm].of_picture]
    subject = subject._replace(sha256=checked.exact.get("sha256"))
    certain = judge(exact, checked.reason, subject, setup.policy)
    if result.verdict is not Verdict.MATCH or certain.action is result.action:
        return result
    if certain.verdict is Verdict.MATCH:
        return structs.replace(result, action=certain.action, because=certain.because)
    return structs.replace(
        result, verdict=Verdict.REVIEW, action=Action.REVIEW, because=f"{result.because}; {UNCONFIRMED}"
    )


class CachedResults:
    """The cached contents, with the lists and the policy of one scan.

    With `known`, results are those of `known_result_of`, for files that can't be read now.
    """

    def __init__(
        self, contents: Contents, setup: WorkerSetup, *, with_digests: bool, known: bool = False
    ) -> None:
        self._contents = contents
        self._known = known
        self._setup = setup
        self._with_digests = with_digests
        self._matcher: Matcher | None = None

    def attention_flags(self, contents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the attention flags of files with these contents; a file without a content must be read."""
        if not self._contents.rows:
            return np.full(len(contents), STALE, np.uint8)
        known = self._contents.attention_of(np.maximum(contents, 0))
        return np.where(contents == NONE, np.uint8(STALE), known)

    def result(self, content: int, item: Item, subject: Subject) -> FileResult | None:
        """Return the result of a file with this content; None where the file must be read to get one."""
        try:
            kept = self._contents.load(content)
        except ValueError:
            if self._known and self._contents.attention[content] & STALE:
                return None
            raise
        if not kept.profile.is_readable:
            return None
        near = bool(self._contents.attention[content] & HIT)
        if near and self._matcher is None:
            setup = self._setup
            self._matcher = Matcher(setup.lists, setup.review_threshold, setup.excepted)
        derive = known_result_of if self._known else result_of
        result = derive(
            kept,
            item,
            self._matcher if near else None,
            self._setup,
            subject,
            with_digests=self._with_digests,
        )
        return None if result is None else structs.replace(result, content=content)

    def open_finding_record(self, found: OpenFinding, *, answered: bool) -> Iterator[Record]:
        """Yield the record of an open finding; nothing where today's lists clear it.

        Args:
            answered: True if the lists in use can decide that nothing accuses it any more.
        """
        result: FileResult | None = None
        content = found.content
        if content is not None and content < self._contents.rows and self._contents.is_whole(content):
            result = self.result(content, NOWHERE, Subject(found.path))
        record = open_finding_record(found, result, answered=answered)
        if record is not None:
            yield record
