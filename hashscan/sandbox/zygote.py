"""The zygote: a process that loads the plug-in once and forks decoders from it on demand.

It never reads an untrusted byte, and communicates only with the worker that started it.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import importlib
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import NoReturn

from hashscan.sandbox import decoder
from hashscan.sandbox.confine import ZYGOTE_DESCRIPTORS, Confinement, prepare_confinement
from hashscan.sandbox.protocol import ANSWER, COMMAND, READY, SPAWN, ZYGOTE_ENVIRONMENT, ZygoteConfig


def main(worker: int, config_text: str) -> NoReturn:
    """Serve the worker with process id `worker` on the socket that is passed as stdin, until it is gone."""
    control = _take_over_stdin()
    watch = _watch(control, worker)
    _settle()
    config = ZygoteConfig.decode(config_text)
    os.environ.update(ZYGOTE_ENVIRONMENT)
    confinement = prepare_confinement(
        config.mode, config.memory_bytes, config.cpu_seconds, config.seccomp_library
    )
    module, _, function = config.target.partition(":")
    handle: decoder.Handle = getattr(importlib.import_module(module), function)(*config.arguments)
    # These objects will never be freed: a garbage collection in a decoder must not touch, and so copy, their
    # pages.
    gc.collect()
    gc.freeze()
    _silence()
    try:
        control.send(READY)
        _Zygote(control, watch, confinement, handle, config.reply_max).serve()
    except (BrokenPipeError, ConnectionResetError):
        # The worker ended without reading its answer. When this process ends, its decoder does too: see
        # PR_SET_PDEATHSIG.
        pass
    os._exit(0)


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


def _settle() -> None:
    """Reset the signal state and limits inherited from the worker."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # With an inherited SIG_IGN the kernel would reap decoders, and their wait status would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A service manager signals all processes at once. The worker decides when it is done; this process ends
    # with it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = ZYGOTE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, ZYGOTE_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _silence() -> None:
    """Close the stderr used during start-up.

    Decoders will have no stderr at all, and with None `print` and warnings do nothing.
    """
    os.dup2(0, 2)
    sys.stdin = sys.stdout = sys.stderr = None


class _Zygote:
    """The command loop of a zygote, with one decoder at a time."""

    def __init__(
        self,
        control: socket.socket,
        watch: select.poll,
        confinement: Confinement,
        handle: decoder.Handle,
        reply_max: int,
    ) -> None:
        self._control = control
        self._watch = watch
        self._confinement = confinement
        self._handle = handle
        self._reply_max = reply_max
        self._child = 0

    def serve(self) -> None:
        """Execute the worker's commands until the worker has gone."""
        while True:
            woken = self._watch.poll()
            if any(descriptor != self._control.fileno() for descriptor, _ in woken):
                break
            message, ancillary, _, _ = self._control.recvmsg(
                COMMAND.size, socket.CMSG_SPACE(array.array("i").itemsize)
            )
            if not message:
                break
            command, patience = COMMAND.unpack(message)
            if command == SPAWN:
                ((_, _, passed),) = ancillary
                self._spawn(*array.array("i", passed))
            else:
                self._control.send(ANSWER.pack(*self._end(patience)))
        self._end(0)

    def _spawn(self, connection: int) -> None:
        former, self._child = self._child, 0
        if former:
            os.kill(former, signal.SIGKILL)
        try:
            child = os.fork()
        except OSError as error:
            self._control.send(ANSWER.pack(error.errno, 0))
        else:
            if child == 0:
                decoder.run(connection, self._confinement, self._handle, self._reply_max)
            self._child = child
            self._control.send(ANSWER.pack(0, child))
        os.close(connection)
        if former:
            # Wait only now: the kernel freed its memory while the new decoder started.
            os.waitpid(former, 0)

    def _end(self, patience: int) -> tuple[int, bool]:
        """End the decoder; kill it if it does not end by itself within `patience` milliseconds.

        Returns:
            Its wait status, and True if it had to be killed.
        """
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
