"""The messages between a scan and a cluster's nodes: JSON, so that neither runs code that the other sent.

Dask itself pickles how a task is called; see SECURITY.md. But a node's answer becomes an object here only
through this module, which checks each field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hashscan.lists.columns import ListHandle
from hashscan.matching.setup import WorkerSetup
from hashscan.model import Access, ExceptedEntry
from hashscan.reports.record_values import text
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.cluster.policies import policy_document, policy_from

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
