"""Derive a verdict from a cached content, as if the file had just been read."""

from __future__ import annotations

from dataclasses import replace

from hashscan.matching.evaluation import match_files, store_reply, take_undecodable
from hashscan.matching.evaluation import result_of as judged
from hashscan.matching.file_task import FileTask
from hashscan.matching.matcher import Matcher
from hashscan.matching.policy import judge
from hashscan.matching.policy_rules import Subject
from hashscan.matching.setup import WorkerSetup
from hashscan.model import ALGORITHMS, Action, FileResult, Item, Verdict
from hashscan.state.store.contents import CONFIRMED
from hashscan.state.store.stored_contents import Content

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
    """Return the result of a file with this content.

    Args:
        content: the cached content.
        item: the file.
        matcher: of the lists; None if the content came near to no entry.
        setup: of the scan.
        subject: the file's attributes besides its content.
        with_digests: include the digests of clean files, too.

    Returns:
        The result, or None where a fresh decoder has to confirm a match first.
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
        return replace(result, action=certain.action, because=certain.because)
    return replace(
        result, verdict=Verdict.REVIEW, action=Action.REVIEW, because=f"{result.because}; {UNCONFIRMED}"
    )
