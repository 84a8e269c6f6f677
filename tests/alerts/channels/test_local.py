"""Tests of alerts.channels.local."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.channels.base import DeliveryError
from hashscan.alerts.channels.local import HookChannel, SyslogChannel, syslog_line
from hashscan.errors import UsageError

DOCUMENT = Alert(Kind.OVERDUE, ("k",), "one case is overdue").document("web1", "now")


def script(tmp_path: Path, commands: str) -> str:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)
    return str(path)


def test_it_gets_json_its_arguments_and_no_environment_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHSCAN_NOTIFY", "json://secret")
    got, env, arguments = tmp_path / "got", tmp_path / "env", tmp_path / "arguments"
    program = script(tmp_path, f'cat > {got}; env > {env}; printf "%s\\n" "$PWD" "$@" > {arguments}')
    hook = HookChannel([program, "a b", "; touch x"])
    hook.check()
    hook.deliver(DOCUMENT, 30)
    assert json.loads(got.read_text()) == DOCUMENT
    assert {line.partition("=")[0] for line in env.read_text().splitlines()} <= {
        "PATH", "LANG", "HOME", "PWD", "_", "SHLVL", "OLDPWD",
    }  # fmt: skip
    assert arguments.read_text().splitlines() == ["/", "a b", "; touch x"]


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ("exit 3", "exit 3"),
        ("echo first >&2; printf 'no \\033[31mticket' >&2; exit 1", r"exit 1: first no \x1b[31mticket"),
        ("kill -SEGV $$", "signal 11"),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo last >&2; exit 1", "last"),
    ],
)
def test_what_it_dies_of_is_said(tmp_path: Path, commands: str, said: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        HookChannel([script(tmp_path, commands)]).deliver(DOCUMENT, 30)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_one_that_reads_nothing_and_floods_both_streams_is_well(tmp_path: Path) -> None:
    large = {**DOCUMENT, "text": "x" * 3_000_000}
    HookChannel([script(tmp_path, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")]).deliver(
        large, 30
    )


@pytest.mark.slow
def test_one_that_hangs_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = script(tmp_path, f"exec 2>&-; sleep 600 & echo $! > {child}; wait")
    with pytest.raises(DeliveryError, match="killed after 5 s"):
        # Time enough, on a busy machine, for it to have started something.
        HookChannel([program]).deliver(DOCUMENT, 5)
    number = int(child.read_text())
    for _ in range(600):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("its child goes on")


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    HookChannel([script(tmp_path, f"sleep 600 & echo $! > {pid}")]).deliver(DOCUMENT, 30)
    os.kill(int(pid.read_text()), 9)


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program-at-all", "./hook"])
def test_there_must_be_such_a_program(program: str) -> None:
    with pytest.raises(UsageError, match="there is no program"):
        HookChannel([program]).check()
    if program != "./hook":
        with pytest.raises(DeliveryError):
            HookChannel([program]).deliver(DOCUMENT, 1)


def test_only_its_name_is_shown() -> None:
    hook = HookChannel(["/usr/bin/curl", "-H", "Authorization: secret"])
    assert "secret" not in hook.label + hook.id
    assert hook.label.startswith("curl (")


@pytest.mark.parametrize(("kind", "priority"), [(Kind.FOUND, 82), (Kind.OVERDUE, 81), (Kind.DONE, 86)])
def test_a_line_has_the_severity_of_its_kind(tmp_path: Path, kind: Kind, priority: int) -> None:
    document = Alert(kind, ("k",), 'two "new" cases', cases=(7, 8), counts={"match": 2}).document(
        "web1", "now"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.settimeout(30)
        log.bind(str(tmp_path / "log"))
        SyslogChannel(str(tmp_path / "log")).deliver({**document, "id": 12}, 5)
        line = log.recv(10_000).decode()
    assert re.fullmatch(
        rf'<{priority}>hashscan\[\d+\]: alert={kind.value} id=12 cases=7,8 match=2 '
        r'msg="hashscan on web1: two \\"new\\" cases"',
        line,
    )  # fmt: skip


def test_where_nobody_listens_it_has_failed(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="no system log"):
        SyslogChannel(str(tmp_path / "log")).deliver(Alert(Kind.TEST, (), "x").document("web1", "now"), 5)


@given(st.text(), st.text())
def test_nothing_in_it_begins_another_line_or_pair(subject: str, host: str) -> None:
    line = syslog_line(Alert(Kind.FOUND, ("k",), subject).document(host, "now"))
    assert line.isprintable()
    head, quote, message = line.partition('msg="')
    assert head == "alert=found id=- cases=- "
    assert quote
    assert re.fullmatch(r'(?:[^"\\]|\\.)*"', message)
