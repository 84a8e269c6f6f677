"""Fork commands from a process that has imported the program, as imports take longer than most commands.

`Prefork.run` and `popen` start a process for each command, as those of `subprocess` do: with its own
environment, current folder, standard streams and exit code. It differs from `python -m hashscan` only in
that modules have been imported before. The same holds for the fork server of multiprocessing, from which a
scan forks its workers: it is forked before the command begins, and has nothing of its state. Its resource
tracker is forked, too; zygotes are as `forked_zygote` says. All other processes that the program starts are
started as always.

`python -m tests.prefork DESCRIPTOR [RARE]...` runs the process that commands are forked from. It accepts
requests at the socket DESCRIPTOR until its standard input ends. A request has the three streams, and a line
of JSON. The process replies with its id once it has become the leader of its session, if it is to; then its
status follows. Its id stays its own until the caller closes the connection.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing.util
import os
import runpy
import select
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
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC", "OPENBLAS", "DASK_")
"""Variables that begin so act when an interpreter starts or imports: only as they are here can a command be
forked."""
STREAMS = 3
MESSAGE_BYTES = 1 << 20
DESCRIPTORS = 100
"""At most so many are passed to a process."""
FLUSH_FAILED = 120
"""The interpreter's exit code where its streams can't be flushed at its end."""
NOT_IMPORTED = ("hashscan.hashing.", "hashscan.sandbox.", "hashscan.scan.workers.die_with_scan")
"""The modules that only other processes import."""
CLUSTER = "hashscan.scan.cluster."
EXCHANGES = "hashscan.lists.exchanges."
HUB, HUB_COMMANDS = "hashscan.hub.", "hashscan.cli.hub."
RARE = (EXCHANGES, CLUSTER, HUB, HUB_COMMANDS)
"""Modules of large libraries that few commands use: the more memory a process has, the longer it takes to
fork."""
LATE = (
    *("_strptime", "encodings.ascii", "multiprocessing.popen_forkserver", "rich.console", "rich.table"),
    *("rich._emoji_codes", "tuf.api.serialization.json"),
    *("hashscan.lists.index._probe",),
)
"""Modules that many commands import when they use them first."""

FETCHING = "hashscan.lists.exchanges.fetching_process"
NODE = "tests.scan.hostile_node"
MODULES = ("hashscan", NODE, FETCHING)
"""The programs that can be forked."""
FORKED_OPTIONS = {
    "bufsize",
    "cwd",
    "encoding",
    "env",
    "start_new_session",
    "stderr",
    "stdin",
    "stdout",
    "text",
}
"""Options of `subprocess.Popen` with which a command can be forked."""

NODE_PROCESSES = 4
SPAWNED = "spawned"
"""The name, as in `/proc/PID/comm`, of a process that multiprocessing has spawned, where it was forked."""

PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b"."], [0, 1, 2])
    order = dict(arguments=sys.argv[1:], env=dict(os.environ), cwd=os.getcwd(), code="", umask={umask})
    connection.sendall(json.dumps(order).encode() + b"\\n")
    replies = connection.makefile("r")
    replies.readline()
    status = int(replies.readline())
    connection.shutdown(socket.SHUT_WR)
    replies.read()
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Prefork:
    """The process that commands are forked from; started with the first of them.

    Args:
        prefix: words before the command that starts it.
        extra: variables that it has besides those of this process.
        rare: those of `RARE` that it imports.
        name: under which the workers of a parallel run share it, unless each has its own.
    """

    def __init__(
        self,
        prefix: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
        rare: Sequence[str] = (),
        name: str = "",
    ) -> None:
        self._prefix, self._extra, self._rare = prefix, extra or {}, rare
        self.name = name
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
            connection.sendall(json.dumps(order).encode() + b"\n")
            connection.settimeout(timeout)
            with connection.makefile("r", encoding="ascii") as replies:
                process = int(replies.readline())
                try:
                    status = int(replies.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(["hashscan", *arguments], timeout) from None
            _let_go(connection)
        return subprocess.CompletedProcess(
            ["hashscan", *arguments],
            os.waitstatus_to_exitcode(status),
            out.text() if out else None,
            err.text(),
        )

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command as `subprocess.Popen` does; forked, if it is one of `MODULES` and can be.

        Args:
            command: the program and its arguments.
            options: those of `subprocess.Popen`; with others than `FORKED_OPTIONS`, it is not forked.
        """
        if (
            list(command[:2]) == [sys.executable, "-m"]
            and command[2] in MODULES
            and options.keys() <= FORKED_OPTIONS
            and self.can_run(options.get("env") or os.environ)
        ):
            return _ForkedCommand(self._address(), command[2:], **options)
        return subprocess.Popen(command, **options)

    def program(self) -> Path:
        """Return a program that does what `python -m hashscan` does, by a forked process.

        It passes no signals on, and a clock of the test (`tests/cli/later.py`) has no effect.
        """
        address = self._address()
        path = Path(address).with_name("hashscan")
        if not path.exists():
            made = path.with_name(f"made-by-{os.getpid()}")
            made.write_text(PROGRAM.format(python=sys.executable, address=address, umask=_umask()))
            made.chmod(0o755)
            made.rename(path)
        return path

    def close(self) -> None:
        """End the process, if it was started."""
        if self._process is not None:
            self._process.communicate(timeout=60)
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()

    def _address(self) -> str:
        if self.name and shared_folder:
            return f"{shared_folder}/{self.name}/socket"
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="hashscan-prefork-")
            with listening_at(f"{self._folder.name}/socket") as listening:
                self.start(listening)
        return f"{self._folder.name}/socket"

    def start(self, listening: socket.socket) -> None:
        """Start the process, which accepts requests at this socket."""
        self._process = subprocess.Popen(
            [
                *(*self._prefix, sys.executable, "-m", "tests.prefork"),
                *(str(listening.fileno()), *self._rare),
            ],
            env=os.environ | self._extra,
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            cwd=ROOT,
        )


