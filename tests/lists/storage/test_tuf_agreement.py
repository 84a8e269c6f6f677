"""`trust` accepts just the lists that tuf's client accepts, and tuf is a release for which this was
compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from hashscan.errors import ListTrustError
from hashscan.lists.publishing.keys import load_key, read_key
from hashscan.lists.storage import trust
from hashscan.lists.storage.tuf_api import CryptoSigner, Metadata
from tests.lists.builders import Owner, some_entries

FILES = ("2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json")
ROLES = ("root", "timestamp", "snapshot", "targets")
Change = Callable[[Metadata], None]


def test_tuf_is_of_a_compared_major_version() -> None:
    """Read the notes of a new one, run the tests of lists with it, then raise both bounds."""
    assert version("tuf").split(".")[0] == "7"


def key(owner: Owner, role: str) -> CryptoSigner:
    """Return the key of a role."""
    if role == "root":
        return read_key(owner.folder / "keys/root/1.pem", None)
    return load_key(owner.folder / "keys", role, None)


def by_tuf(root: bytes, files: dict[str, bytes]) -> bool:
    """Return whether tuf's own class accepts metadata, as if no time passed."""
    try:
        trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
        trusted.reference_time = datetime.min.replace(tzinfo=UTC)
        trusted.update_root(files["2.root.json"])
        trusted.update_timestamp(files["timestamp.json"])
        trusted.update_snapshot(files["1.snapshot.json"])
        trusted.update_targets(files["1.targets.json"])
    except RepositoryError:
        return False
    return True


def by_us(root: bytes, files: dict[str, bytes]) -> bool:
    """Return whether `trust` accepts metadata."""
    try:
        trust.verify(root, files.get)
    except ListTrustError:
        return False
    return True


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Owner, dict[str, bytes]]:
    """Return a list with two roots."""
    owner = Owner.begin(tmp_path_factory.mktemp("list") / "owner")
    owner.release(some_entries(3))
    root = Metadata.from_bytes(owner.root)
    root.signed.version = 2
    root.sign(read_key(owner.folder / "keys/root/1.pem", None))
    (owner.metadata / "2.root.json").write_bytes(root.to_bytes())
    return owner, {name: (owner.metadata / name).read_bytes() for name in FILES}


def _version(metadata: Metadata) -> None:
    metadata.signed.version += 1


def _expiry(metadata: Metadata) -> None:
    metadata.signed.expires = datetime(2000, 1, 1, tzinfo=UTC)


def _field(metadata: Metadata) -> None:
    metadata.signed.unrecognized_fields["more"] = 1


def _none(metadata: Metadata) -> None:
    """Change nothing: sign the same again."""


@pytest.mark.parametrize("signer", [None, *ROLES])
@pytest.mark.parametrize("change", [_none, _version, _expiry, _field])
@pytest.mark.parametrize("name", FILES)
def test_changed_metadata_is_accepted_or_refused_alike(
    published: tuple[Owner, dict[str, bytes]], name: str, change: Change, signer: str | None
) -> None:
    owner, files = published
    metadata = Metadata.from_bytes(files[name])
    change(metadata)
    if signer is not None:
        metadata.sign(key(owner, signer))
    changed = files | {name: metadata.to_bytes()}
    assert by_us(owner.root, changed) == by_tuf(owner.root, changed)
    assert by_us(owner.root, files)


@pytest.mark.parametrize("change", [_none, _version, _expiry, _field])
@pytest.mark.parametrize("name", FILES[2:])
def test_without_hashes_the_version_is_compared(
    published: tuple[Owner, dict[str, bytes]], name: str, change: Change
) -> None:
    owner, files = published
    changed = dict(files)
    for each in FILES[1:]:
        metadata = Metadata.from_bytes(files[each])
        role = metadata.signed.type
        named = {"timestamp": "snapshot_meta", "snapshot": "meta"}.get(role)
        found = getattr(metadata.signed, named) if named else {}
        for one in found.values() if isinstance(found, dict) else [found]:
            one.length, one.hashes = None, None
        if each == name:
            change(metadata)
        metadata.sign(key(owner, role))
        changed[each] = metadata.to_bytes()
    assert by_us(owner.root, changed) == by_tuf(owner.root, changed) == (change is not _version)


@pytest.mark.parametrize("other", FILES)
@pytest.mark.parametrize("name", FILES)
def test_metadata_of_another_role_is_accepted_or_refused_alike(
    published: tuple[Owner, dict[str, bytes]], name: str, other: str
) -> None:
    owner, files = published
    changed = files | {name: files[other]}
    assert by_us(owner.root, changed) == by_tuf(owner.root, changed) == (name == other)


@pytest.mark.parametrize("missing", ["old", "new"])
def test_a_root_needs_the_keys_of_both_roots(
    published: tuple[Owner, dict[str, bytes]], tmp_path: Path, missing: str
) -> None:
    owner, files = published
    other = Owner.begin(tmp_path / "other")
    document = json.loads(owner.root)["signed"]
    theirs = json.loads(other.root)["signed"]
    document["version"] = 2
    document["keys"] |= theirs["keys"]
    document["roles"]["root"] = theirs["roles"]["root"]
    keys = {"old": owner, "new": other}
    for left_out, accepted in ((missing, False), (None, True)):
        metadata = Metadata.from_bytes(json.dumps({"signed": document, "signatures": []}).encode())
        for which, owned in keys.items():
            if which != left_out:
                metadata.sign(read_key(owned.folder / "keys/root/1.pem", None), append=True)
        changed = files | {"2.root.json": metadata.to_bytes()}
        assert by_us(owner.root, changed) == by_tuf(owner.root, changed) == accepted
