"""The messages between a scan and a cluster's nodes: JSON, so that neither runs code that the other sent;
every field of an answer is checked.

Dask itself pickles how a task is called; see SECURITY.md. But a node's answer becomes an object here only
through this module, which checks each field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hashscan.lists.storage.columns import ListHandle
from hashscan.matching.policy import Policy, RestoredContent
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import (
    ALGORITHMS,
    CATEGORIES,
    ENTRY_ID_MAX,
    Access,
    Action,
    Batch,
    BatchResult,
    Digest,
    ExceptedEntry,
    FileResult,
    FileStat,
    Item,
    Match,
    Picture,
    PolicyRule,
    Reason,
    SandboxLevel,
    Verdict,
    Weak,
)
from hashscan.reports.record_validation import TEXT_MAX, InvalidValueError, array, flag, number, table, text
from hashscan.sandbox.client import SandboxOptions


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the policy as JSON data."""
    return {
        "rules": [asdict(rule) for rule in policy.rules],
        "act_on": list(policy.act_on),
        "weak_lists": dict(policy.weak_lists),
        "put_back": {
            sha256.hex(): [back.day, back.by, sorted(back.entries)]
            for sha256, back in policy.put_back.items()
        },
    }


def policy_from(document: dict[str, Any]) -> Policy:
    """Return the policy that was sent by the same version."""
    return Policy(
        tuple(_policy_rule(rule) for rule in document["rules"]),
        tuple(map(Weak, document["act_on"])),
        {name: Weak(weak) for name, weak in document["weak_lists"].items()},
        {
            bytes.fromhex(sha256): RestoredContent(day, by, frozenset(tuple(entry) for entry in entries))
            for sha256, (day, by, entries) in document["put_back"].items()
        },
    )


def _policy_rule(document: dict[str, Any]) -> PolicyRule:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in document.items()}
    return PolicyRule(**{**values, "action": Action(values["action"])})


_SETUP_LEFT_OUT = frozenset({"lists", "decoder"})
"""Fields that are not sent: each node uses its own lists and its own picture decoder."""


class AnswerError(ValueError):
    """A node's answer is not valid."""


