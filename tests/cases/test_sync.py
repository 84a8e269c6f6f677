from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashscan.cases.actions import CLOSED, DISPUTED, REOPENED, TOLD, prune_cases, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import NoticeTracker
from hashscan.cases.notices.notice import Notice
from hashscan.cases.queries import Case, Queries, scans
from hashscan.cases.sync import sync
from hashscan.cases.tracker import CaseLocation, CaseTracker
from hashscan.model import Verdict
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state.findings.history import FindingRecord
from hashscan.state.store.database import OtherStateError
from hashscan.state_dir import StateDir
from tests.cases.world import BEGIN, World, coverage, result
from tests.examples import examples

A, B = b"/www/a.jpg", b"/www/\xff<script>"
DAY = 86_400


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "state") as made:
        yield made


def cases(world: World, settings: CaseSettings | None = None) -> list[Case]:
    with Ledger(StateDir(world.state)) as ledger:
        assert sync(ledger, StateDir(world.state)).troubles == ()
        before = list(ledger.rows("SELECT * FROM events"))
        assert sync(ledger, StateDir(world.state)).new == 0
        assert list(ledger.rows("SELECT * FROM events")) == before
        return list(Queries(ledger, DeadlineCalculator(settings or CaseSettings())).all_cases())


def test_a_finding_becomes_a_case_and_ends_when_its_file_is_gone(world: World) -> None:
    world.scan({A: result(b"1"), B: result(b"2", category="B1")})
    world.wait(DAY)
    world.scan({A: result(b"1"), B: result(b"2", category="B1")})
    world.wait(DAY)
    world.scan({A: result(b"1")}, [B])
    first, second = cases(world, CaseSettings(deadlines={"B1": 3600.0}))
    assert (first.path, first.verdict, first.categories, first.open) == (A, "match", ("A1",), True)
    assert (first.found, first.seen, first.due) == (BEGIN, BEGIN + 2 * DAY, BEGIN + DAY)
    assert first.sha256 == result(b"1").digests[0].value
    assert (second.path, second.removed, second.how, second.due) == (
        B, BEGIN + 2 * DAY, "gone", BEGIN + 3600,
    )  # fmt: skip
    assert second.hours == 48.0


def test_scans_are_taken_over_with_what_they_counted(world: World) -> None:
    world.scan({A: result(b"1")})
    world.wait(60)
    world.scan({}, [A], ends=False)
    with Ledger(StateDir(world.state)) as ledger:
        sync(ledger, StateDir(world.state))
        one, two = scans(ledger)
        (whole, lists), (other_whole, _) = ledger.rows("SELECT whole, lists FROM scans ORDER BY id")
    assert (one.uuid, one.started, one.ended, one.exit_code, whole) == ("scan-1", BEGIN, BEGIN, 1, True)
    assert (one.files, one.bytes, one.verdicts) == (100, 1000, {"match": 1})
    assert [info["name"] for info in json.loads(lists)] == ["national"]
    assert (two.ended, two.exit_code, other_whole) == (None, None, False)


def test_another_content_ends_a_case_and_so_does_a_list_that_accuses_no_more(world: World) -> None:
    world.scan({A: result(b"1"), B: result(b"2")})
    world.wait(60)
    world.scan({A: result(b"3", Verdict.CLEAN), B: result(b"2", Verdict.CLEAN)})
    changed, cleared = cases(world)
    assert (changed.removed, changed.how, changed.closed) == (BEGIN + 60, "changed", None)
    assert (cleared.removed, cleared.how, cleared.closed) == (None, "cleared", BEGIN + 60)


BOTH = ("national", "other")


def test_a_scan_without_the_list_that_accused_a_file_ends_nothing(world: World) -> None:
    world.scan({A: result(b"1")})
    for lists in (("other",), ()):
        world.wait(60)
        world.scan({A: result(b"1", Verdict.CLEAN)}, [A], lists=lists)
        (case,) = cases(world)
        assert case.open
    world.wait(60)
    world.scan({A: result(b"1", Verdict.CLEAN)}, lists=BOTH)
    assert [case.how for case in cases(world)] == ["cleared"]


