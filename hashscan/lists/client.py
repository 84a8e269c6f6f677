"""The subscriber's side of signed lists: remembers where a list comes from and pulls its newest version."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hashscan.errors import HashscanError, ListTrustError, OutputError, UnreachableError, UsageError
from hashscan.lists.attempts import Attempts, read_attempts, recorded
from hashscan.lists.credentials import read_credentials
from hashscan.lists.durable import PRIVATE_FILE, output_errors, replace_file, sync_file, sync_folder
from hashscan.lists.index.preparation import compile_new
from hashscan.lists.layout import ListFolder, own_name, private_folder
from hashscan.lists.manifest import MANIFEST_NAME, Manifest
from hashscan.lists.origin import Origin, OriginError, checked_origin, read_origin, write_origin
from hashscan.lists.repository import (
    METADATA,
    TARGETS,
    load_manifest,
    open_repository,
    read_metadata,
    record_contents,
    signed_target,
)
from hashscan.lists.store import ListStore
from hashscan.lists.validators import Validators
from hashscan.model import ListInfo

if TYPE_CHECKING:
    from tuf.ngclient.updater import Updater

    from hashscan.lists.credentials import Credentials
    from hashscan.lists.fetch import StagingFetcher
    from hashscan.lists.trust import SignedTarget, VerifiedMetadata

_CLOCK_MAY_DIFFER = timedelta(days=1)


class Watch(Protocol):
    """Whoever wants to know how far a pull is."""

    def expect(self, count: int) -> None:
        """Called once when it is known how many bytes are still to come."""

    def received(self, count: int) -> None:
        """Called for each piece that came, with its bytes."""


_ROLES = ("timestamp", "snapshot", "targets")
_ROOT_HISTORY = "root_history"
_DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did."""

    info: ListInfo
    """The version in use now."""
    previous: int | None
    """The list's version before, if one was in use that could be relied on."""
    changed: bool
    """Whether anything new was put in use: entries, or only newer signatures."""
    fetched: int
    """Bytes of targets that came from the source; the rest was here already."""
    problems: tuple[str, ...] = ()
    """What was wrong with each location that was passed over."""


def add(store: ListStore, name: str, source: str | Origin, trusted_root: bytes) -> None:
    """Remember where a signed list comes from and which root it is trusted by; fetches nothing.

    Args:
        store: keeps the list.
        name: what to call the list here.
        source: an http or https address, a file address, or a folder, with `metadata/` and `targets/` in it;
            or one already checked, with mirrors and the way to them.
        trusted_root: the owner's root.json, got by a way the administrator trusts.

    Raises:
        UsageError: name, source or root can't be meant, or there is a list of that name.
        ListTrustError: the root's own signatures don't hold.
        LockedError: another process writes this list.
        OutputError: it can't be written.
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
        # Last, because it makes the folder a signed list.
        write_origin(folder.source, origin)


def origin_of(store: ListStore, name: str) -> Origin | None:
    """Where a signed list is pulled from; None when it isn't a signed list of this store.

    Raises:
        OutputError: what is kept of it can't be read.
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


def attempts_of(store: ListStore, name: str) -> Attempts:
    """How the last pulls of a signed list went.

    Raises:
        OutputError: the record can't be read.
    """
    with output_errors(f"the record of pulls of {name!r} can't be read"):
        return read_attempts(store.folder(own_name(name)).attempts)


def pull(store: ListStore, name: str, *, watch: Watch | None = None) -> Pulled:
    """Fetch, verify and put in use the newest version of a signed list.

    A pull that was killed or failed is resumed: targets that are here already, by their signed hash, are not
    fetched again. The version in use changes at the very end and at once. How it went is recorded.

    Raises:
        UsageError: there is no such signed list, or its credentials can't be used.
        UnreachableError: no location can be reached, or they answer with something else than a list.
        ListTrustError: signatures, versions, expiry or hashes don't hold somewhere, and no other location has
            better; the last good version stays.
        LockedError: another process writes this list.
        OutputError: it can't be written.
    """
    origin = origin_of(store, name)
    if origin is None:
        raise UsageError(
            f"there is no signed list {name!r} to pull", advice="Add it first with `hashscan lists add`."
        )
    with store.writing(name) as folder:
        folder.make()
        with recorded(folder.attempts) as report:
            pulled = _from_any(name, folder, origin, watch)
            report.problems = pulled.problems
            return pulled


