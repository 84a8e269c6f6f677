"""Run one worker of the engine in a process of its own: check uploads and match digests, one after another.

The content of an upload comes as a descriptor. What others may still change is copied first, so that all
digests are of the same bytes. This process reads and digests it, recognises its format by signatures, and
looks up its digests; it parses nothing more. A decoder in the sandbox gets it if it is a container, or if it
is a picture and something compares digests of pictures (`WorkerSetup.pictures_compared`).

In a policy, an upload has neither a path nor a user: its sender chooses its name. The owner's number that its
decoder goes by takes the place of the user of a file.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
import traceback
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from hashscan.errors import HashscanError, OutputError
from hashscan.lists.services.settings import StoredService
from hashscan.lists.storage.columns import ColumnError
from hashscan.locking import ClosedOnExit
from hashscan.matching.evaluation import FileTask, Query, without_answer
from hashscan.matching.policy import sort_key
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, FileResult, FileStat, Item, Match, Reason, Verdict
from hashscan.scan.workers.decode_cache import DecodeCache
from hashscan.scan.workers.process_setup import die_with_parent
from hashscan.scan.workers.processes import close_inherited
from hashscan.scan.workers.worker import Worker
from hashscan.service.engine.contents import memory_file, seal
from hashscan.service.engine.messages import (
    Channel,
    Check,
    Checked,
    Failed,
    Found,
    GivenUp,
    Lookup,
    Ready,
    Reply,
    Request,
    Unusable,
    Used,
    decode_request,
    encode,
)
from hashscan.sources.base import FileError, Opener, OpenFile, OpenFolder

if TYPE_CHECKING:
    from hashscan.matching.remote.single import SingleAsker

GIVE_UP = signal.SIGUSR1
"""The signal to give up the request in progress, since nobody waits for it any more."""

SOURCE = "upload"

_BUDGET_SECONDS = 60.0
"""Time after which owners get their budget of decoders back; a service has no end, as a scan has."""

_ASK_AGAIN_SECONDS = 60.0
"""Time after which a matching service that was down is asked again."""

_COPY_BYTES = 1 << 20

SPARES = 2
"""Decoders forked ahead: one for the next owner, and one to confirm a match at once."""


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """The lists and settings that a worker of the engine uses."""

    version: str
    worker: WorkerSetup
    services: tuple[StoredService, ...] = ()
    took: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Algorithms that each matching service has ever taken, by the service's identity."""
    lists_version: str = ""
    """The version of the lists' entries, by which a filter of them is known."""

    def replaces(self, other: EngineSetup) -> bool:
        """Return True if a worker with the other setup can use this one without being started again."""
        return self.worker.decodes_as(other.worker)

    def has_files_of(self, other: EngineSetup) -> bool:
        return [each.folder for each in self.worker.lists] == [each.folder for each in other.worker.lists]


class _GivenUpError(BaseException):
    """The error that the request in progress is to be given up; nothing else catches it."""


class _UploadFile(OpenFile):
    """One upload that nobody can change."""

    fetched = True

    def __init__(self, descriptor: int, stat: FileStat) -> None:
        self._descriptor = descriptor
        self.stat = stat

    @property
    def descriptor(self) -> int:
        """The descriptor, which the worker's caller closes."""
        return self._descriptor

    def check_unchanged(self) -> None:
        """Do nothing, since it is sealed."""

    def close(self) -> None:
        """Do nothing."""


class Uploads(Opener, OpenFolder):
    """The opener of the upload that is checked at the moment."""

    descriptor = -1

    @contextmanager
    def reopen(self, batch: Batch) -> Iterator[OpenFolder]:
        """Yield this object."""
        yield self

    def prefetch(self, items: Sequence[Item]) -> None:
        """Do nothing, since it is in memory."""

    def open(self, item: Item) -> OpenFile:
        return _UploadFile(self.descriptor, item.stat)

    def close(self) -> None:
        """Do nothing."""


