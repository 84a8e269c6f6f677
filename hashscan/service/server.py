"""Run `hashscan serve`: one asyncio loop with the engine and the doors, from the start to the orderly end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from hashscan.atomic_files import output_errors, replace_file
from hashscan.errors import EXIT_CLEAN, HashscanError, OutputError, UsageError
from hashscan.sandbox.linux_process import release_memory, use_one_heap
from hashscan.service.doors.base import Door, allow_descriptors
from hashscan.service.doors.listening import describe
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.list_changes import RELOAD_SECONDS, list_state
from hashscan.service.engine.uploads import Client, Overloaded, Upload
from hashscan.service.records.journal import Journal
from hashscan.service.records.metrics import ServiceMetrics
from hashscan.service.records.recording import PROBE, UploadRecorder
from hashscan.service.service_manager import (
    inherited_sockets,
    notify,
    notify_reloading,
    watchdog_seconds,
)
from hashscan.settings.legal_basis import Protocol
from hashscan.settings.service import (
    NO_ADDRESS,
    AnswerTo,
    DoorSettings,
    ServeSettings,
    TcpAddress,
    UnixAddress,
)
from hashscan.text import plural

DOORS: dict[Protocol, str] = {
    "clamd": "hashscan.service.doors.clamd.door:ClamdDoor",
    "icap": "hashscan.service.doors.icap.door:IcapDoor",
    "http": "hashscan.service.doors.http.app:HttpDoor",
}
"""The class of each protocol's door, imported on first use."""

_COUNT_SECONDS = 1.0
"""Seconds of which the counts are lost if the process is killed."""
_CLOSE_SECONDS = 5.0
_TIDY_SECONDS = 10.0
"""Seconds between updates of the ledger, each followed by a collection of garbage: a transport of asyncio
refers to itself, so that each connection leaves some, and the interpreter collects what is not young only
when there is much of it."""
_DESCRIPTORS = 256
"""Descriptors besides those of connections and their uploads; many more than are used."""
_METRICS_SECONDS = 15.0
_LOOK_SECONDS = 1.0
_RELOAD_PAUSES = 4
"""Length of the pause after a reload, as a multiple of its time."""
_PROBES = 4
"""Probes in the time of the watchdog."""
_PROBE_CONTENT = b"hashscan probes itself"

_log = logging.getLogger(__name__)


