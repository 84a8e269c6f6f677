"""The proof of care: the document for an authority that asks what a provider does against listed content.

It names no path, URL, digest, customer, sender or reference: targets have labels, cases their numbers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct

from hashscan.schema import Count, Text, Time

VERSION: Literal[1] = 1
Outcome = Literal["complete", "incomplete", "failed"]
CaseKind = Literal["match", "held", "review", "notice", "order"]


class UsedList(Struct, frozen=True):
    """A hash list, as a scan used it."""

    name: Text
    version: Count
    state: Text
    """Its trust: fresh, stale, …"""
    entries: Count
    age_hours: float | None
    """Hours from when this version was made, or last pulled in full from an exchange, to the scan's start."""


class CareScan(Struct, frozen=True):
    """A scan. One of cached digests read no file."""

    started: Time
    ended: Time | None
    """None if it was killed, or no end was received."""
    outcome: Outcome
    covers: bool
    """True if it ended its walk through its targets; only such scans end a gap."""
    cached: bool
    targets: list[Text]
    """Labels."""
    files: Count
    not_decoded: Count
    not_read: Count
    lists: list[UsedList]
    incomplete: list[Text]
    """Codes of the reasons why it is incomplete."""


class Gap(Struct, frozen=True):
    """A time longer than the planned interval without the start of a scan that ended its walk."""

    begin: Time
    end: Time
    hours: float
    open: bool
    """True if no such scan had started by the end of the period."""


class CareTarget(Struct, frozen=True):
    """A target, or one shard of it."""

    label: Text
    scans: Count
    """Scans that ended their walk."""
    gaps: list[Gap]


class Coverage(Struct, frozen=True):
    """Sums over the scans that read files; a file counts once for each scan."""

    files: Count
    not_decoded: Count
    not_decoded_share: float | None
    """Share of `files`, from 0 to 1; None without files."""
    not_read: Count
    not_read_share: float | None
    reasons: dict[Text, dict[Text, Count]]
    """Numbers by verdict and code of the reason."""


class CareServer(Struct, frozen=True):
    """A server."""

    label: Text
    silent_since: Time | None
    """Time of the last report if none came for longer than the time set for it; only known to a hub."""
    targets: list[CareTarget]
    scans: list[CareScan]
    coverage: Coverage


class Durations(Struct, frozen=True):
    """The cases of a kind that began in the period, as of its end."""

    kind: CaseKind
    """Order: of an authority or court, also if a scan found the file."""
    cases: Count
    removed: Count
    refused: Count
    """Uploads that were refused, and so never stored."""
    closed: Count
    """Ended although the file was not removed."""
    open: Count
    median_hours: float | None
    """Hours from the begin of a case to its removal; p90: 90th percentile by the nearest rank."""
    p90_hours: float | None
    longest_hours: float | None
    longest_case: Text


class Overdue(Struct, frozen=True):
    """A case that was open after its deadline, at the end of the period."""

    case: Text
    kind: Text
    hours: float
    """Hours since the deadline."""


class CareOrder(Struct, frozen=True):
    """An order that was received in the period."""

    number: Count
    """Number in the ledger."""
    kind: Text
    member_state: Text
    received: Time
    acknowledged_hours: float | None
    """Hours from the receipt until the sender was told of it."""
    acted_hours: float | None
    """Hours from the receipt until its last item ended, or it was answered; None while one is open."""
    cases: list[Text]


class CareBasis(Struct, frozen=True):
    """A legal basis, as the operator states it."""

    subject: Text
    """Such as `list national` or `door icap`."""
    legal_basis: Text
    until: Text
    """Its last day."""
    ended: bool
    """True if it had ended by the end of the period."""
    after: Text
    """The setting for the time after its end: not_checked or continue."""


class CareDocument(Struct, frozen=True):
    """A proof of care."""

    version: Literal[1]
    operator: Text
    key: Text
    """Fingerprint of the key that signs it."""
    made: Time
    hashscan: Text
    begin: Time
    end: Time
    """End of the period, or the time of making if that is earlier: all states are as of this time."""
    interval_hours: float
    """The planned interval between scans."""
    servers: list[CareServer]
    durations: list[Durations]
    overdue: list[Overdue]
    orders: list[CareOrder]
    legal_bases: list[CareBasis]


class SignedContent(Struct, frozen=True):
    """The signed payload of a file: the document in canonical JSON, and its time-stamp."""

    document: str
    timestamp: str = ""
    """Answer of an authority about the document's UTF-8 bytes (RFC 3161), in base64; empty: none."""


class CareProblem(StrEnum):
    """The fault of a file."""

    INVALID = "invalid"
    """It is no proof of care, or was changed after it was signed."""
    WRONG_KEY = "wrong_key"
    NO_TIMESTAMP = "no_timestamp"
    """It has no time-stamp although one is expected."""
    BAD_TIMESTAMP = "bad_timestamp"
    """Its time-stamp is of other bytes, or not of the expected authority."""
    UNVERIFIED_TIMESTAMP = "unverified_timestamp"
    """The authority's certificates were not named, so that anybody can have made its time-stamp."""


class CheckedCare(Struct, frozen=True):
    """A file that was checked."""

    problem: CareProblem | None
    fingerprint: Text
    """Fingerprint of the key that signed it; empty if the signature is not valid."""
    stamped: Text
    """Time of its time-stamp; empty without one that is valid."""
    document: CareDocument | None
    """None if the signature is not valid."""
