"""Control the zygote process from the worker: start it, send it commands, end it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from io import FileIO
from pathlib import Path

from hashscan.errors import ZygoteError
from hashscan.sandbox.protocol import (
    ANSWER,
    COMMAND,
    DISCARD,
    END,
    PARK,
    PROMOTE,
    SPARE,
    SPAWN,
    ZygoteConfig,
    wait_for_message,
)

START_SECONDS = 120.0
"""Timeout for the program's imports, which are slow on a cold and busy disk."""

ANSWER_SECONDS = 15.0
"""Timeout for a fork or a wait. A decoder that is stuck in the kernel, on a dead network disk, can't even be
killed."""

CLOSE_SECONDS = 2.0
"""Timeout for killing and reaping a decoder."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2])['path']; "
    "from hashscan.sandbox.zygote import main; main(int(sys.argv[1]), sys.argv[2])"
)


REAP_SECONDS = 2.0
"""Time that a zygote whose socket has closed may take to end, so that its own exit status is seen."""


class ZygoteLost(Exception):
    """The error that the zygote has died or doesn't answer; it can be started again."""


def import_path(*modules: str) -> tuple[str, ...]:
    """Return absolute folders from which another interpreter can import what this one can.

    An editable install may be known only to an import hook, and the current folder has no name in the path,
    so the folders of `modules`, given by dotted names, are looked up and put first: another installed package
    may have the same name as one of them.
    """
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    for module in modules:
        spec = importlib.util.find_spec(module.partition(".")[0])
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            found = Path(spec.origin).absolute()
            folder = str(found.parents[1] if spec.submodule_search_locations else found.parent)
            if folder not in path:
                path.insert(0, folder)
    # Encode as UTF-8, which the zygote always uses, whatever this process's locale is.
    return tuple(dict.fromkeys(os.fsencode(entry).decode("utf-8", "surrogateescape") for entry in path))


