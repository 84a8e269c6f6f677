"""The messages between a scan and a cluster's nodes: JSON, so that neither runs code that the other sent.

Dask itself pickles how a task is called; see SECURITY.md. But a node's answer becomes an object here only
through this module, which checks each field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from msgspec import Struct, structs

from hashscan.lists.storage.columns import ListHandle
from hashscan.matching.worker_setup import DECODER, WorkerSetup
from hashscan.model import (
    ALGORITHMS,
    CATEGORIES,
    ENTRY_ID_MAX,
    NONE_BY,
    RECOGNITION,
    Action,
    Batch,
    BatchResult,
    Digest,
    FileResult,
    Item,
    Match,
    Picture,
    Reason,
    SandboxLevel,
    Verdict,
)
from hashscan.schema import (
    NUMBER_MAX,
    TEXT_MAX,
    Count,
    InvalidDocumentError,
    Text,
    decode_json,
    encode_json,
    validated,
)


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
    lists: tuple[WantedList, ...]
    setup: WorkerSetup

    def to_bytes(self) -> bytes:
        return encode_json(replace(self, setup=with_lists(self, ())))


def version_of(data: bytes) -> str:
    """Return the version of hashscan that a job requires; all other fields may differ in another version."""
    return str(decode_json(data)["version"])


def unpack_job(data: bytes) -> Job:
    """Return the job, which only the same version can have sent."""
    return validated(decode_json(data), Job)


def with_lists(job: Job, handles: tuple[ListHandle, ...]) -> WorkerSetup:
    """Return the setup of a node's worker: each node uses its own lists and its own picture decoder."""
    return replace(job.setup, lists=handles, decoder=DECODER)


class Ready(Struct, frozen=True, tag="ready", tag_field="kind"):
    """The answer that a node's worker can check batches."""

    node: Text
    """The id of the worker and of those that are started when it dies."""
    host: Text
    version: Text
    process: Text
    """The id of the worker's process; it changes when the worker is restarted."""


class Busy(Struct, frozen=True, tag="busy", tag_field="kind"):
    """The answer that a node's worker has as many scans as it can; the scan may ask again."""

    host: Text


class Refused(Struct, frozen=True, tag="refused", tag_field="kind"):
    """The answer that a node can't take part, or no longer."""

    host: Text
    why: Text


class Defect(Struct, frozen=True, tag="defect", tag_field="kind"):
    """The answer that hashscan failed at a batch because of a defect."""

    host: Text
    traceback: Text
    """Only the end, if it is long."""


class Unprepared(Struct, frozen=True, tag="unprepared", tag_field="kind"):
    """The answer of a worker without the scan: the scan was removed, or the process is another one."""

    process: Text = ""
    """The process id as in `Ready`; empty if there is none."""


PrepareAnswer = Ready | Busy | Refused
Answer = BatchResult | Refused | Defect | Unprepared


class _FileAnswer(Struct, kw_only=True):
    """The result of one file, without what the scan has listed itself."""

    verdict: Verdict
    reason: Reason | None
    size: Count | None
    """The size in bytes, if only the node knows it."""
    detail: Text
    action: Action | None
    because: Text
    matches: tuple[Match, ...]
    digests: tuple[Digest, ...]
    picture: Picture | None
    low_quality: bool
    only_test: bool

    def __post_init__(self) -> None:
        for match in self.matches:
            _check_match(match)
        for digest in self.digests:
            size = ALGORITHMS[digest.algorithm].size if digest.algorithm in ALGORITHMS else None
            if len(digest.value) != size or not 0 <= (digest.quality or 0) <= NUMBER_MAX:
                raise ValueError("a digest is of an unknown algorithm, or has another length")
        if (picture := self.picture) is not None and not (
            len(picture.format) <= TEXT_MAX
            and 0 <= picture.width <= NUMBER_MAX
            and 0 <= picture.height <= NUMBER_MAX
        ):
            raise ValueError("a picture has values out of range")


_SENT_FIELDS = tuple(name for name in _FileAnswer.__struct_fields__ if name != "size")
"""The fields that are equal in `FileResult`."""


