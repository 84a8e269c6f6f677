"""Build the records of known files, as commands write them."""

from __future__ import annotations

from typing import Any

from hashscan.reports.records import path_fields
from hashscan.state.queries.content_search import ContentMatch
from hashscan.state.queries.known_files import KnownFile, KnownFinding
from hashscan.state.queries.would_hit import Hit
from hashscan.state.store.stored_contents import Content
from hashscan.timefmt import format_time


def known_record(item: str, near: ContentMatch, content: Content, file: KnownFile) -> dict[str, Any]:
    """Return the record of a file or an object that has what was asked for.

    Args:
        item: the query, as the user named it.
        near: how its content matches the query.
        content: of the file.
        file: the file.
    """
    return {
        "type": "known",
        "item": item,
        "algorithm": near.sought.algorithm,
        "distance": near.distance,
        "threshold": near.sought.distance,
        "variant": near.sought.variant,
        "of": near.variant,
        **address_fields(file),
        "presence": file.presence,
        "sha256": content.exact["sha256"].hex(),
        "first_read": format_time(content.since),
        **identity_fields(file),
        **seen_fields(file),
    }


def hit_record(hit: Hit, file: KnownFile) -> dict[str, Any]:
    """Return the record of a file or an object that a new entry of a list matches."""
    return {
        "type": "would-hit",
        "entry": hit.entry_id,
        "algorithm": hit.algorithm,
        "category": hit.category,
        "distance": hit.distance,
        **address_fields(file),
        "presence": file.presence,
    }


def address_fields(file: KnownFile) -> dict[str, str]:
    """Return the fields for the path of a file, or the URL and version of an object."""
    return {**path_fields(file.path), **({"version": file.version} if file.version else {})}


def identity_fields(file: KnownFile) -> dict[str, Any]:
    """Return the fields that identify the state of a file: size, mtime and etag."""
    if file.identity is None:
        return {}
    etag = {"etag": file.etag} if file.etag else {}
    return {"size": file.identity[1], "mtime_ns": file.identity[2], **etag}


def seen_fields(file: KnownFile) -> dict[str, Any]:
    """Return the fields for the time when a scan last met it, and for its finding."""
    record = {} if file.seen is None else {"last_seen": format_time(file.seen)}
    return record if file.finding is None else {**record, **_finding_fields(file.finding)}


def _finding_fields(finding: KnownFinding) -> dict[str, Any]:
    """Return the fields of a finding."""
    record: dict[str, Any] = {
        "verdict": finding.verdict,
        "because": finding.because,
        "first_found": format_time(finding.first),
        "last_found": format_time(finding.last),
    }
    if finding.gone is not None:
        record["gone"] = format_time(finding.gone)
    return record