@dataclass(frozen=True, slots=True)
class WantedList:
    """A list that a node must have itself."""

    name: str
    version: int
    local: bool
    """True for a local list: its versions are counted on each machine, so only the content is compared."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Job:
    """The message that a scan sends to every node before the first batch."""

    version: str
    """The version of hashscan."""
    lists: tuple[WantedList, ...]
    setup: WorkerSetup
    """The worker setup, without lists."""

    def to_bytes(self) -> bytes:
        """Return the message as it is sent."""
        setup = {f.name: getattr(self.setup, f.name) for f in fields(WorkerSetup)}
        for name in _SETUP_LEFT_OUT:
            del setup[name]
        setup["sandbox"] = asdict(self.setup.sandbox)
        setup["policy"] = policy_document(self.setup.policy)
        setup["access"] = asdict(self.setup.access)
        setup["excepted"] = [asdict(entry) for entry in self.setup.excepted]
        return dump_message(
            {"version": self.version, "lists": [asdict(wanted) for wanted in self.lists], "setup": setup}
        )


def version_of(data: bytes) -> str:
    """Return the version of hashscan that a job requires; all other fields may differ in another version."""
    return str(json.loads(data)["version"])


def unpack_job(data: bytes) -> Job:
    """Return the job that was sent by the same version."""
    document = json.loads(data)
    setup: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in document["setup"].items()
    }
    setup["sandbox"] = SandboxOptions(**setup["sandbox"])
    setup["policy"] = policy_from(document["setup"]["policy"])
    setup["access"] = Access(**setup["access"])
    setup["excepted"] = tuple(ExceptedEntry(**entry) for entry in setup["excepted"])
    return Job(
        document["version"],
        tuple(WantedList(**wanted) for wanted in document["lists"]),
        WorkerSetup(lists=(), **setup),
    )


def with_lists(job: Job, handles: tuple[ListHandle, ...]) -> WorkerSetup:
    """Return the setup of a node's worker."""
    values = {f.name: getattr(job.setup, f.name) for f in fields(WorkerSetup)}
    return WorkerSetup(**{**values, "lists": handles})


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer that a node's worker can check batches."""

    node: str
    """The node's id: equal for all workers of one `hashscan worker`, and different for every other."""
    host: str
    version: str
    process: str
    """The id of the worker's process; it changes when the worker is restarted."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The answer that a node's worker has as many scans as it can; the scan may ask again."""

    host: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer that a node can't take part, or no longer."""

    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Defect:
    """The answer that hashscan failed at a batch because of a defect."""

    host: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The answer of a worker without the scan: the scan was removed, or the process is another one."""

    process: str = ""
    """The process id as in `Ready`; empty if there is none."""


PrepareAnswer = Ready | Busy | Refused


def pack_greeting(greeting: PrepareAnswer) -> bytes:
    """Return the answer to a job as it is sent."""
    return dump_message({"kind": type(greeting).__name__.lower(), **asdict(greeting)})


def unpack_greeting(data: object) -> PrepareAnswer:
    """Return the answer to a job.

    Raises:
        AnswerError: the data is not a valid answer.
    """
    document = load_message(data)
    try:
        host = text(document.get("host"))
        match document.get("kind"):
            case "ready":
                node, version = text(document.get("node")), text(document.get("version"))
                return Ready(node, host, version, text(document.get("process")))
            case "busy":
                return Busy(host)
        return Refused(host, text(document.get("why")))
    except ValueError as error:
        raise AnswerError(str(error)) from error


def dump_message(document: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def load_message(data: object) -> dict[str, Any]:
    """Parse a message that a node sent.

    Raises:
        AnswerError: the data is not a JSON object.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise AnswerError("it is no bytes")
    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise AnswerError("it is no JSON") from error
    if not isinstance(document, dict):
        raise AnswerError("it is no object")
    return document


Answer = BatchResult | Refused | Defect | Unprepared


def pack_answer(batch: Batch, answer: Answer) -> bytes:
    """Return the answer to a batch as it is sent."""
    match answer:
        case Unprepared():
            return dump_message({"kind": "unprepared", **asdict(answer)})
        case Refused():
            return dump_message({"kind": "refused", **asdict(answer)})
        case Defect():
            return dump_message(
                {"kind": "defect", "host": answer.host, "traceback": answer.traceback[-TEXT_MAX:]}
            )
    results = [
        None if result == FileResult(item.name, result.stat, Verdict.CLEAN) else _result_fields(item, result)
        for item, result in zip(batch.items, answer.results, strict=True)
    ]
    level = None if answer.sandbox is None else asdict(answer.sandbox)
    return dump_message({"kind": "results", "results": results, "bytes": answer.bytes_read, "sandbox": level})


def unpack_answer(data: object, batch: Batch) -> Answer:
    """Return the answer to a batch.

    Names and stats are those of our own listing, whatever the node sends; but if the listing had no size of
    an object, the node's size is used.

    Raises:
        AnswerError: the data is not a valid answer.
    """
    document = load_message(data)
    try:
        match document.get("kind"):
            case "unprepared":
                return Unprepared(text(document.get("process")))
            case "refused":
                return Refused(text(document.get("host")), text(document.get("why")))
            case "defect":
                return Defect(text(document.get("host")), text(document.get("traceback")))
            case "results":
                return _results(document, batch)
        raise InvalidValueError("it is of no kind that there is")
    except ValueError as error:
        raise AnswerError(str(error)) from error


