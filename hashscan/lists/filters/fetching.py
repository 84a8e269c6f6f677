"""Fetch the filter of a matching service's list, verify it, and keep it in the list's folder.

NAME/filter/root.json       the first root of the repository
NAME/filter/tuf/            metadata seen so far, against rollback
NAME/filter/current.json    which files are the filter of which version
NAME/filter/X.filter        filters, by their SHA-256
NAME/filter.lock            lock of the writer

The service names the repository and the SHA-256 of its first root, over its own encrypted connection, so what
it names is as much its own word as its answers are. The repository may be on any public server, which is not
trusted: everything is verified as of a signed list, and a filter counts for one version of the service's list
only. The key of the service goes to its own server alone.

A service may be hostile, or taken over. So that it can't use this machine to reach others, no other address
of a private network than its own is asked, and no file is read; what is fetched is bounded in size and time.

Importing this module imports tuf and urllib3, so other modules import it on first use.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import urllib3
from msgspec import Meta, Struct

from hashscan.atomic_files import (
    remove_leftovers,
    replace_file,
    sync_file,
    sync_folder,
    temporary_name,
)
from hashscan.errors import HashscanError
from hashscan.lists.filters.format import (
    FILE_MAX,
    INDEX_MAX,
    INDEX_NAME,
    DigestFilter,
    FilterError,
    FilterIndex,
    FilterPart,
)
from hashscan.lists.pulling.fetching import HttpFetcher, source_errors
from hashscan.lists.pulling.origin import Origin
from hashscan.lists.services.settings import StoredService
from hashscan.lists.storage import trust
from hashscan.lists.storage.layout import private_folder
from hashscan.lists.storage.signed_list import METADATA, TARGETS
from hashscan.lists.storage.tuf_api import Updater
from hashscan.locking import LockFile
from hashscan.matching_service_api import FilterAddress, Version
from hashscan.schema import decode_file, encode_file
from hashscan.secret_files import Credentials
from hashscan.text import printable
from hashscan.web_address import WebAddress, is_public_address, parse
from hashscan.web_connection import WEB, checked_location, is_loopback
from hashscan.web_transport import PrivateAddressError

FETCH_SECONDS = 300.0
"""Longest time that a filter may take to come; until then a scan asks nothing."""
_MESSAGE_MAX = 300
_ROLES = ("root", "timestamp", "snapshot", "targets")
_HISTORY = "root_history"

_SHA256 = re.compile("[0-9a-f]{64}")
_Digest = Annotated[str, Meta(pattern=rf"\A{_SHA256.pattern}\Z")]


class _Current(Struct, frozen=True):
    """The filter that was verified last."""

    version: Version
    base: _Digest
    additions: _Digest | None


class FilterCache:
    """The filter of one service on this machine; used by one thread at a time."""

    def __init__(
        self, service: StoredService, credentials: Credentials, show: Callable[[str], None] | None = None
    ) -> None:
        """Use the folder of a service.

        Args:
            credentials: the service's own.
            show: gets the text of each request, without the key.
        """
        self._service = service
        self._credentials = credentials
        self._show = show
        self._fetcher: _FilterFetcher | None = None
        self._given_up = False

    def get(self, wanted: FilterAddress) -> DigestFilter:
        """Return the filter that a service names, from this machine if it has been fetched before.

        Raises:
            FilterError: it can't be had, or can't be used.
        """
        try:
            return self._get(wanted)
        except (HashscanError, OSError, ValueError) as error:
            raise FilterError(printable(str(error))[:_MESSAGE_MAX]) from error

    def close(self) -> None:
        """Give up what is being fetched."""
        self._given_up = True
        if self._fetcher is not None:
            self._fetcher.give_up()

    def _get(self, wanted: FilterAddress) -> DigestFilter:
        location = _location(wanted.url, self._service)
        if self._service.folder is None:
            raise FilterError("there is no folder for it")
        # The service may have been removed: its folder must not come back.
        folder = self._service.folder / "filter"
        if _first_root(folder, wanted.root) and (found := _stored(folder, wanted.version)) is not None:
            return found
        message = "another process is fetching it"
        with LockFile(self._service.folder / "filter.lock", message, seconds=FETCH_SECONDS):
            root = _first_root(folder, wanted.root)
            if root is not None and (found := _stored(folder, wanted.version)) is not None:
                return found
            _remove_damaged(folder)
            if folder.exists() and root is None:
                shutil.rmtree(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            remove_leftovers(folder)
            self._fetcher = fetcher = _FilterFetcher(self._service, self._credentials, folder, self._show)
            deadline = threading.Timer(FETCH_SECONDS, fetcher.give_up)
            deadline.daemon = True
            with closing(fetcher), source_errors(location, self._credentials.hidden):
                if self._given_up:
                    raise FilterError("it is not needed any more")
                deadline.start()
                try:
                    current = _fetched(folder, location, root, wanted, fetcher)
                finally:
                    deadline.cancel()
                    self._fetcher = None
            found = _opened(folder, current)
            # Before it is named: what a killed process has left would stay until the next version.
            _remove_all_but(folder, current)
            replace_file(folder / "current.json", encode_file(current))
            return found


def _location(url: str, service: StoredService) -> str:
    if not url.lower().startswith(WEB):
        raise FilterError("its address is no web address")
    location = checked_location(url)
    address = parse(location.encode())
    own = parse(service.settings.url.encode())
    if not (address.endpoint == own.endpoint or _both_here(address, own)):
        if address.scheme != "https":
            raise FilterError("its address is not https")
        _refuse_private(address)
    return location


def _both_here(address: WebAddress, own: WebAddress) -> bool:
    return is_loopback(address.endpoint[1]) and is_loopback(own.endpoint[1])


def _refuse_private(address: WebAddress) -> None:
    """Refuse an address of a private network that is given as a number, before a proxy is asked for it."""
    try:
        is_public = is_public_address(address.endpoint[1])
    except ValueError:
        return
    if not is_public:
        raise FilterError(f"{address.origin.decode()} is in a private network, and not the service's")


class _FilterFetcher(HttpFetcher):
    """A fetcher that asks servers in private networks only at the service's own address."""

    def __init__(
        self,
        service: StoredService,
        credentials: Credentials,
        staging: Path,
        show: Callable[[str], None] | None,
    ) -> None:
        settings = service.settings
        # Only what is at this address gets credentials.
        super().__init__(Origin(settings.url, (), settings.proxy, settings.ca_file), credentials, staging)
        self._own = parse(settings.url.encode())
        self._show = show

    def _fetch(self, url: str) -> Iterator[bytes]:
        if self._show is not None:
            self._show(f"GET {url}")
        yield from super()._fetch(url)

    def _asked(
        self, address: WebAddress, public_only: bool, conditions: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        here = _both_here(address, self._own)
        if address.endpoint != self._own.endpoint and not here:
            _refuse_private(address)
        try:
            return super()._asked(address, not here, conditions)
        except PrivateAddressError:
            raise FilterError(
                f"{address.origin.decode()} is in a private network, and not the service's"
            ) from None


def _first_root(folder: Path, fingerprint: str) -> bytes | None:
    """Return the stored first root; None if there is none, or one of another repository."""
    try:
        root = (folder / "root.json").read_bytes()
    except OSError:
        return None
    return root if hashlib.sha256(root).hexdigest() == fingerprint else None


def _remove_damaged(folder: Path) -> None:
    """Remove files that are folders and folders that are files, and what a killed process of tuf has left.

    All of it is fetched again. Metadata whose content is damaged is replaced by tuf's client itself.
    """
    tuf = folder / "tuf"
    folders = (folder, tuf, tuf / _HISTORY)
    for path in folders:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
    for path in [entry for each in folders if each.exists() for entry in each.iterdir()]:
        if path.is_dir() and not path.is_symlink() and path not in folders:
            shutil.rmtree(path)
        elif path.parent == tuf and path.is_file() and path.suffix != ".json":
            path.unlink()


def _stored(folder: Path, version: str) -> DigestFilter | None:
    """Return the stored filter of a version; None if there is none that is intact."""
    try:
        current = decode_file((folder / "current.json").read_bytes(), _Current)
        return _opened(folder, current) if current.version == version else None
    except (OSError, ValueError):
        return None


def _opened(folder: Path, current: _Current) -> DigestFilter:
    """Open the files of a filter, after comparing them with what was signed."""
    parts = []
    for digest in (current.base, current.additions):
        if digest is not None:
            part = FilterPart.open(folder / f"{digest}.filter")
            if hashlib.sha256(part.data).hexdigest() != digest:
                raise FilterError("a stored file of it is damaged")
            parts.append(part)
    found = DigestFilter(*parts)
    if found.version != current.version:
        raise FilterError("it belongs to another version of the list than its index says")
    if current.additions is not None and parts[1].header.base != current.base:
        raise FilterError("its additions belong to another filter")
    return found


def _fetched(
    folder: Path, location: str, root: bytes | None, wanted: FilterAddress, fetcher: HttpFetcher
) -> _Current:
    """Fetch the newest metadata and the filter that is wanted; what is here already is not fetched again."""
    if root is None:
        root = fetcher.download_bytes(f"{location}{METADATA}/1.root.json", trust.LIMITS.root_max_length)
        if hashlib.sha256(root).hexdigest() != wanted.root:
            raise FilterError("its root is not the one that the service names")
        trust.check_root(root)
        replace_file(folder / "root.json", root)
    tuf = private_folder(folder / "tuf")
    private_folder(tuf / _HISTORY)
    updater = Updater(
        str(tuf),
        f"{location}{METADATA}/",
        target_base_url=f"{location}{TARGETS}/",
        fetcher=fetcher,
        config=trust.LIMITS,
        bootstrap=root,
    )
    updater.refresh()
    # tuf's client renames without syncing; after a power cut an empty file would let a rollback pass.
    for role in _ROLES:
        sync_file(tuf / f"{role}.json")
    sync_folder(tuf / _HISTORY)
    sync_folder(tuf)
    index = FilterIndex.decode(_target(updater, folder, INDEX_NAME, INDEX_MAX)[1].read_bytes())
    named = index.of_version(wanted.version)
    if named is None:
        raise FilterError("there is none of the version that the service's list has")
    base, _ = _target(updater, folder, named.base, FILE_MAX)
    additions = None if named.additions is None else _target(updater, folder, named.additions, FILE_MAX)[0]
    return _Current(wanted.version, base, additions)


def _target(updater: Updater, folder: Path, name: str, most: int) -> tuple[str, Path]:
    """Fetch a target unless it is here; return its SHA-256 and its file. One that was not signed, or is too
    long, is an error."""
    info = updater.get_targetinfo(name)
    digest = "" if info is None else info.hashes.get("sha256", "")
    if info is None or not _SHA256.fullmatch(digest):
        raise FilterError(f"there is no target {name}")
    if info.length > most:
        raise FilterError(f"the target {name} would have {info.length} bytes, and may have {most}")
    place = folder / f"{digest}.filter"
    with suppress(FileNotFoundError), place.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == digest:
            return digest, place
    aside = temporary_name(place)
    try:
        updater.download_target(info, filepath=str(aside))
        aside.chmod(0o600)
        sync_file(aside)
        aside.replace(place)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return digest, place


def _remove_all_but(folder: Path, current: _Current) -> None:
    """Remove the files of earlier filters; processes that have them mapped keep them."""
    for path in folder.glob("*.filter"):
        if path.stem not in {current.base, current.additions}:
            path.unlink(missing_ok=True)
