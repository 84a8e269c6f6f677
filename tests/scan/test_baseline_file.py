"""The file of accepted findings."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import OutputError, UsageError
from hashscan.model import AcceptedMatch
from hashscan.scan.baseline import SIZE_MAX, key_of, read_baseline, write_baseline

ONE = AcceptedMatch(
    "ours", "n-1", "ab" * 32, "a logo", "2027-01-31T00:00:00Z", "root", "2026-11-26T10:00:00Z"
)
ROW = {
    "list": "ours",
    "entry": "n-1",
    "sha256": "ab" * 32,
    "reason": "a logo",
    "until": "2027-01-31T00:00:00Z",
    "by": "root",
    "since": "2026-11-26T10:00:00Z",
}


def accepted(number: int) -> AcceptedMatch:
    return AcceptedMatch(
        "ours", f"n-{number}", f"{number:064x}", 'ü "quoted" \\', ONE.until, "root", ONE.since
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    many = [accepted(number) for number in range(20)]
    write_baseline(file, reversed(many))
    assert read_baseline(file) == tuple(sorted(many, key=key_of))
    assert file.stat().st_mode & 0o777 == 0o600
    # One a line, so that a change to it can be reviewed.
    assert sum('"entry"' in line for line in file.read_text().splitlines()) == 20
    file.chmod(0o644)
    write_baseline(file, [])
    assert read_baseline(file) == ()
    assert file.stat().st_mode & 0o777 == 0o644


def document(*rows: object, **others: object) -> str:
    head = {"format": "hashscan-baseline", "version": 1, **others}
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f'{json.dumps(head)[:-1]},\n"accepted": [\n{lines}\n]}}\n'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "Expected object"),
        ({**ROW, "more": "x"}, "unknown field more"),
        ({key: value for key, value in ROW.items() if key != "until"}, "missing required field until"),
        ({**ROW, "until": 5}, "until: Expected str"),
        ({**ROW, "until": "2027-01-31"}, "until: this is not a time"),
        ({**ROW, "since": "2027-01-31T00:00:00+01:00"}, "since: this is not a time"),
        ({**ROW, "sha256": "AB" * 32}, "sha256: "),
        ({**ROW, "list": "../x"}, "list: "),
        ({**ROW, "entry": ""}, "entry: "),
        ({**ROW, "entry": "n-1\x1b[1m"}, "entry: "),
        ({**ROW, "reason": "a\nb"}, "reason: this is not one printable line"),
        ({**ROW, "reason": " "}, "reason: this is not one printable line"),
        ({**ROW, "by": "x" * 200}, "by: this is not one printable line"),
        (ROW, "accepted twice"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(row: object, message: str, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(document(ROW, row))
    with pytest.raises(UsageError) as caught:
        read_baseline(file)
    assert str(caught.value).startswith(f"{file}, line 4: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "no JSON"),
        ('{\n"format": \n}', 3, "no JSON"),
        ("[" * 100_000, 1, "no JSON"),
        (f'{{"version": {"1" * 5000}}}', 1, "no JSON"),
        ("[]", 1, "does not say"),
        ('{"format": "sarif", "version": 1, "accepted": []}', 1, "does not say"),
        ('{"format": "hashscan-baseline", "accepted": []}', 1, "which version"),
        ('{"format": "hashscan-baseline", "version": true, "accepted": []}', 1, "which version"),
        ('{"format": "hashscan-baseline", "version": 1}', 1, "no list"),
    ],
)
def test_what_is_no_baseline_is_named(text: str, line: int, message: str, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_baseline(file)
    assert str(caught.value).startswith(f"{file}, line {line}: ")
    assert message in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(document().encode() + b"\n\xff")
    with pytest.raises(UsageError, match="line 6: this is no UTF-8"):
        read_baseline(tmp_path / "b")


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(document(version=2))
    with pytest.raises(UsageError, match="a newer hashscan wrote"):
        read_baseline(tmp_path / "b")


def test_what_can_not_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_baseline(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="no regular file"):
        read_baseline(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(SIZE_MAX + 1)
    with pytest.raises(UsageError, match="larger than"):
        read_baseline(tmp_path / "large")
    with pytest.raises(OutputError, match="can't write the baseline"):
        write_baseline(tmp_path / "no" / "folder", [])


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-baseline"
    for content in (data, document(ROW).encode()[: len(data)] + data):
        file.write_bytes(content)
        with suppress(UsageError):
            read_baseline(file)


@given(st.lists(st.sampled_from([" ", "\n", "\t", "\r\n"]), min_size=12, max_size=12))
def test_lines_are_right_however_it_is_laid_out(
    tmp_path_factory: pytest.TempPathFactory, space: list[str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "laid-out-baseline"
    s = iter(space)
    good, bad = json.dumps(ROW), json.dumps({**ROW, "by": ""})
    before = (
        f'{next(s)}{{{next(s)}"accepted"{next(s)}:{next(s)}[{next(s)}7{next(s)}],{next(s)}"format":'
        f'"hashscan-baseline","version"{next(s)}:{next(s)}1,"accepted":[{next(s)}{good}{next(s)},{next(s)}'
    )
    file.write_bytes(f"{before}{bad}]}}".encode())
    with pytest.raises(UsageError) as caught:
        read_baseline(file)
    assert f"line {before.count(chr(10)) + 1}: by: " in str(caught.value)
