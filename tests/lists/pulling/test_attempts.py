from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UnreachableError
from hashscan.lists.pulling.attempts import PullRecord, read_attempts, recorded


def test_none_yet(tmp_path: Path) -> None:
    assert read_attempts(tmp_path / "a") == PullRecord()


def test_success_and_failure(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with recorded(path) as report:
        report.problems = ("a mirror was away",)
    good = read_attempts(path)
    assert good.succeeded == good.tried
    assert good.succeeded is not None
    assert (good.error, good.problems) == (None, ("a mirror was away",))
    with pytest.raises(UnreachableError), recorded(path):
        raise UnreachableError("nobody there")
    failed = read_attempts(path)
    assert (failed.succeeded, failed.error, failed.problems) == (good.succeeded, "nobody there", ())
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_went_wrong_is_not_hidden_by_a_record_that_cant_be_written(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError), recorded(tmp_path / "none" / "a"):
        raise UnreachableError("nobody there")
    with pytest.raises(FileNotFoundError), recorded(tmp_path / "none" / "a"):
        pass


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"schema": 1}',
        b'{"schema": 1, "problems": [1]}',
        b'{"schema": 1, "problems": [], "error": 1}',
    ],
)
def test_a_spoilt_record_counts_for_nothing(tmp_path: Path, spoilt: bytes) -> None:
    (tmp_path / "a").write_bytes(spoilt)
    assert read_attempts(tmp_path / "a") == PullRecord()
