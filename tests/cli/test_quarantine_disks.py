"""Disks that are full or can't be written cost no file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ADD = ("--reason", "r", "--retain-min", "90d", "--destroy-by", "365d")
CUSTOMER = 12345
CONTENT = b"accused" * 200_000


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes small file systems in memory."""
    made: list[Path] = []

    def mount(name: str, options: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def path(mount: Callable[..., Path]) -> Path:
    """A file on a file system that is the customer's from its top on, so that nothing can be kept there."""
    path = mount("files", f"uid={CUSTOMER},mode=0755") / "a"
    path.write_bytes(CONTENT)
    os.chown(path, CUSTOMER, CUSTOMER)
    return path


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_full_one(path: Path, mount: Callable[..., Path], state: Path, run: Run) -> None:
    mount(state.name, "size=512k,mode=0700")
    ran = run("quarantine", "add", path, *ADD)
    assert (ran.code, "No space left" in ran.err) == (3, True), ran.err
    assert path.read_bytes() == CONTENT
    assert path.stat().st_uid == CUSTOMER
    # What was begun is mended though nothing is free still.
    assert run("quarantine", "verify", "--repair").code == 0
    assert os.listdir(path.parent) == ["a"]
    remount(state, "size=8m")
    ran = run("quarantine", "add", path, *ADD)
    assert (ran.code, path.exists()) == (0, False), ran.err
    # No space for the file to come back.
    remount(path.parent, "size=64k")
    ran = run("quarantine", "restore", "--all")
    assert (ran.code, "No space left" in ran.err) == (3, True), ran.err
    assert os.listdir(path.parent) == []
    assert run("quarantine", "verify").code == 0
    remount(path.parent, "size=8m")
    assert run("quarantine", "restore", "--all").code == 0
    assert path.read_bytes() == CONTENT


def test_a_log_that_finds_no_space(path: Path, mount: Callable[..., Path], state: Path, run: Run) -> None:
    mount(state.name, "size=64k,mode=0700")
    path.write_bytes(b"accused")
    assert run("quarantine", "add", path, *ADD).code == 0
    assert run("quarantine", "restore", "--all").code == 0
    filler = state / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(1 << 20))
    ran = run("quarantine", "add", path, *ADD)
    assert (ran.code, path.read_bytes()) == (12, b"accused"), ran.err
    filler.unlink()
    assert run("quarantine", "verify", "--repair").code == 0
    assert run("quarantine", "add", path, *ADD).code == 0


def test_one_that_can_not_be_written(path: Path, mount: Callable[..., Path], state: Path, run: Run) -> None:
    mount(state.name, "mode=0700")
    remount(state, "ro")
    ran = run("quarantine", "add", path, *ADD)
    assert (ran.code, "Read-only file system" in ran.err) == (12, True), ran.err
    remount(state, "rw")
    remount(path.parent, "ro")
    ran = run("quarantine", "add", path, *ADD)
    assert (ran.code, "Read-only file system" in ran.err) == (3, True), ran.err
    assert run("quarantine", "verify").code == 0
    remount(path.parent, "rw")
    assert run("quarantine", "add", path, *ADD).code == 0
    remount(path.parent, "ro")
    assert run("quarantine", "restore", "--all").code == 3
    remount(path.parent, "rw")
    assert run("quarantine", "restore", "--all").code == 0
    assert path.read_bytes() == CONTENT
