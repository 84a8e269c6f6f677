"""What a sweep and a cluster's nodes say to each other: JSON, so that neither runs what the other sent.

Dask itself pickles how a task is called; see SECURITY.md. But no answer of a node becomes an object here by
any other way than through this module, which checks each field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hashscan.lists.columns import ListHandle
from hashscan.model import (
    ALGORITHMS,
    CATEGORIES,
    ENTRY_ID_MAX,
    Access,
    Batch,
    BatchResult,
    Digest,
    ExceptedEntry,
    FileResult,
    Match,
    Picture,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.setup import WorkerSetup

_TEXT_MAX = 4096
_NUMBER_MAX = 1 << 62
_SETUP_LEFT_OUT = frozenset({"lists", "decoder"})
"""The lists are each node's own, and so is what it parses pictures with."""


class AnswerError(ValueError):
    """A node's answer is not what it must be."""


@dataclass(frozen=True, slots=True)
class WantedList:
    """A list that a node must have itself."""

    name: str
    version: int
    local: bool
    """Its versions are counted on each machine, so only the content is compared."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Job:
    """What a sweep wants of every node, before the first batch."""

    version: str
    """Of hashscan."""
    lists: tuple[WantedList, ...]
    setup: WorkerSetup
    """Without lists."""

    def to_bytes(self) -> bytes:
        """As it is sent."""
        setup = {f.name: getattr(self.setup, f.name) for f in fields(WorkerSetup)}
        for name in _SETUP_LEFT_OUT:
            del setup[name]
        setup["sandbox"] = asdict(self.setup.sandbox)
        setup["access"] = asdict(self.setup.access)
        setup["excepted"] = [asdict(entry) for entry in self.setup.excepted]
        return _dumped(
            {"version": self.version, "lists": [asdict(wanted) for wanted in self.lists], "setup": setup}
        )


def version_of(data: bytes) -> str:
    """The version of hashscan that a job asks for; all else may look different in another version."""
    return str(json.loads(data)["version"])


def unpack_job(data: bytes) -> Job:
    """The job that was sent, by the same version."""
    document = json.loads(data)
    setup: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in document["setup"].items()
    }
    setup["sandbox"] = SandboxOptions(**setup["sandbox"])
    setup["access"] = Access(**setup["access"])
    setup["excepted"] = tuple(ExceptedEntry(**entry) for entry in setup["excepted"])
    return Job(
        document["version"],
        tuple(WantedList(**wanted) for wanted in document["lists"]),
        WorkerSetup(lists=(), **setup),
    )


def with_lists(job: Job, handles: tuple[ListHandle, ...]) -> WorkerSetup:
    """What a node's worker is told."""
    values = {f.name: getattr(job.setup, f.name) for f in fields(WorkerSetup)}
    return WorkerSetup(**{**values, "lists": handles})


@dataclass(frozen=True, slots=True)
class Ready:
    """A node's worker can check batches."""

    node: str
    """The same for all workers of one `hashscan worker`, and different for every other."""
    host: str
    version: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A node can't take part, or no longer."""

    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Defect:
    """Something in hashscan broke over a batch."""

    host: str
    traceback: str


class Unprepared:
    """The worker knows nothing of the sweep; it is not the process that was prepared."""


Greeting = Ready | Refused
Answer = BatchResult | Refused | Defect | Unprepared


def pack_greeting(greeting: Greeting) -> bytes:
    """The answer to a job as it is sent."""
    return _dumped({"kind": "ready" if isinstance(greeting, Ready) else "refused", **asdict(greeting)})


def unpack_greeting(data: object) -> Greeting:
    """The answer to a job.

    Raises:
        AnswerError: it is none.
    """
    document = _loaded(data)
    host = _text(document.get("host"))
    if document.get("kind") == "ready":
        return Ready(_text(document.get("node")), host, _text(document.get("version")))
    return Refused(host, _text(document.get("why")))


def pack_answer(batch: Batch, answer: Answer) -> bytes:
    """The answer to a batch as it is sent."""
    match answer:
        case Unprepared():
            return _dumped({"kind": "unprepared"})
        case Refused():
            return _dumped({"kind": "refused", **asdict(answer)})
        case Defect():
            return _dumped(
                {"kind": "defect", "host": answer.host, "traceback": answer.traceback[-_TEXT_MAX:]}
            )
    results = [
        None if result == FileResult(item.name, result.stat, Verdict.CLEAN) else _result_fields(result)
        for item, result in zip(batch.items, answer.results, strict=True)
    ]
    level = None if answer.sandbox is None else asdict(answer.sandbox)
    return _dumped({"kind": "results", "results": results, "bytes": answer.bytes_read, "sandbox": level})


