"""Derives a verdict from what is kept of a content, as if the file had just been read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hashscan.model import ALGORITHMS, Action, FileResult, Item, Verdict
from hashscan.scan.checked import Checked
from hashscan.scan.judging import match_all, take_reply, take_undecodable
from hashscan.scan.judging import result_of as judged
from hashscan.scan.matcher import Matcher
from hashscan.scan.policy import judge
from hashscan.scan.state.contents import CONFIRMED
from hashscan.scan.state.stored_contents import Content

UNCONFIRMED = "not yet confirmed by a second decoder, which the next sweep does"


def recalled(content: Content, item: Item) -> Checked:
    """A file of this content, as far as lists have no part in it."""
    checked = Checked(item, kind=content.kind, exact=content.exact)
    if reply := content.reply:
        # What was accepted once is checked again all the same; it lay on a disk meanwhile.
        take_reply(checked, reply, content.profile.picture_names)
    elif content.kind is not None and content.kind.pillow is None:
        take_undecodable(checked)
    checked.confirmed = bool(content.flags & CONFIRMED)
    return checked


def result_of(
    content: Content, item: Item, matcher: Matcher | None, algorithms: Sequence[str], *, with_digests: bool
) -> FileResult | None:
    """The verdict for a file of this content.

    Args:
        content: what is kept.
        item: the file.
        matcher: of the lists; None where it came near to no entry.
        algorithms: those of the sweep.
        with_digests: tell the digests of clean files, too.

    Returns:
        The result, or None where a fresh decoder has to confirm a match first.
    """
    checked = recalled(content, item)
    if matcher is not None:
        match_all(matcher, algorithms, [checked])
        if not checked.confirmed and any(ALGORITHMS[m.algorithm].of_picture for m in checked.matches):
            return None
    return judged(checked, algorithms, with_digests=with_digests)


def known_result_of(
    content: Content, item: Item, matcher: Matcher | None, algorithms: Sequence[str], *, with_digests: bool
) -> FileResult:
    """The same where nothing can be read: a likeness that no fresh decoder has confirmed is for review."""
    result = result_of(content, item, matcher, algorithms, with_digests=with_digests)
    if result is not None:
        return result
    assert matcher is not None
    checked = recalled(content, item)
    match_all(matcher, algorithms, [checked])
    result = judged(checked, algorithms, with_digests=with_digests)
    exact = [match for match in checked.matches if not ALGORITHMS[match.algorithm].of_picture]
    if result.verdict is not Verdict.MATCH or judge(exact, checked.reason)[0] is Verdict.MATCH:
        return result
    return replace(
        result, verdict=Verdict.REVIEW, action=Action.REVIEW, because=f"{result.because}; {UNCONFIRMED}"
    )
