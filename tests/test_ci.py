"""Counts of passed and failed tests in CI, on small projects of their own; and the tiers of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import conftest

RUN_TESTS = Path(__file__).parents[1] / ".ci" / "tests"

PASSES_AND_FAILS = "def test_fine():\n    pass\n\ndef test_broken():\n    assert 0\n"


def run_tests(project: Path, *arguments: str, record: Path | None = None) -> tuple[int, str]:
    """Run CI's program in a project; return the exit code and the last line of its output."""
    environment = {name: value for name, value in os.environ.items() if name != "CI_RECORD"}
    if record is not None:
        environment["CI_RECORD"] = str(record)
    done = subprocess.run(
        [RUN_TESTS, *arguments],
        cwd=project, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()[-1]


def test_all_runs_of_one_record_are_counted_and_none_is_repeated(tmp_path: Path) -> None:
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:hypothesispytest")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_all.py").write_text(PASSES_AND_FAILS)
    record = tmp_path / "record"
    assert run_tests(tmp_path, *pytest) == (1, "1 passed, 1 failed")
    for options, code in ((("-k", "fine"), 0), ((), 1)):
        assert run_tests(tmp_path, *pytest, *options, record=record)[0] == code
    assert run_tests(tmp_path, "--closing", record=record) == (0, "2 passed, 1 failed")
    (tmp_path / "test_all.py").write_text("import nothing_of_that_name\n")
    assert run_tests(tmp_path, *pytest) == (2, "0 passed, 1 failed")


def test_every_tier_has_tests_and_all_that_is_listed_exists() -> None:
    assert all(
        (conftest.HERE / name).exists() for name in (*conftest.UNIT, *conftest.SYSTEM, *conftest.INTEGRATION)
    )
    tiers = {conftest.tier_of(path) for path in conftest.HERE.rglob("test_*.py")}
    assert tiers == {"unit", "integration", "system"}
    assert conftest.tier_of(conftest.HERE / "lists" / "pulling" / "test_web.py") == "integration"
    assert conftest.tier_of(conftest.HERE / "lists" / "test_store.py") == "unit"
