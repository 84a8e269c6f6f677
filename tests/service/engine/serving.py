"""An engine on lists that tests draw, in the loop of a test."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from hashscan.lists.store import ListStore
from hashscan.model import Entry
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.recorder import Recorder
from hashscan.service.engine.uploads import Answer, Client, Upload
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.service import DoorSettings, EngineLimits, ServeSettings, UnixAddress
from hashscan.state_dir import StateDir
from tests.pictures import encoded, scene

T = TypeVar("T")

DOOR = DoorSettings(
    "clamd",
    UnixAddress(Path("/nowhere")),
    {"match": "refuse", "held": "allow", "review": "allow", "undecoded": "allow", "trouble": "error"},
)


def picture(seed: int) -> bytes:
    """A small JPEG."""
    return encoded(scene(seed), quality=85)


def entry_of(content: bytes, number: int = 0, category: str = "A1") -> Entry:
    """An entry with the SHA-256 of a content."""
    return Entry(f"e{number}", "sha256", hashlib.sha256(content).digest(), category)


PDQ_ENTRY = Entry("pdq", "pdq", hashlib.sha256(b"no picture").digest(), "A1")
"""An entry that matches none of the pictures here. With it, pictures are decoded."""


def store_list(state: Path, *entries: Entry, name: str = "ours") -> None:
    """Store a list, in the place of an earlier one."""
    ListStore(StateDir(state).lists).import_entries(name, entries, "test")


def settings_of(state: Path, **limits: Any) -> ServeSettings:
    """Settings with two workers."""
    return ServeSettings(
        (DOOR,), StateDir(state), None, EngineLimits(**({"workers": 2} | limits)), DecodingLimits()
    )


@asynccontextmanager
async def serving(settings: ServeSettings, recorder: Recorder | None = None) -> AsyncIterator[Engine]:
    """An engine that was started."""
    engine = Engine(settings, recorder)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def client(number: int = 1, owner: str = "") -> Client:
    """The client of a connection."""
    return Client("clamd", "uid=0", number, owner)


async def check(engine: Engine, content: bytes, of: Client | None = None, **options: Any) -> Answer:
    """Have a content checked that arrives as bytes."""
    receiving = engine.receive()
    receiving.write(content)
    return await engine.check(receiving.finish(), Upload(of or client()), DOOR, **options)


def open_as(name: str) -> int:
    """Return how many descriptors lead to something of that name."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += name in os.readlink(f"/proc/self/fd/{descriptor}")
    return found


async def until(happened: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait in the loop until it has happened."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[T]]) -> T:
    """Run a test in a loop, which may take long on a busy machine but not for ever."""

    async def timed() -> T:
        async with asyncio.timeout(300):
            return await test()

    return asyncio.run(timed())
