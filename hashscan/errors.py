"""Define the errors that end a command: one root, each class with its exit code and a line of advice."""

from __future__ import annotations

from typing import ClassVar

EXIT_CLEAN = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_FOUND_INCOMPLETE = 4
EXIT_NO_LIST = 10
EXIT_LOCKED = 11
EXIT_OUTPUT = 12
EXIT_UNREACHABLE = 13
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

EXIT_MEANINGS: dict[int, str] = {
    EXIT_CLEAN: "complete, nothing found",
    EXIT_FOUND: "a match, or one that the circuit breaker holds",
    EXIT_USAGE: "usage or configuration",
    EXIT_INCOMPLETE: "nothing found, but incomplete",
    EXIT_FOUND_INCOMPLETE: "found, and incomplete",
    EXIT_NO_LIST: "no usable list: none, forged, damaged",
    EXIT_LOCKED: "another scan holds the lock",
    EXIT_OUTPUT: "our own input or output failed: state, report, list",
    EXIT_UNREACHABLE: "a server can't be reached",
    EXIT_DEFECT: "a defect in hashscan",
    EXIT_INTERRUPTED: "interrupted; what was done is kept",
    EXIT_TERMINATED: "terminated; what was done is kept",
}
"""Meanings of the exit codes, with the text of the commands' help."""


class HashscanError(Exception):
    """The root of all errors that end a command.

    A problem with a scanned file is never one of these; it is a verdict.
    """

    exit_code: ClassVar[int] = EXIT_DEFECT
    advice: ClassVar[str] = ""

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.remedy = self.advice if advice is None else advice
        self.has_general_advice = advice is None


class UsageError(HashscanError):
    """A command line or settings that are invalid."""

    exit_code = EXIT_USAGE
    advice = ""
    """The command adds where its help is."""


class RowError(UsageError):
    """A row of the settings with a key that is unknown, missing or not valid."""

    def __init__(self, key: str, message: str, advice: str) -> None:
        super().__init__(message, advice=advice)
        self.key = key


class SandboxError(UsageError):
    """A sandbox that was required but is not available."""

    advice = "Install libseccomp2, use a kernel with Landlock (5.13 or later), or use --sandbox auto."


class ZygoteError(HashscanError):
    """A zygote, the process that decoders are forked from, that can't be started or forks no decoder."""

    advice = "A decoder plug-in or its libraries are broken; see the traceback above and reinstall them."


class LibraryError(ZygoteError):
    """A shared library of the operator that decoders can't load or use."""

    exit_code = EXIT_USAGE
    advice = (
        "Check the table of the library in the settings: the file must be built for this system, name those "
        "that it needs under `dependencies`, and have the functions that the table names."
    )


class ZygoteKilledError(HashscanError):
    """A zygote that the system doesn't allow to start, or kills."""

    exit_code = EXIT_OUTPUT
    advice = (
        "Give hashscan more memory (MemoryMax=, ulimit -v), processes (ulimit -u, TasksMax=) or open files "
        "(ulimit -n), or use fewer --workers; the kernel's log names what it killed for want of memory."
    )


class WorkersError(HashscanError):
    """Worker processes that can't be started, or that all die at once."""

    exit_code = EXIT_OUTPUT
    advice = (
        "See above. Raise the limits on processes (ulimit -u, TasksMax=), open files (ulimit -n) and memory, "
        "or use fewer --workers."
    )


class TargetError(UsageError):
    """A target that can't be scanned at all."""

    advice = "Name an existing folder or file that this user may read."


class CredentialsError(TargetError):
    """Credentials for a target that are missing or refused."""


class ListFormatError(UsageError):
    """A file of list entries that is not valid; nothing of it was imported."""

    advice = "Mend the line and import the file again; nothing was imported."


class NoUsableListError(HashscanError):
    """No usable list among those that were asked for."""

    exit_code = EXIT_NO_LIST
    advice = "See `hashscan lists status`; add a list with `hashscan lists add`."


class ListTrustError(HashscanError):
    """A list with signatures, versions or hashes that are not valid."""

    exit_code = EXIT_NO_LIST
    advice = "The last good version stays in use. Ask the list's owner before trusting a new root."


class LockedError(HashscanError):
    """A lock that this process needs and another one holds."""

    exit_code = EXIT_LOCKED
    advice = "Wait until it has ended, or use another --state folder."


class OutputError(HashscanError):
    """A state, report or list folder of our own that can't be read or written."""

    exit_code = EXIT_OUTPUT
    advice = "Check free space and permissions, then run the command again."


class UnreachableError(HashscanError):
    """A server of a list that gives no usable answer."""

    exit_code = EXIT_UNREACHABLE
    advice = "Try again later; the last good version stays in use."
