"""Scans by the real command: exit codes, reports, and ends that come too early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hashscan.scan.selftest import make_test_picture
from hashscan.state_dir import StateDir
from tests.cli.conftest import COMMAND, Run, environment
from tests.pictures import encoded, scene
from tests.prefork import PREFORK
from tests.shortcomings import codes
from tests.waiting import until

ROOT = os.geteuid() == 0
UNPRIVILEGED = 65534


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def scan(run: Run, target: object, *options: object) -> tuple[int, list[dict[str, Any]]]:
    ran = run("scan", target, "--report", "-", *options)
    return ran.code, ran.lines


def test_findings_and_the_report(run: Run, uploads: Path, local_list: str, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    ran = run("scan", uploads, "--report", report)
    assert ran.code == 1
    assert sorted(line.partition(": ")[2] for line in ran.out.splitlines()) == [
        f"MATCH ours/e-pdq (A1), pdq {distance_of(report, 'alike.jpg')}",
        "MATCH ours/e-sha256 (A1), sha256 0 and 1 more",
    ]
    lines = records(report)
    assert [line["type"] for line in lines] == ["scan", "finding", "finding", "summary"]
    assert report.stat().st_mode & 0o777 == 0o600
    assert not report.with_name("report.jsonl.partial").exists()
    found = {os.path.basename(line["path"]): line for line in lines[1:-1]}
    assert {m["entry"] for m in found["listed.jpg"]["matches"]} == {"e-sha256", "e-pdq"}
    assert [m["entry"] for m in found["alike.jpg"]["matches"]] == ["e-pdq"]
    assert 0 < found["alike.jpg"]["matches"][0]["distance"] <= 31
    assert "digests" not in found["alike.jpg"]
    first, summary = lines[0], lines[-1]
    assert first["lists"][0]["state"] == "local"
    assert first["thresholds"] == {"pdq": 31}
    assert summary["verdicts"] == {
        "match": 2, "held": 0, "review": 0, "unreadable": 0, "undecoded": 0, "skipped": 0, "clean": 1,
    }  # fmt: skip
    assert summary["exit_code"] == 1
    assert summary["files"] == 3
    assert {"bytes", "seconds", "sandbox", "reasons"} <= set(summary)
    assert "signed" in ran.err


def distance_of(report: Path, name: str) -> int:
    (found,) = (line for line in records(report) if os.path.basename(line.get("path", "")) == name)
    return int(found["matches"][0]["distance"])


@pytest.mark.parametrize(("target", "code"), [("/dev/full", 4), (None, 1)])
def test_findings_that_nobody_reads_are_in_the_report(
    state: Path, uploads: Path, local_list: str, tmp_path: Path, target: str | None, code: int
) -> None:
    report = tmp_path / "report.jsonl"
    arguments = [PREFORK.program(), "scan", str(uploads), "--report", str(report)]
    with ExitStack() as stack:
        if target is None:
            # As `| head` leaves it.
            read, output = os.pipe()
            os.close(read)
        else:
            output = os.open(target, os.O_WRONLY)
        stack.callback(os.close, output)
        ran = subprocess.run(
            arguments, stdout=output, stderr=subprocess.PIPE, check=False, env=environment(state)
        )
    assert ran.returncode == code
    assert (b"can't write" in ran.stderr) == (code == 4)
    assert [line["type"] for line in records(report)] == ["scan", "finding", "finding", "summary"]
    assert records(report)[-1]["exit_code"] == 1


def test_without_a_report_it_lies_in_the_state_folder(
    run: Run, uploads: Path, local_list: str, state: Path
) -> None:
    assert run("scan", uploads).code == 1
    (report,) = (state / "reports").iterdir()
    assert records(report)[-1]["type"] == "summary"


def test_a_clean_folder(run: Run, uploads: Path, local_list: str) -> None:
    (uploads / "listed.jpg").unlink()
    (uploads / "alike.jpg").unlink()
    code, lines = scan(run, uploads)
    assert code == 0
    assert [line["type"] for line in lines] == ["scan", "summary"]


def test_fail_on(run: Run, uploads: Path, local_list: str) -> None:
    assert scan(run, uploads, "--fail-on", "never")[0] == 0


def test_a_single_file_is_a_target(run: Run, uploads: Path, local_list: str) -> None:
    code, lines = scan(run, uploads / "alike.jpg")
    assert code == 1
    assert lines[1]["path"] == str(uploads / "alike.jpg")
    assert lines[0]["targets"] == [{"path": str(uploads / "alike.jpg")}]
    assert lines[-1]["files"] == 1


def test_an_empty_folder_is_incomplete(run: Run, tmp_path: Path, local_list: str) -> None:
    (tmp_path / "empty").mkdir()
    code, lines = scan(run, tmp_path / "empty")
    assert code == 3
    assert codes(lines[-1]) == ["empty-targets"]


def test_one_empty_target_of_two_is_incomplete(
    run: Run, tmp_path: Path, uploads: Path, local_list: str
) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("scan", uploads, tmp_path / "empty", "--report", "-")
    assert ran.code == 4


def test_undecoded_with_and_without_strict(run: Run, tmp_path: Path, local_list: str) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "cut.webp").write_bytes(encoded(scene(9), "WEBP")[:1500])
    code, lines = scan(run, folder)
    assert (code, lines[1]["verdict"], lines[1]["reason"]) == (0, "undecoded", "truncated picture")
    assert scan(run, folder, "--strict")[0] == 3


def test_containers_are_undecoded_also_when_they_are_not_read_again(
    run: Run, tmp_path: Path, local_list: str, age: Callable[[], None]
) -> None:
    folder = tmp_path / "containers"
    folder.mkdir()
    for name, before in (("archive.zip", b""), ("both.png", encoded(scene(9), "PNG"))):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("a.txt", b"text")
        (folder / name).write_bytes(before + (folder / name).read_bytes())
    age()
    for unchanged in (0, 2):
        code, lines = scan(run, folder, "--strict", "--reread", "0%", "--no-containers")
        assert code == 0
        assert {line["verdict"] for line in lines[1:-1]} == {"undecoded"}
        assert lines[-1]["reasons"] == {"undecoded": {"container not opened": 2}}
        assert lines[-1]["unchanged"] == unchanged
    known = scan(run, "--known", "--no-containers")[1]
    assert known[-1]["reasons"] == {"undecoded": {"container not opened": 2}}


def test_hostile_names_stay_in_their_place(
    run: Run, tmp_path: Path, entries: Path, uploads: Path, local_list: str
) -> None:
    names = [
        b"new\nline",
        b"\x1b[31mred\x1b[0m",
        b"<script>alert(1)",
        b"\xff\xfe",
        b"=1+1",
        b"[bold]x",
    ]
    content = (uploads / "listed.jpg").read_bytes()
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as stream:
            stream.write(content)
    ran = run("scan", folder, "--report", "-")
    assert ran.code == 1
    assert len(ran.lines) == len(names) + 2
    assert sum("path_b64" in line for line in ran.lines) == 1
    ran = run("scan", folder, "--report", tmp_path / "report.jsonl")
    assert len(ran.out.splitlines()) == len(names)
    assert "\x1b" not in ran.out
    assert f"{folder}/[bold]x: MATCH" in ran.out


def test_bad_targets(run: Run, tmp_path: Path, local_list: str, state: Path) -> None:
    ran = run("scan", tmp_path / "not there")
    assert ran.code == 2
    assert "not there" in ran.err
    os.mkfifo(tmp_path / "fifo")
    assert run("scan", tmp_path / "fifo").code == 2
    ran = run("scan", state / "lists")
    assert ran.code == 2
    assert str(state) in ran.err


def test_the_state_folder_is_left_out(run: Run, tmp_path: Path, state: Path, local_list: str) -> None:
    code, lines = scan(run, tmp_path)
    assert code == 1
    assert not any(str(state) in line.get("path", "") for line in lines[1:])
    assert lines[-1]["passed"]["excluded_folders"] == 1


@pytest.mark.skipif(ROOT, reason="root may read everything; test_an_unprivileged_scan does this")
def test_unreadable_files_and_folders(run: Run, uploads: Path) -> None:
    (uploads / "closed").mkdir()
    (uploads / "closed" / "in").write_bytes(b"x")
    (uploads / "secret").write_bytes(b"x")
    (uploads / "secret").chmod(0)
    (uploads / "closed").chmod(0)
    code, lines = scan(run, uploads, "--list", "demo", "--no-state")
    (uploads / "closed").chmod(0o700)
    assert code == 3
    assert {(line["type"], os.path.basename(line["path"])) for line in lines[1:-1]} == {
        ("unreadable", "secret"),
        ("folder", "closed"),
    }
    assert lines[-1]["folders_not_entered"] == {"permission denied": 1}


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_an_unprivileged_scan(tmp_path_factory: pytest.TempPathFactory, uploads: Path) -> None:
    (uploads / "closed").mkdir()
    (uploads / "secret").write_bytes(b"x")
    for path in (uploads / "closed", uploads / "secret"):
        path.chmod(0)
    for parent in [uploads, *uploads.parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        done = subprocess.run(
            [*COMMAND, "scan", "--list", "demo", "--no-state", "--report", "-", str(uploads)],
            env=environment(Path("/nonexistent")),
            cwd="/",
            capture_output=True,
            text=True,
            user=UNPRIVILEGED,
            group=UNPRIVILEGED,
            extra_groups=[],
            timeout=60,
            check=False,
        )
    except PermissionError:
        pytest.skip("this interpreter lies in a folder that is closed to others")
    assert done.returncode == 3, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(line["type"], os.path.basename(line["path"])) for line in lines[1:-1]} == {
        ("unreadable", "secret"),
        ("folder", "closed"),
    }
    assert lines[-1]["sandbox"]["level"] == "full"
    assert lines[-1]["sandbox"]["uid_dropped"] is False


def test_a_report_within_a_target_is_left_out(run: Run, uploads: Path, local_list: str) -> None:
    ran = run("scan", uploads, "--report", uploads / "report.jsonl")
    assert ran.code == 1
    lines = records(uploads / "report.jsonl")
    skipped = [line for line in lines if line["type"] == "skipped"]
    assert [(line["path"], line["reason"]) for line in skipped] == [
        (str(uploads / "report.jsonl.partial"), "being written by this scan")
    ]


def test_a_state_folder_that_is_new_and_within_a_target_is_left_out(run: Run, uploads: Path) -> None:
    ran = run("scan", uploads, "--list", "demo", "--state", uploads / "state", "--report", "-")
    assert ran.code == 0
    assert ran.lines[-1]["files"] == 3
    assert ran.lines[-1]["passed"]["excluded_folders"] == 1


def test_no_list_at_all(run: Run, uploads: Path) -> None:
    ran = run("scan", uploads)
    assert ran.code == 10
    assert "docs/getting-lists.md" in ran.err
    assert run("scan", uploads, "--list", "nowhere").code == 10


def test_without_state_the_demonstration_list_is_used(run: Run, uploads: Path, state: Path) -> None:
    ran = run("scan", uploads, "--no-state", "--report", "-")
    assert (ran.code, [info["name"] for info in ran.lines[0]["lists"]]) == (0, ["demo"])
    assert not state.exists()


def test_without_state_and_report_findings_are_lines(run: Run) -> None:
    examples = Path(__file__).parents[3] / "examples" / "uploads"
    ran = run("scan", examples, "--no-state")
    assert (ran.code, len(ran.out.splitlines())) == (1, 5)
    assert all(line.partition(": ")[2].startswith("MATCH demo/") for line in ran.out.splitlines())
    assert "--report FILE" in ran.err


def test_one_missing_list_of_two_is_incomplete(run: Run, uploads: Path, local_list: str) -> None:
    code, lines = scan(run, uploads, "--list", local_list, "--list", "gone")
    assert code == 4
    assert [(info["name"], info["state"]) for info in lines[0]["lists"]] == [
        ("ours", "local"),
        ("gone", "missing"),
    ]


def test_a_damaged_list_is_not_used(run: Run, uploads: Path, local_list: str, state: Path) -> None:
    for column in (state / "lists" / local_list).rglob("*.npy"):
        if "value" in column.name:
            content = bytearray(column.read_bytes())
            content[-1] ^= 1
            column.write_bytes(content)
    ran = run("scan", uploads)
    assert ran.code == 10
    assert "damaged" in ran.err


def test_demo_says_that_it_is_a_test(run: Run, uploads: Path) -> None:
    ran = run("scan", uploads, "--list", "demo", "--report", "-")
    assert ran.code == 0
    assert "only test entries" in ran.err
    # Nothing matched, and the message does not say so.
    assert "matched" not in ran.err
    assert (ran.lines[-1]["only_test_entries"], ran.lines[-1]["test_findings"]) == (True, 0)


def test_findings_of_test_entries_are_distinguished_from_others(
    run: Run, uploads: Path, local_list: str
) -> None:
    """A list's own test picture is a match, so that what follows a match can be tried; but it is no crime."""
    (uploads / "canary").write_bytes(make_test_picture())
    lists = ("--list", local_list, "--list", "demo")
    ran = run("scan", uploads, *lists, "--report", "-")
    assert (ran.code, ran.lines[-1]["verdicts"]["match"], ran.lines[-1]["test_findings"]) == (1, 3, 1)
    assert "findings by test entries only: 1 of 3" in ran.err
    ran = run("scan", uploads / "canary", *lists, "--report", "-")
    assert (ran.code, ran.lines[-1]["test_findings"]) == (1, 1)
    assert "findings by test entries only: 1 of 1" in ran.err
    assert ran.lines[-1]["only_test_entries"] is False
    assert "test entries" not in run("scan", uploads, "--report", "-").err


