"""Prepares this process before anything else: environment, standard streams, limits; explains what runs out.

Imports only what the interpreter has loaded anyway, so that it works where there is hardly anything left.
"""

from __future__ import annotations

import errno
import io
import os
import sys

_INTERPRETER_VARIABLES = (
    "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE", "PYTHONDEBUG", "PYTHONVERBOSE",
    "PYTHONASYNCIODEBUG",
)  # fmt: skip
"""Variables that change how the interpreter ends (PYTHONINSPECT: with 0, after a match), make errors of a
library's warnings, or leave checks out."""

_OPEN_FILES_MIN = 64
"""Open files that a scan with eight workers gets by with."""
_MEMORY_MIN = 160 << 20
"""Bytes that must be had at the start. With about 100 MB less, OpenBLAS calls exit(1) as it is loaded."""
_FILE_SIZE_MIN = 1024
"""Bytes of the largest file that may be written; decoders are tried with pictures in memory files, too."""

_REMEDIES = {
    errno.EACCES: "Run it as the user to whom this belongs, or give this user the right to it.",
    errno.EPERM: "Run it as the user to whom this belongs, or give this user the right to it.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n, or LimitNOFILE= of the unit) to 1024 or more.",
    errno.ENFILE: "Raise the machine's limit on open files (sysctl fs.file-max).",
    errno.ENOMEM: "Raise the limit on memory (ulimit -v and -d, or MemoryMax= of the unit), or use fewer "
    "--workers.",
    errno.EAGAIN: "Raise the limits on processes, threads (ulimit -u, or TasksMax= of the unit) and "
    "memory, or use fewer --workers.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f).",
    errno.ENOSPC: "Free some space, and try again.",
    errno.EDQUOT: "Free some space or raise the quota, and try again.",
    errno.EROFS: "Name a place that can be written to, or mount it writable.",
}
"""Shortages of the machine and of rights, which are neither a finding nor a defect, and what helps."""
_CLOSED_OUTPUT = "Don't close standard input and output; redirect to /dev/null what isn't wanted."
_NO_CURRENT_FOLDER = "Change to a folder that exists, such as with `cd /`, and try again."
_NO_DEVICES = "Mount /dev where hashscan runs: in a chroot, such as with `mount --bind /dev DIR/dev`."
_NO_TEMPORARY_FOLDER = (
    "Name a folder that can be written to in the variable TMPDIR, and free some space there."
)


_were_closed: set[int] = set()
"""Which of 0, 1 and 2 were closed when this process began."""


class Unprepared(Exception):
    """This process can't do its work here; with what is wrong and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def restart_without_interpreter_variables() -> None:
    """Run the interpreter again, in place of this process, without variables that change its behaviour."""
    if any(os.environ.get(name) for name in _INTERPRETER_VARIABLES):
        for name in _INTERPRETER_VARIABLES:
            os.environ.pop(name, None)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def prepare_streams() -> None:
    """See that 0, 1 and 2 are open, and that no trouble with standard error ends a command.

    Where one was closed, a file of ours could come to lie there and get what libraries print. Reading and
    writing there still fail, as they would if it were closed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            _open_useless(descriptor)
            _were_closed.add(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    # A name in an encoding that this locale doesn't have must not end the command.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    unfailing = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(
        unfailing, encoding=encoding, errors="backslashreplace", line_buffering=True
    )


class _Unfailing(io.FileIO):
    """Standard error; what can't be written there is lost, as an exit code must not depend on it."""

    def write(self, data: object) -> int:
        try:
            written = super().write(data)  # type: ignore[arg-type]
        except OSError:
            written = None
        # None, too, where the other side doesn't wait for what is written and is full.
        return memoryview(data).nbytes if written is None else written  # type: ignore[arg-type]


def _open_useless(descriptor: int) -> None:
    """Open a descriptor so that it can be used for nothing: the wrong end of a pipe."""
    read, write = os.pipe()
    wrong = write if descriptor == 0 else read
    if wrong != descriptor:
        os.dup2(wrong, descriptor)
    os.set_inheritable(descriptor, True)
    for end in {read, write} - {descriptor}:
        os.close(end)


def allow_own_access() -> None:
    """Let the umask take no rights from the owner of what is made, who would be locked out of it for good."""
    os.umask(os.umask(0o077) & ~0o700)


def check_surroundings() -> None:
    """Refuse to begin where limits or a missing /dev or /proc would let a library end this process.

    Raises:
        Unprepared: something is missing.
    """
    import mmap
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < _OPEN_FILES_MIN:
        raise Unprepared(
            f"a limit of {files} open files is too low; at least {_OPEN_FILES_MIN} are needed",
            _REMEDIES[errno.EMFILE],
        )
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= size < _FILE_SIZE_MIN:
        raise Unprepared(f"a limit of {size} bytes for the size of files is too low", _REMEDIES[errno.EFBIG])
    try:
        # Nothing of it is used, so that this costs no memory.
        mmap.mmap(-1, _MEMORY_MIN, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise Unprepared(
            f"{_MEMORY_MIN >> 20} MiB of memory can't be had: {error.strerror}", _REMEDIES[errno.ENOMEM]
        ) from error
    try:
        os.getcwd()
    except OSError as error:
        raise Unprepared(f"the current folder can't be used: {error.strerror}", _NO_CURRENT_FOLDER) from error
    try:
        os.close(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise Unprepared(f"{os.devnull} can't be used: {error.strerror}", _NO_DEVICES) from error


def explain_shortage(error: BaseException) -> tuple[str, str] | None:
    """Return what ran out and what to do; None where an error isn't for want of anything."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, Unprepared):
            return str(one), one.remedy
        if isinstance(one, OSError) and one.errno == errno.EBADF and _were_closed:
            return "standard input or output is closed", _CLOSED_OUTPUT
        if "No usable temporary directory" in str(one):
            return str(one), _NO_TEMPORARY_FOLDER
        if damaged := _damaged_bytecode(one):
            return f"{damaged} is damaged: {one}", "Remove it: the interpreter compiles that module anew."
        number = _number_of(one)
        if number is not None:
            return str(one) or os.strerror(number), _REMEDIES[number]
        one = one.__cause__
    return None


def _damaged_bytecode(error: BaseException) -> str:
    """The file of compiled code over which an import has failed; empty where it was nothing of the kind."""
    trace, path = error.__traceback__, ""
    while trace is not None:
        known = trace.tb_frame.f_locals
        if trace.tb_frame.f_code.co_name == "get_code" and isinstance(known.get("bytecode_path"), str):
            path = known["bytecode_path"]
        elif trace.tb_frame.f_code.co_name != "_compile_bytecode":
            path = ""
        trace = trace.tb_next
    return path if isinstance(error, (EOFError, ValueError, TypeError)) else ""


def _number_of(error: BaseException) -> int | None:
    """The system's number of a shortage; None where it is none."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        return error.errno
    text = str(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return errno.EAGAIN
    if isinstance(error, ImportError):
        # The dynamic loader says it in words.
        if "failed to map segment" in text or os.strerror(errno.ENOMEM) in text:
            return errno.ENOMEM
        if os.strerror(errno.EMFILE) in text or f"Error {errno.EMFILE}" in text:
            return errno.EMFILE
    return None
