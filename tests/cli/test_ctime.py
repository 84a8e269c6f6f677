"""Content that a customer changes after a scan without a sign is found by the next one."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.ctime_attacker import PAGE, ZEROS_AT
from tests.shortcomings import codes
from tests.small_fuse import SmallFile, small_filesystem
from tests.sources.children import NOBODY, needs_root

EVIL = bytearray(os.urandom(32 * PAGE))
EVIL[ZEROS_AT : ZEROS_AT + PAGE] = bytes(PAGE)
EVIL = bytes(EVIL)

NOT_HELD = {
    *("mapping_of_a_later_time", "mapping_dirty_and_gone", "io_uring_buffer", "hole_punched", "cloned"),
    *("extents_exchanged", "other_file_renamed_over"),
}
"""Attacks for which nobody has the file open, or mapped, for writing while it is scanned."""

pytestmark = needs_root

Place = tuple[Path, Path]
"""A folder to scan, and one beside it on the same filesystem."""


def command(*arguments: object) -> None:
    subprocess.run([str(word) for word in arguments], check=True, capture_output=True)


@contextmanager
def mounted(at: Path, *arguments: object) -> Iterator[Path]:
    at.mkdir()
    try:
        command("mount", *arguments, at)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"it can't be mounted here: {error.stderr.decode()}")
    try:
        yield at
    finally:
        command("umount", "-l", at)


@contextmanager
def on_loop(folder: Path, kind: str) -> Iterator[Path]:
    """A new filesystem in a file, mounted."""
    image = folder / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    try:
        command(f"mkfs.{kind}", "-q", image)
    except FileNotFoundError:
        pytest.skip(f"there is no mkfs.{kind}")
    with mounted(folder / kind, "-o", "loop", image) as at:
        yield at


def places(root: Path) -> Place:
    for name in ("inside", "outside"):
        (root / name).mkdir()
        os.chown(root / name, NOBODY, NOBODY)
    return root / "inside", root / "outside"


@contextmanager
def plain(folder: Path) -> Iterator[Place]:
    (folder / "plain").mkdir()
    yield places(folder / "plain")


@contextmanager
def tmpfs(folder: Path) -> Iterator[Place]:
    with mounted(folder / "tmpfs", "-t", "tmpfs", "none") as at:
        yield places(at)


@contextmanager
def ext4(folder: Path) -> Iterator[Place]:
    with on_loop(folder, "ext4") as at:
        yield places(at)


@contextmanager
def btrfs(folder: Path) -> Iterator[Place]:
    with on_loop(folder, "btrfs") as at:
        yield places(at)


@contextmanager
def xfs(folder: Path) -> Iterator[Place]:
    with on_loop(folder, "xfs") as at:
        yield places(at)


@contextmanager
def overlay(folder: Path) -> Iterator[Place]:
    layers = [folder / name for name in ("lower", "upper", "work")]
    for layer in layers:
        layer.mkdir()
    options = "lowerdir={},upperdir={},workdir={}".format(*layers)
    with mounted(folder / "merged", "-t", "overlay", "-o", options, "none") as at:
        yield places(at)


@contextmanager
def attacked(place: Place, folder: Path, *, slow_write: bool = True) -> Iterator[Callable[[], list[str]]]:
    """A customer with files in a place; called, he changes them, and says by which attacks."""
    inside, outside = place
    evil = folder / "evil"
    evil.write_bytes(EVIL)
    gate, slow = threading.Event(), folder / "slow"
    slow.mkdir()
    with ExitStack() as stack:
        stack.enter_context(small_filesystem(slow, "slow", {b"file": SmallFile(EVIL, 5, gate=gate)}))
        # Whoever waits for it must be let go before it can be unmounted.
        stack.callback(gate.set)
        slow_file = slow / "file" if slow_write else ""
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.cli.ctime_attacker", inside, outside, evil, slow_file],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        names, impossible = json.loads(process.stdout.readline())
        assert len(names) >= 12, impossible

        def strike() -> list[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            gate.set()
            process.stdin.write("\n")
            process.stdin.flush()
            struck: list[str] = json.loads(process.stdout.readline())
            assert struck == names
            return struck

        yield strike


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users reach, too."""
    made = Path(tempfile.mkdtemp(prefix="hashscan-ctime-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def scan(run: Run, state: Path, tmp_path: Path, age: Callable[[], None]) -> Callable[..., Any]:
    entries = tmp_path / "entries.csv"
    entries.write_text(f"id,algorithm,value,category\ne,sha256,{hashlib.sha256(EVIL).hexdigest()},A1\n")
    assert run("lists", "import", entries, "--name", "ours").code == 0
    age()

    def scan(target: Path, *options: object, **process: Any) -> tuple[int, set[str], dict[str, Any]]:
        """The exit code, the names of matches, and the summary."""
        report = tmp_path / "report.jsonl"
        ran = run("scan", target, "--list", "ours", "--report", report, *options, **process)
        records = [json.loads(line) for line in report.read_text().splitlines()]
        found = {Path(r["path"]).name for r in records if r.get("verdict") == "match"}
        return ran.code, found, records[-1]

    return scan


@pytest.mark.parametrize(
    "filesystem",
    [plain, tmpfs, overlay, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (ext4, btrfs, xfs))],
)
def test_whatever_a_customer_changes_is_found_by_the_next_scan(
    scan: Callable[..., Any], folder: Path, filesystem: Callable[[Path], Any]
) -> None:
    # On XFS who reads waits for who writes, so that the scan would not end before the write.
    with filesystem(folder) as place, attacked(place, folder, slow_write=filesystem != xfs) as strike:
        code, found, summary = scan(place[0])
        assert (code, found) == (0, set())
        attacks = set(strike())
        if filesystem in {plain, ext4, btrfs}:
            assert summary["ctime"] == {"writer": len(attacks - NOT_HELD)}
        else:
            assert summary["ctime"] == {"filesystem": len(attacks)}
        assert attacks - scan(place[0])[1] == set()


def test_what_is_changed_through_an_overlay_is_found_beneath_it(
    scan: Callable[..., Any], folder: Path
) -> None:
    with overlay(folder) as place, attacked(place, folder) as strike:
        upper = folder / "upper" / "inside"
        assert scan(upper)[:2] == (0, set())
        attacks = set(strike())
        assert attacks - scan(upper)[1] == set()


def test_what_a_fuse_changes_is_found_by_the_next_scan(scan: Callable[..., Any], folder: Path) -> None:
    at = folder / "fuse"
    at.mkdir()
    files = {b"file": SmallFile(b"x" * len(EVIL), 5)}
    with small_filesystem(at, "small", files):
        code, found, summary = scan(at)
        assert (code, found, summary["ctime"]) == (0, set(), {"filesystem": 1})
        files[b"file"] = SmallFile(EVIL, 5)
        assert scan(at)[1] == {"file"}


def without_cap_lease() -> None:
    assert ctypes.CDLL(None).prctl(24, 28, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_LEASE


def test_without_the_right_to_lease_files_are_unproven(scan: Callable[..., Any], folder: Path) -> None:
    with plain(folder) as place, attacked(place, folder) as strike:
        code, found, summary = scan(place[0], preexec_fn=without_cap_lease)
        assert (code, found) == (0, set())
        files = summary["files"]
        assert summary["ctime"] == {"unproven": files}
        attacks = set(strike())
        code, found, summary = scan(place[0], preexec_fn=without_cap_lease)
        # Pages are written out before the file is read, so mappings are found; a write that goes on is not.
        assert attacks - found == {"one_long_write"}
        assert summary["ctime"] == {"unproven": files}
        assert summary["unchanged"] == 1
        _, found, summary = scan(place[0], "--reread", "100%")
        assert attacks - found == set()
        assert codes(summary) == ["changed"]


@pytest.mark.slow
def test_a_type_may_be_trusted_and_only_what_its_danger_is_goes_unseen(
    scan: Callable[..., Any], folder: Path
) -> None:
    with xfs(folder) as place, attacked(place, folder, slow_write=False) as strike:
        _, _, summary = scan(place[0])
        assert summary["ctime"] == {"filesystem": summary["files"]}
        _, _, summary = scan(place[0], "--trust-ctime", "xfs")
        assert summary["unchanged"] == 0
        assert set(summary["ctime"]) == {"on_trust", "writer"}
        attacks = set(strike())
        _, found, summary = scan(place[0], "--trust-ctime", "xfs")
        assert attacks - found == {"extents_exchanged"}
        assert attacks - scan(place[0])[1] == set()
