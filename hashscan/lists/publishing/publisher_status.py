"""The status of a published list for its owner: published version, pending operations, expiries, keys.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hashscan.lists.publishing.publisher_state import PublisherState
from hashscan.lists.publishing.workspace import Workspace
from hashscan.model import ListInfo

_MANY_INCREMENTS = 100
"""Number of increments from which compacting pays; a subscriber downloads some files for each."""
_WITHDRAWN_SHARE = 10
"""Compacting pays if more than one row in this many is withdrawn, since those rows are downloaded in vain."""


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """The status of a list for its owner."""

    published: ListInfo | None
    """The published version; None before the first release."""
    state: PublisherState
    increments: int
    """Number of parts on top of the base; compacting merges them into it."""
    rows: int
    """Number of published rows, including withdrawn ones: the size of a first pull."""
    expiries: Mapping[str, datetime]
    """Expiry of the metadata of each role; of the root only before the first release."""
    running_out: Mapping[str, datetime]
    """The expiries of roles that have less than a third of their validity left."""
    keys: Mapping[str, tuple[tuple[str, ...], int]]
    """For each role the ids of its keys, and the number of keys that must sign."""

    @property
    def compaction_pays(self) -> bool:
        """True if there are many increments, or many withdrawn rows compared with the entries."""
        withdrawn = self.rows - self.published.entries if self.published else 0
        return self.increments >= _MANY_INCREMENTS or withdrawn > self.rows // _WITHDRAWN_SHARE

    @property
    def pending(self) -> int:
        """Number of entries that wait for the next release."""
        return self.state.waiting

    @property
    def withdrawing(self) -> int:
        """Number of published entries that the next release withdraws."""
        return self.state.withdrawing


def read_folder(room: Workspace, now: datetime) -> PublisherStatus:
    """Return the published version, the pending operations, and the expiries of signatures.

    Raises:
        ListTrustError: a published file is not what was signed.
        OSError: a file can't be read.
    """
    published, expiries = room.published(now), room.publication.expiries
    manifest = published.entries.manifest if published else None
    return PublisherStatus(
        published.info if published else None,
        room.state,
        len(manifest.parts) - 1 if manifest else 0,
        manifest.rows().total() if manifest else 0,
        expiries,
        room.state.expiry.running_out(expiries, now),
        {
            role: (tuple(sorted(trusted.keyids)), trusted.threshold)
            for role, trusted in room.publication.root.roles.items()
        },
    )
