"""Starts the driver, as this user or as an unprivileged one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")
NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}


@cache
def interpreter_for_nobody() -> str | None:
    """A Python that an unprivileged user can run and that can import this checkout."""
    check = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tests.sandbox.program"
    for candidate in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if candidate is None:
            continue
        try:
            done = subprocess.run(
                [candidate, "-I", "-B", "-c", check], capture_output=True, cwd="/", **NOBODY
            )
        except PermissionError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def command(order: dict[str, Any], user: str) -> tuple[list[str], dict[str, Any]]:
    """The driver's command line, and what subprocess needs besides, for "self" or "nobody"."""
    if user == "nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can start a process of another user")
        interpreter = interpreter_for_nobody()
        if interpreter is None:
            pytest.skip("no interpreter and checkout that an unprivileged user can read")
        return [interpreter, "-B", str(DRIVER), str(ROOT), json.dumps(order)], NOBODY
    return [sys.executable, str(DRIVER), str(ROOT), json.dumps(order)], {}


def drive(order: dict[str, Any], user: str = "self", **more: Any) -> dict[str, Any]:
    """Run an order to its end; `more` is for subprocess."""
    line, options = command(order, user)
    options = options | more
    done = subprocess.run(line, capture_output=True, text=True, cwd="/", timeout=60, check=False, **options)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def processes(marker: str) -> dict[int, int]:
    """Living processes whose command line holds `marker`: process id to parent's."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            # It ended while we looked.
            continue
    return found
