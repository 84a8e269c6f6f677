"""Journals of uploads: refusals become cases, counts become statistics, and each line counts once."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from hashscan.alerts.builder import AlertBuilder
from hashscan.cases.actions import prune_cases
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.cases.queries import Case, Queries, ledger_stats
from hashscan.cases.statistics.counting import Statistics, count, facts_of, removal_by_month
from hashscan.cases.statistics.periods import Unit, periods
from hashscan.cases.statistics.web_page import html_parts
from hashscan.cases.statistics.writer import numbers
from hashscan.cases.sync import sync
from hashscan.cases.uploads import ASKED, EVENTS_MAX, UNCHECKED, CheckCount, Checks, Refusal, encode_line
from hashscan.cli.output.statistics import show_statistics
from hashscan.model import Verdict
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES
from hashscan.state_dir import StateDir

AT = 1_800_000_000 // 900 * 900
DEADLINES = DeadlineCalculator(DEFAULT_DEADLINES)
SHA256 = hashlib.sha256(b"content").hexdigest()
MATCH: dict[str, Any] = {
    "list": "national", "entry": "n-1", "algorithm": "pdq", "variant": "", "category": "A1", "distance": 4,
}  # fmt: skip


def refusal(**changes: Any) -> Refusal:
    values: dict[str, Any] = {
        "reference": "0123456789ABCDEF", "at": AT, "door": "clamd", "address": "127.0.0.1", "owner": "anna",
        "name": "a.jpg", "verdict": "match", "because": "within 31 bits", "size": 7,
        "digests": {"sha256": SHA256, "pdq": "00" * 32}, "matches": [MATCH],
    }  # fmt: skip
    return Refusal(**{**values, **changes})


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / "state")
    made.uploads.mkdir(parents=True)
    return made


@pytest.fixture
def ledger(state: StateDir) -> Iterator[Ledger]:
    with Ledger(state) as made:
        yield made


def journal(state: StateDir, *records: Refusal | Checks, name: str = "one", tail: bytes = b"") -> Path:
    path = state.uploads / f"{name}.jsonl"
    lines = b"".join(encode_line(record) + b"\n" for record in records)
    path.write_bytes(lines + tail + b"\0" * 4096)
    return path


def only_case(ledger: Ledger) -> Case:
    (case,) = Queries(ledger, DEADLINES).all_cases()
    return case


def test_a_refused_upload_is_a_case_that_waits_for_nothing(state: StateDir, ledger: Ledger) -> None:
    journal(state, refusal())
    assert sync(ledger, state).new == 1
    case = only_case(ledger)
    assert (case.state, case.verdict, case.categories) == ("refused", "match", ("A1",))
    assert (case.customer, case.path, case.size, case.sha256) == ("anna", None, 7, bytes.fromhex(SHA256))
    assert (case.door, case.reference, case.hours, case.open) == ("clamd", "0123456789ABCDEF", None, False)
    assert not case.overdue(AT + 10**9)
    queries = Queries(ledger, DEADLINES)
    assert queries.number_of("0123456789ABCDEF") == case.id
    assert queries.matches(case.id) == [MATCH]
    found = queries.refused_content(case.id)
    assert found is not None
    assert (found.address, found.name, found.number, found.kept) == ("127.0.0.1", "a.jpg", 1, "")
    assert found.digests == {"sha256": SHA256, "pdq": "00" * 32}
    stats = ledger_stats(ledger, DEADLINES, AT + 10**9)
    assert (stats.open, stats.overdue, stats.opened_ever) == ({}, 0, 1)


def test_the_same_content_of_an_owner_is_one_case_and_counted(state: StateDir, ledger: Ledger) -> None:
    journal(state, *(refusal(at=AT + n, address=f"10.0.0.{n % 200}") for n in range(EVENTS_MAX + 50)))
    assert sync(ledger, state).new == 1
    case = only_case(ledger)
    queries = Queries(ledger, DEADLINES)
    found = queries.refused_content(case.id)
    assert found is not None
    assert (found.number, found.address) == (EVENTS_MAX + 50, "10.0.0.0")
    assert (case.found, case.seen) == (AT, AT + EVENTS_MAX + 49)
    events = queries.events(case.id)
    assert len(events) == EVENTS_MAX
    assert events[1].words == "clamd 10.0.0.1"


def test_another_verdict_by_newer_lists_is_an_event(state: StateDir, ledger: Ledger) -> None:
    review = refusal(verdict="review", matches=[{**MATCH, "distance": 40}])
    journal(state, review, refusal(at=AT + 5, kept="0123456789ABCDEF.age"), refusal(at=AT + 6))
    sync(ledger, state)
    case = only_case(ledger)
    assert case.verdict == "match"
    queries = Queries(ledger, DEADLINES)
    assert [event.words for event in queries.events(case.id) if event.kind == "verdict"] == [
        "review, now match"
    ]
    assert [match["distance"] for match in queries.matches(case.id)] == [4]
    found = queries.refused_content(case.id)
    assert found is not None
    assert found.kept == "0123456789ABCDEF.age"


def test_test_entries_alone_make_no_case(state: StateDir, ledger: Ledger) -> None:
    journal(state, refusal(matches=[{**MATCH, "category": "test"}]))
    queries = Queries(ledger, DEADLINES)
    assert not queries.is_test("0123456789ABCDEF")
    assert sync(ledger, state).new == 0
    assert not list(queries.all_cases())
    assert queries.is_test("0123456789ABCDEF")
    others = [refusal(reference=f"{n:016}", matches=[{**MATCH, "category": "test"}]) for n in range(1005)]
    journal(state, *others, name="more")
    assert sync(ledger, state).new == 0
    assert not queries.is_test("0123456789ABCDEF")
    assert queries.is_test(f"{1004:016}")
    assert ledger.one("SELECT count(*) FROM test_refusals")[0] <= 1001


def test_a_refusal_without_a_match_is_a_case_too(state: StateDir, ledger: Ledger) -> None:
    journal(state, refusal(verdict="undecoded", because="", matches=[], digests={}))
    sync(ledger, state)
    case = only_case(ledger)
    assert (case.verdict, case.categories, case.sha256) == ("undecoded", (), None)


def test_each_line_counts_once(state: StateDir, ledger: Ledger) -> None:
    counts = Checks(AT, [CheckCount("clamd", "clean", "allow", 5, 500)])
    journal(state, refusal(), counts, tail=b'{"type":"refused","reference":"CUT')
    for _ in range(2):
        sync(ledger, state)
        assert ledger.one("SELECT number, bytes FROM checks") == (5, 500)
        assert ledger.one("SELECT number FROM refusals") == (1,)
    journal(state, refusal(), counts, counts, refusal())
    sync(ledger, state)
    assert ledger.one("SELECT number, bytes FROM checks") == (10, 1000)
    assert ledger.one("SELECT number FROM refusals") == (2,)


def test_several_readers_at_once_count_each_line_once(state: StateDir) -> None:
    for name in range(8):
        journal(
            state,
            *(Checks(AT, [CheckCount("http", "clean", "allow", 1, 1)]) for _ in range(20)),
            name=str(name),
        )

    def read(_: int) -> None:
        with Ledger(state) as ledger:
            assert not sync(ledger, state).troubles

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))
    with Ledger(state) as ledger:
        assert ledger.one("SELECT sum(number) FROM checks") == (160,)


def test_a_damaged_line_is_reported_and_the_others_are_used(state: StateDir, ledger: Ledger) -> None:
    path = journal(state, refusal())
    line = encode_line(refusal(reference="ZZZZZZZZZZZZZZZZ", at=AT + 1)) + b"\n"
    path.write_bytes(b'{"type":"refused","at":"x"}\n' + line)
    journal(state, refusal(), name="two")
    result = sync(ledger, state)
    assert len(list(Queries(ledger, DEADLINES).all_cases())) == 2
    (trouble,) = result.troubles
    assert str(path) in str(trouble)
    assert sync(ledger, state).troubles == ()


def test_a_symlink_in_place_of_a_journal_is_not_followed(
    state: StateDir, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(encode_line(refusal()) + b"\n")
    os.symlink(tmp_path / "elsewhere", state.uploads / "link.jsonl")
    result = sync(ledger, state)
    assert (result.new, len(result.troubles)) == (0, 1)


def test_pruning_forgets_the_uploader(state: StateDir, ledger: Ledger) -> None:
    journal(state, refusal())
    sync(ledger, state)
    assert prune_cases(ledger, AT + 1, AT + 2) == 1
    case = only_case(ledger)
    assert (case.state, case.customer, case.reference, case.sha256) == ("refused", "", "", None)
    assert Queries(ledger, DEADLINES).refused_content(case.id) is None
    # The journal is read already, so nothing comes back; the same content later is another case.
    assert sync(ledger, state).new == 0
    journal(state, refusal(at=AT + 9), name="two")
    assert sync(ledger, state).new == 1


def counted(ledger: Ledger) -> Statistics:
    day = datetime.fromtimestamp(AT, UTC).date()
    with ledger.reading():
        return count(facts_of(ledger, DEADLINES), periods(Unit.DAY, day, day, UTC, AT + 3600), AT + 3600)


def test_statistics_count_uploads_and_no_removal(state: StateDir, ledger: Ledger) -> None:
    rows = [
        CheckCount("clamd", "clean", "allow", 90, 9000),
        CheckCount("clamd", "match", "refuse", 3, 300),
        CheckCount("icap", "review", "allow", 2, 20),
        CheckCount("icap", UNCHECKED, "error", 4, 0),
        CheckCount("http", "match", ASKED, 1, 0),
        CheckCount("http", "clean", ASKED, 6, 0),
    ]
    journal(state, refusal(), Checks(AT, rows))
    sync(ledger, state)
    statistics = counted(ledger)
    figures = to_builtins(numbers(statistics.totals, statistics))
    assert figures["uploads"] == {
        "checked": 95, "bytes": 9320, "refused": 3, "unchecked": 4,
        **{verdict.value: 0 for verdict in Verdict}, "clean": 90, "match": 3, "review": 2,
    }  # fmt: skip
    assert figures["doors"] == {"clamd": 93, "icap": 2}
    assert figures["digests"] == {"checked": 7, "match": 1}
    assert figures["findings"]["match"] == 1
    # It was never stored, so it must not improve the share of files that are removed in time.
    assert figures["removal"]["cases"] == 0
    assert list(removal_by_month(Queries(ledger, DEADLINES).removed_cases())) == []


def test_only_those_who_check_uploads_see_their_table_and_chart(state: StateDir, ledger: Ledger) -> None:
    shown = []
    for _ in range(2):
        statistics = counted(ledger)
        page = b"".join(html_parts(statistics, Unit.DAY, UTC, "UTC")).decode()
        text = io.StringIO()
        show_statistics(statistics, Unit.DAY, "UTC", text)
        shown.append(['id="uploads"' in page, "Uploads checked" in text.getvalue()])
        journal(state, Checks(AT, [CheckCount("clamd", "clean", "allow", 7, 70)]))
        sync(ledger, state)
    assert shown == [[False, False], [True, True]]


def test_an_alert_tells_of_it(state: StateDir, ledger: Ledger) -> None:
    builder = AlertBuilder(ledger, DEADLINES, on="trouble", details=False, host="h")
    builder.build_all(AT, ["exec"])
    journal(state, refusal())
    sync(ledger, state)
    builder.build_all(AT + 1, ["exec"])
    (alert,) = Outbox(ledger).listed(10)
    assert alert.document["counts"] == {"cases": 1, "match": 1}
