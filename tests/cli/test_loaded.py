"""Libraries that commands must not load: each would take longer than the rest of the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, environment

CLOUDS = frozenset({"azure", "boto3", "botocore", "google.cloud.storage", "obstore"})
PICTURES = frozenset({"PIL", "imagehash", "scipy"})
"""Only the sandbox opens pictures, in processes of its own."""
CLUSTER = frozenset({"asyncio", "dask", "distributed"})
LISTS = frozenset({"cryptography", "ijson", "securesystemslib", "tuf", "urllib3"})
STATE = frozenset({"numpy", "sqlite3"})
NEVER = CLOUDS | PICTURES | CLUSTER | {"pyarrow", "requests"}
DIGEST = "5a" * 32

FORBIDDEN = {
    "scan --help": NEVER | LISTS | STATE | {"importlib.metadata", "rich"},
    "scan --list demo {files}": NEVER,
    "scan --list demo --no-state {files}": NEVER,
    "scan --known --list demo": NEVER,
    f"check --list demo {DIGEST}": NEVER,
    f"lookup {DIGEST}": NEVER | LISTS | {"rich", "tqdm"},
    f"lookup pdq:{DIGEST}": NEVER | LISTS | {"rich", "tqdm"},
    "hash {files}/text": NEVER | LISTS | {"rich", "tqdm"},
    "lists status": NEVER | LISTS | {"tqdm"},
    "--config {settings} lists status": NEVER | LISTS | {"sqlalchemy", "alembic", "starlette", "tqdm"},
    "state status": NEVER | LISTS | {"tqdm"},
    "publish status {files}": NEVER | LISTS | STATE | {"tqdm"},
    "report merge {files}/text": NEVER | LISTS | STATE | {"rich", "tqdm"},
}

SHOW = (
    "import sys; from hashscan.cli.main import run; code = run(sys.argv[1:]); "
    "print('\\n', *(name for name, module in sys.modules.items() if module is not None), sep='\\n'); "
    "sys.exit(code)"
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "text").write_bytes(b"text")
    return folder


@pytest.mark.parametrize("command", FORBIDDEN)
def test_no_command_loads_what_it_does_not_need(run: Run, state: Path, files: Path, command: str) -> None:
    if "lookup" in command or "--known" in command or "state" in command.split():
        assert run("scan", "--list", "demo", files).code == 0
    settings = files.parent / "settings.toml"
    settings.write_text("[scan]\nworkers = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", SHOW, *command.format(files=files, settings=settings).split(" ")],
        env=environment(state),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    loaded = set(done.stdout.split("\n\n\n")[-1].splitlines())
    assert "hashscan.cli.main" in loaded, done.stderr
    assert done.returncode != 70, done.stderr
    assert loaded & FORBIDDEN[command] == set()


def test_the_clouds_libraries_can_be_loaded_after_lists_were_opened() -> None:
    """They are kept from securesystemslib, and from nobody else."""
    code = (
        "import sys, hashscan.lists.storage.tuf_api; assert 'boto3' not in sys.modules; "
        "import azure.core.exceptions, boto3"
    )
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=True, timeout=60)


def test_no_command_starts_threads_to_calculate_with(run: Run, state: Path, files: Path) -> None:
    assert run("scan", "--list", "demo", files).code == 0
    code = (
        "import os, sys; from hashscan.__main__ import main; main(); assert 'numpy' in sys.modules; "
        "print(len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "lookup", DIGEST],
        env=environment(state),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "1\n"
