from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from hashscan.errors import ListFormatError, ListTrustError, LockedError, OutputError, UsageError
from hashscan.lists.formats.csv_and_ndjson import CsvFormat
from hashscan.lists.publishing.keys import make_online_keys
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.model import ACTING_CATEGORIES, ALGORITHMS, Entry, TrustState
from tests.lists.builders import CANARIES, NOW, Owner, as_csv, some_entries, tree
from tests.test_locking import holder


def test_what_is_added_is_released(owner: Owner) -> None:
    assert owner.publisher.status().published is None
    every = some_entries(30, algorithms=sorted(ALGORITHMS), categories=sorted(ACTING_CATEGORIES))
    csv = io.BytesIO(as_csv(every[:10]))
    assert owner.publisher.add(CsvFormat().blocks(csv, "a.csv"), "a.csv") == 10
    assert owner.publisher.add(every[10:20], "b") == 10
    assert owner.publisher.status().state.waiting == 20
    assert owner.publisher.release().version == 1
    assert owner.entries() == every[:20]
    status = owner.publisher.status()
    assert status.state.waiting == 0
    assert status.published is not None
    assert (status.published.version, status.published.entries) == (1, 20 + CANARIES)
    owner.publisher.add(every[20:], "c")
    assert owner.entries() == every[:20]
    info = owner.publisher.release()
    assert (info.version, info.entries, info.state) == (2, 30 + CANARIES, TrustState.FRESH)
    assert owner.entries() == every


def test_the_folders_hold_what_belongs_there_and_nothing_else(owner: Owner) -> None:
    owner.release(some_entries(3, algorithms=["md5"]))
    owner.release(some_entries(3, algorithms=["md5"], start=3))
    assert tree(owner.metadata) == {
        "1.root.json",
        "1.targets.json",
        "1.snapshot.json",
        "2.targets.json",
        "2.snapshot.json",
        "timestamp.json",
    }
    assert {path.split(".", 1)[1] for path in tree(owner.targets)} == {
        "manifest.json",
        *(
            f"{part}.0000.{column}.npy"
            for part in ("1.md5", "1.pdq", "1.sha1", "1.sha256", "2.md5")
            for column in ("ids", "category", "value")
        ),
    }
    assert {path.name for path in owner.repository.iterdir()} == {"metadata", "targets"}
    assert tree(owner.folder / "work") == {
        ".lock",
        "pending",
        "publisher.json",
        "root.json",
        "superseded.json",
    }
    for path in (owner.folder / "keys", owner.folder / "work", owner.folder / "work" / "pending"):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in owner.repository.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_each_role_has_its_own_key_and_its_own_expiry(tmp_path: Path) -> None:
    expiry = Expiry(root=100, targets=50, snapshot=20, timestamp=10)
    folders = tmp_path / "work", tmp_path / "published", tmp_path / "keys"
    publisher = Publisher.init(*folders, "test", expiry=expiry, now=NOW)
    publisher.add(some_entries(3), "entries")
    publisher.release(now=NOW)
    root = Metadata[Root].from_bytes(publisher.root()).signed
    assert root.consistent_snapshot
    keys = [root.roles[role].keyids for role in ("root", "targets", "snapshot", "timestamp")]
    assert sorted(map(len, keys)) == [1, 1, 1, 1]
    assert len({keyids[0] for keyids in keys}) == 4
    assert {key.scheme for key in root.keys.values()} == {"ed25519"}
    metadata = tmp_path / "published" / "metadata"
    assert root.expires - NOW == timedelta(days=100)
    for role, name, days in (
        (Targets, "1.targets.json", 50),
        (Snapshot, "1.snapshot.json", 20),
        (Timestamp, "timestamp.json", 10),
    ):
        signed = Metadata[role].from_bytes((metadata / name).read_bytes()).signed  # type: ignore[valid-type]
        assert signed.expires - NOW == timedelta(days=days)


def test_the_usual_expiry(owner: Owner) -> None:
    assert owner.publisher.status().state.expiry == Expiry(365, 90, 14, 3)
    for days in (0, -1, 36_501, True, 1.5):
        with pytest.raises(UsageError, match="can't expire after"):
            Expiry(timestamp=days)  # type: ignore[arg-type]


def test_an_id_is_given_once(owner: Owner) -> None:
    owner.release(some_entries(9))
    owner.publisher.add(some_entries(3, start=9), "waiting")
    before = tree(owner.folder)
    for known in (3, 10):
        again = some_entries(1, start=known)[0]
        for entry in (again, Entry(again.id, "sha512", b"x" * 64, "A1")):
            with pytest.raises(ListFormatError, match=f"new.csv: the id 'e{known}' is in the list already"):
                owner.publisher.add([*some_entries(3, start=20), entry], "new.csv")
    assert tree(owner.folder) == before
    assert owner.publisher.status().state.waiting == 3