class Checker(ClosedOnExit):
    """A worker with its lists, exceptions, policy and matching services."""

    def __init__(self, setup: EngineSetup, decode_cache: DecodeCache | None = None) -> None:
        self._uploads = Uploads()
        self.worker = Worker(setup.worker, decode_cache, {SOURCE: self._uploads})
        self._setup = setup
        self._renewed = time.monotonic()
        self._asker: SingleAsker | None = None
        self._asked_since = 0.0
        self._ask_services()

    def answer(self, request: Request, descriptor: int) -> tuple[Reply, int]:
        """Do what a request says; return the answer, and a descriptor to send with it, or -1."""
        if isinstance(request, Check):
            return self._check(request, descriptor)
        if isinstance(request, Lookup):
            return self._look_up(request), -1
        return self._use(pickle.loads(request.setup)), -1  # noqa: S301 - of our own process

    def _check(self, request: Check, descriptor: int) -> tuple[Reply, int]:
        self._renew()
        stat = FileStat(0, 0, request.size, 0, 0, 1, request.owner)
        copy = -1
        if not request.sealed:
            try:
                copy, size = _sealed_copy(descriptor, request.size)
            except FileError as trouble:
                result = FileResult(b"", stat, Verdict.UNREADABLE, trouble.reason, trouble.detail)
                return Checked(self._setup.version, result, request.size, self.worker.level), -1
            stat = stat._replace(size=size)
            descriptor = copy
        try:
            self._uploads.descriptor = descriptor
            answer = self.worker.check(Batch(SOURCE, b"", b"", 0, 0, (Item(b"", stat),)))
        except BaseException:
            if copy >= 0:
                os.close(copy)
            raise
        (result,) = answer.results
        if self._asker is not None and self._asker.silent:
            result = without_answer(result, self._asker.silent)
        return Checked(self._setup.version, result, stat.size, answer.sandbox), copy

    def _look_up(self, request: Lookup) -> Reply:
        self._renew()
        found: list[list[Match]] = [[] for _ in request.digests]
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, (algorithm, _) in enumerate(request.digests):
            places[algorithm].append(place)
        for algorithm, of_algorithm in places.items():
            queries = [Query(request.digests[place][1]) for place in of_algorithm]
            for row, match in self.worker.matcher.ask(algorithm, queries):
                found[of_algorithm[row]].append(match)
        silent: list[str] = []
        if self._asker is not None:
            for place, (algorithm, value) in enumerate(request.digests):
                found[place] += self._asker.matches({algorithm: value})
                silent += [name for name in self._asker.silent if name not in silent]
        for matches in found:
            matches.sort(key=sort_key)
        return Found(self._setup.version, found, silent)

    def _use(self, setup: EngineSetup) -> Reply:
        try:
            self.worker.use(setup.worker)
        except (ColumnError, OSError) as error:
            return Used(self._setup.version, str(error))
        except Exception:  # a defect; the engine reports it, and the present lists stay in use
            return Used(self._setup.version, traceback.format_exc())
        self._setup = setup
        self._ask_services()
        return Used(setup.version, "")

    def _ask_services(self) -> None:
        if self._asker is not None:
            self._asker.close()
            self._asker = self.worker.consult = None
        self._asked_since = time.monotonic()
        if self._setup.services:
            # Only this needs what TLS does.
            from hashscan.matching.remote.single import SingleAsker

            self._asker = SingleAsker(self._setup.services, self._setup.worker.excepted, self._setup.took)
            self.worker.consult = self._consult

    def _consult(self, files: Sequence[FileTask]) -> None:
        assert self._asker is not None
        self._asker.consult(files)

    def _renew(self) -> None:
        """Renew budgets and connections after their intervals."""
        now = time.monotonic()
        if now - self._renewed >= _BUDGET_SECONDS:
            self._renewed = now
            self.worker.sandbox.renew_budgets()
        down = self._asker is not None and self._asker.down
        if down and now - self._asked_since >= _ASK_AGAIN_SECONDS:
            self._ask_services()

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()
        self.worker.close()


def _sealed_copy(descriptor: int, size: int) -> tuple[int, int]:
    """Copy a file that others may change, and whose offset they may move; return the copy and its size. One
    that has become longer than `size` bytes is an error."""
    copy = -1
    try:
        copy, done = memory_file(), 0
        # One byte more than expected shows that it has grown.
        while piece := os.pread(descriptor, min(_COPY_BYTES, size - done + 1), done):
            done += len(piece)
            if done > size:
                raise FileError(Reason.CHANGED, "it is longer than it was")
            view = memoryview(piece)
            while view:
                view = view[os.write(copy, view) :]
        seal(copy)
    except BaseException as error:
        if copy >= 0:
            os.close(copy)
        if isinstance(error, OSError):
            raise FileError(Reason.IO_ERROR, error.strerror or str(error)) from error
        raise
    return copy, done


class _Interrupter:
    """The handler of the signal to give up."""

    def __init__(self) -> None:
        self._checking = False
        signal.signal(GIVE_UP, self._give_up)

    def _give_up(self, *_: object) -> None:
        # Sent too late, it means an upload that was answered before.
        if self._checking:
            self._checking = False
            raise _GivenUpError

    def answer(self, checker: Checker, request: Request, descriptor: int) -> tuple[Reply, int]:
        """Answer a request, which may be given up."""
        try:
            self._checking = True
            answer = checker.answer(request, descriptor)
            self._checking = False
        except _GivenUpError:
            return GivenUp(), -1
        except Exception:  # a defect, which the engine reports
            self._checking = False
            return Failed(traceback.format_exc()), -1
        return answer


def run(connection: socket.socket, setup: EngineSetup, decode_cache: DecodeCache) -> None:
    """Serve requests until the engine has gone; the main function of the process."""
    # The engine decides when the workers stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    interrupter = _Interrupter()
    channel = Channel(connection)
    with suppress(EOFError, ConnectionError):
        try:
            checker = Checker(setup, decode_cache)
            close_inherited()
            ready: Reply = Ready(checker.worker.sandbox.start())
            checker.worker.prepare(SPARES)
        except HashscanError as error:
            ready = Unusable(type(error).__name__, str(error), error.remedy)
        except (ColumnError, OSError) as error:
            ready = Unusable("OutputError", f"a list can't be opened: {error}", OutputError.advice)
        channel.send(encode(ready))
        if isinstance(ready, Ready):
            serve(channel, checker, interrupter)


def serve(channel: Channel, checker: Checker, interrupter: _Interrupter) -> NoReturn:
    """Answer requests one after another."""
    while True:
        message, descriptor = channel.receive()
        request = decode_request(message)
        try:
            answer, passed = interrupter.answer(checker, request, descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        try:
            channel.send(encode(answer), passed)
        finally:
            if passed >= 0:
                os.close(passed)
        checker.worker.prepare(SPARES)
        if isinstance(request, Check) and request.once:
            checker.worker.leave()
