"""Load the program once, fork decoders on demand (the zygote), and serve files (the decoder).

It never reads an untrusted byte, and communicates only with the worker that started it.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import gc
import importlib
import mmap
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence
from types import ModuleType
from typing import NoReturn

from msgspec import Struct, structs

from hashscan.sandbox.confine import (
    ZYGOTE_DESCRIPTORS,
    Confinement,
    close_other_descriptors,
    confine,
    prepare_confinement,
)
from hashscan.sandbox.libraries import copy_libraries, load_copies
from hashscan.sandbox.protocol import (
    ANSWER,
    COMMAND,
    DECODER_SOCKET,
    DISCARD,
    END,
    EXIT_BAD_REPLY,
    EXIT_EXCEPTION,
    EXIT_MEMORY,
    EXIT_NO_MEMORY,
    LAST,
    MORE,
    NONCE_BYTES,
    PARK,
    PROMOTE,
    READY,
    REQUEST_MAX,
    SPARE,
    SPAWN,
    ZYGOTE_ENVIRONMENT,
    LibraryFailedError,
    ZygoteConfig,
)

Parts = Generator[bytes, None, bytes]
"""Parts of a reply, each no longer than `reply_max`. Each is sent at once, and the next one computed when it
fits into the socket. The last part is the generator's value."""
Handle = Callable[[int, bytes], bytes | Parts]
"""The function that a program provides: it takes a descriptor open for reading and a request, and returns a
reply no longer than `reply_max`, or parts of one."""


class _Sample(Struct, frozen=True):
    """A file that the program has made itself, so that it is not hostile."""

    descriptor: int
    request: bytes


class _Libraries(Struct):
    """The libraries that each decoder loads, of which the zygote holds copies."""

    paths: tuple[str, ...]
    attach: Callable[[Sequence[ctypes.CDLL]], None]
    """The program's function that prepares loaded libraries, called when the decoder is confined in full; it
    raises an OSError if they can't be used."""
    loaded: list[ctypes.CDLL] = []

    def load(self) -> None:
        self.loaded = load_copies(self.paths)

    def prepare(self) -> None:
        if not self.loaded:
            return
        try:
            self.attach(self.loaded)
        except OSError as error:
            raise LibraryFailedError(str(error)) from error


_REAP_MILLISECONDS = 10
"""Time after which killed decoders are waited for, if there is no command before."""

_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)

# Of this kind, so that the interpreter's lock stays with the calling thread, in both processes.
_libc = ctypes.PyDLL(None, use_errno=True)


def fork() -> int:
    """Fork this process, which must have one thread; return the child's process id, and 0 in the child.
    `os.fork` has the child renew the locks and random numbers of the standard library. It is not used, since
    a process with one thread has no locks that another one holds, and a decoder needs no random numbers, but
    each decoder would get copies of 180 more pages of memory by it."""
    child: int = _libc.fork()
    if child < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return child


