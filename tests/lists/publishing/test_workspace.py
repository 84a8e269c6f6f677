from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hashscan.lists.publishing.workspace import KEPT_FOR, SUPERSEDED_NAME, prune
from hashscan.model import TrustState
from tests.lists.builders import NOW, Owner, some_entries, tree


def test_files_go_when_no_pull_can_need_them_any_more(tmp_path: Path) -> None:
    work, repository = tmp_path / "work", tmp_path / "published"
    work.mkdir()
    for name in (
        "metadata/1.root.json",
        "metadata/1.snapshot.json",
        "metadata/timestamp.json",
        "targets/a",
        "targets/b",
    ):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(b"")
    prune(work, repository, ["timestamp.json", "1.snapshot.json"], ["a", "b"], NOW)
    assert not (work / SUPERSEDED_NAME).exists()
    every = tree(repository)
    prune(work, repository, ["timestamp.json"], ["a"], NOW)
    prune(work, repository, ["timestamp.json"], ["a"], NOW + KEPT_FOR - timedelta(seconds=1))
    assert tree(repository) == every
    # A file that is named again is not old when it ceases to be named once more.
    prune(work, repository, ["timestamp.json"], ["b"], NOW + KEPT_FOR)
    assert tree(repository) == every - {"metadata/1.snapshot.json"}
    prune(work, repository, ["timestamp.json"], ["b"], NOW + 2 * KEPT_FOR)
    assert tree(repository) == every - {"metadata/1.snapshot.json", "targets/a"}
    prune(work, repository, ["timestamp.json"], ["b"], NOW + 2 * KEPT_FOR)
    assert b"targets" not in (work / SUPERSEDED_NAME).read_bytes()


def test_without_the_record_files_stay_longer(tmp_path: Path) -> None:
    work, repository = tmp_path / "work", tmp_path / "published"
    work.mkdir()
    (repository / "metadata").mkdir(parents=True)
    (repository / "targets").mkdir()
    (repository / "targets" / "a").write_bytes(b"")
    prune(work, repository, [], [], NOW)
    for spoilt in (b"", b"[]", b'{"schema": 2}', b'{"schema": 1, "since": {"targets/a": "yesterday"}}'):
        (work / SUPERSEDED_NAME).write_bytes(spoilt)
        prune(work, repository, [], [], NOW + KEPT_FOR)
        assert (repository / "targets" / "a").exists()


def test_a_list_loses_old_versions_and_stays_whole(owner: Owner) -> None:
    for number in range(3):
        owner.release(some_entries(3, start=3 * number, algorithms=["md5"]), now=NOW)
    assert {"1.targets.json", "2.snapshot.json"} < tree(owner.metadata)
    owner.publisher.rotate(now=NOW)
    owner.publisher.refresh(now=NOW + KEPT_FOR)
    assert tree(owner.metadata) == {
        *("1.root.json", "2.root.json", "3.targets.json", "3.snapshot.json", "timestamp.json")
    }
    assert owner.info().state is TrustState.FRESH
