"""The subscriber's side of signed lists: add a list with its first root, pull and activate versions."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hashscan.atomic_files import output_errors, replace_file, sync_file, sync_folder
from hashscan.errors import HashscanError, ListTrustError, OutputError, UnreachableError, UsageError
from hashscan.lists.difference import ActivationCheck, difference_in, record_new_entries
from hashscan.lists.index.segments import INDEX, compile_new
from hashscan.lists.pulling.assembly import assemble
from hashscan.lists.pulling.origin import (
    Origin,
    PullRecord,
    Validators,
    checked_origin,
    read_attempts,
    read_origin,
    recorded,
    write_origin,
)
from hashscan.lists.storage.layout import ListFolder, private_folder
from hashscan.lists.storage.signed_list import (
    CLOCKS_MAY_DIFFER,
    METADATA,
    TARGETS,
    OpenedList,
    open_repository,
    read_metadata,
)
from hashscan.lists.storage.stored_version import COLUMNS, VerificationLevel
from hashscan.lists.store import ListStore
from hashscan.model import ListInfo
from hashscan.schema import InvalidDocumentError
from hashscan.secret_files import Credentials, read_credentials

if TYPE_CHECKING:
    from hashscan.lists.pulling.fetching import StagingFetcher
    from hashscan.lists.storage.trust import SignedTarget, VerifiedMetadata
    from hashscan.lists.storage.tuf_api import Updater

_ROLES = ("timestamp", "snapshot", "targets")
_ROOT_HISTORY = "root_history"
_FIRST_ROOT_NAME = "1.root.json"
_HEX = re.compile(r"[0-9a-f]{64}")


def checked_fingerprint(text: str) -> str:
    """Return a sha256 as 64 digits; the input may have colons or spaces between them."""
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
    from hashscan.lists.pulling.fetching import fetcher_for, source_errors
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

    origin = source if isinstance(source, Origin) else checked_origin(source)
    trust.check_root(trusted_root)
    with store.adding(name) as folder:
        replace_file(folder.root, trusted_root)
        # Last, because this file makes the folder a signed list.
        write_origin(folder.source, origin)


def origin_of(store: ListStore, name: str) -> Origin | None:
    try:
        return read_origin(store.folder(name).source)
    except FileNotFoundError:
        return None
    except (OSError, InvalidDocumentError) as error:
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
        return read_attempts(store.folder(name).attempts)


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
        stage: stage the new version, for `difference.activate`.
        admits: if given, decides before the activation; a version that it refuses is staged, too.

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
        if name in store.names():
            raise UsageError(
                f"list {name} was imported, and is not pulled",
                advice=f"Import its new version with `hashscan lists import FILE --name {name}`.",
            )
        raise UsageError(
            f"there is no list {name!r} to pull",
            advice=store.advice_for(name, "Add it first with `hashscan lists add`."),
        )
    with store.writing(name) as folder:
        folder.make()
        with recorded(folder.attempts) as problems:
            pulled = _from_any(name, folder, origin, stage, admits, watch)
            problems.extend(pulled.problems)
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
    credentials, root = read_credentials(origin.credentials, os.environ), folder.root.read_bytes()
    failures: list[HashscanError] = []
    for location in origin.locations:
        try:
            update = _LocationPull(name, folder, origin, location, credentials, watch, root)
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


class PullProgress(Protocol):
    """A receiver of a pull's progress."""

    def expect(self, count: int) -> None:
        """Receive the number of bytes that are still to come, once it is known."""

    def received(self, count: int) -> None:
        """Receive the number of bytes of each piece that arrived."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The result of a pull."""

    info: ListInfo
    """The newest version, which is active now, or staged."""
    previous: int | None
    """The version that was active before; None if there was none that could be trusted."""
    changed: bool
    """True if anything new was activated or staged: entries, or only newer signatures."""
    staged: bool
    """True if the newest version is staged, and the previous one is still active."""
    withheld: bool
    """True if it is staged because it was not admitted."""
    fetched: int
    """Number of bytes of targets that were downloaded; the rest was here already."""
    problems: tuple[str, ...] = ()
    """Errors of the locations that were skipped."""


