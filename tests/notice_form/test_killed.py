"""Kills of the form and of commands that take its notices: each receipt's notice is in the ledger, once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.state_dir import StateDir
from tests.cli.conftest import COMMAND, environment
from tests.dying_calls import DyingCommands, dying_commands
from tests.notice_form.serving import Form, serving
from tests.waiting import until


@contextmanager
def running(state: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own, and the port that it listens at."""
    arguments = ["cases", "form", "--listen", "tcp:127.0.0.1:0", "--max-per-client", "100000"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment(state), stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        found = re.search(r"tcp:127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert found is not None
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def references(state: Path) -> list[str]:
    """Those of all notices in the ledger; none has more than one item."""
    with Ledger(StateDir(state)) as ledger:
        query = "SELECT reference, count(*) FROM notices JOIN notice_items ON notice=number GROUP BY number"
        rows = list(ledger.rows(query))
    assert {count for _, count in rows} <= {1}
    return [reference for reference, _ in rows]


@pytest.mark.slow
def test_form_killed(tmp_path: Path) -> None:
    state, receipts = tmp_path / "state", []
    for kill in range(3):
        with running(state) as (process, port):
            form, enough = Form(StateDir(state), port), threading.Event()

            def send(
                sender: int, form: Form = form, kill: int = kill, enough: threading.Event = enough
            ) -> None:
                number = 0
                with suppress(OSError, HTTPException, json.JSONDecodeError):
                    while True:
                        number += 1
                        url = f"https://a.example/{kill}/{sender}/{number}"
                        receipts.append(form.send(urls=[url]).document["reference"])
                        if number == 5 * (kill + 1):
                            enough.set()

            senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
            for each in senders:
                each.start()
            until(enough.is_set)
            process.kill()
            for each in senders:
                each.join()
        if kill:
            Form(StateDir(state), 0).taken()
    found = references(state)
    assert len(receipts) >= 30
    assert set(receipts) <= set(found)
    assert len(set(found)) == len(found)
    assert all(not name.endswith(".json") for name in Form(StateDir(state), 0).waiting)


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingCommands]:
    with dying_commands(tmp_path_factory.mktemp("dying")) as made:
        yield made


@pytest.mark.slow
def test_taking_killed(tmp_path: Path, dying: DyingCommands) -> None:
    first, state = tmp_path / "first", tmp_path / "state"
    with serving(StateDir(first)) as form:
        sent = {form.send(submission=str(number)).document["reference"] for number in range(3)}
    shutil.copytree(first, state)
    for _ in dying.deaths(state, ["cases", "list"], 12):
        Form(StateDir(state), 0).taken()
        found = references(state)
        assert set(found) == sent
        assert len(found) == len(sent)
        assert Form(StateDir(state), 0).waiting == []
        shutil.rmtree(state)
        shutil.copytree(first, state)
