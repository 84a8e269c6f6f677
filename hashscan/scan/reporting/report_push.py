"""Send reports to a hub, record by record: exactly once, however often they are sent or cut off.

The hub says how many records it has received, and sending goes on from there. What it does not use is left
out of each record, and names too, unless the settings say that they may leave this server.

Importing this module imports urllib3, so other modules import it on first use.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from hashscan.atomic_files import output_errors
from hashscan.errors import LockedError, UnreachableError
from hashscan.hub_api import (
    MATCHES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_BYTES_MAX,
    RECORDS_MAX,
    REPORTS,
    ReportBegin,
    ReportState,
    place_of,
)
from hashscan.reports.records import Record, line_of, path_bytes
from hashscan.reports.report import last_record, read_report
from hashscan.scan.reporting.push_spool import uuid_of
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.service_client import ServiceBusyError, ServiceClient, ServiceRefusedError

_PATIENCE = 120.0
"""Seconds for which a hub that is busy or away is asked again."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_PART_BYTES = RECORDS_BYTES_MAX // 2
_TRIES = 100
"""Times that sending starts again at another record, as another process may send the same report."""

_OF_SCAN = (
    "type", "schema", "uuid", "version", "started", "breaker", "sandbox", "fail_on", "strict", "known",
    "shard",
)  # fmt: skip
_OF_LISTS = ("name", "state", "version", "entries", "fingerprint", "made")
_OF_SUMMARY = (
    "type", "schema", "verdicts", "reasons", "folders_not_entered", "passed", "empty_targets", "files",
    "test_findings", "low_quality_pictures", "bytes", "unchanged", "only_test_entries", "exit_code",
    "accepted", "seconds", "ended",
)  # fmt: skip
_OF_FILES = ("type", "schema", "verdict", "was", "reason", "size")
_NAMES = ("path", "path_b64", "customer", "version")
_OF_MATCHES = ("list", "entry", "algorithm", "category", "distance", "threshold")
_SCOPE = (
    "host", "targets", "selection", "shard", "algorithms", "variants", "thresholds", "review_threshold",
    "photodna",
)  # fmt: skip
_NOT_ALL = ("known", "files_from", "inventory")
"""Keys of scans that don't look at all files of their targets."""
_REASONS_MAX, _REASON_MAX = 100, 1000
"""Most reasons why a scan is incomplete that are sent, and characters of each; names may be in them."""
_HIDDEN = "it names a path; see the report on the server"


class PushRefusedError(UnreachableError):
    """A hub that does not take a report."""

    advice = "The report is kept. Compare the versions of hashscan here and at the hub, or ask its operator."


@dataclass(frozen=True, slots=True)
class PushResult:
    """The outcome of sending one report."""

    sent: int
    """Records that the hub has received now."""
    complete: bool
    """False if the report itself is not complete, as its scan was killed."""


class ReportPusher:
    """A sender of reports to one hub."""

    def __init__(
        self,
        client: ServiceClient,
        *,
        names: bool,
        host: str = "",
        sleep: Callable[[float], None] = time.sleep,
        patience: float = _PATIENCE,
    ) -> None:
        """Prepare to send reports.

        Args:
            client: the connection to the hub.
            names: True if paths and names of customers may leave this server.
            host: name of this server at the hub; empty for the one in each report.
            sleep: waits so many seconds before a request is sent again.
            patience: seconds for which a hub that is busy or away is asked again.
        """
        self._client = client
        self._names = names
        self._host = host
        self._sleep = sleep
        self._patience = patience

    def push(self, path: Path) -> PushResult:
        """Send what the hub has not received of a report.

        Raises:
            UsageError: the file is not a report, or is damaged.
            OutputError: it can't be read.
            LockedError: a scan is writing it, whose last records may change until it ends.
            ServiceBusyError: the hub can't be reached; what it has received stays.
            ServiceRefusedError: it refuses the key.
            PushRefusedError: it does not take the report.
        """
        last = last_record(path)
        whole = last is not None and last["type"] == "summary"
        if not whole:
            _require_unlocked(path)
        scan = next(read_report(path))
        uuid = uuid_of(scan, path)
        address = f"{REPORTS}/{uuid}"
        begin = msgspec.json.encode(ReportBegin(self._host or scan["host"], _scope_of(scan)))
        try:
            before, state = self._sent(path, address, begin, whole=whole)
        except _BehindError:
            raise PushRefusedError("the hub does not take the report, and answers status 409") from None
        if whole and not state.complete:
            # A report is removed after this returns.
            raise PushRefusedError(f"the hub has received {state.received} records, and not the report's end")
        return PushResult(max(state.received - before, 0), state.complete)

    def _sent(self, path: Path, address: str, begin: bytes, *, whole: bool) -> tuple[int, ReportState]:
        """Send what is missing; return how many records were there before, and the hub's last word."""
        state = self._ask("POST", address, begin)
        before = state.received
        for _ in range(_TRIES):
            behind = self._send_from(path, address, state)
            state = self._ask("GET", address)
            if not behind:
                break
        if whole and not state.complete:
            state = self._ask("POST", f"{address}/records?from={state.received}", b"")
        return before, state

    def _send_from(self, path: Path, address: str, state: ReportState) -> bool:
        """Send records from the first that is missing; return True if the hub wants to go on elsewhere."""
        position = state.received
        if state.complete:
            return False
        for lines in self._parts(path, position):
            part = f"{address}/records?from={position}"
            position += len(lines)
            try:
                received = self._ask("POST", part, b"".join(lines)).received
            except _BehindError:
                return True
            if received != position:
                return True
        return False

    def _parts(self, path: Path, first: int) -> Iterator[list[bytes]]:
        lines: list[bytes] = []
        size = 0
        for record in islice(read_report(path), first, None):
            line = sent_line(record, self._host, names=self._names)
            if lines and (len(lines) == RECORDS_MAX or size + len(line) > _PART_BYTES):
                yield lines
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if lines:
            yield lines

    def _ask(self, method: str, path: str, body: bytes | None = None) -> ReportState:
        """Send a request, again and again if the hub is busy or can't be reached."""
        packed = path.endswith("/records") or "/records?" in path
        headers = {"Content-Encoding": "gzip"} if packed else {}
        data = gzip.compress(body or b"", 1) if packed else body
        until = time.monotonic() + self._patience
        tries = 0
        while True:
            try:
                answer = self._client(method, path, data, headers)
                return validated(decode_json(answer), ReportState)
            except InvalidDocumentError:
                raise PushRefusedError("the hub answers with something that can't be used") from None
            except ServiceRefusedError as error:
                if error.status == HTTPStatus.CONFLICT:
                    raise _BehindError from None
                if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, 0}:
                    raise
                raise PushRefusedError(f"the hub does not take the report, and {error}") from error
            except ServiceBusyError as error:
                pause = max(_PAUSES[min(tries, len(_PAUSES) - 1)], error.wait or 0.0)
                if time.monotonic() + pause > until:
                    raise
                self._sleep(pause)
                tries += 1