def test_exclude_size_and_patterns(run: Run, uploads: Path, local_list: str, tmp_path: Path) -> None:
    ignore = tmp_path / "ignore"
    ignore.write_text("# comment\nother.*\n")
    code, lines = scan(
        run, uploads, "--exclude", "listed.jpg", "--ignore-file", ignore, "--max-file-size", "1K"
    )
    assert code == 0
    reasons = {os.path.basename(line["path"]): line["reason"] for line in lines[1:-1]}
    assert reasons == {
        "listed.jpg": "excluded",
        "other.jpg": "excluded",
        "alike.jpg": "over the size limit",
    }
    assert run("scan", uploads, "--ignore-file", tmp_path / "none").code == 2


def test_times_far_away(run: Run, uploads: Path, local_list: str) -> None:
    os.utime(uploads / "listed.jpg", ns=(13_569_465_600 * 10**9, 13_569_465_600 * 10**9))
    os.link(uploads / "listed.jpg", uploads / "again.jpg")
    code, lines = scan(run, uploads)
    assert code == 1
    assert lines[-1]["verdicts"]["match"] == 3


def test_a_report_that_can_not_be_written(run: Run, uploads: Path, local_list: str, tmp_path: Path) -> None:
    ran = run("scan", uploads, "--report", tmp_path / "no" / "folder.jsonl")
    assert ran.code == 12
    assert "folder.jsonl" in ran.err
    with open("/dev/full", "w") as full:
        ran = run("scan", uploads, "--report", "-", stdout=full)
    assert ran.code == 12
    assert "No space left" in ran.err


