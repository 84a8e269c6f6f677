"""The rule for second tries of failed tests in CI, on small projects of their own; and the tiers of tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

RUN_TESTS = Path(__file__).parents[1] / ".ci" / "tests"

FAILS_ONCE = """
def test_{name}(pytestconfig):
    first = pytestconfig.rootpath / "{name}.first"
    if not first.exists():
        first.touch()
        raise AssertionError
"""
FAILS_IF_RUN_TWICE = """
def test_whole(pytestconfig):
    with open(pytestconfig.rootpath / "whole.runs", "x"):
        pass
"""
PASSES = """
def test_fine():
    pass
"""
FAILS = """
def test_broken():
    assert 0
"""


def run_tests(project: Path, *options: str, record: Path | None = None) -> tuple[int, list[str]]:
    """Run the tests of a project by CI's rule; return the exit code and the lines of its output."""
    environment = {name: value for name, value in os.environ.items() if name != "CI_RECORD"}
    # Plug-ins take longer to load than these tests.
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    if record is not None:
        environment["CI_RECORD"] = str(record)
    command = [RUN_TESTS, sys.executable, "-m", "pytest", "-q", *options]
    if options == ("--closing",):
        command = [RUN_TESTS, "--closing"]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def write(project: Path, *tests: str) -> None:
    (project / "test_all.py").write_text("".join(tests))


def fails_once(*names: str) -> str:
    return "".join(FAILS_ONCE.format(name=name) for name in names)


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "parallel"])
def test_one_that_failed_is_run_once_more_and_named(project: Path, options: tuple[str, ...]) -> None:
    write(project, PASSES, FAILS_IF_RUN_TWICE, fails_once("racing"))
    code, lines = run_tests(project, *options)
    assert code == 0
    assert lines[-2:] == ["SECOND TRY: test_all.py::test_racing", "3 passed, 0 failed"]


def test_nothing_is_named_where_all_pass(project: Path) -> None:
    write(project, PASSES)
    code, lines = run_tests(project)
    assert (code, lines[-1]) == (0, "1 passed, 0 failed")
    assert not any("SECOND TRY" in line for line in lines)


def test_a_second_failure_is_final(project: Path) -> None:
    write(project, PASSES, FAILS, fails_once("racing"))
    code, lines = run_tests(project)
    assert code == 1
    assert lines[-1] == "2 passed, 1 failed"
    assert lines[-3:-1] == [f"SECOND TRY: test_all.py::test_{name}" for name in ("broken", "racing")]


def test_three_failures_get_no_second_try(project: Path) -> None:
    write(project, PASSES, fails_once("a", "b", "c"))
    code, lines = run_tests(project)
    assert (code, lines[-1]) == (1, "1 passed, 3 failed")
    assert not any(line.startswith("SECOND TRY") for line in lines)


@pytest.mark.slow
def test_the_limit_holds_for_all_runs_of_one_record(project: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    for name in ("a", "b"):
        write(project, PASSES, fails_once(name))
        assert run_tests(project, record=record)[0] == 0
    write(project, PASSES, fails_once("c"))
    assert run_tests(project, record=record)[0] == 1
    code, lines = run_tests(project, "--closing", record=record)
    assert code == 0
    assert lines == [*(f"SECOND TRY: test_all.py::test_{name}" for name in "ab"), "5 passed, 1 failed"]


@pytest.mark.parametrize("broken", ["import nothing_of_that_name", "raise SystemExit(3)"])
def test_there_is_no_second_try_where_tests_were_not_run(project: Path, broken: str) -> None:
    (project / "test_broken.py").write_text(broken)
    write(project, PASSES)
    code, lines = run_tests(project)
    assert code not in {0, 5}
    assert not any(line.startswith("SECOND TRY") for line in lines)


def test_no_test_is_no_success(project: Path) -> None:
    assert run_tests(project)[0] == 5


def test_every_tier_has_tests_and_all_that_is_listed_exists() -> None:
    assert all(
        (conftest.HERE / name).exists() for name in (*conftest.UNIT, *conftest.SYSTEM, *conftest.INTEGRATION)
    )
    tiers = {conftest.tier_of(path) for path in conftest.HERE.rglob("test_*.py")}
    assert tiers == {"unit", "integration", "system"}
    assert conftest.tier_of(conftest.HERE / "lists" / "pulling" / "test_web.py") == "integration"
    assert conftest.tier_of(conftest.HERE / "lists" / "test_store.py") == "unit"


def test_a_unit_test_that_starts_a_process_or_a_server_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "running_unit", "tests/test_any.py::test_it")
    with pytest.raises(pytest.fail.Exception):
        subprocess.run(["true"], check=False)
    with socket.socket() as server, pytest.raises(pytest.fail.Exception):
        server.bind(("127.0.0.1", 0))


def test_the_processor_time_of_tests_is_recorded_with_that_of_their_processes(
    project: Path, tmp_path: Path
) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    write(
        project, f"import subprocess, sys\ndef test_it(): subprocess.run([sys.executable, '-c', {burn!r}])\n"
    )
    assert run_tests(project, record=tmp_path / "record")[0] == 0
    [run] = map(json.loads, (tmp_path / "record").read_text().splitlines())
    assert run["processor_seconds"] > 0.5
