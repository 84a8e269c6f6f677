"""`hashscan quarantine`, from a report to the end of an item."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run, environment

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")
ON = ("--act-on", "local")


@pytest.fixture
def report(tmp_path: Path, run: Run) -> Path:
    """The report of a scan that found one file by a local list, and one for review."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "bad").write_bytes(b"accused")
    (files / "odd").write_bytes(b"odd")
    for number in range(9):
        (files / f"good{number}").write_bytes(b"innocent %d" % number)
    accused, odd = (hashlib.sha256(content).hexdigest() for content in (b"accused", b"odd"))
    entries = tmp_path / "entries.csv"
    entries.write_text(f"id,algorithm,value,category\ne-1,sha256,{accused},A1\ne-2,sha256,{odd},other\n")
    assert run("lists", "import", entries, "--name", "ours").code == 0
    found = tmp_path / "found.jsonl"
    assert run("scan", files, "--report", found).code == 1
    return found


def heads(text: str) -> list[str]:
    return re.findall(r"head of the log: (\d+:[0-9a-f]{64})", text)


def left(report: Path) -> list[str]:
    return sorted(name for name in os.listdir(report.parent / "files") if not name.startswith("good"))


def test_from_a_report_and_back(report: Path, run: Run) -> None:
    ran = run("quarantine", "add", report, *TERMS, *ON, "--dry-run")
    assert (ran.code, left(report)) == (0, ["bad", "odd"])
    assert ran.out == f"{report.parent}/files/bad\n"
    ran = run("quarantine", "add", report, *TERMS, *ON)
    assert ran.code == 0, ran.err
    assert left(report) == ["odd"]
    item, path = ran.out.split()
    assert path == f"{report.parent}/files/bad"
    head = heads(ran.err)[-1]

    assert item in run("quarantine", "list").out
    (record,) = run(
        "quarantine", "list", "--format", "json", "--category", "A1", "--owner", str(os.geteuid())
    ).lines
    assert (record["item"], record["accusation"]["matches"][0]["entry"]) == (item, "e-1")
    for nothing in (("--category", "A2"), ("--owner", "nobody"), ("--older-than", "1h")):
        assert run("quarantine", "list", "--format", "json", *nothing).lines == []

    # Nothing of it is scanned, and what is gone is not found again.
    assert run("scan", report.parent / "files", "--report", report.parent / "again").code == 0
    summary = json.loads((report.parent / "again").read_text().splitlines()[-1])
    assert summary["quarantine"] == {"head": head, "items": 1}
    assert run("quarantine", "add", report, *TERMS, *ON).code == 3

    assert run("quarantine", "verify", "--head", head).code == 0
    ran = run("quarantine", "restore", item[:6], item)
    assert (ran.code, ran.out) == (0, f"{item}\t{path}\n")
    assert left(report) == ["bad", "odd"]
    assert run("quarantine", "restore", item).code == 3
    assert run("quarantine", "verify", "--repair", "--head", head).code == 0


def test_a_note_is_left_and_scanned_like_any_file(report: Path, tmp_path: Path, run: Run) -> None:
    note, bad = tmp_path / "note.txt", report.parent / "files" / "bad"
    note.write_bytes(b"\x89PNG\r\n")
    ran = run("quarantine", "add", report, *TERMS, *ON, "--leave-note", note)
    assert (ran.code, bad.read_bytes()) == (2, b"accused")
    note.write_text("Ask us.\n")
    assert run("quarantine", "add", report, *TERMS, *ON, "--leave-note", note).code == 0
    assert bad.read_text() == "Ask us.\n"
    assert run("scan", bad.parent, "--report", tmp_path / "again").code == 0
    assert json.loads((tmp_path / "again").read_text().splitlines()[-1])["files"] == 11
    assert run("quarantine", "restore", "--all").code == 0
    assert bad.read_bytes() == b"accused"


def test_a_spoilt_report_is_refused_before_anything_is_touched(report: Path, run: Run, state: Path) -> None:
    first, finding, *rest = report.read_text().splitlines(keepends=True)
    spoilt = json.dumps({**json.loads(finding), "matches": [5]}) + "\n"
    report.write_text("".join([first, finding, spoilt, *rest]))
    ran = run("quarantine", "add", report, *TERMS, *ON)
    assert (ran.code, f"{report}, line 3: " in ran.err) == (2, True), ran.err
    assert left(report) == ["bad", "odd"]
    assert not (state / "quarantine").exists()


def test_terms_have_no_default(report: Path, run: Run, state: Path) -> None:
    for given in ((), TERMS[:2], TERMS[2:]):
        ran = run("quarantine", "add", report, *given)
        assert (ran.code, "counsel" in ran.err) == (2, True)
    assert run("quarantine", "add", report, "--retain-min", "9d", "--destroy-by", "8d").code == 2
    assert left(report) == ["bad", "odd"]
    assert not (state / "quarantine").exists()