def test_a_disk_that_fills_up_keeps_what_was_written(uploads: Path, tmp_path: Path) -> None:
    for number in range(300):
        (uploads / f"cut{number}.jpg").write_bytes((uploads / "listed.jpg").read_bytes()[:200])
    report = tmp_path / "r.jsonl"
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'ulimit -f 64; exec "$@"',
            "sh",
            *COMMAND,
            "scan",
            str(uploads),
            "--no-state",
            "--list",
            "demo",
            "--report",
            str(report),
        ],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 12, done.stderr
    assert "too large" in done.stderr
    assert not report.exists()
    whole = report.with_name("r.jsonl.partial").read_bytes().splitlines()[:-1]
    assert len(whole) > 10
    assert all(json.loads(line) for line in whole)


def test_no_room_for_the_state_is_said_to_be_that(uploads: Path, local_list: str, state: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 64; exec "$@"', "sh", *COMMAND, "scan", str(uploads), "--report", "-"],
        env=environment(state),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (12, ""), done.stderr
    assert str(state / "scans") in done.stderr
    assert "Check free space" in done.stderr


def test_two_scans_at_once(run: Run, uploads: Path, local_list: str, state: Path) -> None:
    from hashscan.locking import ScanLock

    with ScanLock(StateDir(state)):
        ran = run("scan", uploads)
    assert ran.code == 11
    assert run("scan", uploads).code == 1


# Ends that come too early. A scan of many files is caught in its middle.


def many(folder: Path, number: int) -> None:
    content = encoded(scene(1, 640, 480))
    for index in range(number):
        # Answers come by folders, or in some hundreds.
        inside = folder / f"{index // 30:03}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{index:05}.jpg").write_bytes(content + b"%d" % index)