class _BehindError(Exception):
    """The hub has not received the records before a part."""


def sent_line(record: Record, host: str, *, names: bool) -> bytes:
    """Return the line that is sent of a record; see `ReportPusher` for the other arguments."""
    if record["type"] == "scan":
        return line_of(
            {
                **_chosen(record, _OF_SCAN),
                "host": host or record["host"],
                "targets": [],
                "lists": [_chosen(one, _OF_LISTS) for one in record["lists"]],
                "excepted": [],
            }
        )
    if record["type"] == "summary":
        reasons = [_shown(reason, names=names) for reason in record["incomplete"][:_REASONS_MAX]]
        return line_of({**_chosen(record, _OF_SUMMARY), "incomplete": reasons})
    line = _line_of_file(record, names=names)
    # A path may be as long as its owner likes; its report must be sent all the same.
    return line if len(line) < RECORD_BYTES_MAX else _line_of_file(record, names=False)


def _shown(reason: Record, *, names: bool) -> Record:
    """Return a reason why a scan is incomplete as it is sent; with `names`, also what names a path."""
    sent = {key: text[:_REASON_MAX] for key, text in reason.items()}
    pathless = sent.pop("pathless", "")
    if not names and (pathless or "/" in reason["message"]):
        return {"code": sent["code"], "message": pathless or _HIDDEN}
    return sent


def _line_of_file(record: Record, *, names: bool) -> bytes:
    made = _chosen(record, _OF_FILES)
    if names:
        made |= _chosen(record, _NAMES)
    else:
        made |= {"path": "", "place": place_of(path_bytes(record), record.get("version", ""))}
    if record["type"] == "finding":
        made["because"] = ""
    if "matches" in record:
        made["matches"] = [_chosen(match, _OF_MATCHES) for match in record["matches"][:MATCHES_MAX]]
    if "sha256" in record.get("digests", {}):
        made["digests"] = {"sha256": record["digests"]["sha256"]}
    if "quarantine" in record:
        made["quarantine"] = _chosen(record["quarantine"], ("outcome",))
    line = line_of(made)
    # Ids of 100 entries may be this long; the file itself is named in any case.
    if len(line) < RECORD_BYTES_MAX:
        return line
    return line_of({**made, "matches": made.get("matches", [])[:10]})


def _chosen(record: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: record[key] for key in keys if key in record}


def _scope_of(scan: Record) -> str:
    if any(scan.get(key) for key in _NOT_ALL):
        return ""
    parts = msgspec.json.encode({key: scan.get(key) for key in _SCOPE}, order="deterministic")
    return hashlib.sha256(parts).hexdigest()


def _require_unlocked(path: Path) -> None:
    """Refuse a report that a scan is writing."""
    with output_errors(f"can't read the report {path}"), path.open("rb") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise LockedError(
                f"a scan is writing {path}", advice="Send the report when it has ended."
            ) from None
