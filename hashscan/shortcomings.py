"""The reasons why a scan is incomplete, each with a code to decide by and a message to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, convert, to_builtins


class ShortcomingCode(StrEnum):
    """The kinds of reasons."""

    UNREADABLE = "unreadable"
    """Files that could not be read."""
    FOLDERS = "folders"
    """Folders that were not entered."""
    EMPTY_TARGETS = "empty-targets"
    REASON = "reason"
    """Files undecoded for a reason that makes a scan incomplete; it is the subject."""
    UNDECODED = "undecoded"
    """Undecoded pictures, with `--strict`."""
    LIST = "list"
    """A list, the subject, that is not fresh."""
    POLICY = "policy"
    """The policy could not be read."""
    STOPPED = "stopped"
    FAILED = "failed"
    """The processes that read files were lost."""
    DECODER = "decoder"
    """A decoder of a format, the subject, that does not work here."""
    SHRUNKEN = "shrunken"
    """A target that has far fewer files than before."""
    SERVICE = "service"
    """A matching service, the subject, that does not answer, or not about all digests."""
    CHANGED = "changed"
    """Files that have changed without a sign."""
    STANDING = "standing"
    """Earlier findings that the scan did not reach."""
    TIME = "time"
    """The time budget is used up."""
    NOT_MOVED = "not-moved"
    """Findings that were not moved to quarantine."""
    UNKNOWN = "unknown"
    """Nothing is known of the files."""
    READ_AGAIN = "read-again"
    """Files that must be read again."""
    SHARDS = "shards"
    """Missing shards."""
    UNFINISHED = "unfinished"
    """A shard, the subject, whose report has no summary."""
    LISTING = "listing"
    """Shards that were shown different files."""
    APART = "apart"
    """Shards that were scanned at different times."""


class Shortcoming(Struct, frozen=True, omit_defaults=True):
    """One reason why a scan is incomplete; in reports, the state and the ledger it is stored as this."""

    code: ShortcomingCode
    message: str
    subject: str = ""
    """The list, service, format or target that it is about; empty if that is the whole scan."""
    pathless: str = ""
    """The message for those who must not see the target's path; empty if it names no target."""


def fields_of(shortcomings: Iterable[Shortcoming]) -> list[dict[str, Any]]:
    """Return shortcomings as values for JSON."""
    return [to_builtins(one) for one in shortcomings]


def shortcomings_of(summary: Mapping[str, Any]) -> list[Shortcoming]:
    """Return the shortcomings in the summary of a report."""
    return convert(summary.get("incomplete", []), list[Shortcoming])
