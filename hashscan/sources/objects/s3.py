"""The object source for Amazon S3 and compatible services."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from hashscan.errors import TargetError
from hashscan.model import Access, FolderReason, Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects import bodies
from hashscan.sources.objects.refusals import refused
from hashscan.sources.objects.s3_client import S3Clients, answer_of, explained, is_credentials_error
from hashscan.sources.objects.s3_listing import (
    ATTRIBUTES,
    attach,
    following,
    is_listing,
    objects_of,
    prefixes_of,
)
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import (
    Chunk,
    ListingError,
    ObjectStore,
    ObjectStream,
    PrefixListing,
    RetryableError,
    StoredObject,
)

_LISTING_TRIES = 6

_PIECE = 1 << 20


class S3Source(ObjectSource):
    """The source for buckets by URL: `s3://BUCKET[/PREFIX]`."""

    name: ClassVar[str] = "s3"
    libraries: ClassVar[tuple[str, ...]] = ("botocore.session", "obstore.store")

    @classmethod
    def make_store(cls, container: str, access: Access) -> ObjectStore:
        """Return the store of a bucket."""
        return S3Store(container, access)


class S3Store(ObjectStore):
    """The store of one S3 bucket."""

    def __init__(self, bucket: str, access: Access) -> None:
        self._access = access
        self._bucket = bucket
        self._clients = S3Clients(bucket, access)
        self._making = threading.Lock()

    @cached_property
    def _lister(self) -> Any:
        client = self._clients.botocore(tries=_LISTING_TRIES)
        attach(client)
        return client

    @cached_property
    def _exact(self) -> Any:
        """The botocore client, which can read any key."""
        return self._clients.reader()

    @cached_property
    def _fast(self) -> Any:
        """The obstore client, for usual keys; None if it can't be used."""
        return self._clients.obstore(lambda: self._exact)

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Request the first key."""
        try:
            text = prefix.decode("utf-8")
        except UnicodeDecodeError:
            raise TargetError(f"the prefix of s3://{self._bucket} is not UTF-8", advice="Mend it.") from None
        with explained(self._bucket, self._access):
            if all_versions:
                self._lister.list_object_versions(Bucket=self._bucket, Prefix=text, MaxKeys=1)
            else:
                self._lister.list_objects_v2(Bucket=self._bucket, Prefix=text, MaxKeys=1)

    def pages(self, prefix: bytes, *, all_versions: bool) -> Iterator[Sequence[StoredObject]]:
        """List in pages of a thousand."""
        more: dict[str, str] = {}
        while True:
            page = self._page(prefix, all_versions=all_versions, **more)
            yield objects_of(page)
            then = following(page, all_versions=all_versions)
            if not then:
                return
            if then == more:
                raise ListingError(FolderReason.IO_ERROR, "the server says the same page follows again")
            more = then

    def level(self, prefix: bytes, *, all_versions: bool) -> PrefixListing | None:
        """Return one page up to the next slash; None if that page is not complete."""
        page = self._page(prefix, all_versions=all_versions, Delimiter="/")
        if page.get("IsTruncated"):
            return None
        prefixes = prefixes_of(page)
        # A prefix that is not UTF-8 can't be requested; its objects are listed from the level above.
        return PrefixListing(objects_of(page), prefixes) if all(map(_is_text, prefixes)) else None

    def _page(self, prefix: bytes, *, all_versions: bool, **more: str) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        ask = self._lister.list_object_versions if all_versions else self._lister.list_objects_v2
        try:
            # Set explicitly, so that botocore doesn't decode the keys: it replaces what is not UTF-8.
            page: Mapping[str, Any] = ask(
                Bucket=self._bucket,
                Prefix=prefix.decode("utf-8"),
                EncodingType="url",
                OptionalObjectAttributes=ATTRIBUTES,
                **more,
            )
        except UnicodeDecodeError:
            raise ListingError(FolderReason.IO_ERROR, "the prefix is not UTF-8") from None
        except ClientError as error:
            raise ListingError.of(refused(*answer_of(error))) from error
        except BotoCoreError as error:
            # Its text repeats the request; the name of its class is enough.
            raise ListingError(FolderReason.IO_ERROR, type(error).__name__) from error
        if not is_listing(page, all_versions=all_versions):
            raise ListingError(FolderReason.IO_ERROR, "the answer is no listing")
        return page

    def read(self, item: Item, offset: int) -> ObjectStream:
        """Read with obstore if it supports the key, otherwise with botocore."""
        path = bodies.path_of(item.name)
        # The first download creates the clients, all others wait for it.
        with self._making:
            fast = None if path is None else self._fast
            exact = None if fast is not None else self._exact
        if path is None or fast is None:
            return _read(exact, self._bucket, item, offset)
        return bodies.read(fast, path, item, offset)

    def close(self) -> None:
        """Close botocore's connections; those of obstore are closed with its client."""
        for name in ("_lister", "_exact"):
            client = self.__dict__.pop(name, None)
            if client is not None:
                client.close()
        self.__dict__.pop("_fast", None)


def _is_text(prefix: bytes) -> bool:
    try:
        prefix.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read(client: Any, bucket: str, item: Item, offset: int) -> ObjectStream:
    """Begin to read an object with botocore."""
    from botocore.exceptions import BotoCoreError, ClientError

    options: dict[str, str] = {}
    if item.etag:
        options["IfMatch"] = item.etag
    if item.version:
        options["VersionId"] = item.version
    if offset:
        options["Range"] = f"bytes={offset}-"
    try:
        answer = client.get_object(Bucket=bucket, Key=item.name.decode("utf-8"), **options)
    except UnicodeDecodeError:
        raise FileError(Reason.IO_ERROR, "the key is not UTF-8, which S3 demands") from None
    except ClientError as error:
        raise refused(*answer_of(error), begun=offset > 0) from error
    except BotoCoreError as error:
        kind = type(error).__name__
        if is_credentials_error(error):
            words = f"credentials could not be renewed ({kind})"
            raise RetryableError(words, reason=Reason.CREDENTIALS) from error
        raise RetryableError(f"the download failed ({kind})") from error
    body = answer["Body"]
    size = int(answer["ContentLength"]) + (offset if "ContentRange" in answer else 0)
    if offset and "ContentRange" not in answer:
        body.close()
        raise FileError(Reason.IO_ERROR, "the server doesn't send parts of objects")
    return ObjectStream(
        _pieces(body),
        size,
        answer.get("ETag", ""),
        answer.get("VersionId", ""),
        encoding=answer.get("ContentEncoding", ""),
        close=body.close,
    )


def _pieces(body: Any) -> Iterator[Chunk]:
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    try:
        while piece := body.read(_PIECE):
            yield piece
    except (BotoCoreError, HTTPError, OSError) as error:
        raise RetryableError("the connection was cut") from error
