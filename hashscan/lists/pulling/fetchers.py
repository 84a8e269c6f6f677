"""Chooses how a list is fetched, by the kind of its location.

Importing this module imports tuf and urllib3, so others do so on first use.
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
    """The fetcher for one location of a list, and the address that it knows the location by.

    Args:
        location: the source or a mirror of `origin`.
        origin: the list's.
        credentials: for its web servers.
        staging: folder for downloads; None is the system's.
        validators: what is known of the servers' timestamps.
        received: told of each piece, how many bytes it has.
    """
    if location.startswith(WEB):
        return location, HttpFetcher(origin, credentials, staging, validators=validators, received=received)
    return FOLDER_URL, FolderFetcher(Path(location), staging, received)
