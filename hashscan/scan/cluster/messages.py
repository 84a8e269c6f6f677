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
from hashscan.matching.setup import WorkerSetup
from hashscan.model import Access, ExceptedEntry
from hashscan.reports.record_values import text
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.cluster.policies import policy_document, policy_from

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
        setup["policy"] = policy_document(self.setup.policy)
        setup["access"] = asdict(self.setup.access)
        setup["excepted"] = [asdict(entry) for entry in self.setup.excepted]
        return dumped(
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
    setup["policy"] = policy_from(document["setup"]["policy"])
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
    process: str
    """Which process of that node it is; one that is started again is another."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A node's worker has as many sweeps under way as it can; it may be asked again."""

    host: str


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


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The worker knows nothing of the sweep: it has forgotten it, or is not the process that was prepared."""

    process: str = ""
    """As in `Ready`; empty where there is none."""


Greeting = Ready | Busy | Refused


def pack_greeting(greeting: Greeting) -> bytes:
    """The answer to a job as it is sent."""
    return dumped({"kind": type(greeting).__name__.lower(), **asdict(greeting)})


def unpack_greeting(data: object) -> Greeting:
    """The answer to a job.

    Raises:
        AnswerError: it is none.
    """
    document = loaded(data)
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


def dumped(document: Mapping[str, Any]) -> bytes:
    """A message as it is sent."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def loaded(data: object) -> dict[str, Any]:
    """A message that was sent by a node.

    Raises:
        AnswerError: it is none.
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
