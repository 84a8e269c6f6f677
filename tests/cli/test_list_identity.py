"""Another list that is put in place under a list's name doesn't end what the first has found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hashscan.model import Entry
from tests.cli.conftest import Run
from tests.cli.published import publish, pull
from tests.examples import quick_first

BAD, WORSE = b"a crime", b"another"


def entry(content: bytes, name: str = "e") -> Entry:
    return Entry(name, "sha256", hashlib.sha256(content).digest(), "A1")


def imported(run: Run, folder: Path, *entries: Entry) -> None:
    """Import entries as the list `ours`."""
    lines = [f"{e.id},{e.algorithm},{e.value.hex()},{e.category}" for e in entries]
    (folder / "entries.csv").write_text("\n".join(["id,algorithm,value,category", *lines]))
    ran = run("lists", "import", folder / "entries.csv", "--name", "ours")
    assert ran.code == 0, ran.err


def signed(run: Run, owner: Path, *entries: Entry) -> None:
    """Publish entries as the list `ours` of an owner, and pull it."""
    owner.mkdir()
    publish(run, owner / "ours", entries)
    pull(run, owner / "ours")


@pytest.fixture
def www(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "bad").write_bytes(BAD)
    return folder


def scanned(run: Run, www: Path, *options: str) -> tuple[int, list[str], int]:
    """Exit code, records of findings, and open cases."""
    ran = run("scan", www, "--report", "-", *options)
    reported = [line["type"] for line in ran.lines if line["type"] in {"finding", "standing"}]
    return ran.code, reported, len(run("cases", "list", "--format", "json").lines)


FOUND, STANDS, ENDED = (1, ["finding"], 1), (3, ["standing"], 1), (0, [], 0)


@pytest.mark.parametrize("before", quick_first([False, True]))
@pytest.mark.parametrize("after", [False, True])
def test_another_list(run: Run, www: Path, tmp_path: Path, before: bool, after: bool) -> None:
    if before:
        signed(run, tmp_path / "one", entry(BAD))
    else:
        imported(run, tmp_path, entry(BAD))
    assert scanned(run, www) == FOUND
    assert run("lists", "remove", "ours").code == 0
    if after:
        signed(run, tmp_path / "two", entry(WORSE))
    else:
        imported(run, tmp_path, entry(WORSE))
    assert scanned(run, www) == STANDS
    assert scanned(run, www, "--reread", "100%") == STANDS
    assert scanned(run, www, "--accept-cleared") == ENDED


def test_another_that_accuses_the_file_and_takes_that_back(run: Run, www: Path, tmp_path: Path) -> None:
    imported(run, tmp_path, entry(BAD))
    assert scanned(run, www) == FOUND
    assert run("lists", "remove", "ours").code == 0
    imported(run, tmp_path, entry(BAD))
    assert scanned(run, www) == FOUND
    imported(run, tmp_path, entry(WORSE))
    assert scanned(run, www) == STANDS
    (www / "bad").write_bytes(b"harmless")
    assert scanned(run, www) == ENDED


def test_a_newer_file_is_the_same_list(run: Run, www: Path, tmp_path: Path) -> None:
    imported(run, tmp_path, entry(BAD))
    assert scanned(run, www) == FOUND
    imported(run, tmp_path, entry(WORSE))
    assert scanned(run, www) == ENDED


def test_an_owner_that_was_removed_and_added_is_the_same(run: Run, www: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    signed(run, one, entry(BAD), entry(WORSE, "other"))
    assert scanned(run, www) == FOUND
    assert run("lists", "remove", "ours").code == 0
    imported(run, tmp_path, entry(WORSE))
    assert scanned(run, www) == STANDS
    assert run("lists", "remove", "ours").code == 0
    for command in (("withdraw", "e"), ("release", "--no-passphrase")):
        ran = run("publish", *command, "--work", one / "ours" / "work")
        assert ran.code == 0, ran.err
    pull(run, one / "ours")
    assert scanned(run, www) == ENDED