def lines_in(partial: Path) -> int:
    return partial.read_bytes().count(b"\n") if partial.exists() else 0


def started(state: Path, report: Path, target: Path) -> subprocess.Popen[str]:
    """A scan that has begun to write its report, and takes its time."""
    options = ["--workers", "2", "--limit-files", "80"]
    command = [*COMMAND, "scan", str(target), "--report", str(report), *options]
    process = PREFORK.popen(command, env=environment(state), stderr=subprocess.PIPE, text=True)
    partial = report.with_name(report.name + ".partial")
    until(lambda: process.poll() is not None or lines_in(partial) > 20)
    assert process.poll() is None
    return process


def descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def alive(pids: set[int]) -> set[int]:
    living = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                living.add(pid)
        except OSError:
            continue
    return living


@pytest.fixture
def everything_listed(run: Run, tmp_path: Path) -> Path:
    """A folder of 300 pictures, each a finding."""
    folder = tmp_path / "many"
    many(folder, 300)
    (hashed,) = run("hash", "--algorithm", "pdq", folder / "000" / "00000.jpg").lines
    entries = tmp_path / "many.csv"
    entries.write_text(f"id,algorithm,value,category\ne,pdq,{hashed['digests']['pdq']},A1\n")
    assert run("lists", "import", entries, "--name", "many").code == 0
    return folder


