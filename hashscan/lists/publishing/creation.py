"""Creates a published list: its keys, its root and its folders.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.lists.durable import output_errors, replace_file
from hashscan.lists.layout import checked_name, private_folder
from hashscan.lists.publishing import release
from hashscan.lists.publishing.keys import make_online_keys
from hashscan.lists.publishing.publication import publish
from hashscan.lists.publishing.publisher_state import PublisherState, write_state
from hashscan.lists.publishing.root_keys import check_threshold, make_root_keys
from hashscan.lists.publishing.rotation import ROOT_NAME
from hashscan.lists.repository import METADATA, TARGETS


def begin(
    work: Path,
    state: PublisherState,
    passphrase: bytes | None,
    root_folders: Sequence[Path],
    root_count: int,
    root_threshold: int,
    root_passphrase: bytes | None,
    now: datetime,
) -> None:
    """Create a list's keys, root and folders.

    The arguments and errors are those of `Publisher.init`; all folders are resolved.
    """
    checked_name(state.name)
    check_threshold(root_count, root_threshold)
    repository, keys = state.repository, state.keys
    for secret in (work, keys, *root_folders):
        if secret.is_relative_to(repository):
            raise UsageError(
                f"{secret} lies within the folder to be published",
                advice="Keep the working folder and the keys outside of it.",
            )
    with output_errors("the list can't be begun"):
        for folder in (repository, keys, work):
            if folder.exists() and any(folder.iterdir()):
                raise UsageError(f"{folder} is not empty", advice="Name new or empty folders.")
        private_folder(work)
        private_folder(keys)
        for folder in (repository / METADATA, repository / TARGETS):
            folder.mkdir(parents=True)
        root_keys = make_root_keys(root_folders, root_count, {}, root_passphrase)
        signers = [key.signer for key in root_keys]
        expires = now + timedelta(days=state.expiry.root)
        root = release.new_root(signers, root_threshold, make_online_keys(keys, passphrase), expires)
        data = release.signed(root, signers)
        replace_file(work / ROOT_NAME, data)
        publish(repository, {f"{root.version}.{ROOT_NAME}": data})
        # Last, because this file makes the folder a working folder.
        write_state(work, state)
