"""The outbox of feedback: opinions on entries that wait to be sent to the lists' owners.

An opinion is stored before it is sent, and removed when its owner has taken it. A process that is killed in
between sends it again; owners count the last opinion of a member, so that changes nothing. An opinion that
its owner has refused stays until it is given again or taken back.

An opinion belongs to a list by its identity, not only by its name: if the list was removed and another one
got its name, the opinion is never sent to the other one's owner. Of an entry nothing is stored but its id;
its value, which some owners know it by, is looked up when the opinion is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from msgspec import Struct

from hashscan.atomic_files import output_errors, remove_leftovers, replace_file
from hashscan.errors import OutputError, UsageError
from hashscan.lists.exceptions import checked_reason
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.locking import LockFile
from hashscan.model import ENTRY_ID_MAX
from hashscan.schema import decode_file, encode_file
from hashscan.state_dir import StateDir
from hashscan.text import is_printable_line

_FILE = "outbox.json"
_WAIT = 10.0
"""Seconds to wait for another writer, which needs milliseconds."""
HOSTER_MAX = 200
"""Largest length of a hoster's name in characters."""


class Feedback(Struct, frozen=True):
    """The operator's opinion on an entry."""

    list_name: str
    identity: str
    """Identity of the list; empty for a signed one, whose opinions are given away in a file."""
    entry_id: str
    wrong: bool
    """True to say that the entry is wrong, False to confirm it."""
    reason: str
    """One printable line."""
    hoster: str
    """Name of the operator's organisation; empty where none was given."""
    since: str
    """Time at which it was given; RFC 3339, UTC."""
    problem: str = ""
    """The reason why it could not be sent; empty before the first try."""
    refused: bool = False
    """True if the owner does not take it: it is not sent again unasked."""

    @property
    def opinion(self) -> Literal["wrong", "right"]:
        """The opinion in one word."""
        return "wrong" if self.wrong else "right"


class Reply(NamedTuple):
    """The owner's reply to one opinion."""

    feedback: Feedback
    problem: str = ""
    """The reason why it is not taken; empty if it is."""
    advice: str = ""
    dropped: bool = False
    """True if the opinion has become pointless, and no longer waits."""


class _Document(Struct, frozen=True):
    waiting: tuple[Feedback, ...]


def made_feedback(
    list_name: str, identity: str, entry_id: str, *, wrong: bool, reason: str, hoster: str, since: str
) -> Feedback:
    """Return feedback on an entry.

    Raises:
        UsageError: the reason or the hoster's name is not one printable line.
    """
    if not is_printable_line(hoster, HOSTER_MAX):
        raise UsageError(
            "the organisation's name can't be used",
            advice=f"Write it in one printable line of at most {HOSTER_MAX} characters.",
        )
    return Feedback(list_name, identity, entry_id, wrong, checked_reason(reason), hoster, since)


def read_feedback(state: StateDir) -> tuple[Feedback, ...]:
    """Return what waits, sorted by list and entry.

    Raises:
        OutputError: the outbox is damaged or can't be read.
    """
    path = state.feedback / _FILE
    with output_errors("the outbox of feedback can't be read"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return ()
    try:
        waiting = decode_file(data, _Document).waiting
        for feedback in waiting:
            _check(feedback)
    except ValueError as error:
        raise OutputError(
            f"the outbox of feedback {path} is damaged or of another version: {error}",
            advice="Restore it from a backup; or remove it, and give the feedback again.",
        ) from error
    return waiting


def _check(feedback: Feedback) -> None:
    texts = (feedback.identity, feedback.entry_id, feedback.reason, feedback.hoster, feedback.since)
    if not (
        all(text.isprintable() for text in (*texts, feedback.problem))
        and LIST_NAME.fullmatch(feedback.list_name)
        and 0 < len(feedback.entry_id) <= ENTRY_ID_MAX
    ):
        raise ValueError("an opinion has a value that none has")


def store_feedback(state: StateDir, feedback: Feedback) -> Feedback | None:
    """Store an opinion; return the earlier one on the entry that it replaces, or None.

    Raises:
        LockedError: another process is writing the outbox.
        OutputError: the outbox is damaged, or can't be read or written.
    """
    with _writing(state) as waiting:
        before = waiting.get(_key(feedback))
        waiting[_key(feedback)] = feedback
        return before


def replace_feedback(state: StateDir, before: Feedback, after: Feedback | None) -> None:
    """Store an opinion in place of another, or remove that; nothing if it was given anew meanwhile.

    Raises:
        LockedError: another process is writing the outbox.
        OutputError: the outbox is damaged, or can't be read or written.
    """
    with _writing(state) as waiting:
        if waiting.get(_key(before)) == before:
            if after is None:
                del waiting[_key(before)]
            else:
                waiting[_key(before)] = after


def take_back_feedback(state: StateDir, entry_id: str, lists: tuple[str, ...]) -> Feedback:
    """Remove an opinion that waits, and return it.

    Args:
        lists: names of the lists to look in; empty for all.

    Raises:
        UsageError: no opinion on the entry waits, or one for each of several lists.
        LockedError: another process is writing the outbox.
        OutputError: the outbox is damaged, or can't be read or written.
    """
    with _writing(state) as waiting:
        found = [key for key in waiting if key[1] == entry_id and (not lists or key[0] in lists)]
        if len(found) == 1:
            return waiting.pop(found[0])
    if found:
        raise UsageError(
            f"feedback on the entry {entry_id!r} waits for the lists "
            f"{' and '.join(name for name, _ in found)}",
            advice="Say which is meant with --list NAME.",
        )
    raise UsageError(
        f"no feedback on the entry {entry_id!r} waits", advice="See what does with `hashscan lists feedback`."
    )


def _key(feedback: Feedback) -> tuple[str, str]:
    return feedback.list_name, feedback.entry_id


@contextmanager
def _writing(state: StateDir) -> Iterator[dict[tuple[str, str], Feedback]]:
    """Yield what waits for changing; write it when the body ends, atomically and for the owner alone."""
    with output_errors("the outbox of feedback can't be written"):
        folder = private_folder(state.feedback)
        busy = f"another process is writing the outbox of feedback in {folder}"
        with LockFile(folder / ".lock", busy, seconds=_WAIT):
            remove_leftovers(folder)
            waiting = {_key(feedback): feedback for feedback in read_feedback(state)}
            yield waiting
            document = _Document(tuple(waiting[key] for key in sorted(waiting)))
            replace_file(folder / _FILE, encode_file(document))


def sending_lock(state: StateDir) -> LockFile:
    """Return the lock of the process that sends feedback, so that nothing is sent twice at once.

    Raises:
        LockedError: another process is sending.
        OSError: the folder can't be made.
    """
    folder = private_folder(state.feedback)
    return LockFile(folder / ".sending.lock", "another process is sending feedback")