def test_paths_need_a_reason(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a")
    assert run("quarantine", "add", path, *TERMS).code == 2
    ran = run("quarantine", "add", path, tmp_path / "none", *TERMS, "--reason", "an order")
    assert (ran.code, path.exists()) == (3, False)
    assert "gone" in ran.err
    (record,) = run("quarantine", "list", "--format", "json").lines
    assert record["accusation"] == {"reason": "an order"}


def test_destroy(tmp_path: Path, run: Run, state: Path) -> None:
    for name, terms in (("old", ("0s", "0s")), ("young", ("90d", "365d"))):
        (tmp_path / name).write_text(name)
        (tmp_path / f"other {name}").hardlink_to(tmp_path / name)
        options = ("--reason", "r", "--retain-min", terms[0], "--destroy-by", terms[1])
        assert run("quarantine", "add", tmp_path / name, *options).code == 0
    ran = run("quarantine", "destroy")
    assert (ran.code, ran.out.split("/")[-1]) == (0, "old\n")
    assert "1 other hard link with the same content" in ran.err
    (record,) = run("quarantine", "list", "--format", "json").lines
    young = record["item"]
    ran = run("quarantine", "destroy", young)
    assert (ran.code, "must be kept until" in ran.err) == (3, True)
    assert run("quarantine", "destroy", young, "--override").code == 2
    assert run("quarantine", "destroy", "--override", "--reason", "r").code == 2
    assert run("quarantine", "destroy", young, "--override", "--reason", "a court said so").code == 0
    assert "a court said so" in (state / "quarantine" / "log.jsonl").read_text()
    assert run("quarantine", "list", "--format", "json").lines == []
    assert os.listdir(state / "quarantine" / ".hashscan-quarantine") == ["CACHEDIR.TAG"]


@pytest.mark.parametrize(
    ("answer", "options", "code", "kept"),
    [("n\n", (), 3, 1), ("\n", (), 3, 1), ("y\n", (), 0, 0), ("", ("--yes",), 0, 0)],
)
def test_destroy_asks_on_a_terminal(
    answer: str, options: tuple[str, ...], code: int, kept: int, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "due").write_text("due")
    terms = ("--reason", "r", "--retain-min", "0s", "--destroy-by", "0s")
    assert run("quarantine", "add", tmp_path / "due", *terms).code == 0
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        ran = run("quarantine", "destroy", *options, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert ran.code == code, ran.err
    assert ("Destroy 1 item?" in ran.err) is not bool(options)
    assert len(run("quarantine", "list", "--format", "json").lines) == kept


def test_a_damaged_log_stops_everything(report: Path, run: Run, state: Path) -> None:
    assert run("quarantine", "add", report, *TERMS, *ON).code == 0
    log = state / "quarantine" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"/files/bad", b"/files/bed"))
    for command in (("verify",), ("list",), ("restore", "--all"), ("destroy",), ("add", report, *TERMS, *ON)):
        ran = run("quarantine", *command)
        assert (ran.code, "log.jsonl, line 1:" in ran.err) == (12, True), command
    log.write_bytes(whole)
    assert run("quarantine", "verify", "--head", f"9:{'0' * 64}").code == 12
    assert run("quarantine", "verify", "--head", "nonsense").code == 2


def test_items_that_are_not_named_well(report: Path, run: Run) -> None:
    assert run("quarantine", "add", report, *TERMS, *ON).code == 0
    for arguments in ((), ("x",), ("",), ("--all", "x")):
        assert run("quarantine", "restore", *arguments).code == 2


def test_export(report: Path, tmp_path: Path, run: Run) -> None:
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    target = tmp_path / "evidence.age"
    options = ("--recipient", identity.to_public(), "--output", target)
    assert run("quarantine", "add", report, *TERMS, *ON).code == 0
    assert run("quarantine", "export", *options).code == 2
    ran = run("quarantine", "export", "--all", *options)
    assert ran.code == 0, ran.err
    assert ran.out == f"{hashlib.sha256(target.read_bytes()).hexdigest()}\t{target}\n"
    assert b"accused" in pyrage.decrypt(target.read_bytes(), [identity])
    assert run("quarantine", "export", "--all", *options).code == 2
    assert run("quarantine", "restore", "--all").code == 0
    assert run("quarantine", "verify").code == 0


def test_a_second_command_is_locked_out(tmp_path: Path, run: Run, state: Path) -> None:
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
        assert run("quarantine", "restore", "--all").code == 11
        holder.communicate(b"")


AS_ANOTHER = """
import os, sys
# All that is needed, while the interpreter's own folder can still be read.
import hashscan.cli.commands.quarantine, hashscan.quarantine.selection, hashscan.quarantine.moving
import hashscan.quarantine.repair, hashscan.quarantine.repair, hashscan.quarantine.withdrawal_check
import difflib, hashscan.registry
from hashscan.cli.main import run
os.setgroups([]); os.setgid(12345); os.setuid(12345)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_an_ordinary_user() -> None:
    """Own files move and come back, others' stay; what can't be done is said first."""
    # Beneath a folder that others can pass, unlike pytest's.
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        own, others = home / "own", home / "others"
        for path in (own, others):
            path.write_bytes(b"x")
        for path in (home, own):
            os.chown(path, 12345, 12345)

        variables = environment(home / "state")
        # A variable of another command has all commands imported, which this user may not read.
        del variables["HASHSCAN_REREAD"]

        def run(*arguments: object) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-c", AS_ANOTHER, "quarantine", *map(str, arguments)],
                env=variables, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip

        ran = run("add", own, others, "--reason", "r", *TERMS)
        assert ran.returncode == 3, ran.stderr
        assert "only your own files can be moved" in ran.stderr.splitlines()[0]
        assert "only root can take what another user owns" in ran.stderr
        assert sorted(os.listdir(home)) == ["others", "state"]
        for command in (("verify",), ("restore", "--all")):
            ran = run(*command)
            assert ran.returncode == 0, ran.stderr
        assert own.read_bytes() == b"x"