def test_every_list_that_accused_a_file_must_be_asked(world: World) -> None:
    """Found by both, then by one alone: what the other has said still holds."""
    world.scan({A: result(b"1", lists=BOTH)}, lists=BOTH)
    world.scan({A: result(b"1", lists=("other",))}, lists=("other",))
    world.scan({A: result(b"1", Verdict.CLEAN)}, lists=("other",))
    assert [case.open for case in cases(world)] == [True]
    world.scan({A: result(b"1", Verdict.CLEAN)}, lists=BOTH)
    assert [case.how for case in cases(world)] == ["cleared"]


def test_a_list_that_says_less_does_not_speak_for_one_that_was_not_asked(world: World) -> None:
    world.scan({A: result(b"1")})
    world.wait(60)
    world.scan({A: result(b"1", Verdict.REVIEW, "other", ("other",))}, lists=("other",))
    (case,) = cases(world)
    assert (case.verdict, case.due) == ("match", BEGIN + DAY)
    world.wait(60)
    world.scan({A: result(b"1", Verdict.REVIEW, "other", ("other",))}, lists=BOTH)
    (case,) = cases(world)
    assert case.verdict == "review"


def test_a_state_that_was_lost_takes_no_accuser_with_it(world: World) -> None:
    world.scan({A: result(b"1")})
    cases(world)
    world.lose_state()
    world.wait(60)
    world.scan({A: result(b"1", lists=("other",))}, lists=("other",))
    world.wait(60)
    world.scan({A: result(b"1", Verdict.CLEAN)}, lists=("other",))
    assert [case.open for case in cases(world)] == [True]


def test_a_case_with_a_notice_goes_on_when_lists_accuse_its_file_no_more(world: World) -> None:
    world.scan({A: result(b"1")})
    (case,) = cases(world)
    with Ledger(StateDir(world.state)) as ledger, ledger.transaction() as database:
        notice = Notice("", "hotline", category="B1")
        assert NoticeTracker(database).take_notice(CaseLocation(A), notice, BEGIN + 9) == (case.id, True)
    world.wait(60)
    world.scan({A: result(b"1", Verdict.CLEAN)})
    (case,) = cases(world)
    assert (case.open, case.verdict, case.categories, case.because) == (True, "notice", ("B1",), "")
    world.wait(60)
    world.scan({A: result(b"1")})
    (case,) = cases(world)
    assert (case.open, case.verdict) == (True, "match")
    world.wait(60)
    world.scan({}, [A])
    assert [case.how for case in cases(world)] == ["gone"]


def test_entries_for_tests_make_no_case_and_change_none(world: World) -> None:
    drill = result(b"1", category="test", lists=("demo",))
    world.scan({A: drill, B: drill}, lists=("demo",))
    assert cases(world) == []
    world.wait(60)
    world.scan({A: result(b"1"), B: drill}, lists=("national", "demo"))
    (case,) = cases(world)
    assert (case.path, case.found, case.categories) == (A, BEGIN + 60, ("A1",))
    world.wait(60)
    world.scan({A: drill, B: drill}, lists=("demo",))
    (same,) = cases(world)
    assert (same.open, same.verdict, same.because) == (True, case.verdict, case.because)
    world.wait(60)
    world.scan({A: drill, B: drill}, lists=("national", "demo"))
    assert [case.how for case in cases(world)] == ["cleared"]
    world.wait(60)
    world.scan({A: result(b"1"), B: drill}, lists=("national", "demo"))
    assert [(case.open, case.previous) for case in cases(world)] == [(False, None), (True, 1)]


def test_what_comes_back_is_another_case(world: World) -> None:
    for seen in ({A: result(b"1")}, {}, {A: result(b"1")}):
        world.scan(seen, [A])
        world.wait(60)
    first, second = cases(world)
    assert (first.removed, second.found, second.previous) == (BEGIN + 60, BEGIN + 120, first.id)
    assert second.open


def test_what_is_moved_is_removed_then_and_open_again_once_it_is_restored(world: World) -> None:
    world.scan({A: result(b"1")})
    world.wait(60)
    item = world.move(A)
    world.wait(60)
    world.scan({}, [A])
    (case,) = cases(world)
    assert (case.removed, case.how) == (BEGIN + 60, "quarantined")
    world.wait(60)
    world.restore(item)
    (case,) = cases(world)
    assert case.open
    world.scan({A: result(b"1")})
    (case,) = cases(world)
    assert case.open, "what is back by our own hand is no other case"


