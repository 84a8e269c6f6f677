"""A process that fetches or publishes a filter is killed at any call: the next finds nothing half done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_matching_services import Filtered, added, filtered, key, server
from tests.dying_calls import DyingCommands, dying_commands
from tests.lists.builders import Filters, read_filter, some_entries, tree

__all__ = ["added", "filtered", "key", "server"]  # fixtures

pytestmark = pytest.mark.slow

_DEATHS = 6
"""Least number of calls at which each command is killed."""
_EXACT = ("md5", "sha256")


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingCommands]:
    with dying_commands(tmp_path_factory.mktemp("dying")) as made:
        yield made


@pytest.mark.parametrize("kind", ["first", "additions"])
def test_a_scan_that_fetches_one(
    dying: DyingCommands,
    added: Callable[..., None],
    filtered: Filtered,
    state: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    """The next asks about what the whole filter lets through, and leaves what it always leaves."""
    www = tmp_path / "www"
    www.mkdir()
    for number in range(30):
        (www / str(number)).write_bytes(b"%d" % number)
    report = tmp_path / "report.jsonl"
    words = ["scan", www, "--report", report]
    added()
    found = {"7"}
    if kind != "first":
        assert dying.run(state, words).code == 0
        filtered.list(b"7", b"21", b"", version="2")
        found.add("21")
    first, national = tmp_path / "first", state / "lists" / "national"
    shutil.copytree(state, first, symlinks=True)
    left: set[str] = set()
    deaths = 0
    for number in dying.deaths(state, words, _DEATHS, f"{national}/"):
        deaths += number > 0
        left = left or tree(national)
        since = len(filtered.server.asked)
        again = dying.run(state, words)
        assert again.code == 0, again.err
        records = [json.loads(line) for line in report.read_text().splitlines()]
        assert {Path(each["path"]).name for each in records if each["type"] == "finding"} == found
        passes = read_filter(filtered.filters.folder)[1].lets_through
        assert all(passes(*asked) for asked in filtered.server.asked[since:])
        assert tree(national) == left
        shutil.rmtree(state)
        shutil.copytree(first, state, symlinks=True)
    assert deaths >= _DEATHS


@pytest.mark.parametrize("kind", ["first", "additions", "new base"])
def test_publish(dying: DyingCommands, tmp_path: Path, kind: str) -> None:
    """Clients find the old filter or the new one, and the next publishes the new one and leaves nothing."""
    filters = Filters(tmp_path)
    if kind != "first":
        filters.publish(some_entries(40, algorithms=_EXACT))
    entries = some_entries(42, algorithms=_EXACT)
    filters.store.import_entries("own", entries, "entries")
    words = ["publish", "filter", "--work", filters.work, "--list", "own", "--no-passphrase"]
    words += ["--new-base"] * (kind == "new base")
    first = tmp_path / "first"
    shutil.copytree(filters.folder, first, symlinks=True)
    deaths = new = 0
    for number in dying.deaths(filters.state.path, words, _DEATHS, f"{filters.folder}/"):
        deaths += number > 0
        index = published(filters)
        assert index in {0, 1, 2}
        new += index == 1 + (kind != "first")
        again = dying.run(filters.state.path, words)
        assert again.code == 0, again.err
        found = read_filter(filters.folder)[1]
        assert all(found.lets_through(entry.algorithm, entry.value) for entry in entries)
        assert {path.name for path in filters.repository.iterdir()} == {"metadata", "targets"}
        assert not [name for name in tree(filters.folder) if ".tmp" in name or "staging" in name]
        shutil.rmtree(filters.folder)
        shutil.copytree(first, filters.folder, symlinks=True)
    assert deaths >= _DEATHS
    assert 1 < new <= deaths


def published(filters: Filters) -> int:
    """Return the number of the published filters' release; 0 if there is none."""
    if (filters.repository / "metadata" / "timestamp.json").exists():
        return read_filter(filters.folder)[0].release
    return 0
