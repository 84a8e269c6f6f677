"""The view over servers, silence and its alerts, and the commands that `docs/hub.md` shows."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.cli.main import cli
from hashscan.errors import UsageError
from hashscan.hub.intake.servers import change_defaults, raise_silence, servers, set_silent_after
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import SERVERS
from hashscan.settings.cases_and_alerts import NO_ALERTS, AlertSettings
from hashscan.state_dir import StateDir
from tests.hub.intake.reports import NOW, finding, organisation, push, report
from tests.shortcomings import shortcoming

DAY = 86_400
PAGE = Path(__file__).parents[3] / "docs" / "hub.md"


def test_the_view_over_servers(database: Database) -> None:
    owner, other = organisation(database), organisation(database, "other")
    push(database, owner, *report(finding("/srv/a")))
    push(database, owner, *report(finding("/srv/a"), incomplete=[shortcoming("x")], exit_code=4), host="web2")
    push(database, other, report()[0], [], host="web1")
    with database.reading() as connection:
        first, second = servers(connection, NOW + 3 * DAY, owner)
        everybody = servers(connection, NOW + 1)
    assert (first.name, first.exit_code, first.version, first.files) == ("web1", 1, "0.1.0", 10)
    assert (first.lists, first.undecoded, first.open_cases) == ({"national": 3}, 0.2, 1)
    assert (first.silent, first.scan_age(NOW + 60), first.received) == (True, 60, NOW)
    assert (second.exit_code, second.incomplete) == (4, (shortcoming("x"),))
    assert [(each.organisation, each.scan == "", each.silent) for each in everybody] == [
        ("hoster", False, False), ("hoster", False, False), ("other", True, False),
    ]  # fmt: skip


def subjects(state: StateDir) -> list[str]:
    with Ledger(state) as ledger:
        return [str(alert.document["subject"]) for alert in Outbox(ledger).listed(20)]


def test_silence_raises_one_alert_and_a_report_ends_it(database: Database, hub_state: StateDir) -> None:
    owner = organisation(database)
    push(database, owner, *report())
    push(database, owner, *report(), host="web2\u202e"[:4])
    with database.transaction() as connection:
        set_silent_after(connection, "cli test", "hoster", "web2", 9 * DAY)
        with pytest.raises(UsageError):
            set_silent_after(connection, "cli test", "hoster", "web9", DAY)

    def look(now: int, alerts: AlertSettings = NO_ALERTS) -> list[str]:
        return raise_silence(database, hub_state, alerts, now)[0]

    assert look(NOW + DAY) == []
    assert look(NOW + 3 * DAY) == ["hoster/web1"]
    assert look(NOW + 4 * DAY) == []
    assert len(subjects(hub_state)) == 1
    push(database, owner, *report(), now=NOW + 5 * DAY)
    with database.reading() as connection:
        assert connection.execute(select(SERVERS.c.silent)).scalars().all() == [None, None]
    assert look(NOW + 6 * DAY) == []
    received = hub_state.path / "received"
    channel = AlertSettings(hooks=(("/bin/sh", "-c", f"cat >> {received}"),))
    assert look(NOW + 10 * DAY, channel) == ["hoster/web1", "hoster/web2"]
    assert look(NOW + 11 * DAY, channel) == []
    kinds = re.findall(r'"kind": ?"(\w+)"', received.read_text())
    assert kinds == ["silent"] * 3


def test_the_time_of_all_servers(database: Database, hub_state: StateDir) -> None:
    push(database, organisation(database), *report())
    change_defaults(database, "cli test", silent_after=60)
    with pytest.raises(UsageError):
        change_defaults(database, "cli test", deadlines={"Z9": 1})
    assert raise_silence(database, hub_state, NO_ALERTS, NOW + 61)[0] == ["hoster/web1"]


def test_the_commands_of_the_page(hub_state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHSCAN_STATE", str(hub_state))
    section = PAGE.read_text(encoding="utf-8").split("\n## Reports of many servers\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
    commands = [line.split()[1:] for block in blocks for line in block.splitlines()]
    run = CliRunner()

    def ran(arguments: list[str]) -> str:
        done = run.invoke(cli, arguments)
        assert (arguments, done.exit_code) == (arguments, 0), (done.output, done.exception)
        return done.stdout

    ran(["hub", "init"])
    shown: dict[str, Any] = {}
    pushed = False
    for arguments in commands:
        if arguments[:2] == ["hub", "server"] and not pushed:
            from hashscan.hub.storage.database import open_database

            with open_database(hub_state) as database:
                push(database, 1, *report(finding("/srv/a")), now=int(time.time()))
            pushed = True
        if arguments[0] == "hub":
            shown[" ".join(arguments)] = ran(arguments)
        else:
            # Sent by tests/hub/intake/test_push.py; without a hub they are refused.
            assert isinstance(run.invoke(cli, arguments).exception, UsageError)
    listed = json.loads(shown["hub server list example-hosting --format json"])
    assert (listed["name"], listed["open_cases"], listed["silent"]) == ("web1", 1, False)
