"""The object source for Azure Blob Storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, ClassVar

from hashscan.model import Access, Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects import obstore_reader
from hashscan.sources.objects.az.client import AzureClients, find_login, trouble_of
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import (
    Chunk,
    ListingError,
    ObjectStore,
    ObjectStream,
    PrefixListing,
    StoredObject,
    extra_missing,
    key_text,
    prefix_text,
)

_SNAPSHOT = "snapshot:"
"""Prefix of a version that is a snapshot, because versions and snapshots are both named by a time."""


class AzureSource(ObjectSource):
    """The source for containers by URL: `az://CONTAINER[/PREFIX]`, of the account in the environment."""

    name: ClassVar[str] = "az"
    libraries: ClassVar[tuple[str, ...]] = ("azure.storage.blob", "obstore.store")
    container_name = re.compile(rb"[a-z0-9](?:[a-z0-9-]{0,62})|\$(?:root|web|logs)")

    @classmethod
    def make_store(cls, container: str, access: Access) -> ObjectStore:
        """Return the store of a container."""
        return AzureStore(clients_of(container, access))


def clients_of(container: str, access: Access) -> AzureClients:
    """Return the clients for a container.

    Raises:
        TargetError: a library or credentials are missing.
    """
    try:
        import azure.storage.blob  # noqa: F401
        import obstore  # noqa: F401
    except ModuleNotFoundError as error:
        raise extra_missing(f"az://{container}", "az", error) from error
    return AzureClients(container, find_login(container, access))


class AzureStore(ObjectStore):
    """The store of one Azure container."""

    def __init__(self, clients: AzureClients) -> None:
        self._clients = clients
        self._container = clients.container
        self._making = Lock()

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        from azure.core.exceptions import AzureError

        try:
            # One try is enough to find an error; retries would delay the message by half a minute.
            blobs = self._clients.reader.list_blobs(
                name_starts_with=prefix_text(prefix),
                results_per_page=1,
                include=_included(all_versions=all_versions),
            )
            next(blobs.by_page(), None)
        except AzureError as error:
            raise self._clients.explained(error) from None
        except ValueError:
            # Caused by a key that is not base64, among others.
            raise self._clients.refused(403, "") from None

    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """List in pages of five thousand."""
        for page in self._pages(prefix, all_versions=all_versions, delimiter=None):
            yield [_stored(blob, all_versions=all_versions) for blob in page]

    def level(self, prefix: bytes, *, all_versions: bool) -> PrefixListing | None:
        pages = self._pages(prefix, all_versions=all_versions, delimiter="/")
        page = list(next(pages, ()))
        if next(pages, None) is not None:
            return None
        blobs = [blob for blob in page if "etag" in blob]
        return PrefixListing(
            [_stored(blob, all_versions=all_versions) for blob in blobs],
            [blob.name.encode("utf-8") for blob in page if "etag" not in blob],
        )

    def _pages(self, prefix: bytes, *, all_versions: bool, delimiter: str | None) -> Iterator[Any]:
        from azure.core.exceptions import AzureError

        ask = self._clients.lister.list_blobs if delimiter is None else self._clients.lister.walk_blobs
        options = {} if delimiter is None else {"delimiter": delimiter}
        try:
            yield from ask(
                name_starts_with=prefix_text(prefix),
                include=_included(all_versions=all_versions),
                **options,
            ).by_page()
        except AzureError as error:
            # The error's text repeats the request, including its signature.
            raise ListingError.of(trouble_of(error)) from None

    def read(self, item: Item, offset: int) -> ObjectStream:
        """Read with obstore if it supports the key and version, otherwise with Azure's library."""
        try:
            return self._begin(item, offset)
        except FileError as trouble:
            # The condition also fails if the blob does not exist.
            if trouble.reason in {Reason.REPLACED, Reason.CHANGED} and not self._is_there(item):
                raise FileError(Reason.VANISHED) from None
            raise

    def _begin(self, item: Item, offset: int) -> ObjectStream:
        from azure.core.exceptions import AzureError

        path = obstore_reader.path_of(item.name)
        with self._making:
            fits = path is not None and not item.version.startswith(_SNAPSHOT)
            reader = self._clients.fast if fits else self._clients.reader
        if fits and path is not None:
            try:
                return obstore_reader.read(reader, path, item, offset)
            except AzureError as error:
                # A token could not be renewed.
                raise trouble_of(error) from None
        return _read(reader, item, offset)

    def _is_there(self, item: Item) -> bool:
        from azure.core.exceptions import AzureError

        with self._making:
            reader = self._clients.reader
        try:
            return bool(blob_of(reader, item).exists())
        except AzureError:
            # Keep the first error.
            return True

    def close(self) -> None:
        self._clients.close()


def _included(*, all_versions: bool) -> list[str]:
    return ["versions", "snapshots"] if all_versions else []


def _stored(blob: Any, *, all_versions: bool) -> StoredObject:
    version = ""
    if all_versions:
        version = f"{_SNAPSHOT}{blob.snapshot}" if blob.snapshot else blob.version_id or ""
    md5 = blob.content_settings.content_md5
    return StoredObject(
        blob.name.encode("utf-8"),
        blob.size,
        int(blob.last_modified.timestamp()) * 10**9,
        f'"{blob.etag}"',
        version,
        f"md5:{bytes(md5).hex()}" if md5 and len(md5) == 16 else "",
        str(blob.blob_tier) == "Archive",
    )


def blob_of(container: Any, item: Item) -> Any:
    """Return Azure's client for one blob, version or snapshot."""
    named: dict[str, Any] = {}
    if item.version.startswith(_SNAPSHOT):
        named["snapshot"] = item.version.removeprefix(_SNAPSHOT)
    elif item.version:
        named["version_id"] = item.version
    return container.get_blob_client(key_text(item.name, "Azure"), **named)


def _read(container: Any, item: Item, offset: int) -> ObjectStream:
    from azure.core import MatchConditions
    from azure.core.exceptions import AzureError

    # Compressed content is hashed as it is stored, and never decompressed by a process outside the sandbox.
    options: dict[str, Any] = {"decompress": False}
    if item.etag:
        options |= {"etag": item.etag, "match_condition": MatchConditions.IfNotModified}
    try:
        answer = blob_of(container, item).download_blob(offset=offset or None, max_concurrency=1, **options)
    except AzureError as error:
        raise trouble_of(error, begun=offset > 0) from None
    found = answer.properties
    # `size` is the number of bytes from the offset on.
    settings = found.content_settings
    return ObjectStream(
        *(_pieces(answer), found.size + offset, found.etag or "", item.version),
        encoding=settings.content_encoding or "",
        media_type=settings.content_type or "",
    )


def _pieces(answer: Any) -> Iterator[Chunk]:
    from azure.core.exceptions import AzureError

    try:
        yield from answer.chunks()
    except AzureError as error:
        raise trouble_of(error, begun=True) from None
