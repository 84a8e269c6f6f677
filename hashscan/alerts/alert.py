"""What is to be told to a person or a program: one alarm, and the document that channels are given of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA = 1
"""Raised whenever a hook for the older document could misunderstand the newer."""
CASES_NAMED = 1000
"""Cases whose ids a document holds; `hashscan cases list` has the others."""
CASES_IN_TEXT = 20
DETAILS_MAX = 20
"""Findings that are described in one alarm, where they are at all."""
_LINE_MAX = 300


class Kind(StrEnum):
    """What an alarm is about."""

    FOUND = "found"
    OVERDUE = "overdue"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    LIST = "list"
    WITHDRAWN = "withdrawn"
    DONE = "done"
    TEST = "test"


SEVERITIES: Mapping[Kind, str] = {
    Kind.FOUND: "crit",
    Kind.OVERDUE: "alert",
    Kind.FAILED: "err",
    Kind.INCOMPLETE: "warning",
    Kind.LIST: "warning",
    Kind.WITHDRAWN: "warning",
    Kind.DONE: "info",
    Kind.TEST: "notice",
}
"""How grave each kind is, in syslog's words."""

FOUND_KINDS = frozenset({Kind.FOUND, Kind.OVERDUE})
"""What is told whoever wants to hear of findings alone."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm as it is made, before it has a number."""

    kind: Kind
    keys: tuple[str, ...]
    """What it tells of; each is told of once, ever."""
    subject: str
    lines: tuple[str, ...] = ()
    cases: tuple[int, ...] = ()
    """The first `CASES_NAMED` of them."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many there are, under `cases`, and of what kind."""
    details: Sequence[Mapping[str, Any]] = ()
    """Of each case what a person must know to act; empty unless that was asked for."""

    def document(self, host: str, at: str) -> dict[str, Any]:
        """What channels are given; JSON values.

        Args:
            host: name of this machine.
            at: when it was made, RFC 3339.
        """
        named = f"hashscan on {host}: {self.subject}"
        lines = list(self.lines)
        if self.cases:
            more = max(len(self.cases), self.counts.get("cases", 0)) - CASES_IN_TEXT
            ids = ", ".join(map(str, self.cases[:CASES_IN_TEXT])) + (f" and {more} more" if more > 0 else "")
            lines.append(f"Cases: {ids}. See: hashscan cases list")
        lines += [_described(detail) for detail in self.details[:DETAILS_MAX]]
        if len(self.details) > DETAILS_MAX:
            lines.append(f"and {len(self.details) - DETAILS_MAX} more")
        return {
            "schema": SCHEMA,
            "kind": self.kind.value,
            "severity": SEVERITIES[self.kind],
            "host": one_line(host),
            "at": at,
            "subject": one_line(named),
            "text": "\n".join(one_line(line) for line in lines),
            "counts": dict(self.counts),
            "cases": list(self.cases[:CASES_NAMED]),
            "details": [dict(detail) for detail in self.details[:DETAILS_MAX]],
        }


def one_line(text: str) -> str:
    """The text as one line in which nothing is a command to a terminal, a mail program or a log."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return shown if len(shown) <= _LINE_MAX else shown[: _LINE_MAX - 1] + "…"


def digest_of(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One document in place of many that have waited for a channel.

    Args:
        documents: at least one, oldest first.
    """
    first, last = documents[0], documents[-1]
    gravest = min(documents, key=lambda document: _GRAVITY.index(document["severity"]))
    lines = [f"{document['at']}  {document['subject']}" for document in documents[-DETAILS_MAX:]]
    if len(documents) > DETAILS_MAX:
        lines.insert(0, f"{len(documents) - DETAILS_MAX} older ones: see hashscan alarms list")
    cases = sorted({case for document in documents for case in document["cases"]})
    counts: dict[str, int] = {}
    for document in documents:
        for name, number in document["counts"].items():
            counts[name] = counts.get(name, 0) + number
    return {
        **last,
        "kind": gravest["kind"],
        "severity": gravest["severity"],
        "subject": one_line(
            f"hashscan on {last['host']}: {len(documents)} alarms have waited since {first['at']}"
        ),
        "text": "\n".join(lines),
        "counts": counts,
        "cases": cases[:CASES_NAMED],
        "details": [],
    }


_GRAVITY = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def _described(detail: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in detail.items() if value not in (None, ""))
