"""The records of a report, made from what a sweep hands over.

The report's schema is written here and nowhere else. A record has only keys that say something: what is
empty or unknown is left out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hashscan.model import (
    ALGORITHMS,
    Action,
    ExceptedEntry,
    FileResult,
    FolderReason,
    Item,
    ListInfo,
    Match,
    Reason,
    SandboxLevel,
    Shard,
    Verdict,
)
from hashscan.reports.record_lines import CONTENT, Record

SCHEMA = 1
"""Raised whenever a reader of the older schema could misunderstand the newer."""

FINDINGS = frozenset({Verdict.MATCH, Verdict.HELD, Verdict.REVIEW})


def is_accusing(record: Record) -> bool:
    """Whether a record speaks against a file, so that the last word on it is said when the sweep ends."""
    return bool(record["type"] == "finding" and record["verdict"] == Verdict.MATCH)


def path_fields(path: bytes) -> dict[str, str]:
    """A path as JSON can carry it: text, beside the bytes in base64 where they are no UTF-8."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {
            "path": path.decode("utf-8", errors="replace"),
            "path_b64": base64.b64encode(path).decode("ascii"),
        }


def list_fields(info: ListInfo) -> dict[str, Any]:
    """What a report says of one hash list."""
    fields: dict[str, Any] = {
        "name": info.name,
        "state": info.state.value,
        "version": info.version,
        "entries": info.entries,
        "by_algorithm": dict(info.by_algorithm),
        "categories": list(info.categories),
        "key_ids": list(info.key_ids),
    }
    if info.fingerprint:
        fields["fingerprint"] = info.fingerprint
    if info.expires is not None:
        fields["expires"] = info.expires
    if info.problem is not None:
        fields["problem"] = info.problem
    return fields


def excepted_fields(excepted: ExceptedEntry) -> dict[str, str]:
    """What a report says of one entry whose matches are withheld."""
    return {
        "list": excepted.list_name,
        "entry": excepted.entry_id,
        "algorithm": excepted.algorithm,
        "category": excepted.category,
        "reason": excepted.reason,
        "until": excepted.until,
        "by": excepted.by,
        "since": excepted.since,
    }


def sandbox_fields(level: SandboxLevel) -> dict[str, Any]:
    """What a report says of the walls around the decoders."""
    return {
        "mode": level.mode,
        "level": level.word,
        "landlock": level.landlock,
        "seccomp": level.seccomp,
        "uid_dropped": level.uid_dropped,
        "capabilities_dropped": level.capabilities_dropped,
        "limits": level.limits,
    }


def sweep_record(
    *,
    uuid: str,
    version: str,
    host: str,
    targets: Sequence[bytes],
    lists: Iterable[ListInfo],
    excepted: Iterable[ExceptedEntry],
    algorithms: Iterable[str],
    thresholds: Mapping[str, int],
    variants: Iterable[str],
    review_threshold: int | None,
    selection: Record,
    sandbox_mode: str,
    fail_on: str,
    strict: bool,
    shard: Shard | None,
    files_from: bytes | None,
    inventory: tuple[bytes, str] | None,
    started: str,
    policy: Record,
    breaker: Record,
    cluster: Record | None = None,
    baseline: Record | None = None,
    known: bool = False,
) -> Record:
    """The first record: what was asked for, and with what; where a cluster does the work, which one.

    With `known` no file is looked at: all that follows is of what earlier sweeps have read.
    """
    review = {} if review_threshold is None else {"review_threshold": review_threshold}
    part = {} if shard is None else {"shard": {"index": shard.index, "count": shard.count}}
    names: dict[str, Any] = {} if files_from is None else {"files_from": path_fields(files_from)}
    if inventory is not None:
        names["inventory"] = {**path_fields(inventory[0]), "created": inventory[1]}
    return {
        "type": "sweep",
        "schema": SCHEMA,
        "uuid": uuid,
        "version": version,
        "host": host,
        **({"known": True} if known else {}),
        "targets": [path_fields(target) for target in targets],
        **names,
        **part,
        "lists": [list_fields(info) for info in lists],
        "excepted": [excepted_fields(entry) for entry in excepted],
        "algorithms": sorted(algorithms),
        "thresholds": {
            name: thresholds[name] for name in sorted(algorithms) if ALGORITHMS[name].metric != "exact"
        },
        "variants": list(variants),
        **review,
        "selection": dict(selection),
        "sandbox": {"mode": sandbox_mode},
        **({"policy": dict(policy)} if policy else {}),
        "fail_on": fail_on,
        "strict": strict,
        "breaker": dict(breaker),
        **({"baseline": dict(baseline)} if baseline else {}),
        "started": started,
        **({"cluster": dict(cluster)} if cluster else {}),
    }


def _identity_fields(item: Item) -> dict[str, int | str]:
    """What tells a file, or a state of an object, from others."""
    stat = item.stat
    if stat.of_object:
        fields: dict[str, int | str] = {} if stat.size < 0 else {"size": stat.size}
        if stat.mtime_ns:
            fields["mtime_ns"] = stat.mtime_ns
        if item.etag:
            fields["etag"] = item.etag
        if item.version:
            fields["version"] = item.version
        return fields
    return {
        "size": stat.size,
        "mtime_ns": stat.mtime_ns,
        "ctime_ns": stat.ctime_ns,
        "uid": stat.uid,
        "links": stat.links,
        "device": stat.device,
        "inode": stat.inode,
    }


