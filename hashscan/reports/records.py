"""The records of a report: made from results of a scan, written as JSON lines, with printable paths.

Their types are in `schema`. A record has only keys with content: empty and unknown values are left
out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from hashscan.model import (
    Action,
    ExceptedContent,
    ExceptedEntry,
    FileResult,
    FolderReason,
    Item,
    ListInfo,
    Match,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.reports.schema import SCHEMA
from hashscan.schema import decode_json, encode_json
from hashscan.text import path_fields

Record = Mapping[str, Any]
"""One record of a report: JSON values by key, always with `type` and `schema`."""

CONTENT = "_sha256"
"""Key of a finding's sha256 in hex, for the move within this process; never in a report. See `public`."""


def public(record: Record) -> Record:
    """Return a record without the keys that are only for this process."""
    return {key: value for key, value in record.items() if key != CONTENT} if CONTENT in record else record


def line_of(record: Record) -> bytes:
    """Return a record as one JSON line in ASCII, so that names can't pass control characters."""
    return encode_json(record) + b"\n"


class RecordLines:
    """JSON lines on a stream; records come in order, `scan` first and `summary` last."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def write(self, record: Record) -> None:
        """Write the line of a record."""
        self.stream.write(line_of(record))

    def written(self) -> Iterator[Record]:
        """Yield all written records; the stream must be readable."""
        self.stream.seek(0)
        yield from map(decode_json, self.stream)


def path_bytes(record: Record) -> bytes:
    """Return the path or URL of a record, byte for byte."""
    if "path_b64" in record:
        return base64.b64decode(record["path_b64"])
    # A report that another program wrote may contain a lone surrogate.
    return str(record["path"]).encode("utf-8", errors="surrogatepass")


def path_text(record: Record) -> str:
    """Return the path or URL of a record as text; bytes that are not UTF-8 become lone surrogates."""
    if "path_b64" in record:
        return path_bytes(record).decode("utf-8", errors="surrogateescape")
    return str(record["path"])


FINDINGS = frozenset({Verdict.MATCH, Verdict.HELD, Verdict.REVIEW})


def is_accusing(record: Record) -> bool:
    """Return True for a match, whose final record is written when the scan ends."""
    return bool(record["type"] == "finding" and record["verdict"] == Verdict.MATCH)


def without_none(**fields: Any) -> dict[str, Any]:
    """Return the fields without those that are None."""
    return {key: value for key, value in fields.items() if value is not None}


def list_fields(info: ListInfo) -> dict[str, Any]:
    """Return the fields of one hash list."""
    return without_none(
        name=info.name,
        state=info.state.value,
        version=info.version,
        entries=info.entries,
        by_algorithm=dict(info.by_algorithm),
        categories=list(info.categories),
        key_ids=list(info.key_ids),
        fingerprint=info.fingerprint or None,
        expires=info.expires,
        made=info.made or None,
        problem=info.problem,
        source=info.source or None,
    )


def excepted_fields(excepted: ExceptedEntry) -> dict[str, str]:
    """Return the fields of one excepted entry, whose matches are withheld."""
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


def excepted_content_fields(content: ExceptedContent) -> dict[str, str]:
    """Return the fields of one excepted content, without its digest."""
    return {
        "reason": content.reason,
        "until": content.until,
        "by": content.by,
        "since": content.since,
    }


def sandbox_fields(level: SandboxLevel) -> dict[str, Any]:
    """Return the fields of the sandbox around the decoders."""
    return {
        "mode": level.mode,
        "level": level.summary,
        "landlock": level.landlock,
        "seccomp": level.seccomp,
        "uid_dropped": level.uid_dropped,
        "capabilities_dropped": level.capabilities_dropped,
        "limits": level.limits,
    }


def _identity_fields(item: Item) -> dict[str, int | str]:
    """Return the fields that identify a file, or a state of an object."""
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
    """Return the fields of one match or near match."""
    fields: dict[str, Any] = {
        "list": match.list_name,
        "entry": match.entry_id,
        "algorithm": match.algorithm,
        "variant": match.variant,
        **({"member": match.member} if match.member else {}),
        **({"of_video": True} if match.of_video else {}),
        "distance": match.distance,
        "threshold": match.threshold,
        **({"scanned_share": match.scanned_share} if match.scanned_share else {}),
        "category": match.category,
    }
    if match.excepted is not None:
        fields["excepted"] = {"reason": match.excepted.reason, "until": match.excepted.until}
    if match.doubt is not None:
        fields["doubt"] = match.doubt.value
    if match.withheld:
        fields["withheld"] = match.withheld
    return fields


def result_record(path: bytes, result: FileResult, *, with_digests: bool, item: Item | None = None) -> Record:
    """Return the record of a file that is not clean, or of a clean one that was asked for.

    `item` is the item as it was listed; it has more fields than the result only for objects.
    """
    record: dict[str, Any] = {
        "type": "finding" if result.verdict in FINDINGS else result.verdict.value,
        "schema": SCHEMA,
        **path_fields(path),
        "verdict": result.verdict.value,
        # The size of an object may be known only after it was read.
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
    if result.held_by:
        record["breaker"] = result.held_by
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


def with_sha256(record: Record, result: FileResult) -> Record:
    """Return the record of a finding with the sha256 of its content, if that was computed."""
    sha256 = next((digest.value.hex() for digest in result.digests if digest.algorithm == "sha256"), None)
    return record if sha256 is None else {**record, CONTENT: sha256}


def rescan_record(
    path: bytes, result: FileResult, item: Item, *, with_digests: bool, endpoint: str = ""
) -> Record:
    """Return the record of a file from the results of an earlier scan, without fields that need a stat.

    The endpoint is that of an object at another service than its provider's own.
    """
    record = result_record(path, result, with_digests=with_digests, item=item)
    if endpoint:
        record = {**record, "endpoint": endpoint}
    return {key: value for key, value in record.items() if key not in {"uid", "links", "device"}}


def standing_record(
    path: bytes, version: str, result: FileResult, first: str, last: str, *, endpoint: str = ""
) -> Record:
    """Return the record of an earlier finding that this scan did not reach; it is open until a scan does.

    The times are RFC 3339; the version is empty unless versions of objects are scanned, and the endpoint
    unless an object is at another service than its provider's own.
    """
    return without_none(
        type="standing",
        schema=SCHEMA,
        **path_fields(path),
        was=result.verdict.value,
        because=result.because,
        first=first,
        last=last,
        version=version or None,
        endpoint=endpoint or None,
        matches=[match_fields(match) for match in result.matches] or None,
    )


def silent_change_record(path: bytes, item: Item, before: str) -> Record:
    """Return the record of a file that seemed unchanged, was read again, and has other content than before.

    `before` is its earlier sha256 in hex, if digests are reported; else empty.
    """
    return without_none(
        type="silent-change",
        schema=SCHEMA,
        **path_fields(path),
        **_identity_fields(item),
        before={"sha256": before} if before else None,
    )


def digest_record(
    text: str, verdict: Verdict, because: str, action: Action | None, matches: Sequence[Match]
) -> Record:
    """Return the record of a single digest that was asked for."""
    finding = verdict in FINDINGS
    return without_none(
        type="finding" if finding else verdict.value,
        schema=SCHEMA,
        digest=text,
        verdict=verdict.value,
        matches=[match_fields(match) for match in matches] if finding else None,
        because=because if finding else None,
        action=None if action is None else action.value,
    )


def unreadable_record(path: bytes, reason: Reason, detail: str) -> Record:
    """Return the record of a file of which not even the size is known."""
    verdict = Verdict.UNREADABLE.value
    fields = {"verdict": verdict, "reason": reason.value, "detail": detail or None}
    return without_none(type=verdict, schema=SCHEMA, **path_fields(path), **fields)


def folder_record(path: bytes, reason: FolderReason, detail: str) -> Record:
    """Return the record of a folder that could not be entered; it is not a file and has no verdict."""
    fields = {"reason": reason.value, "detail": detail or None}
    return without_none(type="folder", schema=SCHEMA, **path_fields(path), **fields)


def summary_record(fields: Mapping[str, Any]) -> Record:
    """Return the last record; a report without it is from a scan that was killed."""
    return {"type": "summary", "schema": SCHEMA, **fields}
