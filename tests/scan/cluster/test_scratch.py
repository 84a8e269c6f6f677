from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hashscan.errors import OutputError
from hashscan.scan.cluster.host import scratch_folder

HOLD = """
import sys
from hashscan.scan.cluster.host import scratch_folder
with scratch_folder() as folder:
    (folder / "file").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def held(place: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has a folder with a file."""
    command = [sys.executable, "-c", HOLD]
    environment = os.environ | {"TMPDIR": str(place)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().rstrip("\n"))


def test_it_is_private_and_ends_with_the_body(place: Path) -> None:
    with scratch_folder() as folder:
        assert list(place.iterdir()) == [folder]
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inside").mkdir()
        (folder / "inside" / "file").write_bytes(b"x")
    assert not list(place.iterdir())


def test_what_a_killed_process_left_goes_and_what_another_uses_stays(place: Path) -> None:
    with held(place) as (_, used), held(place) as (killed, left):
        killed.kill()
        killed.wait()
        assert {used, left} == set(place.iterdir())
        with scratch_folder() as folder:
            assert {used, folder} == set(place.iterdir())
        assert (used / "file").read_bytes() == b"x"
    assert not list(place.iterdir())


def test_what_is_no_folder_of_ours_stays(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").write_bytes(b"x")
    (place / "hashscan-worker-link").symlink_to(elsewhere)
    (place / "hashscan-worker-file").write_bytes(b"x")
    (place / "other").mkdir()
    before = set(place.iterdir())
    if os.geteuid() == 0:
        stranger = place / "hashscan-worker-stranger"
        stranger.mkdir()
        os.chown(stranger, 65534, 65534)
        before.add(stranger)
    with scratch_folder():
        pass
    assert set(place.iterdir()) == before
    assert (elsewhere / "file").exists()


@pytest.mark.parametrize("module", [os, fcntl])
def test_one_that_is_taken_for_left_before_it_is_locked_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    """Before it is opened, or before it is locked."""
    name = "open" if module is os else "flock"
    real, removed = getattr(module, name), []

    def late(*arguments: Any, **options: Any) -> Any:
        if not removed and (found := list(place.iterdir())):
            removed.extend(found)
            found[0].rmdir()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, late)
    with scratch_folder() as folder:
        assert list(place.iterdir()) == [folder]
        assert folder not in removed
        assert removed


def test_no_place_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(OutputError, match="/nowhere/at/all"), scratch_folder():
        pass
