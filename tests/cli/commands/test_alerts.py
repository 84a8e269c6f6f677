"""Scans and other commands that send alerts."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.alerts.services import PATH_TOKEN, TOKEN, webhook
from tests.cli.conftest import COMMAND, Run, environment
from tests.prefork import PREFORK
from tests.waiting import until

SECRETS = (TOKEN, *PATH_TOKEN.split("/")[-1:], "0perator")


def metrics_in(path: Path) -> dict[str, float]:
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


@pytest.fixture
def hook(tmp_path: Path) -> tuple[str, Path]:
    """A program that keeps what it is given, and where it does."""
    program, got = tmp_path / "hook", tmp_path / "got"
    program.write_text(f"#!/bin/sh\ncat >> {got}\n")
    program.chmod(0o755)
    return str(program), got


def given(got: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in got.read_text().splitlines()] if got.exists() else []


def begun(state: Path) -> int:
    """Return how many scans the state knows of, with those that have not ended."""
    try:
        with closing(sqlite3.connect(f"file:{state}/scans/state.sqlite?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM scans").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (number - 1) & 1)


def assert_no_secret(state: Path, *texts: str) -> None:
    written = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert not any(secret.encode() in data for data in written)
        assert not any(secret in text for text in texts)


@pytest.mark.slow
def test_what_is_found_is_reported_once_and_kept_while_the_service_is_down(
    run: Run, state: Path, tmp_path: Path, uploads: Path, local_list: str, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics = tmp_path / "hashscan.prom"
    with webhook() as service:
        addresses = tmp_path / "notify"
        addresses.write_text(f"# recipients\n\n{service.url}\n")
        addresses.chmod(0o600)
        options = ("--notify", f"@{addresses}", "--exec", program, "--metrics", metrics)
        service.status = 503
        ran = run("scan", uploads, "--list", local_list, *options)
        assert ran.code == 1, ran.err
        assert "an alert was not delivered by json (" in ran.err
        assert "1 alert waits for another attempt" in ran.err
        (alert,) = given(got)
        assert alert["kind"] == "found"
        assert str(uploads) not in json.dumps(alert)
        found = metrics_in(metrics)
        assert found["hashscan_alerts_waiting"] == 1
        assert found["hashscan_last_run_exit_code"] == 1
        assert found["hashscan_cases_open,match"] == alert["counts"]["match"]
        assert_no_secret(state, ran.out, ran.err)

        service.status = 200
        ran = run("alerts", "send", *options)
        assert (ran.code, "is not tried yet" in ran.err) == (13, True)
        ran = run("alerts", "send", "--now", *options)
        assert ran.code == 0, ran.err
        assert service.titles == [alert["subject"]]
        assert metrics_in(metrics)["hashscan_alerts_waiting"] == 0
        # Nothing is new.
        ran = run("scan", uploads, "--list", local_list, *options)
        assert ran.code == 1
        assert len(given(got)) == len(service.posted) == 1
        assert_no_secret(state, ran.out, ran.err)


def test_a_mended_address_gets_what_has_waited(run: Run, uploads: Path, local_list: str) -> None:
    with webhook() as service:
        wrong = service.url.replace(str(service.port), "9")
        assert run("scan", uploads, "--list", local_list, "--notify", wrong).code == 1
        assert run("alerts", "send", "--notify", service.url).code == 0
        assert len(service.posted) == 1
    assert "waits" in run("alerts", "list", "--format", "json").out


@pytest.mark.slow
def test_a_dead_service_holds_a_scan_up_for_a_bounded_time_and_changes_nothing(
    run: Run, uploads: Path, local_list: str
) -> None:
    with webhook() as service:
        service.silent.set()
        hang = "sleep 600"
        ran = run("scan", uploads, "--list", local_list, "--notify", service.url, "--exec", hang)
    assert ran.code == 1
    assert ran.err.count("an alert was not delivered") == 2


def test_without_state_it_is_reported_at_once_or_never(
    run: Run, state: Path, uploads: Path, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics = tmp_path / "hashscan.prom"
    options = ("--no-state", "--list", "demo", "--report", tmp_path / "r.jsonl", "--metrics", metrics)
    ran = run("scan", uploads, *options, "--exec", program, "--notify-on", "always")
    assert ran.code in {0, 1}, ran.err
    assert "done" in [alert["kind"] for alert in given(got)]
    assert metrics_in(metrics)["hashscan_last_success_timestamp_seconds"] > 0
    ran = run("scan", uploads, *options, "--exec", "false", "--notify-on", "always")
    assert "was not delivered and is not stored: false (" in ran.err
    assert not state.exists()


def test_a_scan_that_fails_is_reported_and_is_the_last_run_but_no_success(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics = tmp_path / "hashscan.prom"
    options = ("--list", local_list, "--exec", program, "--metrics", metrics)
    assert run("scan", uploads, *options).code == 1
    before = metrics_in(metrics)
    ran = run("scan", tmp_path / "not-there", *options)
    assert ran.code == 2
    assert "does not exist" in ran.err
    after = metrics_in(metrics)
    assert after["hashscan_last_run_exit_code"] == 2
    assert after["hashscan_last_run_timestamp_seconds"] > before["hashscan_last_run_timestamp_seconds"]
    success = "hashscan_last_success_timestamp_seconds"
    assert after[success] == pytest.approx(before[success], abs=2)
    assert [alert["kind"] for alert in given(got)] == ["found", "failed"]
    assert "not-there" not in got.read_text()


def test_what_failed_where_nobody_is_alerted_is_reported_by_the_next_command_that_alerts(
    run: Run, state: Path, uploads: Path, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    """As of a scan that is kept from the network, or has no list."""
    program, got = hook
    assert run("scan", uploads).code == 10
    assert run("scan", uploads, "--metrics", tmp_path / "hashscan.prom", "--list", "nothing").code == 10
    assert run("alerts", "send", "--exec", program).code == 0
    (alert,) = given(got)
    assert "no usable list" in alert["subject"]
    assert run("alerts", "send", "--exec", program).code == 0
    assert len(given(got)) == 1


def test_what_is_found_is_reported_though_the_ledger_is_damaged(
    run: Run, state: Path, uploads: Path, local_list: str, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics = tmp_path / "hashscan.prom"
    (state / "ledger.sqlite").write_bytes(b"no database" * 1000)
    ran = run("scan", uploads, "--list", local_list, "--exec", program, "--metrics", metrics)
    assert ran.code == 4, ran.err
    assert [alert["kind"] for alert in given(got)] == ["found", "failed"]
    assert "ledger" in given(got)[1]["text"]
    assert metrics_in(metrics)["hashscan_last_run_exit_code"] == 4


@pytest.mark.slow
def test_a_killed_scan_is_reported_by_the_next_command(
    run: Run, state: Path, uploads: Path, local_list: str, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics = tmp_path / "hashscan.prom"
    options = ("--exec", program, "--metrics", str(metrics))
    assert run("scan", uploads, "--list", local_list, *options).code == 1
    # The ledger has whole seconds: in the same one, the file of metrics would have the later scan.
    ended = int(time.time())
    until(lambda: time.time() >= ended + 1)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number}.txt").write_text(str(number))
    limited = [*COMMAND, "scan", str(many), "--list", local_list, "--limit-files", "20", *options]
    scan = PREFORK.popen(
        limited, env=environment(state, {"HASHSCAN_WORKERS": "1"}), stderr=subprocess.DEVNULL
    )
    until(lambda: begun(state) == 2)
    scan.kill()
    assert scan.wait(60) == -signal.SIGKILL
    success = metrics_in(metrics)["hashscan_last_success_timestamp_seconds"]
    assert run("alerts", "send", *options).code == 0
    after = metrics_in(metrics)
    assert after["hashscan_last_run_killed"] == 1
    assert after["hashscan_last_success_timestamp_seconds"] == pytest.approx(success, abs=2)
    assert [alert["subject"].partition(": ")[2] for alert in given(got)][1:] == ["scan FAILED: it was killed"]


@pytest.mark.slow
def test_a_terminated_scan_writes_its_figures(
    run: Run, state: Path, local_list: str, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics, many = tmp_path / "hashscan.prom", tmp_path / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number}.txt").write_text(str(number))
    command = [*COMMAND, "scan", str(many), "--list", local_list, "--limit-files", "20", "--exec", program,
               "--metrics", str(metrics)]  # fmt: skip
    scan = PREFORK.popen(
        command, env=environment(state, {"HASHSCAN_WORKERS": "1"}), stderr=subprocess.DEVNULL
    )
    until(lambda: catches(scan.pid, signal.SIGTERM))
    scan.terminate()
    assert scan.wait(60) == 143
    found = metrics_in(metrics)
    assert (found["hashscan_last_run_exit_code"], found["hashscan_last_run_killed"]) == (143, 0)
    assert "hashscan_last_success_timestamp_seconds" not in found
    assert [alert["kind"] for alert in given(got)] == ["incomplete"]


def test_wrong_channels_are_refused_before_the_scan(
    run: Run, state: Path, uploads: Path, tmp_path: Path
) -> None:
    readable = tmp_path / "notify"
    readable.write_text(f"json://{TOKEN}@127.0.0.1/\n")
    readable.chmod(0o644)
    for options in (
        ("--notify", f"slack://{TOKEN}"),
        ("--notify", TOKEN),
        ("--notify", f"@{readable}"),
        ("--notify", "@/not/there"),
        ("--exec", "/not/there"),
        ("--exec", "'unfinished"),
        ("--metrics", tmp_path / "metrics.txt"),
    ):
        ran = run("scan", uploads, *options)
        assert ran.code == 2, options
        assert TOKEN not in ran.out + ran.err
    assert not (state / "reports").exists()


def test_the_settings_file_has_a_table_for_all_commands_and_shows_no_secret(
    run: Run, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    with webhook() as service:
        file = tmp_path / "hashscan.toml"
        file.write_text(f'[alerts]\nnotify = ["{service.url}"]\nexec = ["{program} \'a b\'"]\n')
        file.chmod(0o600)
        ran = run("--config", file, "alerts", "test")
        assert ran.code == 0, ran.err
        assert ran.err.count(": sent") == 2
        assert service.posted[0]["title"].endswith(": a test")
        shown = run("--config", file, "config", "show", "scan", "--changed")
        assert "secret" in shown.out
        assert not any(secret in ran.err + shown.out + shown.err for secret in SECRETS)
        service.status = 401
        ran = run("--config", file, "alerts", "test")
    assert ran.code == 13
    assert "FAILED: not taken" in ran.err
    assert given(got)[0]["kind"] == "test"


def test_alerts_can_be_dropped(run: Run, uploads: Path, local_list: str) -> None:
    assert run("scan", uploads, "--list", local_list, "--exec", "false").code == 1
    (line,) = run("alerts", "list", "--format", "json").lines
    assert (line["waits"], line["sent"]) == (["exec"], [])
    assert "has failed 1 time" in run("alerts", "list").err
    assert run("alerts", "drop").code == 2
    assert "1 alert dropped" in run("alerts", "drop", line["id"]).err
    assert run("alerts", "send", "--exec", "false", "--now").code == 0


def test_lists_that_are_pulled_write_the_figures(
    run: Run, tmp_path: Path, local_list: str, hook: tuple[str, Path]
) -> None:
    metrics = tmp_path / "hashscan.prom"
    program, got = hook
    ran = run("lists", "pull", local_list, "--metrics", metrics, "--exec", program)
    assert ran.code != 0
    assert metrics_in(metrics)[f"hashscan_list_state,{local_list},local"] == 1
    (alert,) = given(got)
    assert alert["kind"] == "list"
    assert metrics.stat().st_mode & 0o777 == 0o644


def test_an_overdue_case_exits_1_raises_the_metric_and_is_reported_once(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, hook: tuple[str, Path]
) -> None:
    program, got = hook
    metrics = tmp_path / "hashscan.prom"
    options = ("--exec", program, "--metrics", metrics)
    assert run("scan", uploads, "--list", local_list, *options).code == 1
    (found,) = given(got)
    ran = run("cases", "due", *options)
    assert (ran.code, metrics_in(metrics)["hashscan_cases_overdue"]) == (0, 0)
    time.sleep(1)
    for _ in range(2):
        # Whole seconds count.
        ran = run("cases", "due", "--deadline", "0.1s", *options)
        assert ran.code == 1, ran.err
        assert metrics_in(metrics)["hashscan_cases_overdue"] == len(found["cases"])
        (overdue,) = given(got)[1:]
        assert (overdue["kind"], overdue["cases"]) == ("overdue", found["cases"])
    for case in found["cases"]:
        assert run("cases", "close", case, "--reason", "a test").code == 0
    ran = run("cases", "due", "--deadline", "0.1s", *options)
    assert (ran.code, metrics_in(metrics)["hashscan_cases_overdue"]) == (0, 0)
    assert len(given(got)) == 2


def test_two_commands_at_once_tell_once(
    run: Run, state: Path, uploads: Path, local_list: str, tmp_path: Path
) -> None:
    got, program = tmp_path / "got", tmp_path / "slow"
    # Whoever came second finds it running.
    program.write_text(f"#!/bin/sh\nsleep 2; cat >> {got}\n")
    program.chmod(0o755)
    assert run("scan", uploads, "--list", local_list).code == 1
    command = [*COMMAND, "alerts", "send", "--exec", str(program)]
    both = [PREFORK.popen(command, env=environment(state), stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert len(given(got)) == 1


def test_an_order_of_which_half_of_the_time_is_gone_is_escalated_once(call: Run, tmp_path: Path) -> None:
    added = ("--kind", "order", "--sender", "An authority", "--within", "2")
    received = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3700))
    assert call("cases", "add", "/srv/a.jpg", *added, "--reference", "A", "--received", received).code == 0
    assert call("cases", "add", "/srv/b.jpg", *added, "--reference", "B").code == 0
    assert call("cases", "add", "/srv/c.jpg", "--received", received).code == 0
    with webhook() as service, webhook() as second:
        channels = ("--notify", service.url, "--escalate-to", second.url)
        second.status = 503
        assert call("alerts", "send", *channels).code == 13
        second.status = 200
        for _ in range(2):
            assert call("alerts", "send", "--now", *channels).code == 0
            assert call("cases", "reopen", "1", "--reason", "still there").code == 0
        assert len(second.posted) == 1
        assert len(service.posted) == 1
    kinds = {alert["kind"]: alert["cases"] for alert in call("alerts", "list", "--format", "json").lines}
    assert kinds == {"found": [1, 2, 3], "escalated": [1]}