def test_a_faulty_file_adds_nothing(owner: Owner) -> None:
    owner.publisher.add(some_entries(3), "good")
    before = tree(owner.folder)
    csv = as_csv(some_entries(5, start=3)) + b"\nbroken"
    with pytest.raises(ListFormatError, match=r"b\.csv, line 7"):
        owner.publisher.add(CsvFormat().blocks(io.BytesIO(csv), "b.csv"), "b.csv")
    with pytest.raises(ListFormatError, match="no entries"):
        owner.publisher.add([], "empty")
    assert tree(owner.folder) == before


def test_nothing_to_release(owner: Owner) -> None:
    with pytest.raises(UsageError, match="nothing waits"):
        owner.publisher.release()
    owner.release(some_entries(3))
    with pytest.raises(UsageError, match="nothing waits"):
        owner.publisher.release()


@pytest.mark.parametrize(
    ("work", "repository", "keys"),
    [
        ("public/work", "public", "keys"),
        ("work", "public", "public/keys"),
        ("public", "public", "keys"),
        ("work", "public", "public"),
        ("work", "public", "link/keys"),
    ],
)
def test_secrets_stay_out_of_the_published_folder(
    tmp_path: Path, work: str, repository: str, keys: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "public")
    with pytest.raises(UsageError, match="within the folder to be published"):
        Publisher.init(tmp_path / work, tmp_path / repository, tmp_path / keys, "test")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_folders_in_use_are_not_begun_again(owner: Owner) -> None:
    before = tree(owner.folder)
    for fresh in range(3):
        folders = [owner.folder / name for name in ("work", "published", "keys")]
        folders[fresh] = owner.folder / "fresh"
        with pytest.raises(UsageError, match="is not empty"):
            Publisher.init(*folders, "test")
    assert tree(owner.folder) == before


def test_keys_with_a_passphrase(tmp_path: Path) -> None:
    folders = tmp_path / "work", tmp_path / "published", tmp_path / "keys"
    publisher = Publisher.init(*folders, "test", passphrase=b"right")
    publisher.add(some_entries(3), "entries")
    for wrong in (None, b"wrong"):
        with pytest.raises(UsageError, match=r"passphrase|encrypted"):
            publisher.release(passphrase=wrong)
    assert publisher.status().published is None
    assert publisher.release(passphrase=b"right").version == 1


def test_keys_of_another_list_sign_nothing(owner: Owner) -> None:
    owner.release(some_entries(3))
    before = tree(owner.repository)
    owner.publisher.add(some_entries(3, start=3), "more")
    make_online_keys(owner.folder / "keys", None)
    with pytest.raises(UsageError, match=r"keys/targets\.pem is not one of this list"):
        owner.publisher.release()
    assert owner.publisher.status().state.waiting == 3
    assert tree(owner.repository) == before


def test_a_published_folder_that_was_tampered_with_is_not_built_upon(owner: Owner) -> None:
    owner.release(some_entries(9))
    owner.publisher.add(some_entries(3, start=9), "more")
    path = owner.target("md5.0000.value.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for action in (owner.publisher.release, owner.publisher.status):
        with pytest.raises(ListTrustError, match="can't be relied on"):
            action()


def test_a_published_folder_from_an_old_backup_is_not_built_upon(owner: Owner) -> None:
    owner.release(some_entries(3))
    old = owner.copy("old")
    owner.release(some_entries(3, start=3))
    owner.repository.rename(owner.folder / "new")
    old.rename(owner.repository)
    with pytest.raises(ListTrustError, match="holds version 1, but 2 was released"):
        owner.publisher.add(some_entries(3, start=6), "more")


def test_a_list_signed_long_ago_can_be_released_anew(tmp_path: Path) -> None:
    long_ago = NOW - timedelta(days=200)
    owner = Owner.begin(tmp_path / "owner", now=long_ago)
    owner.release(some_entries(3), now=long_ago)
    owner.release(some_entries(3, start=3))
    assert len(owner.entries()) == 6


def test_other_folders_are_no_working_folders(tmp_path: Path, owner: Owner) -> None:
    with pytest.raises(UsageError, match="no publisher's working folder"):
        Publisher(tmp_path).status()
    path = owner.folder / "work" / "publisher.json"
    good = json.loads(path.read_bytes())
    for spoilt in (
        b"",
        b"[]",
        b"null",
        json.dumps(good | {"schema": 2}).encode(),
        json.dumps(good | {"pending": ["../../keys"]}).encode(),
        json.dumps(good | {"pending": [1]}).encode(),
        json.dumps(good | {"expiry_days": {"root": 0}}).encode(),
        json.dumps(good | {"released": "1"}).encode(),
        json.dumps({"schema": 1}).encode(),
    ):
        path.write_bytes(spoilt)
        with pytest.raises(OutputError):
            owner.publisher.status()


def test_one_writer_at_a_time(owner: Owner) -> None:
    with holder(owner.folder / "work" / ".lock") as process:
        with pytest.raises(LockedError):
            owner.publisher.add(some_entries(3), "entries")
        process.kill()
    owner.publisher.add(some_entries(3), "entries")
