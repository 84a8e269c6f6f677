from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.errors import UsageError
from hashscan.lists.keys import ROLES, load_key, make_keys


@pytest.mark.parametrize("passphrase", [None, "päss".encode()])
def test_keys_are_kept_private_and_come_back(tmp_path: Path, passphrase: bytes | None) -> None:
    made = make_keys(tmp_path, passphrase)
    assert {path.name for path in tmp_path.iterdir()} == {f"{role}.pem" for role in ROLES}
    assert len({signer.public_key.keyid for signer in made.values()}) == len(ROLES)
    for role in ROLES:
        path = tmp_path / f"{role}.pem"
        assert path.stat().st_mode & 0o777 == 0o600
        begin = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" if passphrase else b"-----BEGIN PRIVATE KEY-----"
        assert path.read_bytes().startswith(begin)
        assert load_key(tmp_path, role, passphrase).public_key == made[role].public_key


@pytest.mark.parametrize(
    ("made_with", "given", "words"),
    [
        (b"right", b"wrong", "wrong passphrase"),
        (b"right", None, "is encrypted"),
        (b"right", b"", "is encrypted"),
        (None, b"any", "is not encrypted"),
    ],
)
def test_a_wrong_passphrase_is_a_usage_error(
    tmp_path: Path, made_with: bytes | None, given: bytes | None, words: str
) -> None:
    make_keys(tmp_path, made_with)
    with pytest.raises(UsageError, match=words):
        load_key(tmp_path, "targets", given)


def test_keys_that_cant_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key"):
        load_key(tmp_path, "targets", None)
    make_keys(tmp_path, None)
    path = tmp_path / "targets.pem"
    path.chmod(0o640)
    with pytest.raises(UsageError, match="others than its owner"):
        load_key(tmp_path, "targets", None)
    path.chmod(0o600)
    path.write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="no PEM file"):
        load_key(tmp_path, "targets", None)


def test_without_cryptography_the_extra_is_named(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from hashscan.errors import UsageError
from hashscan.lists.publisher import Publisher
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
