"""Files that a scan with a state opens, counted by the kernel."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashscan.errors import EXIT_CLEAN, EXIT_FOUND, EXIT_INCOMPLETE
from tests.cli.commands.test_state import Records, comparable, fresh
from tests.cli.conftest import Run
from tests.cli.opened import opened
from tests.sources.children import needs_root

LISTED = b"known"
FOLDERS, EACH = 100, 20
Scan = Callable[..., tuple[int, Records]]


@pytest.fixture
def listed(run: Run, tmp_path: Path) -> None:
    """A list, `ours`, with one content on it."""
    entries = tmp_path / "known.csv"
    digest = hashlib.sha256(LISTED).hexdigest()
    entries.write_text(f"id,algorithm,value,category\ne,sha256,{digest},A1\n")
    assert run("lists", "import", entries, "--name", "ours").code == 0


@pytest.fixture
def scan(run: Run, listed: None, tmp_path: Path) -> Scan:
    def scan(*arguments: object) -> tuple[int, Records]:
        report = tmp_path / "report.jsonl"
        ran = run("scan", *arguments, "--list", "ours", "--report", report)
        assert ran.code in {EXIT_CLEAN, EXIT_FOUND, EXIT_INCOMPLETE}, ran.err
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


def fill(top: Path) -> None:
    """Two thousand files, of which every fiftieth is listed; old enough to be believed."""
    for folder in range(FOLDERS):
        (top / f"{folder:02}").mkdir(parents=True)
        for number in range(EACH):
            place = folder * EACH + number
            content = LISTED if place % 50 == 0 else b"%d" % place
            (top / f"{folder:02}" / f"{number:02}").write_bytes(content)
    time.sleep(2.1)


def change(top: Path) -> set[str]:
    """Change, exchange, add, delete and rename one of a hundred files each; which have to be read now."""
    files = sorted(path for path in top.rglob("*") if path.is_file())
    to_read = set()
    for number in range(0, len(files), 100):
        changed, exchanged, added = files[number + 1], files[number + 2], files[number].with_name("new")
        changed.write_bytes(LISTED if number % 200 else b"other words")
        status = exchanged.stat()
        exchanged.write_bytes(exchanged.read_bytes()[::-1])
        os.utime(exchanged, ns=(status.st_atime_ns, status.st_mtime_ns))
        added.write_bytes(LISTED if number % 300 else b"new words")
        # One of two deleted files was a finding.
        files[number + (50 if number % 200 else 51)].unlink()
        renamed = files[number + 53].with_name("renamed")
        files[number + 53].rename(renamed)
        to_read |= {str(path) for path in (changed, exchanged, added, renamed)}
    return to_read


@pytest.mark.slow
def test_of_a_tree_only_what_has_changed_is_opened(scan: Scan, run: Run, state: Path, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    fill(top)
    with opened(top) as count:
        code, first = scan(top)
        assert (code, len(count.take())) == (1, FOLDERS * EACH)
        again, second = scan(top)
        assert (again, count.take()) == (1, {})
        assert comparable(second) == comparable(first)
        to_read = change(top)
        assert len(to_read) == 4 * FOLDERS * EACH // 100
        count.take()
        code, records = scan(top)
        assert set(count.take()) == to_read
    assert records[-1]["unchanged"] == records[-1]["files"] - len(to_read)
    assert (code, comparable(records)) == (1, comparable(fresh(run, top, state, tmp_path)[1]))


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """A file with a filesystem in it."""
    file = tmp_path / "image"
    with file.open("wb") as made:
        made.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-N", "4096", file], check=True)
    yield file
    subprocess.run(["umount", "-q", "-l", tmp_path / "mounted"], check=False)
    attached = subprocess.run(["losetup", "-n", "-O", "NAME", "-j", file], capture_output=True, text=True)
    for device in attached.stdout.split():
        subprocess.run(["losetup", "-d", device], check=False)


def attach(image: Path) -> str:
    done = subprocess.run(["losetup", "--show", "-f", image], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device can be had here: {done.stderr.strip()}")
    return done.stdout.strip()


def mount(device: str, at: Path) -> int:
    """Mount it; its device number."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", device, at], check=True)
    return at.stat().st_dev


