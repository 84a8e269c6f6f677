"""A year of nightly scans, by a clock that lies: what `stats` says of it is exactly what was done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, environment
from tests.prefork import Prefork
from tests.web import served

YEAR = datetime.now(UTC).year + 1
"""A year that has not begun, as what is older than the files that are scanned is not believed."""

ORDINARY = 30
"""Files of a customer in which there is nothing."""

FAKED_VARIABLES = {"FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}
FAKED = Prefork(("faketime", "-f", "+0s"), FAKED_VARIABLES)

pytestmark = pytest.mark.skipif(shutil.which("faketime") is None, reason="there is no faketime")


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(YEAR, month, day, hour, tzinfo=UTC)


class Simulation:
    """A server whose time the test sets, with a hash list of its country and one of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.state, self.www = home, home / "state", home / "www"
        self.now = at(1, 1, 1)
        self.files: Counter[str] = Counter()
        """By month, how many files all scans together had before them."""
        self.bytes: Counter[str] = Counter()
        self.nights: Counter[tuple[str, int]] = Counter()
        """By month, how many scans ended with which exit code."""
        self.www.mkdir()
        for number in range(ORDINARY):
            (self.www / f"ordinary-{number}.txt").write_text(f"nothing {number}")

    def run(self, *arguments: object, codes: tuple[int, ...] = (0,)) -> Ran:
        """Run a command at the time that it is."""
        ahead = self.now.timestamp() - time.time()
        # Files have the true time, which lies before all that is simulated; waiting takes true time.
        done = FAKED.run(
            [*map(str, arguments)],
            env=environment(
                self.state, FAKED_VARIABLES | {"FAKETIME": f"+{ahead:.6f}s", "HASHSCAN_WORKERS": "1"}
            ),
        )
        assert done.returncode in codes, (self.now, arguments, done.stdout, done.stderr)
        return Ran(done.returncode, done.stdout, done.stderr)

    def lists(self, fresh_until: datetime) -> None:
        """Publish a list and pull it once, so that it gets stale some day; and import one of our own."""
        work = self.home / "owner"
        work.mkdir()
        entry = "e-{0},sha256,{1},{2}\n"
        bad = {number: self.digest(number) for number in range(1, 13)}
        (work / "national.csv").write_text(
            "id,algorithm,value,category\n"
            + "".join(
                entry.format(n, digest, "A2" if n % 2 else "A1")
                for n, digest in bad.items()
                if n not in {7, 9}
            )
        )
        (work / "ours.csv").write_text(
            "id,algorithm,value,category\n" + f"o-5,sha256,{bad[5]},B1\n" + f"o-7,sha256,{bad[7]},other\n"
        )
        days = (fresh_until - self.now).days
        place = ("--work", work / "work")
        self.run(
            "publish", "init", "national", *place, "--repository", work / "public", "--no-passphrase",
            "--root-days", 800, "--targets-days", 800, "--snapshot-days", 800, "--timestamp-days", days,
        )  # fmt: skip
        self.run("publish", "add", work / "national.csv", *place)
        self.run("publish", "release", "--no-passphrase", *place)
        with served(work / "public") as url:
            self.run("lists", "add", "national", url, "--root", work / "work" / "root.json")
            self.run("lists", "pull", "national")
        self.run("lists", "import", work / "ours.csv", "--name", "ours")

    def digest(self, number: int) -> str:
        return hashlib.sha256(self.content(number)).hexdigest()

    def content(self, number: int) -> bytes:
        return f"crime {number}".encode()

    def path(self, number: int) -> Path:
        return self.www / f"upload-{number}.jpg"

    def plant(self, number: int) -> None:
        self.path(number).write_bytes(self.content(number))

    def delete(self, number: int) -> None:
        self.path(number).unlink()

    def scan(self, *options: object) -> None:
        """The night's scan; with what it ended, and what it had before it, is written down."""
        standing = sum(len(names) for _, _, names in os.walk(self.www))
        report = self.home / "last.jsonl"
        ran = self.run("scan", self.www, "--report", report, *options, codes=(0, 1, 3, 4))
        summary = json.loads(report.read_text().splitlines()[-1])
        assert summary["files"] == standing
        month = f"{self.now:%Y-%m}"
        self.files[month] += standing
        self.bytes[month] += summary["bytes"]
        self.nights[month, ran.code] += 1

    def look(self) -> None:
        """See by day what is gone."""
        self.run("cases", "check")

    def notify(self, number: int) -> None:
        """Take in what others say of a file that is on no list, and of an address that leads nowhere."""
        notices = self.home / "notices.csv"
        notices.write_text(
            "url,path,sender,received\n"
            f",{self.path(number)},a hotline,{self.now:%Y-%m-%dT%H:%M:%SZ}\n"
            f"https://elsewhere.example/x.jpg,,a hotline,{self.now:%Y-%m-%dT%H:%M:%SZ}\n"
        )
        self.run("cases", "import", notices, codes=(3,))
        # The same again changes nothing.
        self.run("cases", "import", notices, codes=(3,))

    def close(self) -> None:
        """Close the case of the address that leads nowhere."""
        cases = self.run("cases", "list", "--format", "json").lines
        (number,) = (case["case"] for case in cases if case.get("url"))
        self.run("cases", "close", number, "--reason", "not ours")

    def pass_through(
        self, first: datetime, last: datetime, agenda: dict[datetime, Callable[[], object]]
    ) -> None:
        """Let the days pass: a scan at two in the morning, and what is to happen at its hour.

        Where nothing happens for days, one night in two weeks is scanned.
        """
        nights = [first + timedelta(days=day) for day in range((last - first).days + 1)]
        eventful = {(moment + timedelta(days=day)).date() for moment in agenda for day in range(-1, 4)}
        nights = [night for night in nights if night.date() in eventful or night.day % 14 == 1]
        for moment in sorted({*agenda, *nights}):
            self.now = moment
            agenda.get(moment, self.scan)()

    def stats(self, *options: object) -> dict[str, Any]:
        """Return the command's JSON output."""
        document = json.loads(self.run("stats", "--format", "json", *options).out)
        assert isinstance(document, dict)
        return document

    def story(self) -> dict[datetime, Callable[[], object]]:
        """Return the events of the year besides the scans, hour by hour."""
        terms = ("--retain-min", "30d", "--destroy-by", "60d")
        report = self.home / "last.jsonl"
        away = self.home / "away"

        def unmount() -> None:
            self.www.rename(away)
            self.www.mkdir()

        def mount() -> None:
            self.www.rmdir()
            away.rename(self.www)

        return {
            # Removed by the customer within 12 hours.
            at(1, 9): lambda: self.plant(1),
            at(1, 10): lambda: self.delete(1),
            at(1, 10, 14): self.look,
            # Removed too late: a scan sees it after 72 hours.
            at(2, 3): lambda: self.plant(2),
            at(2, 6): lambda: self.delete(2),
            # Moved by the scan itself, restored, and removed by the customer after 15 hours.
            at(3, 15): lambda: self.plant(3),
            at(3, 16, 2): lambda: self.scan("--quarantine", *terms),
            at(3, 16, 15): lambda: self.run("quarantine", "restore", "--all"),
            at(3, 16, 16): lambda: self.delete(3),
            at(3, 16, 17): self.look,
            # Withheld, so nothing is due.
            at(4, 19): lambda: self.run(
                "lists", "except", "e-4", "--reason", "a mistake", "--until", f"{YEAR}-06-30"
            ),
            at(4, 20): lambda: self.plant(4),
            at(4, 25): lambda: self.delete(4),
            # Two moved by hand after eight hours, and destroyed in August.
            at(5, 11): lambda: (self.plant(5), self.plant(6)),
            at(5, 12, 10): lambda: self.run("quarantine", "add", report, *terms),
            at(8, 20): lambda: self.run("quarantine", "destroy"),
            # Planted in June and found in July; removed within 23 hours.
            at(6, 30, 23): lambda: self.plant(8),
            at(7, 1, 20): lambda: self.delete(8),
            at(7, 2, 1): self.look,
            # For review, for which there are seven days: gone after 48 hours.
            at(8, 8): lambda: self.plant(7),
            at(8, 10): lambda: self.delete(7),
            # A disk is not mounted for a night.
            at(9, 6, 1): unmount,
            at(9, 6, 3): mount,
            # A notice of a file that no list knows, which is removed within twelve hours; and one of nothing.
            at(10, 1): lambda: self.plant(9),
            at(10, 2, 9): lambda: self.notify(9),
            at(10, 2, 12): self.close,
            at(10, 2, 20): lambda: self.delete(9),
            at(10, 2, 21): self.look,
            # Gone after 48 hours; it comes back, and is removed within 8.
            at(11, 11): lambda: self.plant(10),
            at(11, 13): lambda: self.delete(10),
            at(11, 20): lambda: self.plant(10),
            at(11, 21, 8): lambda: self.delete(10),
            at(11, 21, 10): self.look,
            # Nobody cares any more, not even for the list, which has run out.
            at(12, 20): lambda: self.plant(11),
        }


