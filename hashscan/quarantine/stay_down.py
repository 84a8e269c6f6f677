"""The contents that stay down: removed and confirmed ones, which later scans find by the list `stay-down`.

A record in the state folder says for each content who confirmed it, why, for whose file and until when. The
local list `stay-down` is made from the records: md5, sha1 and sha256 of the content and, of a picture with
enough detail, its PDQ. Restoring an item ends the record of its content. A command that is killed between
writing the records and the list leaves a mark, by which the next one makes the list again.

An attacker can't add to this list: only content that an operator has confirmed is in it. Pictures that look
like it, of other customers, are for review only (`matching.policy`), so a picture that was confirmed in error
accuses no other customer by likeness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from msgspec import Struct, structs

from hashscan.atomic_files import output_errors, remove_leftovers, replace_file
from hashscan.errors import HashscanError, OutputError
from hashscan.lists.entries import canary_entries
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.store import ListStore
from hashscan.locking import LockFile
from hashscan.model import ALGORITHMS, CATEGORIES, STAY_DOWN_LIST, Entry
from hashscan.quarantine.restored import quarantine_states, restore_times
from hashscan.quarantine.store import read_lines
from hashscan.schema import decode_file, encode_file
from hashscan.state_dir import StateDir
from hashscan.timefmt import format_utc

_FILE = "entries.json"
_ALGORITHMS = ("sha256", "md5", "sha1", "pdq")


class StayDownContent(Struct, frozen=True):
    """A removed and confirmed content."""

    digests: dict[str, str]
    """In hex, by algorithm: sha256, and those of md5, sha1 and pdq that are known."""
    category: str
    owners: tuple[str, ...]
    """The owners of the removed files: numbers of users, and URLs of buckets."""
    item: str
    """Its id in quarantine; empty if it was removed otherwise."""
    case: int
    """Number of the case; 0 if none was named."""
    reason: str
    by: str
    since: str
    """Time of the confirmation, RFC 3339 with microseconds, UTC."""
    until: str
    """Time from which on it is no longer matched; UTC in whole seconds."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hex."""
        return self.digests["sha256"]

    @property
    def stem(self) -> str:
        """The part before the colon in the ids of its entries; it doesn't contain a digest."""
        return f"sd-{hashlib.blake2b(bytes.fromhex(self.sha256), digest_size=8).hexdigest()}"

    def entries(self) -> Iterator[Entry]:
        """Yield its entries."""
        for name in _ALGORITHMS:
            if name in self.digests:
                yield Entry(f"{self.stem}:{name}", name, bytes.fromhex(self.digests[name]), self.category)


class _Document(Struct, frozen=True):
    contents: tuple[StayDownContent, ...]
    listed: bool
    """False while the list does not have these contents."""


def read_stay_down(state: StateDir) -> tuple[StayDownContent, ...]:
    """Return the contents that stay down, also those that have expired since the last command.

    Raises:
        OutputError: the file is damaged or can't be read.
    """
    return _read(state).contents


def owners_by_entry(contents: Iterable[StayDownContent], now: datetime) -> dict[str, tuple[str, ...]]:
    """Return the owners of the removed files by the stem of the entries' ids, without expired contents."""
    return {content.stem: content.owners for content in contents if format_utc(now) < content.until}


def add_stay_down(state: StateDir, added: Iterable[StayDownContent]) -> None:
    """Store contents, and make the list of all.

    Raises:
        LockedError: another process changes the records or the list.
        UsageError: there is a signed list of this name.
        OutputError: the records or the list can't be written.
    """
    with _writing(state) as contents:
        for content in added:
            before = contents.get(content.sha256, content)
            contents[content.sha256] = structs.replace(
                content,
                owners=tuple(sorted({*before.owners, *content.owners})),
                digests={**before.digests, **content.digests},
            )