def match_fields(match: Match) -> dict[str, Any]:
    """What a report says of one entry that a file came near to."""
    fields: dict[str, Any] = {
        "list": match.list_name,
        "entry": match.entry_id,
        "algorithm": match.algorithm,
        "variant": match.variant,
        "distance": match.distance,
        "threshold": match.threshold,
        "category": match.category,
    }
    if match.excepted is not None:
        fields["excepted"] = {"reason": match.excepted.reason, "until": match.excepted.until}
    if match.doubt:
        fields["doubt"] = match.doubt
    if match.withheld:
        fields["withheld"] = match.withheld
    return fields


def result_record(path: bytes, result: FileResult, *, with_digests: bool, item: Item | None = None) -> Record:
    """The record of one file that is not clean, or of a clean one that was asked about.

    Args:
        path: of the file, or an object's URL.
        result: what was found.
        with_digests: whether to name the digests.
        item: as it was listed; only for objects does it say more than the result.
    """
    record: dict[str, Any] = {
        "type": "finding" if result.verdict in FINDINGS else result.verdict.value,
        "schema": SCHEMA,
        **path_fields(path),
        "verdict": result.verdict.value,
        # How large an object is may have become known only as it was read.
        **_identity_fields(
            Item(result.name, result.stat) if item is None else item._replace(stat=result.stat)
        ),
    }
    if result.reason is not None:
        record["reason"] = result.reason.value
    if result.detail:
        record["detail"] = result.detail
    if result.matches:
        record["matches"] = [match_fields(match) for match in result.matches]
    if result.verdict in FINDINGS:
        record["because"] = result.because
    if result.action is not None:
        record["action"] = result.action.value
    if result.picture is not None:
        record["picture"] = {
            "format": result.picture.format,
            "width": result.picture.width,
            "height": result.picture.height,
        }
    if with_digests and result.digests:
        record["digests"] = {digest.algorithm: digest.value.hex() for digest in result.digests}
        quality = {d.algorithm: d.quality for d in result.digests if d.quality is not None}
        if quality:
            record["quality"] = quality
    return record


def with_content(record: Record, result: FileResult) -> Record:
    """A finding's record with the sha256 by which its content is known, where it was computed.

    Args:
        record: as `result_record` made it.
        result: what was found.
    """
    sha256 = next((digest.value.hex() for digest in result.digests if digest.algorithm == "sha256"), None)
    return record if sha256 is None else {**record, CONTENT: sha256}


def known_record(path: bytes, result: FileResult, item: Item, *, with_digests: bool) -> Record:
    """The record of one file as an earlier sweep has read it, without what only a look at it would tell."""
    record = result_record(path, result, with_digests=with_digests, item=item)
    return {key: value for key, value in record.items() if key not in {"uid", "links", "device"}}


def standing_record(path: bytes, version: str, result: FileResult, first: str, last: str) -> Record:
    """The record of an earlier finding that this sweep did not come by, and that stands until one does.

    Args:
        path: of the file, or an object's URL.
        version: of an object, where versions were swept; else empty.
        result: what is to be said of it by today's lists.
        first: when it was found first, RFC 3339.
        last: when it was found last.
    """
    record: dict[str, Any] = {
        "type": "standing",
        "schema": SCHEMA,
        **path_fields(path),
        "was": result.verdict.value,
        "because": result.because,
        "first": first,
        "last": last,
    }
    if version:
        record["version"] = version
    if result.matches:
        record["matches"] = [match_fields(match) for match in result.matches]
    return record


def silent_change_record(path: bytes, item: Item, before: str) -> Record:
    """The record of a file that was read though it seemed unchanged, and has other content than it had.

    Args:
        path: of the file, or an object's URL.
        item: as it was listed, now and before.
        before: the SHA-256 that it had, in hex, where digests are to be told; else empty.
    """
    record: dict[str, Any] = {
        "type": "silent-change",
        "schema": SCHEMA,
        **path_fields(path),
        **_identity_fields(item),
    }
    if before:
        record["before"] = {"sha256": before}
    return record


def digest_record(
    text: str, verdict: Verdict, because: str, action: Action | None, matches: Sequence[Match]
) -> Record:
    """The record of a digest that was asked about by itself."""
    record: dict[str, Any] = {
        "type": "finding" if verdict in FINDINGS else verdict.value,
        "schema": SCHEMA,
        "digest": text,
        "verdict": verdict.value,
    }
    if verdict in FINDINGS:
        record["matches"] = [match_fields(match) for match in matches]
        record["because"] = because
    if action is not None:
        record["action"] = action.value
    return record


def lost_record(path: bytes, reason: Reason, detail: str) -> Record:
    """The record of a name of which not even the size is known."""
    record: dict[str, Any] = {
        "type": Verdict.UNREADABLE.value,
        "schema": SCHEMA,
        **path_fields(path),
        "verdict": Verdict.UNREADABLE.value,
        "reason": reason.value,
    }
    if detail:
        record["detail"] = detail
    return record


def folder_record(path: bytes, reason: FolderReason, detail: str) -> Record:
    """The record of a folder that could not be entered; it is no file and has no verdict."""
    record: dict[str, Any] = {
        "type": "folder",
        "schema": SCHEMA,
        **path_fields(path),
        "reason": reason.value,
    }
    if detail:
        record["detail"] = detail
    return record


def summary_record(fields: Mapping[str, Any]) -> Record:
    """The last record; a report without one comes from a sweep that was killed."""
    return {"type": "summary", "schema": SCHEMA, **fields}
