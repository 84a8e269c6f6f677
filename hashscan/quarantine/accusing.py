"""Decides which findings of a report may be acted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hashscan.model import ACTING_CATEGORIES, TEST_CATEGORY, TrustState, Verdict
from hashscan.quarantine.holding import Identity, ObjectIdentity, Request, is_url
from hashscan.quarantine.items import path_of

_TRUSTED = frozenset({TrustState.FRESH, TrustState.LOCAL})
_ACTING = ACTING_CATEGORIES - {TEST_CATEGORY}


def request_of(finding: Mapping[str, Any], sweep: Mapping[str, Any]) -> Request | None:
    """The move that a finding asks for.

    A match by nothing but test entries, or by lists past their expiry, asks for none.

    Args:
        finding: a record of a report.
        sweep: the report's first record.
    """
    if finding["type"] != "finding" or finding.get("verdict") != Verdict.MATCH:
        return None
    if (identity := _identity(finding)) is None:
        return None
    lists = {info["name"]: info for info in sweep.get("lists", ())}
    matches = [m for m in finding.get("matches", ()) if _acts(m, lists)]
    if not matches:
        return None
    named = {m["list"] for m in matches}
    return Request(
        path_of(finding),
        {
            "sweep": sweep.get("uuid"),
            "because": finding.get("because"),
            "matches": finding["matches"],
            "lists": [
                {key: info.get(key) for key in ("name", "version", "state", "key_ids")}
                for name, info in lists.items()
                if name in named
            ],
        },
        finding.get("digests", {}).get("sha256"),
        identity,
    )


def _identity(finding: Mapping[str, Any]) -> Identity | ObjectIdentity | None:
    """What the sweep saw; None of what lies within another file."""
    if "inode" in finding:
        return Identity(finding["inode"], finding["size"], finding["mtime_ns"], finding["ctime_ns"])
    if is_url(path_of(finding)):
        return ObjectIdentity(finding.get("etag", ""), finding.get("version", ""))
    return None


def _acts(match: Mapping[str, Any], lists: Mapping[str, Mapping[str, Any]]) -> bool:
    return (
        match["category"] in _ACTING
        and match["distance"] <= match["threshold"]
        and "excepted" not in match
        and lists.get(match["list"], {}).get("state") in _TRUSTED
    )
