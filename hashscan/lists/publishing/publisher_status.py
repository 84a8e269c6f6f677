"""Where a list stands for its owner.

Importing this module imports tuf, so others do so on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hashscan.lists.publishing.publisher_state import PublisherState
from hashscan.lists.publishing.workspace import Workroom
from hashscan.model import ListInfo

_MANY_INCREMENTS = 100
"""A subscriber fetches some files for each."""
_WITHDRAWN_SHARE = 10
"""One withdrawn row of so many is fetched in vain."""


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """Where a list stands for its owner."""

    published: ListInfo | None
    """What is published; None before the first release."""
    state: PublisherState
    increments: int
    """Parts on top of the base; compacting makes them one with it."""
    rows: int
    """Published rows, withdrawn ones among them: what a first pull fetches."""
    expiries: Mapping[str, datetime]
    """When the metadata of each role runs out; the root's alone before the first release."""
    running_out: Mapping[str, datetime]
    """Those among them of whose time less than a third is left."""
    keys: Mapping[str, tuple[tuple[str, ...], int]]
    """Of each role the ids of its keys, and how many of them must sign."""

    @property
    def compaction_pays(self) -> bool:
        """Whether there are many increments, or many withdrawn rows beside the entries."""
        withdrawn = self.rows - self.published.entries if self.published else 0
        return self.increments >= _MANY_INCREMENTS or withdrawn > self.rows // _WITHDRAWN_SHARE

    @property
    def pending(self) -> int:
        """Entries that wait for the next release."""
        return self.state.waiting

    @property
    def withdrawing(self) -> int:
        """Published entries that the next release withdraws."""
        return self.state.withdrawing


def look(room: Workroom, now: datetime) -> PublisherStatus:
    """What is published, what waits, and when signatures run out.

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
