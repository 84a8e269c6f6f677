"""Amazon S3 and the many services that speak its language."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from hashscan.errors import TargetError
from hashscan.model import Access, FolderReason, Item, Reason
from hashscan.sources.base import FileTrouble
from hashscan.sources.objects import bodies
from hashscan.sources.objects.refusals import refused
from hashscan.sources.objects.s3_client import S3Clients, about_credentials, answer_of, explained
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
    Level,
    ListingTrouble,
    ObjectStore,
    Reading,
    StoredObject,
    Transient,
)

_LISTING_TRIES = 6

_PIECE = 1 << 20


class S3Source(ObjectSource):
    """Buckets by URL: `s3://BUCKET[/PREFIX]`."""

    name: ClassVar[str] = "s3"
    libraries: ClassVar[tuple[str, ...]] = ("botocore.session", "obstore.store")

    @classmethod
    def make_store(cls, container: str, access: Access) -> ObjectStore:
        """A bucket."""
        return S3Store(container, access)


class S3Store(ObjectStore):
    """One bucket."""

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
        """Reads whatever there is."""
        return self._clients.reader()

    @cached_property
    def _fast(self) -> Any:
        """Reads what has a usual key; None where it can't read at all."""
        return self._clients.obstore(lambda: self._exact)

    def probe(self, prefix: bytes, *, all_versions: bool) -> None:
        """Ask for the first key."""
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
        """List by pages of a thousand."""
        more: dict[str, str] = {}
        while True:
            page = self._page(prefix, all_versions=all_versions, **more)
            yield objects_of(page)
            then = following(page, all_versions=all_versions)
            if not then:
                return
            if then == more:
                raise ListingTrouble(FolderReason.IO_ERROR, "the server says the same page follows again")
            more = then

    def level(self, prefix: bytes, *, all_versions: bool) -> Level | None:
        """One page up to the next slash; None where that doesn't hold everything."""
        page = self._page(prefix, all_versions=all_versions, Delimiter="/")
        if page.get("IsTruncated"):
            return None
        prefixes = prefixes_of(page)
        # By a prefix that is no UTF-8 nothing can be asked for; what lies under it is seen from above.
        return Level(objects_of(page), prefixes) if all(map(_is_text, prefixes)) else None

    def _page(self, prefix: bytes, *, all_versions: bool, **more: str) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        ask = self._lister.list_object_versions if all_versions else self._lister.list_objects_v2
        try:
            # Named here, so that botocore leaves it to us to decode keys: it replaces what is no UTF-8.
            page: Mapping[str, Any] = ask(
                Bucket=self._bucket,
                Prefix=prefix.decode("utf-8"),
                EncodingType="url",
                OptionalObjectAttributes=ATTRIBUTES,
                **more,
            )
        except UnicodeDecodeError:
            raise ListingTrouble(FolderReason.IO_ERROR, "the prefix is not UTF-8") from None
        except ClientError as error:
            raise ListingTrouble.of(refused(*answer_of(error))) from error
        except BotoCoreError as error:
            # Its text repeats the request; the name of its class says enough.
            raise ListingTrouble(FolderReason.IO_ERROR, type(error).__name__) from error
        if not is_listing(page, all_versions=all_versions):
            raise ListingTrouble(FolderReason.IO_ERROR, "the answer is no listing")
        return page

    def read(self, item: Item, offset: int) -> Reading:
        """Through obstore where it can express the key, else through botocore."""
        path = bodies.path_of(item.name)
        # The first download makes the clients, all others wait for it.
        with self._making:
            fast = None if path is None else self._fast
            exact = None if fast is not None else self._exact
        if path is None or fast is None:
            return _read(exact, self._bucket, item, offset)
        return bodies.read(fast, path, item, offset)

    def close(self) -> None:
        """Close botocore's connections; obstore's go with it."""
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


def _read(client: Any, bucket: str, item: Item, offset: int) -> Reading:
    """Begin to read an object through botocore."""
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
        raise FileTrouble(Reason.IO_ERROR, "the key is not UTF-8, which S3 demands") from None
    except ClientError as error:
        raise refused(*answer_of(error), begun=offset > 0) from error
    except BotoCoreError as error:
        kind = type(error).__name__
        if about_credentials(error):
            words = f"credentials could not be renewed ({kind})"
            raise Transient(words, reason=Reason.CREDENTIALS) from error
        raise Transient(f"the download failed ({kind})") from error
    body = answer["Body"]
    size = int(answer["ContentLength"]) + (offset if "ContentRange" in answer else 0)
    if offset and "ContentRange" not in answer:
        body.close()
        raise FileTrouble(Reason.IO_ERROR, "the server doesn't send parts of objects")
    return Reading(
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
        raise Transient("the connection was cut") from error
