"""Each command of the page's section about HTTP does what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import environment
from tests.service.doors.http.conftest import LISTED
from tests.service.engine.serving import entry_of, picture, store_list

PAGE = Path(__file__).parents[4] / "docs" / "serve.md"


def commands() -> list[str]:
    """The commands of the section, in their order."""
    section = PAGE.read_text().split("\n## HTTP\n")[1].split("\n## ")[0]
    lines = "".join(re.findall(r"^```text\n(.*?)^```", section, re.DOTALL | re.MULTILINE)).splitlines()
    return [line for line in lines if line.startswith(("hashscan", "curl", "(umask"))]


@contextmanager
def running(command: str, folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """A server, from when it is ready."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if "ready" in line or "listens at" in line:
                break
        else:
            pytest.fail(said)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_page(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    store_list(tmp_path / "state", entry_of(LISTED))
    (tmp_path / "photo.jpg").write_bytes(LISTED)
    (tmp_path / "text.txt").write_bytes(picture(2))
    # The program beside this interpreter, and no other.
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "hashscan"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hashscan "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HASHSCAN_WORKERS": "1"}
    variables = environment(tmp_path / "state", path)

    def run(command: str, state: str = "state", code: int = 0) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment(tmp_path / state, path), timeout=120,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.stderr}"
        return done.stdout

    shown = [
        line.replace("/etc/hashscan/http-keys", "keys").replace("127.0.0.1:8086", f"127.0.0.1:{port}")
        for line in commands()
    ]
    add, serve, header, one, form, listing, revoke, add_other, add_list, with_filter = shown
    run(add)
    run(header)
    with running(serve, tmp_path, variables):
        found = json.loads(run(one))
        (file,) = found["files"]
        assert found == {"outcome": "refuse", "files": [{"outcome": "refuse", "threat": file["threat"]}]}
        assert [f["outcome"] for f in json.loads(run(form))["files"]] == ["refuse", "allow"]
        assert "shop" in run(listing)
        run(revoke)
        assert json.loads(run(one))["code"] == "key_invalid"
        run(add_other)
        run(add_list, "other")
        run("hashscan scan --report report.jsonl photo.jpg", "other", 0)
        assert "e0" in (tmp_path / "report.jsonl").read_text()
    with running(with_filter.replace("FINGERPRINT", "0" * 64), tmp_path, variables):
        pass
    cases = run("hashscan cases show 1 --format json")
    assert file["threat"].removeprefix("hashscan.Blocked-") in cases
