"""The subscriber's side of signed lists: add a list with its first root, pull and activate versions."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hashscan.errors import HashscanError, ListTrustError, OutputError, UnreachableError, UsageError
from hashscan.lists.difference import ActivationCheck, difference_in
from hashscan.lists.pulling.credentials import read_credentials
from hashscan.lists.pulling.location_pull import LocationPull, Pulled, PullProgress
from hashscan.lists.pulling.origin import Origin, OriginError, checked_origin, read_origin, write_origin
from hashscan.lists.pulling.pull_state import PullRecord, read_attempts, recorded
from hashscan.lists.storage.atomic_files import output_errors, replace_file
from hashscan.lists.storage.layout import ListFolder, own_name
from hashscan.lists.storage.signed_list import METADATA, open_repository
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore
from hashscan.model import USABLE_STATES, ListInfo

_FIRST_ROOT_NAME = "1.root.json"
_HEX = re.compile(r"[0-9a-f]{64}")


def checked_fingerprint(text: str) -> str:
    """Return a sha256 as 64 digits; the input may have colons or spaces between them.

    Raises:
        UsageError: the text is not a sha256.
    """
    digits = re.sub(r"[:\s]", "", text).lower().removeprefix("sha256")
    if not _HEX.fullmatch(digits):
        raise UsageError(
            "the fingerprint is no sha256 in hexadecimal",
            advice="Ask the list's owner for the sha256 of 1.root.json: 64 digits of 0-9 and a-f.",
        )
    return digits


def fetch_first_root(origin: Origin, fingerprint: str) -> bytes:
    """Return the first root of a list if its fingerprint is the expected one.

    Args:
        origin: its locations are tried in order.
        fingerprint: sha256 of the file, received by a way that the administrator trusts.

    Raises:
        UsageError: the fingerprint is not valid, or credentials can't be read.
        UnreachableError: no location has a root.
        ListTrustError: roots were found, but none with this fingerprint.
    """
    from hashscan.lists.pulling.fetching import source_errors
    from hashscan.lists.pulling.http_fetcher import fetcher_for
    from hashscan.lists.storage.trust import LIMITS

    wanted = checked_fingerprint(fingerprint)
    credentials = read_credentials(origin.credentials, os.environ)
    unreachable: list[UnreachableError] = []
    others = []
    for location in origin.locations:
        address, fetcher = fetcher_for(location, origin, credentials, None)
        try:
            with closing(fetcher), source_errors(location, credentials.hidden):
                root = fetcher.download_bytes(
                    f"{address}{METADATA}/{_FIRST_ROOT_NAME}", LIMITS.root_max_length
                )
        except UnreachableError as error:
            unreachable.append(error)
            continue
        found = hashlib.sha256(root).hexdigest()
        if found == wanted:
            return root
        others.append(f"{location} has a root with the fingerprint {found}")
    if others:
        raise ListTrustError(
            f"{'; '.join(others)}; not the one expected",
            advice="Nothing was added. Compare the fingerprint with the list's owner, not with the server.",
        )
    raise UnreachableError("; ".join(map(str, unreachable)), advice=unreachable[0].remedy)


def add(store: ListStore, name: str, source: str | Origin, trusted_root: bytes) -> None:
    """Store a signed list's source and trusted root; nothing is downloaded.

    Args:
        store: contains the list.
        name: local name of the list.
        source: an http or https address, a file address, or a folder, with `metadata/` and `targets/` in it;
            or a checked origin, with mirrors and connection settings.
        trusted_root: the owner's root.json, received by a way that the administrator trusts.

    Raises:
        UsageError: name, source or root are not valid, or a list of that name exists.
        ListTrustError: the root's own signatures are not valid.
        LockedError: another process is writing this list.
        OutputError: the list can't be written.
    """
    from hashscan.lists.storage import trust

    own_name(name)
    origin = source if isinstance(source, Origin) else checked_origin(source)
    trust.check_root(trusted_root)
    with store.writing(name) as folder:
        if name in store.names():
            raise UsageError(
                f"there is a list {name!r} already",
                advice="Choose another name, or remove the list first with `hashscan lists remove`.",
            )
        folder.make()
        replace_file(folder.root, trusted_root)
        # Last, because this file makes the folder a signed list.
        write_origin(folder.source, origin)


def origin_of(store: ListStore, name: str) -> Origin | None:
    """Return the origin of a signed list; None if this store has no signed list of that name.

    Raises:
        OutputError: the stored origin can't be read.
    """
    try:
        return read_origin(store.folder(own_name(name)).source)
    except FileNotFoundError:
        return None
    except (OSError, OriginError) as error:
        raise OutputError(
            f"the source of the list {name!r} can't be read: {error}",
            advice="Upgrade hashscan, or remove the list and add it again.",
        ) from error


def attempts_of(store: ListStore, name: str) -> PullRecord:
    """Return the record of the last pulls of a signed list.

    Raises:
        OutputError: the record can't be read.
    """
    with output_errors(f"the record of pulls of {name!r} can't be read"):
        return read_attempts(store.folder(own_name(name)).attempts)


def pull(
    store: ListStore,
    name: str,
    *,
    stage: bool = False,
    admits: ActivationCheck | None = None,
    watch: PullProgress | None = None,
) -> Pulled:
    """Download and verify the newest version of a signed list, and activate it.

    A pull that was killed or failed is resumed: what is here already, by its signed hash, is not downloaded
    again. The active version changes at the very end and atomically. The result is recorded.

    Args:
        store: contains the list.
        name: name of the list.
        stage: stage the new version, for activation by `activation.activate`.
        admits: if given, decides before the activation; a version that it refuses is staged, too.
        watch: receives the progress.

    Raises:
        UsageError: there is no such signed list, or its credentials can't be used.
        UnreachableError: no location can be reached, or their answers are not a list.
        ListTrustError: signatures, versions, expiry or hashes are not valid at a location, and no other
            location has better; the last good version stays active.
        LockedError: another process is writing this list.
        OutputError: the list can't be written.
    """
    origin = origin_of(store, name)
    if origin is None:
        raise UsageError(
            f"there is no signed list {name!r} to pull", advice="Add it first with `hashscan lists add`."
        )
    with store.writing(name) as folder:
        folder.make()
        with recorded(folder.attempts) as report:
            pulled = _from_any(name, folder, origin, stage, admits, watch)
            report.problems = pulled.problems
            return pulled


def _from_any(
    name: str,
    folder: ListFolder,
    origin: Origin,
    stage: bool,
    admits: ActivationCheck | None,
    watch: PullProgress | None,
) -> Pulled:
    """Pull from the first location that offers a usable version."""
    credentials = read_credentials(origin.credentials, os.environ)
    failures: list[HashscanError] = []
    for location in origin.locations:
        try:
            update = LocationPull(name, folder, origin, location, credentials, watch)
            pulled = update.run(stage=stage, admits=admits)
        except (UnreachableError, ListTrustError) as error:
            failures.append(error)
            continue
        return replace(pulled, problems=tuple(map(str, failures)))
    raise _gravest(failures)


def _gravest(failures: Sequence[HashscanError]) -> HashscanError:
    """Combine all failures into one error; a forgery at any location comes before unreachable servers."""
    if len(failures) == 1:
        return failures[0]
    forged = [failure for failure in failures if isinstance(failure, ListTrustError)]
    kind, first = (ListTrustError, forged[0]) if forged else (UnreachableError, failures[0])
    return kind("; ".join(map(str, failures)), advice=first.remedy)


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