def _results(document: dict[str, Any], batch: Batch) -> BatchResult:
    found = array(document.get("results"))
    if len(found) != len(batch.items):
        raise InvalidValueError("it does not cover the batch")
    results = tuple(
        FileResult(item.name, item.stat, Verdict.CLEAN) if of_file is None else _result(item, table(of_file))
        for item, of_file in zip(batch.items, found, strict=True)
    )
    level = document.get("sandbox")
    return BatchResult(
        results, number(document.get("bytes")), None if level is None else _level(table(level))
    )


def _result_fields(item: Item, result: FileResult) -> dict[str, Any]:
    if result.augmented:
        raise ValueError("what is made to publish a list does not travel")
    return {
        "verdict": result.verdict.value,
        "reason": None if result.reason is None else result.reason.value,
        "size": result.stat.size if item.stat.size < 0 <= result.stat.size else None,
        "detail": result.detail[:TEXT_MAX],
        "action": None if result.action is None else result.action.value,
        "because": result.because[:TEXT_MAX],
        "matches": [asdict(match) for match in result.matches],
        "digests": [[d.algorithm, d.value.hex(), d.quality] for d in result.digests],
        "picture": None if result.picture is None else asdict(result.picture),
        "low_quality": result.low_quality,
        "only_test": result.only_test,
    }


def _result(item: Item, document: dict[str, Any]) -> FileResult:
    picture, reason, action = (document.get(key) for key in ("picture", "reason", "action"))
    return FileResult(
        item.name,
        _stat(item.stat, document.get("size")),
        Verdict(text(document.get("verdict"))),
        None if reason is None else Reason(text(reason)),
        detail=text(document.get("detail")),
        because=text(document.get("because")),
        action=None if action is None else Action(text(action)),
        matches=tuple(_match(table(match)) for match in array(document.get("matches"))),
        digests=tuple(_digest(array(digest)) for digest in array(document.get("digests"))),
        picture=None if picture is None else _picture(table(picture)),
        low_quality=flag(document.get("low_quality")),
        only_test=flag(document.get("only_test")),
    )


def _stat(listed: FileStat, size: object) -> FileStat:
    return listed if size is None or listed.size >= 0 else listed._replace(size=number(size))


def _match(document: dict[str, Any]) -> Match:
    entry_id, excepted = text(document.get("entry_id")), document.get("excepted")
    if len(entry_id) > ENTRY_ID_MAX or document.get("category") not in CATEGORIES:
        raise InvalidValueError("a match names an entry that can't be")
    return Match(
        text(document.get("list_name")),
        entry_id,
        _algorithm(document.get("algorithm")),
        document["category"],
        number(document.get("distance")),
        number(document.get("threshold")),
        text(document.get("variant")),
        text(document.get("doubt")),
        None if excepted is None else _excepted(table(excepted)),
        text(document.get("withheld")),
    )


def _excepted(document: dict[str, Any]) -> ExceptedEntry:
    return ExceptedEntry(**{f.name: text(document.get(f.name)) for f in fields(ExceptedEntry)})


def _digest(document: list[Any]) -> Digest:
    if len(document) != 3:
        raise InvalidValueError("a digest has three parts")
    name, digits, quality = document
    algorithm, value = _algorithm(name), bytes.fromhex(text(digits))
    if len(value) != ALGORITHMS[algorithm].size:
        raise InvalidValueError("a digest has another length")
    return Digest(algorithm, value, None if quality is None else number(quality))


def _picture(document: dict[str, Any]) -> Picture:
    return Picture(
        text(document.get("format")), number(document.get("width")), number(document.get("height"))
    )


def _level(document: dict[str, Any]) -> SandboxLevel:
    mode = text(document.get("mode"))
    if mode not in {"required", "auto", "off"}:
        raise InvalidValueError("the level of a sandbox is none")
    return SandboxLevel(
        mode,
        number(document.get("landlock")),
        *(flag(document.get(name)) for name in ("seccomp", "uid_dropped", "capabilities_dropped", "limits")),
    )


def _algorithm(name: object) -> str:
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise InvalidValueError("it names an algorithm that there isn't")
    return name
