"""Drafts of answers: one for a notice, none that the law does not ask for, none to a customer too early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cases.actions import CLOSED, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.letters.answer import AnswerKind, draft
from hashscan.cases.letters.letter import Letter
from hashscan.cases.notice_import import import_notices
from hashscan.cases.notices.notice import Notice, NoticeKind
from hashscan.cases.queries import Queries
from hashscan.cases.withholding import withhold
from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir

NOW = 1_800_000_000
REPORTER = Reporter(organisation="Example Hosting", email="abuse@example.org")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield ledger


def take(ledger: Ledger, kind: NoticeKind, number: int = 1) -> None:
    sent = (Notice("R-1", "x", f"https://x.example/{n}", kind=kind) for n in range(number))
    import_notices(ledger, sent, lambda _: (), NOW)


def answer(ledger: Ledger, kind: str, *, now: int = NOW, **more: object) -> Letter:
    queries = Queries(ledger, DeadlineCalculator(CaseSettings()))
    return draft(ledger, queries, AnswerKind(kind), REPORTER, now, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("notice", "kinds"),
    [
        (NoticeKind.NOTICE, {"receipt", "statement"}),
        (NoticeKind.ORDER, {"acknowledgement", "recipient"}),
        (NoticeKind.COURT, {"acknowledgement", "recipient"}),
        (NoticeKind.INFORM, {"acknowledgement", "recipient"}),
        (NoticeKind.TERRORIST, {"acknowledgement", "recipient", "tco-impossible"}),
    ],
)
def test_each_kind_of_notice_has_its_answers(ledger: Ledger, notice: NoticeKind, kinds: set[str]) -> None:
    take(ledger, notice)
    made = set()
    for kind in AnswerKind:
        try:
            assert "https://x.example/0" in answer(ledger, kind, case=1).text or kind == "statement"
            made.add(kind.value)
        except UsageError:
            pass
    assert made == kinds


def test_one_answer_names_all_items_once_they_are_decided(ledger: Ledger) -> None:
    take(ledger, NoticeKind.TERRORIST, 500)
    with pytest.raises(UsageError):
        answer(ledger, "outcome", number=1)
    record_action(ledger, range(1, 501), CLOSED, "a reason of ours", "me", NOW)
    for kind in ("outcome", "tco-removed"):
        found = answer(ledger, kind, number=1)
        assert found.cases == tuple(range(1, 501))
        assert found.text.count("https://x.example/") == 500
        assert "a reason of ours" not in found.text


def test_no_customer_is_answered_while_the_case_is_withheld(ledger: Ledger) -> None:
    take(ledger, NoticeKind.ORDER)
    take(ledger, NoticeKind.NOTICE)
    withhold(ledger, [1], NOW + 10, "an order", "me", NOW)
    for now in (NOW, NOW - 10**6):
        with pytest.raises(UsageError):
            answer(ledger, "recipient", case=1, now=now)
    assert answer(ledger, "acknowledgement", case=1).cases == (1,)
    assert answer(ledger, "recipient", case=1, now=NOW + 10).cases == (1,)


def test_templates_of_the_operator_come_first_and_can_run_nothing(ledger: Ledger, tmp_path: Path) -> None:
    take(ledger, NoticeKind.NOTICE)
    own = tmp_path / "receipt.en.txt"
    own.write_text("Subject: ours\n\n{{ reference }}\n")
    found = answer(ledger, "receipt", case=1, templates=tmp_path)
    assert (found.subject, found.text) == ("ours", "R-1")
    own.write_text("Subject: ours\n\n{{ cases.__class__.__mro__ }}\n")
    with pytest.raises(UsageError):
        answer(ledger, "receipt", case=1, templates=tmp_path)
