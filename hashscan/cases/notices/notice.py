"""A notice: what one document of somebody else asks for about one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from hashscan.cases.notices import fields
from hashscan.model import SenderRule


class NoticeKind(StrEnum):
    """The request that a sender makes, and its right."""

    NOTICE = "notice"
    """Anybody's notice (DSA, article 16)."""
    ORDER = "order"
    """An authority's order to act against illegal content (DSA, article 9)."""
    COURT = "court"
    """A court's order to act."""
    TERRORIST = "terrorist"
    """A removal order for terrorist content (Regulation (EU) 2021/784, article 3)."""
    INFORM = "inform"
    """An authority's order to provide information (DSA, article 10): it asks for no removal."""


ORDERS = (NoticeKind.ORDER, NoticeKind.COURT, NoticeKind.TERRORIST)
"""The kinds that order a removal."""


class SenderRole(StrEnum):
    """The role of a sender, as the DSA names it."""

    USER = "user"
    HOTLINE = "hotline"
    TRUSTED_FLAGGER = "trusted_flagger"
    """Has that status by article 22 of the DSA."""
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True)
class Notice:
    """A request about one file. All values are the sender's claims and may be false.

    It has a URL, a path or a digest. Several of one kind with the same sender and reference are items of one
    notice.
    """

    reference: str
    """The sender's own reference; empty if there is none."""
    sender: str
    """The finder: an e-mail address or the name of an organisation; empty if none is named."""
    url: str = ""
    """URL at which it was seen, with its scheme."""
    path: bytes = b""
    """Location, if the sender knows it: an absolute path or the URL of an object."""
    received: datetime | None = None
    """Time of receipt, if stated; timezone-aware. It may be in the future, where no deadline may begin."""
    deadline: datetime | None = None
    """Deadline for the removal; timezone-aware."""
    category: str = ""
    """One of hashscan's categories; empty if the sender names none."""
    digests: tuple[tuple[str, str], ...] = ()
    """Algorithm and value in lower-case hex, ordered by algorithm name."""
    kind: NoticeKind | None = None
    """None if the document doesn't state it."""
    role: SenderRole | None = None
    """None if the document doesn't state it."""
    member_state: str = ""
    """Member State of an authority: two letters of ISO 3166, upper case."""
    legal_basis: str = ""
    """The law on which an order relies, as one line."""
    hours: float | None = None
    """Hours after the receipt until which the sender wants it done; only if no deadline is stated."""
    authentication: str = ""
    """The Authentication-Results of its mail, as found: nothing is decided by them."""
    pictures: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Digests of the pictures attached to its mail, which may show anything."""
    subject: str = ""
    """The content as the sender sees it: `child_sexual_abuse` or `other`; empty if it is not stated."""
    name: str = ""
    """The name of the person or the authority who sends it, as one line."""
    explanation: str = ""
    """The reason for which it is illegal, as the sender says it; several printable lines."""
    undisclosed: datetime | timedelta | None = None
    """Time until which, or after the receipt for which, the customer may not be told; None if he may be."""

    @property
    def key(self) -> str:
        """Key that is equal for two notices of the same thing by the same sender; 32 hex digits."""
        parts = [
            self.sender.casefold(),
            self.reference,
            self.url,
            self.path.hex(),
            self.kind or "",
            [] if self.reference else [self.digests, str(self.received)],
        ]
        return _digest(parts)

    @property
    def notice_key(self) -> str:
        """Key that is equal for all items of one notice; 32 hex digits."""
        parts = [self.sender.casefold(), self.reference, self.kind or ""]
        return _digest(parts) if self.reference else self.key


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:32]


def completed(notice: Notice, rules: Sequence[SenderRule]) -> Notice:
    """Return a notice with what it doesn't state, by the first rule for its sender, else by default.

    The sender's address may be forged, so a rule must only make somebody act sooner.
    """
    rule = next((rule for rule in rules if _is_of(notice.sender, rule.address)), None)
    kind = notice.kind or (NoticeKind(rule.kind) if rule and rule.kind else NoticeKind.NOTICE)
    role = notice.role or (SenderRole(rule.role) if rule and rule.role else None)
    hours = notice.hours
    if rule is not None and hours is None and rule.deadline is not None:
        hours = rule.deadline / 3600
    return replace(
        notice,
        kind=kind,
        role=role or (SenderRole.USER if kind is NoticeKind.NOTICE else SenderRole.AUTHORITY),
        member_state=notice.member_state or (rule.member_state if rule else ""),
        legal_basis=notice.legal_basis or (rule.legal_basis if rule else ""),
        hours=hours,
    )


def _is_of(sender: str, address: str) -> bool:
    """Return True if an address of a rule is the sender, or `@domain` the domain of his mail address."""
    sender, address = sender.casefold(), address.casefold()
    return sender == address or (address.startswith("@") and sender.endswith(address))


def stated_deadline(notice: Notice, received: int, defaults: Mapping[str, float]) -> int | None:
    """Return the deadline that a notice states, or that its kind has, in seconds since 1970.

    Args:
        notice: as `completed` returns it.
        received: seconds since 1970.
        defaults: seconds by kind, for kinds that have a deadline of their own.
    """
    if notice.deadline is not None:
        return int(notice.deadline.timestamp())
    if notice.hours is not None:
        return received + int(timedelta(hours=notice.hours).total_seconds())
    assert notice.kind is not None
    seconds = defaults.get(notice.kind)
    return None if seconds is None else received + int(seconds)


CLAIMS = ("kind", "role", "member_state", "legal_basis", "hours")
"""Fields that a table may have besides the place, the times and the digests."""


def parse_claims(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `CLAIMS` of a notice by their texts; empty texts are left out.

    Raises:
        FieldError: a text is not valid; its message names the field.
    """
    readers = {
        "kind": lambda text: NoticeKind(fields.one_of("kind", text, NoticeKind)),
        "role": lambda text: SenderRole(fields.one_of("role", text, SenderRole)),
        "member_state": fields.member_state,
        "legal_basis": lambda text: fields.printable_line("legal_basis", text),
        "hours": fields.hours,
    }
    texts = {name: values.get(name, "").strip() for name in CLAIMS}
    return {name: readers[name](text) for name, text in texts.items() if text}
