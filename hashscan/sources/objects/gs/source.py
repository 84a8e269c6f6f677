"""The object source for Google Cloud Storage.

An object is identified by its generation, which every write changes. Google decompresses objects that are
stored compressed as it sends them, as it does for browsers. So hashscan checks what browsers show, and knows
the size only after reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from hashscan.model import Access, Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects import obstore_reader
from hashscan.sources.objects.checksums import in_base64
from hashscan.sources.objects.receiver import bounded
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import (
    UNKNOWN_SIZE,
    ListingError,
    ObjectStore,
    ObjectStream,
    PrefixListing,
    RetryableError,
    StoredObject,
    extra_missing,
    key_text,
    prefix_text,
    read_pieces,
    refused,
)
from hashscan.timefmt import to_nanoseconds

if TYPE_CHECKING:
    import requests

    from hashscan.sources.objects.gs.client import GoogleClients


_FIELDS = "items(name,size,updated,generation,contentEncoding,md5Hash,crc32c),prefixes,nextPageToken"

COMPRESSED = ";compressed"
"""Suffix of the generation in an etag: such objects are not read through obstore, which must know sizes."""

_PIECE = 1 << 20
SECONDS = (10, obstore_reader.READ_SECONDS)
"""Timeouts in seconds: to connect, and for each next piece of an answer."""


class GoogleSource(ObjectSource):
    """The source for buckets by URL: `gs://BUCKET[/PREFIX]`."""

    name: ClassVar[str] = "gs"
    libraries: ClassVar[tuple[str, ...]] = ("google.cloud.storage", "obstore.store")
    container_name = re.compile(rb"[a-z0-9][a-z0-9._-]{1,221}")
    container_kind = "bucket"

    @classmethod
    def make_store(cls, container: str, access: Access) -> ObjectStore:
        """Return the store of a bucket."""
        return GoogleStore(container, clients_of(container, access, changing=False))


def clients_of(bucket: str, access: Access, *, changing: bool) -> GoogleClients:
    """Return the clients for a bucket.

    Raises:
        TargetError: a library or credentials are missing.
    """
    try:
        import obstore  # noqa: F401

        from hashscan.sources.objects.gs.client import GoogleClients
    except ModuleNotFoundError as error:
        raise extra_missing(f"gs://{bucket}", "gs", error) from error
    return GoogleClients(bucket, access, changing=changing)


class GoogleStore(ObjectStore):
    """The store of one Google bucket."""

    def __init__(self, bucket: str, clients: GoogleClients) -> None:
        self._bucket = bucket
        self._clients = clients
        self._making = Lock()
        self._through_obstore = not clients.emulated

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        from hashscan.sources.objects.gs.client import FAILURES

        try:
            found = self._clients.lister.list_blobs(
                self._bucket,
                prefix=prefix_text(prefix),
                versions=all_versions,
                max_results=1,
                fields=_FIELDS,
                retry=None,
            )
            next(iter(found), None)
        except FAILURES as error:
            raise self._clients.explained(error) from None

    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """List in pages of a thousand."""
        for page in _converted(self._listed(prefix, all_versions=all_versions, delimiter=None).pages):
            yield [_stored(blob, all_versions=all_versions) for blob in page]

    def level(self, prefix: bytes, *, all_versions: bool) -> PrefixListing | None:
        found = self._listed(prefix, all_versions=all_versions, delimiter="/")
        blobs = list(next(_converted(found.pages), ()))
        if found.next_page_token:
            return None
        return PrefixListing(
            [_stored(blob, all_versions=all_versions) for blob in blobs],
            [name.encode("utf-8") for name in sorted(found.prefixes)],
        )

    def _listed(self, prefix: bytes, *, all_versions: bool, delimiter: str | None) -> Any:
        text = prefix_text(prefix)
        return self._clients.lister.list_blobs(
            self._bucket, prefix=text, versions=all_versions, delimiter=delimiter, fields=_FIELDS
        )

    def read(self, item: Item, offset: int) -> ObjectStream:
        """Read with obstore if it supports the key and the service reports generations, otherwise without."""
        from hashscan.sources.objects.gs.client import FAILURES, trouble_of

        path = obstore_reader.path_of(item.name)
        if path is not None and self._through_obstore and not item.etag.endswith(COMPRESSED):
            with self._making:
                fast = self._clients.obstore
            # The etags of Google's two interfaces differ; the answer is compared by generation.
            bare = Item(item.name, item.stat, version=item.version)
            try:
                reading = obstore_reader.read(fast, path, bare, offset)
            except FAILURES as error:
                # Credentials could not be renewed.
                raise trouble_of(error) from None
            if reading.version:
                _expect(item, reading.version, begun=offset > 0)
                return ObjectStream(
                    reading.chunks, reading.size, media_type=reading.media_type, close=reading.close
                )
            reading.close()
            self._through_obstore = False
        return self._read(item, offset)

    def _read(self, item: Item, offset: int, *, as_stored: bool = False) -> ObjectStream:
        import urllib3

        headers = {"Accept-Encoding": "gzip" if as_stored else "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        answer = self._ask("/download", item, {"alt": "media"}, headers)
        try:
            if answer.status_code not in {200, 206}:
                raise self._refusal(answer, item, begun=offset > 0)
            if answer.headers.get("Content-Encoding", "identity") != "identity" and not as_stored:
                # Its bytes would be hashed in compressed form, and a picture in them would not be found.
                raise FileError(Reason.IO_ERROR, "it is stored compressed and must not be sent otherwise")
            if offset and answer.status_code != 206:
                raise FileError(Reason.IO_ERROR, "the server doesn't send parts of this object")
            generation = answer.headers.get("x-goog-generation", "")
            _expect(item, generation or self._generation_now(item), begun=offset > 0)
        except BaseException:
            answer.close()
            raise
        size = _size_of(answer)
        read = partial(answer.raw.read, _PIECE, decode_content=False)
        pieces = read_pieces(read, (urllib3.exceptions.HTTPError, OSError))
        return ObjectStream(
            *(bounded(pieces, size), size),
            proven=bool(generation),
            media_type=answer.headers.get("Content-Type", ""),
            close=answer.close,
        )

    def check(self, item: Item) -> None:
        _expect(item, self._generation_now(item), begun=True)

    def _generation_now(self, item: Item) -> str:
        answer = self._ask("", item, {"fields": "generation"}, {})
        try:
            if answer.status_code != 200:
                raise refused(answer.status_code, "")
            return str(answer.json().get("generation", ""))
        except ValueError:
            raise RetryableError("the server's answer is no JSON") from None
        finally:
            answer.close()

    def _refusal(self, answer: requests.Response, item: Item, *, begun: bool) -> FileError | RetryableError:
        trouble = refused(answer.status_code, "", begun=begun)
        if answer.status_code == 412:
            # The condition also fails if the object does not exist; then this raises.
            self._generation_now(Item(item.name, item.stat))
        return trouble

    def _ask(
        self, part: str, item: Item, options: dict[str, str], headers: dict[str, str]
    ) -> requests.Response:
        """Request an object, or the metadata of an object."""
        from hashscan.sources.objects.gs.client import FAILURES, trouble_of

        key = quoted(item.name)
        if item.version:
            options = {**options, "generation": item.version}
        elif part and item.etag:
            options = {**options, "ifGenerationMatch": generation_of(item)}
        with self._making:
            session = self._clients.session
        try:
            return session.get(
                f"{self._clients.url}{part}/storage/v1/b/{self._bucket}/o/{key}",
                params=options,
                headers=headers,
                stream=True,
                timeout=SECONDS,
                allow_redirects=False,
            )
        except FAILURES as error:
            raise trouble_of(error) from None

    def close(self) -> None:
        self._clients.close()


def _converted(pages: Iterator[Any]) -> Iterator[Any]:
    """Yield the pages of a listing; convert the library's errors to ours."""
    from hashscan.sources.objects.gs.client import FAILURES, trouble_of

    try:
        yield from pages
    except FAILURES as error:
        raise ListingError.of(trouble_of(error)) from None


def quoted(key: bytes) -> str:
    return quote(key_text(key, "Google"), safe="")


def _stored(blob: Any, *, all_versions: bool) -> StoredObject:
    compressed = (blob.content_encoding or "identity") != "identity"
    generation = str(blob.generation)
    return StoredObject(
        blob.name.encode("utf-8"),
        UNKNOWN_SIZE if compressed else blob.size,
        0 if blob.updated is None else to_nanoseconds(blob.updated),
        generation + (COMPRESSED if compressed else ""),
        generation if all_versions else "",
        # Both are of the bytes as they are stored; those in parts have no MD5.
        "" if compressed else in_base64("md5", blob.md5_hash or "") or in_base64("crc32c", blob.crc32c or ""),
    )


def generation_of(item: Item) -> str:
    return item.version or item.etag.partition(";")[0]


def _expect(item: Item, generation: str, *, begun: bool) -> None:
    """Check that an object has the expected generation."""
    expected = generation_of(item)
    # For an object that was only named, no generation is known.
    if expected and generation != expected:
        raise FileError(Reason.CHANGED if begun else Reason.REPLACED)


def _size_of(answer: requests.Response) -> int:
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        length = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isascii() and length.isdigit() else UNKNOWN_SIZE
