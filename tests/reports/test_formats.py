"""Contract of every report format, by the registry."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report import Report
from hashscan.reports.report_file import convert
from tests.reports.documents import CONTEXT, HOSTILE, SCAN, finding, unreadable, written

each_format = pytest.mark.parametrize("name", list(REPORT_FORMATS))


def document(name: str, path: Path) -> bytes:
    stream = io.BytesIO()
    REPORT_FORMATS[name]().write(Report(path, CONTEXT), stream)
    return stream.getvalue()


@each_format
def test_a_name_ends_as_its_suffix_says(name: str) -> None:
    assert REPORT_FORMATS[name].suffix.startswith(".")


@each_format
def test_no_control_character_comes_through(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(p) for p in HOSTILE] + [unreadable(p) for p in HOSTILE])
    made = document(name, path)
    assert b"\x1b" not in made
    assert b"\x07" not in made
    made.decode("utf-8")


@each_format
def test_a_killed_scan(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/a")], whole=False, torn=b'{"type":"find')
    assert b"/srv/a" in document(name, path)


@each_format
def test_every_finding_is_in_it(name: str, tmp_path: Path) -> None:
    paths = [b"/srv/%d-of-three" % number for number in range(3)]
    made = document(name, written(tmp_path / "r.jsonl", [finding(path) for path in paths]))
    assert all(path in made for path in paths)


@each_format
def test_nothing_found(name: str, tmp_path: Path) -> None:
    # A format that has a document of its own for each finding has none then.
    assert document(name, written(tmp_path / "r.jsonl", [])) or name == "xarf"


@each_format
def test_a_newer_report_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"type":"scan","schema":99}\n')
    output = tmp_path / "out"
    output.write_text("before")
    with pytest.raises(UsageError, match="newer hashscan"):
        convert(Report(path, CONTEXT), REPORT_FORMATS[name], output)
    assert output.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [output, path]


@each_format
def test_the_document_is_private(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    report = Report(written(tmp_path / "r.jsonl", [finding(b"/srv/a")]), CONTEXT)
    convert(report, REPORT_FORMATS[name], output)
    assert output.stat().st_mode & 0o777 == 0o600


def test_the_last_record_is_found_from_the_end(tmp_path: Path) -> None:
    long = finding(b"/srv/" + b"n" * 4000, because="x" * 100_000)
    report = Report(written(tmp_path / "r.jsonl", [long, finding(b"/srv/a")], torn=b'{"type":'))
    assert report.scan["uuid"] == SCAN["uuid"]
    assert report.summary is not None
    assert report.summary["verdicts"]["match"] == 2
    assert Report(written(tmp_path / "k.jsonl", [long], whole=False)).summary is None
    assert Report(written(tmp_path / "e.jsonl", [], whole=False)).summary is None


@each_format
def test_a_report_without_a_newline_at_its_end_is_whole(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/a"), unreadable(b"/srv/b")])
    before = document(name, path)
    os.truncate(path, path.stat().st_size - 1)
    assert document(name, path) == before


@each_format
def test_the_same_report_makes_the_same_document(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/%d" % number) for number in range(3)])
    assert document(name, path) == document(name, path)


@each_format
def test_it_is_damaged_in_the_middle_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/%d" % number) for number in range(3)])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"type":"finding","sch\n', *lines[3:]]))
    output = tmp_path / "out"
    output.write_text("before")
    with pytest.raises(UsageError, match="line 3"):
        convert(Report(path, CONTEXT), REPORT_FORMATS[name], output)
    assert output.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [output, path]


@pytest.mark.integration
@each_format
def test_a_killed_writer_leaves_the_old_document_and_nothing_else(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [finding(b"/srv/%d" % number) for number in range(200)])
    output = tmp_path / "out"
    output.write_text("before")
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE_AND_WAIT, name, path, output], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    assert output.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [output, path]


_WRITE_AND_WAIT = """
import pathlib, sys
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report_file import convert
from hashscan.reports.report import Report
from tests.reports.documents import CONTEXT

form = REPORT_FORMATS[sys.argv[1]]

class Waiting(form):
    def write(self, report, stream):
        super().write(report, stream)
        stream.flush()
        print("written", flush=True)
        sys.stdin.read()

convert(Report(pathlib.Path(sys.argv[2]), CONTEXT), Waiting, pathlib.Path(sys.argv[3]))
"""

MANY = 25_000
MOST_BYTES = 48 << 20
_PEAK = """
import pathlib, re, sys
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report_file import convert
from hashscan.reports.report import Report
from tests.reports.documents import CONTEXT

convert(Report(pathlib.Path(sys.argv[2]), CONTEXT), REPORT_FORMATS[sys.argv[1]], pathlib.Path(sys.argv[3]))
# Not the kernel's account of resources: that begins with what the test itself had.
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = (
        finding(b"/srv/%d/%d.jpg" % (number % 997, number), customer=f"customer {number % 997}")
        for number in range(MANY)
    )
    return written(tmp_path_factory.mktemp("many") / "r.jsonl", records)


@pytest.mark.slow
@each_format
def test_memory_does_not_grow_with_the_report(name: str, many: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, name, many, tmp_path / "out"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert (tmp_path / "out").stat().st_size > 0
    assert int(done.stdout) * 1024 < MOST_BYTES