@pytest.mark.parametrize("ends", [True, False])
def test_what_was_missed_while_it_was_in_quarantine_goes_on_when_it_is_back(world: World, ends: bool) -> None:
    world.scan({A: result(b"1")})
    world.wait(60)
    item = world.move(A)
    world.wait(60)
    world.scan({}, [A], ends=ends)
    assert [case.how for case in cases(world)] == ["quarantined"]
    world.wait(60)
    world.restore(item)
    world.wait(60)
    world.scan({A: result(b"1")})
    (case,) = cases(world)
    assert case.open
    world.wait(60)
    world.scan({}, [A])
    (case,) = cases(world)
    assert (case.how, case.removed) == ("gone", BEGIN + 300)


def test_what_is_restored_is_open_again_whatever_was_said_of_its_case(world: World) -> None:
    world.scan({A: result(b"1"), B: result(b"2")})
    first, second = cases(world)
    with Ledger(StateDir(world.state)) as ledger:
        record_action(ledger, [first.id], DISPUTED, "a drawing", "root", world.now)
    world.wait(60)
    items = [world.move(A), world.move(B)]
    cases(world)
    with Ledger(StateDir(world.state)) as ledger:
        record_action(ledger, [first.id], REOPENED, "it is none", "root", world.now)
        assert [case.how for case in cases(world)] == ["quarantined"] * 2
        world.wait(DAY)
        assert prune_cases(ledger, world.now, world.now) == 2
    for item in items:
        world.restore(item)
    assert [(case.id, case.path, case.open) for case in cases(world)] == [
        (first.id, A, True),
        (second.id, B, True),
    ]


def test_an_object_is_found_without_a_version_and_moved_with_one(world: World) -> None:
    world.scan({b"s3://bucket/key": result(b"1")})
    world.wait(60)
    world.move(b"s3://bucket/key", "v7")
    (case,) = cases(world)
    assert (case.how, case.removed) == ("quarantined", BEGIN + 60)


def test_one_url_at_two_services_is_two_cases(world: World) -> None:
    url, one, two = b"s3://bucket/a.jpg", "https://one.example", "https://two.example"
    world.scan({url: result(b"1")}, endpoint=one)
    world.scan({url: result(b"1")}, endpoint=two)
    world.move(url, "v1", endpoint=two)
    assert {case.host: case.how for case in cases(world)} == {one: "", two: "quarantined"}


def test_what_is_moved_and_put_there_again_by_its_owner_is_another_case(world: World) -> None:
    world.scan({A: result(b"1")})
    world.wait(60)
    world.move(A)
    cases(world)
    world.wait(60)
    world.scan({A: result(b"1")})
    first, second = cases(world)
    assert (first.how, second.previous, second.found) == ("quarantined", first.id, BEGIN + 120)


def test_what_was_only_asked_for_has_not_come_back(world: World) -> None:
    """`scan --known` looks at no file, so it can't have seen one that is in quarantine."""
    world.scan({A: result(b"1")})
    world.wait(60)
    world.move(A)
    cases(world)
    world.wait(60)
    with world._database() as database:
        from hashscan.state.findings.findings import Findings, Place

        (number,) = database.execute("INSERT INTO scans (started) VALUES (9) RETURNING id").fetchone()
        Findings(database, coverage()).store(Place(A), result(b"1"), number, looked=False)
        database.execute("UPDATE scans SET exit_code=1, ended=9 WHERE id=?", (number,))
    (case,) = cases(world)
    assert (case.how, case.uid) == ("quarantined", 1000)


def test_a_state_that_was_lost_makes_no_case_twice(world: World) -> None:
    world.scan({A: result(b"1"), B: result(b"2")})
    first, second = cases(world)
    with Ledger(StateDir(world.state)) as ledger:
        assert record_action(ledger, [second.id], CLOSED, "no such thing", "root", BEGIN) == [second.id]
    world.lose_state()
    world.wait(60)
    world.scan({A: result(b"1"), B: result(b"2")})
    again, closed = cases(world)
    assert (again.id, again.found, again.open) == (first.id, BEGIN, True)
    assert (closed.id, closed.state) == (second.id, "closed")
    world.scan({A: result(b"9"), B: result(b"2")})
    assert len(cases(world)) == 2, "of the same state it is the same finding"


