"""A customer's FUSE that never answers holds nothing up, by the real command; an administrator's is read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Run
from tests.small_fuse import SmallFile, silent_filesystem, small_filesystem

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="only root may mount a FUSE"
)

USER = 1000
FUSE = "on another user's FUSE"


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def silent(mounts: ExitStack, at: Path, *, file: bool = False) -> Path:
    at.parent.mkdir(exist_ok=True)
    if file:
        at.write_bytes(b"beneath")
    else:
        at.mkdir(exist_ok=True)
    mounts.enter_context(silent_filesystem(at, USER))
    return at


def reported(lines: list[dict[str, Any]]) -> dict[str, str]:
    """By path, as far as they are said to be on such a FUSE."""
    return {line["path"]: line["type"] for line in lines if line.get("reason") == FUSE}


@pytest.mark.parametrize("name", ["mnt", ".hashscan-quarantine"])
def test_beneath_a_target(run: Run, uploads: Path, local_list: str, mounts: ExitStack, name: str) -> None:
    folder = silent(mounts, uploads / "evil" / name)
    file = silent(mounts, uploads / "evil" / "a.jpg", file=True)
    ran = run("scan", uploads, "--report", "-")
    assert ran.code == 4
    assert set(reported(ran.lines)) == {str(folder), str(file)}
    summary = ran.lines[-1]
    assert summary["verdicts"]["match"] == 2
    assert summary["folders_not_entered"] == {FUSE: 1}
    assert summary["reasons"]["unreadable"] == {FUSE: 1}
    assert summary["files"] == 4


def test_with_one_file_system_it_is_left_out(
    run: Run, uploads: Path, local_list: str, mounts: ExitStack
) -> None:
    silent(mounts, uploads / "evil" / "mnt")
    ran = run("scan", uploads, "--report", "-", "--one-file-system")
    assert (ran.code, ran.lines[-1]["passed"]["excluded_folders"]) == (1, 1)


def test_an_excluded_one_is_left_out(run: Run, uploads: Path, local_list: str, mounts: ExitStack) -> None:
    silent(mounts, uploads / "evil" / "mnt")
    assert run("scan", uploads, "--report", "-", "--exclude", "mnt/").code == 1


@pytest.mark.parametrize("where", ["", "deeper"])
def test_over_a_target(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, mounts: ExitStack, where: str
) -> None:
    (tmp_path / "home" / "deeper").mkdir(parents=True)
    silent(mounts, tmp_path / "home")
    target = tmp_path / "home" / where
    ran = run("scan", target, uploads, "--report", "-")
    assert ran.code == 4
    assert reported(ran.lines) == {str(target): "folder"}
    assert ran.lines[-1]["verdicts"]["match"] == 2
    assert run("scan", target, uploads, "--report", "-").code == 4


def test_names_of_a_list(run: Run, uploads: Path, local_list: str, tmp_path: Path, mounts: ExitStack) -> None:
    folder = silent(mounts, uploads / "evil" / "mnt")
    file = silent(mounts, uploads / "evil" / "a.jpg", file=True)
    (tmp_path / "names").write_text(f"{folder}/x/y.jpg\n{folder}/z.jpg\n{file}\n{uploads / 'listed.jpg'}\n")
    for targets in ((), (uploads,), (uploads, folder)):
        ran = run("scan", *targets, "--files-from", tmp_path / "names", "--report", "-")
        assert ran.code == 4
        assert set(reported(ran.lines)) == {f"{folder}/x/y.jpg", f"{folder}/z.jpg", str(file)}
        assert ran.lines[-1]["verdicts"]["match"] == 1


def test_an_administrators_fuse_is_read(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, mounts: ExitStack
) -> None:
    listed = (uploads / "listed.jpg").read_bytes()
    (tmp_path / "storage" / "mnt").mkdir(parents=True)
    mounts.enter_context(
        small_filesystem(tmp_path / "storage" / "mnt", "ours", {b"listed.jpg": SmallFile(listed, 7)})
    )
    for target in (tmp_path / "storage", tmp_path / "storage" / "mnt"):
        ran = run("scan", target, "--report", "-")
        assert (ran.code, ran.lines[-1]["verdicts"]["match"]) == (1, 1)


def test_files_that_are_named(run: Run, local_list: str, tmp_path: Path, mounts: ExitStack) -> None:
    folder = silent(mounts, tmp_path / "mnt")
    file = silent(mounts, tmp_path / "a.jpg", file=True)
    (tmp_path / "link").symlink_to(folder / "x.jpg")
    for path in (folder, folder / "x.jpg", file, tmp_path / "link"):
        for command in ("check", "hash"):
            ran = run(command, "--format", "json", path)
            (line,) = ran.lines
            assert (ran.code, line["verdict"]) == (3, "unreadable"), ran.err
            assert line["reason"] == FUSE or path.name in {"link", "a.jpg"}


def test_what_is_known_from_before(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, mounts: ExitStack
) -> None:
    report = tmp_path / "found.jsonl"
    assert run("scan", uploads, "--report", report).code == 1
    digest = hashlib.sha256((uploads / "listed.jpg").read_bytes()).hexdigest()
    silent(mounts, uploads)
    ran = run("lookup", digest, "--format", "json")
    assert [line["presence"] for line in ran.lines if "presence" in line] == ["unknown"], (ran.out, ran.err)
    ran = run("lookup", uploads / "listed.jpg")
    assert ran.code in {2, 3}, ran.err
    ran = run("cases", "check")
    assert (ran.code, "2 unknown" in ran.err) == (3, True), ran.err
    # Without its owner in the report, the file itself is asked.
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    report.write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k != "uid"}) + "\n" for line in lines)
    )
    ran = run("quarantine", "add", report, "--retain-min", "1d", "--destroy-by", "2d", "--act-on", "local")
    assert (ran.code, "0 moved" in ran.err) == (3, True), ran.err


def test_whose_a_file_is(run: Run, uploads: Path, local_list: str, tmp_path: Path, mounts: ExitStack) -> None:
    """Owner of a file that a notice or an administrator names, and of a target whose digests are known."""
    assert run("scan", uploads).code == 1
    folder = silent(mounts, uploads)
    assert [run("customers", "--format", "json", path).code for path in (folder, folder / "x.jpg")] == [3, 3]
    assert run("cases", "add", folder / "x.jpg", "--sender", "x", "--reference", "1").code == 0
    ran = run("scan", "--known", folder, "--report", "-")
    assert (ran.code, ran.lines[-1]["verdicts"]["match"]) == (1, 2), ran.err


ASKING = """
import os, sys
from hashscan.model import SiteRule
from hashscan.attribution.sites import Sites, is_there, names_in
from hashscan.sources.filesystem.targets import resolve_admin_links
folder = os.fsencode(sys.argv[1])
sites = Sites([SiteRule("", "https://x.example/{name}/*/", os.path.dirname(sys.argv[1]) + "/{name}/*/www")])
assert sites.paths_of("https://x.example/evil/a/b.jpg") == ()
assert list(names_in(folder)) == []
assert not is_there(folder) and not is_there(folder + b"/www")
assert resolve_admin_links(folder + b"/www") == folder + b"/www"
"""


def test_where_the_world_sees_files(tmp_path: Path, mounts: ExitStack) -> None:
    folder = silent(mounts, tmp_path / "srv" / "evil")
    subprocess.run([COMMAND[0], "-c", ASKING, folder], timeout=60, check=True)
