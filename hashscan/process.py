"""Prepare the process at its start: environment, standard streams, limits; explain shortages.

It imports only modules that the interpreter has loaded anyway, so that it works when memory or files are
nearly exhausted.
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
"""Variables that change how the interpreter ends (PYTHONINSPECT: with 0, after a match), turn a library's
warnings into errors, or disable checks.
"""

_OPEN_FILES_MIN = 64
"""Number of open files that suffices for a scan with eight workers."""
_MEMORY_MIN = 160 << 20
"""Bytes of memory that must be available at the start. With about 100 MB less, OpenBLAS calls exit(1) when it
is loaded.
"""
_FILE_SIZE_MIN = 1024
"""Minimum allowed size of files in bytes; decoders are tested with pictures in memory files, too."""

REMEDIES = {
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
"""Remedies by error number, for shortages and missing rights, which are neither a finding nor a defect."""


def explain_missing_rights(remedy: str) -> None:
    """Set the remedy for missing rights, as that of a process that continues as another user."""
    REMEDIES.update({errno.EACCES: remedy, errno.EPERM: remedy})


_CLOSED_OUTPUT = "Don't close standard input and output; redirect to /dev/null what isn't wanted."
_NO_CURRENT_FOLDER = "Change to a folder that exists, such as with `cd /`, and try again."
_NO_DEVICES = "Mount /dev where hashscan runs: in a chroot, such as with `mount --bind /dev DIR/dev`."
_NO_TEMPORARY_FOLDER = (
    "Name a folder that can be written to in the variable TMPDIR, and free some space there."
)


_were_closed: set[int] = set()
"""Standard descriptors (0, 1, 2) that were closed when this process started."""


class EnvironmentProblem(Exception):
    """A process environment in which hashscan can't work, with the problem and the remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def restart_without_interpreter_variables() -> None:
    """Replace this process by the interpreter without environment variables that change its behaviour."""
    if any(os.environ.get(name) for name in _INTERPRETER_VARIABLES):
        for name in _INTERPRETER_VARIABLES:
            os.environ.pop(name, None)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def prepare_streams() -> None:
    """Ensure that descriptors 0, 1 and 2 are open, and that errors on standard error don't end a command.

    If one were left closed, a file of ours could get its number and receive what libraries print. Reading and
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
    """Standard error whose failed writes are ignored, as an exit code must not depend on them."""

    def write(self, data: object) -> int:
        try:
            written = super().write(data)  # type: ignore[arg-type]
        except OSError:
            written = None
        # None, too, for a non-blocking descriptor whose other side is full.
        return memoryview(data).nbytes if written is None else written  # type: ignore[arg-type]


def let_go_of_output() -> None:
    """Write what is buffered for standard output; if that fails, redirect it to a pipe without a reader."""
    try:
        sys.stdout.flush()
    except OSError:
        _, write = os.pipe()
        os.dup2(write, 1)


def _open_useless(descriptor: int) -> None:
    """Open a descriptor that can be used for nothing: the wrong end of a pipe."""
    read, write = os.pipe()
    wrong = write if descriptor == 0 else read
    if wrong != descriptor:
        os.dup2(wrong, descriptor)
    os.set_inheritable(descriptor, True)
    for end in {read, write} - {descriptor}:
        os.close(end)


def fix_umask() -> None:
    """Change the umask so that it takes no rights from the owner of new files.

    Otherwise the owner would lose access to them for good.
    """
    os.umask(os.umask(0o077) & ~0o700)


def check_surroundings() -> None:
    """Refuse to start where limits or a missing /dev or /proc would let a library end this process.

    Raises:
        EnvironmentProblem: something is missing.
    """
    import mmap
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < _OPEN_FILES_MIN:
        raise EnvironmentProblem(
            f"a limit of {files} open files is too low; at least {_OPEN_FILES_MIN} are needed",
            REMEDIES[errno.EMFILE],
        )
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= size < _FILE_SIZE_MIN:
        raise EnvironmentProblem(
            f"a limit of {size} bytes for the size of files is too low", REMEDIES[errno.EFBIG]
        )
    try:
        # The memory is never used, so that this costs none.
        mmap.mmap(-1, _MEMORY_MIN, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise EnvironmentProblem(
            f"{_MEMORY_MIN >> 20} MiB of memory can't be had: {error.strerror}", REMEDIES[errno.ENOMEM]
        ) from error
    try:
        os.getcwd()
    except OSError as error:
        raise EnvironmentProblem(
            f"the current folder can't be used: {error.strerror}", _NO_CURRENT_FOLDER
        ) from error
    try:
        os.close(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise EnvironmentProblem(f"{os.devnull} can't be used: {error.strerror}", _NO_DEVICES) from error


def explain_shortage(error: BaseException) -> tuple[str, str] | None:
    """Return the shortage behind an error and its remedy; None where there is none."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, EnvironmentProblem):
            return str(one), one.remedy
        if isinstance(one, OSError) and one.errno == errno.EBADF and _were_closed:
            return "standard input or output is closed", _CLOSED_OUTPUT
        if "No usable temporary directory" in str(one):
            return str(one), _NO_TEMPORARY_FOLDER
        if damaged := _damaged_bytecode(one):
            return f"{damaged} is damaged: {one}", "Remove it: the interpreter compiles that module anew."
        number = _number_of(one)
        if number is not None:
            return str(one) or os.strerror(number), REMEDIES[number]
        one = one.__cause__
    return None


def _damaged_bytecode(error: BaseException) -> str:
    """Return the file of compiled code that an import failed to load; empty for any other error."""
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
    """Return the system's error number of a shortage; None where it is none."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return error.errno
    text = str(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return errno.EAGAIN
    if isinstance(error, ImportError):
        # The dynamic loader states it only as text.
        if "failed to map segment" in text or os.strerror(errno.ENOMEM) in text:
            return errno.ENOMEM
        if os.strerror(errno.EMFILE) in text or f"Error {errno.EMFILE}" in text:
            return errno.EMFILE
    return None
