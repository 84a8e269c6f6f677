"""Fork commands from a process that has imported the program, as imports take longer than most commands.

`Prefork.run` starts a process for each command, as `subprocess.run` does: with its own environment, current
folder, standard streams and exit code. It differs from `python -m hashscan` only in that modules have been
imported before. The same holds for the fork server of multiprocessing, from which a scan forks its workers:
it is forked before the command begins, and has nothing of its state. Zygotes are forked as `forked_zygote`
says. All other processes that the program starts are started as always.

`python -m tests.prefork DESCRIPTOR` runs the process that commands are forked from. It accepts requests at
the socket DESCRIPTOR until its standard input ends. A request has the three streams, and JSON.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing.util
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC", "OPENBLAS")
"""Variables that begin so act when an interpreter starts: only as they are here can a command be forked."""
STREAMS = 3
MESSAGE_BYTES = 1 << 20
FLUSH_FAILED = 120
"""The interpreter's exit code where its streams can't be flushed at its end."""
NOT_IMPORTED = ("hashscan.hashing.", "hashscan.sandbox.", "hashscan.scan.workers.die_with_scan")
"""The modules that only other processes import."""

PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b"."], [0, 1, 2])
    order = dict(arguments=sys.argv[1:], env=dict(os.environ), cwd=os.getcwd(), code="", umask={umask})
    connection.sendall(json.dumps(order).encode())
    connection.shutdown(socket.SHUT_WR)
    process, status = map(int, connection.makefile("r"))
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Prefork:
    """The process that commands are forked from; started with the first of them.

    Args:
        prefix: words before the command that starts it.
        extra: variables that it has besides those of this process.
    """

    def __init__(self, prefix: Sequence[str] = (), extra: Mapping[str, str] | None = None) -> None:
        self._prefix, self._extra = prefix, extra or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        atexit.register(self.close)

    def can_run(self, env: Mapping[str, str]) -> bool:
        """Return whether a command with these variables may be forked."""
        return _acting(env) == _acting(os.environ)

    def run(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        code: str = "",
        cwd: str | os.PathLike[str] | None = None,
        input: str | None = None,  # noqa: A002 - named as by subprocess
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run `hashscan` with these arguments, and wait for its end.

        Args:
            arguments: those after the program's name.
            env: all of its variables.
            code: Python to run first, as that of a `sitecustomize.py` is.
            cwd: the folder to run in, if it isn't the current one.
            input: text for standard input, which is that of this process otherwise.
            stdin: file or descriptor for standard input.
            stdout: file or descriptor for standard output, which is read otherwise.
            timeout: seconds after which the process is killed.

        Raises:
            subprocess.TimeoutExpired: it ran for longer.
        """
        out, err = None if stdout is not None else _Reader(), _Reader()
        writer = _Writer(input) if input is not None else None
        streams = [
            writer.theirs if writer else _number(0 if stdin is None else stdin),
            out.theirs if out else _number(stdout),
            err.theirs,
        ]
        order = {
            "arguments": list(arguments),
            "env": dict(env),
            "cwd": os.fspath(cwd or os.getcwd()),
            "code": code,
            "umask": _umask(),
        }
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address())
            socket.send_fds(connection, [b"."], streams)
            for end in (out, err, writer):
                if end is not None:
                    end.begin()
            connection.sendall(json.dumps(order).encode())
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(timeout)
            with connection.makefile("r", encoding="ascii") as replies:
                process = int(replies.readline())
                try:
                    status = int(replies.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(["hashscan", *arguments], timeout) from None
        return subprocess.CompletedProcess(
            ["hashscan", *arguments],
            os.waitstatus_to_exitcode(status),
            out.text() if out else None,
            err.text(),
        )

    def program(self) -> Path:
        """Return a program that does what `python -m hashscan` does, by a forked process.

        It passes no signals on, and a clock of the test (`tests/cli/later.py`) has no effect.
        """
        address = self._address()
        path = Path(address).with_name("hashscan")
        if not path.exists():
            path.write_text(PROGRAM.format(python=sys.executable, address=address, umask=_umask()))
            path.chmod(0o755)
        return path

    def close(self) -> None:
        """End the process, if it was started."""
        if self._process is not None and self._folder is not None:
            self._process.communicate(timeout=60)
            self._folder.cleanup()

    def _address(self) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="hashscan-prefork-")
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(f"{self._folder.name}/socket")
                listening.listen()
                self._process = subprocess.Popen(
                    [*self._prefix, sys.executable, "-m", "tests.prefork", str(listening.fileno())],
                    env=os.environ | self._extra,
                    stdin=subprocess.PIPE,
                    pass_fds=[listening.fileno()],
                    cwd=ROOT,
                )
        return f"{self._folder.name}/socket"


PREFORK = Prefork()


def _number(stream: int | IO[Any] | None) -> int:
    assert stream is not None
    return stream if isinstance(stream, int) else stream.fileno()


