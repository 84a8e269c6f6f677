"""Rotations, and subscribers who follow them over a real web server."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from hashscan.errors import ListTrustError, OutputError, UsageError
from hashscan.lists.publishing.keys import Passphrases, read_key
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.pulling import client
from hashscan.lists.storage.signed_list import open_published
from hashscan.lists.store import ListStore
from hashscan.model import TrustState
from tests.lists.builders import CANARIES, NOW, Owner, some_entries, tree
from tests.web import WebServer, send

EVERY = ("root", "targets", "snapshot", "timestamp")


def root_of(data: bytes) -> Root:
    return Metadata[Root].from_bytes(data).signed


def key_ids(owner: Owner) -> dict[str, set[str]]:
    return {role: set(trusted.keyids) for role, trusted in root_of(owner.root).roles.items()}


@pytest.fixture
def council(tmp_path: Path) -> Owner:
    """An owner whose root has three keys in two folders, of which two must sign."""
    folder = tmp_path / "owner"
    publisher = Publisher.init(
        folder / "work",
        folder / "published",
        folder / "keys",
        "test",
        root_keys=(folder / "a", folder / "b"),
        root_count=3,
        root_threshold=2,
    )
    return Owner(publisher, folder)


def rotate_all(council: Owner) -> None:
    council.publisher.rotate(EVERY, root_keys=[council.folder / "a", council.folder / "b"])


@pytest.fixture
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> Owner:
    """The owner whose folder `web` serves: the council for tests that ask for it."""
    if "council" in request.fixturenames:
        council: Owner = request.getfixturevalue("council")
        return council
    return Owner.begin(tmp_path / "owner")


def test_a_sleeper_follows_three_rotations_and_a_fourth_by_too_few_is_refused(
    council: Owner, web: WebServer, store: ListStore
) -> None:
    council.release(some_entries(5))
    client.add(store, "signed", web.url, council.root)
    client.pull(store, "signed")
    for _ in range(3):
        before = key_ids(council)
        rotate_all(council)
        after = key_ids(council)
        assert all(before[role].isdisjoint(after[role]) for role in EVERY)
    council.release(some_entries(3, start=5))
    assert root_of(council.root).version == 7
    pulled = client.pull(store, "signed")
    assert (pulled.info.version, pulled.info.state) == (2, TrustState.FRESH)
    assert {"/metadata/8.root.json", "/metadata/7.root.json"} < set(web.asked)

    forged = root_of(council.root)
    forged.version += 1
    signed = Metadata(forged)
    signed.sign(read_key(council.folder / "a" / "8.pem", None))
    (council.metadata / "8.root.json").write_bytes(signed.to_bytes())
    with pytest.raises(ListTrustError, match="signed by 1/2 keys"):
        client.pull(store, "signed")
    with store.open(["signed"], NOW) as opened:
        assert (opened.infos[0].version, opened.infos[0].state) == (2, TrustState.FRESH)
    # Nor does its owner build upon it.
    with pytest.raises(ListTrustError, match="signed by 1/2 keys"):
        council.publisher.refresh()


@pytest.mark.parametrize("stage", ["timestamp.json", "1.snapshot.json", "1.targets.json", "manifest.json"])
def test_a_pull_in_the_middle_of_which_all_keys_change_succeeds(
    owner: Owner, web: WebServer, store: ListStore, stage: str
) -> None:
    owner.release(some_entries(5))
    client.add(store, "signed", web.url, owner.root)
    rotated: list[object] = []

    def rotate(request: BaseHTTPRequestHandler) -> None:
        if not rotated:
            rotated.append(owner.publisher.rotate(EVERY))
        send(request, (web.folder / request.path.lstrip("/")).read_bytes())

    web.answers[stage] = rotate
    assert client.pull(store, "signed").info.version == 1
    assert rotated
    assert client.pull(store, "signed").info.state is TrustState.FRESH


def test_each_step_of_a_rotation_can_be_pulled(
    owner: Owner, web: WebServer, store: ListStore, tmp_path: Path
) -> None:
    owner.release(some_entries(5))
    before = owner.copy("before")
    first = owner.root
    owner.publisher.rotate(["targets", "snapshot", "timestamp"])
    after = owner.metadata
    steps = ["2.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json", "3.root.json"]
    for done in range(len(steps) + 1):
        for name in steps[:done]:
            (before / "metadata" / name).write_bytes((after / name).read_bytes())
        assert open_published("test", before, first, NOW, remedy="restore it").info.state is TrustState.FRESH
    both = Metadata.from_bytes((after / "timestamp.json").read_bytes()).signatures
    roots = [root_of((after / f"{version}.root.json").read_bytes()) for version in (1, 2, 3)]
    assert [len(root.roles["timestamp"].keyids) for root in roots] == [1, 2, 1]
    assert set(both) == set(roots[1].roles["timestamp"].keyids)
    # The next signature is the new key's alone.
    owner.publisher.refresh()
    alone = Metadata.from_bytes((after / "timestamp.json").read_bytes()).signatures
    assert set(alone) == set(roots[2].roles["timestamp"].keyids)


def test_old_keys_are_kept_aside_and_new_ones_sign(owner: Owner) -> None:
    owner.release(some_entries(3))
    rotated = owner.publisher.rotate(["targets", "root"])
    keys = owner.folder / "keys"
    assert set(rotated.made) == {keys / "targets-3.pem", keys / "root" / "2.pem"}
    assert set(rotated.retired) == {keys / "retired" / "targets.pem", keys / "root" / "retired" / "1.pem"}
    assert (rotated.root_version, rotated.lost, rotated.left_behind) == (3, (), 0)
    assert {path for path in tree(keys) if path.endswith(".pem")} == {
        *("targets-3.pem", "snapshot.pem", "timestamp.pem", "root/2.pem"),
        *("retired/targets.pem", "root/retired/1.pem"),
    }
    owner.release(some_entries(3, start=3))
    assert owner.info().entries == 6 + CANARIES


def test_without_a_role_the_root_is_renewed_with_its_own_keys(tmp_path: Path) -> None:
    long_ago = NOW - timedelta(days=400)
    owner = Owner.begin(tmp_path / "owner", now=long_ago)
    owner.release(some_entries(3), now=long_ago)
    before = key_ids(owner)
    owner.publisher.add(some_entries(3, start=3), "more")
    for action in (owner.publisher.release, owner.publisher.refresh):
        with pytest.raises(UsageError, match="root expired on") as caught:
            action()
        assert "hashscan publish rotate" in caught.value.remedy
    rotated = owner.publisher.rotate()
    assert (rotated.root_version, rotated.made, rotated.retired) == (2, (), ())
    assert rotated.expires > NOW + timedelta(days=364)
    assert key_ids(owner) == before
    assert owner.publisher.release().state is TrustState.FRESH


def test_the_root_gets_more_keys(owner: Owner) -> None:
    owner.release(some_entries(3))
    sticks = [owner.folder / "stick", owner.folder / "keys" / "root"]
    owner.publisher.rotate(["root"], root_keys=sticks, root_count=3, root_threshold=2)
    trusted = root_of(owner.root).roles["root"]
    assert (len(trusted.keyids), trusted.threshold) == (3, 2)
    assert {path.name for path in sticks[0].glob("*.pem")} == {"1.pem", "2.pem"}
    assert {path.name for path in sticks[1].glob("*.pem")} == {"2.pem"}
    with pytest.raises(UsageError, match="must be signed by 2 of its keys, 1 were found"):
        owner.publisher.rotate(root_keys=sticks[1:])
    owner.publisher.rotate(root_keys=sticks)
    with pytest.raises(UsageError, match="can't have"):
        owner.publisher.rotate(["root"], root_keys=sticks, root_threshold=4)
    with pytest.raises(UsageError, match="only with the keys themselves"):
        owner.publisher.rotate(["targets"], root_keys=sticks, root_threshold=1)


def test_too_few_keys_change_nothing(council: Owner) -> None:
    council.release(some_entries(3))
    (council.folder / "a" / "1.pem").rename(council.folder / "away.pem")
    before = tree(council.folder)
    with pytest.raises(UsageError, match="must be signed by 2 of its keys, 1 were found"):
        council.publisher.rotate(EVERY, root_keys=[council.folder / "a"])
    assert tree(council.folder) == before


def test_each_root_key_keeps_its_passphrase(tmp_path: Path) -> None:
    folder = tmp_path / "owner"
    publisher = Publisher.init(
        folder / "work",
        folder / "published",
        folder / "keys",
        "test",
        passphrase=b"daily",
        root_passphrase=b"safe",
    )
    read_key(folder / "keys" / "root" / "1.pem", b"safe")
    with pytest.raises(UsageError, match=r"1 of its keys, 0 were found.*encrypted"):
        publisher.rotate(EVERY, passphrase=b"daily")
    publisher.rotate(EVERY, passphrase=b"daily", root_passphrases=Passphrases((b"safe",)))
    read_key(folder / "keys" / "root" / "2.pem", b"safe")
    read_key(folder / "keys" / "timestamp-3.pem", b"daily")


def test_a_lost_key_is_replaced(owner: Owner) -> None:
    owner.release(some_entries(3))
    (owner.folder / "keys" / "timestamp.pem").unlink()
    with pytest.raises(UsageError, match=r"no key .*timestamp\.pem"):
        owner.publisher.refresh()
    with pytest.raises(UsageError, match=r"no key .*timestamp\.pem"):
        owner.publisher.rotate(["snapshot"])
    rotated = owner.publisher.rotate(["timestamp"])
    assert rotated.lost == ("timestamp",)
    owner.publisher.refresh()
    assert owner.info().state is TrustState.FRESH


def test_keys_that_no_root_came_to_trust_are_put_aside_later(owner: Owner) -> None:
    """As a rotation leaves them that was killed before it was written down."""
    owner.release(some_entries(3))
    keys = owner.folder / "keys"
    Owner.begin(owner.folder / "other")
    (owner.folder / "other" / "keys" / "targets.pem").rename(keys / "targets-3.pem")
    (owner.folder / "other" / "keys" / "root" / "1.pem").rename(keys / "root" / "2.pem")
    owner.release(some_entries(3, start=3))
    owner.publisher.rotate()
    rotated = owner.publisher.rotate(["targets", "root"])
    assert keys / "targets-4.pem" in rotated.made
    assert keys / "retired" / "targets-3.pem" in rotated.retired
    owner.publisher.refresh(everything=True)


def test_before_the_first_release_keys_change_too(owner: Owner) -> None:
    owner.publisher.rotate(EVERY)
    owner.release(some_entries(3))
    first = (owner.metadata / "1.root.json").read_bytes()
    opened = open_published("test", owner.repository, first, NOW, remedy="restore it")
    assert opened.info.state is TrustState.FRESH


@pytest.mark.slow
def test_a_subscriber_follows_as_many_roots_as_tuf_allows(owner: Owner, store: ListStore) -> None:
    owner.release(some_entries(3))
    client.add(store, "signed", str(owner.repository), owner.root)
    for _ in range(255):
        owner.publisher.rotate()
    assert owner.publisher.rotate(["root"]).left_behind == 0
    assert client.pull(store, "signed").info.state is TrustState.FRESH
    # The one after that is out of reach for those who began with the first.
    assert owner.publisher.rotate().left_behind == 1


def test_a_damaged_journal_is_named(owner: Owner) -> None:
    owner.release(some_entries(3))
    journal = owner.folder / "work" / "rotation.json"
    for spoilt in (
        b"",
        b"{}",
        b"[]",
        json.dumps({"schema": 2, "files": {}}).encode(),
        json.dumps({"schema": 1, "files": {}}).encode(),
        json.dumps({"schema": 1, "files": {"../../x": ""}}).encode(),
        json.dumps({"schema": 1, "files": {"2.root.json": 5}}).encode(),
    ):
        journal.write_bytes(spoilt)
        with pytest.raises(OutputError, match=r"rotation\.json is damaged"):
            owner.publisher.status()


def test_the_timestamp_is_refreshed_alone(owner: Owner) -> None:
    owner.release(some_entries(3))
    before = {path: path.read_bytes() for path in owner.repository.rglob("*") if path.is_file()}
    refreshed = owner.publisher.refresh(now=NOW + timedelta(days=2))
    assert refreshed.roles == ("timestamp",)
    assert refreshed.expiries["timestamp"] - NOW == timedelta(days=5)
    assert not refreshed.running_out
    after = {path: path.read_bytes() for path in owner.repository.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before.get(path)} == {"timestamp.json"}


def test_the_snapshot_is_refreshed_when_its_time_runs_out_and_targets_when_asked(owner: Owner) -> None:
    owner.release(some_entries(3), now=NOW)
    refreshed = owner.publisher.refresh(now=NOW + timedelta(days=10))
    assert refreshed.roles == ("snapshot", "timestamp")
    late = NOW + timedelta(days=70)
    refreshed = owner.publisher.refresh(now=late)
    assert set(refreshed.running_out) == {"targets"}
    refreshed = owner.publisher.refresh(everything=True, now=late)
    assert refreshed.roles == ("targets", "snapshot", "timestamp")
    assert not refreshed.running_out
    assert refreshed.expiries["targets"] - late == timedelta(days=90)
    info = owner.info(late)
    assert (info.version, info.entries) == (1, 3 + CANARIES)


def test_refreshing_needs_no_other_key(owner: Owner) -> None:
    with pytest.raises(UsageError, match="nothing to refresh"):
        owner.publisher.refresh()
    owner.release(some_entries(3))
    for name in ("root/1.pem", "targets.pem", "snapshot.pem"):
        (owner.folder / "keys" / name).unlink()
    assert owner.publisher.refresh().roles == ("timestamp",)


def test_status_tells_keys_and_expiries(council: Owner) -> None:
    status = council.publisher.status()
    assert set(status.expiries) == {"root"}
    council.release(some_entries(3), now=NOW)
    status = council.publisher.status(NOW + timedelta(days=330))
    assert {role: (len(ids), threshold) for role, (ids, threshold) in status.keys.items()} == {
        "root": (3, 2),
        "targets": (1, 1),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }
    assert set(status.running_out) == set(EVERY)
    assert deepcopy(status.expiries)["timestamp"] == NOW + timedelta(days=3)
