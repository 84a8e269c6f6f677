"""No case ends whose file is there and whose accuser was not in use: random sequences of real scans.

Lists, scans, state and ledger are real; only the workers run in this process. A model, which knows nothing of
what the state keeps, says which cases may end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hashscan.cases.actions import CLOSED, record_action
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.noticed_files import check_files
from hashscan.cases.notices.notice import Notice as SentNotice
from hashscan.cases.notices.notice import NoticeKind
from hashscan.cases.queries import Case, Queries
from hashscan.cases.reviews import Decision, record_review
from hashscan.cases.sightings import Sightings
from hashscan.cases.sync import sync
from hashscan.cases.tracker import INFORM, NOTICE
from hashscan.errors import NoUsableListError
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.variants import VARIANTS
from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, BatchResult, Entry, Shard
from hashscan.scan import runner
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.rescan import run_rescan
from hashscan.scan.runner import run_scan
from hashscan.scan.workers.pool import Pool
from hashscan.scan.workers.worker import Worker
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.matching import DecodingLimits, MatchingSettings
from hashscan.settings.scan import ScanSettings
from hashscan.sources.shards import shard_of
from hashscan.state.store import listings
from hashscan.state_dir import StateDir
from tests.examples import examples
from tests.pictures import encoded, scene

pytestmark = pytest.mark.usefixtures("forked_zygotes")

LISTS = ("one", "two")
PATHS = ("a/1.jpg", "a/2", "b/3.jpg", "b/4")
SCENE = scene(5)
PICTURE, FIRST, SECOND, BROKEN = encoded(SCENE, quality=90), b"first", b"second text", encoded(SCENE)[:300]
CONTENTS = (PICTURE, FIRST, SECOND, BROKEN)
LARGE = 1000
"""Bytes; the picture has more."""
EXACT, NEAR, TURNED = "exact", "near", "turned"
"""Ways in which an entry accuses: by equal bytes, as a near miss, and as a turned picture."""


def _pdq(picture: Image.Image) -> bytes:
    return PDQ().digest(np.asarray(picture.convert("L")))[0]


_FAR = int.from_bytes(_pdq(SCENE)) ^ ((1 << 40) - 1)
ENTRIES = {
    (FIRST, EXACT): ("md5", hashlib.md5(FIRST, usedforsecurity=False).digest()),
    (SECOND, EXACT): ("sha256", hashlib.sha256(SECOND).digest()),
    (PICTURE, EXACT): ("sha1", hashlib.sha1(PICTURE, usedforsecurity=False).digest()),
    (PICTURE, NEAR): ("pdq", _FAR.to_bytes(32)),
    (PICTURE, TURNED): ("pdq", _pdq(SCENE.transpose(Image.Transpose.ROTATE_90))),
}
Way = tuple[bytes, str]


class Inline(Pool):
    """Runs batches where it is asked."""

    workers = 1

    def __init__(self, setup: WorkerSetup) -> None:
        self._worker = Worker(setup)

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        future.set_result(self._worker.check(batch))
        return future

    def close(self) -> None:
        self._worker.close()


@dataclass(frozen=True)
class Scan:
    """One scan that is asked for."""

    lists: tuple[str, ...] = LISTS
    review: bool = True
    turned: bool = True
    excluded: str = ""
    target: str = ""
    largest: int | None = None
    shard: int | None = None
    known: bool = False
    cut_short: bool = False

    def asks(self, name: str, way: str) -> bool:
        """Return whether entries of a list, if it can be used, are found in this way."""
        asked = {NEAR: self.review, TURNED: self.turned}
        return name in self.lists and asked.get(way, True)

    def may_meet(self, path: str, whole: bytes, size: int) -> bool:
        """Return whether the scan covers a file."""
        return (
            not self.known
            and path.startswith(self.target)
            and not (self.excluded and path.startswith(self.excluded.strip("/")))
            and not (self.largest is not None and size > self.largest)
            and self.shard in {None, shard_of(whole, 2)}
        )


@dataclass(frozen=True)
class Put:
    """A list is imported, whether it was there or not."""

    name: str
    ways: tuple[Way, ...]
    test: bool = False


@dataclass(frozen=True)
class Damage:
    """A file of a list is cut off."""

    name: str


@dataclass(frozen=True)
class Remove:
    """A list is removed."""

    name: str


@dataclass(frozen=True)
class Write:
    """A file is written or, without content, deleted."""

    path: str
    content: bytes | None


@dataclass(frozen=True)
class Notice:
    """Somebody sends a notice of a file, or an order to remove it or to inform about it."""

    path: str
    kind: NoticeKind = NoticeKind.NOTICE


@dataclass(frozen=True)
class Close:
    """A person closes the case of a file."""

    path: str


@dataclass(frozen=True)
class Review:
    """A person decides on the case of a file."""

    path: str
    decision: Decision


@dataclass(frozen=True)
class LoseState:
    """All that scans remember of files is lost; the lists and the ledger are not."""


Step = Scan | Put | Damage | Remove | Write | Notice | Close | Review | LoseState


@dataclass(frozen=True)
class Accused:
    """The model's record of a file that lists accuse."""

    content: bytes
    accusers: frozenset[tuple[str, str]]
    """The lists, and the ways in which they accuse it, less those that were asked since and said nothing."""


