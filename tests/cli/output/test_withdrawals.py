"""A list's owner withdraws an entry: what it had put in quarantine is flagged, reported, and put back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.model import Entry
from tests.cli.conftest import Ran, Run
from tests.lists.builders import Owner

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")
TIMES = (1_600_000_000_123_456_789, 1_500_000_000_987_654_321)


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two that are accused, among others."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("theme.png", "bad.png", *(f"good{number}" for number in range(9))):
        (folder / name).write_bytes(name.encode())
        (folder / name).chmod(0o644)
    theme = folder / "theme.png"
    theme.chmod(0o640)
    os.setxattr(theme, "user.origin", b"a theme")
    if os.geteuid() == 0:
        os.chown(theme, 4711, 4712)
    os.utime(theme, ns=TIMES)
    return folder


@pytest.fixture
def owner(tmp_path: Path, state: Path) -> Owner:
    """The owner of a signed list that accuses both and is in use here."""
    made = Owner.begin(tmp_path / "owner")
    accusing = {"n-1": b"theme.png", "n-2": b"bad.png"}
    made.release([Entry(name, "sha256", sha256(content), "A1") for name, content in accusing.items()])
    store = ListStore(state / "lists")
    client.add(store, "national", str(made.repository), made.root)
    client.pull(store, "national")
    return made


def withdrawn(run: Run, owner: Owner, entry: str) -> Ran:
    """Pull once an entry was withdrawn."""
    owner.publisher.withdraw([entry])
    owner.publisher.release()
    return run("lists", "pull")


def quarantined(run: Run, files: Path) -> dict[str, str]:
    """Items by the names of their files."""
    report = files.parent / "found.jsonl"
    ran = run("scan", files, "--report", report)
    assert ran.code == 1, ran.err
    ran = run("quarantine", "add", report, *TERMS)
    assert ran.code == 0, ran.err
    return {path.rpartition("/")[2]: item for item, path in map(str.split, ran.out.splitlines())}


def facts(path: Path) -> tuple[object, ...]:
    status = path.stat()
    return (
        path.read_bytes(), status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns,
        {name: os.getxattr(path, name) for name in os.listxattr(path)},
    )  # fmt: skip


def test_a_withdrawn_entry_gives_everything_back_and_the_log_tells_why(
    run: Run, files: Path, owner: Owner, state: Path
) -> None:
    theme = files / "theme.png"
    before, accessed = facts(theme), theme.stat().st_atime_ns
    items = quarantined(run, files)
    assert items.keys() == {"theme.png", "bad.png"}
    ran = run("quarantine", "restore", "--withdrawn")
    assert (ran.code, ran.out, "WARNING" in ran.err) == (0, "", False)

    ran = withdrawn(run, owner, "n-1")
    assert ran.code == 0, ran.err
    assert "WARNING: 1 item in quarantine: no entry matches any more" in ran.err
    assert items["theme.png"] in ran.err
    assert items["bad.png"] not in ran.err

    report = files.parent / "nightly.jsonl"
    for options in ((), ("--known",)):
        ran = run("scan", files, *options, "--report", report)
        assert "WARNING: 1 item in quarantine" in ran.err
        summary = json.loads(report.read_text().splitlines()[-1])
        assert summary["withdrawn"] == [items["theme.png"]]

    (shown,) = run("quarantine", "list", "--withdrawn", "--format", "json").lines
    assert (shown["item"], shown["withdrawn"]) == (items["theme.png"], True)
    assert shown["withdrawals"] == [{"list": "national", "version": 2, "entries": ["n-1"]}]
    other = next(
        line for line in run("quarantine", "list", "--format", "json").lines if line["item"] != shown["item"]
    )
    assert (other["withdrawn"], other["withdrawals"]) == (False, [])

    assert run("quarantine", "restore", "--withdrawn", "--all").code == 2
    ran = run("quarantine", "restore", "--withdrawn")
    assert (ran.code, ran.out) == (0, f"{items['theme.png']}\t{theme}\n"), ran.err
    assert theme.stat().st_atime_ns == accessed
    assert facts(theme) == before
    assert not (files / "bad.png").exists()
    assert run("quarantine", "verify").code == 0
    assert "WARNING" not in run("scan", files, "--report", report).err

    log = [json.loads(line) for line in (state / "quarantine" / "log.jsonl").read_text().splitlines()]
    logged = [line for line in log if line["item"] == items["theme.png"]]
    assert [line["type"] for line in logged] == ["moving", "moved", "withdrawn", "restoring", "restored"]
    assert logged[2]["withdrawals"] == logged[3]["withdrawals"] == shown["withdrawals"]
    assert logged[0]["accusation"]["lists"][0]["version"] == 1


def test_what_comes_back_into_the_list_before_it_was_restored_stays(
    run: Run, files: Path, owner: Owner
) -> None:
    quarantined(run, files)
    assert "WARNING" in withdrawn(run, owner, "n-1").err
    owner.release([Entry("n-1", "sha256", sha256(b"theme.png"), "A1")])
    ran = run("lists", "pull")
    assert (ran.code, "WARNING" in ran.err) == (0, False)
    assert run("quarantine", "restore", "--withdrawn").out == ""


def test_what_stays_is_said_and_is_not_destroyed(run: Run, files: Path, owner: Owner) -> None:
    item = quarantined(run, files)["theme.png"]
    withdrawn(run, owner, "n-1")
    (files / "theme.png").write_bytes(b"another")
    ran = run("quarantine", "restore", "--withdrawn")
    assert (ran.code, "stays" in ran.err) == (3, True)
    assert "WARNING: 1 item in quarantine" in run("quarantine", "list").err
    ran = run("quarantine", "destroy", item)
    assert ran.code == 3
    assert run("quarantine", "destroy", item, "--override", "--reason", "its owner asked").code == 0
    assert "WARNING" not in run("quarantine", "list").err


def test_a_pull_succeeds_beside_a_quarantine_that_is_locked_or_damaged(
    run: Run, files: Path, owner: Owner, state: Path
) -> None:
    quarantined(run, files)
    code = (
        "import sys; from hashscan.quarantine.store import Quarantine\n"
        "from hashscan.state_dir import StateDir\n"
        "with Quarantine(StateDir(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ran = withdrawn(run, owner, "n-1")
        holder.communicate(b"")
    assert (ran.code, "could not be compared" in ran.err, "another process" in ran.err) == (0, True, True)
    log = state / "quarantine" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"theme", b"theem"))
    ran = run("lists", "pull")
    assert (ran.code, "could not be compared" in ran.err, "log.jsonl, line" in ran.err) == (0, True, True)
    log.write_bytes(whole)
    assert "WARNING: 1 item in quarantine" in run("lists", "pull").err


def test_what_is_only_staged_withdraws_nothing_yet(run: Run, files: Path, owner: Owner) -> None:
    quarantined(run, files)
    owner.publisher.withdraw(["n-1"])
    owner.publisher.release()
    ran = run("lists", "pull", "--stage")
    assert (ran.code, "WARNING" in ran.err) == (0, False)
    assert "WARNING: 1 item in quarantine" in run("lists", "activate").err