def unpack_answer(data: object, batch: Batch) -> Answer:
    """The answer to a batch; names and stats are what was listed here, whatever the node says.

    Raises:
        AnswerError: it is none.
    """
    document = _loaded(data)
    kind = document.get("kind")
    if kind == "unprepared":
        return Unprepared()
    if kind == "refused":
        return Refused(_text(document.get("host")), _text(document.get("why")))
    if kind == "defect":
        return Defect(_text(document.get("host")), _text(document.get("traceback")))
    found = document.get("results")
    if kind != "results" or not isinstance(found, list) or len(found) != len(batch.items):
        raise AnswerError("it does not cover the batch")
    results = tuple(
        FileResult(
            item.name, item.stat, **({"verdict": Verdict.CLEAN} if of_file is None else _result(of_file))
        )
        for item, of_file in zip(batch.items, found, strict=True)
    )
    level = document.get("sandbox")
    return BatchResult(results, _number(document.get("bytes")), None if level is None else _level(level))


def _result_fields(result: FileResult) -> dict[str, Any]:
    if result.augmented:
        raise ValueError("what is made to publish a list does not travel")
    return {
        "verdict": result.verdict.value,
        "reason": None if result.reason is None else result.reason.value,
        "detail": result.detail[:_TEXT_MAX],
        "because": result.because[:_TEXT_MAX],
        "matches": [asdict(match) for match in result.matches],
        "digests": [[d.algorithm, d.value.hex(), d.quality] for d in result.digests],
        "picture": None if result.picture is None else asdict(result.picture),
        "low_quality": result.low_quality,
        "only_test": result.only_test,
    }


def _result(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise AnswerError("a file's result is no object")
    picture, reason = document.get("picture"), document.get("reason")
    try:
        return {
            "verdict": Verdict(_text(document.get("verdict"))),
            "reason": None if reason is None else Reason(_text(reason)),
            "detail": _text(document.get("detail")),
            "because": _text(document.get("because")),
            "matches": tuple(_match(match) for match in _list(document.get("matches"))),
            "digests": tuple(_digest(digest) for digest in _list(document.get("digests"))),
            "picture": None if picture is None else _picture(picture),
            "low_quality": _flag(document.get("low_quality")),
            "only_test": _flag(document.get("only_test")),
        }
    except AnswerError:
        raise
    except ValueError as error:
        raise AnswerError("it uses a word that no answer has") from error


def _match(document: Any) -> Match:
    if not isinstance(document, dict):
        raise AnswerError("a match is no object")
    entry_id, excepted = _text(document.get("entry_id")), document.get("excepted")
    if len(entry_id) > ENTRY_ID_MAX or document.get("category") not in CATEGORIES:
        raise AnswerError("a match names an entry that can't be")
    return Match(
        _text(document.get("list_name")),
        entry_id,
        _algorithm(document.get("algorithm")),
        document["category"],
        _number(document.get("distance")),
        _number(document.get("threshold")),
        _text(document.get("variant")),
        _text(document.get("doubt")),
        None if excepted is None else _excepted(excepted),
    )


def _excepted(document: Any) -> ExceptedEntry:
    if not isinstance(document, dict):
        raise AnswerError("an exception is no object")
    return ExceptedEntry(**{f.name: _text(document.get(f.name)) for f in fields(ExceptedEntry)})


def _digest(document: Any) -> Digest:
    if not isinstance(document, list) or len(document) != 3:
        raise AnswerError("a digest has three parts")
    name, digits, quality = document
    algorithm, value = _algorithm(name), bytes.fromhex(_text(digits))
    if len(value) != ALGORITHMS[algorithm].size:
        raise AnswerError("a digest has another length")
    return Digest(algorithm, value, None if quality is None else _number(quality))


def _picture(document: Any) -> Picture:
    if not isinstance(document, dict):
        raise AnswerError("a picture is no object")
    return Picture(
        _text(document.get("format")), _number(document.get("width")), _number(document.get("height"))
    )


def _level(document: Any) -> SandboxLevel:
    if not isinstance(document, dict) or document.get("mode") not in {"required", "auto", "off"}:
        raise AnswerError("the level of a sandbox is none")
    return SandboxLevel(
        document["mode"],
        _number(document.get("landlock")),
        *(_flag(document.get(name)) for name in ("seccomp", "uid_dropped", "capabilities_dropped", "limits")),
    )


def _algorithm(name: Any) -> str:
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise AnswerError("it names an algorithm that there isn't")
    return name


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise AnswerError("a text is none, or too long")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _NUMBER_MAX:
        raise AnswerError("a number is none, or out of range")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise AnswerError("a flag is neither true nor false")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise AnswerError("a list is none")
    return value


def _dumped(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _loaded(data: object) -> dict[str, Any]:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise AnswerError("it is no bytes")
    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise AnswerError("it is no JSON") from error
    if not isinstance(document, dict):
        raise AnswerError("it is no object")
    return document