class Machine:
    """A tree, its lists, its state, and the model of it."""

    def __init__(self, folder: Path) -> None:
        self.state, self.tree = folder / "state", folder / "tree"
        self.store = ListStore(self.state / "lists")
        self.lists: dict[str, Put | None] = {}
        """As they are kept; None is a damaged one."""
        self.files: dict[str, bytes] = {}
        self.accused: dict[str, Accused] = {}
        self.forgotten: set[str] = set()
        """Paths that the state has lost, so that only a person or a new finding can end their cases."""
        self.noticed: dict[str, int] = {}
        """Cases with a notice or an order of a file that is there, and has had the same content since."""
        self.informs: set[str] = set()
        """Number of orders to provide information, which nobody has answered."""
        self.log: list[str] = []
        for name in ("a", "b"):
            (self.tree / name).mkdir(parents=True)

    def do(self, step: Step) -> None:
        self.log.append(repr(step)[:160])
        match step:
            case Scan():
                self.scan(step)
            case Put():
                self.lists[step.name] = step
                self.store.import_entries(step.name, self.entries(step), "a test")
            case Damage(name):
                if self.lists.get(name) is not None:
                    self.lists[name] = None
                    for version in self.store.folder(name).finished_versions():
                        for file in filter(Path.is_file, version.iterdir()):
                            os.truncate(file, max(0, file.stat().st_size - 1))
            case Remove(name):
                if name in self.lists:
                    del self.lists[name]
                    self.store.remove(name)
            case Write(path, content):
                place = self.tree / path
                place.unlink(missing_ok=True)
                if self.files.pop(path, None) != content:
                    self.noticed.pop(path, None)
                if content is not None:
                    place.write_bytes(content)
                    self.files[path] = content
            case Notice(path, kind):
                self.send(path, kind)
            case Close(path):
                self.close(path)
            case Review(path, decision):
                self.review(path, decision)
            case LoseState():
                shutil.rmtree(StateDir(self.state).scans, ignore_errors=True)
                self.forgotten = set(PATHS)
                # The ledger keeps which lists accuse a file, and not how they were asked.
                self.accused = {
                    path: replace(one, accusers=frozenset((name, EXACT) for name, _ in one.accusers))
                    for path, one in self.accused.items()
                }

    def send(self, path: str, kind: NoticeKind) -> None:
        place = self.path(path)
        notice = SentNotice(str(len(self.log)), "sender", path=place, kind=kind)
        with Ledger(StateDir(self.state)) as ledger, Sightings(StateDir(self.state)) as sightings:
            import_notices(ledger, iter([notice]), lambda _: (), int(time.time()), sightings=sightings)
        if kind is NoticeKind.INFORM:
            # A second order about the same address is in the same case.
            self.informs.add(path)
        elif path in self.files:
            self.noticed[path] = self.open_cases()[path].id

    def close(self, path: str) -> None:
        """Close the case of a file, as a person does."""
        if (case := self.open_cases().get(path)) is not None:
            with Ledger(StateDir(self.state)) as ledger:
                record_action(ledger, [case.id], CLOSED, "a reason", "a person", int(time.time()))
            self.noticed.pop(path, None)
            self.accused.pop(path, None)

    def review(self, path: str, decision: Decision) -> None:
        """Decide on the case of a file; no decision ends one with a notice."""
        if (case := self.open_cases().get(path)) is None:
            return
        with Ledger(StateDir(self.state)) as ledger:
            record_review(ledger, case.id, decision, "a reason", "a person", int(time.time()), 1)
        ended = decision is Decision.WRONG and case.noticed is None
        assert (path in self.open_cases()) is not ended, self.log
        if ended:
            self.accused.pop(path, None)

    def entries(self, step: Put) -> list[Entry]:
        category = "test" if step.test else "A1"
        always = Entry("always", "md5", bytes(16), "A1")
        numbered = [(number, ENTRIES[way]) for number, way in enumerate(ENTRIES) if way in step.ways]
        return [always, *(Entry(f"e{number}", *value, category) for number, value in numbered)]

    def path(self, name: str) -> bytes:
        return os.fsencode(self.tree / name)

    def open_cases(self) -> dict[str, Case]:
        with Ledger(StateDir(self.state)) as ledger:
            assert sync(ledger, StateDir(self.state)).troubles == ()
            found = list(Queries(ledger, DeadlineCalculator(CaseSettings())).open_cases())
        names = {self.path(name): name for name in PATHS}
        opened = {names[case.path]: case for case in found if case.path is not None}
        assert len(opened) + len(self.informs) == len(found), self.log
        assert sum(case.verdict == INFORM for case in found) == len(self.informs), self.log
        return opened

    def scan(self, scan: Scan) -> None:
        before = self.open_cases()
        usable = {name for name in scan.lists if self.lists.get(name) is not None}
        complete, settings_ = False, self.settings_of(scan)
        try:
            result = (run_rescan if scan.known else run_scan)(settings_, Observer())
            complete = not result.shortcomings
        except NoUsableListError:
            assert not usable, self.log
            usable = set()
        after = self.open_cases()
        if complete:
            with Ledger(StateDir(self.state)) as ledger:
                check_files(ledger, settings_, StateDir(self.state), int(time.time()))
            after = self.open_cases()
        self.compare_noticed(scan, before, after, complete=complete)
        for path, number in self.noticed.items():
            assert path in after, self.log
            assert after[path].id == number, self.log
        for path in PATHS:
            self.compare(scan, usable, path, before.get(path), after.get(path))

    def compare_noticed(
        self, scan: Scan, before: dict[str, Case], after: dict[str, Case], *, complete: bool
    ) -> None:
        """Compare which cases that only notices had have ended with which had to."""
        for path, case in before.items():
            if case.verdict != NOTICE:
                continue
            is_seen_gone = (
                complete and path not in self.files and scan.may_meet(path, self.path(path), 0)
            ) and case.witness
            if is_seen_gone:
                assert path not in after, self.log
            else:
                assert after[path].id == case.id, self.log

    def settings_of(self, scan: Scan) -> ScanSettings:
        variants = tuple(name for name in VARIANTS if scan.turned or name != TURNED)
        return ScanSettings(
            targets=(os.fsencode(self.tree / scan.target),),
            lists=scan.lists,
            reports=(),
            state=StateDir(self.state),
            workers=1,
            decoding=DecodingLimits(sandbox="off"),
            matching=MatchingSettings(variants, 60 if scan.review else None),
            exclude=(scan.excluded,) if scan.excluded and not scan.known else (),
            max_file_size=scan.largest,
            shard=None if scan.shard is None or scan.known else Shard(scan.shard, 2),
            known=scan.known,
            time_budget=1e-9 if scan.cut_short and not scan.known else None,
            accept_shrink=True,
        )

    def compare(
        self, scan: Scan, usable: set[str], path: str, before: Case | None, after: Case | None
    ) -> None:
        """Compare what has become of the case of one path with what may have, and follow it."""
        content, model = self.files.get(path), self.accused.get(path)
        may_meet = bool(usable) and scan.may_meet(path, self.path(path), len(content or b""))
        asked = {(name, way) for name in usable for way in (EXACT, NEAR, TURNED) if scan.asks(name, way)}
        found = {
            (name, way)
            for name, way in asked
            if (put := self.lists[name]) is not None and not put.test and (content, way) in put.ways
        }
        if model is not None and model.content != content and content != BROKEN:
            model = None
        kept = frozenset() if model is None or not may_meet else model.accusers - asked
        if before is not None and after is None and model is not None:
            assert content is None or (may_meet and not found and not kept), self.log
            assert content is None or before.noticed is None, self.log
        if before is not None and after is not None and model is not None and path not in self.forgotten:
            strong = {(name, way) for name, way in model.accusers if way != NEAR}
            assert not (strong - asked) or after.verdict in {"match", before.verdict}, self.log
        if before is None and after is not None:
            assert found or scan.known, self.log
        if not may_meet or scan.cut_short or content == BROKEN:
            return
        everything = set(LISTS) == usable and scan == Scan()
        if before is not None and everything and not found and path not in self.forgotten:
            assert after is None or after.noticed is not None, self.log
        if found or kept:
            assert content is not None
            self.accused[path] = Accused(content, frozenset(found) | kept)
        else:
            self.accused.pop(path, None)
        if found:
            self.forgotten.discard(path)


