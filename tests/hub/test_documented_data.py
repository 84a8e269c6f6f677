"""The commands about notices, figures and data protection do what the page says, in their order."""

from __future__ import annotations

import re
import shlex
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.notices.notices import NewNotice, notices, send_notice
from hashscan.hub.storage.database import open_database
from hashscan.hub.storage.tables import CHECKS, PUBLICATIONS
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.alerts.mailbox import mailbox
from tests.cli.conftest import Ran, runner
from tests.hub.notices.test_end_to_end import serving
from tests.service.engine.serving import store_list

PAGE = Path(__file__).parents[2] / "docs" / "hub.md"
NAME = "example-hosting"


def blocks(section: str, language: str = "sh") -> list[str]:
    """The blocks of code of a section."""
    text = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(section: str) -> list[str]:
    return [line for block in blocks(section) for line in block.splitlines()]


@pytest.mark.slow
def test_every_command_of_notices_and_data_protection(tmp_path: Path) -> None:
    state = tmp_path / "state"
    store_list(state, Entry("e0", "md5", bytes(16), "A1"))
    hashscan, settings = runner(state), tmp_path / "settings.toml"
    # The month of the figures must be over, whatever the clock says.
    last = datetime.fromtimestamp(int(time.time()), UTC).replace(day=1) - timedelta(days=1)

    def run(command: str) -> Ran:
        program, *words = shlex.split(command)
        assert program == "hashscan"
        output = words.pop() if words[-1].startswith(">") else ""
        ran = hashscan("--config", settings, *words, cwd=tmp_path)
        assert ran.code == 0, f"{command}: {ran.err}"
        if output:
            (tmp_path / output[1:]).write_text(ran.out)
        return ran

    def states() -> dict[str, str]:
        with open_database(StateDir(state)) as database, database.reading() as connection:
            return {each.reference: each.state for each in notices(connection, int(time.time()))}

    settings.write_text("")
    with open_database(StateDir(state)) as database:
        database.migrate()
        with database.transaction() as connection:
            owner = add_organisation(connection, "cli me", NAME).id
            row = {"organisation": owner, "key": 1, "hour": int(last.timestamp()), "exact": 1000}
            connection.execute(insert(CHECKS).values(row))

            for other in ("P-2026-17", "P-2026-18"):
                wanted = NewNotice(url="https://alice.example/c.jpg", category="A1", reference=other)
                send_notice(connection, "cli me", NAME, wanted, int(time.time()))

    first, *rest = commands("Send a notice")
    reference = run(first).out.strip()
    for command in [*rest, *commands("Look from outside")]:
        run(command)
    assert states() == {reference: "sent", "P-2026-17": "removed", "P-2026-18": "withdrawn"}

    with mailbox() as box:
        (tmp_path / "mail-server").write_text(box.url)
        (tmp_path / "mail-server").chmod(0o600)
        (text,) = blocks("Send notices by mail", "toml")
        settings.write_text(text.replace("/etc/hashscan", str(tmp_path)))
        change, send, show, deliver = commands("Send notices by mail")
        run(change)
        mailed = run(send).out.strip()
        assert mailed in run(show).out
        run(deliver)
        assert states()[mailed] == "mailed"
        prepare, *rest, release = commands("Public figures")
        assert "2026-10" in prepare
        assert run(prepare.replace("2026-10", f"{last:%Y-%m}")).out == "1\n"
        for command in rest:
            run(command)
        assert f"{last:%Y-%m}" in (tmp_path / "figures.html").read_text()
        with serving(state, "--config", settings):
            deadline = time.monotonic() + 60
            while len(box.raw) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert box.recipients == [["abuse@hosting.example"]] * 2
        assert [mail["Reply-To"] for mail in box.mails] == ["desk@hotline.example"] * 2
        assert mailed in box.mails[0]["Subject"]

    refused = hashscan(*shlex.split(release)[1:])
    assert (refused.code, "may answer until" in refused.err) == (2, True)
    with open_database(StateDir(state)) as database, database.transaction() as connection:
        connection.execute(update(PUBLICATIONS).values(answer_until=int(time.time())))
    run(release)
    for command in commands("Prune, export, delete"):
        run(command)
    assert '"organisations"' in (tmp_path / f"{NAME}.jsonl").read_text()
    assert states() == {}