def test_what_is_closed_covers_no_other_content(world: World) -> None:
    world.scan({A: result(b"1")})
    (case,) = cases(world)
    with Ledger(StateDir(world.state)) as ledger:
        record_action(ledger, [case.id], CLOSED, "a drawing", "root", BEGIN)
    world.wait(60)
    world.scan({A: result(b"9")})
    closed, found = cases(world)
    assert (closed.removed, closed.how) == (BEGIN + 60, "changed")
    assert (found.open, found.found, found.previous) == (True, BEGIN + 60, closed.id)
    assert found.sha256 == result(b"9").digests[0].value


def test_what_was_held_and_closed_opens_when_it_becomes_a_match(world: World) -> None:
    world.scan({A: result(b"1", Verdict.HELD)})
    (held,) = cases(world)
    assert held.due is None
    with Ledger(StateDir(world.state)) as ledger:
        record_action(ledger, [held.id], CLOSED, "known to be good", "root", BEGIN)
    world.wait(60)
    world.scan({A: result(b"1", Verdict.HELD)})
    (held,) = cases(world)
    assert held.state == "closed"
    world.scan({A: result(b"1")})
    (match,) = cases(world)
    assert (match.open, match.verdict, match.found) == (True, "match", BEGIN)
    assert (match.began, match.due) == (BEGIN + 60, BEGIN + 60 + DAY), "nobody had to act before"


def test_what_a_running_scan_has_found_waits_for_its_end(world: World) -> None:
    world.scan({A: result(b"1")}, ends=False)
    with mock.patch("hashscan.state.findings.history._is_locked", return_value=True):
        assert cases(world) == []
    assert len(cases(world)) == 1, "it was killed"


def test_a_custody_log_that_is_damaged_is_said_and_findings_are_taken_over(world: World) -> None:
    world.scan({A: result(b"1")})
    world.move(A)
    log = world.state / "quarantine" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"moved", b"mewed"))
    with Ledger(StateDir(world.state)) as ledger:
        synced = sync(ledger, StateDir(world.state))
        assert (synced.new, len(synced.troubles)) == (1, 1)
        assert "line" in str(synced.troubles[0])


def test_a_move_that_was_followed_before_its_finding_counts(world: World) -> None:
    world.scan({A: result(b"1")})
    world.wait(60)
    item = world.move(A)
    with (
        mock.patch("hashscan.cases.sync._follow_state", return_value=0),
        Ledger(StateDir(world.state)) as ledger,
    ):
        sync(ledger, StateDir(world.state))
    (case,) = cases(world)
    assert (case.how, case.removed) == ("quarantined", BEGIN + 60)
    world.restore(item)
    (case,) = cases(world)
    assert case.open


class _KilledError(Exception):
    """As if the process were gone."""


@contextmanager
def dying_after(number: int) -> Iterator[None]:
    """Let so many findings be taken over, and no more."""
    calls, real = iter(range(99)), CaseTracker.take_finding

    def take(self: CaseTracker, state: str, found: FindingRecord) -> None:
        if next(calls) == number:
            raise _KilledError
        real(self, state, found)

    with mock.patch.object(CaseTracker, "take_finding", take):
        yield


def test_nothing_is_half_done_when_it_is_killed(world: World) -> None:
    world.scan({b"/www/%d" % n: result(b"%d" % n) for n in range(9)})
    for deadly in range(9):
        with (
            dying_after(deadly),
            Ledger(StateDir(world.state)) as ledger,
            pytest.raises(_KilledError),
        ):
            sync(ledger, StateDir(world.state))
        with Ledger(StateDir(world.state)) as ledger:
            assert ledger.one("SELECT count(*) FROM cases") == (0,)
            assert ledger.one("SELECT count(*) FROM scans") == (0,)
    assert len(cases(world)) == 9


