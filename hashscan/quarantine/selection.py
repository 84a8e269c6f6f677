"""Decide which findings of a report justify a move into quarantine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hashscan.model import USABLE_STATES, TrustState, Verdict, Weak
from hashscan.quarantine.captured_file import (
    Identity,
    ObjectIdentity,
    Outcome,
    QuarantineRequest,
    QuarantineSkipped,
    is_url,
)
from hashscan.quarantine.items import path_of
from hashscan.quarantine.restored import RestoredContent
from hashscan.quarantine.trust_weakness import blocking_weakness_of, justifies_action, weak_list
from hashscan.text import plural

STAYS = "container"
"""The outcome of a container that matches only by members, and is not to be moved for them."""


def staying_message(number: int) -> str:
    """Return the message about a number of containers that are not moved for their members."""
    return (
        f"{plural(number, 'container')} with listed members not moved: all that is in them would go, too; "
        "--quarantine-containers moves them"
    )


def request_of(
    finding: Mapping[str, Any],
    scan: Mapping[str, Any],
    act_on: Collection[Weak] = (),
    content: str | None = None,
    *,
    containers: bool = False,
) -> QuarantineRequest | None:
    """Return the move that a finding of a report justifies; None if it justifies none.

    A finding whose matches are all by test entries, or by local or stale lists, justifies no move unless
    `act_on` names their weakness. A finding that a baseline accepts justifies none either. `scan` is the
    first record of the report, `content` the sha256 of the content in hex, if the report lacks it.

    Args:
        containers: True if the match of a member justifies the move of its container, with all other members;
            that of a frame always justifies the move of its video.
    """
    if finding["type"] != "finding" or finding.get("verdict") != Verdict.MATCH or "accepted" in finding:
        return None
    if (identity := _identity(finding)) is None:
        return None
    lists = {info["name"]: info for info in scan.get("lists", ())}
    matches = [m for m in finding.get("matches", ()) if _acts(m, lists, act_on)]
    # A video goes with its frames: there is nothing else in it.
    if not matches or not (containers or any(not m.get("member") or m.get("of_video") for m in matches)):
        return None
    named = {m["list"] for m in matches}
    return QuarantineRequest(
        path_of(finding),
        {
            "scan": scan.get("uuid"),
            "because": finding.get("because"),
            "matches": finding["matches"],
            "lists": [
                {key: info.get(key) for key in ("name", "version", "state", "key_ids", "source")}
                for name, info in lists.items()
                if name in named
            ],
        },
        content or finding.get("digests", {}).get("sha256"),
        identity,
        acting=tuple(matches),
    )


def require_unrestored(
    request: QuarantineRequest, sha256: str, restored: Mapping[bytes, RestoredContent]
) -> None:
    """Refuse to move what a person restored (by the sha256, in hex), unless an entry that was not known then
    accuses it now. A request without matches is a person's order."""
    content = restored.get(bytes.fromhex(sha256))
    acting = [match for match in request.accusation.get("matches", ()) if justifies_action(match)]
    if content is not None and acting and all(content.covers(m["list"], m["entry"]) for m in acting):
        raise QuarantineSkipped(
            Outcome.HELD, f"{content.by} restored its content on {content.day}, and no other entry accuses it"
        )


def stays_as_container(
    finding: Mapping[str, Any], scan: Mapping[str, Any], act_on: Collection[Weak], content: str | None = None
) -> bool:
    """Return True if a finding would be moved if the matches of its members counted as its own."""
    return (
        request_of(finding, scan, act_on, content) is None
        and request_of(finding, scan, act_on, content, containers=True) is not None
    )


def blocking_weakness(
    finding: Mapping[str, Any], scan: Mapping[str, Any], act_on: Collection[Weak]
) -> Weak | None:
    """Return the weakness that alone keeps a finding from being moved; None if there is no such weakness.

    If there are several such matches, the first, which is the closest, counts. A container that stays for its
    members' sake is not weak.
    """
    if request_of(finding, scan, act_on) is not None or request_of(finding, scan, tuple(Weak)) is None:
        return None
    lists = {info["name"]: info for info in scan.get("lists", ())}
    match = next(m for m in finding["matches"] if _acts(m, lists, tuple(Weak)))
    return blocking_weakness_of(
        weak_list(TrustState(lists[match["list"]]["state"])), match["category"], act_on
    )


def _identity(finding: Mapping[str, Any]) -> Identity | ObjectIdentity | None:
    """Return the file's status as the scan saw it; None for content inside another file."""
    if is_url(path_of(finding)):
        return ObjectIdentity(finding.get("etag", ""), finding.get("version", ""))
    if "inode" in finding:
        return Identity(finding["inode"], finding["size"], finding["mtime_ns"], finding["ctime_ns"])
    return None


def _acts(match: Mapping[str, Any], lists: Mapping[str, Mapping[str, Any]], act_on: Collection[Weak]) -> bool:
    state = lists.get(match["list"], {}).get("state")
    return (
        state in USABLE_STATES
        and blocking_weakness_of(weak_list(TrustState(state)), match["category"], act_on) is None
        and justifies_action(match)
    )
