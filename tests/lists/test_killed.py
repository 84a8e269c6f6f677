"""Whatever moment a process is killed at, readers find the old version or the new."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.lists.publishing.filters import publish_filter_of
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.state_dir import StateDir
from tests.examples import quick_first
from tests.lists import dying
from tests.lists.builders import Owner, some_entries

CHECKOUT = Path(__file__).parents[2]


def prepared(folder: Path, action: str, old: int) -> None:
    """A store and an owner with the old version of everything, and what the action needs to make the new."""
    owner = Owner.begin(folder / "owner")
    owner.release(some_entries(old, algorithms=["md5"]))
    (folder / "old").write_text(str(old))
    store = ListStore(folder / "lists")
    if action in {"pull", "stage", "activate", "remove"}:
        client.add(store, "signed", str(owner.repository), owner.root)
        client.pull(store, "signed")
    if action == "import":
        store.import_entries("own", some_entries(old, algorithms=["md5"]), "entries")
    if action == "compact":
        # The old version has an increment, and more waits.
        owner.publisher.withdraw(["e0"])
        owner.release(some_entries(1, start=old + dying.ADDED, algorithms=["md5"]))
        owner.publisher.withdraw(["e1"])
    if action == "filter":
        store.import_entries("own", some_entries(old, algorithms=["md5"]), "entries")
        filters = folder / "filters"
        Publisher.init(filters / "work", filters / "published", filters / "keys", "filters")
        publish_filter_of(filters / "work", StateDir(folder), ["own"])
        store.import_entries("own", some_entries(old + dying.ADDED, algorithms=["md5"]), "entries")
    if action != "rotate":
        owner.publisher.add(some_entries(dying.ADDED, start=old, algorithms=["md5"]), "entries")
    if action in {"pull", "stage", "activate"}:
        owner.publisher.release()
    if action == "activate":
        client.pull(store, "signed", stage=True)


def command(mode: str, action: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.lists.dying", mode, action, str(folder)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "first", "step", "least"),
    [
        # What a pull does is the same whether it stages or not, but for the end.
        ("pull", 1, 4, 10),
        ("stage", 3, 4, 10),
        ("activate", 1, 1, 4),
        ("import", 1, 2, 8),
        # These two change the same files.
        ("release", 1, 4, 4),
        ("compact", 3, 4, 4),
        ("rotate", 2, 3, 7),
        ("filter", 1, 3, 6),
        ("remove", 1, 2, 5),
    ],
)
def test_killed_before_any_change_of_the_file_system(
    tmp_path: Path, action: str, first: int, step: int, least: int
) -> None:
    prepared(tmp_path / "folder", action, 5)
    done = subprocess.run(
        [*command("everywhere", action, tmp_path / "folder"), str(first), str(step)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    deaths, new = map(int, done.stdout.split())
    assert deaths >= least
    assert 0 < new < deaths


@pytest.mark.parametrize("action", quick_first(["pull", "activate", "release", "compact"]))
def test_killed_at_any_time(tmp_path: Path, action: str) -> None:
    prepared(tmp_path / "folder", action, 30_000)
    done = subprocess.run(
        command("anytime", action, tmp_path / "folder"), cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