class Server:
    """The service."""

    def __init__(self, settings: ServeSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._journal = Journal(settings.state)
        self._metrics = ServiceMetrics()
        self._doors: list[Door] = []
        self._stopping = asyncio.Event()
        self._reloads = asyncio.Event()
        self._recorder: UploadRecorder
        self._engine: Engine

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        use_one_heap()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.set)
        sockets = inherited_sockets(os.environ)
        doors = with_inherited(self._settings.doors, sockets)
        if not doors:
            raise UsageError("no door is named", advice="Name some: --clamd, --icap, --http.")
        self._settings = settings = replace(self._settings, doors=tuple(door for door, _ in doors))
        allow_descriptors(2 * sum(door.connections_max for door in settings.doors) + _DESCRIPTORS)
        seen = list_state(settings.state)
        async with AsyncExitStack() as opened:
            if not await self._started(self._start(opened)):
                return EXIT_CLEAN
            opened.push_async_callback(self._close_doors)
            await self._open_doors(doors)
            tasks = [asyncio.create_task(each) for each in self._background(seen)]
            opened.push_async_callback(_cancelled, tasks)
            # What lives as long as the service need not be looked at again.
            gc.collect()
            gc.freeze()
            notify("READY=1", f"STATUS={plural(len(self._doors), 'door')} open")
            self._say("ready")
            await self._stopping.wait()
            notify("STOPPING=1")
            self._say("stopping")
        return EXIT_CLEAN

    async def _start(self, opened: AsyncExitStack) -> None:
        """Open the journal and start the engine; `opened` closes them, and records what is left."""
        settings = self._settings
        with output_errors(f"can't write the state folder {settings.state}"):
            self._recorder = UploadRecorder(settings, self._journal, self._metrics)
        opened.push_async_callback(self._journal.close, _CLOSE_SECONDS)
        await self._journal.open()
        opened.push_async_callback(self._recorder.close, _CLOSE_SECONDS)
        self._engine = Engine(settings, self._recorder)
        opened.push_async_callback(self._engine.close)
        await self._engine.start()
        self._metrics.observe(self._engine, self._journal)
        opened.push_async_callback(self._write_metrics)

    def _stop(self) -> None:
        self._stopping.set()

    async def _started(self, starting: Coroutine[object, object, None]) -> bool:
        """Wait until the engine is started; return False if it is stopped before."""
        task = asyncio.ensure_future(starting)
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            return False
        task.result()
        return True

    async def _open_doors(self, doors: Iterable[tuple[DoorSettings, socket.socket | None]]) -> None:
        for settings, inherited in doors:
            options: dict[str, dict[str, Any]] = {
                "clamd": {"root": self._settings.clamd_root},
                "http": {
                    "keys": self._settings.http_keys,
                    "tls": self._settings.tls,
                    "metrics": self._metrics.render,
                },
            }
            door = door_class(settings.protocol)(self._engine, settings, **options.get(settings.protocol, {}))
            self._doors.append(door)
            await door.open(inherited)
            self._say(describe_door(settings))

    def _background(self, seen: object) -> Iterator[Coroutine[object, object, None]]:
        yield self._reload_on_change(seen)
        yield self._reload_on_request()
        yield _repeat(_COUNT_SECONDS, self._recorder.flush)
        yield _repeat(_TIDY_SECONDS, self._tidy)
        yield _repeat(_METRICS_SECONDS, self._write_metrics)
        if (seconds := watchdog_seconds(os.environ)) is not None:
            yield self._feed_watchdog(seconds)

    async def _reload_on_change(self, seen: object) -> None:
        """Reload when a list, an exception or a restored item has changed, and now and then."""
        wait = _LOOK_SECONDS
        reloaded = time.monotonic()
        while True:
            await asyncio.sleep(wait)
            now = await asyncio.to_thread(list_state, self._settings.state)
            if now != seen or time.monotonic() - reloaded > RELOAD_SECONDS:
                seen, begun = now, time.monotonic()
                await self._reload()
                reloaded = time.monotonic()
                # Large lists that change all the time must not keep a processor busy.
                wait = max(_LOOK_SECONDS, _RELOAD_PAUSES * (reloaded - begun))

    async def _reload_on_request(self) -> None:
        while True:
            await self._reloads.wait()
            self._reloads.clear()
            notify_reloading()
            try:
                await self._reload()
            finally:
                notify("READY=1")

    async def _reload(self) -> None:
        try:
            await self._engine.reload()
        except Exception:
            # A defect must not end the task: then no later list would be used, without a message.
            _log.exception("defect in a reload; the present lists stay in use")

    async def _tidy(self) -> None:
        """Bring the ledger up to date, and release the memory that this and the last requests needed."""
        try:
            await self._journal.sync_ledger()
        finally:
            release_memory()

    async def _write_metrics(self) -> None:
        path = self._settings.metrics
        if path is None:
            return
        try:
            await asyncio.to_thread(write_public, path, self._metrics.render())
        except OutputError as error:
            _log.error("%s", error)

    async def _feed_watchdog(self, seconds: float) -> None:
        """Tell the service manager that the engine answers, as long as it does.

        A worker answers a probe, or has answered an upload since the last time: under load a probe may find
        no room, and decoders that are busy up to their limit delay it.
        """
        answered = self._recorder.answered
        probe = asyncio.ensure_future(self._probe())
        try:
            while True:
                done, _ = await asyncio.wait({probe}, timeout=seconds / _PROBES)
                if self._recorder.answered != answered:
                    answered = self._recorder.answered
                    notify("WATCHDOG=1")
                if done:
                    await asyncio.sleep(seconds / _PROBES)
                    probe = asyncio.ensure_future(self._probe())
        finally:
            probe.cancel()

    async def _probe(self) -> None:
        """Have a worker check a content of our own; a check that is answered is counted by the recorder."""
        try:
            with self._engine.receive() as receiving:
                receiving.write(_PROBE_CONTENT)
                content = receiving.finish()
            await self._engine.check(content, Upload(Client(PROBE, "", 0, PROBE)), _PROBE_DOOR)
        except Overloaded as error:
            _log.debug("no room for a probe: %s", error)
        except HashscanError as error:
            _log.error("the engine answers no probe: %s", error)

    async def _close_doors(self) -> None:
        """Accept nothing more, and let requests in progress end."""
        if self._doors:
            await asyncio.wait(
                [asyncio.ensure_future(door.close(self._settings.stop_seconds)) for door in self._doors]
            )


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _repeat(seconds: float, work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Do the work again and again; a defect in it is logged, and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            _log.exception("defect in the background")


def door_class(protocol: Protocol) -> Callable[..., Door]:
    """Return the class of a protocol's door."""
    module, _, name = DOORS[protocol].partition(":")
    try:
        found: Callable[..., Door] = getattr(import_module(module), name)
    except ImportError as error:
        raise UsageError(
            f"the door {protocol} needs a package that is not installed: {error.name}",
            advice="Install the extra: pip install 'hashscan[serve]'.",
        ) from error
    return found


def with_inherited(
    doors: Sequence[DoorSettings], sockets: Iterable[tuple[str, socket.socket]]
) -> list[tuple[DoorSettings, socket.socket | None]]:
    """Return the doors, each with the socket that the service manager has opened for it, or None.

    A socket belongs to the door with its address. If no door has that, its name is the protocol, and the door
    has the settings of that protocol's doors.
    """
    given: dict[int, socket.socket] = {}
    more: list[tuple[DoorSettings, socket.socket | None]] = []
    for name, sock in sockets:
        address = address_of(sock)
        place = next(
            (n for n, door in enumerate(doors) if _place(door.address) == _place(address) and n not in given),
            None,
        )
        if place is not None:
            given[place] = sock
            continue
        if name not in DOORS:
            raise UsageError(
                f"the service manager's socket {describe(address)} is named {name!r}",
                advice=f"Name it in the socket unit, such as FileDescriptorName=clamd: {', '.join(DOORS)}.",
            )
        more.append((replace(_settings_of(name, doors), address=address), sock))
    # Doors without an address are only there to give their settings to such sockets.
    own = [(door, given.get(n)) for n, door in enumerate(doors) if _place(door.address) != _place(NO_ADDRESS)]
    return [*own, *more]


def _settings_of(protocol: str, doors: Iterable[DoorSettings]) -> DoorSettings:
    return next(door for door in doors if door.protocol == protocol)


def address_of(sock: socket.socket) -> UnixAddress | TcpAddress:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return UnixAddress(Path(os.fsdecode(name)))
    return TcpAddress(name[0], name[1])


def _place(address: UnixAddress | TcpAddress) -> object:
    return address.path if isinstance(address, UnixAddress) else (address.host, address.port)


def describe_door(settings: DoorSettings) -> str:
    """Return the start's message about a door: its address, owners, and what it does with each verdict."""
    answers = settings.answers
    parts = []
    for outcome, verb in (("refuse", "refuses"), ("error", "answers with an error to"), ("allow", "allows")):
        if names := [name for name, answer in answers.items() if answer == outcome]:
            parts.append(f"{verb} {', '.join(names)}")
    open_for = [name for name in ("ambiguous", "undecoded", "trouble") if answers[name] == "allow"]
    if answers["match"] != "refuse":
        open_for.insert(0, "match")
    mode = f"fail-open for {' and '.join(open_for)}" if open_for else "fail-closed"
    if answers["trouble"] == "error":
        mode += "; after an error, the client decides"
    owners = "each upload is an owner of its own"
    if settings.owner_header:
        owners = f"owners by {settings.owner_header}"
    if settings.one_owner:
        owners = "all clients are one owner"
    return f"{settings.protocol} at {describe(settings.address)}: {'; '.join(parts)} ({mode}); {owners}"


_PROBE_DOOR = DoorSettings(
    "clamd",
    NO_ADDRESS,
    dict.fromkeys(get_args(AnswerTo), "allow"),
)


def write_public(path: Path, data: bytes) -> None:
    """Write a file that every user may read, such as one for node_exporter."""
    with output_errors(f"can't write {path}"):
        replace_file(path, data, 0o644)
        with suppress(FileNotFoundError):
            os.chmod(path, 0o644)


def serve(settings: ServeSettings, say: Callable[[str], None]) -> int:
    """Run the service until it is stopped, and return the exit code; raises as `Server.run`."""

    async def run() -> int:
        return await Server(settings, say).run()

    return asyncio.run(run())
