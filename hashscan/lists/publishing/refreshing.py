"""Signs a list's present version again, before its signatures expire.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hashscan.errors import UsageError
from hashscan.lists.publishing import release
from hashscan.lists.publishing.publication import publish
from hashscan.lists.publishing.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of a refresh."""

    roles: tuple[str, ...]
    """The roles that were signed again."""
    expiries: Mapping[str, datetime]
    """New expiry of the metadata of each role."""
    running_out: Mapping[str, datetime]
    """The expiries of roles that have less than a third of their validity left."""


def refresh(room: Workspace, passphrase: bytes | None, now: datetime, *, everything: bool) -> Refreshed:
    """Sign the timestamp again, the snapshot if it expires soon, the targets only if `everything` is set.

    The arguments and errors are those of `Publisher.refresh`.
    """
    publication, expiry = room.publication, room.state.expiry
    if not publication.verified:
        raise UsageError(
            "there is nothing to refresh yet", advice="Release first, with `hashscan publish release`."
        )
    publication.check_root(now)
    due = expiry.running_out(publication.expiries, now)
    first = "targets" if everything else "snapshot" if "snapshot" in due else "timestamp"
    roles = release.SIGNING_ROLES[release.SIGNING_ROLES.index(first) :]
    signers = publication.signers(roles, room.state.keys, passphrase)
    metadata = publication.renewed(first, signers, expiry, now)
    publication.check(metadata)
    publish(room.state.repository, metadata)
    expiries = room.renew(now).expiries
    return Refreshed(tuple(roles), expiries, expiry.running_out(expiries, now))