class ZygoteProcess:
    """A started zygote process.

    `wait_ready` waits until it is ready, so that the caller can do other things meanwhile.
    """

    def __init__(self, config: ZygoteConfig) -> None:
        """Start the process, for which the system may have no memory or no descriptor (OSError)."""
        self._target = config.target
        self._control, theirs = _pair()
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        self._ready = self._asking = False
        self._spares: deque[tuple[socket.socket, int]] = deque()
        """Sockets and process ids of spare decoders, the oldest first."""
        self._unanswered = 0
        """Number of those at the end about which the zygote has not answered yet."""
        # A memory file instead of a pipe: a full pipe that nobody reads would block the zygote.
        memory = _above_stdio(os.memfd_create("zygote-stderr", os.MFD_CLOEXEC))
        self._stderr = FileIO(memory)
        command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, str(os.getpid()), config.encode()]
        if sys.dont_write_bytecode:
            command.insert(1, "-B")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                cwd="/",
                env={},
                close_fds=True,
                # Ctrl-C at the terminal is for the worker only.
                start_new_session=True,
            )
        except OSError:
            self._control.close()
            self._stderr.close()
            raise
        finally:
            theirs.close()

    def wait_ready(self) -> None:
        """Wait until the program is loaded. Raise ZygoteError, with the zygote's traceback, if it can't be;
        ZygoteLost if the zygote was killed, or is too slow, which says nothing about the program, or if an
        earlier wait was interrupted, and may have consumed the message."""
        if self._ready:
            return
        if self._asking:
            raise ZygoteLost
        self._asking = True
        try:
            self._receive(START_SECONDS)
        except ZygoteLost:
            try:
                status = self._process.wait(REAP_SECONDS)
            except subprocess.TimeoutExpired:
                raise ZygoteLost(f"it has not loaded within {START_SECONDS:g} s") from None
            if status in (-signal.SIGKILL, -signal.SIGTERM):
                name = signal.Signals(-status).name
                raise ZygoteLost(f"ended by {name} while it loaded, perhaps for want of memory") from None
            self._stderr.seek(0)
            written = self._stderr.read().decode("utf-8", "replace")
            raise ZygoteError(
                f"the decoder's program {self._target} can't be loaded (exit status {status}):\n"
                + written[-8000:].strip()
            ) from None
        self._ready, self._asking = True, False
        self._stderr.close()

    def spawn(self, memory_bytes: int = 0) -> tuple[socket.socket, int]:
        """Fork a decoder in place of the previous one, with a memory limit in whole MiB (0 for the configured
        one); return its non-blocking socket and its process id. OSError: the system has no process or no
        descriptor left."""
        ours, theirs = _pair()
        try:
            refused, process = self._ask(COMMAND.pack(SPAWN, memory_bytes >> 20), ANSWER_SECONDS, theirs)
            if refused:
                raise OSError(refused, os.strerror(refused))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours, process

    def prepare(self, number: int) -> None:
        """Have decoders forked for later until there are `number`, without waiting for it."""
        if self._asking:
            raise ZygoteLost
        while len(self._spares) < number:
            ours, theirs = _pair()
            self._asking = True
            try:
                self._send(COMMAND.pack(SPARE, 0), theirs)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            ours.setblocking(False)
            self._spares.append((ours, 0))
            self._unanswered += 1
            self._asking = False

    def promote_spare(self) -> tuple[socket.socket, int] | None:
        """Put the oldest spare decoder in the place of the present one; return its non-blocking socket and
        its process id, None if there is none. Others may still be forked."""
        while self._spares and len(self._spares) == self._unanswered:
            self._take_answer()
        if not self._spares:
            return None
        connection, process = self._spares.popleft()
        try:
            self.promote(process)
        except BaseException:
            connection.close()
            raise
        return connection, process

    def discard_spares(self) -> None:
        """End all spare decoders."""
        self._take_answers()
        while self._spares:
            connection, process = self._spares.popleft()
            connection.close()
            self.discard(process)

    def promote(self, process: int) -> None:
        """Put a decoder that waits in the place of the present one, without waiting for it.

        Files may be sent to it at once. A parked one is continued only after the present one was killed.
        """
        self._tell(COMMAND.pack(PROMOTE, process))

    def park(self) -> None:
        """Stop the present decoder and set it aside; see `promote`."""
        self._tell(COMMAND.pack(PARK, 0))

    def discard(self, process: int) -> None:
        self._tell(COMMAND.pack(DISCARD, process))

    def _take_answers(self) -> None:
        """Receive the zygote's answers about all spare decoders."""
        if self._asking:
            raise ZygoteLost
        while self._unanswered:
            self._take_answer()

    def _take_answer(self) -> None:
        """Receive the zygote's answer about one spare decoder, and forget it if it can't be forked."""
        if self._asking:
            raise ZygoteLost
        self._asking = True
        refused, process = ANSWER.unpack(self._receive(ANSWER_SECONDS))
        place = len(self._spares) - self._unanswered
        if refused:
            self._spares[place][0].close()
            del self._spares[place]
        else:
            self._spares[place] = self._spares[place][0], process
        self._unanswered -= 1
        self._asking = False

    def end(self, patience: float) -> tuple[int, bool]:
        """End the decoder; kill it if it does not end by itself within `patience` seconds. Return its wait
        status, and True if it had to be killed."""
        status, killed = self._ask(COMMAND.pack(END, int(patience * 1000)), ANSWER_SECONDS + patience)
        return status, bool(killed)

    def close(self) -> None:
        """End the zygote and its decoders."""
        self._close_sockets()
        self._stderr.close()
        if self._ready and not self._asking:
            # Give it time to see the end of file and reap the decoder; not every init process (PID 1) does
            # that.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
        self._process.kill()
        self._process.wait()

    def detach(self) -> None:
        """Close the connection in a process that was forked from the worker, not the zygote's parent."""
        self._close_sockets()
        self._stderr.close()
        self._process.returncode = 0

    def _close_sockets(self) -> None:
        self._control.close()
        while self._spares:
            self._spares.pop()[0].close()

    def _ask(self, command: bytes, seconds: float, passed: socket.socket | None = None) -> tuple[int, int]:
        self._take_answers()
        self._asking = True
        self._send(command, passed)
        value, flag = ANSWER.unpack(self._receive(seconds))
        self._asking = False
        return value, flag

    def _tell(self, command: bytes) -> None:
        """Send a command that has no answer."""
        if self._asking:
            raise ZygoteLost
        self._send(command)

    def _send(self, command: bytes, passed: socket.socket | None = None) -> None:
        rights = []
        if passed is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed.fileno()]))]
        try:
            self._control.sendmsg([command], rights, socket.MSG_DONTWAIT)
        except OSError as error:
            raise ZygoteLost from error

    def _receive(self, seconds: float) -> bytes:
        if not wait_for_message(self._poll, time.monotonic() + seconds):
            raise ZygoteLost
        try:
            message = self._control.recv(64, socket.MSG_DONTWAIT)
        except OSError as error:
            raise ZygoteLost from error
        if not message:
            raise ZygoteLost
        return message


def _pair() -> tuple[socket.socket, socket.socket]:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return _move(first), _move(second)


def _move(one: socket.socket) -> socket.socket:
    if one.fileno() > 2:
        return one
    family, kind = one.family, one.type
    return socket.socket(family, kind, fileno=_above_stdio(one.detach()))


def _above_stdio(descriptor: int) -> int:
    """Return the descriptor, duplicated to 3 or above if it is a standard stream's number.

    If the standard streams are closed, the output of a library would otherwise go to one of our sockets.
    """
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)
