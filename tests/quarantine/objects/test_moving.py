"""Objects are moved whole and put back as they were, and what took their place is left alone."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import UsageError
from hashscan.model import Reason
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import ObjectIdentity, Outcome, QuarantineRequest, QuarantineSkipped
from hashscan.quarantine.items import State
from hashscan.quarantine.moving import move
from hashscan.quarantine.object_stores import Stores
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.retention import destroy
from hashscan.quarantine.store import Quarantine
from hashscan.registry import SOURCES
from hashscan.sources.base import FileError
from hashscan.sources.objects import receiver as tries
from hashscan.sources.objects.s3.changeable import ChangeableS3Store
from hashscan.sources.objects.store import RetryableError
from hashscan.state_dir import StateDir
from tests.quarantine.objects.conftest import WAYS
from tests.quarantine.rooms import TERMS
from tests.quarantine.vault import Vault
from tests.sources.objects.buckets import SECRET

ODD = [b"a//b", b"x/../y", b"/lead.jpg", b"percent%2Fb ?#&=+", "ümläut/€".encode(), b"k" * 1000]


@pytest.mark.parametrize("vault", WAYS, indirect=True)
@pytest.mark.parametrize("key", [b"a.jpg", ODD[0]])
def test_moved_and_put_back(vault: Vault, key: bytes) -> None:
    (answer,) = vault.take(vault.put(key))
    assert answer.outcome is Outcome.DONE, answer.detail
    assert answer.detail == ""
    assert vault.in_order(key) == "kept"
    (item,) = vault.items()
    assert item.record["object"]["properties"]["Metadata"] == {"who": "me"}
    assert item.owners == (vault.bucket.url.decode(),)
    assert item.latest["compared"] is True
    vault.give_back()
    assert vault.in_order(key) == "there"
    assert SECRET not in (vault.state / "quarantine" / "log.jsonl").read_text()


def test_odd_keys_at_once(vault: Vault) -> None:
    results = vault.take(*(vault.put(key) for key in ODD))
    assert [answer.outcome for answer in results] == [Outcome.DONE] * len(ODD)
    assert vault.bucket.listed() == []
    vault.give_back()
    assert sorted(vault.bucket.listed()) == sorted(ODD)
    for key in ODD:
        vault.is_there(key)


@pytest.mark.parametrize("vault", ["folder"], indirect=True)
def test_a_copy_in_a_folder_is_sealed(vault: Vault) -> None:
    vault.take(vault.put(b"key"))
    (item,) = vault.items()
    status = (Path(os.fsdecode(item.place)) / item.id).stat()
    assert stat.S_IMODE(status.st_mode) == (0 if os.geteuid() == 0 else 0o400)


@pytest.mark.parametrize("vault", ["folder", "bucket"], indirect=True)
def test_one_too_large_stays_and_the_others_are_moved(vault: Vault) -> None:
    large, small = vault.put(b"large", b"x" * (1 << 20)), vault.put(b"small")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        results = vault.take(large, small)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [answer.outcome for answer in results] == [Outcome.REFUSED, Outcome.DONE]
    assert "--quarantine-dir" in results[0].detail
    assert vault.bucket.listed() == [b"large"]
    assert vault.mended() == vault.verified() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small filesystem")
@pytest.mark.parametrize("vault", ["folder"], indirect=True)
def test_space_for_the_download_but_not_for_the_copy(vault: Vault) -> None:
    vault.state.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", vault.state]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        results = vault.take(vault.put(b"large", b"x" * (2 << 20)), vault.put(b"small"))
        assert [answer.outcome for answer in results] == [Outcome.REFUSED, Outcome.DONE]
        assert vault.bucket.listed() == [b"large"]
        assert [item.state for item in vault.items()] == [State.LEFT, State.MOVED]
        assert vault.copies() == [vault.items()[1].id]
        assert vault.mended() == vault.verified() == []
    finally:
        subprocess.run(["umount", vault.state], check=True)


def test_another_was_stored_since_the_scan(vault: Vault) -> None:
    request = vault.put(b"key")
    vault.bucket.put(b"key", b"another")
    (answer,) = vault.take(request)
    assert answer.outcome is Outcome.RACED
    assert vault.bucket.client.get_object(Bucket=vault.bucket.name, Key="key")["Body"].read() == b"another"
    assert vault.items() == []


def test_what_is_gone(vault: Vault) -> None:
    request = vault.put(b"key")
    vault.bucket.remove(b"key")
    (answer,) = vault.take(request)
    assert answer.outcome is Outcome.GONE


def test_not_what_was_found(vault: Vault) -> None:
    vault.put(b"key")
    (answer,) = vault.take(QuarantineRequest(vault.url(b"key"), {}, sha256="0" * 64))
    assert answer.outcome is Outcome.CHANGED
    assert vault.in_order(b"key") == "there"


@pytest.mark.parametrize("vault", WAYS, indirect=True)
def test_another_is_stored_before_it_is_deleted(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    request = vault.put(b"key")
    old = vault.bucket.client.head_object(Bucket=vault.bucket.name, Key="key").get("VersionId")
    _before_delete(monkeypatch, vault.bucket.name, lambda: vault.bucket.put(b"key", b"another"))
    (answer,) = vault.take(request)
    assert vault.bucket.client.get_object(Bucket=vault.bucket.name, Key="key")["Body"].read() == b"another"
    (item,) = vault.items()
    if old is None:
        assert answer.outcome is Outcome.RACED
        assert item.state is State.LEFT
        assert vault.copies() == []
    else:
        # The version that was found is still to be had, until it is deleted.
        assert answer.outcome is Outcome.DONE
        versions = vault.bucket.client.list_object_versions(Bucket=vault.bucket.name)["Versions"]
        assert old not in {version["VersionId"] for version in versions}
    assert vault.verified() == []


def _before_delete(monkeypatch: pytest.MonkeyPatch, bucket: str, do: Callable[[], object]) -> None:
    plain = ChangeableS3Store.delete

    def delete(self: ChangeableS3Store, item: Any) -> bool:
        if self._bucket == bucket:
            do()
        return plain(self, item)

    monkeypatch.setattr(ChangeableS3Store, "delete", delete)


def test_no_right_to_delete(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise FileError(Reason.PERMISSION, "it needs s3:DeleteObject")

    request = vault.put(b"key")
    _before_delete(monkeypatch, vault.bucket.name, refuse)
    (answer,) = vault.take(request)
    assert (answer.outcome, "s3:DeleteObject" in answer.detail) == (Outcome.REFUSED, True)
    assert vault.in_order(b"key") == "there"


@pytest.mark.parametrize("vault", ["versioned, folder"], indirect=True)
def test_one_version_of_many(vault: Vault) -> None:
    vault.bucket.put(b"key", b"older")
    vault.put(b"key")
    found = vault.bucket.client.head_object(Bucket=vault.bucket.name, Key="key")
    vault.bucket.put(b"key", b"newer")
    identity = ObjectIdentity(found["ETag"], found["VersionId"])
    (answer,) = vault.take(QuarantineRequest(vault.url(b"key"), {}, identity=identity))
    assert answer.outcome is Outcome.DONE
    bodies = [
        vault.bucket.client.get_object(Bucket=vault.bucket.name, Key="key", VersionId=one["VersionId"])
        for one in vault.bucket.client.list_object_versions(Bucket=vault.bucket.name)["Versions"]
    ]
    assert sorted(body["Body"].read() for body in bodies) == [b"newer", b"older"]


@pytest.mark.parametrize("vault", WAYS, indirect=True)
def test_a_key_that_is_taken_is_not_replaced(vault: Vault) -> None:
    vault.take(vault.put(b"key"))
    vault.bucket.put(b"key", b"another")
    with pytest.raises(QuarantineSkipped, match="taken"):
        vault.give_back()
    (item,) = vault.items()
    assert item.state is State.STAYS
    assert vault.copies() == [item.id]
    vault.bucket.remove(b"key")
    vault.give_back()
    assert vault.in_order(b"key") == "there"


@pytest.mark.parametrize("vault", WAYS, indirect=True)
def test_released(vault: Vault) -> None:
    vault.take(vault.put(b"key"))
    with vault.quarantine() as quarantine:
        (item,) = quarantine.items().values()
        with pytest.raises(QuarantineSkipped, match="must be kept until"):
            destroy(quarantine, item, None, override=False)
        destroy(quarantine, item, "an order", override=True)
    assert vault.copies() == []
    assert [item.state for item in vault.items()] == [State.RELEASED]
    if vault.keep is not None:
        versions = vault.keep.client.list_object_versions(Bucket=vault.keep.name)
        assert not versions.get("Versions")
        assert not versions.get("DeleteMarkers")


@pytest.mark.parametrize("vault", WAYS, indirect=True)
def test_an_altered_copy_is_found_out(vault: Vault) -> None:
    vault.take(vault.put(b"key"))
    (item,) = vault.items()
    if vault.keep is None:
        path = Path(os.fsdecode(item.place)) / item.id
        path.chmod(0o600)
        path.write_bytes(b"altered")
        path.chmod(0o400)
    else:
        (key,) = vault.keep.listed()
        vault.keep.remove(key)
        vault.keep.put(key, b"altered")
    if vault.keep is not None and vault.keep.put(b"other", b"").get("VersionId"):
        # The version that was kept is there still.
        assert vault.verified() == []
        return
    assert len(vault.verified()) == 1
    with pytest.raises(QuarantineSkipped):
        vault.give_back()
    assert vault.bucket.listed() == []


def test_web_addresses_are_refused(vault: Vault) -> None:
    (answer,) = vault.take(QuarantineRequest(b"https://host/a.jpg?secret", {"reason": "a test"}))
    assert answer.outcome is Outcome.REFUSED
    assert "can't be moved: remove it on its server" in answer.detail
    assert "secret" not in answer.detail


def test_evidence_in_its_own_bucket_is_refused(vault: Vault) -> None:
    request = vault.put(b"key")
    own = Stores(SOURCES, vault.bucket.access.endpoint, vault.bucket.url.decode())
    with Quarantine(StateDir(vault.state), stores=own) as quarantine:
        (answer,) = move(quarantine, [request], TERMS)
    assert (answer.outcome, "another bucket" in answer.detail) == (Outcome.REFUSED, True)
    assert vault.in_order(b"key") == "there"


@pytest.mark.parametrize("key", [b"", b"\xff"])
def test_keys_that_can_be_none(vault: Vault, key: bytes) -> None:
    (answer,) = vault.take(QuarantineRequest(vault.url(key), {"reason": "a test"}))
    assert answer.outcome is Outcome.REFUSED


@pytest.mark.parametrize("place", ["https://host/x", "s3://", "nothing://x", "s3://a@b/c"])
def test_places_that_can_be_none(place: str) -> None:
    with pytest.raises(UsageError, match="can't be kept there"):
        Stores(SOURCES, None, place)


def test_an_endpoint_with_a_password() -> None:
    with pytest.raises(UsageError, match="credentials"):
        Stores(SOURCES, "https://me:secret@host")


@pytest.mark.parametrize("vault", ["folder", "bucket"], indirect=True)
def test_a_full_disk_leaves_an_object_where_it_is(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    request = vault.put(b"key")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with vault.quarantine() as quarantine:
        monkeypatch.setattr(system, "write", full)
        (answer,) = move(quarantine, [request], TERMS)
        monkeypatch.undo()
    assert answer.outcome is Outcome.REFUSED
    assert vault.in_order(b"key") == "there"


def test_restored_twice(vault: Vault) -> None:
    vault.take(vault.put(b"key"))
    vault.give_back()
    with vault.quarantine() as quarantine, pytest.raises(QuarantineSkipped, match="not in quarantine"):
        restore(quarantine, quarantine.items().popitem()[1])


def _after(
    monkeypatch: pytest.MonkeyPatch, bucket: str, method: str, tries: int, *, done: bool = True
) -> list[int]:
    """Have answers of the service lost: so many, what they say being done or not; how many are left."""
    plain, left = getattr(ChangeableS3Store, method), [tries]

    def losing(self: ChangeableS3Store, *arguments: Any) -> Any:
        if self._bucket != bucket or not left[0]:
            return plain(self, *arguments)
        left[0] -= 1
        if done:
            plain(self, *arguments)
        raise RetryableError("the answer was lost")

    monkeypatch.setattr(ChangeableS3Store, method, losing)
    return left


@pytest.mark.parametrize("vault", WAYS, indirect=True)
def test_the_answer_to_a_deletion_is_lost(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    request = vault.put(b"key")
    _after(monkeypatch, vault.bucket.name, "delete", 1)
    (answer,) = vault.take(request)
    assert answer.outcome is Outcome.DONE
    assert vault.in_order(b"key") == "kept"
    vault.give_back()
    assert vault.in_order(b"key") == "there"


def test_another_is_stored_while_the_answer_to_a_deletion_is_lost(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = vault.put(b"key")
    plain = ChangeableS3Store.delete
    begun = []

    def delete(self: ChangeableS3Store, item: Any) -> bool:
        if self._bucket != vault.bucket.name or begun:
            return plain(self, item)
        begun.append(plain(self, item))
        vault.bucket.put(b"key", b"another")
        raise RetryableError("the answer was lost")

    monkeypatch.setattr(ChangeableS3Store, "delete", delete)
    (answer,) = vault.take(request)
    assert answer.outcome is Outcome.DONE
    assert len(vault.copies()) == 1
    assert vault.verified() == []
    assert vault.bucket.client.get_object(Bucket=vault.bucket.name, Key="key")["Body"].read() == b"another"


@pytest.mark.parametrize("done", [True, False])
def test_all_answers_to_a_deletion_are_lost(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, *, done: bool
) -> None:
    request = vault.put(b"key")
    with monkeypatch.context() as patch:
        _after(patch, vault.bucket.name, "delete", tries.TRIES, done=done)
        if done:
            # It fails over what isn't there from the second time on, so the one that deletes comes last.
            patch.setattr(tries, "TRIES", 1)
        (answer,) = vault.take(request)
    assert answer.outcome is (Outcome.DONE if done else Outcome.REFUSED)
    assert vault.in_order(b"key") == ("kept" if done else "there")


@pytest.mark.parametrize("vault", ["folder", "bucket"], indirect=True)
def test_a_store_falls_silent_as_it_deletes(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    request = vault.put(b"key")
    plain = ChangeableS3Store.describe
    with monkeypatch.context() as patch:
        deleting = _after(patch, vault.bucket.name, "delete", 1)
        patch.setattr(tries, "TRIES", 1)

        def describe(self: ChangeableS3Store, item: Any) -> Any:
            if not deleting[0] and self._bucket == vault.bucket.name:
                raise RetryableError("nobody answers")
            return plain(self, item)

        patch.setattr(ChangeableS3Store, "describe", describe)
        (answer,) = vault.take(request)
        assert (answer.outcome, "--repair" in answer.detail) == (Outcome.REFUSED, True)
        assert "can't be finished" in vault.mended()[0]
        assert len(vault.copies()) == 1
    assert vault.in_order(b"key") == "kept"


@pytest.mark.parametrize("vault", WAYS, indirect=True)
def test_what_was_put_back_can_not_be_read_again(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.take(vault.put(b"key"))
    plain = ChangeableS3Store.describe

    def describe(self: ChangeableS3Store, item: Any) -> Any:
        if self._bucket == vault.bucket.name:
            raise FileError(Reason.PERMISSION, "it needs s3:GetObject")
        return plain(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(ChangeableS3Store, "describe", describe)
        with pytest.raises(QuarantineSkipped, match="s3:GetObject"):
            vault.give_back()
    assert vault.in_order(b"key") == "kept"


@pytest.mark.parametrize("number", [1, tries.TRIES])
def test_the_answer_to_storing_is_lost(vault: Vault, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    vault.take(vault.put(b"key"))
    with monkeypatch.context() as patch:
        _after(patch, vault.bucket.name, "create", number)
        patch.setattr(tries, "TRIES", number + (number == 1))
        vault.give_back()
    assert vault.in_order(b"key") == "there"


def test_a_store_falls_silent_as_it_stores(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.take(vault.put(b"key"))
    plain = ChangeableS3Store.describe
    with monkeypatch.context() as patch:
        storing = _after(patch, vault.bucket.name, "create", 1)
        patch.setattr(tries, "TRIES", 1)

        def describe(self: ChangeableS3Store, item: Any) -> Any:
            if not storing[0] and self._bucket == vault.bucket.name:
                raise RetryableError("nobody answers")
            return plain(self, item)

        patch.setattr(ChangeableS3Store, "describe", describe)
        with pytest.raises(QuarantineSkipped, match="--repair"):
            vault.give_back()
    assert [item.state for item in vault.items()] == [State.RESTORING]
    assert vault.in_order(b"key") == "there"
