"""A year of orders, notices, matches and mistakes, and its report, counted by hand."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest

from hashscan.cases.actions import CLOSED, DISPUTED, TOLD, acknowledge, record_action
from hashscan.cases.confirmation import record_confirmed
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.notices.notice import Notice, NoticeKind, SenderRole
from hashscan.cases.queries import Queries
from hashscan.cases.reviews import Decision, record_review
from hashscan.cases.statistics.counting import begun
from hashscan.cases.statistics.dsa import template
from hashscan.cases.statistics.dsa.figures import Choices, activity_of
from hashscan.cases.statistics.dsa.report import About, explained, files, notes, parts
from hashscan.cases.statistics.periods import whole_span, zone_of
from hashscan.cases.sync import sync
from hashscan.cases.uploads import Refusal, encode_line
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir
from tests.cases.world import World, result

HOUR = 3600
MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
NEW_YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
CHOICES = Choices(frozenset({"ncii"}), frozenset({"drawn"}))
ORDERS = "3_member_states_orders.csv"
ABUSE, DEEPFAKE = "KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL", template.DEEPFAKE
MINORS = "STATEMENT_CATEGORY_PROTECTION_OF_MINORS"
SECURITY, TERRORIST = "STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY", "KEYWORD_TERRORIST_CONTENT"
VIOLENCE, INTIMATE = "STATEMENT_CATEGORY_CYBER_VIOLENCE", "KEYWORD_NON_CONSENSUAL_IMAGE_SHARING"


class Year:
    """A hoster with a ledger."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self.world, self.ledger = world, ledger

    def at(self, hours: float, begin: int = MARCH) -> None:
        self.world.now = begin + int(hours * HOUR)

    def receive(self, sender: str, names: str, category: str = "", **more: object) -> None:
        """Take one notice about the files with these names."""
        notices = [
            Notice(f"R-{names}", sender, path=f"/www/{name}".encode(), category=category, **more)  # type: ignore[arg-type]
            for name in names
        ]
        import_notices(self.ledger, iter(notices), lambda _: (), self.world.now)

    def scan(self, **seen: str) -> None:
        """Scan files, each accused by entries of a list."""
        found = {
            f"/www/{name}".encode(): result(
                name.encode(), category="ncii" if name == "h" else "A1", lists=(of,)
            )
            for name, of in seen.items()
        }
        self.world.scan(found, lists=("national", "drawn"))
        self.sync()

    def move(self, name: str) -> str:
        item = self.world.move(f"/www/{name}".encode())
        self.sync()
        return item

    def sync(self) -> None:
        assert sync(self.ledger, StateDir(self.world.state)).troubles == ()

    def case(self, name: str) -> int:
        queries = Queries(self.ledger, DeadlineCalculator(CaseSettings()))
        (case,) = [
            case.id
            for case in queries.all_cases()
            if f"/www/{name}" in {(case.path or b"").decode(), case.url}
        ]
        return case

    def act(self, kind: str, name: str) -> None:
        record_action(self.ledger, [self.case(name)], kind, "reason", "eve", self.world.now)

    def review(self, name: str, decision: Decision) -> None:
        record_review(self.ledger, self.case(name), decision, "reason", "eve", self.world.now, 1)

    def acknowledge(self, name: str) -> None:
        acknowledge(self.ledger, [self.case(name)], "", "eve", self.world.now)


@pytest.fixture
def year(tmp_path: Path) -> Iterator[Year]:
    state = tmp_path / "state"
    with World(state) as world, Ledger(StateDir(state)) as ledger:
        year = Year(world, ledger)
        orders_of(year)
        notices_of(year)
        own_of(year)
        yield year


def orders_of(year: Year) -> None:
    nl, de, gr = ({"role": SenderRole.AUTHORITY, "member_state": state} for state in ("NL", "DE", "GR"))
    # Received in the year before, and done in this one.
    year.at(-1, NEW_YEAR)
    year.receive("atkm", "z", "A1", kind=NoticeKind.ORDER, **nl)
    year.acknowledge("z")
    year.at(1, NEW_YEAR)
    year.move("z")
    year.at(0)
    year.receive("atkm", "ab", "A1", kind=NoticeKind.ORDER, **nl)
    year.receive("bka", "c", kind=NoticeKind.COURT, **de)
    year.receive("gr", "d", "A1", kind=NoticeKind.TERRORIST, **gr)
    year.receive("police", "i", "A1", kind=NoticeKind.INFORM, **nl)
    year.receive("fbi", "x", "A1", kind=NoticeKind.ORDER, member_state="US")
    year.at(0.5)
    year.acknowledge("d")
    year.at(1)
    year.acknowledge("a")
    year.move("d")
    year.at(2)
    year.acknowledge("i")
    year.move("a")
    year.at(3)
    year.acknowledge("c")
    year.at(4)
    year.move("b")
    year.at(10)
    year.act(CLOSED, "i")


