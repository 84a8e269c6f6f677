"""Each command of the page about a hub does what the page says: an authority and a hoster, as new users."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environment
from tests.service.doors.http.test_documented import running

DOCS = Path(__file__).parents[2] / "docs"
_COMMAND = re.compile(r"(?:hashscan|curl|echo|\(umask|\(printf) ")


def commands(section: str, page: str = "hub") -> list[str]:
    """The commands of a section, in their order."""
    text = (DOCS / f"{page}.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if _COMMAND.match(line)]


def test_few_commands_are_needed() -> None:
    assert 0 < len(commands("Set it up")) < 10
    assert 0 < len(commands("The hoster")) <= 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_page(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    www = tmp_path / "www"
    www.mkdir()
    (www / "listed").write_bytes(b"listed")
    (www / "other").write_bytes(b"other")
    digest = hashlib.sha256(b"listed").hexdigest()
    (tmp_path / "entries.csv").write_text(f"id,algorithm,value,category\nn-1,sha256,{digest},A1\n")
    program = tmp_path / "bin" / "hashscan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hashscan "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HASHSCAN_WORKERS": "1"}

    def run(command: str, state: str = "hub", code: int = 0, given: str = "") -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment(tmp_path / state, path), timeout=120,
            input=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.stderr}"
        return done.stdout

    *made, serve = commands("Set it up")
    for command in made:
        run(command)
    keep, add, scan = commands("The hoster")
    with running(f"{serve} --listen tcp:127.0.0.1:{port}", tmp_path, environment(tmp_path / "hub", path)):
        run(keep, "hoster", given=(tmp_path / "alpha.key").read_text())
        run(add.replace("https://hub.example/", f"http://127.0.0.1:{port}/"), "hoster")
        found = run(scan.replace("/var/www", str(www)), "hoster", 1)
        assert "n-1" in found
        echo, header, curl = commands("The interface", "hub-reference")
        for command in (echo, header):
            run(command)
        assert json.loads(run(curl.replace("8480", str(port))))["matches"] == []
        for command in commands("Keys"):
            run(command)
        assert json.loads(run(curl.replace("8480", str(port))))["code"] == "key_invalid"