@pytest.mark.slow
def test_killed_in_the_middle(run: Run, state: Path, tmp_path: Path, everything_listed: Path) -> None:
    report = tmp_path / "r.jsonl"
    process = started(state, report, everything_listed)
    family = descendants(process.pid)
    assert len(family) >= 7, "fork server, two workers, two zygotes, two decoders"
    process.kill()
    process.communicate()
    until(lambda: not alive(family))
    assert not report.exists()
    lines = report.with_name("r.jsonl.partial").read_bytes().split(b"\n")
    parsed = [json.loads(line) for line in lines[:-1]]
    assert parsed[0]["type"] == "scan"
    assert all(line["type"] == "finding" for line in parsed[1:])
    ran = run("scan", everything_listed, "--report", report)
    assert ran.code == 1
    assert "is kept as" in ran.err
    assert records(report)[-1]["verdicts"]["match"] == 300
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("r.jsonl.partial.")]
    assert len(kept) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop(
    run: Run, state: Path, tmp_path: Path, everything_listed: Path, number: signal.Signals, code: int
) -> None:
    report = tmp_path / "r.jsonl"
    process = started(state, report, everything_listed)
    family = descendants(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    until(lambda: not alive(family))
    lines = records(report)
    summary = lines[-1]
    assert summary["type"] == "summary"
    assert summary["exit_code"] == code
    assert summary["files"] == summary["verdicts"]["match"] == len(lines) - 2 < 300
    assert "stopped" in codes(summary)


def test_ctrl_c_at_a_terminal_reaches_the_whole_group(
    state: Path, tmp_path: Path, everything_listed: Path
) -> None:
    report = tmp_path / "r.jsonl"
    command = [*COMMAND, "scan", str(everything_listed), "--report", str(report), "--limit-files", "80"]
    process = PREFORK.popen(
        command, env=environment(state), stderr=subprocess.PIPE, text=True, process_group=0
    )
    until(lambda: lines_in(report.with_name(report.name + ".partial")) > 20)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert records(report)[-1]["exit_code"] == 130


def test_targets_of_the_settings(run: Run, tmp_path: Path, local_list: str) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.html").write_text(name)
    file = tmp_path / "hashscan.toml"
    file.write_text(f'[scan]\ntargets = ["{tmp_path}/first", "{tmp_path}/second"]\n')
    (tmp_path / "names").write_text(f"{tmp_path}/third/page.html\n")

    def scanned(*words: object, **variables: str) -> set[str]:
        ran = run("--config", file, "scan", "--report", "-", *words, env=variables)
        assert ran.code == 0, ran.err
        return {Path(target["path"]).name for target in ran.lines[0]["targets"]}

    assert scanned() == {"first", "second"}
    assert scanned(HASHSCAN_TARGETS=str(tmp_path / "third")) == {"third"}
    assert scanned(tmp_path / "second", HASHSCAN_TARGETS=str(tmp_path / "third")) == {"second"}
    assert scanned("--files-from", tmp_path / "names") == set()
    assert scanned("--known") == set()


@pytest.mark.parametrize("targets", ['["www"]', '"/var/www"', "[1]", "[]", '[""]', '["~/www"]'])
def test_bad_targets_of_the_settings(run: Run, tmp_path: Path, local_list: str, targets: str) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text(f"[scan]\ntargets = {targets}\n")
    ran = run("--config", file, "scan")
    assert ran.code == 2
    assert "target" in ran.err.lower()
    if targets != "[]":
        assert str(file) in ran.err
        assert run("config", "check", file).code == 2