def _from_any(name: str, folder: ListFolder, origin: Origin, watch: Watch | None) -> Pulled:
    """Pull from the first location that has what can be used."""
    credentials = read_credentials(origin.credentials, os.environ)
    failures: list[HashscanError] = []
    for location in origin.locations:
        try:
            pulled = _Pull(name, folder, origin, location, credentials, watch).run()
        except (UnreachableError, ListTrustError) as error:
            failures.append(error)
            continue
        return replace(pulled, problems=tuple(map(str, failures)))
    raise _gravest(failures)


def _gravest(failures: Sequence[HashscanError]) -> HashscanError:
    """All failures as one: a forgery anywhere goes before servers out of reach."""
    if len(failures) == 1:
        return failures[0]
    forged = [failure for failure in failures if isinstance(failure, ListTrustError)]
    kind, first = (ListTrustError, forged[0]) if forged else (UnreachableError, failures[0])
    return kind("; ".join(map(str, failures)), advice=first.remedy)


class _Pull:
    """One pull of one list from one location, by the holder of its lock."""

    def __init__(
        self,
        name: str,
        folder: ListFolder,
        origin: Origin,
        location: str,
        credentials: Credentials,
        watch: Watch | None,
    ) -> None:
        self._name = name
        self._folder = folder
        self._staging = folder.staging
        self._origin = origin
        self._location = location
        self._credentials = credentials
        self._watch = watch
        self._root = folder.root.read_bytes()
        self._fetched = 0

    def run(self) -> Pulled:
        from hashscan.lists.fetchers import fetcher_for

        self._prepare_staging()
        validators = Validators(self._folder.validators, self._folder.tuf / "timestamp.json")
        address, fetcher = fetcher_for(
            self._location,
            self._origin,
            self._credentials,
            self._staging,
            validators=validators,
            received=self._watch.received if self._watch else None,
        )
        with closing(fetcher):
            updater = self._updater(address, fetcher)
            with self._source_errors():
                updater.refresh()
            validators.save()
            return self._take_over(updater)

    def _take_over(self, updater: Updater) -> Pulled:
        """Put in use what the refreshed metadata names."""
        from hashscan.lists import trust

        now = datetime.now(UTC)
        active = self._folder.active()
        before = open_repository(self._name, active, self._root, now) if active else None
        previous = before.info.version if before and before.handle else None
        self._stage_metadata()
        verified = trust.verify(self._root, lambda file: read_metadata(self._staging, file))
        if before and before.handle and active and self._same_metadata(active, verified):
            self._folder.remove_superseded()
            return Pulled(before.info, previous, changed=False, fetched=0)

        self._stage_targets(updater, verified)
        opened = open_repository(self._name, self._staging, self._root, now)
        if opened.handle is None:
            raise ListTrustError(f"the new version of {self._name!r} can't be used: {opened.info.problem}")
        _check_clock(load_manifest(verified, self._staging), now)
        record_contents(opened.handle, self._staging, opened.info.categories)
        compile_new(opened.handle, self._staging)
        self._folder.activate_staging(opened.info.version)
        self._folder.remove_superseded()
        return Pulled(opened.info, previous, changed=True, fetched=self._fetched)

    def _source_errors(self) -> AbstractContextManager[None]:
        from hashscan.lists.source_errors import source_errors

        return source_errors(self._location, self._credentials.hidden)

    def _prepare_staging(self) -> None:
        """Folders for the download; finished targets of a killed pull stay, all else it left goes."""
        private_folder(self._staging)
        for leftover in self._staging.iterdir():
            if leftover.name == TARGETS:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        for part in (METADATA, TARGETS):
            private_folder(self._staging / part)

    def _updater(self, address: str, fetcher: StagingFetcher) -> Updater:
        """tuf's client, which keeps the metadata it has seen, so that nobody can go back behind it."""
        from tuf.api.exceptions import RepositoryError
        from tuf.ngclient.updater import Updater

        from hashscan.lists import trust

        tuf = self._folder.tuf
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
                bootstrap=self._root,
            )
        except RepositoryError as error:
            raise ListTrustError(f"the trusted root of {self._name!r} doesn't hold: {error}") from error

    def _stage_metadata(self) -> None:
        """Copy what tuf's client has verified into the new version, named as in a published repository."""
        from tuf.api.metadata import Metadata, Root

        tuf, staged = self._folder.tuf, self._staging / METADATA
        trusted_version = Metadata[Root].from_bytes(self._root).signed.version
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

    def _same_metadata(self, active: Path, verified: VerifiedMetadata) -> bool:
        """Whether the version in use has the very metadata just fetched."""
        return all(
            read_metadata(active, name) == read_metadata(self._staging, name)
            for name in verified.metadata_names
        )

    def _stage_targets(self, updater: Updater, verified: VerifiedMetadata) -> None:
        """Bring all targets of the new version together."""
        first = signed_target(verified, MANIFEST_NAME)
        self._stage_target(updater, first)
        manifest = load_manifest(verified, self._staging)
        targets = [signed_target(verified, name) for files in manifest.columns for name in files.names]
        wanted = {first.file_name, *(target.file_name for target in targets)}
        for path in (self._staging / TARGETS).iterdir():
            if path.name not in wanted:
                path.unlink()
        for target in targets:
            self._stage_target(updater, target)

    def _stage_target(self, updater: Updater, target: SignedTarget) -> None:
        """Bring one target into the new version, from what is here or from the source."""
        place = self._staging / TARGETS / target.file_name
        if _intact(place, target):
            return
        place.unlink(missing_ok=True)
        for version in self._folder.finished_versions():
            kept = version / TARGETS / target.file_name
            if _intact(kept, target):
                self._reuse(kept, place)
                return
        aside = self._staging / _DOWNLOAD
        with self._source_errors():
            updater.download_target(target.info, filepath=str(aside))
        self._fetched += target.info.length
        self._finish(aside, place)

    def _reuse(self, kept: Path, place: Path) -> None:
        """Take over a target of another version, without a second copy where the file system can."""
        try:
            os.link(kept, place)
        except OSError:
            aside = self._staging / _DOWNLOAD
            shutil.copyfile(kept, aside)
            self._finish(aside, place)

    @staticmethod
    def _finish(aside: Path, place: Path) -> None:
        """Give a complete file its name, under which the next pull finds it."""
        aside.chmod(PRIVATE_FILE)
        sync_file(aside)
        aside.replace(place)


def _intact(path: Path, target: SignedTarget) -> bool:
    """Whether a target lies at `path` as it was signed."""
    try:
        with path.open("rb") as file:
            return target.intact(file)
    except FileNotFoundError:
        return False


def _check_clock(manifest: Manifest, now: datetime) -> None:
    """Refuse what this machine's clock says isn't made yet: such a clock can't tell what has expired.

    Raises:
        ListTrustError: the version comes from the future.
    """
    if manifest.created > now + _CLOCK_MAY_DIFFER:
        raise ListTrustError(
            f"version {manifest.version} was made at {manifest.created:%Y-%m-%dT%H:%M:%SZ}, which by this "
            f"machine's clock, {now:%Y-%m-%dT%H:%M:%SZ}, has yet to come",
            advice="Check this machine's clock. If it is right, tell the list's owner to check theirs; "
            "the last good version stays in use.",
        )
