"""The quarantine of one state folder: its log, folders, items and lock; one process at a time has it open."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from hashscan import __version__
from hashscan.atomic_files import output_errors
from hashscan.hash_chain import Line, LogHead
from hashscan.locking import ClosedOnExit, LockFile
from hashscan.quarantine.file_facts import FileFacts, is_sealed
from hashscan.quarantine.file_search import SearchBudget
from hashscan.quarantine.folder import QuarantineFolders
from hashscan.quarantine.item_storage import ItemStorage
from hashscan.quarantine.items import KEPT, UNFINISHED, Item, State, apply_line, items_of
from hashscan.quarantine.log import LogWriter, read_log
from hashscan.quarantine.log_checkpoint import (
    EMPTY_CHECKPOINT,
    LogCheckpoint,
    known_heads,
    read_checkpoint,
    write_checkpoint,
)
from hashscan.quarantine.object_stores import Stores
from hashscan.quarantine.restored import (
    RestoredContent,
    merge_restored,
    operator_name,
    quarantine_states,
    restored_contents,
)
from hashscan.sources.filesystem.quarantined_files import QuarantinedFile
from hashscan.state_dir import StateDir
from hashscan.system_log import write_system_log

_NOBODY = 0xFFFFFFFF


def read_items(state: StateDir) -> dict[str, Item]:
    """Return the items of a quarantine by id; needs no lock, so another process may write meanwhile.

    Raises:
        OutputError: the log is damaged or can't be read.
    """
    return items_of(line for line, _ in read_lines(state))


def read_lines(state: StateDir, known: Mapping[str, LogHead] | None = None) -> Iterator[tuple[Line, LogHead]]:
    """Yield the log lines of a quarantine from the first, each with the head up to it; none without a log.

    The log must contain the `known` heads (by the place where they are kept), else that of the state folder.

    Raises:
        BrokenLogError: a line was changed, or lines are missing.
        LostLogError: the log is missing.
        OutputError: the log can't be read.
    """
    folder = state.quarantine
    yield from read_log(folder, known_heads(state, folder) if known is None else known)


def read_restored(states: Iterable[StateDir]) -> dict[bytes, RestoredContent]:
    """Return the contents that were restored from the quarantines of states, by their sha256.

    Raises:
        OutputError: a log is damaged, lost or can't be read.
    """
    found: dict[bytes, RestoredContent] = {}
    for state in states:
        found = merge_restored(found, restored_contents(partial(_lines, state)))
    return found


def quarantined_items(state: StateDir) -> list[Item]:
    """Return the items of the quarantines of a state: its own, and those that its scans have named.

    Raises:
        OutputError: a log is damaged, lost or can't be read.
    """
    return [item for one in quarantine_states(state) for item in read_items(one).values()]


def _lines(state: StateDir) -> Iterator[Line]:
    return (line for line, _ in read_lines(state))


def kept_in_buckets(state: StateDir) -> frozenset[bytes]:
    """Return the URLs of objects that a quarantine keeps in buckets.

    Raises:
        OutputError: the log is damaged or can't be read.
    """
    items = read_items(state).values()
    return frozenset(
        item.place + b"/" + item.id.encode() for item in items if item.in_bucket and item.state in KEPT
    )


def kept_in_folders(state: StateDir) -> dict[bytes, dict[bytes, QuarantinedFile]]:
    """Return the files that a quarantine keeps on this machine, by folder (as in the log) and file name.

    Raises:
        OutputError: the log is damaged or can't be read.
    """
    folders: dict[bytes, dict[bytes, QuarantinedFile]] = {}
    for item in read_items(state).values():
        if not item.in_bucket:
            files = folders.setdefault(item.place, {})
            if item.state in KEPT | UNFINISHED:
                files[item.id.encode()] = item.kept_file
    return folders


class Quarantine(ClosedOnExit):
    """The log and the folders of a quarantine, open for changes; the lock ends with the process."""

    def __init__(
        self,
        state: StateDir,
        chosen: Iterable[Path] = (),
        notify: Callable[[str], object] | None = None,
        stores: Stores | None = None,
        *,
        seconds: float = 0.0,
    ) -> None:
        """Open the quarantine, and create it if it doesn't exist.

        Args:
            chosen: folders beneath which to keep files; see `QuarantineFolders`.
            stores: opens the buckets in which objects are found and kept; None if objects are not used.
            seconds: the time to wait for another process.

        Raises:
            LockedError: another process holds the lock.
            UsageError: a chosen folder can't be used.
            OutputError: the quarantine can't be written, or its log is damaged.
        """
        folder = state.quarantine
        self._notify = notify
        with ExitStack() as stack:
            stack.enter_context(_lock(folder, seconds))
            known = known_heads(state, folder)
            if not known:
                write_checkpoint(state, EMPTY_CHECKPOINT)
            self.places = QuarantineFolders(folder, chosen)
            stack.callback(self.places.close)
            self.stores = Stores({}) if stores is None else stores
            stack.callback(self.stores.close)
            self.storage = ItemStorage(self.stores, self.places, self.places.own.path)
            self._items: dict[str, Item] = {}
            self.log = stack.enter_context(
                LogWriter(folder, known, lambda line: apply_line(self._items, line))
            )
            self._begun = self._kept = read_checkpoint(state) or EMPTY_CHECKPOINT
            self._stack = stack.pop_all()
        self.state = state
        self.folder = folder
        self.search_budget = SearchBudget()
        """Remaining budget for files that move away."""

    @property
    def head(self) -> LogHead:
        """Head of the log; a copy should be kept elsewhere too."""
        return self.log.head

    def lines(self) -> Iterator[Line]:
        """Return all lines of the log."""
        return (line for line, _ in read_log(self.folder))

    @cached_property
    def restored(self) -> Mapping[bytes, RestoredContent]:
        """The contents that were restored before the first query, by their sha256."""
        return restored_contents(self.lines)

    def items(self) -> dict[str, Item]:
        """Return the items by id, in the order in which they were added, with all lines written so far."""
        return dict(self._items)

    def item(self, name: str) -> Item:
        """Return the item with this id."""
        return self._items[name]

    def is_kept(self, folder: int, name: bytes) -> bool:
        """Return True if a name in a folder (descriptor) is an item that this quarantine keeps there."""
        item = self._items.get(os.fsdecode(name))
        if item is None or item.in_bucket or item.state not in KEPT:
            return False
        try:
            place = self.places.at(item.place)
        except OSError:
            return False
        return os.path.samestat(os.fstat(place.descriptor), os.fstat(folder))

    def facts_before_seal(self, status: os.stat_result, sha256: str) -> FileFacts | None:
        """Return the facts of a file from before another hard link of it was moved and sealed, if one was."""
        if not is_sealed(status):
            return None
        for item in self._items.values():
            if item.state not in KEPT or item.is_object or item.sha256 != sha256:
                continue
            facts: FileFacts = item.record["file"]
            if facts["inode"] == status.st_ino:
                return facts
        return None

    def is_restored_by_hard_link(self, item: Item, status: os.stat_result) -> bool:
        """Return True if the kept file was restored by another hard link, so that its owner has access again.

        The owner may have changed the owner, mode and times that were restored.
        """
        return status.st_nlink > 1 and any(
            other.state is State.RESTORED and other.record["file"]["inode"] == status.st_ino
            for other in self._items.values()
            if other.sha256 == item.sha256 and not other.is_object
        )

    def append(self, line: Line) -> None:
        """Append a line to the log; it is on the disk only after a sync."""
        self.log.append(line)
        apply_line(self._items, line)

    def log_event(self, kind: str, item: str, **more: Any) -> None:
        """Append a line to the log, with operator, host and time."""
        self.append({"type": kind, "item": item, **event_context(), **more})

    def sync(self) -> None:
        """Sync the log, and write its head beside it and into the state folder."""
        self.log.sync()
        self.log.write_head()
        if self._kept.head != self.head:
            self._kept = LogCheckpoint(self.head, sum(item.state in KEPT for item in self._items.values()))
            write_checkpoint(self.state, self._kept)

    def close(self) -> None:
        """Release the lock; send the head of the log to the system log if it changed."""
        self._stack.close()
        # A head that may not be on the disk is not sent: its lines would be reported missing for ever.
        is_new = self._kept != self._begun
        if is_new and not write_system_log(self._kept.message()) and self._notify is not None:
            self._notify("there is no system log here: store the head of the quarantine's log elsewhere")


def event_context() -> dict[str, Any]:
    """Return who does something, when, on which host, and with which version."""
    return {"time": datetime.now(UTC).isoformat(), "host": socket.gethostname(), "version": __version__,
            "operator": _operator()}  # fmt: skip


@cache
def _operator() -> dict[str, Any]:
    """Return the user of this process, the user behind sudo, and the user who logged in."""
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


def event_operator() -> str:
    """Return the user behind this process as text: who used sudo, or the user's name or number."""
    return operator_name(_operator())


def _lock(folder: Path, seconds: float) -> LockFile:
    with output_errors(f"can't use the quarantine {folder}"):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return LockFile(folder / "lock", f"another process uses the quarantine {folder}", seconds=seconds)