class _Results(Struct, tag="results", tag_field="kind", kw_only=True):
    """The results of a batch; None for a file that is clean."""

    results: tuple[_FileAnswer | None, ...]
    bytes: Count
    sandbox: SandboxLevel | None
    compared: Count
    not_compared: Count
    recognition: dict[Text, Count]

    def __post_init__(self) -> None:
        if not all(name in RECOGNITION or name.startswith(NONE_BY) for name in self.recognition):
            raise ValueError("a way of recognition is not known")
        if (level := self.sandbox) is not None and not (
            level.mode in {"required", "auto", "off"} and 0 <= level.landlock <= NUMBER_MAX
        ):
            raise ValueError("the level of the sandbox is not valid")


def pack_greeting(greeting: PrepareAnswer) -> bytes:
    return encode_json(greeting)


def unpack_greeting(data: object) -> PrepareAnswer:
    greeting: PrepareAnswer = _unpacked(data, PrepareAnswer)
    return greeting


def pack_answer(batch: Batch, answer: Answer) -> bytes:
    if isinstance(answer, Defect):
        return encode_json(Defect(answer.host, answer.traceback[-TEXT_MAX:]))
    if not isinstance(answer, BatchResult):
        return encode_json(answer)
    results = tuple(
        None if result == FileResult(item.name, result.stat, Verdict.CLEAN) else _file_answer(item, result)
        for item, result in zip(batch.items, answer.results, strict=True)
    )
    return encode_json(
        _Results(
            results=results,
            bytes=answer.bytes_read,
            sandbox=answer.sandbox,
            compared=answer.compared,
            not_compared=answer.not_compared,
            recognition=answer.recognition,
        )
    )


def unpack_answer(data: object, batch: Batch) -> Answer:
    """Return the answer to a batch.

    Names and stats are those of our own listing, whatever the node sends; but if the listing had no size of
    an object, the node's size is used.
    """
    answer: _Results | Refused | Defect | Unprepared
    answer = _unpacked(data, _Results | Refused | Defect | Unprepared)
    if not isinstance(answer, _Results):
        return answer
    most = max(answer.compared + answer.not_compared, *answer.recognition.values(), 0)
    if len(answer.results) != len(batch.items) or most > len(batch.items):
        raise AnswerError("it does not cover the batch")
    results = tuple(
        FileResult(item.name, item.stat, Verdict.CLEAN) if of_file is None else _file_result(item, of_file)
        for item, of_file in zip(batch.items, answer.results, strict=True)
    )
    return BatchResult(
        results,
        answer.bytes,
        answer.sandbox,
        compared=answer.compared,
        not_compared=answer.not_compared,
        recognition=answer.recognition,
    )


def _unpacked(data: object, shape: Any) -> Any:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise AnswerError("it is not bytes")
    try:
        return validated(decode_json(bytes(data)), shape)
    except InvalidDocumentError as error:
        raise AnswerError(str(error)) from error


def _file_answer(item: Item, result: FileResult) -> _FileAnswer:
    if result.augmented:
        raise ValueError("digests that are made to publish a list are not sent")
    size = result.stat.size if item.stat.size < 0 <= result.stat.size else None
    cut = structs.replace(result, detail=result.detail[:TEXT_MAX], because=result.because[:TEXT_MAX])
    return _FileAnswer(size=size, **{name: getattr(cut, name) for name in _SENT_FIELDS})


def _file_result(item: Item, answer: _FileAnswer) -> FileResult:
    size = item.stat.size if item.stat.size >= 0 or answer.size is None else answer.size
    fields: dict[str, Any] = {name: getattr(answer, name) for name in _SENT_FIELDS}
    return FileResult(item.name, item.stat._replace(size=size), **fields)


def _check_match(match: Match) -> None:
    excepted = () if match.excepted is None else structs.astuple(match.excepted)
    texts = (match.list_name, match.variant, match.member, match.withheld, *excepted)
    if not (
        match.algorithm in ALGORITHMS
        and match.category in CATEGORIES
        and len(match.entry_id) <= ENTRY_ID_MAX
        and 0 <= match.distance <= NUMBER_MAX
        and 0 <= match.threshold <= NUMBER_MAX
        and 0 <= match.scanned_share <= 100
        and max(map(len, texts)) <= TEXT_MAX
    ):
        raise ValueError("a match has an unknown algorithm or category, or a value out of range")
