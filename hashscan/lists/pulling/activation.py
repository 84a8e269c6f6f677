"""Activates or discards a version that a pull has staged; contacts no server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from hashscan.errors import ListTrustError, UsageError
from hashscan.lists.difference import ActivationCheck, difference_in
from hashscan.lists.durable import output_errors
from hashscan.lists.layout import ListFolder, own_name
from hashscan.lists.record import VerificationLevel
from hashscan.lists.repository import open_repository
from hashscan.lists.store import ListStore
from hashscan.model import USABLE_STATES, ListInfo


@dataclass(frozen=True, slots=True)
class Activated:
    """The result of an activation."""

    info: ListInfo
    """The version that is active now."""
    previous: int | None
    """The version that was active before; None if there was none that could be trusted."""


def staged_info(store: ListStore, name: str) -> ListInfo | None:
    """Return the info of the staged version; None if no version is staged.

    Raises:
        UsageError: the name is not valid.
        OutputError: the list's folder can't be read.
    """
    with output_errors(f"the staged version of {name!r} can't be read"):
        folder = store.folder(own_name(name))
        held = folder.hold_staged()
        if held is None:
            return None
        version, hold = held
        try:
            opened = open_repository(
                name,
                version,
                folder.root.read_bytes(),
                datetime.now(UTC),
                thoroughness=VerificationLevel.SIZES,
            )
        finally:
            hold.close()
        return opened.info


def activate(
    store: ListStore, name: str, admits: ActivationCheck | None = None, *, only: int | None = None
) -> Activated | None:
    """Activate the staged version, after comparing all of it with what was signed.

    Args:
        store: contains the list.
        name: name of the list.
        admits: if given, decides first whether the version may be activated.
        only: the version that a person has reviewed; another version stays staged.

    Returns:
        The result; None if the version was not admitted and stays staged.

    Raises:
        UsageError: no version is staged, or another one.
        ListTrustError: the staged files are no longer what was signed; the last good version stays active.
        LockedError: another process is writing this list.
        OutputError: the list's folder can't be written.
    """
    with _staged(store, name) as folder:
        staged, active = folder.staged(), folder.active()
        assert staged is not None
        now, root = datetime.now(UTC), folder.root.read_bytes()
        opened = open_repository(name, staged, root, now)
        if opened.handle is None:
            raise ListTrustError(
                f"the staged version of {name!r} can't be used: {opened.info.problem}",
                advice="The last good version stays in use. Stage it anew: `hashscan lists pull --stage`.",
            )
        if only not in (None, opened.info.version):
            raise UsageError(
                f"version {opened.info.version} of the list {name!r} is staged, and not {only}",
                advice=f"Look at it with `hashscan lists diff {name} --would-hit` first.",
            )
        before = (
            open_repository(name, active, root, now, thoroughness=VerificationLevel.SIZES) if active else None
        )
        usable = before is not None and before.info.state in USABLE_STATES
        if admits is not None:
            sizes = VerificationLevel.SIZES  # all of it was compared just now
            with difference_in(folder, name, from_nothing=not usable, thoroughness=sizes) as compared:
                if not admits(compared):
                    return None
        folder.activate(staged)
        folder.remove_superseded()
        return Activated(opened.info, before.info.version if before and usable else None)


def discard(store: ListStore, name: str) -> None:
    """Discard the staged version; the next pull fetches again what it needs.

    Raises:
        UsageError: no version is staged.
        LockedError: another process is writing this list.
        OutputError: the list's folder can't be written.
    """
    with _staged(store, name) as folder:
        folder.drop_staged()
        folder.remove_superseded()


@contextmanager
def _staged(store: ListStore, name: str) -> Iterator[ListFolder]:
    """Yield the folder of a list with a staged version, while holding its writer lock.

    Raises:
        UsageError: no version is staged.
    """
    with store.writing(own_name(name)) as folder:
        if folder.staged() is None:
            raise UsageError(
                f"no version of the list {name!r} is staged",
                advice="Stage one with `hashscan lists pull --stage`.",
            )
        folder.make()
        yield folder
