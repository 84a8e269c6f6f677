"""Make the records of removed files that are to stay down: decode them, and compare with known-good lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import NamedTuple

from hashscan.errors import UsageError
from hashscan.hashing.formats import PREFIX_SIZE, sniff
from hashscan.hashing.records import DecodedPicture, pack_request, unpack_reply
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import Query
from hashscan.matching.worker_setup import WorkerSetup, sandbox_options
from hashscan.model import (
    ACTING_CATEGORIES,
    ALGORITHMS,
    CATEGORIES,
    KNOWN_GOOD_CATEGORY,
    Digest,
    Reason,
)
from hashscan.quarantine.captured_file import QuarantineSkipped
from hashscan.quarantine.items import KEPT, Item
from hashscan.quarantine.stay_down import StayDownContent, confirmation_time
from hashscan.quarantine.store import Quarantine
from hashscan.sandbox.client import Sandbox
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.workers.worker import Worker
from hashscan.settings.matching import DecodingLimits
from hashscan.state_dir import StateDir


class Confirmation(NamedTuple):
    """The values of an operator's confirmation that all its contents share."""

    reason: str
    by: str
    until: str
    """UTC in whole seconds, RFC 3339."""
    category: str | None = None
    """None for the category of the entries that matched."""


class StayDownMaker(ClosedOnExit):
    """Makes the records of removed files, with a decoder and the lists of one state."""

    def __init__(self, state: StateDir, notify: Callable[[str], None]) -> None:
        """Open the lists, which say what is known to be good.

        Raises:
            OutputError: the lists can't be listed.
        """
        self._notify = notify
        limits = DecodingLimits()
        self._opened = ListStore(state.lists).open(None, datetime.now(UTC), VerificationLevel.SIZES)
        setup = WorkerSetup(
            self._opened.handles, sandbox_options(limits), ("sha256", "pdq"), limits.max_pixels, variants=()
        )
        self._worker = Worker(setup)

    def of_item(
        self, quarantine: Quarantine, item: Item, confirmed: Confirmation, case: int = 0
    ) -> StayDownContent:
        """Return the record of an item in quarantine.

        Raises:
            UsageError: its content is known to be good, or its category is not known.
        """
        digests = {name: str(item.record["digests"][name]) for name in ("sha256", "md5", "sha1")}
        categories = {str(match["category"]) for match in item.matches}
        pdq = self._pdq_of(quarantine, item) if item.state in KEPT else None
        if pdq is not None:
            digests["pdq"] = pdq.value.hex()
        return self.of_digests(digests, categories, item.owners[-1], confirmed, case, item.id)

    def of_digests(
        self,
        digests: dict[str, str],
        categories: Collection[str],
        owner: str,
        confirmed: Confirmation,
        case: int,
        item: str = "",
    ) -> StayDownContent:
        """Return the record of a removed file, given its digests in hex by algorithm.

        Raises:
            UsageError: its content is known to be good, or its category is not known.
        """
        what = f"case {case}" if case else f"item {item}"
        if self._is_known_good("sha256", digests["sha256"]):
            raise UsageError(
                f"the content of {what} is known to be good",
                advice="It can't stay down; see the lists with category known-good.",
            )
        acting = [name for name in CATEGORIES if name in categories and name in ACTING_CATEGORIES]
        category = confirmed.category or next(iter(acting), None)
        if category is None:
            raise UsageError(
                f"no entry that acts has matched {what}, so that its category is not known",
                advice=f"Add --category with one of {', '.join(sorted(ACTING_CATEGORIES))}.",
            )
        return StayDownContent(
            digests=digests,
            category=category,
            owners=(owner,),
            item=item,
            case=case,
            reason=confirmed.reason,
            by=confirmed.by,
            since=confirmation_time(),
            until=confirmed.until,
        )

    def _pdq_of(self, quarantine: Quarantine, item: Item) -> Digest | None:
        """Return the PDQ by which a picture may be matched, or None; then print the reason for a picture."""
        try:
            with quarantine.storage.opened(item) as file:
                uid = 0 if item.is_object else int(item.record["file"]["uid"])
                found = decoded_pdq(self._worker.sandbox, file, uid)
        except (QuarantineSkipped, DecoderLost, ValueError) as error:
            self._notify(f"item {item.id}: only exact digests stay down: it can't be decoded: {error}")
            return None
        if found is None:
            return None
        if found.quality is None or found.quality < ALGORITHMS["pdq"].min_quality:
            self._notify(f"item {item.id}: only exact digests stay down: its picture has too little detail")
            return None
        if self._is_known_good("pdq", found.value.hex()):
            self._notify(f"item {item.id}: only exact digests stay down: it is near known-good content")
            return None
        return found

    def _is_known_good(self, algorithm: str, value: str) -> bool:
        asked = self._worker.matcher.ask(algorithm, [Query(bytes.fromhex(value))])
        return any(match.category == KNOWN_GOOD_CATEGORY for _, match in asked)

    def close(self) -> None:
        """End the decoder and release the lists."""
        self._worker.close()
        self._opened.close()


def decoded_pdq(sandbox: Sandbox, file: int, owner: int) -> Digest | None:
    """Return the PDQ of an open file; None if it is no picture, or has no PDQ.

    Args:
        owner: uid of the file's owner.

    Raises:
        DecoderLost: the decoder died of it, or took too long.
        ValueError: it can't be decoded; the message is the reason.
    """
    kind = sniff(memoryview(os.pread(file, PREFIX_SIZE, 0)))
    if kind is None or kind.container:
        return None
    if kind.pillow is None:
        raise ValueError(Reason.UNSUPPORTED.value)
    begun = sandbox.begin(file, pack_request(kind, patient=True), owner, fresh=True)
    answer = unpack_reply(sandbox.finish(begun), kind, ("pdq",))
    if not isinstance(answer, DecodedPicture):
        raise ValueError(answer.value)
    return answer.stored(["pdq"]).get("pdq")
