"""Read from and write to one client of a door: limits of time, passed descriptors, clients that leave.

The loop's own streams are not used: they know nothing of descriptors, and make several timers and turns of
the loop for each request, which takes longer than parsing it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import ClassVar

from hashscan.service.engine.contents import DescriptorCloser
from hashscan.service.engine.uploads import Client
from hashscan.settings.service import DoorSettings

READ_BYTES = 1 << 16
"""Most bytes that one read of a connection returns; at most three times as many wait to be read."""

FLUSH_SECONDS = 5.0
"""Time that a client gets at the end to take what is left to be sent."""
_POLL_SECONDS = 0.1
_UNSENT_BYTES = 1 << 16
_DESCRIPTORS = 253  # most in one message; the kernel would close more itself, and may wait for that
_DESCRIPTORS_BYTES = socket.CMSG_SPACE(_DESCRIPTORS * array("i").itemsize)
_MESSAGES = 16  # messages with descriptors that may wait before no more is read
_WAITING = 64  # descriptors that may wait before no more is read


class _PassedDescriptors:
    """The descriptors that a client passes, in their order, until the byte that each came with is read."""

    def __init__(self, closer: DescriptorCloser) -> None:
        self.received = 0
        """Bytes that were received with them and without."""
        self._closer = closer
        self._messages: deque[tuple[int, int, array[int]]] = deque()

    def receive(self, sock: socket.socket) -> bytes:
        """Receive bytes, and keep descriptors that come with them; while too many wait to be closed, more are
        an error."""
        data, ancillary, _, _ = sock.recvmsg(READ_BYTES, _DESCRIPTORS_BYTES, socket.MSG_CMSG_CLOEXEC)
        start = self.received
        self.received += len(data)
        for level, kind, passed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array("i")
                descriptors.frombytes(passed[: len(passed) - len(passed) % descriptors.itemsize])
                self._messages.append((start, self.received, descriptors))
                if self._closer.full:
                    raise ConnectionAbortedError("passed descriptors wait to be closed")
        return data

    @property
    def full(self) -> bool:
        """True if so many messages wait that no more may be received."""
        if not self._messages:
            return False
        waiting = sum(len(descriptors) for _, _, descriptors in self._messages)
        return len(self._messages) >= _MESSAGES or waiting >= _WAITING

    def take(self, position: int) -> int | None:
        """Return the one descriptor that came with a byte of the connection; close those before it."""
        self.drop(position)
        if self._messages and self._messages[0][0] <= position and len(self._messages[0][2]) == 1:
            return self._messages.popleft()[2][0]
        return None

    def drop(self, position: int) -> None:
        """Close the descriptors that came with bytes before this one."""
        while self._messages and self._messages[0][1] <= position:
            for descriptor in self._messages.popleft()[2]:
                self._closer.close(descriptor)


class ConnectionOwner(ABC):
    """The part of a door that its connections use."""

    half_close: ClassVar[bool] = False
    """True if clients may end their sending side and wait for an answer. Over TCP, such a client can't be
    distinguished from one that has left, until it answers by a reset."""
    passes_descriptors: ClassVar[bool] = False
    """True if clients of a Unix socket may pass descriptors; see `Connection.take_descriptor`."""
    settings: DoorSettings
    closing: bool
    closer: DescriptorCloser
    """Closes what clients have passed and no command expects."""

    @abstractmethod
    async def serve(self, connection: Connection) -> None:
        """Serve one connection until it ends; the caller closes it.

        TimeoutError and ConnectionError end it without a warning. See the methods of Connection for limits of
        time, for what is cancelled when the client leaves, and for the orderly end.
        """


class _Working:
    """The block of `Connection.working`; not made of a generator, which takes longer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        if self._connection.left:
            raise ConnectionResetError("the client has left")
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._connection.begin_work(task)

    def __exit__(self, *_: object) -> None:
        self._connection.end_work(self._task)