def take_back(state: StateDir, is_meant: Callable[[StayDownContent], bool]) -> int:
    """Remove the contents that are meant, and return how many; errors as `add_stay_down`."""
    if not any(map(is_meant, read_stay_down(state))):
        return 0
    with _writing(state) as contents:
        gone = [sha256 for sha256, content in contents.items() if is_meant(content)]
        for sha256 in gone:
            del contents[sha256]
    return len(gone)


def refresh_stay_down(state: StateDir | None, now: datetime, named: Sequence[StateDir] = ()) -> str:
    """Remove expired and restored contents, and make the list if a killed command has not.

    Args:
        named: states of other quarantines whose logs say what was restored.

    Returns:
        The reason why that was not possible; empty if it was.
    """
    if state is None or not (state.stay_down / _FILE).exists():
        return ""
    try:
        document = _read(state)
        restored = _restored(state, named) if document.contents else {}
        ended = {content.sha256 for content in document.contents if _is_over(content, restored, now)}
        if ended or not document.listed:
            with _writing(state) as contents:
                for sha256 in ended:
                    contents.pop(sha256, None)
    except HashscanError as error:
        return f"the list {STAY_DOWN_LIST} can't be brought up to date: {error}. {error.remedy}"
    return ""


def _is_over(content: StayDownContent, restored: Mapping[str, datetime], now: datetime) -> bool:
    since = datetime.fromisoformat(content.since)
    return content.until <= format_utc(now) or restored.get(content.sha256, since) > since


def _restored(state: StateDir, named: Sequence[StateDir]) -> dict[str, datetime]:
    """Return when content was restored from quarantine the last time, by its SHA-256."""
    found: dict[str, datetime] = {}
    for one in quarantine_states(state, named):
        for sha256, at in restore_times(line for line, _ in read_lines(one)).items():
            found[sha256] = max(at, found.get(sha256, at))
    return found


def _read(state: StateDir) -> _Document:
    path = state.stay_down / _FILE
    with output_errors("the contents that stay down can't be read"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return _Document((), True)
    try:
        document = decode_file(data, _Document)
        for content in document.contents:
            _check(content)
    except ValueError as error:
        raise OutputError(
            f"the file of contents that stay down {path} is damaged or of another version: {error}",
            advice="Restore it from a backup; or remove it, and confirm the cases again.",
        ) from error
    return document


def _check(content: StayDownContent) -> None:
    sizes = {name: len(bytes.fromhex(value)) for name, value in content.digests.items()}
    if "sha256" not in sizes or any(
        name not in _ALGORITHMS or size != ALGORITHMS[name].size for name, size in sizes.items()
    ):
        raise ValueError("a content has a digest that none has")
    if content.category not in CATEGORIES or datetime.fromisoformat(content.since).tzinfo is None:
        raise ValueError("a content has a value that none has")


@contextmanager
def _writing(state: StateDir) -> Iterator[dict[str, StayDownContent]]:
    """Yield the contents by SHA-256 for changing; when the body ends, write them, and then the list."""
    with output_errors("the contents that stay down can't be written"):
        folder = private_folder(state.stay_down)
        with LockFile(folder / ".lock", f"another process is changing the contents in {folder}"):
            remove_leftovers(folder)
            contents = {content.sha256: content for content in _read(state).contents}
            yield contents
            kept = tuple(contents[sha256] for sha256 in sorted(contents))
            replace_file(folder / _FILE, encode_file(_Document(kept, listed=False)))
            _make_list(state, kept)
            replace_file(folder / _FILE, encode_file(_Document(kept, listed=True)))


def _make_list(state: StateDir, contents: Iterable[StayDownContent]) -> None:
    """Make the list; it stays when no content does, since the findings of a missing list stay open."""
    entries = [*canary_entries(), *(entry for content in contents for entry in content.entries())]
    ListStore(state.lists).import_entries(STAY_DOWN_LIST, entries, "the contents that stay down")


def confirmation_time() -> str:
    """Return the present time as `since` of a content."""
    return datetime.now(UTC).isoformat()
