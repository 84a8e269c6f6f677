from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.errors import LockedError, OutputError
from hashscan.reports.records import Record
from hashscan.reports.report_file import ReportFile

WRITE = """
import sys, pathlib
from hashscan.reports.records import Record
from hashscan.reports.report_file import ReportFile
sink = ReportFile(pathlib.Path(sys.argv[1]))
sink.write({"type": "scan", "schema": 1})
print("written", flush=True)
sys.stdin.read()
"""


def killed_scan(path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    with writer:
        assert writer.stdout.readline() == b"written\n"
        writer.kill()


def test_grows_as_partial_and_is_named_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ReportFile(path) as sink:
        sink.write({"type": "scan", "schema": 1})
        partial = tmp_path / "out.jsonl.partial"
        assert json.loads(partial.read_text()) == {"type": "scan", "schema": 1}
        assert not path.exists()
        sink.write({"type": "summary", "schema": 1})
        sink.finish()
    assert not partial.exists()
    assert len(path.read_text().splitlines()) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with ReportFile(tmp_path / "out") as sink:
            sink.finish()
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_the_report_of_a_killed_scan_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    killed_scan(path)
    with ReportFile(path) as sink:
        assert sink.set_aside is not None
        assert json.loads(sink.set_aside.read_text()) == {"type": "scan", "schema": 1}
        sink.finish()
    assert path.exists()


def test_two_scans_into_one_report_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    with writer:
        writer.stdout.readline()
        with pytest.raises(LockedError):
            ReportFile(path)
        writer.kill()


def test_an_earlier_report_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    with ReportFile(path) as sink:
        sink.write({"type": "scan", "schema": 1})
        assert path.read_text() == "old\n"
        sink.finish()
    assert path.read_text() != "old\n"


def test_a_link_in_place_of_the_partial_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError, match="out"):
        ReportFile(tmp_path / "out")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["missing/out.jsonl", "."])
def test_an_impossible_place_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="can't write"):
        ReportFile(tmp_path / name)


def test_a_full_disk_is_our_own_output_failing() -> None:
    sink = ReportFile(None)
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by the sink
    sink._stream.close()
    sink._stream = sink._lines.stream = full
    with pytest.raises(OutputError, match="No space left") as caught, sink:
        sink.write({"type": "scan", "schema": 1})
    assert caught.value.exit_code == 12


ACCUSED, HELD = ({"type": "finding", "schema": 1, "verdict": verdict} for verdict in ("match", "held"))
OTHER = {"type": "unreadable", "schema": 1, "verdict": "unreadable"}


def grown(path: Path, number: int = 3) -> ReportFile:
    sink = ReportFile(path)
    sink.write({"type": "scan", "schema": 1})
    for place in range(number):
        sink.write({**ACCUSED, "place": place})
        sink.write(OTHER)
    return sink


def final_records(number: int = 3) -> Iterator[Record]:
    return ({**HELD, "place": place} for place in range(number))


@pytest.mark.parametrize("nameless", [True, False])
def test_final_records_take_the_place_of_the_first(
    tmp_path: Path, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        # As on file systems that know no files without a name; what they answer instead differs.
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT | os.O_EXCL)
    path = tmp_path / "out.jsonl"
    with grown(path) as sink:
        sink.replace_matches(final_records())
        assert sorted(os.listdir(tmp_path)) == ["out.jsonl.partial"]
        final = (tmp_path / "out.jsonl.partial").read_text().splitlines()
        sink.write({"type": "summary", "schema": 1})
        sink.finish()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[:-1] == [json.loads(line) for line in final]
    expected = [one for place in range(3) for one in ({**HELD, "place": place}, OTHER)]
    assert lines == [{"type": "scan", "schema": 1}, *expected, {"type": "summary", "schema": 1}]
    assert os.listdir(tmp_path) == ["out.jsonl"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_report_with_final_records_is_still_locked(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.reports.test_report_file import grown, final_records\n"
        "sink = grown(Path(sys.argv[1])); sink.replace_matches(final_records())\n"
        "print('final', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"final\n"
        with pytest.raises(LockedError):
            ReportFile(path)
        writer.kill()


@pytest.mark.slow
@pytest.mark.parametrize("nameless", [True, False])
def test_killed_at_any_step_of_writing_final_records(tmp_path: Path, nameless: bool) -> None:
    """The findings are in the report, with their first records or their final ones, and no other file
    stays."""
    code = """
import os, signal, sys
from pathlib import Path
from tests.reports.test_report_file import grown, final_records
left = int(sys.argv[2])
if sys.argv[3] == "False":
    os.O_TMPFILE = os.O_DIRECTORY | os.O_CREAT | os.O_EXCL
def dying(call):
    def called(*arguments, **named):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*arguments, **named)
    return called
sink = grown(Path(sys.argv[1]))
for name in ("open", "fchmod", "fsync", "link", "rename", "unlink", "close"):
    setattr(os, name, dying(getattr(os, name)))
sink.replace_matches(final_records())
sink.finish()
"""
    stray = number = 0
    while True:
        path = tmp_path / f"{number}" / "out.jsonl"
        path.parent.mkdir()
        arguments = [sys.executable, "-c", code, str(path), str(number), str(nameless)]
        done = subprocess.run(arguments, timeout=60, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        left = path if path.exists() else path.with_name("out.jsonl.partial")
        found = [json.loads(line) for line in left.read_text().splitlines()]
        verdicts = {one["verdict"] for one in found if one["type"] == "finding"}
        assert (len(found), len(verdicts)) == (7, 1)
        stray += path.with_name("out.jsonl.final").exists()
        with ReportFile(path) as sink:
            sink.finish()
        assert not [name for name in os.listdir(path.parent) if name.endswith((".partial", ".final"))]
        number += 1
    assert number > 5
    assert stray == 1 if nameless else stray > 1