def listening_at(path: str) -> socket.socket:
    """Return a socket that accepts connections at a path."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(128)
    return listening


shared_folder = ""
"""Has the sockets of the processes that the workers of a parallel run share, in a folder for each."""


@cache
def share_preforks() -> str:
    """Return the folder for workers of this process, in which each of `SHARED` begins when it is asked."""
    folder = tempfile.TemporaryDirectory(prefix="hashscan-preforks-")
    atexit.register(folder.cleanup)
    waiting = {}
    for prefork in SHARED:
        Path(folder.name, prefork.name).mkdir()
        waiting[listening_at(f"{folder.name}/{prefork.name}/socket")] = prefork

    def start_those_asked() -> None:
        while waiting:
            for asked in select.select([*waiting], [], [])[0]:
                waiting.pop(asked).start(asked)
                asked.close()

    threading.Thread(target=start_those_asked, daemon=True).start()
    return folder.name


class _ForkedCommand(subprocess.Popen[Any]):
    """A command that is forked by another process, which says when it has ended."""

    def __init__(self, address: str, arguments: Sequence[str], **options: Any) -> None:
        self._server = address
        self._received = b""
        super().__init__([*map(os.fspath, arguments)], **options)

    def _execute_child(self, arguments: list[str], *more: Any) -> None:
        cwd, env = more[4:6]
        read, _, _, write, _, error = more[9:15]
        order = {
            "module": arguments[0],
            "arguments": arguments[1:],
            "env": dict(os.environ if env is None else env),
            "cwd": os.fspath(cwd or os.getcwd()),
            "code": "",
            "umask": _umask(),
            "session": bool(more[20]),
        }
        streams = [own if stream == -1 else stream for own, stream in enumerate((read, write, error))]
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(self._server)
        socket.send_fds(self._connection, [b"."], streams)
        self._connection.sendall(json.dumps(order).encode() + b"\n")
        while not self._received.count(b"\n"):
            self._receive()
        self.pid = int(self._received.split()[0])
        self._child_created = True
        self._close_pipe_fds(*more[9:15])  # type: ignore[attr-defined]

    def _receive(self) -> None:
        data = self._connection.recv(4096)
        assert data, "the process that commands are forked from has ended"
        self._received += data

    def _try_wait(self, flags: int) -> tuple[int, int]:
        """Return the id and the status of the process once it has ended, as `os.waitpid` does."""
        while self._received.count(b"\n") < 2:
            if flags & os.WNOHANG and not select.select([self._connection], [], [], 0)[0]:
                return 0, 0
            self._receive()
        _let_go(self._connection)
        return self.pid, int(self._received.split()[1])

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                process, status = self._try_wait(os.WNOHANG)
                if process and self.returncode is None:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def _let_go(connection: socket.socket) -> None:
    """Wait until a process that has ended no longer has its id."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1):
        pass
    connection.close()


PREFORK = Prefork(name="commands")
CLUSTER_PREFORK = Prefork(extra={"DASK_LOGGING__DISTRIBUTED": "error"}, rare=[CLUSTER], name="cluster")
"""Forks scans on a cluster, and its nodes. Dask reads how it logs when it is imported."""
HUB_PREFORK = Prefork(rare=[HUB, HUB_COMMANDS], name="hub")
"""Forks commands of a hub."""
EXCHANGE_PREFORK = Prefork(rare=[EXCHANGES], name="exchanges")
"""Forks commands that talk to exchanges."""
SHARED = (PREFORK, CLUSTER_PREFORK, HUB_PREFORK, EXCHANGE_PREFORK)


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