def run_decoder(
    connection: int,
    confinement: Confinement,
    handle: Handle,
    reply_max: int,
    sample: _Sample | None = None,
    libraries: _Libraries | None = None,
) -> NoReturn:
    """Run a decoder on the socket `connection`, in a process that was just forked; never return. The sample
    is handled before any other file; the pages of memory that this needs are copied then."""
    status = EXIT_EXCEPTION
    try:
        try:
            copies = 0 if libraries is None else len(libraries.paths)
            close_other_descriptors(connection, -1 if sample is None else sample.descriptor, copies)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=DECODER_SOCKET)
            try:
                result = confine(confinement, None if libraries is None else libraries.load)
                if libraries is not None:
                    libraries.prepare()
            except LibraryFailedError as error:
                channel.send(error.pack())
                os._exit(EXIT_EXCEPTION)
            if sample is not None:
                _exhaust(handle(DECODER_SOCKET + 1, sample.request))
                os.close(DECODER_SOCKET + 1)
            channel.send(result.pack())
            status = _serve(channel, handle, reply_max)
        except MemoryError:
            status = EXIT_MEMORY
        # Check this only here, after the memory of the file has been freed.
        if status == EXIT_MEMORY and not _can_map(confinement.memory_bytes // 4):
            status = EXIT_NO_MEMORY
    finally:
        # Whatever was raised: the callers on the stack belong to the zygote, and none of its handlers may run
        # here.
        os._exit(status)


def _exhaust(reply: bytes | Parts) -> None:
    """Have the program compute all parts of a reply."""
    if not isinstance(reply, bytes):
        for _ in reply:
            pass


def _can_map(size: int) -> bool:
    """Return True if the system gives this process so much memory."""
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        return False
    return True


def _serve(channel: socket.socket, handle: Handle, reply_max: int) -> int:
    buffer = bytearray(NONCE_BYTES + REQUEST_MAX)
    buffers = [buffer]
    while True:
        size, ancillary, _, _ = channel.recvmsg_into(buffers, _ONE_DESCRIPTOR)
        if not size:
            # The worker has closed its end.
            return 0
        ((_, _, passed),) = ancillary
        (descriptor,) = array.array("i", passed)
        nonce = bytes(buffer[:NONCE_BYTES])
        reply = handle(descriptor, bytes(memoryview(buffer)[NONCE_BYTES:size]))
        while not isinstance(reply, bytes):
            try:
                part = next(reply)
            except StopIteration as end:
                reply = end.value or b""
            else:
                if not 0 < len(part) <= reply_max:
                    return EXIT_BAD_REPLY
                channel.send(nonce + MORE + part)
        if not 0 < len(reply) <= reply_max:
            return EXIT_BAD_REPLY
        os.close(descriptor)
        channel.send(nonce + LAST + reply)


def main(worker: int, config_text: str) -> NoReturn:
    """Serve the worker with process id `worker` on the socket that is passed as stdin, until it is gone."""
    control = _take_over_stdin()
    watch = _watch(control, worker)
    _reset_signals_and_limits()
    # Imports and samples leave hardly any garbage, so it is never collected.
    gc.disable()
    config = ZygoteConfig.decode(config_text)
    os.environ.update(ZYGOTE_ENVIRONMENT)
    confinement = prepare_confinement(
        config.mode,
        config.memory_bytes,
        config.cpu_seconds,
        config.seccomp_library,
        loading=bool(config.libraries),
    )
    copy_libraries(config.libraries)
    module, _, function = config.target.partition(":")
    program = importlib.import_module(module)
    handle: Handle = getattr(program, function)(*config.arguments)
    # These objects will never be freed: a garbage collection in a decoder must not touch, and so copy, their
    # pages.
    gc.freeze()
    gc.enable()
    _silence()
    try:
        control.send(READY)
        libraries = _Libraries(config.libraries, program.attach) if config.libraries else None
        _Zygote(control, watch, confinement, handle, config.reply_max, program, libraries).serve()
    except (BrokenPipeError, ConnectionResetError):
        # The worker ended without reading its answer. When this process ends, its decoder does too: see
        # PR_SET_PDEATHSIG.
        pass
    os._exit(0)


def _sample_of(program: ModuleType) -> _Sample | None:
    """Return the sample file of a program that has one, sealed, so that no decoder can change it."""
    if not hasattr(program, "sample_file"):
        return None
    content, request = program.sample_file()
    descriptor = os.memfd_create("sample", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.pwrite(descriptor, content, 0)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return _Sample(descriptor, request)


def _take_over_stdin() -> socket.socket:
    control = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3))
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    return control


def _watch(control: socket.socket, worker: int) -> select.poll:
    """Return a poll object that wakes when the worker sends a command or has died."""
    watch = select.poll()
    watch.register(control, select.POLLIN)
    # A process forked from the worker may keep the worker's end of the socket open, and then no end of file
    # comes. PR_SET_PDEATHSIG does not help: it acts when the *thread* that started this process ends. On
    # kernels before 5.3 and in containers without pidfd, only the end of file is used.
    with contextlib.suppress(OSError):
        watch.register(os.pidfd_open(worker), select.POLLIN)
    if os.getppid() != worker:
        os._exit(0)
    return watch


def _reset_signals_and_limits() -> None:
    """Reset the signal state and limits inherited from the worker."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # With an inherited SIG_IGN the kernel would reap decoders, and their wait status would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A service manager signals all processes at once. The worker decides when it is done; this process ends
    # with it.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = ZYGOTE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, ZYGOTE_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _offer_to_oom_killer() -> None:
    """Let the kernel kill this process before all others, should memory run out after all."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:
        score.write(b"1000")


def _silence() -> None:
    """Close the stderr used during start-up.

    Decoders will have no stderr at all, and with None `print` and warnings do nothing.
    """
    os.dup2(0, 2)
    sys.stdin = sys.stdout = sys.stderr = None