def notices_of(year: Year) -> None:
    year.at(100)
    year.receive("ada", "e", "A1")
    year.receive("hotline", "fg", "A2", role=SenderRole.TRUSTED_FLAGGER)
    year.receive("bob", "h", "ncii")
    year.receive("carol", "k")
    # The same file once more is a notice of its own, and no second action.
    year.at(101)
    year.receive("dora", "e", "A1")
    year.at(103)
    year.move("f")
    year.at(105)
    year.scan(e="national", h="national")
    year.move("e")
    record_confirmed(year.ledger, [year.case("e")], "", "eve", year.world.now)
    year.at(120)
    year.world.scan({}, gone=[b"/www/h"])
    year.sync()


def own_of(year: Year) -> None:
    year.at(200)
    year.scan(**dict.fromkeys("jlmopqs", "national"), n="drawn")
    year.act(TOLD, "l")
    year.act(DISPUTED, "q")
    year.move("n")
    year.move("j")
    wrong = year.move("o")
    # A person decides before the move.
    year.review("p", Decision.CONFIRMED)
    # A wrong match that was never moved; and the file of a notice alone, which is no match.
    year.review("s", Decision.WRONG)
    year.review("k", Decision.WRONG)
    year.at(201)
    year.move("p")
    year.world.restore(wrong)
    year.world.scan({}, gone=[b"/www/l", b"/www/m"], lists=("national", "drawn"))
    year.sync()
    match = {
        "list": "national",
        "entry": "e",
        "algorithm": "md5",
        "variant": "",
        "category": "B1",
        "distance": 0,
    }
    refusal = Refusal(
        "ref-1",
        year.world.now,
        "http",
        "192.0.2.1",
        "bob",
        "a.jpg",
        "match",
        "",
        7,
        {"sha256": "00" * 32},
        [match],
    )
    uploads = StateDir(year.world.state).uploads
    uploads.mkdir(exist_ok=True)
    (uploads / "one.jsonl").write_bytes(encode_line(refusal) + b"\n" + b"\0" * 4096)
    year.sync()


def report(year: Year, *, complete: bool = False) -> dict[str, list[list[str]]]:
    """Return the rows of all parts."""
    about = About(FIRST, LAST, "Example B.V.", "Example", complete, CHOICES)
    found = activity_of(year.ledger, whole_span(FIRST, LAST, UTC, year.world.now), CHOICES)
    made = files(parts(found, about), [], about)
    return {
        name.partition("_")[0]: list(csv.reader(StringIO(data.decode(), newline="")))[1:]
        for name, data in made.items()
        if name.endswith(".csv")
    }


def filled(rows: list[list[str]], labels: int, scope: int | None = None) -> dict[str, str]:
    """Return the figures of the rows that have any, by code and scope."""
    return {
        " ".join(row[at] for at in (3, scope) if at is not None): ",".join(row[labels:]).rstrip(",")
        for row in rows
        if any(row[labels:])
    }


def test_orders_by_member_state(year: Year) -> None:
    rows = filled(report(year)["3"], 6, 5)
    # z took 2 hours, d 1, a and b together 4: median 2. c is open. Receipts: 0.5, 1, 3 (z's was last year's).
    assert rows == {
        "TOTAL TOTAL": "3,4,1,2,1,2,10",
        f"{MINORS} TOTAL": "1,2,1,3,1,2,10",
        f"{ABUSE} TOTAL": "1,2,1,3,1,2,10",
        f"{SECURITY} TOTAL": "1,1,0.5,1",
        f"{TERRORIST} TOTAL": "1,1,0.5,1",
        f"{template.NO_ORDER_CATEGORY} TOTAL": "1,1,3",
        "TOTAL DE": "1,1,3",
        f"{template.NO_ORDER_CATEGORY} DE": "1,1,3",
        "TOTAL EL": "1,1,0.5,1",
        f"{SECURITY} EL": "1,1,0.5,1",
        f"{TERRORIST} EL": "1,1,0.5,1",
        "TOTAL NL": "1,2,1,3,1,2,10",
        f"{MINORS} NL": "1,2,1,3,1,2,10",
        f"{ABUSE} NL": "1,2,1,3,1,2,10",
    }


def test_notices_and_the_actions_on_them(year: Year) -> None:
    rows = filled(report(year)["4"], 5)
    # Actions: e after 5 hours, f after 3, h after 20 (by terms).
    assert rows == {
        "TOTAL": "5,1,6,2,5,3,2,1,1",
        MINORS: "3,1,4,2,4,3,2,1",
        ABUSE: "3,1,4,2,4,3,2,1",
        VIOLENCE: "1,,1,,20,,,,1",
        INTIMATE: "1,,1,,20,,,,1",
        template.NO_NOTICE_CATEGORY: "1,,1",
    }


