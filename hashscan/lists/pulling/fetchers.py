"""Selects the fetcher of a list by the kind of its location: web server or folder.

Importing this module imports tuf and urllib3, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hashscan.lists.pulling.credentials import Credentials
from hashscan.lists.pulling.fetch import FOLDER_URL, FolderFetcher, StagingFetcher
from hashscan.lists.pulling.location import WEB
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.pulling.validators import Validators
from hashscan.lists.pulling.web import HttpFetcher


def fetcher_for(
    location: str,
    origin: Origin,
    credentials: Credentials,
    staging: Path | None,
    *,
    validators: Validators | None = None,
    received: Callable[[int], None] | None = None,
) -> tuple[str, StagingFetcher]:
    """Return the address of a location for its fetcher, and the fetcher.

    Args:
        location: the source or a mirror of `origin`.
        origin: the list's origin.
        credentials: credentials for its web servers.
        staging: folder for downloads; None means the system's temporary folder.
        validators: HTTP validators of the servers' timestamps.
        received: called for each piece with its number of bytes.
    """
    if location.startswith(WEB):
        return location, HttpFetcher(origin, credentials, staging, validators=validators, received=received)
    return FOLDER_URL, FolderFetcher(Path(location), staging, received)
