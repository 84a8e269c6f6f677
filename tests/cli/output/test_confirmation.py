"""A version of a list that would hit very many known files is put in use only when that is confirmed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.model import Entry
from tests.cli.conftest import Run
from tests.examples import quick_first
from tests.lists.builders import Owner

THEME = b"a theme's picture"
MANY = 120


def entry(name: str, content: bytes, category: str = "A1") -> Entry:
    return Entry(name, "sha256", hashlib.sha256(content).digest(), category)


@pytest.fixture
def owner(tmp_path: Path, state: Path) -> Owner:
    """The owner of a signed list that is in use here and hits nothing."""
    made = Owner.begin(tmp_path / "owner")
    made.release([entry("n-1", b"of nobody here")])
    store = ListStore(state / "lists")
    client.add(store, "national", str(made.repository), made.root)
    client.pull(store, "national")
    return made


@pytest.fixture
def files(tmp_path: Path, owner: Owner, run: Run) -> Path:
    """Very many have one content, and scans know them."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"theme{number}").write_bytes(THEME)
    for number in range(30):
        (folder / f"other{number}").write_bytes(b"%d" % number)
    assert run("scan", folder).code == 0
    return folder


@pytest.mark.slow
def test_it_takes_a_word_to_accuse_very_many(run: Run, owner: Owner, files: Path) -> None:
    owner.release([entry("n-2", THEME)])
    for command in (("pull",), ("pull",), ("activate",), ("activate", "--confirm-share", "79.9")):
        ran = run("lists", *command)
        assert ran.code == 3, ran.err
        assert f"1 of its new entries would hit {MANY} of {MANY + 30} known files" in ran.err
        assert "lists activate national --confirm --only 2" in ran.err
    assert "version 2 is staged" in run("lists", "status").out
    assert run("scan", files).code == 0
    assert "NOT active" in run("lists", "status").out
    owner.release([entry("n-3", b"of nobody either")])
    assert run("lists", "pull").code == 3
    # Somebody has looked at version 2, and that is not the one which waits by now.
    ran = run("lists", "activate", "national", "--confirm", "--only", "2")
    assert (ran.code, "version 3 of the list 'national' is staged, and not 2" in ran.err) == (2, True)
    assert run("lists", "activate", "--confirm", "--only", "3").code == 2
    assert run("scan", files).code == 0
    ran = run("lists", "activate", "national", "--confirm", "--only", "3")
    assert (ran.code, "WARNING" in ran.err) == (0, False)
    assert run("scan", files).code == 1
    ran = run("lists", "pull")
    assert (ran.code, "up to date" in ran.err) == (0, True)


@pytest.mark.parametrize(
    ("category", "option"),
    [("known-good", ()), ("A1", ("--confirm-share", "80")), ("A1", ("--confirm-share", "100"))],
)
def test_no_word_is_needed(
    run: Run, owner: Owner, files: Path, category: str, option: tuple[str, ...]
) -> None:
    owner.release([entry("n-2", THEME, category)])
    ran = run("lists", "pull", *option)
    assert (ran.code, "WARNING" in ran.err) == (0, False), ran.err
    assert "version 2 (before: 1)" in ran.err


def test_a_first_version_is_compared_and_few_files_need_no_word(run: Run, owner: Owner, files: Path) -> None:
    second = Owner.begin(owner.folder.parent / "second")
    second.release([entry("s-1", THEME)])
    (second.folder / "root.json").write_bytes(second.root)
    assert run("lists", "add", "second", second.repository, "--root", second.folder / "root.json").code == 0
    ran = run("lists", "pull", "second")
    assert (ran.code, "version 1 is NOT activated" in ran.err) == (3, True), ran.err
    assert run("lists", "activate", "second", "--discard").code == 0
    for number in range(99, MANY):
        (files / f"theme{number}").unlink()
    assert run("scan", files, "--list", "national", "--accept-shrink").code == 0
    assert run("lists", "pull", "second").code == 0


def test_many_small_versions_count_together(run: Run, owner: Owner, files: Path, state: Path) -> None:
    for number in range(MANY):
        (files / f"theme{number}").write_bytes(b"theme %d" % (number // 40))
    assert run("scan", files).code == 0
    codes = []
    for number in range(3):
        owner.release([entry(f"m-{number}", b"theme %d" % number)])
        codes.append(run("lists", "pull").code)
    assert codes == [0, 0, 3]
    ran = run("lists", "pull")
    assert (ran.code, "hit 80" in ran.err) == (3, True)
    # Entries that hit nothing wait for nobody, but for what is staged.
    assert run("lists", "activate", "national", "--confirm").code == 0
    (files / "one").write_bytes(b"one")
    assert run("scan", files).code == 1
    owner.release([entry("m-9", b"one")])
    assert run("lists", "pull").code == 0


def test_what_is_older_than_a_week_counts_no_more(run: Run, owner: Owner, files: Path, state: Path) -> None:
    for number in range(MANY):
        (files / f"theme{number}").write_bytes(b"theme %d" % (number // 60))
    assert run("scan", files).code == 0
    owner.release([entry("m-0", b"theme 0")])
    assert run("lists", "pull").code == 0
    hits = state / "lists" / "national" / "recent_hits.json"
    kept = json.loads(hits.read_text())
    owner.release([entry("m-1", b"theme 1")])
    assert run("lists", "pull").code == 3
    for one in kept["versions"].values():
        one["at"] -= 8 * 86_400
    hits.write_text(json.dumps(kept))
    assert run("lists", "pull").code == 0


@pytest.mark.parametrize(
    "content", quick_first(["", "[]", '{"schema": 1, "versions": {"2": {"at": -1, "files": 3}}}', "\0"])
)
def test_a_count_that_is_not_valid_starts_again(
    run: Run, owner: Owner, files: Path, state: Path, content: str
) -> None:
    (state / "lists" / "national" / "recent_hits.json").write_text(content)
    (files / "one").write_bytes(b"one")
    assert run("scan", files).code == 0
    owner.release([entry("m-1", b"one")])
    assert run("lists", "pull").code == 0


def test_a_state_that_can_not_be_read_stops_no_list(run: Run, owner: Owner, files: Path, state: Path) -> None:
    owner.release([entry("n-2", THEME)])
    for column in (state / "scans").glob("**/sha256"):
        column.write_bytes(b"")
    ran = run("lists", "pull")
    assert (ran.code, "could not be compared with what scans know" in ran.err) == (0, True), ran.err


def test_where_nothing_is_known_that_is_said(run: Run, owner: Owner) -> None:
    owner.release([entry("n-2", THEME)])
    ran = run("lists", "pull")
    assert (ran.code, "no scan has remembered anything" in ran.err) == (0, True)
