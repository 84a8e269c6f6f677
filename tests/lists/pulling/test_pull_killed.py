"""Whatever moment a pull is killed at, the old version is in use or the new, entry for entry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.lists.index import segments
from hashscan.lists.pulling import client
from hashscan.lists.storage import published_columns
from hashscan.lists.store import ListStore
from hashscan.model import Entry
from tests.examples import quick_first
from tests.lists.builders import Owner, some_entries
from tests.lists.parts import PartwiseOwner
from tests.lists.pulling.pulls import NAME, written

CHECKOUT = Path(__file__).parents[3]
KINDS = ("first", "increment", "second increment", "new base")


def of_two_algorithms(start: int, count: int) -> list[Entry]:
    return some_entries(count, start=start, algorithms=["md5", "pdq"])


def prepared(folder: Path, kind: str, scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber with the old version in use, if there is one, and an owner who has published the new."""
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 180 * scale)
    monkeypatch.setattr(segments, "SMALL", 1)
    partwise = PartwiseOwner(Owner.begin(folder / "owner"))
    old: list[str] = []

    def subscribe() -> None:
        nonlocal old
        client.pull(store, NAME)
        old = written(partwise.entries)

    store = ListStore(folder / "lists")
    client.add(store, NAME, str(partwise.owner.repository), partwise.owner.root)
    partwise.release(of_two_algorithms(0, 16 * scale))
    if kind != "first":
        if kind == "increment":
            subscribe()
        partwise.release(of_two_algorithms(20 * scale, 4 * scale), {"md5": [0, 3], "pdq": [1]})
    if kind == "second increment":
        subscribe()
        partwise.release(of_two_algorithms(30 * scale, 4 * scale), {"md5": [1], "pdq": [2, 8 * scale]})
    elif kind == "new base":
        subscribe()
        partwise.release([], {"pdq": [4]})
        partwise.compact(4)
    (folder / "old.json").write_text(json.dumps(old))
    (folder / "new.json").write_text(json.dumps(written(partwise.entries)))


def deaths_of(*arguments: str) -> tuple[int, int]:
    """Return the number of deaths of a child, and of those at which the new version was in use."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lists.pulling.pulls", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    deaths, new = map(int, done.stdout.split())
    return deaths, new


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "first"), [("first", 1), ("increment", 3), ("new base", 5)])
def test_killed_before_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, first: int
) -> None:
    """Most changes are common to the three kinds, so each is killed before every sixth of its own."""
    prepared(tmp_path, kind, 1, monkeypatch)
    deaths, new = deaths_of("everywhere", str(tmp_path), str(first), "6")
    assert deaths > 6
    # How it went is recorded once the new version is in use.
    assert 0 < new < deaths


@pytest.mark.parametrize("kind", quick_first(KINDS))
def test_killed_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    prepared(tmp_path, kind, 100, monkeypatch)
    deaths, _ = deaths_of("anytime", str(tmp_path), "6")
    assert deaths == 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_many_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    prepared(tmp_path, kind, 100, monkeypatch)
    deaths, _ = deaths_of("anytime", str(tmp_path), "20")
    assert deaths == 20
