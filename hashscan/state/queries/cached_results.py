"""Derive results from cached contents, as if the files had just been read; decide which must be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from hashscan.matching.container_members import take_members
from hashscan.matching.evaluation import (
    FileTask,
    Matcher,
    match_files,
    without_answer,
)
from hashscan.matching.evaluation import result_of as judged
from hashscan.matching.policy import Judgement, Subject, judge, sort_key
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALGORITHMS, Action, FileResult, Item, Match, Verdict
from hashscan.reports.records import Record
from hashscan.state.findings.findings import OpenFinding, open_finding_record
from hashscan.state.queries.answers import Answers
from hashscan.state.store.contents import HIT, NOWHERE, STALE, Contents, file_task_of
from hashscan.state.store.listings import NONE

UNCONFIRMED = "not yet confirmed by a second decoder, which the next scan does"


def _reviewed(result: FileResult, certain: Judgement) -> FileResult:
    """Return a match as far as its exact matches alone would have it; the rest is for review."""
    if certain.action is result.action:
        return result
    if certain.verdict is Verdict.MATCH:
        return structs.replace(result, action=certain.action, because=certain.because)
    return structs.replace(
        result, verdict=Verdict.REVIEW, action=Action.REVIEW, because=f"{result.because}; {UNCONFIRMED}"
    )


def _is_within(match: Match) -> bool:
    """Return True if a match is with what is in a container, or with a video, which is opened as one."""
    return bool(match.member) or ALGORITHMS[match.algorithm].metric == "video"


class CachedResults:
    """The cached contents, with the lists and the policy of one scan.

    With `known`, results are those of files that can't be read now: a perceptual match that no fresh decoder
    has confirmed is for review.
    """

    def __init__(
        self,
        contents: Contents,
        setup: WorkerSetup,
        *,
        with_digests: bool,
        known: bool = False,
        answers: Answers | None = None,
    ) -> None:
        self._contents = contents
        self._answers = answers
        self._known = known
        self._setup = setup
        self._with_digests = with_digests

    def attention_flags(self, contents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the attention flags of files with these contents; a file without a content must be read."""
        if not self._contents.rows:
            return np.full(len(contents), STALE, np.uint8)
        known = self.flags_of(np.where(contents == NONE, 0, contents))
        return np.where(contents == NONE, np.uint8(STALE), known)

    def flags_of(self, contents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the attention flags of contents; one that waits for an answer is not quiet."""
        known = self._contents.attention_of(contents)
        if self._setup.members_unasked:
            known = known | np.where(self._contents.were_opened(contents), np.uint8(HIT), np.uint8(0))
        if self._answers is None:
            return known
        return known | np.where(self._answers.waiting(contents), np.uint8(HIT), np.uint8(0))

    def result(self, content: int, item: Item, subject: Subject) -> FileResult | None:
        """Return the result of a file with this content; None where the file must be read to get one."""
        return self.results([(content, item, subject)])[0]

    def results(self, asked: Sequence[tuple[int, Item, Subject]]) -> list[FileResult | None]:
        """Return the result of each file with its content, as `result`, by one query of the lists."""
        tasks = [self._task(content, item) for content, item, _ in asked]
        near = [
            task
            for task, (content, _, _) in zip(tasks, asked, strict=True)
            if task is not None and self._contents.attention[content] & HIT
        ]
        if near:
            match_files(self._matcher, self._setup.algorithms, near)
        for task, (content, _, _) in zip(tasks, asked, strict=True):
            if task is not None:
                self._take_members(task, content)
        return [
            None if task is None else self._judged(task, content, subject, known=self._known)
            for task, (content, _, subject) in zip(tasks, asked, strict=True)
        ]

    @cached_property
    def _matcher(self) -> Matcher:
        return Matcher.of_setup(self._setup)

    def _task(self, content: int, item: Item) -> FileTask | None:
        try:
            kept = self._contents.load(content)
        except ValueError:
            if self._known and self._contents.attention[content] & STALE:
                return None
            raise
        return file_task_of(kept, item) if kept.profile.is_readable else None

    def _take_members(self, task: FileTask, content: int) -> None:
        if not self._contents.were_opened(np.array([content]))[0]:
            return
        kept = self._contents.load(content)
        container = self._contents.members(kept)
        assert container is not None
        near = self._contents.attention[content] & HIT
        names = kept.profile.exact_names + kept.profile.picture_names
        setup = replace(self._setup, algorithms=names, keep=False)
        take_members(task, container, self._matcher if near else None, setup)

    def with_answers(self, result: FileResult, subject: Subject) -> FileResult:
        """Return the result of a file, now that services were asked about its content.

        If one has not answered, the result says so.
        """
        content = result.content
        if self._answers is None or content is None:
            return result
        if self._answers.matches(content):
            task = self._task(content, Item(result.name, result.stat))
            if task is not None:
                match_files(self._matcher, self._setup.algorithms, [task])
                self._take_members(task, content)
                derived = self._judged(task, content, subject, known=True)
                assert derived is not None
                result = structs.replace(derived, ctime=result.ctime)
        return self.without_missing(result)

    def without_missing(self, result: FileResult) -> FileResult:
        """Return the result of a file, undecoded instead of clean if a service has not answered about it."""
        if self._answers is None or result.content is None:
            return result
        silent = self._answers.silent(result.content)
        return without_answer(result, silent) if silent else result

    def _judged(self, task: FileTask, content: int, subject: Subject, *, known: bool) -> FileResult | None:
        """Return the result of a matched file; None where a fresh decoder has to confirm a match."""
        setup = self._setup
        # A picture that is a container, too, is opened by a decoder of its own.
        alone = task.confirmed or (task.kind is not None and task.kind.pillow is not None)
        exact = [
            m for m in task.matches if (alone if _is_within(m) else not ALGORITHMS[m.algorithm].of_picture)
        ]
        unconfirmed = not task.confirmed and len(exact) < len(task.matches)
        if unconfirmed and not known:
            return None
        if self._answers is not None and (answers := self._answers.matches(content)):
            # One on a digest that is not confirmed has a doubt of its own.
            exact += answers
            task.matches = sorted([*task.matches, *answers], key=sort_key)
        result = judged(
            task, setup.algorithms, with_digests=self._with_digests, subject=subject, policy=setup.policy
        )
        if unconfirmed and result.verdict is Verdict.MATCH:
            subject = subject._replace(sha256=task.exact.get("sha256"))
            result = _reviewed(result, judge(exact, task.reason, subject, setup.policy))
        return structs.replace(result, content=content)

    def open_finding_record(self, found: OpenFinding, *, answered: bool) -> Iterator[Record]:
        """Yield the record of an open finding; nothing where today's lists clear it, as far as they can
        decide that (`answered`)."""
        result: FileResult | None = None
        content = found.content
        if content is not None and content < self._contents.rows and self._contents.is_whole(content):
            result = self.result(content, NOWHERE, Subject(found.path))
        record = open_finding_record(found, result, answered=answered)
        if record is not None:
            yield record
