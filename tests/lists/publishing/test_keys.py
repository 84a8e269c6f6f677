"""Tests of lists.publishing.keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.publishing.keys import (
    ONLINE_ROLES,
    Passphrases,
    RootKey,
    check_threshold,
    load_key,
    load_root_keys,
    make_online_keys,
    make_root_keys,
    new_key,
    online_path,
    open_key,
    read_key,
    retire,
)


@pytest.mark.parametrize("passphrase", [None, "päss".encode()])
def test_keys_are_kept_private_and_come_back(tmp_path: Path, passphrase: bytes | None) -> None:
    made = make_online_keys(tmp_path, passphrase)
    assert {path.name for path in tmp_path.iterdir()} == {f"{role}.pem" for role in ONLINE_ROLES}
    assert len({signer.public_key.keyid for signer in made.values()}) == len(ONLINE_ROLES)
    for role in ONLINE_ROLES:
        path = tmp_path / f"{role}.pem"
        assert path.stat().st_mode & 0o777 == 0o600
        begin = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" if passphrase else b"-----BEGIN PRIVATE KEY-----"
        assert path.read_bytes().startswith(begin)
        assert load_key(tmp_path, role, passphrase).public_key == made[role].public_key


@pytest.mark.parametrize(
    ("made_with", "given", "message"),
    [
        (b"right", b"wrong", "wrong passphrase"),
        (b"right", None, "is encrypted"),
        (b"right", b"", "is encrypted"),
        (None, b"any", "is not encrypted"),
    ],
)
def test_a_wrong_passphrase_is_a_usage_error(
    tmp_path: Path, made_with: bytes | None, given: bytes | None, message: str
) -> None:
    make_online_keys(tmp_path, made_with)
    with pytest.raises(UsageError, match=message):
        load_key(tmp_path, "targets", given)


def test_keys_that_cant_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key"):
        load_key(tmp_path, "targets", None)
    make_online_keys(tmp_path, None)
    path = tmp_path / "targets.pem"
    path.chmod(0o620)
    with pytest.raises(UsageError, match="others than its owner"):
        load_key(tmp_path, "targets", None)
    path.chmod(0o600)
    path.write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="no PEM file"):
        load_key(tmp_path, "targets", None)


def test_of_several_keys_the_newest_that_is_trusted_is_loaded(tmp_path: Path) -> None:
    old = make_online_keys(tmp_path, None)["targets"].public_key.keyid
    new = new_key(online_path(tmp_path, "targets", 3), None).public_key.keyid
    newest = new_key(online_path(tmp_path, "targets", 12), None).public_key.keyid
    assert load_key(tmp_path, "targets", None).public_key.keyid == newest
    assert load_key(tmp_path, "targets", None, [new, old]).public_key.keyid == new
    assert load_key(tmp_path, "targets", None, [old]).public_key.keyid == old
    with pytest.raises(UsageError, match=r"targets-12\.pem is not one of this list"):
        load_key(tmp_path, "targets", None, ["another"])


def test_one_of_several_passphrases_opens_a_key(tmp_path: Path) -> None:
    made = new_key(tmp_path / "1.pem", b"second")
    asked: list[Path] = []

    def ask(path: Path) -> bytes:
        asked.append(path)
        return b"second"

    for passphrases in (Passphrases((b"first", b"second")), Passphrases((b"first",), ask)):
        signer, passphrase = open_key(tmp_path / "1.pem", passphrases)
        assert (signer.public_key, passphrase) == (made.public_key, b"second")
    assert asked == [tmp_path / "1.pem"]
    for poor in (Passphrases(), Passphrases((b"first",)), Passphrases((), lambda path: b"third")):
        with pytest.raises(UsageError, match=r"passphrase|encrypted"):
            open_key(tmp_path / "1.pem", poor)
    new_key(tmp_path / "2.pem", None)
    assert open_key(tmp_path / "2.pem", Passphrases((b"first",), ask))[1] is None
    os.mkfifo(tmp_path / "3.pem", 0o600)
    with pytest.raises(UsageError, match="is not a regular file"):
        open_key(tmp_path / "3.pem", Passphrases())


def test_retired_keys_are_kept(tmp_path: Path) -> None:
    made = new_key(tmp_path / "1.pem", None)
    (place,) = retire([tmp_path / "1.pem"])
    assert place == tmp_path / "retired" / "1.pem"
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert read_key(place, None).public_key == made.public_key
    assert not (tmp_path / "1.pem").exists()


def test_without_cryptography_the_extra_is_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from hashscan.errors import UsageError
from hashscan.lists.publishing.publisher import Publisher
folder = Path(sys.argv[1])
try:
    Publisher.init(folder / "work", folder / "published", folder / "keys", "test")
except UsageError as error:
    print(error, error.remedy)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "pip install 'hashscan[publish]'" in done.stdout


def ids(keys: list[RootKey]) -> set[str]:
    return {key.signer.public_key.keyid for key in keys}


def test_keys_are_spread_over_folders_and_numbered_on(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    made = make_root_keys([one, other], 3, {other: b"theirs"}, b"ours")
    assert [key.path for key in made] == [one / "1.pem", other / "1.pem", one / "2.pem"]
    assert [key.passphrase for key in made] == [b"ours", b"theirs", b"ours"]
    assert all(key.path.stat().st_mode & 0o777 == 0o600 for key in made)
    retire([one / "2.pem"])
    (later,) = make_root_keys([one], 1, {}, None)
    assert later.path == one / "3.pem"


def test_as_many_as_must_sign_are_loaded(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    made = make_root_keys([one, other], 3, {other: b"theirs"}, b"ours")
    passphrases = Passphrases((b"ours", b"theirs"))
    assert len(load_root_keys([one], ids(made), 2, passphrases)) == 2
    assert ids(load_root_keys([one, other], ids(made), 3, passphrases)) == ids(made)
    loaded = load_root_keys([other], ids(made), 1, passphrases)
    assert [(key.path, key.passphrase) for key in loaded] == [(other / "1.pem", b"theirs")]


def test_what_a_person_typed_is_tried_on_the_other_keys(tmp_path: Path) -> None:
    made = make_root_keys([tmp_path], 3, {}, b"ours")
    asked: list[Path] = []

    def ask(path: Path) -> bytes:
        asked.append(path)
        return b"ours"

    assert ids(load_root_keys([tmp_path], ids(made), 3, Passphrases((), ask))) == ids(made)
    assert len(asked) == 1


def test_too_few_keys_and_what_hindered_each(tmp_path: Path) -> None:
    made = make_root_keys([tmp_path / "one"], 2, {}, None)
    copy = tmp_path / "copy" / "9.pem"
    copy.parent.mkdir()
    copy.write_bytes(made[0].path.read_bytes())
    copy.chmod(0o600)
    foreign = make_root_keys([tmp_path / "copy"], 1, {}, None)
    locked = make_root_keys([tmp_path / "locked"], 1, {}, b"other")
    folders = [tmp_path / name for name in ("one", "copy", "locked", "gone")]
    with pytest.raises(UsageError) as caught:
        load_root_keys(folders, ids([*made, *locked]), 3, Passphrases((b"wrong",)))
    message = str(caught.value)
    # A copy of a key is no second key.
    assert "must be signed by 3 of its keys, 2 were found" in message
    assert f"the key {foreign[0].path} is not one of this root's" in message
    assert f"{locked[0].path} is encrypted" in message
    assert f"there is no folder {tmp_path / 'gone'}" in message
    assert "--root-keys" in caught.value.remedy


@pytest.mark.parametrize(("count", "threshold"), [(0, 0), (1, 0), (2, 3), (101, 1), (-1, -1)])
def test_thresholds_that_cant_be_met(count: int, threshold: int) -> None:
    with pytest.raises(UsageError, match="can't have"):
        check_threshold(count, threshold)
    check_threshold(3, 2)
