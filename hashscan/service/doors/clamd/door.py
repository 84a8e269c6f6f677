"""Serve clients of clamd: commands and sessions, streams, passed descriptors, files by path.

The protocol names no owners. A connection may carry the uploads of many people, so each command of a session
is an owner of its own, and so is each connection without one; files by path are their user's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing, nullcontext
from pathlib import Path
from typing import ClassVar

from msgspec import structs

from hashscan import __version__
from hashscan.errors import HashscanError
from hashscan.service.doors.base import StreamDoor
from hashscan.service.doors.clamd.peer_files import Peer, beneath, peer_files
from hashscan.service.doors.clamd.protocol import (
    PATH_COMMANDS,
    Chunk,
    Command,
    Data,
    Descriptor,
    Parser,
    Refused,
    StreamEnd,
)
from hashscan.service.doors.clamd.streams import Held, Stream
from hashscan.service.doors.connection import Connection
from hashscan.service.doors.listening import peer_groups
from hashscan.service.engine.contents import Content
from hashscan.service.engine.engine import Engine
from hashscan.service.engine.uploads import (
    Answer,
    Client,
    Outcome,
    Overloaded,
    TooLarge,
    UnusableDescriptor,
    Upload,
)
from hashscan.settings.service import DoorSettings

# https://www.eicar.org/download-anti-malware-testfile/; in two parts, so that no scanner finds this module.
_EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + rb"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
_EICAR_MAX = 128
_WHITE = b" \t\n\r\x1a"
_MODEL = "1.4.0"
"""The version of clamd whose protocol is spoken; clients look for it."""

_IN_PROGRESS_MAX = 32
"""Most commands of a session that are answered at the same time; no more are read until one is."""
_PATHS_MAX = 4
"""Most commands of all clients that open files by path at the same time."""
_TOGETHER = 4
"""Files that MULTISCAN has checked at the same time."""
_DROP_BYTES = 1 << 30
"""Most bytes of a stream that is too long which are read and dropped."""
_PAUSE_SECONDS = 2.0
"""Seconds without a byte after which the client of such a stream is answered."""
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 1 << 24

_TIMED_OUT = b"COMMAND READ TIMED OUT\n"
_TOO_LONG = b"INSTREAM size limit exceeded. ERROR"
_NOT_NOW = b"Not checked, try again later ERROR"
_EICAR_FOUND = b": Eicar-Test-Signature FOUND"

_log = logging.getLogger(__name__)


class ClamdDoor(StreamDoor):
    """A door that speaks clamd's protocol."""

    protocol: ClassVar[str] = "clamd"
    half_close: ClassVar[bool] = True
    passes_descriptors: ClassVar[bool] = True

    def __init__(self, engine: Engine, settings: DoorSettings, root: Path | None = None) -> None:
        """Make a door; clients of a Unix socket may name files beneath the root, by paths without links."""
        super().__init__(engine, settings)
        self.root = root and root.resolve()
        self.paths = asyncio.Semaphore(_PATHS_MAX)
        self._reload: asyncio.Task[bool] | None = None
        self._versions: tuple[str, float] = ("", 0.0)

    async def serve(self, connection: Connection) -> None:
        await _Dialogue(self, connection).run()

    def refusal(self, reason: str) -> bytes:
        return f"Not accepted: {reason}. ERROR\n".encode()

    def version(self) -> bytes:
        """Return the answer to VERSION: a number that changes with the lists, and since when it is so."""
        if self._versions[0] != self.engine.version:
            self._versions = (self.engine.version, time.time())
        number = sum(info.version for info in self.engine.infos)
        return f"ClamAV {_MODEL}-hashscan-{__version__}/{number}/{time.ctime(self._versions[1])}".encode()

    def commands(self, *, local: bool) -> bytes:
        """Return the names of the commands that a client may use, as VERSIONCOMMANDS gives them."""
        names = [b"PING", b"VERSION", b"VERSIONCOMMANDS", b"STATS", b"IDSESSION", b"INSTREAM", b"END"]
        if local:
            names += [b"RELOAD", b"FILDES"]
            if self.root is not None:
                names += sorted(PATH_COMMANDS)
        return b" ".join(names)

    def stats(self) -> bytes:
        """Return the text that STATS is answered by; its figures are of connections."""
        live, most = self.connections, self.settings.connections_max
        return (
            f"POOLS: 1\n\nSTATE: VALID PRIMARY\nTHREADS: live {live}  idle 0 max {most} idle-timeout "
            f"{self.settings.idle_seconds:.0f}\nQUEUE: 0 items\n\nMEMSTATS: heap N/A mmap N/A used N/A "
            "free N/A releasable N/A pools 1 pools_used N/A pools_total N/A\nEND"
        ).encode()

    def reload(self) -> None:
        if self._reload is None or self._reload.done():
            self._reload = asyncio.get_running_loop().create_task(self.engine.reload())

    def found_name(self, answer: Answer) -> bytes:
        """Return the name of what was found; with list, entry and category only where the settings say so."""
        name = answer.threat or "hashscan.Blocked"
        if self.settings.show_entries and answer.result.matches:
            match = answer.result.matches[0]
            name += f".{match.list_name}.{match.entry_id}.{match.category}"
        return "".join(c if "!" <= c <= "~" and c not in ":()" else "_" for c in name).encode()


