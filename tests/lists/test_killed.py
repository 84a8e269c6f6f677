"""Whatever moment a process is killed at, readers find the old version or the new."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
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
    ("action", "least"),
    [
        pytest.param("pull", 40, marks=pytest.mark.slow),
        pytest.param("stage", 40, marks=pytest.mark.slow),
        ("activate", 4),
        ("import", 15),
        ("release", 15),
        pytest.param("compact", 15, marks=pytest.mark.slow),
        pytest.param("rotate", 20, marks=pytest.mark.slow),
        ("remove", 10),
    ],
)
def test_killed_before_any_change_of_the_file_system(tmp_path: Path, action: str, least: int) -> None:
    prepared(tmp_path / "folder", action, 5)
    done = subprocess.run(
        command("everywhere", action, tmp_path / "folder"), cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    deaths, new = map(int, done.stdout.split())
    assert deaths >= least
    assert 0 < new < deaths


@pytest.mark.parametrize("action", ["pull", "activate", "release", "compact"])
def test_killed_at_any_time(tmp_path: Path, action: str) -> None:
    prepared(tmp_path / "folder", action, 30_000)
    done = subprocess.run(
        command("anytime", action, tmp_path / "folder"), cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
