"""Messages and log records: as lines on standard error, and in a log file."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from typing import IO, Any

from msgspec import UNSET, Struct, UnsetType

from hashscan.errors import EXIT_CLEAN, EXIT_OUTPUT, HashscanError, OutputError
from hashscan.process import REMEDIES
from hashscan.schema import Time, encode_json
from hashscan.text import escape_lines, printable

NOTICE = 25
"""Level of the messages that a command prints without -v."""
ERROR = logging.ERROR
LEVELS = (NOTICE, logging.INFO, logging.DEBUG)
"""Levels of no -v, of -v and of -vv."""

_JOURNAL_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (NOTICE, 5), (logging.INFO, 6), (0, 7))
"""Levels, and the priorities by which the journal knows them (sd-daemon(3))."""

_HINTS = {
    errno.ENOENT: "Create the folder first, or name another place.",
    errno.ENOTDIR: "Name a place in a folder.",
    errno.EISDIR: "Name a file, not a folder.",
}
"""Advice by error number, where our own output can't be written or read."""

_log = logging.getLogger("hashscan")


def print_message(text: str, level: int = NOTICE) -> None:
    """Print a message: one line that begins with the program's name, escaped."""
    _log.log(level, "%s", printable(text))


def print_line(text: str, level: int = NOTICE) -> None:
    """Print a line without the program's name, escaped."""
    _log.log(level, "%s", printable(text), extra={"continues": True})


def print_error(error: HashscanError, about: str = "") -> None:
    """Print an error and its advice; `about` says what was done."""
    text = f"{about}: {error}" if about else str(error)
    remedy = error.remedy
    cause = error.__cause__
    if error.has_general_advice and type(error).advice is OutputError.advice and isinstance(cause, OSError):
        # More fitting than what holds for all failures to read or write.
        remedy = _HINTS.get(cause.errno or 0) or REMEDIES.get(cause.errno or 0) or remedy
    _log.error("%s", text, extra={"advice": remedy} if remedy else None)
    _log.debug("traceback", exc_info=error)


class TextFormatter(logging.Formatter):
    """The form for people: a message, its advice in another line, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = escape_lines(super().format(record))
        if advice := getattr(record, "advice", ""):
            text += f"\n  {escape_lines(advice)}"
        return text if hasattr(record, "continues") else self.begin(record) + text

    def begin(self, record: logging.LogRecord) -> str:
        return "hashscan: "


class FileFormatter(TextFormatter):
    """The form for people in a log file: time, process and level precede a message."""

    def begin(self, record: logging.LogRecord) -> str:
        return f"{_time_text(record)} {record.process} {record.levelname} {record.name}: "


class LogLine(Struct):
    """A message."""

    time: Time
    level: str
    logger: str
    process: int | None
    message: str
    advice: str | UnsetType = UNSET


class JsonFormatter(logging.Formatter):
    """The form for programs: a JSON object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        advice = getattr(record, "advice", "")
        line = LogLine(
            _time_text(record),
            record.levelname.lower(),
            record.name,
            record.process,
            printable(super().format(record), keep="\n"),
            printable(advice, keep="\n") or UNSET,
        )
        return encode_json(line).decode("ascii")


def _time_text(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{record.msecs:03.0f}Z"


class StandardError(logging.Handler):
    """Writes records to standard error, in place of a progress bar, which appears again below them."""

    bar: Any = None
    """The progress bar that is shown, of tqdm; None without one."""

    @property
    def is_for_people(self) -> bool:
        """True if a progress bar may be shown: on a terminal, if neither --quiet nor JSON is asked for."""
        return self.level < ERROR and isinstance(self.formatter, TextFormatter) and sys.stderr.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        if self.bar is not None:
            self.bar.clear()
        priority = ""
        if _is_journal(sys.stderr):
            priority = next(f"<{number}>" for least, number in _JOURNAL_PRIORITIES if record.levelno >= least)
        sys.stderr.write("".join(f"{priority}{line}\n" for line in self.format(record).split("\n")))
        sys.stderr.flush()


def _is_journal(stream: IO[str]) -> bool:
    """Return True if the journal reads a stream, as `JOURNAL_STREAM` says (systemd.exec(5))."""
    if "JOURNAL_STREAM" not in os.environ:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ["JOURNAL_STREAM"] == f"{status.st_dev}:{status.st_ino}"


STANDARD_ERROR = StandardError()
"""The handler of standard error, for all of the process."""


class FileHandler(logging.Handler):
    """Writes records to a log file."""

    trouble = ""
    """The reason why records are missing; empty if none is."""


_files: list[FileHandler] = []


def log_to_standard_error(*, quiet: bool, level: int, format_name: str) -> None:
    """Write records of at least a level to standard error; if `quiet`, errors only."""
    _log.setLevel(level)
    STANDARD_ERROR.setLevel(logging.ERROR if quiet else logging.NOTSET)
    STANDARD_ERROR.setFormatter(JsonFormatter() if format_name == "json" else TextFormatter())


def log_to_file(file: FileHandler) -> None:
    """Write records to a file, too, until `end_log`."""
    _files.append(file)
    logging.getLogger().addHandler(file)


def log_defect(error: BaseException) -> None:
    """Write the traceback of an unexpected error to the log file; another one prints it."""
    record = _log.makeRecord(_log.name, logging.CRITICAL, "", 0, "ends unexpectedly", (), None)
    record.exc_info = (type(error), error, error.__traceback__)
    for file in _files:
        file.handle(record)


def end_log(exit_code: int) -> int:
    """Close the log file; return the exit code of the command, which is not 0 if records are missing."""
    missing = any(file.trouble for file in _files)
    for file in _files:
        logging.getLogger().removeHandler(file)
        file.close()
    _files.clear()
    return EXIT_OUTPUT if missing and exit_code == EXIT_CLEAN else exit_code


def _install() -> None:
    """Have standard error show the records of libraries, too: their warnings and errors."""
    logging.addLevelName(NOTICE, "NOTICE")
    logging.getLogger().addHandler(STANDARD_ERROR)
    log_to_standard_error(quiet=False, level=NOTICE, format_name="text")


_install()