FINDINGS = {"match": 0, "held": 0, "review": 0}
CUSTODY = {"quarantined": 0, "restored": 0, "released": 0}
REMOVAL = {
    "cases": 0, "removed": 0, "within": 0, "otherwise": 0, "open": 0, "overdue": 0,
    "share_within": None, "median_hours": None, "p90_hours": None,
}  # fmt: skip


def removed(within: int, *hours: float) -> dict[str, Any]:
    """The numbers of cases that were all removed."""
    middle = sorted(hours)
    assert len(set(hours)) == 1 or len(hours) == 2
    return REMOVAL | {
        "cases": len(hours),
        "removed": len(hours),
        "within": within,
        "share_within": within / len(hours),
        "median_hours": sum(hours) / len(hours),
        "p90_hours": middle[-1],
    }


EXPECTED: dict[int, dict[str, Any]] = {
    1: {"findings": FINDINGS | {"match": 1}, "removal": removed(1, 12), "categories": {"A2": 1}},
    2: {"findings": FINDINGS | {"match": 1}, "removal": removed(0, 72), "categories": {"A1": 1}},
    3: {
        "findings": FINDINGS | {"match": 1},
        "removal": removed(1, 15),
        "categories": {"A2": 1},
        "custody": CUSTODY | {"quarantined": 1, "restored": 1},
    },
    4: {"findings": FINDINGS | {"held": 1}},
    5: {
        "findings": FINDINGS | {"match": 2},
        "removal": removed(2, 8, 8),
        "categories": {"A1": 1, "A2": 1, "B1": 1},
        "lists": {"national": 2, "ours": 1},
        "custody": CUSTODY | {"quarantined": 2},
    },
    7: {"findings": FINDINGS | {"match": 1}, "removal": removed(1, 23), "categories": {"A1": 1}},
    8: {
        "findings": FINDINGS | {"review": 1},
        "removal": removed(1, 48),
        "custody": CUSTODY | {"released": 2},
    },
    10: {"notices": 2, "removal": removed(1, 12) | {"cases": 2, "otherwise": 1}},
    11: {"findings": FINDINGS | {"match": 2}, "removal": removed(1, 48, 8), "categories": {"A1": 2}},
    12: {
        "findings": FINDINGS | {"match": 1},
        "removal": REMOVAL | {"cases": 1, "open": 1, "overdue": 1, "share_within": 0.0},
        "categories": {"A2": 1},
    },
}
"""The expected figures of the year by month; nothing in those that are not here."""


def rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    """Hours to a tenth, as commands take their seconds."""
    return {k: round(v, 1) if k.endswith("_hours") and v is not None else v for k, v in numbers.items()}


@pytest.fixture
def server(tmp_path: Path) -> Simulation:
    server = Simulation(tmp_path)
    server.lists(fresh_until=at(12, 1, 1))
    return server


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_year(server: Simulation) -> None:
    server.pass_through(at(1, 2, 2), at(12, 31, 2), server.story())
    server.now = at(12, 31, 23)
    asked = ("--since", YEAR, "--until", YEAR)
    said = server.stats(*asked)
    assert said["from"] == f"{YEAR}-01-01T00:00:00Z"
    assert [period["period"] for period in said["periods"]] == [f"{YEAR}-{m:02}" for m in range(1, 13)]
    for number, period in enumerate(said["periods"], 1):
        month, expected = period["period"], EXPECTED.get(number, {})
        nights = sum(count for (when, _), count in server.nights.items() if when == month)
        incomplete = sum(server.nights[month, code] for code in (3, 4))
        assert incomplete == {9: 1, 12: nights}.get(number, 0), month
        assert period["scans"] == {"complete": nights - incomplete, "incomplete": incomplete, "failed": 0}
        assert period["files"] == server.files[month]
        assert period["bytes"] == server.bytes[month]
        assert period["findings"] == expected.get("findings", FINDINGS), month
        matches = expected.get("findings", FINDINGS)["match"]
        assert period["lists"] == expected.get("lists", {"national": matches, "ours": 0}), month
        assert period["categories"] == {"A1": 0, "A2": 0, "B1": 0} | expected.get("categories", {}), month
        assert period["custody"] == expected.get("custody", CUSTODY), month
        assert period["notices"] == expected.get("notices", 0), month
        assert rounded(period["removal"]) == expected.get("removal", REMOVAL), month
    # Neither reports nor what scans remember are needed.
    shutil.rmtree(server.state / "reports", ignore_errors=True)
    (server.home / "last.jsonl").unlink()
    assert server.stats(*asked)["periods"] == said["periods"]
    shutil.rmtree(server.state / "scans")
    assert server.stats(*asked)["periods"] == said["periods"]
    # Nor is what cases say of strangers.
    server.run("cases", "prune", "--older-than", "60d")
    assert server.stats(*asked)["periods"] == said["periods"]


@pytest.mark.slow
def test_a_few_nights(server: Simulation) -> None:
    """The beginning of that year."""
    story = {moment: act for moment, act in server.story().items() if moment < at(1, 11)}
    server.pass_through(at(1, 9, 2), at(1, 11, 2), story)
    (period,) = server.stats()["periods"]
    assert period["scans"] == {"complete": 3, "incomplete": 0, "failed": 0}
    assert period["files"] == 3 * ORDINARY + 1
    assert period["bytes"] == server.bytes[period["period"]]
    assert period["findings"] == EXPECTED[1]["findings"]
    assert rounded(period["removal"]) == EXPECTED[1]["removal"]
