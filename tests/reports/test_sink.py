from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.errors import LockedError, OutputError
from hashscan.reports.jsonl import JsonLines
from hashscan.reports.sink import ReportSink

WRITE = """
import sys, pathlib
from hashscan.reports.jsonl import JsonLines
from hashscan.reports.sink import ReportSink
sink = ReportSink(JsonLines, pathlib.Path(sys.argv[1]))
sink.write({"type": "sweep", "schema": 1})
print("written", flush=True)
sys.stdin.read()
"""


def killed_sweep(path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    with writer:
        assert writer.stdout.readline() == b"written\n"
        writer.kill()


def test_grows_as_partial_and_is_named_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ReportSink(JsonLines, path) as sink:
        sink.write({"type": "sweep", "schema": 1})
        partial = tmp_path / "out.jsonl.partial"
        assert json.loads(partial.read_text()) == {"type": "sweep", "schema": 1}
        assert not path.exists()
        sink.write({"type": "summary", "schema": 1})
        sink.finish()
    assert not partial.exists()
    assert len(path.read_text().splitlines()) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with ReportSink(JsonLines, tmp_path / "out") as sink:
            sink.finish()
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_the_report_of_a_killed_sweep_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    killed_sweep(path)
    with ReportSink(JsonLines, path) as sink:
        assert sink.set_aside is not None
        assert json.loads(sink.set_aside.read_text()) == {"type": "sweep", "schema": 1}
        sink.finish()
    assert path.exists()


def test_two_sweeps_into_one_report_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    with writer:
        writer.stdout.readline()
        with pytest.raises(LockedError):
            ReportSink(JsonLines, path)
        writer.kill()


def test_an_earlier_report_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    with ReportSink(JsonLines, path) as sink:
        sink.write({"type": "sweep", "schema": 1})
        assert path.read_text() == "old\n"
        sink.finish()
    assert path.read_text() != "old\n"


def test_a_link_in_place_of_the_partial_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError, match="out"):
        ReportSink(JsonLines, tmp_path / "out")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["missing/out.jsonl", "."])
def test_an_impossible_place_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="can't write the report"):
        ReportSink(JsonLines, tmp_path / name)


def test_a_full_disk_is_our_own_output_failing() -> None:
    sink = ReportSink(JsonLines, None)
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by the sink
    sink._stream.close()
    sink._stream = sink._format.stream = full
    with pytest.raises(OutputError, match="No space left") as caught, sink:
        sink.write({"type": "sweep", "schema": 1})
    assert caught.value.exit_code == 12
