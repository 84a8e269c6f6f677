"""A service for tests: a door and the real engine with a list of drawn pictures, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hashscan.errors import HashscanError
from hashscan.hashing.pdq import PDQ
from hashscan.lists.store import ListStore
from hashscan.model import Entry, FileResult, Verdict
from hashscan.service.doors.base import Door
from hashscan.service.engine.contents import Content
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.recorder import NoRecorder, Recorder
from hashscan.service.engine.uploads import Client, Outcome, Upload
from hashscan.settings.legal_basis import Protocol
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.service import DoorSettings, EngineLimits, ServeSettings, TcpAddress
from hashscan.state_dir import StateDir
from tests.pictures import encoded, scene

T = TypeVar("T")
PLANTED = 7
"""Seed of the listed picture."""
LIST, ENTRY = "national", "entry-7"
SMALL_LIMITS = EngineLimits(workers=1, upload_bytes=4 << 20, bytes_in_flight=32 << 20)
STRICT: dict[Any, Any] = {
    "match": "refuse",
    "held": "allow",
    "review": "allow",
    "ambiguous": "refuse",
    "undecoded": "refuse",
    "trouble": "error",
}


@cache
def planted() -> bytes:
    """The listed picture, recompressed: only similarity finds it."""
    return encoded(scene(PLANTED), quality=60)


@cache
def clean() -> bytes:
    """A picture that no list has."""
    return encoded(scene(8))


@cache
def _digest() -> bytes:
    value, quality = PDQ().digest(np.asarray(scene(PLANTED).convert("L")))
    assert quality > 80
    return value


def make_state(folder: Path, **entries: bytes) -> StateDir:
    """A state folder with a list of the planted picture, and of more PDQs by entry."""
    state = StateDir(folder)
    found = [Entry(name, "pdq", value, "A1") for name, value in {ENTRY: _digest(), **entries}.items()]
    ListStore(state.lists).import_entries(LIST, found, "drawn")
    return state


def tcp_door(protocol: Protocol, port: int = 0, **changed: Any) -> DoorSettings:
    """Settings of a door at a port of loopback."""
    return replace(DoorSettings(protocol, TcpAddress("127.0.0.1", port), STRICT), **changed)


class Service:
    """An engine with one door, in a loop of its own thread."""

    def __init__(self, door: Door, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.door = door
        self.engine = engine
        self._loop = loop

    @property
    def address(self) -> Any:
        """The address of the door."""
        return self.door.address  # type: ignore[attr-defined]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine in the service's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def reload(self) -> None:
        """Take the lists as they are now."""
        assert self.run(self.engine.reload())

    def is_idle(self) -> bool:
        """Return True if no upload is held."""
        return not self.engine.room.contents and not self.engine.room.taken


@contextmanager
def served(
    state: StateDir,
    make_door: Callable[[Engine, DoorSettings], Door],
    door: DoorSettings,
    limits: EngineLimits = SMALL_LIMITS,
    recorder: Recorder | None = None,
) -> Iterator[Service]:
    """Serve at a door within the block; at its end nothing may be left of any upload."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="service")
    thread.start()

    async def begin() -> Service:
        engine = Engine(ServeSettings((door,), state, None, limits, DecodingLimits()), recorder)
        await engine.start()
        try:
            opened = make_door(engine, door)
            await opened.open()
        except BaseException:
            await engine.close()
            raise
        return Service(opened, engine, loop)

    async def end(service: Service) -> None:
        await service.door.close(1)
        await service.engine.close()

    try:
        service = asyncio.run_coroutine_threadsafe(begin(), loop).result()
        try:
            yield service
        finally:
            asyncio.run_coroutine_threadsafe(end(service), loop).result()
        assert service.is_idle()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Cases(NoRecorder):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.refusals: list[tuple[Upload, FileResult]] = []
        self.verdicts: list[Verdict] = []
        self.failures: list[HashscanError] = []

    async def refused(self, upload: Upload, result: FileResult, content: Content) -> str:
        self.refusals.append((upload, result))
        return await super().refused(upload, result, content)

    def checked(self, client: Client, verdict: Verdict, outcome: Outcome, size: int, seconds: float) -> None:
        self.verdicts.append(verdict)

    def failed(self, client: Client, error: HashscanError) -> None:
        self.failures.append(error)


class Defects(logging.Handler):
    """Keeps errors that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