class _Dialogue:
    """The dialogue with one client."""

    def __init__(self, door: ClamdDoor, connection: Connection) -> None:
        self._door = door
        self._engine = door.engine
        self._connection = connection
        self._parser = Parser()
        self._local = connection.peer is not None
        self._stream: Stream | None = None
        self._passing: Command | None = None
        self._arrival = ExitStack()
        self._arriving = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            with self._arrival:
                await self._read()
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            if self._stream is not None:
                self._stream.refuse(b"")
            for task in self._tasks:
                task.cancel()

    async def _read(self) -> None:
        while not self._parser.ended:
            stream = self._stream if self._stream is not None and self._stream.refusal else None
            if stream is not None and stream.dropped > _DROP_BYTES:
                await self._end(stream.command.reply(stream.refusal))
                return
            try:
                data = await self._connection.read(_PAUSE_SECONDS if stream is not None else None)
            except TimeoutError:
                await self._end(_TIMED_OUT if stream is None else stream.command.reply(stream.refusal))
                return
            if not data:
                return
            for event in self._parser.feed(data):
                if isinstance(event, Data):
                    self._received(event.data)
                elif isinstance(event, Chunk):
                    self._announced(event.length)
                else:
                    await self._handle(event)
                    self._time_arrival(begun=False)
            self._time_arrival(begun=not self._parser.between and not self._parser.ended)

    async def _end(self, reply: bytes) -> None:
        """Send a last reply, and let the client see it before the connection is closed."""
        await self._connection.send(reply)
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._connection.end_sending()
        await self._connection.drop_rest(_LINGER_SECONDS, _LINGER_BYTES)

    def _time_arrival(self, *, begun: bool) -> None:
        """Limit the time in which a command that has begun must arrive in whole."""
        if begun == self._arriving:
            return
        self._arriving = begun
        if begun:
            self._arrival.enter_context(self._connection.request())
        else:
            self._arrival.close()

    async def _handle(self, event: Command | StreamEnd | Descriptor | Refused) -> None:
        match event:
            case StreamEnd():
                await self._stream_ended()
            case Command():
                await self._command(event)
            case Descriptor():
                await self._passed(event.position)
            case Refused():
                await self._end(event.reply)

    async def _command(self, command: Command) -> None:
        connection = self._connection
        match command.name:
            case b"PING":
                text = b"PONG"
            case b"VERSION":
                text = self._door.version()
            case b"VERSIONCOMMANDS":
                text = self._door.version() + b"| COMMANDS: " + self._door.commands(local=self._local)
            case b"STATS":
                text = self._door.stats()
            case b"INSTREAM":
                self._stream = Stream(command)
                return
            case b"FILDES":
                self._passing = command
                return
            case b"RELOAD" if self._local:
                self._door.reload()
                text = b"RELOADING"
            case _ if command.name in PATH_COMMANDS and self._local and self._door.root is not None:
                root = self._door.root
                await self._start(command, lambda: self._scan(command, root), None)
                return
            case _:
                text = b"UNKNOWN COMMAND"
        await connection.send(command.reply(text))

    async def _start(self, command: Command, work: Callable[[], Awaitable[None]], held: Held | None) -> None:
        """Do the work for a command; within a session, beside what follows.

        The work takes the content that is held; if the client leaves before it begins, it is closed.
        """
        if not command.number:
            with held or nullcontext():
                await self._work(work)
            return
        try:
            while len(self._tasks) >= _IN_PROGRESS_MAX:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if held is not None:
                held.close()
            raise
        task = asyncio.get_running_loop().create_task(self._work(work))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(task, held))

    def _done(self, task: asyncio.Task[None], held: Held | None) -> None:
        self._tasks.discard(task)
        if held is not None:
            held.close()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            _log.error("clamd: defect while serving %s", self._connection.client.address, exc_info=error)
            self._connection.end()

    async def _work(self, work: Callable[[], Awaitable[None]]) -> None:
        with self._connection.working():
            await work()

    def _announced(self, length: int) -> None:
        """Begin to receive a stream, or refuse it; a refused one is read on and dropped.

        No room is taken for what is only announced, since a client may announce more than it sends.
        """
        stream = self._stream
        assert stream is not None
        stream.announced(length)
        if stream.refusal:
            return
        try:
            if stream.receiving is None:
                stream.receiving = self._engine.receive()
            if stream.receiving.size + length > self._engine.room.upload_bytes:
                raise TooLarge(f"the stream has more than {self._engine.room.upload_bytes} bytes")
        except (TooLarge, Overloaded) as error:
            self._refuse(stream, error)

    def _received(self, data: memoryview) -> None:
        stream = self._stream
        assert stream is not None
        if stream.receiving is None:
            stream.dropped += len(data)
            return
        try:
            stream.receiving.write(data)
        except (TooLarge, Overloaded) as error:
            self._refuse(stream, error)

    def _refuse(self, stream: Stream, error: TooLarge | Overloaded) -> None:
        """Drop a stream that is not taken, and what follows of it."""
        self._engine.recorder.failed(self._connection.client, error)
        stream.refuse(self._too_long() if isinstance(error, TooLarge) else self._trouble(b"stream", error))

    async def _stream_ended(self) -> None:
        stream = self._stream
        assert stream is not None
        if stream.receiving is None and not stream.refusal:
            self._announced(0)  # it is empty
        self._stream = None
        if stream.receiving is None:
            await self._connection.send(stream.command.reply(stream.refusal))
            return
        content = stream.receiving.finish()
        if cut := stream.cut(content.size):
            self._door.warn(
                f"cut {cut}",
                f"{self._connection.client.address} has sent a stream of {content.size} bytes, as a client "
                f"that cuts files does ({cut}): larger ones are not checked in whole",
            )
        held = Held(content)
        await self._start(stream.command, lambda: self._check(stream.command, b"stream", held), held)

    async def _passed(self, position: int) -> None:
        command, self._passing = self._passing, None
        assert command is not None
        descriptor = self._connection.take_descriptor(position)
        if descriptor is None:
            await self._connection.send(command.reply(b"No file descriptor received. ERROR"))
            return
        label = b"fd[%d]" % descriptor
        content = self._content(label, descriptor)
        if isinstance(content, bytes):
            await self._connection.send(command.reply(content))
        else:
            held = Held(content)
            await self._start(command, lambda: self._check(command, label, held), held)

    def _content(self, label: bytes, descriptor: int) -> Content | bytes:
        """Return the content behind a descriptor, or the line that says why it is not checked."""
        try:
            return self._engine.passed(descriptor)
        except (UnusableDescriptor, TooLarge, Overloaded) as error:
            self._engine.recorder.failed(self._connection.client, error)
            if isinstance(error, UnusableDescriptor):
                return label + b": Not a regular file ERROR"
            if isinstance(error, TooLarge):
                return label + b": " + self._trouble_text(b"Size limit exceeded ERROR")
            return self._trouble(label, error)

    def _trouble(self, label: bytes, error: HashscanError) -> bytes:
        """Return the line about an upload that is not checked now, by the door's settings."""
        _log.info("clamd: %s: not checked: %s", self._connection.client.address, error)
        return label + b": " + self._trouble_text(_NOT_NOW)

    def _too_long(self) -> bytes:
        """Return the line about a stream that is too long, by the door's settings."""
        text = self._trouble_text(_TOO_LONG)
        return text if text is _TOO_LONG else b"stream: " + text

    def _trouble_text(self, error: bytes) -> bytes:
        """Return what is said of an upload that is not checked: by default, an error."""
        answer = self._door.settings.answers.get("trouble", "error")
        return {"allow": b"OK", "refuse": b"hashscan.Unchecked FOUND"}.get(answer, error)

    async def _check(self, command: Command, label: bytes, held: Held) -> None:
        """Check a content and send the reply."""
        upload = Upload(self._client(f"command {command.number}" if command.number else "", once=True))
        await self._connection.send(command.reply(await self._line(label, held.take(), upload)))

    def _client(self, owner: str, *, once: bool = False) -> Client:
        """Return the client with the owner of an upload, unless the settings have one for all. The owner is a
        name within the connection, empty if that has no other upload; `once` is True if the owner has no
        other one."""
        client = self._connection.client
        if client.owner:
            return client
        return structs.replace(client, owner=f"{client.connection} {owner}" if owner else "", once=once)

    async def _line(self, label: bytes, content: Content, upload: Upload) -> bytes:
        """Check a content, close it, and return the line about it."""
        if content.sealed and is_eicar(content.descriptor, content.size):
            content.close()
            return label + _EICAR_FOUND
        # What was passed is read by a worker only, since its file may be on a server that never answers.
        look = not content.sealed and content.size <= _EICAR_MAX
        try:
            answer = await self._engine.check(content, upload, self._door.settings, keep=look)
            if look and content.sealed and is_eicar(content.descriptor, content.size):
                return label + _EICAR_FOUND
        except HashscanError as error:
            return self._trouble(label, error)
        finally:
            if look:
                content.close()
        if answer.outcome is Outcome.REFUSE:
            return label + b": " + self._door.found_name(answer) + b" FOUND"
        return label + b": " + (b"OK" if answer.outcome is Outcome.ALLOW else _NOT_NOW)

    async def _scan(self, command: Command, root: Path) -> None:
        """Check a file by path, or the files beneath a folder.

        As in clamd, SCAN and ALLMATCHSCAN end at the first file that is found, and clean files have no lines
        of their own: the whole is OK if there is no other line.
        """
        connection = self._connection
        assert connection.peer is not None
        _, uid, gid = connection.peer
        together = _TOGETHER if command.name == b"MULTISCAN" else 1
        first_only = command.name in {b"SCAN", b"ALLMATCHSCAN"}
        checks: set[asyncio.Task[bool]] = set()
        lines = found = False
        given = command.argument.rstrip(b"/") or b"/"
        path = beneath(root, command.argument)
        if path is None:
            await connection.send(command.reply(_shown(given) + b": Access denied. ERROR"))
            return
        peer = Peer(uid, gid, peer_groups(connection.socket))
        try:
            async with self._door.paths, aclosing(peer_files(peer, path)) as files:
                async for file in files:
                    label = _shown(given + file.path[len(path) :])
                    if file.descriptor < 0:
                        content: Content | bytes = label + f": {file.problem} ERROR".encode()
                    else:
                        content = self._content(label, file.descriptor)
                    if isinstance(content, bytes):
                        lines = True
                        await connection.send(command.reply(content))
                        continue
                    upload = Upload(self._client(f"uid {file.uid}"), file.path)
                    checks.add(self._check_one(command, label, content, upload))
                    if len(checks) >= together:
                        done, checks = await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
                        found = found or any(task.result() for task in done)
                        if found and first_only:
                            break
            found = any(await asyncio.gather(*checks)) or found
        finally:
            for task in checks:
                task.cancel()
        if not (lines or found):
            await connection.send(command.reply(_shown(given) + b": OK"))

    def _check_one(
        self, command: Command, label: bytes, content: Content, upload: Upload
    ) -> asyncio.Task[bool]:
        """Begin to check one of several files; the task's result is True if a line was sent about it."""

        held = Held(content)

        async def check() -> bool:
            line = await self._line(label, held.take(), upload)
            if line.endswith(b": OK"):
                return False
            await self._connection.send(command.reply(line))
            return True

        task = asyncio.get_running_loop().create_task(check())
        task.add_done_callback(lambda _: held.close())
        return task


def _shown(path: bytes) -> bytes:
    """Return a path for a line: no byte of it ends the line, or begins another."""
    return bytes(byte if byte >= 0x20 and byte != 0x7F else ord("?") for byte in path)


def is_eicar(descriptor: int, size: int) -> bool:
    """Return True if an open file of `size` bytes is the EICAR test file; white space may follow it."""
    if not len(_EICAR) <= size <= _EICAR_MAX:
        return False
    content = os.pread(descriptor, _EICAR_MAX + 1, 0)
    return len(content) == size and content.startswith(_EICAR) and not content[len(_EICAR) :].strip(_WHITE)