def _acting(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(INTERPRETER)}


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class _End(threading.Thread):
    """One end of a pipe, used by a thread."""

    theirs: int

    def begin(self) -> None:
        """Begin, once the other process has its end."""
        os.close(self.theirs)
        self.start()


class _Reader(_End):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ours, self.theirs = os.pipe()
        self._read = b""

    def run(self) -> None:
        with open(self._ours, "rb") as file:
            self._read = file.read()

    def text(self) -> str:
        """Return what came, as `subprocess` decodes it, once all processes that could write have ended."""
        self.join(60)
        assert not self.is_alive(), "a process that the command left still has its output open"
        return self._read.decode().replace("\r\n", "\n").replace("\r", "\n")


class _Writer(_End):
    def __init__(self, text: str) -> None:
        super().__init__(daemon=True)
        self.theirs, self._ours = os.pipe()
        self._data = text.encode()

    def run(self) -> None:
        with suppress(BrokenPipeError), open(self._ours, "wb") as file:
            file.write(self._data)


def serve(descriptor: int) -> None:
    """Fork a process for each request and reply with its id and then its status, until the caller ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    gc.collect()
    gc.freeze()
    listening = socket.socket(fileno=descriptor)
    listening.set_inheritable(False)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    for file in (listening, woken, 0):
        selector.register(file, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                return
            if key.fd == woken:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
                _reap(running)
                continue
            connection, _ = listening.accept()
            _, streams, _, _ = socket.recv_fds(connection, 1, STREAMS)
            with connection.makefile("rb") as file:
                order = json.load(file)
            process = os.fork()
            if process == 0:
                _become(order, streams)
            running[process] = connection
            connection.sendall(f"{process}\n".encode())
            for stream in streams:
                os.close(stream)


def _reap(running: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = ended
            with running.pop(process) as connection, suppress(OSError):
                connection.sendall(f"{status}\n".encode())


def _become(order: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Run a command in the new process, and end it as the interpreter does."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(STREAMS, max(map(int, os.listdir("/proc/self/fd"))) + 1)
        os.umask(order["umask"])
        os.chdir(order["cwd"])
        preloaded = {name: value for name, value in os.environ.items() if name == "LD_PRELOAD"}
        os.environ.clear()
        os.environ.update(preloaded | order["env"])
        time.tzset()
        program = importlib.import_module("hashscan.__main__")
        sys.argv = [str(program.__file__), *order["arguments"]]
        sys.modules["__main__"] = program
        _open_streams()
        importlib.import_module("tests.forked_zygote").fork_zygotes()
        if "scan" in order["arguments"]:
            _prepare_fork_server()
        exec(compile(order["code"], "sitecustomize", "exec"), {})
        code = program.main()
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _prepare_fork_server() -> None:
    """Fork the process that becomes multiprocessing's fork server; without one, it ends with the command."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = os.fork()
    if process == 0:
        ours.close()
        _become_fork_server(theirs)
    theirs.close()
    start = multiprocessing.util.spawnv_passfds  # type: ignore[attr-defined]

    def forked(path: bytes, arguments: list[str], descriptors: list[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1] or ours.fileno() == -1:
            number: int = start(path, arguments, descriptors)
            return number
        order = {
            "code": arguments[-1],
            "numbers": descriptors,
            "env": dict(os.environ),
            "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        }
        socket.send_fds(ours, [json.dumps(order).encode()], descriptors)
        ours.close()
        return process

    multiprocessing.util.spawnv_passfds = forked  # type: ignore[attr-defined]


def _become_fork_server(connection: socket.socket) -> NoReturn:
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 8)
        if data:
            connection.close()
            order = json.loads(data)
            # Above all that are open, lest one take the place of another.
            above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in descriptors]
            for descriptor in descriptors:
                os.close(descriptor)
            for descriptor, number in zip(above, order["numbers"], strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(order["env"])
            signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked"])
            exec(order["code"], {})
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        _end(0)


def _end(code: int) -> NoReturn:
    """End as the interpreter does: threads, functions for its end, streams."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except Exception:
            code = FLUSH_FAILED
    os._exit(code)


def _open_streams() -> None:
    """Replace Python's streams by new ones, buffered by the kind of file that each is now."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        began = getattr(sys, f"__{name}__")
        mode = "w" if number else "r"
        kept = {"encoding": began.encoding, "errors": began.errors, "closefd": False}
        # Standard error is buffered by lines even where it is no terminal.
        stream = open(number, mode, buffering=1 if name == "stderr" else -1, **kept)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _import_all() -> None:
    import hashscan.cli.main as main

    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in main.COMMANDS:
        importlib.import_module(f"hashscan.cli.commands.{name}")
    package = ROOT / "hashscan"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(NOT_IMPORTED):
            with suppress(ImportError):
                importlib.import_module(name)
    importlib.import_module("tests.forked_zygote").preload()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