def test_the_subject_of_a_form_counts_as_a_category(year: Year) -> None:
    year.at(121)
    sent = Notice("F-1", "x", path=b"/www/r", subject="child_sexual_abuse")
    import_notices(year.ledger, iter([sent]), lambda _: (), year.world.now)
    rows = filled(report(year)["4"], 5)
    assert [rows[name].split(",")[0] for name in ("TOTAL", ABUSE, template.NO_NOTICE_CATEGORY)] == [
        "6",
        "4",
        "1",
    ]


def test_measures_at_the_own_initiative(year: Year) -> None:
    made = report(year)
    # Moved: j, n, o (put back later), p. Told, then gone: l. Refused: one. m was just gone.
    assert filled(made["5"], 5) == {
        "TOTAL": "6,4,1,4,,,,,1",
        MINORS: "6,4,1,4,,,,,1",
        ABUSE: "5,3,1,3,,,,,1",
        DEEPFAKE: "1,1,,1",
    }
    assert filled(made["6"], 5) == {}


def test_automated_means_and_complaints(year: Year) -> None:
    made = report(year)
    values = {(row[4].strip(), row[5].strip()): row[6] for row in made["8"] if row[6]}
    # Judged: e and p rightful, o and s wrong. Measures after orders and notices: z, a, b, d, e, f, h.
    assert values == {
        ("Number of measures solely taken by automated means", "Total number"): "4",
        ("Number of measures not taken by automated means", "Total number"): "9",
        ("Accuracy of the automated means - Precision", "Total number"): "0.5",
        ("Number of measures solely taken by automated means", "Own-initiative"): "4",
        ("Number of measures not taken by automated means", "Own-initiative"): "2",
        ("Accuracy of the automated means - Precision", "Own-initiative"): "0.3333",
        ("Number of notices not processed by automated means", "NAM Total"): "5",
    }
    assert [row[6] for row in made["7"] if row[6]] == ["1"]
    assert not any(row[6] for part in ("9", "10") for row in made[part])


def test_zeros_are_written_on_the_word_of_the_provider_alone(year: Year) -> None:
    assert not any("0" in row[6:13] for row in report(year)["3"])
    made = report(year, complete=True)
    rows = filled(made["3"], 6, 5)
    assert rows["KEYWORD_ANIMAL_HARM TOTAL"] == "0,0,,,0"
    assert f"{DEEPFAKE} TOTAL" not in rows
    measures = filled(made["5"], 5)
    assert measures["KEYWORD_ANIMAL_HARM"] == "0,0,0,0,,,,,0"
    assert measures[DEEPFAKE] == "1,1,0,1,,,,,0"
    # Part 8: recall stays unknown.
    assert [row[6] for row in made["8"] if row[4].endswith("Recall")] == [""] * 7


def test_figures_name_their_cases_and_notes_what_is_not_counted(year: Year) -> None:
    about = About(FIRST, LAST, choices=CHOICES)
    found = activity_of(year.ledger, whole_span(FIRST, LAST, UTC, year.world.now), CHOICES)
    rows = {(row[0], row[2], row[3]): row[4:] for row in explained(parts(found, about), about)}
    place = ("5_own_initiative_illegal", DEEPFAKE, "Visibility restriction Disable")
    assert rows[place] == ("1", str(year.case("n")), "")
    place = ("4_notices", INTIMATE, "Number of notices received ")
    (bob,) = year.ledger.one("SELECT number FROM notices WHERE sender='bob'")
    assert rows[place] == ("1", str(year.case("h")), str(bob))
    assert found.unattributed == [year.case("m")]
    said = notes(found, about, begun(year.ledger), year.world.now)
    assert any(f"cases {year.case('m')}." in note for note in said)
    (fbi,) = year.ledger.one("SELECT number FROM notices WHERE sender='fbi'")
    assert any(note.endswith(f"notices {fbi}.") for note in said)


@pytest.mark.parametrize(
    ("last", "due"), [(LAST, date(2027, 2, 28)), (date(2027, 12, 31), date(2028, 2, 29))]
)
def test_a_report_is_due_within_two_months(last: date, due: date) -> None:
    assert About(date(last.year, 1, 1), last).due == due


@pytest.mark.parametrize(
    ("first", "zone", "orders"),
    [(FIRST, "UTC", "3"), (FIRST, "Europe/Amsterdam", "4"), (date(2026, 3, 2), "UTC", ""), (LAST, "UTC", "")],
)
def test_a_period_has_its_time_zone_and_may_be_a_part_of_a_year(
    year: Year, first: date, zone: str, orders: str
) -> None:
    found = activity_of(year.ledger, whole_span(first, LAST, zone_of(zone), year.world.now), CHOICES)
    about = About(first, LAST)
    (_, total, *_) = csv.reader(StringIO(files(parts(found, about), [], about)[ORDERS].decode()))
    assert (total[2], total[6]) == (f"{first}/2026-12-31", orders)
