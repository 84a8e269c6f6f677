"""The keys of a list's root: several, in folders that can be kept offline and brought back for signing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import UsageError
from hashscan.lists.layout import private_folder
from hashscan.lists.publishing.keys import RETIRED, SUFFIX, Passphrases, new_key, open_key

if TYPE_CHECKING:
    from hashscan.lists.tuf_api import CryptoSigner

COUNT_MAX = 100
"""Largest number of keys of a root; even one key for each member of a large body stays far below."""
_NAME = re.compile(rf"([1-9]\d{{0,8}}){re.escape(SUFFIX)}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RootKey:
    """A loaded key of the root."""

    path: Path
    signer: CryptoSigner
    passphrase: bytes | None
    """Passphrase of the key's file; a key that replaces it gets the same."""


def check_threshold(count: int, threshold: int) -> None:
    """Check that a root can have `count` keys of which `threshold` must sign.

    Raises:
        UsageError: it can't.
    """
    if not 1 <= threshold <= count <= COUNT_MAX:
        raise UsageError(
            f"a root can't have {count} keys of which {threshold} must sign",
            advice=f"Give 1 to {COUNT_MAX} keys, and a threshold of at most as many.",
        )


def make_root_keys(
    folders: Sequence[Path], count: int, passphrases: Mapping[Path, bytes | None], default: bytes | None
) -> list[RootKey]:
    """Create keys, distributed over folders; they are numbered after those that exist.

    Args:
        folders: created if missing.
        count: number of keys.
        passphrases: encrypt the keys, by folder.
        default: encrypts the keys in the other folders; None leaves them unencrypted.

    Raises:
        UsageError: the `publish` extra isn't installed.
        OSError: the keys can't be written.
    """
    made = []
    for number in range(count):
        folder = private_folder(folders[number % len(folders)])
        taken = [*folder.iterdir(), *(folder / RETIRED).glob(f"*{SUFFIX}")]
        last = max((int(match[1]) for path in taken if (match := _NAME.fullmatch(path.name))), default=0)
        path, passphrase = folder / f"{last + 1}{SUFFIX}", passphrases.get(folder, default)
        made.append(RootKey(path, new_key(path, passphrase), passphrase))
    return made


def load_root_keys(
    folders: Sequence[Path], key_ids: Collection[str], threshold: int, passphrases: Passphrases
) -> list[RootKey]:
    """Load as many of a root's keys as must sign.

    Args:
        folders: folders to search; a key that is in two of them counts once.
        key_ids: ids of all keys of the root.
        threshold: number of keys to load.
        passphrases: passphrases to try; one that a person gave is tried on the other keys too.

    Raises:
        UsageError: there are too few keys; the message says why each examined key could not be used.
        OSError: a folder can't be read.
    """
    found: dict[str, RootKey] = {}
    hindrances = []
    known = passphrases.known
    for path in (path for folder in folders for path in _paths(folder)):
        try:
            signer, passphrase = open_key(path, Passphrases(known, passphrases.ask))
        except UsageError as error:
            hindrances.append(str(error))
            continue
        if passphrase is not None and passphrase not in known:
            known = (*known, passphrase)
        key_id = signer.public_key.keyid
        if key_id in key_ids:
            found.setdefault(key_id, RootKey(path, signer, passphrase))
        else:
            hindrances.append(f"the key {path} is not one of this root's")
        if len(found) == threshold:
            return list(found.values())
    hindrances += [f"there is no folder {folder}" for folder in folders if not folder.is_dir()]
    raise UsageError(
        "; ".join(
            [f"the root must be signed by {threshold} of its keys, {len(found)} were found", *hindrances]
        ),
        advice="Bring the folders of the root's keys and name each with --root-keys.",
    )


def _paths(folder: Path) -> list[Path]:
    """Return a folder's keys, the newest first."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