def put_in_use(
    folder: ListFolder,
    finished: Path,
    info: ListInfo,
    previous: int | None,
    *,
    stage: bool,
    admits: ActivationCheck | None,
    fetched: int,
) -> Pulled:
    """Activate a finished version, or stage it; the caller holds the list's lock and has just verified it.

    The arguments are those of `pull` and the fields of `Pulled`.
    """
    staged = folder.staged()
    if stage or admits or folder.accepted.exists():
        folder.stage(finished)
    withheld = False
    if not stage and admits:
        with difference_in(
            folder, info.name, from_nothing=previous is None, thoroughness=VerificationLevel.SIZES
        ) as compared:
            withheld = not admits(compared)
    kept_aside = stage or withheld
    if not kept_aside:
        record_new_entries(folder, info.name, from_nothing=previous is None)
        folder.activate(finished)
    folder.remove_superseded()
    changed = not kept_aside or finished != staged
    return Pulled(info, previous, changed, staged=kept_aside, withheld=withheld, fetched=fetched)


@dataclass(frozen=True, slots=True)
class _LocationPull:
    """One pull of one list from one location; the caller holds the list's lock."""

    name: str
    folder: ListFolder
    origin: Origin
    location: str
    credentials: Credentials
    watch: PullProgress | None
    root: bytes
    """The trusted root."""

    def run(self, *, stage: bool, admits: ActivationCheck | None) -> Pulled:
        """Pull, and activate or stage the new version."""
        from hashscan.lists.pulling.fetching import fetcher_for, source_errors

        self._prepare_staging()
        validators = Validators(self.folder.validators, self.folder.tuf / "timestamp.json")
        address, fetcher = fetcher_for(
            self.location,
            self.origin,
            self.credentials,
            self.folder.staging,
            validators=validators,
            received=self.watch.received if self.watch else None,
        )
        with closing(fetcher):
            updater = self._updater(address, fetcher)
            with source_errors(self.location, self.credentials.hidden):
                updater.refresh()
            validators.save()
            return self._take_over(updater, fetcher, stage, admits)

    def _take_over(
        self, updater: Updater, fetcher: StagingFetcher, stage: bool, admits: ActivationCheck | None
    ) -> Pulled:
        """Activate or stage the version that the refreshed metadata names."""
        from hashscan.lists.storage import trust

        now = datetime.now(UTC)
        active, staged = self.folder.active(), self.folder.staged()
        before = self._opened(active, now) if active else None
        previous = before.info.version if before and before.handle else None
        self._stage_metadata()
        verified = trust.verify(self.root, lambda file: read_metadata(self.folder.staging, file))
        if active and before and before.handle and self._same_metadata(active, verified):
            # A staged version can only be older.
            self.folder.drop_staged()
            self.folder.remove_superseded()
            return Pulled(before.info, previous, changed=False, staged=False, withheld=False, fetched=0)

        ready = self._opened(staged, now) if staged and self._same_metadata(staged, verified) else None
        if staged and ready and ready.handle:
            finished, info, fetched = staged, ready.info, 0
        else:
            info, fetched = self._assembled(updater, fetcher, verified, now)
            finished = self.folder.finish_staging(info.version)
        return put_in_use(self.folder, finished, info, previous, stage=stage, admits=admits, fetched=fetched)

    def _assembled(
        self, updater: Updater, fetcher: StagingFetcher, verified: VerifiedMetadata, now: datetime
    ) -> tuple[ListInfo, int]:
        """Assemble the new version in the staging folder; return its info and the number of bytes fetched."""
        from hashscan.lists.pulling.fetching import source_errors

        def download(target: SignedTarget, path: Path) -> None:
            with source_errors(self.location, self.credentials.hidden):
                updater.download_target(target.info, filepath=str(path))

        earlier = list(self.folder.finished_versions())
        expect = self.watch.expect if self.watch else None
        fetched = assemble(self.folder.staging, verified, earlier, download, fetcher.give_up, expect)
        # All of it has just been compared with what was signed.
        opened = self._opened(self.folder.staging, now, VerificationLevel.SIZES)
        if opened.handle is None:
            raise ListTrustError(f"the new version of {self.name!r} can't be used: {opened.info.problem}")
        created = opened.manifest.created if opened.manifest else now
        if created > now + CLOCKS_MAY_DIFFER:
            # Such a clock can't tell what has expired.
            raise ListTrustError(
                f"version {opened.info.version} was made at {created:%Y-%m-%dT%H:%M:%SZ}, which by this "
                f"machine's clock, {now:%Y-%m-%dT%H:%M:%SZ}, has yet to come",
                advice="Check this machine's clock. If it is right, tell the list's owner to check theirs; "
                "the last good version stays in use.",
            )
        compile_new(opened.handle, self.folder.staging, earlier)
        return opened.info, fetched

    def _opened(
        self, version: Path, now: datetime, thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS
    ) -> OpenedList:
        return open_repository(self.name, version, self.root, now, thoroughness=thoroughness)

    def _prepare_staging(self) -> None:
        """Prepare the staging folder; keep what `assemble` and `compile_new` can resume, remove the rest."""
        private_folder(self.folder.staging)
        for leftover in self.folder.staging.iterdir():
            if leftover.name in {TARGETS, COLUMNS, INDEX}:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        private_folder(self.folder.staging / METADATA)

    def _updater(self, address: str, fetcher: StagingFetcher) -> Updater:
        """Return tuf's client, which stores the metadata it has seen, to prevent a rollback."""
        from tuf.api.exceptions import RepositoryError

        from hashscan.lists.storage import trust
        from hashscan.lists.storage.tuf_api import Updater

        tuf = self.folder.tuf
        private_folder(tuf / _ROOT_HISTORY)
        for leftover in tuf.iterdir():
            if leftover.name not in {_ROOT_HISTORY, "root.json", *(f"{role}.json" for role in _ROLES)}:
                leftover.unlink()
        try:
            return Updater(
                str(tuf),
                f"{address}{METADATA}/",
                target_base_url=f"{address}{TARGETS}/",
                fetcher=fetcher,
                config=trust.LIMITS,
                bootstrap=self.root,
            )
        except RepositoryError as error:
            raise ListTrustError(f"the trusted root of {self.name!r} doesn't hold: {error}") from error

    def _stage_metadata(self) -> None:
        """Copy the metadata that tuf's client verified into the new version, under its published names."""
        from hashscan.lists.storage.tuf_api import Metadata, Root

        tuf, staged = self.folder.tuf, self.folder.staging / METADATA
        trusted_version = Metadata[Root].from_bytes(self.root).signed.version
        last_version = Metadata[Root].from_bytes((tuf / "root.json").read_bytes()).signed.version
        for version in range(trusted_version + 1, last_version + 1):
            name = f"{version}.root.json"
            replace_file(staged / name, (tuf / _ROOT_HISTORY / name).read_bytes())
        for role in _ROLES:
            path = tuf / f"{role}.json"
            # tuf's client renames without syncing; after a power cut an empty file would let a rollback pass.
            sync_file(path)
            data = path.read_bytes()
            version = Metadata.from_bytes(data).signed.version
            replace_file(staged / (path.name if role == "timestamp" else f"{version}.{path.name}"), data)
        sync_folder(tuf / _ROOT_HISTORY)
        sync_folder(tuf)

    def _same_metadata(self, version: Path, verified: VerifiedMetadata) -> bool:
        return all(
            read_metadata(version, name) == read_metadata(self.folder.staging, name)
            for name in verified.metadata_names
        )