def serve(descriptor: int, rare: Sequence[str]) -> None:
    """Fork a process for each request and reply with its id and then its status, until the caller ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all(tuple(name for name in RARE if name not in rare))
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
    left: set[int] = set()
    """Processes for which no caller waits any more."""
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                return
            if key.fd == woken:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
                _report_ended(running)
            elif key.fd != listening.fileno():
                selector.unregister(key.fileobj)
                if running.pop(key.data, None) is None:
                    os.waitpid(key.data, 0)
                else:
                    left.add(key.data)
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
            else:
                connection, _ = listening.accept()
                _, streams, _, _ = socket.recv_fds(connection, 1, STREAMS)
                with connection.makefile("rb") as stated:
                    order = json.loads(stated.readline())
                process = os.fork()
                if process == 0:
                    _become(order, streams, connection)
                running[process] = connection
                selector.register(connection, selectors.EVENT_READ, process)
                for stream in streams:
                    os.close(stream)
        left -= {process for process in left if os.waitpid(process, os.WNOHANG)[0]}


def _report_ended(running: dict[int, socket.socket]) -> None:
    """Tell the callers of processes that have ended; these keep their ids until the callers have closed."""
    for process, connection in list(running.items()):
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            status = ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status
            del running[process]
            with suppress(OSError):
                connection.sendall(f"{status}\n".encode())


def _become(order: dict[str, Any], streams: Sequence[int], connection: socket.socket) -> NoReturn:
    """Run a command in the new process, and end it as the interpreter does."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        if order.get("session"):
            os.setsid()
        connection.sendall(f"{os.getpid()}\n".encode())
        os.closerange(STREAMS, max(map(int, os.listdir("/proc/self/fd"))) + 1)
        os.umask(order["umask"])
        os.chdir(order["cwd"])
        preloaded = {name: value for name, value in os.environ.items() if name == "LD_PRELOAD"}
        os.environ.clear()
        os.environ.update(preloaded | order["env"])
        time.tzset()
        module = order.get("module", "hashscan")
        if module == FETCHING:
            # An extension of the library, which no other module imports.
            sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        program = importlib.import_module("hashscan.__main__")
        sys.argv = [str(program.__file__), *order["arguments"]]
        sys.modules["__main__"] = program
        _open_streams()
        importlib.import_module("tests.forked_zygote").fork_zygotes()
        if module == NODE or "worker" in order["arguments"]:
            _prepare_processes(NODE_PROCESSES)
        elif not {"scan", "selftest", "serve"}.isdisjoint(order["arguments"]):
            _prepare_processes(1)
        exec(compile(order["code"], "sitecustomize", "exec"), {})
        if module == NODE:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            code = (program if module == "hashscan" else importlib.import_module(module)).main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _prepare_processes(number: int) -> None:
    """Fork processes that become multiprocessing's fork server or those that it spawns.

    They have nothing of the command's state, since they are forked before it begins, and end with it. More
    than `number` are started as always.
    """
    ready: list[tuple[int, socket.socket]] = []
    for _ in range(number):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = os.fork()
        if process == 0:
            for connection in (ours, *(other for _, other in ready)):
                connection.close()
            _become_prepared(theirs)
        theirs.close()
        ready.append((process, ours))
    start = multiprocessing.util.spawnv_passfds

    def forked(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        code = args[args.index("-c") + 1]
        if "multiprocessing.resource_tracker" in code:
            return _fork_resource_tracker(code, passfds)
        if not ready or not ("multiprocessing.forkserver" in code or "multiprocessing.spawn" in code):
            number: int = start(path, args, passfds)
            return number
        process, ours = ready.pop()
        descriptors = sorted(set(passfds))
        order = {
            "code": code,
            "arguments": args[args.index("-c") :][2:],
            "numbers": descriptors,
            "env": dict(os.environ),
            "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        }
        socket.send_fds(ours, [json.dumps(order).encode()], descriptors)
        ours.close()
        return process

    multiprocessing.util.spawnv_passfds = forked


def _fork_resource_tracker(code: str, descriptors: Sequence[int]) -> int:
    """Fork the process in which multiprocessing keeps a list of what is to be removed in the end."""
    process = os.fork()
    if process == 0:
        try:
            signal.set_wakeup_fd(-1)
            atexit._clear()
            _close_all_but(descriptors)
            exec(code, {})
        finally:
            os._exit(0)
    return process


def _close_all_but(descriptors: Sequence[int]) -> None:
    last = max(map(int, os.listdir("/proc/self/fd")))
    for before, after in pairwise([-1, *sorted(descriptors), last + 1]):
        # `closerange(0, 0)` closes all.
        if before + 1 < after:
            os.closerange(before + 1, after)


def _become_prepared(connection: socket.socket) -> NoReturn:
    status = 0
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, DESCRIPTORS)
        if data:
            connection.close()
            order = json.loads(data)
            # Above all that are open, lest one take the place of another.
            above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in descriptors]
            _close_all_but([*range(STREAMS), *above])
            for descriptor, number in zip(above, order["numbers"], strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(order["env"])
            signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked"])
            if order["arguments"]:
                Path("/proc/self/comm").write_text(SPAWNED)
                sys.argv = ["-c", *order["arguments"]]
            exec(order["code"], {})
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        _end(status)


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


def _import_all(rare: tuple[str, ...]) -> None:
    import click

    import hashscan.cli.main as main

    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in main.COMMANDS:
        main.cli.get_command(click.Context(main.cli), name)
    package = ROOT / "hashscan"
    for path in sorted(package.rglob("*.py")):
        if "migrations" in path.parts:  # which are no modules
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(NOT_IMPORTED + rare):
            with suppress(ImportError):
                importlib.import_module(name)
    for name in LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("tests.quick_disk").sync_nothing()
    importlib.import_module("tests.forked_zygote").preload()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