def test_a_state_of_another_version_is_left_alone(world: World) -> None:
    with world._database() as database:
        database.execute("PRAGMA user_version = 99")
    with Ledger(StateDir(world.state)) as ledger:
        (trouble,) = sync(ledger, StateDir(world.state)).troubles
    assert isinstance(trouble, OtherStateError)


PATHS = (A, B, b"/www/c")
MOVES = st.sampled_from(("put", "take", "change", "move", "restore", "close", "tell", "lose", "prune"))


HISTORIES = st.lists(
    st.tuples(
        st.lists(st.tuples(MOVES, st.integers(0, 2)), max_size=3), st.sampled_from(("end", "kill", "none"))
    ),
    max_size=12,
)
History = list[tuple[list[tuple[str, int]], str]]


@given(HISTORIES)
@example([([("put", 0)], "end"), ([("close", 0), ("move", 0)], "end"), ([("restore", 0)], "end")])
@example([([("put", 0)], "end"), ([("close", 0), ("put", 0)] * 2, "none"), ([("prune", 0)], "end")])
@example(
    [
        ([("put", 2)], "end"),
        ([("close", 2), ("put", 0)], "none"),
        ([("put", 0), ("take", 2), ("prune", 0)], "end"),
    ]
)
@example(
    [
        ([("put", 0)], "end"),
        ([("move", 0), ("put", 0)], "end"),
        ([("take", 0)], "end"),
        ([("restore", 0)], "end"),
    ]
)
@example(
    [
        ([("put", 1)], "end"),
        ([("move", 1)], "end"),
        ([("put", 0)] * 2, "end"),
        ([("prune", 0), ("restore", 1)], "end"),
    ]
)
@example(
    [
        ([("put", 1)], "end"),
        ([("close", 1), ("move", 1)], "end"),
        ([("put", 0)] * 2, "end"),
        ([("prune", 0), ("restore", 1)], "end"),
    ]
)
@example(
    [
        ([("put", 1)], "end"),
        ([("move", 1), ("put", 0)], "end"),
        ([], "end"),
        ([], "end"),
        ([("prune", 0), ("restore", 1), ("close", 1)], "end"),
    ]
)
@settings(max_examples=examples(12), deadline=None)
def test_any_history_gives_the_cases_that_a_person_would_write_down(
    tmp_path_factory: pytest.TempPathFactory, history: History
) -> None:
    compare(tmp_path_factory.mktemp("world") / "state", history)


@pytest.mark.slow
@given(HISTORIES)
@settings(max_examples=examples(60), deadline=None)
def test_many_histories_do(tmp_path_factory: pytest.TempPathFactory, history: History) -> None:
    compare(tmp_path_factory.mktemp("world") / "state", history)


def compare(state: Path, history: History) -> None:
    model = Model()
    with World(state) as world:
        items: dict[bytes, str] = {}
        for moves, ends in history:
            for move, place in moves:
                world.wait(10)
                path = PATHS[place]
                model.do(move, path, world.now)
                if move == "move" and model.moved.get(path) == world.now:
                    items[path] = world.move(path)
                elif move == "restore" and path in model.restored:
                    model.restored.remove(path)
                    world.restore(items.pop(path))
                elif move == "lose":
                    cases(world)
                    world.lose_state()
                elif move in {"close", "tell"}:
                    for case in [c for c in cases(world) if c.path == path and c.open]:
                        with Ledger(StateDir(world.state)) as ledger:
                            record_action(
                                ledger, [case.id], CLOSED if move == "close" else TOLD, "so", "me", world.now
                            )
                elif move == "prune":
                    cases(world)
                    with Ledger(StateDir(world.state)) as ledger:
                        prune_cases(ledger, world.now - 40, world.now)
                    model.prune(world.now - 40)
            world.wait(10)
            if ends != "none":
                seen = {path: result(content) for path, content in model.there.items()}
                gone = [path for path in PATHS if path not in seen]
                world.scan(seen, gone, ends=ends == "end")
                model.scan(world.now)
            assert sorted(map(fields_of, cases(world))) == sorted(model.fields())


def fields_of(case: Case) -> tuple[object, ...]:
    return (case.path or b"", case.found, case.told or 0, case.removed or 0, case.how, case.closed or 0)


