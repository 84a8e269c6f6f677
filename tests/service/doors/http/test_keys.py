"""Keys: kept hashed, followed at once, and nobody is admitted by a file that can't be used."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.service.doors.http.keys import (
    PREFIX,
    Key,
    Keys,
    RequestLimiter,
    changing,
    digest_of,
    make_key,
    read_keys,
)

NOW = datetime.now(UTC)


def add(path: Path, name: str, **fields: object) -> str:
    secret, key = make_key(name, ("scan",), "", 0.0, None)
    with changing(path) as keys:
        keys.append(Key(**{**{f: getattr(key, f) for f in Key.__struct_fields__}, **fields}))
    return secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_has_256_random_bits_and_is_not_in_the_file(path: Path) -> None:
    secrets = [add(path, f"k{number}") for number in range(20)]
    assert len(set(secrets)) == 20
    assert all(len(secret) == len(PREFIX) + 43 for secret in secrets)
    text = path.read_text()
    for secret in secrets:
        assert secret.removeprefix(PREFIX) not in text
        assert digest_of(secret) in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_keys_are_found_until_they_are_revoked_or_expire(path: Path) -> None:
    secret = add(path, "one")
    expired = add(path, "two", expires="2020-01-01T00:00:00Z")
    later = add(path, "three", expires=(NOW + timedelta(days=1)).isoformat())
    keys = Keys(path)
    found = keys.find(secret)
    assert found is not None
    assert found.name == "one"
    assert keys.find(expired) is None
    assert keys.find(later) is not None
    for wrong in ("", secret[:-1], secret + "x", "\udc80", digest_of(secret)):
        assert keys.find(wrong) is None
    with changing(path) as stored:
        stored[:] = [key for key in stored if key.name != "one"]
    assert keys.find(secret) is None
    assert keys.find(later) is not None


@pytest.mark.parametrize(
    "change",
    ["remove", "expose", "cut", "twice", "unknown", "name", "right", "digest", "rate", "member", "time"],
)
def test_a_file_that_cannot_be_used_admits_nobody(path: Path, change: str) -> None:
    secret = add(path, "one")
    keys = Keys(path)
    assert keys.find(secret) is not None
    good = path.read_bytes()
    document = json.loads(good)
    match change:
        case "remove":
            path.unlink()
        case "expose":
            path.chmod(0o604)
        case "cut":
            path.write_bytes(good[:-5])
        case _:
            row = document["keys"][0]
            match change:
                case "twice":
                    document["keys"].append({**row, "name": "other"})
                case "unknown":
                    document["schema"] = 2
                case "name":
                    row["name"] = "a b"
                case "right":
                    row["rights"] = ["everything"]
                case "digest":
                    row["sha256"] = "00"
                case "rate":
                    row["requests_per_second"] = -1.0
                case "member":
                    del row["expires"]
                case "time":
                    row["expires"] = "soon"
            path.write_text(json.dumps(document))
    for _ in range(2):
        with pytest.raises(UsageError):
            keys.find(secret)
    with pytest.raises(UsageError):
        Keys(path)
    path.write_bytes(good)
    path.chmod(0o600)
    assert keys.find(secret) is not None


def test_a_rewritten_file_keeps_its_readers(path: Path) -> None:
    add(path, "one")
    path.chmod(0o640)
    add(path, "two")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [key.name for key in read_keys(path)] == ["one", "two"]


def test_nothing_changes_where_the_change_fails(path: Path) -> None:
    add(path, "one")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), changing(path) as keys:
        keys[:] = [1 // 0 for _ in keys]
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a\n", "x" * 65, "ä"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(UsageError):
        make_key(name, ("scan",), "", 0.0, None)
    if name:
        with pytest.raises(UsageError):
            make_key("good", ("scan",), name, 0.0, None)


def test_a_limiter_allows_some_requests_at_once_and_is_bounded() -> None:
    limiter = RequestLimiter(names_max=3)

    def waits(name: str, times: int, now: float) -> list[float]:
        return [limiter.wait_seconds(name, 2.0, 2.0, now) for _ in range(times)]

    assert waits("a", 3, 100.0) == [0.0, 0.0, 0.5]
    assert waits("a", 2, 100.5) == [0.0, 0.5]
    assert waits("a", 3, 1100.5) == [0.0, 0.0, 0.5]
    assert [limiter.wait_seconds(name, 0.1, 1.0, 0.0) for name in "bc"] == [0.0, 0.0]
    assert waits("a", 1, 1100.5) == [0.5]
    assert waits("d", 1, 1100.5) == [0.0]
    # The name that was not used for the longest time is forgotten.
    assert [limiter.wait_seconds(name, 0.1, 1.0, 0.0) for name in "cb"] == [10.0, 0.0]


def test_a_limit_outlives_the_file_s_changes_but_not_its_own(path: Path) -> None:
    secret = add(path, "one", requests_per_second=0.001)
    keys = Keys(path)
    key = keys.find(secret)
    assert key is not None
    assert keys.wait(key) == 0
    assert keys.wait(key) > 900
    add(path, "two")
    key = keys.find(secret)
    assert key is not None
    assert keys.wait(key) > 900
    with changing(path) as stored:
        stored[0] = Key(
            **{**{f: getattr(stored[0], f) for f in Key.__struct_fields__}, "requests_per_second": 0.0}
        )
    key = keys.find(secret)
    assert key is not None
    assert [keys.wait(key) for _ in range(100)] == [0] * 100
