"""The answer of a node to a batch: JSON, whose fields are all checked before it becomes a result."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from hashscan.model import (
    ALGORITHMS,
    CATEGORIES,
    ENTRY_ID_MAX,
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
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.reports.record_values import TEXT_MAX, InvalidValueError, array, flag, number, table, text
from hashscan.scan.cluster.messages import (
    AnswerError,
    Defect,
    Refused,
    Unprepared,
    dump_message,
    load_message,
)

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
