"""The store of hash lists on this machine: verify, open, fingerprint, import and remove lists."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from hashscan.atomic_files import is_refusal, output_errors
from hashscan.errors import LockedError, NoUsableListError, OutputError, UsageError
from hashscan.lists.acceptance import source_of
from hashscan.lists.index.segments import TemporaryIndex, compile_new, prepared
from hashscan.lists.storage.columns import ColumnError, EntryBlock, ListHandle
from hashscan.lists.storage.layout import (
    DEMO,
    ListFolder,
    checked_name,
    own_name,
    private_folder,
    refuse_to_leave_files,
)
from hashscan.lists.storage.local_list import open_exchange, open_local, read_exchange_source, write_local
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.lists.storage.signed_list import (
    OpenedList,
    open_published,
    open_repository,
    unreadable,
    unusable,
)
from hashscan.lists.storage.stored_version import (
    RECORD_NAME,
    VerificationLevel,
    VersionRecord,
    checksum,
    read_record,
)
from hashscan.locking import ClosedOnExit, LockFile, ReadLock, claimed_for_removal
from hashscan.model import USABLE_STATES, Entry, ListInfo, TrustState
from hashscan.text import closest_match

if TYPE_CHECKING:
    from hashscan.lists.services.settings import ServiceSettings, StoredService


@dataclass(frozen=True, slots=True)
class OpenedLists(ClosedOnExit):
    """Lists opened for a scan.

    Keep this object as long as a handle may be opened: until it is closed or deleted, no pull removes the
    files.
    """

    infos: tuple[ListInfo, ...]
    """Every requested list, in the requested order."""
    handles: tuple[ListHandle, ...]
    holds: tuple[ReadLock, ...] = ()
    temporary: tuple[TemporaryIndex, ...] = ()
    services: tuple[StoredService, ...] = ()
    """Matching services among the requested lists."""
    folder: Path | None = None
    """The folder of all lists, if there is one."""

    def require_usable(self, *, asking: bool = False) -> None:
        """Raise an error if no list can be matched against.

        Args:
            asking: True if the caller asks the matching services.

        Raises:
            NoUsableListError: no list can be used.
            OutputError: no list can be read.
        """
        usable = {handle.name for handle in self.handles}
        if asking:
            usable |= {service.name for service in self.services}
        elif self.services and not usable:
            raise NoUsableListError(
                f"{' and '.join(service.name for service in self.services)} can only be asked by a scan",
                advice="Use `hashscan scan`, or name a list that is held here.",
            )
        if any(info.can_find for info in self.infos if info.name in usable):
            return
        if not self.infos:
            raise NoUsableListError(
                f"there is no hash list{f' in {self.folder}' if self.folder else ''}",
                advice="docs/getting-lists.md says who has lists, and how to get one; `--list demo` tries "
                "hashscan without one.",
            )
        if usable:
            raise NoUsableListError(
                f"nothing can be found: {' and '.join(sorted(usable))} only say what is known to be good",
                advice="Add a list of known illegal material with `hashscan lists add`, or name one.",
            )
        unread = [info for info in self.infos if info.state is TrustState.UNREADABLE]
        if unread:
            raise OutputError(
                f"no usable hash list: {'; '.join(f'{info.name} {info.problem}' for info in unread)}",
                advice="Give this user the right to read them, and try again.",
            )
        states = "; ".join(f"{info.name} is {info.state.value}" for info in self.infos)
        raise NoUsableListError(f"no usable hash list: {states}")

    def close(self) -> None:
        """Release the locks and remove temporary indexes."""
        for index in self.temporary:
            index.close()
        for hold in self.holds:
            hold.close()


class BeforeActivation(Protocol):
    """Records what the staged version of a list adds; see `difference.record_new_entries`."""

    def __call__(self, folder: ListFolder, name: str, *, from_nothing: bool) -> None:
        """Record it."""


class ListStore:
    """The folder that contains all lists."""

    def __init__(self, folder: Path | None) -> None:
        """Use `folder`, which need not exist yet; it is read or written only when needed.

        Without a folder there is only the list that comes with the program.
        """
        self._folder = folder

    def advice_for(self, name: str, otherwise: str) -> str:
        """Return advice where there is no list of a name: a similar one, else another text."""
        meant = self.similar_to(name)
        return otherwise if meant is None else f"Did you mean {meant!r}?"

    def similar_to(self, name: str) -> str | None:
        """Return the name of the most similar list, if any."""
        return closest_match(name, (*self.names(), DEMO))

    def source(self, name: str) -> str:
        """Return what tells the origin of a stored list from others; empty for one that is not stored."""
        return "" if self._folder is None or name == DEMO else source_of(self.folder(name))

    def require(self, name: str) -> None:
        """Raise an error unless there is a list of a name, even if it was never pulled.

        Raises:
            UsageError: there is none.
        """
        if name not in self.names():
            raise UsageError(
                f"there is no list {name!r}", advice=self.advice_for(name, "See `hashscan lists status`.")
            )

    def names(self) -> tuple[str, ...]:
        """Return the names of all stored lists, sorted; `demo` is never among them.

        Raises:
            OutputError: the folder can't be listed.
        """
        if self._folder is None:
            return ()
        with output_errors("the lists can't be listed"):
            try:
                names = sorted(path.name for path in self._folder.iterdir())
            except FileNotFoundError:
                return ()
            valid = [name for name in names if LIST_NAME.fullmatch(name) and name != DEMO]
            return tuple(name for name in valid if self._kept(self.folder(name)))

    def infos(self, now: datetime) -> tuple[ListInfo, ...]:
        """Return the infos of all stored lists, after verifying each one.

        Raises:
            OutputError: the folder can't be listed.
        """
        with self.open(None, now) as opened:
            return opened.infos

    def open(
        self,
        names: Sequence[str] | None,
        now: datetime,
        thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS,
    ) -> OpenedLists:
        """Verify lists and open those that can be used, each with a compiled index.

        Args:
            names: names of the lists; None for all stored lists.

        Raises:
            UsageError: a name is not valid.
            OutputError: the folder can't be listed.
        """
        infos, handles, holds, temporary = [], [], [], []
        services: list[StoredService] = []
        for name in dict.fromkeys(self.names() if names is None else names):
            if (asked := self._service_info(checked_name(name))) is not None:
                infos.append(asked[0])
                services += [asked[1]] if asked[1] else []
                continue
            opened, hold, version = self._open(name, now, thoroughness)
            info, handle = opened.info, opened.handle
            if handle is not None and version is not None:
                try:
                    ready = prepared(handle, version, thorough=thoroughness is not VerificationLevel.SIZES)
                except ColumnError as error:
                    info = structs.replace(info, state=TrustState.DAMAGED, problem=str(error))
                    handle = None
                else:
                    handle = ready.handle
                    problems = [text for text in (info.problem, ready.remark) if text]
                    info = structs.replace(info, problem="; ".join(problems) or None)
                    temporary += [ready.temporary] if ready.temporary else []
            infos.append(info)
            if handle is not None:
                handles.append(handle)
                holds += [hold] if hold else []
            elif hold is not None:
                hold.close()
        return OpenedLists(
            tuple(infos), tuple(handles), tuple(holds), tuple(temporary), tuple(services), self._folder
        )

    def service(self, name: str) -> StoredService | None:
        """Return the matching service of that name; None if the name is that of a list, or not used.

        Raises:
            UsageError: the name is not valid.
            InvalidDocumentError: its settings are damaged.
            OSError: its settings can't be read.
        """
        if self._folder is None or name == DEMO:
            return None
        folder = self.folder(name)
        try:
            folder.service.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        # Scans without services don't load what TLS needs.
        from hashscan.lists.services.settings import StoredService, read_settings

        return StoredService(
            name, folder.identity.read_text("ascii"), read_settings(folder.service), folder.path
        )

    def _service_info(self, name: str) -> tuple[ListInfo, StoredService | None] | None:
        try:
            service = self.service(name)
        except (OSError, ValueError) as error:
            state = TrustState.UNREADABLE if is_refusal(error) else TrustState.DAMAGED
            problem = f"its settings can't be read: {error}; remove it, and add it again"
            return ListInfo(name, state, problem=problem), None
        if service is None:
            return None
        return ListInfo(name, TrustState.SERVICE, fingerprint=service.settings.fingerprint), service

    def add_service(self, name: str, settings: ServiceSettings) -> None:
        """Store a matching service as a list, with settings in their stored form.

        Raises:
            UsageError: the name is not valid, or a list of that name exists.
            LockedError: another process is writing this list.
            OutputError: the list can't be written.
        """
        from hashscan.lists.services.settings import write_settings

        with self.adding(name) as folder:
            folder.renew_identity()
            # Last, because this file makes the folder a service.
            write_settings(folder.service, settings)

    def open_unindexed(self, name: str, now: datetime) -> tuple[OpenedList, ReadLock | None]:
        """Verify one list, open it without its index, and lock its version; nothing is written.

        Raises:
            UsageError: the name is not valid.
        """
        opened, hold, _ = self._open(checked_name(name), now, VerificationLevel.CHECKSUMS)
        return opened, hold

    def import_entries(
        self,
        name: str,
        entries: Iterable[Entry | EntryBlock],
        label: str,
        before_activation: BeforeActivation | None = None,
    ) -> ListInfo:
        """Store entries as a local, unsigned list; an earlier list of that name is replaced atomically.

        Args:
            entries: read to the end before anything changes.
            label: name of the entries' origin for errors.
            before_activation: records what the entries add to a list that was accepted.

        Raises:
            UsageError: the name can't be used, or belongs to a signed list.
            ListFormatError: the entries are faulty, or there are none; nothing has changed.
            LockedError: another process is writing this list.
            OutputError: the list can't be written; the earlier list is unchanged.
        """
        with self.writing(name) as folder:
            if folder.is_pulled or folder.service.exists():
                raise UsageError(
                    f"the list {name!r} is pulled or asked, not imported",
                    advice="Import under another name, or remove it first with `hashscan lists remove`.",
                )
            folder.make()
            active = folder.active()
            before = open_local(name, active).info if active else None
            version = before.version + 1 if before else 1
            usable = before is not None and before.state in USABLE_STATES
            if active is None:
                folder.renew_identity()
            try:
                write_local(name, folder.fresh_staging(), entries, label, version, datetime.now(UTC))
                fresh = open_local(name, folder.staging, VerificationLevel.SIZES).handle
                if fresh is not None:
                    compile_new(fresh, folder.staging)
                finished = folder.finish_staging(version)
                if before_activation is not None and folder.accepted.exists():
                    folder.stage(finished)
                    before_activation(folder, name, from_nothing=not usable)
                folder.activate(finished)
            finally:
                folder.remove_superseded()
            return open_local(name, finished).info

    def remove(self, name: str) -> None:
        """Remove a list and all its files.

        Raises:
            UsageError: the list does not exist.
            LockedError: another process writes or uses the list.
            OutputError: the list can't be removed.
        """
        with self.writing(name) as folder:
            folder.remove_removed()
            if not folder.path.exists():
                raise UsageError(
                    f"there is no list {name!r}", advice=self.advice_for(name, "See `hashscan lists status`.")
                )
            for version in folder.finished_versions():
                with claimed_for_removal(version) as unused:
                    if not unused:
                        raise LockedError(
                            f"a scan or a service is using the list {name!r}",
                            advice="Wait for the end of the scan, or stop `hashscan serve`.",
                        )
            folder.remove()

    def folder(self, name: str) -> ListFolder:
        """Return the folder of a list; it need not exist.

        Raises:
            UsageError: the name is not valid, or is reserved.
        """
        own_name(name)
        if self._folder is None:
            raise UsageError("there is no folder for lists", advice="Name a --state folder.")
        return ListFolder(self._folder / name)

    @contextmanager
    def writing(self, name: str) -> Iterator[ListFolder]:
        """Yield a list's folder while holding its writer lock.

        Raises:
            UsageError: the name is not valid, or is reserved.
            LockedError: another process is writing this list.
            OutputError: the body raised an OSError.
        """
        folder = self.folder(name)
        with output_errors(f"the list {name!r} can't be written"):
            refuse_to_leave_files(private_folder(folder.path.parent))
            with LockFile(folder.lock, f"another process is writing the list {name!r}"):
                yield folder

    @contextmanager
    def adding(self, name: str) -> Iterator[ListFolder]:
        """Yield the folder of a new list, which exists, while holding its writer lock."""
        with self.writing(name) as folder:
            if name in self.names():
                raise UsageError(
                    f"there is a list {name!r} already",
                    advice="Choose another name, or remove the list first with `hashscan lists remove`.",
                )
            folder.make()
            yield folder

    @staticmethod
    def _kept(folder: ListFolder) -> bool:
        """Return True for a list, False for the remains of a failed import; True if in doubt."""
        for mark in (folder.source, folder.exchange, folder.active_link, folder.service):
            try:
                mark.lstat()
            except FileNotFoundError:
                continue
            except PermissionError:
                pass  # It exists but belongs to another user, and must be reported.
            return True
        return False

    def _open(
        self, name: str, now: datetime, thoroughness: VerificationLevel
    ) -> tuple[OpenedList, ReadLock | None, Path | None]:
        """Return the opened list, the lock on its version, and the version's folder."""
        if name == DEMO:
            return _open_demo(now), None, None
        missing = ListInfo(name, TrustState.MISSING)
        if self._folder is None:
            return unusable(missing, "there is no state folder that could hold it"), None, None
        folder = self.folder(name)
        try:
            held = folder.hold_active()
            if held is None:
                if folder.is_pulled:
                    problem = f"never pulled: run `hashscan lists pull {name}`"
                else:
                    meant = self.similar_to(name)
                    advice = f"did you mean {meant!r}?" if meant else "add one with `hashscan lists add`"
                    problem = f"there is no such list; {advice}"
                return unusable(missing, problem), None, None
            version, hold = held
            return open_version(name, folder, version, now, thoroughness), hold, version
        except OSError as error:
            damaged = ListInfo(name, TrustState.DAMAGED)
            if is_refusal(error):
                return unreadable(damaged, error), None, None
            return unusable(damaged, f"can't be read: {error}"), None, None


