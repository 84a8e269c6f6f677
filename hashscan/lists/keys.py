"""The list owner's signing keys: made, kept in a folder of their own, and loaded to sign."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hashscan.errors import UsageError
from hashscan.lists.durable import PRIVATE_FILE, replace_file

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROLES = ("root", "targets", "snapshot", "timestamp")
"""Each role has a key of its own, so that the ones in daily use can't sign a new root."""


def make_keys(folder: Path, passphrase: bytes | None) -> dict[str, CryptoSigner]:
    """Make one ed25519 key a role.

    Args:
        folder: gets `ROLE.pem` files (PKCS#8), readable by this user alone.
        passphrase: encrypts the files; None leaves them readable to whoever has them.

    Raises:
        UsageError: the `publish` extra isn't installed.
        OSError: they can't be written.
    """
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import CryptoSigner

    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    signers = {}
    for role in ROLES:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        replace_file(_path(folder, role), pem, PRIVATE_FILE)
        signers[role] = CryptoSigner(key)
    return signers


def load_key(folder: Path, role: str, passphrase: bytes | None) -> CryptoSigner:
    """The key of one role.

    Raises:
        UsageError: it isn't there, others may read it, or the passphrase is wrong or missing.
        OSError: it can't be read.
    """
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import CryptoSigner

    path = _path(folder, role)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read()
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no key {path}", advice="Name the folder the keys were made in."
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"others than its owner may read or write the key {path}",
            advice=f"If it can still be trusted: chmod 600 {path}",
        )
    try:
        key = serialization.load_pem_private_key(pem, passphrase or None)
    except TypeError as error:  # a passphrase too many or too few
        raise UsageError(
            f"the key {path} is not encrypted, yet there is a passphrase"
            if passphrase
            else f"the key {path} is encrypted",
            advice="Give the passphrase that the keys were made with, if there was one.",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"the key {path} can't be read: wrong passphrase, or no PEM file",
            advice="Give the passphrase that the keys were made with.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the key {path} is not an ed25519 key")
    return CryptoSigner(key)


def _path(folder: Path, role: str) -> Path:
    return folder / f"{role}.pem"


def _serialization() -> ModuleType:
    """The part of `cryptography` that reads and writes keys; only list owners need it installed.

    Raises:
        UsageError: it isn't installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise UsageError(
            "signing lists needs the package 'cryptography'", advice="Run: pip install 'hashscan[publish]'"
        ) from error
    return serialization