def unmount(top: Path) -> None:
    """Unmount it, with all that was written on its device.

    Tests beside this one make mount namespaces, and each of them keeps what is mounted at that time. Until
    it ends, unmounting here writes nothing back: the next device would show the filesystem as it was made.
    """
    subprocess.run(["mount", "-o", "remount,ro", top], check=True)
    subprocess.run(["umount", top], check=True)


@needs_root
@pytest.mark.slow
def test_a_filesystem_is_known_again_under_another_device_number(
    scan: Scan, image: Path, tmp_path: Path
) -> None:
    top = tmp_path / "mounted"
    device = attach(image)
    before = mount(device, top)
    fill(top / "tree")
    code, first = scan(top / "tree")
    assert code == 1
    unmount(top)
    # The first device stays taken, so that the next one is another.
    other = attach(image)
    assert mount(other, top) != before
    with opened(top) as count:
        code, second = scan(top / "tree")
        assert (code, count.take()) == (1, {})
    assert findings(second) == findings(first)


def findings(records: Records) -> list[dict[str, object]]:
    """All of them but for the device, in one order: that of the report is that of the workers' answers."""
    found = [
        {key: value for key, value in record.items() if key != "device"}
        for record in records
        if record["type"] == "finding"
    ]
    return sorted(found, key=lambda record: str(record["path"]))


@needs_root
@pytest.mark.slow
def test_a_target_that_is_not_mounted_forgets_nothing(scan: Scan, image: Path, tmp_path: Path) -> None:
    top = tmp_path / "mounted"
    device = attach(image)
    mount(device, top)
    fill(top)
    code, first = scan(top)
    paths = sorted(record["path"] for record in first if record["type"] == "finding")
    assert (code, len(paths)) == (1, FOLDERS * EACH // 50)
    subprocess.run(["umount", top], check=True)
    for _ in range(2):
        code, empty = scan(top)
        assert code == 3
        assert sorted(record["path"] for record in empty if record["type"] == "standing") == paths
    mount(device, top)
    with opened(top) as count:
        code, again = scan(top)
        assert (code, count.take()) == (1, {})
    assert sorted(record["path"] for record in again if record["type"] == "finding") == paths


@needs_root
@pytest.mark.slow
def test_a_tree_that_is_mounted_twice_is_reported_twice(scan: Scan, tmp_path: Path) -> None:
    top = tmp_path / "both"
    fill(top / "one")
    (top / "two").mkdir()
    subprocess.run(["mount", "--bind", top / "one", top / "two"], check=True)
    try:
        code, first = scan(top)
        assert (code, first[-1]["files"]) == (1, 2 * FOLDERS * EACH)
        with opened(top) as count:
            code, second = scan(top)
            assert (code, count.take()) == (1, {})
        found = [record["path"] for record in second if record["type"] == "finding"]
        for half in ("one", "two"):
            assert len([path for path in found if path.startswith(f"{top}/{half}/")]) == 40
        assert comparable(second) == comparable(first)
    finally:
        subprocess.run(["umount", top / "two"], check=True)


@pytest.mark.slow
def test_an_inode_that_is_used_again_is_read(scan: Scan, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    (top / "other").write_bytes(b"words")
    (top / "file").write_bytes(b"plain")
    time.sleep(2.1)
    assert scan(top)[0] == 0
    before = (top / "file").stat()
    for number in range(1000):
        (top / "file").unlink(missing_ok=True)
        (top / "file").write_bytes(LISTED)
        if (top / "file").stat().st_ino == before.st_ino:
            break
        # Kept, so that the next one gets another number.
        (top / "file").rename(tmp_path / str(number))
    else:
        pytest.skip("this filesystem gives no inode twice")
    os.utime(top / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (top / "file").stat().st_size == before.st_size
    code, records = scan(top)
    assert (code, records[-1]["unchanged"]) == (1, 1)