@contextmanager
def machine() -> Iterator[Machine]:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(runner, "_pool", lambda settings, setup, infos, rate_limiter: Inline(setup)),
        mock.patch.object(listings, "RACY_NS", 0),
    ):
        yield Machine(Path(folder))


def run(steps: Sequence[Step]) -> None:
    with machine() as made:
        for step in steps:
            made.do(step)


NAMES = st.sampled_from(LISTS)
SCANS = st.builds(
    Scan,
    lists=st.sampled_from((LISTS, LISTS, ("one",), ("two",))),
    review=st.booleans(),
    turned=st.booleans(),
    excluded=st.sampled_from(("", "", "/b/")),
    target=st.sampled_from(("", "", "a")),
    largest=st.sampled_from((None, None, LARGE)),
    shard=st.sampled_from((None, None, None, 1, 2)),
    known=st.sampled_from((False, False, False, True)),
    cut_short=st.sampled_from((False, False, False, True)),
)
STEPS = st.one_of(
    SCANS,
    SCANS,
    st.just(Scan()),
    st.builds(
        Put,
        NAMES,
        st.lists(st.sampled_from(list(ENTRIES)), unique=True).map(tuple),
        test=st.sampled_from((False, False, False, True)),
    ),
    st.builds(Damage, NAMES),
    st.builds(Remove, NAMES),
    st.builds(Write, st.sampled_from(PATHS), st.sampled_from((*CONTENTS, None))),
    st.builds(Notice, st.sampled_from(PATHS), st.sampled_from(NoticeKind)),
    st.builds(Close, st.sampled_from(PATHS)),
    st.builds(Review, st.sampled_from(PATHS), st.sampled_from(Decision)),
    st.just(LoseState()),
)
ALL = tuple(ENTRIES)
BEGIN = (
    *(Write(path, content) for path, content in zip(PATHS, (PICTURE, FIRST, PICTURE, SECOND), strict=True)),
    Put("one", ALL),
    Put("two", ALL[1:3]),
    Scan(),
)


