"""The list owner's signing keys, those in daily use and those of the root: create, store and load them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hashscan.atomic_files import PRIVATE_FILE, replace_file, sync_folder
from hashscan.errors import UsageError
from hashscan.lists.storage.layout import private_folder
from hashscan.secret_files import read_secret

if TYPE_CHECKING:
    from hashscan.lists.storage.tuf_api import CryptoSigner


ONLINE_ROLES = ("targets", "snapshot", "timestamp")
"""The roles whose keys are in daily use; none of them can sign a new root."""
RETIRED = "retired"
"""Folder beside the keys for keys that sign nothing any more; they are kept, since nothing is deleted
unasked.
"""
SUFFIX = ".pem"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Passphrases:
    """The passphrases that may decrypt the files of several keys."""

    known: tuple[bytes, ...] = ()
    """Passphrases to try in this order."""
    ask: Callable[[Path], bytes] | None = None
    """Asks a person for the passphrase of a key that none of the known ones decrypts."""


def new_key(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """Create an ed25519 key in a file (PKCS#8, PEM) readable by this user alone; without a passphrase it is
    not encrypted."""
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from hashscan.lists.storage.tuf_api import CryptoSigner

    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    replace_file(path, pem, PRIVATE_FILE)
    return CryptoSigner(key)


def make_online_keys(folder: Path, passphrase: bytes | None) -> dict[str, CryptoSigner]:
    return {role: new_key(online_path(folder, role), passphrase) for role in ONLINE_ROLES}


def online_path(folder: Path, role: str, root_version: int = 1) -> Path:
    """Return the path of a role's key that was introduced with a version of the root."""
    return folder / (f"{role}{SUFFIX}" if root_version == 1 else f"{role}-{root_version}{SUFFIX}")


def load_key(
    folder: Path, role: str, passphrase: bytes | None, key_ids: Collection[str] | None = None
) -> CryptoSigner:
    """Load the newest key of a role in daily use; without a passphrase if keys are not encrypted.
    `key_ids` are ids of the keys that the root trusts; None accepts any key. A file that others can access
    is an error."""
    paths = online_paths(folder, role)
    # A killed rotation may have left a key that no root trusts.
    for path in paths:
        signer = read_key(path, passphrase)
        if key_ids is None or signer.public_key.keyid in key_ids:
            return signer
    if paths:
        raise UsageError(
            f"the key {paths[0]} is not one of this list",
            advice="Name the folder of the keys that `hashscan publish init` made.",
        )
    raise UsageError(
        f"there is no key {online_path(folder, role)}", advice="Name the folder the keys were made in."
    )


def online_paths(folder: Path, role: str) -> list[Path]:
    """Return the files of a role's keys, the newest first."""
    form = re.compile(rf"{role}(?:-(\d+))?{re.escape(SUFFIX)}", re.ASCII)
    return [path for _, path in _numbered(folder, form)]


def read_key(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """Load one key; a file that others can access, or a passphrase that is not needed, is an error."""
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from hashscan.lists.storage.tuf_api import CryptoSigner

    pem = read_secret(path, "a signing key")
    try:
        key = serialization.load_pem_private_key(pem, passphrase or None)
    except TypeError as error:  # a passphrase is missing or not needed
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


def own_key(path: Path) -> CryptoSigner:
    """Load a key that is not encrypted; create it on first use, with its folder."""
    private_folder(path.parent)
    return read_key(path, None) if path.exists() else new_key(path, None)


def open_key(path: Path, passphrases: Passphrases) -> tuple[CryptoSigner, bytes | None]:
    """Load one key with the first passphrase that decrypts it; return that, too, or None if the file is not
    encrypted. A file that others can access is an error."""
    if not read_secret(path, "a signing key").startswith(_ENCRYPTED):
        return read_key(path, None), None
    for passphrase in passphrases.known:
        try:
            return read_key(path, passphrase), passphrase
        except UsageError:
            continue
    asked = passphrases.ask(path) if passphrases.ask else None
    return read_key(path, asked), asked


def retire(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Move key files into the folder of retired keys, and return their new paths."""
    moved = []
    for path in paths:
        place = private_folder(path.parent / RETIRED) / path.name
        path.rename(place)
        sync_folder(place.parent)
        sync_folder(path.parent)
        moved.append(place)
    return tuple(moved)


def _numbered(folder: Path, form: re.Pattern[str]) -> list[tuple[int, Path]]:
    """Return the files of a folder whose names have this form, with their numbers, the newest first."""
    if not folder.is_dir():
        return []
    matches = [(path, match) for path in folder.iterdir() if (match := form.fullmatch(path.name))]
    return sorted(((int(match[1] or 1), path) for path, match in matches), reverse=True)


def _serialization() -> ModuleType:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise UsageError(
            "signing lists needs the package 'cryptography'", advice="Run: pip install 'hashscan[publish]'"
        ) from error
    return serialization


ROOT_KEYS_MAX = 100
"""Largest number of keys of a root; even one key for each member of a large body stays far below."""
_ROOT_KEY_NAME = re.compile(rf"([1-9]\d{{0,8}}){re.escape(SUFFIX)}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RootKey:
    """A loaded key of the root."""

    path: Path
    signer: CryptoSigner
    passphrase: bytes | None
    """Passphrase of the key's file; a key that replaces it gets the same."""


def check_threshold(count: int, threshold: int) -> None:
    """Check that a root can have `count` keys of which `threshold` must sign."""
    if not 1 <= threshold <= count <= ROOT_KEYS_MAX:
        raise UsageError(
            f"a root can't have {count} keys of which {threshold} must sign",
            advice=f"Give 1 to {ROOT_KEYS_MAX} keys, and a threshold of at most as many.",
        )


def make_root_keys(
    folders: Sequence[Path], count: int, passphrases: Mapping[Path, bytes | None], default: bytes | None
) -> list[RootKey]:
    """Create keys, distributed over folders; they are numbered after those that exist. `passphrases` encrypt
    the keys of some folders, `default` the others; None leaves them unencrypted."""
    made = []
    for number in range(count):
        folder = private_folder(folders[number % len(folders)])
        taken = _numbered(folder, _ROOT_KEY_NAME) + _numbered(folder / RETIRED, _ROOT_KEY_NAME)
        last = max(taken, default=(0, folder))[0]
        path, passphrase = folder / f"{last + 1}{SUFFIX}", passphrases.get(folder, default)
        made.append(RootKey(path, new_key(path, passphrase), passphrase))
    return made


def load_root_keys(
    folders: Sequence[Path], key_ids: Collection[str], threshold: int, passphrases: Passphrases
) -> list[RootKey]:
    """Load as many of a root's keys as must sign; one that is in two folders counts once. A passphrase that a
    person gave is tried on the other keys too. If there are too few, the message says why each examined key
    could not be used."""
    found: dict[str, RootKey] = {}
    problems = []
    known = passphrases.known
    for path in (path for folder in folders for _, path in _numbered(folder, _ROOT_KEY_NAME)):
        try:
            signer, passphrase = open_key(path, Passphrases(known, passphrases.ask))
        except UsageError as error:
            problems.append(str(error))
            continue
        if passphrase is not None and passphrase not in known:
            known = (*known, passphrase)
        key_id = signer.public_key.keyid
        if key_id in key_ids:
            found.setdefault(key_id, RootKey(path, signer, passphrase))
        else:
            problems.append(f"the key {path} is not one of this root's")
        if len(found) == threshold:
            return list(found.values())
    problems += [f"there is no folder {folder}" for folder in folders if not folder.is_dir()]
    raise UsageError(
        "; ".join(
            [f"the root must be signed by {threshold} of its keys, {len(found)} were found", *problems]
        ),
        advice="Bring the folders of the root's keys and name each with --root-keys.",
    )
