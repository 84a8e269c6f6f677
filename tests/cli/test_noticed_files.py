"""The case of a notice ends by a complete scan of its folder that has seen the file gone, and by no other."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hashscan.sources.shards import shard_of
from tests.cli.conftest import COMMAND, Run, environment
from tests.cli.test_stopped_early import PAGE, accounts
from tests.pictures import encoded, scene
from tests.prefork import PREFORK
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("local_list")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of two customers, each with a file of which a notice may come and one that stays."""
    tree = tmp_path / "tree"
    for customer in ("ann", "bob"):
        (tree / customer).mkdir(parents=True)
        (tree / customer / "stays.jpg").write_bytes(encoded(scene(7)))
        (tree / customer / "noticed.jpg").write_bytes(encoded(scene(8)))
    return tree


def notice(run: Run, path: Path, kind: str = "order") -> None:
    added = run("cases", "add", path, "--kind", kind, "--sender", "An authority", "--reference", "R-7")
    assert added.code == 0, added.err


def case(run: Run) -> dict[str, Any]:
    (found,) = run("cases", "list", "--status", "all", "--format", "json").lines
    return found


def is_open(run: Run) -> bool:
    return "removed" not in case(run) and "closed" not in case(run)


@pytest.mark.parametrize("kind", ["notice", "terrorist"])
def test_a_complete_scan_ends_it(run: Run, tree: Path, kind: str) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path, kind)
    assert run("scan", tree).code == 0
    assert is_open(run)
    path.unlink()
    assert run("scan", tree).code == 0
    assert case(run)["how"] == "gone"
    assert case(run)["witness"] in {"import", "scan"}


def test_a_file_that_appears_after_its_notice_is_seen_by_a_scan(run: Run, tree: Path) -> None:
    path = tree / "bob" / "later.jpg"
    notice(run, path)
    assert run("scan", tree).code == 0
    assert case(run)["state"] == "never_seen"
    path.write_bytes(encoded(scene(9)))
    assert run("scan", tree).code == 0
    assert case(run)["witness"] == "scan"
    path.unlink()
    assert run("scan", tree).code == 0
    assert case(run)["how"] == "gone"


def test_a_file_that_only_the_last_scan_has_seen(run: Run, tree: Path) -> None:
    path = tree / "bob" / "noticed.jpg"
    assert run("scan", tree).code == 0
    path.unlink()
    notice(run, path)
    assert is_open(run)
    assert run("scan", tree).code == 0
    assert case(run)["how"] == "gone"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("tree", "--exclude", "bob"), 0),
        (("tree", "--exclude", "/bob/*.jpg"), 0),
        (("tree/ann",), 0),
        (("tree", "--known"), 0),
        (("tree", "--time-budget", "0.000001s"), 3),
        (("tree", "--files-from", "names"), 0),
        (("tree/bob/stays.jpg",), 0),
    ],
)
def test_a_scan_that_has_not_read_its_folder_leaves_it(
    run: Run, tree: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path)
    assert run("scan", tree).code == 0
    path.unlink()
    (tmp_path / "names").write_bytes(bytes(tree / "ann" / "stays.jpg"))
    done = run("scan", *arguments, cwd=tmp_path)
    assert (done.code, is_open(run)) == (code, True), done.err
    assert run("scan", tree).code == 0
    assert not is_open(run)


def test_each_shard_ends_its_own(run: Run, tree: Path) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path)
    path.unlink()
    ended = []
    for shard in ("1/2", "2/2"):
        assert run("scan", tree, "--shard", shard).code == 0
        ended.append(not is_open(run))
    assert ended == [shard_of(bytes(path), 2) == 1, True]


def test_a_folder_that_is_missing_proves_nothing(run: Run, tree: Path) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path)
    path.parent.rename(tree.parent / "elsewhere")
    assert run("scan", tree).code == 0
    assert is_open(run)


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_in_its_place_is_not_followed_and_ends_nothing(run: Run, tree: Path, link: str) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path)
    if link == "file":
        path.rename(tree / "ann" / "moved.jpg")
        path.symlink_to(tree / "ann" / "moved.jpg")
    else:
        path.parent.rename(tree / "moved")
        path.parent.symlink_to(tree / "ann")
        (tree / "ann" / "noticed.jpg").unlink()
    assert run("scan", tree).code == 0
    assert is_open(run)


WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def test_a_folder_that_can_not_be_read_proves_nothing(run: Run, tree: Path, state: Path) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path)
    path.unlink()
    path.parent.chmod(0o300)
    command = [*(WITHOUT_RIGHTS if os.geteuid() == 0 else ()), *COMMAND]
    done = subprocess.run(
        [*command, "scan", str(tree), "--workers", "1"],
        env=environment(state),
        capture_output=True,
        text=True,
        check=False,
    )
    path.parent.chmod(0o755)
    assert (done.returncode, is_open(run)) == (3, True), done.stderr
    assert run("scan", tree).code == 0
    assert not is_open(run)


@pytest.fixture
def mounted(tree: Path) -> Iterator[Callable[[], None]]:
    """Mounts an empty file system on a customer's folder until the test ends."""
    mounts = []

    def mount() -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tree / "bob")]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        mounts.append(tree / "bob")

    yield mount
    for folder in mounts:
        subprocess.run(["umount", folder], check=False)


@pytest.mark.parametrize("seen", ["by its notice", "by a scan"])
def test_the_empty_mount_point_of_its_file_system_proves_nothing(
    run: Run, tree: Path, mounted: Callable[[], None], seen: str
) -> None:
    (tree / "bob" / "noticed.jpg").rename(tree / "moved.jpg")
    (tree / "bob" / "stays.jpg").unlink()
    mounted()
    path = tree / "bob" / "noticed.jpg"
    path.write_bytes((tree / "moved.jpg").read_bytes())
    if seen == "by a scan":
        assert run("scan", tree).code == 0
        path.unlink()
    notice(run, path)
    subprocess.run(["umount", path.parent], check=True)
    assert run("scan", tree).code == 0
    assert is_open(run)
    assert run("cases", "check").code == 3
    assert is_open(run)


def test_an_interrupted_scan_leaves_it(run: Run, tree: Path, state: Path) -> None:
    path = tree / "bob" / "noticed.jpg"
    notice(run, path)
    assert run("scan", tree).code == 0
    path.unlink()
    before = len(accounts(state))
    # It can't write the first line of its report, which it does before it reads anything.
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
    os.write(writing, b"\n" * PAGE)
    command = [*COMMAND, "scan", str(tree), "--report", "-"]
    with PREFORK.popen(command, env=environment(state), stdout=writing, stderr=subprocess.PIPE) as scan:
        os.close(writing)
        with open(reading, "rb") as report:
            until(lambda: scan.poll() is not None or len(accounts(state)) > before)
            scan.send_signal(signal.SIGINT)
            report.read()
        scan.communicate(timeout=60)
    assert (scan.returncode, is_open(run)) == (130, True)


def test_a_notice_of_a_content_waits_for_a_check(run: Run, tree: Path, tmp_path: Path) -> None:
    path, table = tree / "bob" / "noticed.jpg", tmp_path / "notices.csv"
    (digests,) = run("hash", path).lines
    table.write_text(f"path,sha256\n{path},{digests['digests']['sha256']}\n")
    assert run("cases", "import", table).code == 0
    assert run("scan", tree).code == 0
    assert case(run)["state"] == "never_seen"
    assert run("cases", "check").code == 0
    path.unlink()
    assert run("scan", tree).code == 0
    assert case(run)["how"] == "gone"
