from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.reports import report
from hashscan.reports.report import last_record, read_report
from tests.reports.documents import finding, written


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
@given(data=st.data())
def test_the_last_record_is_the_one_that_reading_on_ends_with(
    block: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sizes = data.draw(st.lists(st.integers(0, 300), max_size=4))
    records = [finding(b"/srv/" + b"n" * size) for size in sizes]
    path = written(tmp_path_factory.mktemp("reading") / "r.jsonl", records, whole=data.draw(st.booleans()))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    path.write_bytes(content[: data.draw(st.integers(first, len(content)))])
    *before, last = read_report(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_BLOCK", block)
        assert last_record(path) == (last if before else None)


def test_a_last_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", [])
    path.write_bytes(path.read_bytes() + b"not a record\n")
    with pytest.raises(UsageError, match="last line: this is not what hashscan writes"):
        last_record(path)


def test_a_file_of_one_endless_line_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_LONGEST", 1000)
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"x" * 100_000)
    assert last_record(path) is None
    with pytest.raises(UsageError, match="line 1"):
        list(read_report(path))