class Connection:
    """A client's connection: its bytes, limits of time, and what is cancelled when the client leaves."""

    def __init__(
        self, door: ConnectionOwner, sock: socket.socket, client: Client, peer: tuple[int, int, int] | None
    ) -> None:
        """Make a connection of a socket that does not block; `run` serves it."""
        self.client = client
        self.peer = peer
        """Process id, uid and gid of the client of a Unix socket, as of when it connected."""
        self.socket = sock
        self.position = 0
        """Bytes that `read` has returned."""
        self.left = False
        """True if the client is known to have left, so that nobody waits for an answer."""
        self._door = door
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        """The loop's time at which its last request was answered, or it was made."""
        self.served = False
        """True if a request of it was answered."""
        self._task: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[object]] = set()
        self._requests = 0
        self._deadline: float | None = None
        self._passed: _PassedDescriptors | None = None
        if peer is not None and door.passes_descriptors:
            self._passed = _PassedDescriptors(door.closer)
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._receiving = False
        """True while the loop waits for bytes."""
        self._ended = False
        """True if nothing more will be received."""
        self._failure: ConnectionError | None = None
        self._waiting: asyncio.Future[None] | None = None
        """Done when there is something to read."""
        self._until = 0.0
        """The loop's time until which `_waiting` is to be done."""
        self._timer: asyncio.TimerHandle | None = None
        """Looks at `_until`, now or too early."""
        self._unsent = bytearray()
        self._sent: asyncio.Future[None] | None = None
        """Done when nothing is unsent any more."""

    @property
    def is_waiting(self) -> bool:
        """True if nothing is done for the client: it is idle, or a request has not arrived in whole."""
        return not self._working and (not self._requests or self._deadline is not None)

    async def read(self, seconds: float | None = None) -> bytes:
        """Return the next bytes, at most READ_BYTES; empty at the end. Raise TimeoutError if none came within
        `seconds`, the door's idle seconds, or before the end of the request's time."""
        if self._passed is not None and self.position:
            self._passed.drop(self.position)  # descriptors that came with bytes that expect none
        self._receive_on()
        while not self._unread:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return b""
            until = self._loop.time() + self._door.settings.idle_seconds
            if self._deadline is not None:
                until = min(until, self._deadline)
            if seconds is not None:
                until = min(until, self._loop.time() + seconds)
            await self._wait(until)
        data = self._unread.popleft()
        self._unread_bytes -= len(data)
        self.position += len(data)
        self._receive_on()
        return data

    async def _wait(self, until: float) -> None:
        """Wait until there is something to read, or raise TimeoutError. One timer serves many waits, since it
        is only set anew if it would end too late or has ended: most waits end early."""
        self._waiting, self._until = self._loop.create_future(), until
        if self._timer is None or self._timer.when() > until:
            self._set_timer()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._end_wait)

    def _end_wait(self) -> None:
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self._waiting.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _receive(self) -> None:
        """Receive what has come; called by the loop."""
        try:
            data = self.socket.recv(READ_BYTES) if self._passed is None else self._passed.receive(self.socket)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        if data:
            self._unread.append(data)
            self._unread_bytes += len(data)
            if self._is_ahead():
                self._receive_no_more()
        else:
            self._ended = True
            self._receive_no_more()
            self._ended_sending()
        self._wake()

    def _is_ahead(self) -> bool:
        """Return True if the client is so far ahead of what is read that nothing more is received."""
        return self._unread_bytes > 2 * READ_BYTES or (self._passed is not None and self._passed.full)

    def _receive_on(self) -> None:
        if not (self._receiving or self._ended or self._is_ahead()):
            self._receiving = True
            self._loop.add_reader(self.socket, self._receive)

    def _receive_no_more(self) -> None:
        if self._receiving:
            self._receiving = False
            self._loop.remove_reader(self.socket)

    def _fail(self, error: OSError) -> None:
        """Note that nothing can be received or sent any more."""
        if not isinstance(error, ConnectionError):
            error = ConnectionResetError(str(error))
        self._failure = self._failure or error
        self._ended = True
        self._receive_no_more()
        self._send_no_more()
        self._wake()
        self.lost()

    async def send(self, data: bytes) -> None:
        """Send bytes; if the client has not taken much of what was sent, wait until it has, at most for the
        door's idle seconds. Some bytes are kept without waiting, since clients send several commands before
        they read answers."""
        if self._failure is not None:
            raise self._failure
        if not self._unsent:
            try:
                sent = self.socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._fail(error)
                assert self._failure is not None
                raise self._failure from None
            if sent == len(data):
                return
            data = data[sent:]
            self._sent = self._loop.create_future()
            self._loop.add_writer(self.socket, self._send_on)
        self._unsent += data
        if len(self._unsent) > _UNSENT_BYTES:
            await self._flushed(self._door.settings.idle_seconds)

    async def _flushed(self, seconds: float) -> None:
        """Wait until all is sent; raises as `send`."""
        if self._sent is not None:
            async with asyncio.timeout(seconds):
                await asyncio.wait([self._sent])
        if self._failure is not None:
            raise self._failure

    def _send_on(self) -> None:
        """Send what is left; called by the loop when the client takes more."""
        try:
            sent = self.socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._send_no_more()

    def _send_no_more(self) -> None:
        if self._sent is not None:
            self._loop.remove_writer(self.socket)
            self._unsent.clear()
            self._sent.set_result(None)
            self._sent = None

    async def end_sending(self) -> None:
        """Show the client that nothing more is sent; it may still send."""
        with suppress(OSError, TimeoutError):  # it has left already
            await self._flushed(self._door.settings.idle_seconds)
            self.socket.shutdown(socket.SHUT_WR)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count the block as one request: it must arrive in time, and is not interrupted by an orderly end.

        Requests of one connection may overlap; `arrived` ends the time limit of arrival.
        """
        self._requests += 1
        deadline = self._deadline = self._loop.time() + self._door.settings.request_seconds
        try:
            yield
        finally:
            self._requests -= 1
            self._note_served()
            if self._deadline == deadline:
                self._deadline = None
            self.end_if_idle()

    def arrived(self) -> None:
        """Note that the request has arrived in whole, so that its time limit no longer counts."""
        self._deadline = None

    def working(self) -> AbstractContextManager[None]:
        """Cancel the current task if the client leaves during the block (ConnectionResetError if it has left
        already), but not at an orderly end."""
        return _Working(self)

    def begin_work(self, task: asyncio.Task[object]) -> None:
        """Note that a task does work for the client; see `working`."""
        self._requests += 1
        self._working.add(task)

    def end_work(self, task: asyncio.Task[object]) -> None:
        """Note that it does no more."""
        self._working.discard(task)
        self._requests -= 1
        self._note_served()
        self.end_if_idle()

    def _note_served(self) -> None:
        self.since, self.served = self._loop.time(), True

    async def drop_rest(self, seconds: float, size: int) -> bool:
        """Read on and drop what comes, at most for `seconds` and `size` bytes; return True at the end.

        A client that writes when its connection is closed may lose the answer that it was sent before.
        """
        end = self._loop.time() + seconds
        self._deadline = None
        with suppress(TimeoutError, ConnectionError):
            while size > 0 and (left := end - self._loop.time()) > 0:
                data = await self.read(left)
                if not data:
                    return True
                size -= len(data)
        return False

    def take_descriptor(self, position: int) -> int | None:
        """Return the descriptor that the client has passed with a byte (its number among all that the client
        has sent, from 0), which is the caller's to close. None if none came with this byte, or several did.
        Descriptors that came before are closed."""
        if self._passed is None:
            return None
        taken = self._passed.take(position)
        self._receive_on()
        return taken

    def end_if_idle(self) -> None:
        """End the connection if the door closes and no request is in progress."""
        if self._door.closing and not self._requests and self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """End the connection, whatever is in progress."""
        if self._task is not None:
            self._task.cancel()

    def lost(self) -> None:
        """Note that the client has left: cancel what is done for it."""
        self.left = True
        for task in self._working:
            task.cancel()

    def _ended_sending(self) -> None:
        """Note that the client sends nothing more; it may wait for answers all the same."""
        if not self._door.half_close:
            self.lost()
        elif self.peer is not None:
            self._poll()

    def _poll(self) -> None:
        """Look again and again if the client of a Unix socket has closed it for both directions."""
        if self.left or self.socket.fileno() < 0:
            return
        poll = select.poll()
        poll.register(self.socket.fileno(), 0)
        if poll.poll(0):
            self.lost()
        else:
            self._loop.call_later(_POLL_SECONDS, self._poll)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        self._task = asyncio.current_task()
        self._receive_on()
        try:
            await self._door.serve(self)
        finally:
            with suppress(TimeoutError, ConnectionError):
                await self._flushed(min(FLUSH_SECONDS, self._door.settings.idle_seconds))

    def close(self) -> None:
        """Close the socket, and the descriptors that nobody has taken."""
        self.left = True
        self._receive_no_more()
        self._send_no_more()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.socket.close()
        if self._passed is not None:
            self._passed.drop(self._passed.received)
        self._task = None
