"""Publishes lists and pulls them by the real commands, for the tests of what servers do with them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from hashscan.lists.entries import canary_entries
from hashscan.model import Entry
from tests.cli.conftest import Run, runner
from tests.lists.builders import Owner
from tests.lists.parts import PartwiseOwner
from tests.web import served

DAYS = 4
"""After so many days a published list is stale."""


def with_canary(entries: Iterable[Entry]) -> list[Entry]:
    """As every release has them."""
    return [*entries, *canary_entries()]


def publish(run: Run, folder: Path, entries: Iterable[Entry]) -> None:
    """Begin a list, named after its owner's folder, and release entries by the real commands."""
    folder.mkdir()
    lines = ["id,algorithm,value,category"]
    lines += [f"{e.id},{e.algorithm},{e.value.hex()},{e.category}" for e in entries]
    (folder / "entries.csv").write_text("\n".join(lines))
    for command in (
        ("init", folder.name, "--repository", folder / "published", "--no-passphrase"),
        ("add", folder / "entries.csv"),
        ("release", "--no-passphrase"),
    ):
        ran = run("publish", *command, "--work", folder / "work")
        assert ran.code == 0, ran.err


def publish_exactly(folder: Path, entries: Iterable[Entry]) -> None:
    """Release these entries and no others, not even the test picture's, as another owner's program could."""
    PartwiseOwner(Owner.begin(folder)).release(list(entries))


def pull(run: Run, folder: Path) -> None:
    """Add the list that was published in a folder, and pull it from a web server."""
    with served(folder / "published") as url:
        ran = run("lists", "add", folder.name, url, "--root", folder / "work" / "root.json")
        assert ran.code == 0, ran.err
        ran = run("lists", "pull", folder.name)
        assert ran.code == 0, ran.err


THEME, BAD = b"a theme's picture", b"a crime"


@pytest.fixture(scope="session")
def national(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a signed list that accuses two contents, `THEME` and `BAD`, by an entry each."""
    home = tmp_path_factory.mktemp("national")
    entries = [
        Entry(name, "sha256", hashlib.sha256(content).digest(), "A1")
        for name, content in (("e-theme", THEME), ("e-bad", BAD))
    ]
    run = runner(home / "state")
    publish(run, home / "national", entries)
    pull(run, home / "national")
    assert run("lists", "accept", "national").code == 0
    return home / "state"


@pytest.fixture
def signed(national: Path, state: Path) -> None:
    """The state of the test, with that list."""
    shutil.copytree(national, state, symlinks=True)