@pytest.mark.parametrize(
    "steps",
    [
        (Scan(("two",)),),
        (Damage("one"), Scan()),
        (Remove("one"), Scan()),
        (Put("one", ALL[3:4]), Put("two", ALL[:1]), Scan(), Scan(review=False), Scan()),
        (Put("one", ALL[4:]), Put("two", ALL[:1]), Scan(), Scan(turned=False), Scan()),
        (Write("a/1.jpg", BROKEN), Scan(("two",)), Scan()),
        (Scan(excluded="/b/"), Scan(("two",), largest=LARGE), Scan(("two",), known=True)),
        (LoseState(), Scan(("two",)), Put("two", ()), Scan(("two",)), Scan()),
        (Notice("a/2"), Put("one", ()), Put("two", ()), Scan(), Scan(), Write("a/2", None), Scan()),
        (
            Notice("a/2", NoticeKind.ORDER),
            Put("one", ()),
            Scan(("one",)),
            Damage("two"),
            Scan(),
            Scan(("one",)),
        ),
        (
            Write("a/2", SECOND),
            Notice("a/2", NoticeKind.COURT),
            Scan(),
            Put("one", ()),
            Put("two", ()),
            Scan(),
        ),
        (
            Notice("b/4", NoticeKind.ORDER),
            Put("one", ()),
            Put("two", ()),
            Scan(),
            Write("b/4", None),
            Scan(excluded="/b/"),
            Scan(target="a"),
            Scan(known=True),
            Scan(cut_short=True),
            Scan(),
        ),
        (Write("b/4", None), Scan(), Notice("b/4"), Write("b/4", FIRST), LoseState(), Put("one", ()), Scan()),
        (Notice("b/4", NoticeKind.INFORM), Write("b/4", None), Scan(), Scan()),
        (Notice("a/2", NoticeKind.TERRORIST), Close("a/2"), Scan(), Scan(known=True)),
        (
            Notice("a/2", NoticeKind.ORDER),
            Review("a/2", Decision.WRONG),
            Put("one", ()),
            Put("two", ()),
            Scan(),
        ),
        (Review("a/2", Decision.WRONG), Scan(), Review("b/4", Decision.UNCLEAR), Scan(("one",)), Scan()),
        (Put("one", ALL, test=True), Scan(("one",)), Scan(), Scan(("two",))),
        (Put("one", ()), Put("two", ()), Scan()),
    ],
)
def test_a_case_ends_only_by_those_who_accuse(steps: tuple[Step, ...]) -> None:
    run((*BEGIN, *steps))


@pytest.mark.slow
@settings(max_examples=examples(12), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=4, max_size=14))
def test_no_case_ends_whose_file_is_there_and_whose_accuser_was_not_in_use(steps: list[Step]) -> None:
    run((*BEGIN, *steps))