class Model:
    """The record of a person who sees every scan and every move."""

    def __init__(self) -> None:
        self.there: dict[bytes, bytes] = {}
        self.moved: dict[bytes, int] = {}
        self.quarantined: dict[bytes, dict[str, object]] = {}
        """The case of each file that was moved, if it had one."""
        self.restored: set[bytes] = set()
        self.cases: list[dict[str, object]] = []
        self.remembered: set[bytes] = set()
        """The paths that scans can find gone, since they are in their state."""

    def _latest(self, path: bytes) -> dict[str, object] | None:
        """The case of a path that is not over, or the last one."""
        mine = [case for case in self.cases if case["path"] == path]
        return next((case for case in reversed(mine) if not case["removed"]), mine[-1] if mine else None)

    def do(self, move: str, path: bytes, now: int) -> None:
        case = self._latest(path)
        waits = case is not None and not case["removed"] and not case["closed"]
        if move == "put":
            self.there[path] = b"bad"
        elif move == "take":
            self.there.pop(path, None)
        elif move == "move" and path in self.there and path not in self.moved:
            del self.there[path]
            self.moved[path] = now
            if case is not None and not case["removed"]:
                case |= {"removed": now, "how": "quarantined"}
                self.quarantined[path] = case
        elif move == "restore" and path in self.moved and path not in self.there:
            del self.moved[path]
            self.restored.add(path)
            self.there[path] = b"bad"
            mine = self.quarantined.pop(path, None)
            # Where another case of the path is open, that one goes on; else a pruned case has its path again.
            if mine is not None and not waits:
                # A closed case covers one content; that of a pruned case is not known until it is seen again.
                mine.update(unknown=not mine["path"])
                mine.update(path=path, removed=0, how="")
        elif move == "lose":
            self.remembered.clear()
        elif move == "close" and waits:
            assert case is not None
            case["closed"] = now
        elif move == "tell" and waits:
            assert case is not None
            case["told"] = case["told"] or now

    def prune(self, before: int) -> None:
        for case in self.cases:
            over = int(str(case["removed"])) or int(str(case["closed"]))
            if over and over < before and int(str(case["seen"])) < before:
                case |= {"path": b"", "was": case["path"] or case.get("was", b"")}

    def scan(self, now: int) -> None:
        for path in PATHS:
            case = self._latest(path)
            if path in self.there:
                if case is None or case["removed"] or (case["closed"] and case.get("unknown")):
                    case = {"path": path, "found": now, "told": 0, "removed": 0, "how": "", "closed": 0}
                    self.cases.append(case)
                case |= {"seen": now, "unknown": False}
                self.remembered.add(path)
            elif path in self.remembered:
                self.remembered.remove(path)
                # The ledger has deleted the path of a pruned case, and still notes that its file is gone.
                case = case or next((c for c in reversed(self.cases) if c.get("was") == path), None)
                if case is not None and not case["removed"]:
                    case |= {"removed": now, "how": "gone"}

    def fields(self) -> list[tuple[object, ...]]:
        keys = ("path", "found", "told", "removed", "how", "closed")
        return [tuple(case[key] for key in keys) for case in self.cases]


def test_an_older_state_that_is_put_back_is_followed_from_there(world: World, tmp_path: Path) -> None:
    world.scan({A: result(b"1")})
    cases(world)
    kept = tmp_path / "kept"
    shutil.copytree(StateDir(world.state).scans, kept)
    world.wait(60)
    world.scan({A: result(b"1"), B: result(b"2")})
    assert len(cases(world)) == 2
    world.lose_state()
    shutil.copytree(kept, StateDir(world.state).scans)
    assert len(cases(world)) == 2
    world.wait(60)
    world.scan({b"/www/c": result(b"3")}, [A])
    first, second, third = cases(world)
    assert (first.path, first.removed) == (A, BEGIN + 120)
    assert (second.path, second.open, second.seen) == (B, True, BEGIN + 60)
    assert (third.path, third.found) == (b"/www/c", BEGIN + 120)
    world.wait(60)
    world.scan({B: result(b"2"), b"/www/c": result(b"3")})
    assert [case.open for case in cases(world)] == [False, True, True]
