"""`hashscan scan --quarantine`: refused before anything is scanned, done at its end, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Run, environment
from tests.cli.published import BAD, national, signed
from tests.prefork import PREFORK
from tests.shortcomings import codes
from tests.waiting import until

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")

__all__ = ["national", "signed"]  # fixtures


@pytest.fixture
def www(signed: None, tmp_path: Path) -> Path:
    """Twenty files that a signed list accuses, among thirty others."""
    folder = tmp_path / "www"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:02}").write_bytes(BAD if number < 20 else b"innocent %d" % number)
    return folder


def records(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def test_what_can_not_be_is_said_before_anything_is_scanned(run: Run, www: Path, state: Path) -> None:
    for terms in ((), TERMS[:2], TERMS[2:]):
        ran = run("scan", www, "--quarantine", *terms)
        assert (ran.code, "counsel" in ran.err) == (2, True)
    for option, remedy in (
        (("--no-state",), "--state"),
        (("--known",), "quarantine add"),
        (("--shard", "1/2"), "report merge"),
        (("--cluster", "tcp://127.0.0.1:1"), "quarantine add"),
        (("--weak-change-check",), "scan once without"),
    ):
        ran = run("scan", www, "--quarantine", *TERMS, *option)
        assert (ran.code, remedy in ran.err) == (2, True), ran.err
    assert run("scan", www, "--breaker-owners", "0").code == 2
    assert run("scan", www, "--quarantine", "--retain-min", "9d", "--destroy-by", "8d").code == 2
    # A place that strangers could exchange.
    open_place = www.parent / "open"
    open_place.mkdir()
    open_place.chmod(0o777)
    ran = run("scan", www, "--quarantine", *TERMS, "--quarantine-dir", open_place)
    assert ran.code == 2, ran.err
    assert not list((state / "reports").glob("*")) if (state / "reports").exists() else True
    assert len(os.listdir(www)) == 50


def test_a_place_that_is_refused_stops_no_later_scan(run: Run, www: Path, tmp_path: Path) -> None:
    """Only a quarantine without a log is left then."""
    missing = ("--quarantine-dir", tmp_path / "missing")
    assert run("quarantine", "add", www / "49", "--reason", "r", *TERMS, *missing).code == 2
    assert run("scan", www).code == 1
    assert run("check", "--format", "json", www / "49").code == 0


def test_a_quarantine_that_can_not_be_used_is_reported_first(run: Run, www: Path, state: Path) -> None:
    (www / "by hand").write_bytes(b"x")
    assert run("quarantine", "add", www / "by hand", "--reason", "r", *TERMS).code == 0
    log = state / "quarantine" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"by hand", b"by hond"))
    ran = run("scan", www, "--quarantine", *TERMS)
    assert (ran.code, "line 1" in ran.err) == (12, True), ran.err
    assert not (state / "reports").exists()
    log.write_bytes(whole)
    code = (
        "import sys; from hashscan.quarantine.store import Quarantine\n"
        "from hashscan.state_dir import StateDir\n"
        "with Quarantine(StateDir(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [COMMAND[0], "-c", code, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert run("scan", www, "--quarantine", *TERMS).code == 11
        holder.communicate(b"")
    assert not (state / "reports").exists()


def test_moved_and_not_missed(run: Run, www: Path, tmp_path: Path, age: Callable[[], None]) -> None:
    """Two fifths of a target go, and neither does it count as shrunken nor does a finding stand for ever."""
    report = tmp_path / "found.jsonl"
    assert run("scan", www, "--report", report).code == 1
    assert {line["action"] for line in records(report) if line["type"] == "finding"} == {"report"}
    age()
    ran = run("scan", www, "--quarantine", *TERMS, "--report", report)
    assert ran.code == 1, ran.err
    assert "20 moved into quarantine, 0 left" in ran.err
    lines = records(report)
    moved = [line for line in lines if line["type"] == "finding"]
    assert [line["quarantine"]["outcome"] for line in moved] == ["done"] * 20
    summary = lines[-1]["quarantine"]
    counts = {"moved": 20, "raced": 0, "held": 0, "changed": 0, "gone": 0, "refused": 0, "items": 20}
    assert {key: value for key, value in summary.items() if key != "head"} == counts
    assert sorted(os.listdir(www)) == [f"{number:02}" for number in range(20, 50)]
    for _ in range(2):
        ran = run("scan", www, "--report", report)
        assert ran.code == 0, ran.err
        assert [line["type"] for line in records(report)] == ["scan", "summary"]
    # What others take is missed all the same.
    for number in range(20, 40):
        (www / f"{number:02}").unlink()
    ran = run("scan", www, "--report", report)
    assert (ran.code, "had 30" in ran.err) == (3, True), ran.err
    assert run("quarantine", "restore", "--all").code == 0
    ran = run("scan", www, "--report", report)
    assert (ran.code, records(report)[-1]["verdicts"]["held"]) == (0, 20), ran.err


def test_what_was_moved_between_two_scans_is_not_missed_either(run: Run, www: Path, tmp_path: Path) -> None:
    report = tmp_path / "found.jsonl"
    assert run("scan", www, "--report", report).code == 1
    assert run("quarantine", "add", report, *TERMS).code == 0
    # A scan that does not come by the folder lets nothing stand that is in quarantine.
    ran = run("scan", www, "--report", report, "--time-budget", "0.000001")
    assert [line for line in records(report) if line["type"] == "standing"] == [], ran.err
    ran = run("scan", www, "--report", report)
    assert ran.code == 0, ran.err


@pytest.fixture
def fixed(www: Path) -> Iterator[Path]:
    """A file that is accused and immutable."""
    path = www / "fixed"
    path.write_bytes(BAD)
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("no file can be made immutable here")
    yield path
    subprocess.run(["chattr", "-i", path], check=True)


def test_what_could_not_be_moved_makes_the_scan_incomplete(
    run: Run, www: Path, fixed: Path, tmp_path: Path
) -> None:
    report = tmp_path / "found.jsonl"
    for moved in (20, 0):
        ran = run("scan", www, "--quarantine", *TERMS, "--report", report)
        assert ran.code == 4, ran.err
        assert f"{moved} moved into quarantine, 1 left" in ran.err
        assert f"not moved: {fixed}: refused" in ran.err
        assert "1 findings were not moved" in ran.err
        found = [line for line in records(report) if line["type"] == "finding"]
        (left,) = [line for line in found if line["quarantine"]["outcome"] != "done"]
        assert left["quarantine"]["outcome"] == "refused"
        assert "chattr -i" in left["quarantine"]["detail"]
        assert fixed.exists()


@pytest.mark.parametrize("uid", [0, 65534])
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_folder_by_the_name_of_a_quarantine_hides_and_keeps_nothing(
    uid: int, mode: int, run: Run, www: Path, tmp_path: Path
) -> None:
    """A container's root is uid 0 on the host, too."""
    if uid and os.geteuid() != 0:
        pytest.skip("only root can give files to others")
    report = tmp_path / "found.jsonl"
    hidden = [www / ".hashscan-quarantine" / name for name in ("bad", "deeper/bad")]
    hidden[1].parent.mkdir(parents=True)
    hidden[0].parent.chmod(mode)
    for path in hidden:
        path.write_bytes(BAD)
    for path in (*hidden, hidden[1].parent, hidden[0].parent):
        os.chown(path, uid, uid) if os.geteuid() == 0 else None
    ran = run("scan", www, "--report", report)
    assert (ran.code, "it is scanned" in ran.err) == (1, True), ran.err
    found = {line["path"] for line in records(report) if line["type"] == "finding"}
    assert {str(path) for path in hidden} <= found
    ran = run("scan", www, "--quarantine", *TERMS, "--report", report)
    assert (ran.code, "22 moved into quarantine, 0 left" in ran.err) == (1, True), ran.err
    assert not [path for path in hidden if path.exists()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_what_another_state_keeps_is_left_out_where_that_is_named(
    run: Run, www: Path, state: Path, tmp_path: Path
) -> None:
    top = tmp_path / "mounted"
    top.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", top], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    report, other = tmp_path / "found.jsonl", tmp_path / "other state"
    try:
        (top / "bad").write_bytes(BAD)
        ran = run("scan", top, "--quarantine", *TERMS, "--report", report)
        assert (ran.code, "1 moved" in ran.err) == (1, True), ran.err
        (place,) = top.iterdir()
        for _ in range(2):
            ran = run("scan", top, "--report", report, "--accept-shrink")
            assert [line for line in records(report) if line["type"] == "finding"] == [], ran.err
            assert "it is scanned" not in ran.err
        # Whatever else is put there is scanned and moved, also where it is named as an item is.
        item = next(path for path in place.iterdir() if path.name != "CACHEDIR.TAG")
        (place / "more").write_bytes(BAD)
        ran = run("scan", top, "--quarantine", *TERMS, "--report", report)
        assert (ran.code, "1 moved" in ran.err) == (1, True), ran.err
        shutil.copytree(state, other, symlinks=True)
        shutil.rmtree(other / "quarantine")
        (other / "quarantine-head").unlink()
        ran = run("scan", top, "--state", other, "--quarantine", *TERMS, "--report", report)
        assert (ran.code, "0 moved into quarantine, 2 left" in ran.err) == (4, True), ran.err
        assert "--quarantine-state" in ran.err
        assert item.exists()
        ran = run("scan", top, "--state", other, "--quarantine-state", state, "--report", report)
        assert [line for line in records(report) if line["type"] == "finding"] == [], ran.err
        assert run("quarantine", "verify").code == 0
        # A log that can't be believed hides nothing.
        log = state / "quarantine" / "log.jsonl"
        log.write_bytes(log.read_bytes().replace(b"bad", b"bed", 1))
        ran = run("scan", top, "--state", other, "--quarantine-state", state, "--report", report)
        assert (ran.code, "can't be left out" in ran.err) == (4, True), ran.err
    finally:
        subprocess.run(["umount", top], check=True)


@pytest.mark.slow
def test_what_was_changed_since_it_was_found_is_moved_if_its_content_is_the_same(
    www: Path, state: Path, tmp_path: Path
) -> None:
    report, changed = tmp_path / "found.jsonl", [www / f"{number:02}" for number in range(6)]
    options = ("--limit-files", "10", "--workers", "1", "--report", str(report))
    with PREFORK.popen(
        [*COMMAND, "scan", str(www), "--quarantine", *TERMS, *options],
        env=environment(state),
        stderr=subprocess.PIPE,
        text=True,
    ) as scan:
        partial = Path(f"{report}.partial")
        until(lambda: partial.exists() and all(f'"{path}"' in partial.read_text() for path in changed))
        changed[0].chmod(0o604)
        changed[1].touch()
        (tmp_path / "other").hardlink_to(changed[2])
        changed[3].rename(www / "0000")
        os.setxattr(changed[4], "user.note", b"mine")
        (tmp_path / "copy").write_bytes(BAD)
        (tmp_path / "copy").replace(changed[5])
        _, err = scan.communicate(timeout=120)
    assert scan.returncode == 1, err
    assert "20 moved into quarantine, 0 left" in err
    assert len(os.listdir(www)) == 30
    assert "_sha256" not in report.read_text()


def test_a_scan_that_is_stopped_moves_nothing(run: Run, www: Path, state: Path, tmp_path: Path) -> None:
    report = tmp_path / "found.jsonl"
    for name in range(20, 50):
        (www / str(name)).unlink()
    for name in range(20):
        (www / f"folder{name}").mkdir()
        (www / f"{name:02}").rename(www / f"folder{name}" / "bad")
    options = ("--limit-files", "2", "--workers", "1", "--report", str(report))
    with PREFORK.popen(
        [*COMMAND, "scan", str(www), "--quarantine", *TERMS, *options],
        env=environment(state),
        stderr=subprocess.PIPE,
        text=True,
    ) as scan:
        partial = Path(f"{report}.partial")
        until(lambda: partial.exists() and b'"finding"' in partial.read_bytes())
        scan.send_signal(signal.SIGTERM)
        _, err = scan.communicate(timeout=60)
    assert scan.returncode == 143, err
    assert "it was cut short, so that nothing was moved" in err
    assert len(list(www.glob("folder*/bad"))) == 20
    assert run("quarantine", "list", "--format", "json").lines == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to other users")
def test_who_uses_up_the_time_budget_keeps_nothing_from_being_moved(
    run: Run, signed: None, tmp_path: Path
) -> None:
    www, endless, report = tmp_path / "www", tmp_path / "endless", tmp_path / "found.jsonl"
    www.mkdir()
    endless.touch()
    # Not read to its end in hours.
    os.truncate(endless, 15 << 40)

    def scanned(*more: object) -> tuple[int, dict[str, Any], list[str]]:
        options = (*TERMS, "--breaker-owners", "1", "--report", report)
        ran = run("scan", www, "--quarantine", *options, *more)
        summary = records(report)[-1]
        return ran.code, summary["verdicts"], [] if ran.code == 1 else codes(summary)

    budget = (endless, "--time-budget", "10s", "--max-sparse", "16T")
    (www / "one").write_bytes(BAD)
    os.chown(www / "one", 1001, 1001)
    code, verdicts, why = scanned(*budget)
    assert (code, verdicts["match"], "time" in why) == (4, 1, True)
    assert os.listdir(www) == []
    # No entry is believed for longer by scans that see a part than by one that sees all.
    (www / "two").write_bytes(BAD)
    os.chown(www / "two", 1002, 1002)
    code, verdicts, why = scanned(*budget)
    assert (code, verdicts["match"], verdicts["held"]) == (4, 0, 1)
    assert os.listdir(www) == ["two"]
    code, verdicts, why = scanned()
    assert (code, verdicts["match"], os.listdir(www)) == (1, 1, [])


def test_one_table_of_settings(run: Run, www: Path, tmp_path: Path) -> None:
    config = tmp_path / "hashscan.toml"
    config.write_text('[quarantine]\nretain-min = "90d"\ndestroy-by = "365d"\nbreaker-files = 9\n')
    report = tmp_path / "found.jsonl"
    ran = run("--config", config, "scan", www, "--quarantine", "--report", report)
    assert (ran.code, records(report)[-1]["verdicts"]["held"]) == (1, 20), ran.err
    run("scan", www, "--report", report)
    ran = run("--config", config, "quarantine", "add", report, "--dry-run")
    assert (ran.code, ran.out) == (0, ""), ran.err
    for wrong, message in (
        ("[quarantine.add]\nretain-min = '9d'", "no option 'retain-min'"),
        ("[scan]\nretain-min = '9d'", "no option 'retain-min'"),
        ("retain-min = '9d'", "no command has an option 'retain-min'"),
        ("[quarantine]\nretain-mun = '9d'", "no option 'retain-mun'"),
    ):
        config.write_text(wrong)
        ran = run("--config", config, "scan", www)
        assert (ran.code, message in ran.err) == (1, True), ran.err
