"""Time the ledger of cases with many findings and notices.

    python -m benchmarks.cases.ledger [--number N] [--repeats N] [--work DIR]

Run it with the Python that has hashscan. In each round N findings of a made-up state become cases, all of
them stand for another night, N notices of other files are imported, and imported again; then all cases are
listed as they are due. The floor, in the same round, puts the findings into a table without an index, one
statement each. Prints for each the median, least and most processor time, how many a second by the median,
and its ratio to the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.lib.build import announce_build
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.notices.reader import Notices
from hashscan.cases.queries import Queries
from hashscan.cases.sync import sync
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state.store.database import open_database
from hashscan.state_dir import StateDir

_MATCHES = json.dumps(
    [
        {
            "list": "national", "entry": f"e-{number}", "algorithm": algorithm, "variant": "as stored",
            "category": "A1", "distance": 0, "threshold": 0,
        }
        for number, algorithm in enumerate(("md5", "sha1", "sha256"))
    ]
)  # fmt: skip
_FINDINGS = (
    "INSERT INTO findings (path, version, verdict, because, first, last, scan, touched, matches, customer, "
    "sha256, uid, device, inode, size, mtime, ctime) "
    "VALUES (?, '', 'match', 'sha256 equal', 1, 1, 1, 1, ?, 'bob', ?, 1, 1, ?, 1, 1, 1)"
)


def _state(folder: Path, number: int) -> None:
    with closing(open_database(StateDir(folder))[0]) as database:
        database.execute("BEGIN")
        database.execute("INSERT INTO scans (id, started, ended, exit_code, uuid) VALUES (1, 1, 2, 1, 'one')")
        database.executemany(
            _FINDINGS,
            ((b"/srv/%d/htdocs/%d.jpg" % (n % 1000, n), _MATCHES, os.urandom(32), n) for n in range(number)),
        )
        database.execute("COMMIT")


def _another_night(folder: Path) -> None:
    with closing(open_database(StateDir(folder))[0]) as database:
        database.execute("INSERT INTO scans (id, started, ended, exit_code, uuid) VALUES (2, 3, 4, 1, 'two')")
        database.execute("UPDATE findings SET last=4, scan=2, touched=2")


def _follow(folder: Path) -> None:
    with Ledger(StateDir(folder)) as ledger:
        assert not sync(ledger, StateDir(folder)).troubles


def _import(folder: Path, notices: Path) -> None:
    with Ledger(StateDir(folder)) as ledger:
        import_notices(ledger, Notices(notices), lambda url: (b"/web/" + url.encode(),), 1_800_000_000)


def _list(folder: Path) -> None:
    with Ledger(StateDir(folder)) as ledger:
        for _ in Queries(ledger, DeadlineCalculator(CaseSettings())).open_cases():
            pass


def _floor(folder: Path) -> None:
    with (
        closing(open_database(StateDir(folder))[0]) as state,
        closing(sqlite3.connect(folder / "floor")) as database,
    ):
        database.execute(
            "CREATE TABLE cases (path, verdict, because, found, seen, customer, sha256, matches)"
        )
        for row in state.execute(
            "SELECT path, verdict, because, first, last, customer, sha256, matches FROM findings"
        ):
            database.execute("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.commit()


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    took: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        folder = Path(tempfile.mkdtemp(dir=options.work))
        try:
            _state(folder, options.number)
            notices = folder / "notices.csv"
            with notices.open("w") as stream:
                stream.write("url,reference\n")
                stream.writelines(
                    f"https://c{n % 1000}.example/{n}.jpg,r{n}\n" for n in range(options.number)
                )

            def timed(name: str, what: Callable[..., None], *arguments: Path) -> None:
                began = time.process_time()
                what(*arguments)
                took.setdefault(name, []).append(time.process_time() - began)

            timed("floor", _floor, folder)
            timed("findings become cases", _follow, folder)
            timed("nothing new", _follow, folder)
            _another_night(folder)
            timed("all stand another night", _follow, folder)
            timed("notices become cases", _import, folder, notices)
            timed("notices come again", _import, folder, notices)
            timed("all are listed", _list, folder)
        finally:
            shutil.rmtree(folder)
    floor = statistics.median(took["floor"])
    print(
        f"{options.number} findings and as many notices, {options.repeats} rounds, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for name, times in took.items():
        median = statistics.median(times)
        print(
            f"{name:<26} {median:8.2f} s ({min(times):.2f} to {max(times):.2f}) "
            f"{options.number / max(median, 1e-9):12,.0f} a second {median / floor:8.2f} x floor"
        )


if __name__ == "__main__":
    announce_build()
    main()