def open_version(
    name: str,
    folder: ListFolder,
    version: Path,
    now: datetime,
    thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS,
) -> OpenedList:
    """Verify and open one version of a list of any kind, without its index."""
    if folder.source.exists():
        return open_repository(name, version, folder.root.read_bytes(), now, thoroughness=thoroughness)
    if (source := read_exchange_source(folder)) is not None:
        opened = open_exchange(name, version, source, now, thoroughness)
    else:
        opened = open_local(name, version, thoroughness)
    return _identified(opened, folder)


def _identified(opened: OpenedList, folder: ListFolder) -> OpenedList:
    """Return an unsigned list with its identity."""
    if opened.handle is None:
        return opened
    identity = frozenset({folder.identity.read_text("ascii", errors="replace")})
    return replace(opened, handle=replace(opened.handle, identity=identity))


def _open_demo(now: datetime) -> OpenedList:
    folder = Path(str(importlib.resources.files("hashlists"))) / DEMO
    try:
        root = (folder / "root.json").read_bytes()
    except OSError as error:
        missing = ListInfo(DEMO, TrustState.MISSING)
        return unusable(missing, f"not installed: {error}; install hashscan again")
    return open_published(DEMO, folder, root, now, remedy="install the newest hashscan")


def content_fingerprint(handle: ListHandle) -> str:
    """Return a fingerprint of the entries of a verified list, as 64 hex digits.

    Two machines that pulled one version, or imported one file, get the same fingerprint. It is computed from
    the checksums that were recorded when the version was activated. Opening the list for a scan has just
    compared these, so nothing large is read again. The fingerprint guards against mix-ups, not against an
    attacker who can write to a state folder.

    Raises:
        ColumnError: the record of the list's files is damaged.
        OSError: a file can't be read.
    """
    folder = handle.folder.parent
    # The list that comes with the program has no record; its columns are small.
    record = read_record(folder) if (folder / RECORD_NAME).exists() else VersionRecord({}, {})
    columns = []
    for files in handle.columns:
        names = (*files.names, *([files.withdrawn] if files.withdrawn else ()))
        sums = [
            record.files[name].sum if name in record.files else checksum(handle.folder / name)
            for name in names
        ]
        columns.append([files.algorithm, files.entries, files.id_size, files.withdrawn_rows, sums])
    document = json.dumps([handle.name, list(handle.categories), columns])
    return hashlib.sha256(document.encode("ascii")).hexdigest()


def fingerprinted(opened: OpenedLists) -> tuple[ListInfo, ...]:
    """Return the infos of opened lists, with fingerprints for those that can be used.

    Raises:
        OutputError: a list can't be read.
    """
    fingerprints = {}
    for handle in opened.handles:
        try:
            fingerprints[handle.name] = content_fingerprint(handle)
        except (ColumnError, OSError) as error:
            raise OutputError(f"the list {handle.name} can't be read: {error}") from error
    return tuple(
        structs.replace(info, fingerprint=fingerprints.get(info.name, info.fingerprint))
        for info in opened.infos
    )


def lists_version(infos: Iterable[ListInfo]) -> str:
    """Return the version of the entries of usable lists, as 32 hex digits; matching services don't count.

    It is equal on two machines if lists of the same names have the same entries.

    Args:
        infos: what `fingerprinted` has returned.
    """
    used = [info for info in infos if info.state in USABLE_STATES and info.state is not TrustState.SERVICE]
    parts = sorted(f"{info.name} {info.fingerprint}" for info in used)
    return hashlib.sha256("\n".join(parts).encode("ascii")).hexdigest()[:32]
