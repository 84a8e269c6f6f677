from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.errors import LockedError, OutputError
from hashscan.scan.lock import ScanLock

HOLD = """
import sys, pathlib
from hashscan.scan.lock import ScanLock
lock = ScanLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_sweep_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError) as caught:
            ScanLock(tmp_path)
        assert caught.value.exit_code == 11
        assert str(tmp_path) in str(caught.value)
        holder.kill()
        holder.wait()
        ScanLock(tmp_path).release()


def test_the_state_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with ScanLock(tmp_path / "a" / "state"):
        assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "state" / "scan.lock").stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(OutputError, match="state"):
        ScanLock(tmp_path / "state")


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        ScanLock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
