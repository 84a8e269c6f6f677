"""Define the interface of a hub for an organisation's servers: reports in, notices out, as JSON.

POST v1/reports/UUID           ReportBegin; answered by ReportState
POST v1/reports/UUID/records?from=N
                               records N, N+1, ... of the report, as JSON Lines; answered by ReportState,
                               or by ReportBehind and status 409 if records before N are missing
GET  v1/reports/UUID           ReportState
GET  v1/notices?since=N&host=H NoticesAnswer: notices for the server H that were sent or changed after N, 0 or
                               the `next` of an answer
POST v1/notices/NUMBER         NoticeUpdate; answered by 204

Requests carry `Authorization: Bearer KEY`, with a key that has the right `report` or `cases`; checks of
digests are in `matching_service_api`. A hub that wants fewer requests answers 429 or 503, with
`Retry-After`.

A report is taken in exactly once: its scan's uuid names it, and records that were received before are passed
over, so that a client may send everything again from any position up to `received`. Another organisation may
use the same uuid: it has reports of its own, and sees no others. A report whose last record was received, but
which is not complete, is completed by a part without records.

The records are those of `reports.schema`; of each, a sender leaves out what the hub does not use. Where names
don't leave the server, the path is empty, `place` names the file instead, and there is no name of a customer,
of a file in a container, or in the text of a reason.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

from hashscan.schema import Count, Text

REPORTS, NOTICES = "v1/reports", "v1/notices"
"""The paths, below the hub's address."""

RECORDS_MAX = 2000
"""Most records in a part of a report."""
RECORDS_BYTES_MAX = 4 << 20
"""Largest part of a report in bytes, decompressed."""
RECORD_BYTES_MAX = 256 << 10
"""Longest record in bytes, with its newline."""
MATCHES_MAX = 100
"""Matches of a file that a hub keeps; a sender leaves out further ones."""
NOTICES_MAX = 500
"""Largest number of notices in one answer."""

Uuid = Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class ReportBegin(Struct, frozen=True):
    """The first message about a report."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    """The name of the server; the report's own, unless the operator names another."""
    scope: Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")] = ""
    """SHA-256, equal for scans of the same targets with the same options: a file of which a complete one says
    nothing is gone, or matches no more. Empty for a scan that does not look at all files of its targets."""

    def __post_init__(self) -> None:
        if not self.host.isprintable():
            raise ValueError("host is not printable")


class ReportState(Struct, frozen=True):
    """The part of a report that the hub has received, durably."""

    received: Count
    """Number of records; the next one to send has this index, from 0."""
    complete: bool
    """True if the report's last record was received, so that nothing is left to send."""


class ReportBehind(ReportState, frozen=True):
    """The answer to a part that leaves out records which the hub has not received."""

    code: Literal["conflict"] = "conflict"
    message: str = "records before these are missing; go on from `received`"


class Notice(Struct, frozen=True):
    """A notice of the hub's operator to an organisation."""

    number: Count
    reference: Text
    url: Text
    path: Text
    """Path on the server; empty where only the URL is known."""
    category: Text
    deadline: Text
    """RFC 3339; empty for none."""
    sent: Text
    """RFC 3339."""
    withdrawn: bool = False
    kind: Text = "notice"
    """notice, order (of an authority), court, or terrorist (an order to remove terrorist content)."""
    member_state: Text = ""
    """Two letters of ISO 3166: the Member State of the authority; empty if it is not known."""
    legal_basis: Text = ""
    """The law on which an order relies; empty if it is not known."""


class NoticesAnswer(Struct, frozen=True):
    """Notices, in the order in which they were sent or changed."""

    notices: Annotated[list[Notice], Meta(max_length=NOTICES_MAX)]
    next: Count
    """The position after the last of them, from which the next request goes on."""
    more: bool
    """True if there are further ones now."""


class NoticeUpdate(Struct, frozen=True):
    """An answer of the organisation to a notice; the same answer again changes nothing."""

    event: Literal[
        "acknowledged", "never_seen", "removed", "not_found", "closed", "disputed", "reopened", "refused"
    ]  # fmt: skip
    """never_seen: the notice is open, but the server has never seen such a file; `acknowledged` ends that.
    not_found: a person has ended the case of such a file, which was not removed.
    closed: a person, or a list that no longer has the entry, has ended the case, and the file stays.
    refused: the server can't use the notice."""
    at: Text
    """RFC 3339, by the server's time. The hub counts from when it receives the answer."""
    how: Text = ""
    """For `removed`: gone, changed, quarantined, ... as the server's ledger says."""
    host: Text = ""
    """The server that answers."""


def place_of(path: bytes, version: str = "") -> str:
    """Return the digest that names a file of a server, or a version of an object, at the hub.

    Whoever can guess the path can recognise it.
    """
    return hashlib.sha256(path + b"\0" + version.encode("utf-8", "surrogatepass")).hexdigest()
