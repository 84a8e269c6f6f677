"""Signs a list's present version anew, before its signatures run out.

Importing this module imports tuf, so others do so on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hashscan.errors import UsageError
from hashscan.lists.publishing import release
from hashscan.lists.publishing.publication import publish
from hashscan.lists.publishing.workspace import Workroom


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did."""

    roles: tuple[str, ...]
    """The roles that were signed anew."""
    expiries: Mapping[str, datetime]
    """When the metadata of each role runs out now."""
    running_out: Mapping[str, datetime]
    """Those among them of whose time less than a third is left."""


def refresh(room: Workroom, passphrase: bytes | None, now: datetime, *, everything: bool) -> Refreshed:
    """Sign the timestamp anew, the snapshot when its time runs out, the targets only when asked.

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
