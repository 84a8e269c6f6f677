"""The state that is kept between the pulls of a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UnreachableError
from hashscan.lists.pulling.origin import PullRecord, Validators, read_attempts, recorded


def test_none_yet(tmp_path: Path) -> None:
    assert read_attempts(tmp_path / "a") == PullRecord()


def test_success_and_failure(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with recorded(path) as problems:
        problems.append("a mirror was away")
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


URL = "https://lists.example/metadata/timestamp.json"


@pytest.fixture
def timestamp(tmp_path: Path) -> Path:
    (tmp_path / "timestamp.json").write_bytes(b"{}")
    return tmp_path / "timestamp.json"


def noted(path: Path, timestamp: Path, headers: dict[str, str]) -> Validators:
    validators = Validators(path, timestamp)
    validators.note(URL, headers, timestamp.read_bytes())
    validators.save()
    return Validators(path, timestamp)


def test_what_a_server_said_is_given_back(tmp_path: Path, timestamp: Path) -> None:
    said = {"ETag": '"abc"', "Last-Modified": "Tue, 24 Nov 2026 08:00:00 GMT", "Server": "x"}
    validators = noted(tmp_path / "v", timestamp, said)
    assert validators.conditions(URL) == {
        "If-None-Match": '"abc"',
        "If-Modified-Since": "Tue, 24 Nov 2026 08:00:00 GMT",
    }
    assert validators.timestamp == b"{}"
    assert validators.conditions(URL + "x") == {}
    assert (tmp_path / "v").stat().st_mode & 0o777 == 0o600


def test_nothing_is_asked_that_no_kept_timestamp_could_answer(tmp_path: Path, timestamp: Path) -> None:
    noted(tmp_path / "v", timestamp, {"ETag": '"abc"'})
    timestamp.write_bytes(b"{ }")
    assert Validators(tmp_path / "v", timestamp).conditions(URL) == {}
    timestamp.unlink()
    assert Validators(tmp_path / "v", timestamp).conditions(URL) == {}


@pytest.mark.parametrize("etag", ["", "x" * 257, '"a\r\nX: y"', '"ä"', '"\0"'])
def test_words_that_are_no_header_are_not_given_back(tmp_path: Path, timestamp: Path, etag: str) -> None:
    assert noted(tmp_path / "v", timestamp, {"ETag": etag}).conditions(URL) == {}


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"schema": 2}',
        b'{"schema": 1, "timestamps": []}',
        b'{"schema": 1, "timestamps": {"u": 1}}',
        b'{"schema": 1, "timestamps": {"https://lists.example/metadata/timestamp.json": {"ETag": "a\\nb"}}}',
    ],
)
def test_what_cant_be_understood_counts_for_nothing(tmp_path: Path, timestamp: Path, spoilt: bytes) -> None:
    (tmp_path / "v").write_bytes(spoilt)
    assert Validators(tmp_path / "v", timestamp).conditions(URL) == {}
    assert noted(tmp_path / "v", timestamp, {"ETag": '"a"'}).conditions(URL) == {"If-None-Match": '"a"'}


def test_nothing_new_writes_nothing(tmp_path: Path, timestamp: Path) -> None:
    validators = noted(tmp_path / "v", timestamp, {"ETag": '"a"'})
    (tmp_path / "v").unlink()
    validators.note(URL, {"ETag": '"a"'}, b"{}")
    validators.save()
    assert not (tmp_path / "v").exists()
