from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Root

from hashscan.errors import ListTrustError, UsageError
from hashscan.lists.publishing.keys import read_key
from hashscan.lists.storage import trust
from hashscan.lists.storage.signed_list import read_metadata
from tests.examples import examples
from tests.lists.builders import NOW, Owner, some_entries


def verify(owner: Owner, root: bytes | None = None) -> trust.VerifiedMetadata:
    return trust.verify(root or owner.root, lambda name: read_metadata(owner.repository, name))


def rotate_root(owner: Owner, version: int) -> None:
    """Sign a further root with the same keys."""
    root = Metadata[Root].from_bytes(owner.root)
    root.signed.version = version
    root.sign(read_key(owner.folder / "keys" / "root" / "1.pem", None))
    (owner.metadata / f"{version}.root.json").write_bytes(root.to_bytes())


def test_what_was_released_is_verified(owner: Owner) -> None:
    owner.release(some_entries(9))
    owner.release(some_entries(3, start=9))
    verified = verify(owner)
    assert verified.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    # The base has the test picture's sha1, too.
    parts = {1: ("md5", "pdq", "sha1", "sha256"), 2: ("md5", "pdq", "sha256")}
    assert set(verified.targets) == {"manifest.json"} | {
        f"{part}.{algorithm}.0000.{column}.npy"
        for part, algorithms in parts.items()
        for algorithm in algorithms
        for column in ("ids", "category", "value")
    }
    assert verified.metadata_names == ("timestamp.json", "2.snapshot.json", "2.targets.json")
    assert timedelta(days=2) < verified.expires - NOW <= timedelta(days=4)
    keys = Metadata[Root].from_bytes(owner.root).signed.roles["targets"].keyids
    assert verified.key_ids == tuple(keys)


def test_targets_are_intact_only_as_signed(owner: Owner) -> None:
    owner.release(some_entries(9))
    target = verify(owner).targets["1.pdq.0000.value.npy"]
    path = owner.targets / target.file_name
    with path.open("rb") as file:
        assert target.intact(file)
    for spoilt in (path.read_bytes() + b"x", path.read_bytes()[:-1], b""):
        path.write_bytes(spoilt)
        with path.open("rb") as file:
            assert not target.intact(file)


def test_expiry_doesnt_hinder_verification_and_the_earliest_is_reported(tmp_path: Path) -> None:
    long_ago = NOW - timedelta(days=1000)
    owner = Owner.begin(tmp_path / "owner", now=long_ago)
    owner.release(some_entries(3), now=long_ago)
    assert verify(owner).expires == long_ago + timedelta(days=3)


def test_a_chain_of_roots_is_followed(owner: Owner) -> None:
    owner.release(some_entries(3))
    rotate_root(owner, 2)
    rotate_root(owner, 3)
    verified = verify(owner)
    assert verified.versions["root"] == 3
    assert verified.metadata_names[:2] == ("2.root.json", "3.root.json")


def test_a_root_of_others_in_the_chain_is_refused(owner: Owner, tmp_path: Path) -> None:
    owner.release(some_entries(3))
    other = Owner.begin(tmp_path / "other")
    rotate_root(other, 2)
    (owner.metadata / "2.root.json").write_bytes((other.metadata / "2.root.json").read_bytes())
    with pytest.raises(ListTrustError, match="signatures don't hold"):
        verify(owner)


def test_a_root_that_skips_a_version_is_refused(owner: Owner) -> None:
    owner.release(some_entries(3))
    rotate_root(owner, 3)
    (owner.metadata / "3.root.json").rename(owner.metadata / "2.root.json")
    with pytest.raises(ListTrustError, match="expected version 2 of root"):
        verify(owner)


def test_another_root_is_refused(owner: Owner, tmp_path: Path) -> None:
    owner.release(some_entries(3))
    with pytest.raises(ListTrustError, match="signatures don't hold"):
        verify(owner, Owner.begin(tmp_path / "other").root)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_missing_file_is_refused(owner: Owner, name: str) -> None:
    owner.release(some_entries(3))
    (owner.metadata / name).unlink()
    with pytest.raises(ListTrustError, match=f"{name} is missing"):
        verify(owner)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match_is_refused(owner: Owner, role: str) -> None:
    owner.release(some_entries(3))
    owner.release(some_entries(3, start=3))
    (owner.metadata / f"1.{role}.json").replace(owner.metadata / f"2.{role}.json")
    with pytest.raises(ListTrustError, match="signatures don't hold"):
        verify(owner)


@given(data=st.data())
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(120)
)
def test_any_change_of_any_byte_is_refused_with_the_one_kind_of_error(
    owner: Owner, data: st.DataObject
) -> None:
    if not (owner.metadata / "timestamp.json").exists():
        owner.release(some_entries(3))
        rotate_root(owner, 2)
    name = data.draw(st.sampled_from(["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]))
    good = (owner.metadata / name).read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] = data.draw(st.integers(0, 255))
    try:
        verified = trust.verify(
            owner.root, lambda file: bytes(bad) if file == name else read_metadata(owner.repository, file)
        )
    except ListTrustError:
        return
    # Only spelling may have changed: a hex digit of a signature from 'a' to 'A', say.
    assert json.loads(bytes(bad).lower()) == json.loads(good.lower())
    assert verified.versions["targets"] == 1


@given(
    changed=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    data=st.data(),
)
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150)
)
def test_metadata_of_any_shape_is_refused_with_the_one_kind_of_error(
    owner: Owner, changed: object, data: st.DataObject
) -> None:
    if not (owner.metadata / "timestamp.json").exists():
        owner.release(some_entries(3))
        rotate_root(owner, 2)
    name = data.draw(st.sampled_from(["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]))
    good = (owner.metadata / name).read_bytes()
    document = json.loads(good)
    part = document
    while True:
        key = data.draw(st.sampled_from(range(len(part)) if isinstance(part, list) else sorted(part)))
        if not isinstance(part[key], (dict, list)) or not part[key] or data.draw(st.booleans()):
            break
        part = part[key]
    if part[key] == changed:
        return
    part[key] = changed
    bad = json.dumps(document).encode()
    try:
        trust.verify(owner.root, lambda file: bad if file == name else read_metadata(owner.repository, file))
    except ListTrustError:
        return
    # What tuf takes for granted may be left out: it reads, and checks signatures of, the same as before.
    assert Metadata.from_bytes(bad).signed == Metadata.from_bytes(good).signed


def test_a_root_file_must_be_a_root_that_signed_itself(owner: Owner) -> None:
    owner.release(some_entries(3))
    trust.check_root(owner.root)
    with pytest.raises(UsageError, match="no TUF metadata"):
        trust.check_root(b"<html>")
    with pytest.raises(UsageError, match="another role"):
        trust.check_root((owner.metadata / "timestamp.json").read_bytes())
    document = json.loads(owner.root)
    document["signed"]["version"] = 7
    with pytest.raises(ListTrustError, match="own signatures don't hold"):
        trust.check_root(json.dumps(document).encode())
    document["signed"]["consistent_snapshot"] = False
    with pytest.raises(UsageError, match="consistent snapshots"):
        trust.check_root(json.dumps(document).encode())


@pytest.mark.integration
def test_verification_needs_no_cryptography_package(owner: Owner) -> None:
    owner.release(some_entries(3))
    code = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from hashscan.lists.storage import trust
from hashscan.lists.storage.signed_list import read_metadata
folder = Path(sys.argv[1])
root = (folder / "metadata" / "1.root.json").read_bytes()
print(trust.verify(root, lambda name: read_metadata(folder, name)).versions["targets"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(owner.repository)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
