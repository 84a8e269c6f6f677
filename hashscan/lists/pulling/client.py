"""The subscriber's side of signed lists: stores the source of a list and pulls its newest version."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from hashscan.errors import HashscanError, ListTrustError, OutputError, UnreachableError, UsageError
from hashscan.lists.difference import ActivationCheck
from hashscan.lists.durable import output_errors, replace_file
from hashscan.lists.layout import ListFolder, own_name
from hashscan.lists.pulling.attempts import PullRecord, read_attempts, recorded
from hashscan.lists.pulling.credentials import read_credentials
from hashscan.lists.pulling.origin import Origin, OriginError, checked_origin, read_origin, write_origin
from hashscan.lists.pulling.update import LocationPull, Pulled, PullProgress
from hashscan.lists.store import ListStore


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
    from hashscan.lists import trust

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
