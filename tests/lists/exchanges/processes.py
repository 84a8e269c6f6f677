"""Pulls in processes of their own, which a test can kill, and an extension that they find installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan import plugins

EXTENSION = "hashscan_test_extension"

_PULL = """
import os, sys
from pathlib import Path
from hashscan.lists.exchanges import pulling
from hashscan.lists.store import ListStore
from hashscan.registry import EXCHANGES
from hashscan import plugins
plugins._folders = lambda: os.environ["PYTHONPATH"].split(os.pathsep)
pulling.pull(ListStore(Path(sys.argv[1])), sys.argv[2], EXCHANGES)
"""


def pull_in_another_process(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """Start a pull of the list `name` into the lists of `folder`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", _PULL, str(folder), name], env=environment)


def install_extension(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put `example_extension` into a folder of packages, as the only one of this installation."""
    folder.mkdir()
    example = Path(__file__).with_name("example_extension.py")
    (folder / f"{EXTENSION}.py").write_bytes(example.read_bytes())
    monkeypatch.setattr(plugins, "_folders", lambda: [str(folder)])
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delitem(sys.modules, EXTENSION, raising=False)
    return folder
