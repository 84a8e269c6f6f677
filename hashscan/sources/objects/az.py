"""Azure's blob storage."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, ClassVar

from hashscan.errors import HashscanError, TargetError, UnreachableError
from hashscan.model import Access, FolderReason, Item, Reason
from hashscan.sources.base import FileTrouble
from hashscan.sources.objects import bodies
from hashscan.sources.objects.az_login import AzureLogin, find_login
from hashscan.sources.objects.bodies import CLIENT, ONE_TRY
from hashscan.sources.objects.refusals import refused
from hashscan.sources.objects.source import ObjectSource, ObjectTarget
from hashscan.sources.objects.store import (
    Chunk,
    Level,
    ListingTrouble,
    ObjectStore,
    Reading,
    StoredObject,
    Transient,
)

_CONTAINER = re.compile(rb"[a-z0-9](?:[a-z0-9-]{0,62})|\$(?:root|web|logs)")

_SNAPSHOT = "snapshot:"
"""Before a version that is a snapshot: both are named by a time."""

_PIECE = 4 << 20
"""The library reads so much at a time into memory."""

_LISTING_TRIES = 5


class AzureSource(ObjectSource):
    """Containers by URL: `az://CONTAINER[/PREFIX]`, of the account that the environment names."""

    name: ClassVar[str] = "az"
    libraries: ClassVar[tuple[str, ...]] = ("azure.storage.blob", "obstore.store")

    @classmethod
    def parse(cls, target: bytes) -> ObjectTarget:
        """Read a URL.

        Raises:
            TargetError: it is none. It is not repeated, since people put accounts and keys into them.
        """
        container, _, prefix = target.partition(b"://")[2].partition(b"/")
        if not _CONTAINER.fullmatch(container):
            raise TargetError(
                "a target of az:// names no container",
                advice="Write az://CONTAINER or az://CONTAINER/PREFIX, without account or key.",
            )
        return ObjectTarget(container.decode("ascii"), prefix)

    @classmethod
    def make_store(cls, container: str, access: Access) -> ObjectStore:
        """A container."""
        try:
            import azure.storage.blob  # noqa: F401
            import obstore  # noqa: F401
        except ModuleNotFoundError as error:
            raise TargetError(
                f"az://{container} needs the Python package {error.name}",
                advice="Install it with `pip install 'hashscan[az]'`.",
            ) from error
        return AzureStore(container, find_login(container, access))


class AzureStore(ObjectStore):
    """One container."""

    def __init__(self, container: str, login: AzureLogin) -> None:
        self._container = container
        self._login = login
        self._making = Lock()
        # Its warnings have texts of servers in them.
        logging.getLogger("azure").setLevel(logging.CRITICAL)

    @cached_property
    def _lister(self) -> Any:
        return self._client(_LISTING_TRIES)

    @cached_property
    def _reader(self) -> Any:
        return self._client(1)

    @cached_property
    def _fast(self) -> Any:
        from obstore.store import AzureStore as Fast

        login = self._login
        return Fast(
            container_name=self._container,
            config={
                "account_name": login.account,
                "endpoint": login.url,
                **({"skip_signature": True} if login.for_obstore is None else {}),
            },
            client_options={**CLIENT, "allow_http": login.url.startswith("http://")},
            retry_config=ONE_TRY,
            credential_provider=login.for_obstore,
        )

    def _client(self, tries: int) -> Any:
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import BlobServiceClient, ExponentialRetry

        from hashscan.sources.objects.az_session import PlainSession

        service = BlobServiceClient(
            self._login.url,
            credential=self._login.for_sdk,
            retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=tries - 1),
            transport=RequestsTransport(session=PlainSession(), session_owner=False),
            connection_timeout=10,
            read_timeout=60,
            max_single_get_size=_PIECE,
            max_chunk_get_size=_PIECE,
        )
        return service.get_container_client(self._container)

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Ask for the first blob."""
        from azure.core.exceptions import AzureError

        try:
            text = prefix.decode("utf-8")
        except UnicodeDecodeError:
            raise TargetError(
                f"the prefix of az://{self._container} is not UTF-8", advice="Mend it."
            ) from None
        try:
            # One try is enough to learn what is wrong, and half a minute too long to learn it.
            blobs = self._reader.list_blobs(
                name_starts_with=text, results_per_page=1, include=_included(all_versions=all_versions)
            )
            next(blobs.by_page(), None)
        except AzureError as error:
            raise self._explained(error) from None
        except ValueError:
            # Of a key that is no base64, among others.
            raise self._refused(403, "") from None

    def _explained(self, error: Any) -> HashscanError:
        from azure.core.exceptions import ServiceRequestError, ServiceResponseError

        if isinstance(error, ServiceRequestError | ServiceResponseError):
            return UnreachableError(
                f"the service of az://{self._container} can't be reached ({type(error).__name__})",
                advice="Check the account's name, the network and --endpoint, then try again.",
            )
        status, code = _answer_of(error)
        if status:
            return self._refused(status, code)
        # Of an identity or a token; the text may hold parts of them.
        return TargetError(
            f"there are no usable credentials for az://{self._container} ({type(error).__name__})",
            advice="Mend what the AZURE_ variables say, or say --anonymous.",
        )

    def _refused(self, status: int, code: str) -> HashscanError:
        where = f"az://{self._container}"
        said = code or str(status)
        if status == 404:
            return TargetError(
                f"there is no container {where}",
                advice="Mend its name or AZURE_STORAGE_ACCOUNT. Azure says so, too, of what is not public.",
            )
        if status >= 500 or status == 429:
            return UnreachableError(
                f"the server of {where} can't list it now: {said}", advice="Try again later."
            )
        if code == "AuthorizationPermissionMismatch":
            return TargetError(
                f"no right to list {where}",
                advice="Grant the role Storage Blob Data Reader, or a signature that may list and read.",
            )
        return TargetError(
            f"the credentials for {where} are refused: {said}",
            advice="Renew AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or the identity; see that the account's "
            "network rules let this machine in.",
        )

    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """List by pages of five thousand."""
        for page in self._pages(prefix, all_versions=all_versions, delimiter=None):
            yield [_stored(blob, all_versions=all_versions) for blob in page]

    def level(self, prefix: bytes, *, all_versions: bool) -> Level | None:
        """One page up to the next slash; None where that doesn't hold everything."""
        pages = self._pages(prefix, all_versions=all_versions, delimiter="/")
        page = list(next(pages, ()))
        if next(pages, None) is not None:
            return None
        blobs = [blob for blob in page if "etag" in blob]
        return Level(
            [_stored(blob, all_versions=all_versions) for blob in blobs],
            [blob.name.encode("utf-8") for blob in page if "etag" not in blob],
        )

    def _pages(self, prefix: bytes, *, all_versions: bool, delimiter: str | None) -> Iterator[Any]:
        from azure.core.exceptions import AzureError

        ask = self._lister.list_blobs if delimiter is None else self._lister.walk_blobs
        options = {} if delimiter is None else {"delimiter": delimiter}
        try:
            yield from ask(
                name_starts_with=prefix.decode("utf-8"),
                include=_included(all_versions=all_versions),
                **options,
            ).by_page()
        except UnicodeDecodeError:
            raise ListingTrouble(FolderReason.IO_ERROR, "the prefix is not UTF-8") from None
        except AzureError as error:
            # The text repeats what was asked, signature and all.
            trouble = _trouble_of(error)
            denied = isinstance(trouble, FileTrouble) and trouble.reason is Reason.PERMISSION
            reason = FolderReason.PERMISSION if denied else FolderReason.IO_ERROR
            raise ListingTrouble(reason, trouble.detail) from None

    def read(self, item: Item, offset: int) -> Reading:
        """Through obstore where it can express key and version, else through Azure's library."""
        try:
            return self._begin(item, offset)
        except FileTrouble as trouble:
            # The condition fails on what isn't there, too.
            if trouble.reason in {Reason.REPLACED, Reason.CHANGED} and not self._is_there(item):
                raise FileTrouble(Reason.VANISHED) from None
            raise

    def _begin(self, item: Item, offset: int) -> Reading:
        from azure.core.exceptions import AzureError

        path = bodies.path_of(item.name)
        with self._making:
            fits = path is not None and not item.version.startswith(_SNAPSHOT)
            reader = self._fast if fits else self._reader
        if fits and path is not None:
            try:
                return bodies.read(reader, path, item, offset)
            except AzureError as error:
                # A token could not be renewed.
                raise _trouble_of(error) from None
        return _read(reader, item, offset)

    def _is_there(self, item: Item) -> bool:
        from azure.core.exceptions import AzureError

        with self._making:
            reader = self._reader
        try:
            return bool(_blob_of(reader, item).exists())
        except AzureError:
            # Then what was said first stands.
            return True

    def close(self) -> None:
        """Close the library's connections; obstore's go with it."""
        for name in ("_lister", "_reader"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.close()
        self.__dict__.pop("_fast", None)


def _included(*, all_versions: bool) -> list[str]:
    return ["versions", "snapshots"] if all_versions else []


def _stored(blob: Any, *, all_versions: bool) -> StoredObject:
    version = ""
    if all_versions:
        version = f"{_SNAPSHOT}{blob.snapshot}" if blob.snapshot else blob.version_id or ""
    return StoredObject(
        blob.name.encode("utf-8"),
        blob.size,
        int(blob.last_modified.timestamp()) * 10**9,
        f'"{blob.etag}"',
        version,
        str(blob.blob_tier) == "Archive",
    )


def _blob_of(container: Any, item: Item) -> Any:
    named: dict[str, Any] = {}
    if item.version.startswith(_SNAPSHOT):
        named["snapshot"] = item.version.removeprefix(_SNAPSHOT)
    elif item.version:
        named["version_id"] = item.version
    return container.get_blob_client(item.name.decode("utf-8"), **named)


def _read(container: Any, item: Item, offset: int) -> Reading:
    """Begin to read a blob through Azure's library."""
    from azure.core import MatchConditions
    from azure.core.exceptions import AzureError

    options: dict[str, Any] = {}
    if item.etag:
        options = {"etag": item.etag, "match_condition": MatchConditions.IfNotModified}
    try:
        answer = _blob_of(container, item).download_blob(offset=offset or None, max_concurrency=1, **options)
    except UnicodeDecodeError:
        raise FileTrouble(Reason.IO_ERROR, "the key is not UTF-8, which Azure demands") from None
    except AzureError as error:
        raise _trouble_of(error, begun=offset > 0) from None
    found = answer.properties
    return Reading(_pieces(answer), found.size, found.etag or "", item.version)


def _pieces(answer: Any) -> Iterator[Chunk]:
    from azure.core.exceptions import AzureError

    try:
        yield from answer.chunks()
    except AzureError as error:
        raise _trouble_of(error, begun=True) from None


def _answer_of(error: Any) -> tuple[int, str]:
    """Status and code of an answer that Azure's library made an error of; 0 where there was none."""
    code = getattr(error, "error_code", None)
    text = str(getattr(code, "value", code) or "")
    return int(getattr(error, "status_code", None) or 0), text if text.isalnum() else ""


def _trouble_of(error: Any, *, begun: bool = False) -> FileTrouble | Transient:
    status, code = _answer_of(error)
    if not status:
        return Transient(f"the connection failed ({type(error).__name__})")
    return refused(status, code, begun=begun)
