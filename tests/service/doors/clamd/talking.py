"""Talk to clamd and to our door as a client does, byte for byte."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hashscan.service.doors.clamd.door import ClamdDoor
from hashscan.service.engine.recorder import Recorder
from hashscan.settings.service import DoorSettings, TcpAddress, UnixAddress
from tests.service.engine.serving import DOOR, entry_of, serving, settings_of, store_list

CLAMD = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + rb"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
END = bytes(4)
OPEN = b"<open>"
"""The reply of a connection that is still open."""

Piece = bytes | float | tuple[bytes, Sequence[tuple[Path, int]]]
"""Bytes to send; seconds to wait; bytes with the paths and open(2) flags of descriptors."""


def chunk(data: bytes, announced: int | None = None) -> bytes:
    """Return a chunk of a stream, with another length if one is given."""
    return struct.pack(">I", len(data) if announced is None else announced) + data


def stream(data: bytes) -> bytes:
    """Return a stream of one chunk."""
    return chunk(data) + END


@contextmanager
def connected(address: UnixAddress | TcpAddress, seconds: float = 60) -> Iterator[socket.socket]:
    """Connect to a door or clamd."""
    family = socket.AF_UNIX if isinstance(address, UnixAddress) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(seconds)
        client.connect(
            str(address.path) if isinstance(address, UnixAddress) else (address.host, address.port)
        )
        yield client


def send(client: socket.socket, piece: Piece) -> None:
    """Send one piece of a dialogue."""
    if isinstance(piece, float):
        time.sleep(piece)
    elif isinstance(piece, bytes):
        client.sendall(piece)
    else:
        descriptors = [os.open(path, flags) for path, flags in piece[1]]
        try:
            socket.send_fds(client, [piece[0]], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def talk(
    address: UnixAddress | TcpAddress, pieces: Sequence[Piece], *, half: bool = False, seconds: float = 60
) -> bytes:
    """Send pieces, and return all that comes back until the connection ends.

    Args:
        address: where to connect.
        pieces: sent in their order.
        half: close the sending side afterwards.
        seconds: time after which a connection counts as open.
    """
    received = b""
    with connected(address, seconds) as client:
        try:
            for piece in pieces:
                send(client, piece)
            if half:
                client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while data := client.recv(65536):
                received += data
        except TimeoutError:
            return received + OPEN
        except ConnectionResetError:
            pass
    return received


def settings(address: UnixAddress | TcpAddress, **changes: Any) -> DoorSettings:
    """Return the settings of a clamd door."""
    return replace(DOOR, address=address, **changes)


@asynccontextmanager
async def clamd_door(
    folder: Path,
    *listed: bytes,
    tcp: bool = False,
    root: Path | None = None,
    recorder: Recorder | None = None,
    **changes: Any,
) -> AsyncIterator[ClamdDoor]:
    """Open a clamd door with an engine whose list has the digests of some contents."""
    limits = {key: changes.pop(key) for key in ("upload_bytes", "bytes_in_flight", "queue") if key in changes}
    store_list(folder / "state", *(entry_of(content, number) for number, content in enumerate(listed)))
    address = TcpAddress("127.0.0.1", 0) if tcp else UnixAddress(folder / "door.sock")
    async with serving(settings_of(folder / "state", **limits), recorder) as engine:
        door = ClamdDoor(engine, settings(address, **changes), root)
        await door.open()
        try:
            yield door
        finally:
            await door.close(0)


@contextmanager
def real_clamd(folder: Path, digests: str, **options: object) -> Iterator[UnixAddress]:
    """Start Debian's clamd with a database of SHA-256 digests, lines of a .hsb file."""
    assert CLAMD is not None
    database = folder / "database"
    database.mkdir()
    (database / "test.hsb").write_text(digests)
    path = folder / "clamd.sock"
    lines = {
        "DatabaseDirectory": database, "LocalSocket": path, "Foreground": "yes", "ReadTimeout": 5,
        "CommandReadTimeout": 5, "StreamMaxLength": "1M", "ConcurrentDatabaseReload": "no", "MaxThreads": 10,
    }  # fmt: skip
    configuration = folder / "clamd.conf"
    configuration.write_text("".join(f"{key} {value}\n" for key, value in (lines | options).items()))
    with (folder / "clamd.log").open("wb") as log:
        process = subprocess.Popen([CLAMD, "-c", configuration], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not path.exists():
                assert process.poll() is None, (folder / "clamd.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield UnixAddress(path)
        finally:
            process.kill()
            process.wait()
