"""`scan --quarantine` killed at any step: the next finds everything in one place, with a record."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, environment, runner
from tests.cli.published import BAD, THEME, national
from tests.prefork import PREFORK

__all__ = ["national"]  # a fixture

TERMS = ("--retain-min", "90d", "--destroy-by", "365d", "--breaker-files", "3")
BADS, THEMES = 3, 5

pytestmark = pytest.mark.slow


class Room:
    """A state with a signed list, and files that it accuses, of which some are held."""

    def __init__(self, national: Path, base: Path) -> None:
        self.state, self.www, self.report = base / "state", base / "www", base / "found.jsonl"
        shutil.copytree(national, self.state, symlinks=True)
        self.www.mkdir(parents=True)
        for name, content, number in (("bad", BAD, BADS), ("theme", THEME, THEMES), ("good", b"good", 20)):
            for place in range(number):
                (self.www / f"{name}{place}").write_bytes(content)
        self.scan = ["scan", str(self.www), "--quarantine", *TERMS, "--report", str(self.report)]

    def check(self) -> None:
        """Scan again, and see that all is in order."""
        run = runner(self.state)
        if self.report.exists():
            # It was killed with its report done, which the next takes the place of.
            self.report.rename(self.report.with_name("found.jsonl.first"))
        ran = run(*self.scan)
        assert ran.code == 1, ran.err
        kept = Counter(
            Path(item["path"]).name for item in run("quarantine", "list", "--format", "json").lines
        )
        assert kept == {f"bad{place}": 1 for place in range(BADS)}
        assert run("quarantine", "verify").code == 0
        left = Counter(name.rstrip("0123456789") for name in os.listdir(self.www))
        assert left == {"theme": THEMES, "good": 20}
        reported = {}
        for report in sorted(self.report.parent.glob("found.jsonl*"), key=lambda path: path.stat().st_mtime):
            assert not report.name.endswith((".partial", ".final"))
            for line in report.read_text().splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    assert report != self.report
                    continue
                if record["type"] == "finding":
                    reported[Path(record["path"]).name] = record["verdict"]
        match, held = (
            {f"{name}{place}" for place in range(n)} for name, n in (("bad", BADS), ("theme", THEMES))
        )
        assert reported == dict.fromkeys(match, "match") | dict.fromkeys(held, "held")


def test_between_any_two_steps_of_moving(national: Path, tmp_path: Path) -> None:
    number, died = 0, 0
    while True:
        room = Room(national, tmp_path / f"{number}")
        dying = f"from tests.quarantine.dying import die_at; die_at({number})"
        done = PREFORK.run(room.scan, env=environment(room.state), code=dying)
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 1, done.stderr
            break
        died += 1
        room.check()
        number += 5
    assert died > 3


def test_at_any_moment(national: Path, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    for number in range(4):
        room = Room(national, tmp_path / f"{number}")
        with PREFORK.popen(
            [*COMMAND, *room.scan], env=environment(room.state), stderr=subprocess.DEVNULL
        ) as process:
            # Until the report is there nothing has begun, and how long that takes is the machine's affair.
            while process.poll() is None and not list(room.report.parent.glob("found.jsonl*")):
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.6))
            process.kill()
        if process.returncode == -signal.SIGKILL:
            room.check()
