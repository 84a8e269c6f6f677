from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.publishing.keys import Passphrases, retire
from hashscan.lists.publishing.root_keys import RootKey, check_threshold, load_root_keys, make_root_keys


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
    words = str(caught.value)
    # A copy of a key is no second key.
    assert "must be signed by 3 of its keys, 2 were found" in words
    assert f"the key {foreign[0].path} is not one of this root's" in words
    assert f"{locked[0].path} is encrypted" in words
    assert f"there is no folder {tmp_path / 'gone'}" in words
    assert "--root-keys" in caught.value.remedy


@pytest.mark.parametrize(("count", "threshold"), [(0, 0), (1, 0), (2, 3), (101, 1), (-1, -1)])
def test_thresholds_that_cant_be_met(count: int, threshold: int) -> None:
    with pytest.raises(UsageError, match="can't have"):
        check_threshold(count, threshold)
    check_threshold(3, 2)
