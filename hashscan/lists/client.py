"""The subscriber's side of signed lists: remembers where a list comes from and pulls its newest version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hashscan.errors import ListTrustError, OutputError, UnreachableError, UsageError
from hashscan.lists.assembly import Download, assemble
from hashscan.lists.durable import replace_file, sync_file, sync_folder
from hashscan.lists.index.preparation import INDEX, compile_new
from hashscan.lists.joined import COLUMNS
from hashscan.lists.layout import ListFolder, own_name, private_folder
from hashscan.lists.location import WEB, checked_location
from hashscan.lists.record import Thoroughness
from hashscan.lists.repository import METADATA, TARGETS, open_repository, read_metadata
from hashscan.lists.store import ListStore
from hashscan.model import ListInfo

if TYPE_CHECKING:
    from tuf.ngclient.updater import Updater

    from hashscan.lists.trust import SignedTarget, VerifiedMetadata

_SCHEMA = 1
_ROLES = ("timestamp", "snapshot", "targets")
_ROOT_HISTORY = "root_history"


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


def add(store: ListStore, name: str, source: str, trusted_root: bytes) -> None:
    """Remember where a signed list comes from and which root it is trusted by; fetches nothing.

    Args:
        store: keeps the list.
        name: what to call the list here.
        source: an http or https address, a file address, or a folder, with `metadata/` and `targets/` in it.
        trusted_root: the owner's root.json, got by a way the administrator trusts.

    Raises:
        UsageError: name, source or root can't be meant, or there is a list of that name.
        ListTrustError: the root's own signatures don't hold.
        LockedError: another process writes this list.
        OutputError: it can't be written.
    """
    from hashscan.lists import trust

    own_name(name)
    location = checked_location(source)
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
        replace_file(folder.source, json.dumps({"schema": _SCHEMA, "source": location}).encode())


def source_of(store: ListStore, name: str) -> str | None:
    """Where a signed list is pulled from; None when it isn't a signed list of this store.

    Raises:
        OutputError: its folder can't be read.
    """
    try:
        document = json.loads(store.folder(own_name(name)).source.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"the source of the list {name!r} can't be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise OutputError(
            f"the source of the list {name!r} was written by another version",
            advice="Upgrade hashscan, or remove the list and add it again.",
        )
    return str(document["source"])


def pull(store: ListStore, name: str) -> Pulled:
    """Fetch, verify and put in use the newest version of a signed list.

    A pull that was killed or failed is resumed: targets that are here already, by their signed hash, are not
    fetched again. The version in use changes at the very end and at once.

    Raises:
        UsageError: there is no such signed list.
        UnreachableError: the source can't be reached, or answers with something else than a list.
        ListTrustError: signatures, versions, expiry or hashes don't hold; the last good version stays.
        LockedError: another process writes this list.
        OutputError: it can't be written.
    """
    location = source_of(store, name)
    if location is None:
        raise UsageError(
            f"there is no signed list {name!r} to pull", advice="Add it first with `hashscan lists add`."
        )
    with store.writing(name) as folder:
        folder.make()
        return _Pull(name, folder, location).run()


class _Pull:
    """One pull of one list, by the holder of its lock."""

    def __init__(self, name: str, folder: ListFolder, location: str) -> None:
        self._name = name
        self._folder = folder
        self._staging = folder.staging
        self._location = location
        self._root = folder.root.read_bytes()

    def run(self) -> Pulled:
        from hashscan.lists import trust

        now = datetime.now(UTC)
        active = self._folder.active()
        before = (
            open_repository(self._name, active, self._root, now, thoroughness=Thoroughness.CHECKSUMS)
            if active
            else None
        )
        previous = before.info.version if before and before.handle else None

        self._prepare_staging()
        updater = self._updater()
        with _source_errors(self._location):
            updater.refresh()
        self._stage_metadata()
        verified = trust.verify(self._root, lambda file: read_metadata(self._staging, file))
        if before and before.handle and active and self._same_metadata(active, verified):
            self._folder.remove_superseded()
            return Pulled(before.info, previous, changed=False, fetched=0)

        earlier = list(self._folder.finished_versions())
        fetched = assemble(self._staging, verified, earlier, self._download(updater))
        # All of it has just been compared with what was signed.
        opened = open_repository(self._name, self._staging, self._root, now, thoroughness=Thoroughness.SIZES)
        if opened.handle is None:
            raise ListTrustError(f"the new version of {self._name!r} can't be used: {opened.info.problem}")
        compile_new(opened.handle, self._staging, earlier)
        self._folder.activate_staging(opened.info.version)
        self._folder.remove_superseded()
        return Pulled(opened.info, previous, changed=True, fetched=fetched)

    def _prepare_staging(self) -> None:
        """Folders for the download; what `assemble` and `compile_new` can go on with stays, all else goes."""
        private_folder(self._staging)
        for leftover in self._staging.iterdir():
            if leftover.name in {TARGETS, COLUMNS, INDEX}:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        private_folder(self._staging / METADATA)

    def _updater(self) -> Updater:
        """tuf's client, which keeps the metadata it has seen, so that nobody can go back behind it."""
        from tuf.api.exceptions import RepositoryError
        from tuf.ngclient.updater import Updater

        from hashscan.lists import fetch, trust

        tuf = self._folder.tuf
        private_folder(tuf / _ROOT_HISTORY)
        for leftover in tuf.iterdir():
            if leftover.name not in {_ROOT_HISTORY, "root.json", *(f"{role}.json" for role in _ROLES)}:
                leftover.unlink()
        fetcher: fetch.HttpFetcher | fetch.FolderFetcher
        if self._location.startswith(WEB):
            address, fetcher = self._location, fetch.HttpFetcher(self._staging)
        else:
            address, fetcher = fetch.FOLDER_URL, fetch.FolderFetcher(Path(self._location), self._staging)
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

    def _download(self, updater: Updater) -> Download:
        """Fetches targets from the source."""

        def download(target: SignedTarget, path: Path) -> None:
            with _source_errors(self._location):
                updater.download_target(target.info, filepath=str(path))

        return download


@contextmanager
def _source_errors(location: str) -> Iterator[None]:
    """Tell a source that can't be reached from one that can't be trusted.

    Raises:
        UnreachableError: there was no answer, or none that is TUF metadata.
        ListTrustError: the answer is not what the list's owner signed.
    """
    from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
    from tuf.api.serialization import DeserializationError

    from hashscan.lists.fetch import TooLongError

    try:
        yield
    except DownloadError as error:
        if isinstance(error, TooLongError) and not error.unsigned:
            raise ListTrustError(f"what {location} offers can't be trusted: {error}") from error
        raise UnreachableError(f"{location} gives no usable answer: {_reason(error)}") from error
    except DeserializationError as error:
        raise UnreachableError(
            f"{location} answers with something else than a list's metadata",
            advice="Check the address, and that no proxy or login page answers in its place.",
        ) from error
    except ExpiredMetadataError as error:
        raise ListTrustError(
            f"what {location} offers has expired: {error}",
            advice="The last good version stays in use. Ask the list's owner to release anew.",
        ) from error
    except RepositoryError as error:
        raise ListTrustError(f"what {location} offers can't be trusted: {error}") from error


def _reason(error: Exception) -> str:
    """The innermost words of a failed download, as one printable line."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return ascii(str(cause) or "no answer in time")[1:-1]
