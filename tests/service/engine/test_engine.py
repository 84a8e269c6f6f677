"""The engine with real workers: answers, lists that change, clients that leave, limits."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from hashscan.model import FileResult, FileStat, Reason, Verdict
from hashscan.service.engine.engine import outcome_of
from hashscan.service.engine.uploads import Outcome
from tests.service.engine.serving import (
    DOOR,
    PDQ_ENTRY,
    check,
    client,
    entry_of,
    picture,
    run,
    serving,
    settings_of,
    store_list,
)


def test_a_listed_upload_is_refused_and_others_pass(tmp_path: Path) -> None:
    listed, other = picture(1), picture(3)
    store_list(tmp_path, entry_of(listed), entry_of(other, 1, "other"), PDQ_ENTRY)

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            found = await check(engine, listed)
            assert (found.outcome, found.verdict, found.version) == (
                Outcome.REFUSE,
                Verdict.MATCH,
                engine.version,
            )
            assert found.threat == f"hashscan.Blocked-{found.reference}"
            assert [m.entry_id for m in found.result.matches] == ["e0"]
            clean = await check(engine, picture(2))
            assert (clean.outcome, clean.verdict, clean.reference) == (Outcome.ALLOW, Verdict.CLEAN, "")
            # A category for review only.
            unsure = await check(engine, other)
            assert (unsure.outcome, unsure.verdict, unsure.reference) == (Outcome.ALLOW, Verdict.REVIEW, "")
            cut = await check(engine, b"\xff\xd8\xff\xe0" + bytes(400))
            assert (cut.outcome, cut.verdict) == (Outcome.ALLOW, Verdict.UNDECODED)
            part = await check(engine, b"text", unchecked=Reason.PARTIAL)
            assert (part.verdict, part.result.reason) == (Verdict.UNDECODED, Reason.PARTIAL)
            assert (engine.room.taken, engine.room.contents) == (0, 0)

    run(test)


@pytest.mark.parametrize("verdict", [Verdict.HELD, Verdict.REVIEW])
@pytest.mark.parametrize(
    ("reason", "unchecked", "outcome"),
    [
        (None, None, Outcome.ALLOW),
        (Reason.TIMEOUT, None, Outcome.REFUSE),
        (Reason.STARVED, None, Outcome.ERROR),
        (Reason.PENDING, None, Outcome.ERROR),
        (Reason.UNCONFIRMED, None, Outcome.ERROR),
        (None, Reason.AMBIGUOUS, Outcome.REFUSE),
        (None, Reason.PARTIAL, Outcome.REFUSE),
        (Reason.STARVED, Reason.PARTIAL, Outcome.REFUSE),
    ],
)
def test_what_passes_does_not_clear_what_was_not_checked(
    verdict: Verdict, reason: Reason | None, unchecked: Reason | None, outcome: Outcome
) -> None:
    door = replace(DOOR, answers=DOOR.answers | {"ambiguous": "refuse", "undecoded": "refuse"})
    result = FileResult(b"", FileStat(0, 0, 1, 0, 0, 1, 0), verdict, reason)
    assert outcome_of(result, door, unchecked) is outcome


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [(Reason.CONTAINER, Outcome.ALLOW), (Reason.TIMEOUT, Outcome.REFUSE), (Reason.AMBIGUOUS, Outcome.REFUSE)],
)
def test_of_what_was_taken_apart_only_that_it_is_a_container_passes(reason: Reason, outcome: Outcome) -> None:
    door = replace(DOOR, answers=DOOR.answers | {"ambiguous": "refuse", "undecoded": "refuse"})
    result = FileResult(b"", FileStat(0, 0, 1, 0, 0, 1, 0), Verdict.UNDECODED, reason)
    assert outcome_of(result, door, taken_apart=True) is outcome


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.CONTAINER, Reason.UNCONFIRMED])
def test_a_match_that_is_not_confirmed_does_not_pass_as_undecoded(reason: Reason) -> None:
    result = FileResult(b"", FileStat(0, 0, 1, 0, 0, 1, 0), Verdict.UNDECODED, reason)
    expected = Outcome.ERROR if reason is Reason.UNCONFIRMED else Outcome.ALLOW
    assert outcome_of(result, DOOR) is expected


def test_digests_are_matched(tmp_path: Path) -> None:
    listed = picture(1)
    store_list(tmp_path, entry_of(listed))
    digests = [("sha256", hashlib.sha256(b"%d" % number).digest()) for number in range(500)]
    digests[321] = "sha256", hashlib.sha256(listed).digest()

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            found = await engine.match(digests, client())
            assert len(found) == 500
            assert [place for place, matches in enumerate(found) if matches] == [321]

    run(test)


def test_new_lists_are_used_after_a_reload(tmp_path: Path) -> None:
    first, second = picture(1), picture(2)
    store_list(tmp_path, entry_of(first))

    async def test() -> None:
        async with serving(settings_of(tmp_path)) as engine:
            before = engine.version
            assert not await engine.reload()
            store_list(tmp_path, entry_of(second))
            assert await engine.reload()
            assert engine.version != before
            for _ in range(4):
                answer = await check(engine, second)
                assert (answer.verdict, answer.version) == (Verdict.MATCH, engine.version)
            assert (await check(engine, first)).verdict is Verdict.CLEAN

    run(test)
