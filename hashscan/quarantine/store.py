"""The quarantine of one state folder, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hashscan import __version__
from hashscan.errors import LockedError, OutputError
from hashscan.quarantine.items import Item, items_of
from hashscan.quarantine.log import Head, Line, LogWriter, read_log
from hashscan.quarantine.place import Places

_NOBODY = 0xFFFFFFFF


def folder_of(state: Path) -> Path:
    """Where the log of a state folder's quarantine lies."""
    return state / "quarantine"


def read_items(state: Path) -> dict[str, Item]:
    """Each item of a quarantine; may be asked beside a writer.

    Raises:
        OutputError: the log is damaged or can't be read.
    """
    folder = folder_of(state)
    return items_of(line for line, _ in read_log(folder)) if folder.exists() else {}


class Quarantine:
    """The log and the folders, for whoever changes anything; the lock ends with the process."""

    def __init__(self, state: Path, chosen: Iterable[Path] = ()) -> None:
        """Open it, and make it where it isn't there.

        Args:
            state: the state folder.
            chosen: folders to keep things beneath; see `Places`.

        Raises:
            LockedError: another process holds it.
            UsageError: a chosen folder can't be used.
            OutputError: it can't be written, or its log is damaged.
        """
        folder = folder_of(state)
        with ExitStack() as stack:
            stack.callback(os.close, _lock(folder))
            self.places = Places(folder, chosen)
            stack.callback(self.places.close)
            self.log = stack.enter_context(LogWriter(folder))
            self._stack = stack.pop_all()
        self.folder = folder

    @property
    def head(self) -> Head:
        """How far the log goes; to be kept somewhere else, too."""
        return self.log.head

    def lines(self) -> list[Line]:
        """All that the log says."""
        return [line for line, _ in read_log(self.folder)]

    def items(self) -> dict[str, Item]:
        """Each item by its id."""
        return items_of(self.lines())

    def note(self, kind: str, item: str, **more: Any) -> None:
        """Add a line to the log, with who says so and when."""
        self.log.append({"type": kind, "item": item, **circumstances(), **more})

    def settle(self) -> None:
        """See that all lines are on the disk, and how many they are."""
        self.log.sync()
        self.log.keep_head()

    def close(self) -> None:
        """Let another process have it."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def circumstances() -> dict[str, Any]:
    """Who does something, when, where, and with what."""
    return {"time": datetime.now(UTC).isoformat(), "host": socket.gethostname(), "version": __version__,
            "operator": _operator()}  # fmt: skip


def _operator() -> dict[str, Any]:
    """The user of this process, whoever is behind sudo, and whoever logged in."""
    who: dict[str, Any] = {"uid": os.geteuid()}
    with suppress(KeyError):
        who["user"] = pwd.getpwuid(os.geteuid()).pw_name
    if "SUDO_USER" in os.environ:
        who["sudo"] = os.environ["SUDO_USER"]
    try:
        login = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        login = _NOBODY
    if login != _NOBODY:
        who["login"] = login
    return who


def _lock(folder: Path) -> int:
    path = folder / "lock"
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutputError(f"can't use the quarantine {folder}: {error.strerror}") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # POSIX allows either for a held lock
        os.close(descriptor)
        raise LockedError(
            f"another process uses the quarantine {folder}", advice="Wait until it has ended, then try again."
        ) from error
    return descriptor
