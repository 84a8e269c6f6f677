"""Rows that wait in a temporary file."""

from __future__ import annotations

import json

import pytest

from hashscan.errors import OutputError
from hashscan.reports.page import rows as kept_rows
from hashscan.reports.page.rows import KeptRows, Row


def row(kind: str, name: str = "/a") -> Row:
    return Row(kind, name, "", "", "", "", "", None, None, ())


def test_the_most_urgent_come_first() -> None:
    with KeptRows(2) as rows:
        for kind in ("skipped", "folder", "review", "match", "standing"):
            rows.take(row(kind))
        kinds = [json.loads(line)[0] for line in rows.lines()]
        assert kinds == ["match", "review", "standing", "folder", "skipped"]
        assert [first.kind for first in rows.first()] == kinds[:2]
        assert rows.kept == rows.offered == 5


def test_a_line_is_ascii_and_no_markup() -> None:
    line = row("match", "</script>&\u2028\udcff\n").line()
    assert line.isascii()
    assert not set(b"<>&\n") & set(line)
    assert json.loads(line)[1] == "</script>&\u2028\udcff\n"


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "_IN_MEMORY", 1)

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with KeptRows(0) as rows:
        rows.take(row("match"))
        monkeypatch.setattr("tempfile.TemporaryFile", full)
        with pytest.raises(OutputError, match="No space left"):
            rows.take(row("review"))