class _Zygote(Struct):
    """The command loop of a zygote, with one decoder at a time, and others that wait.

    Those that wait have seen no file (spare ones), or files of one owner (parked ones, which are stopped).
    """

    _control: socket.socket
    _watch: select.poll
    _confinement: Confinement
    _handle: Handle
    _reply_max: int
    _program: ModuleType
    _libraries: _Libraries | None = None
    _sample: _Sample | None = None
    """The program's sample file, once a spare decoder was asked for."""
    _child: int = 0
    """Process id of the decoder; 0 if there is none."""
    _waiting: set[int] = set()
    """Process ids of the spare and parked decoders."""
    _killed: set[int] = set()
    """Process ids of killed decoders that were not waited for yet."""

    def serve(self) -> None:
        """Execute the worker's commands until the worker has gone."""
        while True:
            woken = self._watch.poll(_REAP_MILLISECONDS if self._killed else None)
            self._reap()
            if not woken:
                continue
            if any(descriptor != self._control.fileno() for descriptor, _ in woken):
                break
            message, ancillary, _, _ = self._control.recvmsg(
                COMMAND.size, socket.CMSG_SPACE(array.array("i").itemsize)
            )
            if not message:
                break
            command, number = COMMAND.unpack(message)
            self._execute(command, number, ancillary)
        self._end(0)
        for other in self._waiting:
            os.kill(other, signal.SIGKILL)

    def _execute(self, command: int, number: int, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        if command in {SPAWN, SPARE}:
            ((_, _, passed),) = ancillary
            (connection,) = array.array("i", passed)
            if command == SPAWN:
                self._spawn(connection, number << 20)
            else:
                self._fork_spare(connection)
        elif command == PROMOTE:
            self._promote(number)
        elif command == PARK and self._child:
            self._park()
        elif command == DISCARD and number in self._waiting:
            self._waiting.remove(number)
            self._kill(number)
        elif command == END:
            self._control.send(ANSWER.pack(*self._end(number)))

    def _reap(self) -> None:
        for process in list(self._killed):
            if os.waitpid(process, os.WNOHANG)[0]:
                self._killed.remove(process)

    def _kill(self, process: int) -> None:
        """Kill a decoder without waiting for its end, since the kernel takes a while to free its memory."""
        os.kill(process, signal.SIGKILL)
        self._killed.add(process)

    def _spawn(self, connection: int, memory_bytes: int) -> None:
        former, self._child = self._child, 0
        if former:
            os.kill(former, signal.SIGKILL)
        self._child = self._fork(connection, memory_bytes)
        if former:
            # Wait only now: the kernel freed its memory while the new decoder started.
            os.waitpid(former, 0)

    def _fork_spare(self, connection: int) -> None:
        if self._sample is None:
            self._sample = _sample_of(self._program)
        if child := self._fork(connection, 0, self._sample):
            self._waiting.add(child)

    def _promote(self, child: int) -> None:
        """Let a decoder that waits take the place of the present one, which is killed before."""
        former, self._child = self._child, child
        self._waiting.discard(child)
        if former:
            self._kill(former)
        os.kill(child, signal.SIGCONT)

    def _park(self) -> None:
        """Stop the present decoder and set it aside; it can't use the processor meanwhile."""
        child, self._child = self._child, 0
        os.kill(child, signal.SIGSTOP)
        self._waiting.add(child)

    def _fork(self, connection: int, memory_bytes: int, sample: _Sample | None = None) -> int:
        """Fork a decoder and answer the worker; return the process id, 0 if the system refused it."""
        child = 0
        try:
            child = fork()
        except OSError as error:
            self._control.send(ANSWER.pack(error.errno, 0))
        else:
            if child == 0:
                confinement = self._confinement
                if memory_bytes:
                    confinement = structs.replace(confinement, memory_bytes=memory_bytes)
                    _offer_to_oom_killer()
                run_decoder(connection, confinement, self._handle, self._reply_max, sample, self._libraries)
            self._control.send(ANSWER.pack(0, child))
        os.close(connection)
        return child

    def _end(self, patience: int) -> tuple[int, bool]:
        """End the decoder, by force after `patience` ms; return its status, and True if by force."""
        child, self._child = self._child, 0
        if not child:
            return 0, False
        for _ in range(patience):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status, False
            time.sleep(0.001)
        # This process is its parent and hasn't waited for it, so the process id is not reused.
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1], True
