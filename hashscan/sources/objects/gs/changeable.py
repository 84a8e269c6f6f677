"""Delete objects from Google buckets for the quarantine, and restore them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from hashscan.model import Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.changeable_store import (
    ChangeableStore,
    FilePart,
    ObjectDescription,
    ObjectExistsError,
    Properties,
    unlisted_item,
)
from hashscan.sources.objects.gs.source import COMPRESSED, SECONDS, GoogleStore, generation_of, quoted
from hashscan.sources.objects.store import ObjectStream, RetryableError, key_text, refused

if TYPE_CHECKING:
    import requests

_KEPT = (
    "contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl", "metadata",
    "storageClass", "customTime", "eventBasedHold", "temporaryHold",
)  # fmt: skip


class ChangeableGoogleStore(GoogleStore, ChangeableStore):
    """A Google bucket in which objects can be created and deleted."""

    deletes: ClassVar[str] = "where soft deletion is on, the bucket keeps it for so many days"

    def describe(self, item: Item) -> ObjectDescription:
        """Return the metadata of an object; its ACL too, if there is the right to read it."""
        unread: tuple[str, ...] = ()
        try:
            found = self._metadata(item, "full")
        except FileError as trouble:
            if trouble.reason is not Reason.PERMISSION:
                raise
            found, unread = self._metadata(item, "noAcl"), ("ACL",)
        properties: dict[str, Any] = {name: found[name] for name in _KEPT if name in found}
        if "acl" in found:
            properties["acl"] = [{"entity": one["entity"], "role": one["role"]} for one in found["acl"]]
        modified = str(found.get("updated", ""))
        return _description(int(found["size"]), str(found["generation"]), modified, properties, unread)

    def _metadata(self, item: Item, projection: str) -> Mapping[str, Any]:
        options = {"projection": projection}
        if generation_of(item) and not item.version:
            options["ifGenerationMatch"] = generation_of(item)
        answer = self._ask("", item, options, {})
        try:
            if answer.status_code != HTTPStatus.OK:
                trouble = self._refusal(answer, item, begun=False)
                raise _with_rights(trouble, "Storage Object Viewer")
            found: Mapping[str, Any] = answer.json()
        except ValueError:
            raise RetryableError("the server's answer is no JSON") from None
        finally:
            answer.close()
        return found

    def read(self, item: Item, offset: int) -> ObjectStream:
        """Read an object as it is stored, even if it is stored compressed."""
        return self._read(item, offset, as_stored=item.etag.endswith(COMPRESSED))

    def create(self, key: bytes, content: int, size: int, properties: Properties) -> ObjectDescription:
        """Create an object in two requests: its metadata, and then its bytes."""
        address = f"{self._clients.url}/upload/storage/v1/b/{self._bucket}/o"
        metadata = {**properties, "name": key_text(key, "Google")}
        kind = str(properties.get("contentType", "application/octet-stream"))
        begun = self._send(
            "POST", address, json=metadata,
            params={"uploadType": "resumable", "ifGenerationMatch": "0"},
            headers={"X-Upload-Content-Length": str(size), "X-Upload-Content-Type": kind},
        )  # fmt: skip
        place = begun.headers.get("Location", "")
        if not place.startswith(f"{self._clients.url}/"):
            # The request with the bytes is signed with our credentials.
            raise FileError(Reason.IO_ERROR, "the server redirects the upload to another server")
        done = self._send(
            "PUT", place,
            # For an empty file the library would use chunked encoding, without a length.
            data=FilePart(content, 0, size) if size else b"",
            headers={"Content-Type": kind},
        )  # fmt: skip
        try:
            generation = str(done.json()["generation"])
        except (ValueError, KeyError):
            raise RetryableError("the server's answer has no generation") from None
        return _description(size, generation, "", properties)

    def delete(self, item: Item) -> bool:
        """Delete an object by its generation, which no other object has."""
        address = f"{self._clients.url}/storage/v1/b/{self._bucket}/o/{quoted(item.name)}"
        try:
            self._send("DELETE", address, params={"generation": generation_of(item)})
        except FileError as trouble:
            if trouble.reason is Reason.VANISHED:
                # This raises VANISHED again if no other object has this key.
                self._generation_now(unlisted_item(item.name))
                raise FileError(Reason.REPLACED) from None
            raise
        return True

    def _send(self, method: str, address: str, **request: Any) -> requests.Response:
        from hashscan.sources.objects.gs.client import FAILURES, trouble_of

        with self._making:
            session = self._clients.session
        try:
            answer = session.request(method, address, timeout=SECONDS, allow_redirects=False, **request)
        except FAILURES as error:
            raise trouble_of(error) from None
        if answer.status_code in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
            return answer
        if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
            raise ObjectExistsError
        raise _with_rights(refused(answer.status_code, ""), "Storage Object Admin")


def _description(
    size: int, generation: str, modified: str, properties: Properties, unread: tuple[str, ...] = ()
) -> ObjectDescription:
    compressed = properties.get("contentEncoding", "identity") != "identity"
    etag = generation + (COMPRESSED if compressed else "")
    return ObjectDescription(size, etag, generation, modified, properties, unread)


def _with_rights(trouble: FileError | RetryableError, role: str) -> FileError | RetryableError:
    if isinstance(trouble, FileError) and trouble.reason is Reason.PERMISSION:
        return FileError(trouble.reason, f"{trouble.detail}; it needs the role {role}")
    return trouble
