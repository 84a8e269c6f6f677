"""Notices from a real node to real commands of a server, and back, as docs/hub.md shows them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.conftest import COMMAND, Ran, environment, runner
from tests.prefork import HUB_PREFORK

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")


@contextmanager
def serving(state: Path, *before: object) -> Iterator[str]:
    """A node in a process of its own, with options before the command; yields its address."""
    process = HUB_PREFORK.popen(
        [*COMMAND, *map(str, before), "hub", "serve", "--listen", "tcp:127.0.0.1:0"],
        stderr=subprocess.PIPE,
        env=environment(state),
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while "listens at" not in said:
            said = process.stderr.readline()
            assert said, "it has ended"
        yield f"http://{said.rstrip().rpartition('tcp:')[2]}/"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def only(ran: Ran) -> Any:
    (line,) = ran.lines
    return line


def test_a_notice_becomes_a_case_and_its_removal_comes_back(tmp_path: Path) -> None:
    hub, server = runner(tmp_path / "hub/state"), runner(tmp_path / "server/state")
    entries = tmp_path / "entries.csv"
    entries.write_text(f"id,algorithm,value,category\ne1,sha256,{hashlib.sha256(b'listed').hexdigest()},A1\n")
    www = tmp_path / "www"
    www.mkdir()
    (www / "a.jpg").write_bytes(b"not listed")
    for run in (hub, server):
        assert run("lists", "import", entries, "--name", "ours").code == 0
    for words in (("init",), ("org", "add", "alpha"), ("org", "add", "beta")):
        assert hub("hub", *words).code == 0
    for name in ("alpha", "beta"):
        key = hub("hub", "key", "add", name, "web", "--right", "cases")
        (tmp_path / name).write_text(key.out)
        (tmp_path / name).chmod(0o600)
    sent = hub(
        "hub", "notice", "send", "alpha", "--url", "https://alice.example/a.jpg", "--category", "A1",
        "--deadline", "24h", "--reference", "P-1",
    )  # fmt: skip
    assert (sent.code, sent.out) == (0, "P-1\n")
    settings = tmp_path / "hashscan.toml"
    with serving(tmp_path / "hub/state") as url:
        settings.write_text(
            f'[hub]\nhub = "{url}"\nkey_file = "{tmp_path / "alpha"}"\nserver_name = "web1"\n\n'
            f'[[site]]\nurl = "https://alice.example/"\npath = "{www}"\n'
        )

        def sync(*words: object) -> Ran:
            return server("--config", settings, "cases", "sync", *words)

        others = server("cases", "sync", "--hub", url, "--key-file", tmp_path / "beta")
        assert others.code == 0, others.err
        assert server("cases", "list", "--format", "json").out == ""
        done = sync()
        assert done.code == 0, done.err
        case = only(server("cases", "list", "--format", "json"))
        assert (case["path"], case["verdict"], case["state"]) == (str(www / "a.jpg"), "notice", "found")
        stored = only(hub("hub", "notice", "list", "--format", "json"))
        assert (stored["state"], stored["deadline"]) == ("acknowledged", case["due"].replace("+00:00", "Z"))
        assert sync().code == 0
        # A notice moves nothing, neither by itself nor when a scan moves what lists accuse.
        (www / "b.jpg").write_bytes(b"listed")
        policy = tmp_path / "policy.toml"
        policy.write_text('[[policy]]\naction = "quarantine"\n')
        scanned = server(
            "scan",
            www,
            "--list",
            "ours",
            "--quarantine",
            *TERMS,
            "--policy",
            policy,
            "--act-on",
            "local",
            "--report",
            "-",
        )
        assert scanned.code == 1, scanned.err
        assert {"a.jpg", "b.jpg"} & set(os.listdir(www)) == {"a.jpg"}
        (www / "a.jpg").unlink()
        assert server("cases", "check").code == 0
        assert sync().code == 0
        removed = only(hub("hub", "notice", "list", "alpha", "--format", "json"))
        assert (removed["state"], removed["how"], removed["overdue"]) == ("removed", "gone", False)
        assert hub("hub", "key", "revoke", "alpha", "web").code == 0
        assert sync().code == 2
    assert sync().code == 13
    actions = [
        json.loads(line)["action"]
        for line in hub("hub", "audit", "list", "--format", "json").out.splitlines()
    ]
    assert [action for action in actions if action.startswith("notice")] == [
        "notice.send", "notice.acknowledged", "notice.removed",
    ]  # fmt: skip
