"""The record of a known file, as commands write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hashscan.reports.records import path_fields
from hashscan.scan.state.asking import Near
from hashscan.scan.state.known_files import KnownFile, KnownFinding
from hashscan.scan.state.stored_contents import Content
from hashscan.scan.state.would_hit import Hit


def known_record(item: str, near: Near, content: Content, file: KnownFile) -> dict[str, Any]:
    """A file that has what was asked for.

    Args:
        item: what was asked for, as it was named.
        near: how its content is like that.
        content: of the file.
        file: the file.
    """
    record: dict[str, Any] = {
        "type": "known",
        "item": item,
        "algorithm": near.sought.algorithm,
        "distance": near.distance,
        "threshold": near.sought.distance,
        "variant": near.sought.variant,
        "of": near.variant,
        **path_fields(file.path),
        "presence": file.presence,
        "sha256": content.exact["sha256"].hex(),
        "first_read": moment(content.since),
    }
    if file.identity is not None:
        record["size"] = file.identity[1]
        record["mtime_ns"] = file.identity[2]
    if file.seen is not None:
        record["last_seen"] = moment(file.seen)
    if file.finding is not None:
        record |= finding_fields(file.finding)
    return record


def hit_record(hit: Hit, file: KnownFile) -> dict[str, Any]:
    """A file that a new entry of a list is of or like."""
    return {
        "type": "would-hit",
        "entry": hit.entry_id,
        "algorithm": hit.algorithm,
        "category": hit.category,
        "distance": hit.distance,
        **path_fields(file.path),
        "presence": file.presence,
    }


def finding_fields(finding: KnownFinding) -> dict[str, Any]:
    """What is said of a finding."""
    record: dict[str, Any] = {
        "verdict": finding.verdict,
        "because": finding.because,
        "first_found": moment(finding.first),
        "last_found": moment(finding.last),
    }
    if finding.gone is not None:
        record["gone"] = moment(finding.gone)
    return record


def moment(seconds: int) -> str:
    """A time as reports write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
