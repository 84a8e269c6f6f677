"""The keys of a list's root: several of them, in folders that can be taken away and brought back."""

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
"""Most keys a root may have; even one key for each of a large body's members stays far below."""
_NAME = re.compile(rf"([1-9]\d{{0,8}}){re.escape(SUFFIX)}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RootKey:
    """A key of the root that was loaded."""

    path: Path
    signer: CryptoSigner
    passphrase: bytes | None
    """Of its file; a key that takes its place gets the same."""


def check_threshold(count: int, threshold: int) -> None:
    """Make sure that a root can be signed by that many of its keys.

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
    """Make keys, spread over folders; they get the numbers that follow on those that are there.

    Args:
        folders: made where they are missing.
        count: how many keys.
        passphrases: what encrypts the keys of a folder.
        default: what encrypts those of the other folders; None leaves them readable to whoever has them.

    Raises:
        UsageError: the `publish` extra isn't installed.
        OSError: they can't be written.
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
    """As many of a root's keys as must sign.

    Args:
        folders: where to look; a key that lies in two of them counts once.
        key_ids: of all keys of the root.
        threshold: how many to load.
        passphrases: what may open them; one that a person gave is tried on the others too.

    Raises:
        UsageError: there are too few; says what hindered each that was looked at.
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
    """A folder's keys, the newest first."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]
