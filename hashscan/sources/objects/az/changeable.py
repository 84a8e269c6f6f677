"""Delete blobs from Azure containers for the quarantine, and restore them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from hashscan.model import Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.az.client import answer_of, trouble_of
from hashscan.sources.objects.az.source import AzureStore
from hashscan.sources.objects.az.source import blob_of as named_blob
from hashscan.sources.objects.changeable_store import (
    ChangeableStore,
    FilePart,
    ObjectDescription,
    ObjectExistsError,
    Properties,
    unlisted_item,
)
from hashscan.sources.objects.store import RetryableError

_SETTINGS = ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control")

_RIGHTS = "the role Storage Blob Data Contributor, or a signature that may"


class ChangeableAzureStore(AzureStore, ChangeableStore):
    """A container of Azure in which blobs can be created and deleted."""

    deletes: ClassVar[str] = "where soft deletion is on, the account keeps it for so many days"

    def describe(self, item: Item) -> ObjectDescription:
        """Return the properties of a blob; its tags too, if there is the right to read them."""
        blob = self._blob(item)
        with self._asking(item, "read"):
            found = blob.get_blob_properties(**_condition(item))
        settings = found.content_settings
        properties: dict[str, Any] = {
            name: getattr(settings, name) for name in _SETTINGS if getattr(settings, name)
        }
        if settings.content_md5:
            properties["content_md5"] = base64.b64encode(bytes(settings.content_md5)).decode()
        if found.metadata:
            properties["metadata"] = dict(found.metadata)
        properties["blob_type"] = str(getattr(found.blob_type, "value", found.blob_type))
        if found.blob_tier and not found.get("blob_tier_inferred"):
            properties["blob_tier"] = str(getattr(found.blob_tier, "value", found.blob_tier))
        unread = []
        try:
            with self._asking(item, "read tags"):
                if tags := blob.get_blob_tags():
                    properties["tags"] = dict(tags)
        except FileError as trouble:
            if trouble.reason in {Reason.VANISHED, Reason.REPLACED}:
                raise
            unread.append("tags")
        # The version that was read, if the account keeps versions.
        version = item.version or str(found.get("version_id") or "")
        return ObjectDescription(
            found.size, f'"{found.etag.strip(chr(34))}"', version, found.last_modified.isoformat(),
            properties, tuple(unread),
        )  # fmt: skip

    def create(self, key: bytes, content: int, size: int, properties: Properties) -> ObjectDescription:
        """Create a blob from blocks, which become one blob at the end."""
        from azure.storage.blob import BlobType, ContentSettings, StandardBlobTier

        settings: dict[str, Any] = {name: properties.get(name) for name in _SETTINGS}
        if "content_md5" in properties:
            settings["content_md5"] = bytearray(base64.b64decode(properties["content_md5"]))
        options: dict[str, Any] = {"content_settings": ContentSettings(**settings)}
        options |= {name: properties[name] for name in ("metadata", "tags") if name in properties}
        kind = BlobType(properties.get("blob_type", "BlockBlob"))
        options["blob_type"] = kind
        if "blob_tier" in properties and kind is BlobType.BLOCKBLOB:
            options["standard_blob_tier"] = StandardBlobTier(properties["blob_tier"])
        blob = self._blob(unlisted_item(key))
        with _spoken("create and write"):
            answer = blob.upload_blob(
                FilePart(content, 0, size), length=size, overwrite=False, max_concurrency=1, **options
            )
        return ObjectDescription(
            size,
            f'"{str(answer["etag"]).strip(chr(34))}"',
            str(answer.get("version_id") or ""),
            "",
            properties,
        )

    def delete(self, item: Item) -> bool:
        """Delete a blob if its ETag is unchanged, and then the version that the deletion creates."""
        blob = self._blob(item)
        with self._asking(item, "delete"):
            if not item.version or item.version.startswith("snapshot:"):
                blob.delete_blob(**_condition(item))
                return True
            current = bool(blob.get_blob_properties(**_condition(item)).get("is_current_version"))
            if current:
                # A current version can't be deleted by its version name.
                self._blob(item._replace(version="")).delete_blob(**_condition(item))
            blob.delete_blob()
        return True

    @contextmanager
    def _asking(self, item: Item, right: str) -> Iterator[None]:
        """Convert errors for one blob; a condition also fails if the blob does not exist."""
        try:
            with _spoken(right):
                yield
        except FileError as trouble:
            if trouble.reason is Reason.REPLACED and not self._is_there(item):
                raise FileError(Reason.VANISHED) from None
            raise

    def _blob(self, item: Item) -> Any:
        with self._making:
            container = self._clients.reader
        return named_blob(container, item)


def _condition(item: Item) -> dict[str, Any]:
    from azure.core import MatchConditions

    if not item.etag:
        return {}
    return {"etag": item.etag, "match_condition": MatchConditions.IfNotModified}


@contextmanager
def _spoken(right: str) -> Iterator[None]:
    """Convert Azure's errors to ours, without any text of the server."""
    from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

    try:
        yield
    except ResourceNotFoundError as error:
        raise FileError(Reason.VANISHED) from error
    except AzureError as error:
        _, code = answer_of(error)
        if code == "SnapshotsPresent":
            detail = "its snapshots would be deleted with it: scan with --all-versions, and move those first"
            raise FileError(Reason.IO_ERROR, detail) from None
        if isinstance(error, ResourceExistsError) and code in {
            "BlobAlreadyExists",
            "UnauthorizedBlobOverwrite",
        }:
            raise ObjectExistsError from None
        trouble: FileError | RetryableError = trouble_of(error)
        if isinstance(trouble, FileError) and trouble.reason is Reason.PERMISSION:
            raise FileError(trouble.reason, f"{trouble.detail}; it needs {_RIGHTS} {right}") from None
        raise trouble from None
    except ValueError:
        raise FileError(Reason.IO_ERROR, "its properties don't fit into a request") from None
