"""The object source for Amazon S3 and compatible services, with its own parser for pages of listings.

botocore needs three times as long for this as the scan for everything else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from hashscan.model import Access, FolderReason, Item, Reason
from hashscan.sources.base import FileError, StoredChecksum
from hashscan.sources.objects import obstore_reader
from hashscan.sources.objects.checksums import checksum_of_etag, extend_of, in_base64, parse_checksum
from hashscan.sources.objects.receiver import normalize_etag
from hashscan.sources.objects.s3.client import S3Clients, answer_of, explained, is_credentials_error
from hashscan.sources.objects.source import ObjectSource
from hashscan.sources.objects.store import (
    ListingError,
    ObjectStore,
    ObjectStream,
    PrefixListing,
    RetryableError,
    StoredObject,
    close_clients,
    credentials_not_renewed,
    key_text,
    prefix_text,
    read_pieces,
    refused,
)
from hashscan.timefmt import parse_utc, to_nanoseconds

_ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be restored first. For intelligent tiering, this is known only when an
object is requested."""

ATTRIBUTES = ["RestoreStatus"]
"""Additional fields in listings: whether there is a restored copy, which can be read until it expires."""

_ALGORITHMS = {"SHA256": "sha256", "SHA1": "sha1", "CRC32": "crc32", "CRC32C": "crc32c"}
"""By name in a listing, the checksums that are computed here, too."""
_CRCS = frozenset({"crc32", "crc32c"})
_STATED = "when-read"
"""Value of `Item.checksum` of an object whose ETag is no MD5, and that has such a checksum. obstore neither
asks for it nor returns it, so botocore reads such objects; they are large.

Of an object whose ETag may be an MD5, the value is the algorithm of such a checksum and a colon."""

_ENTRIES = ("Contents", "Version")
_FOUND = "hashscan"
_RESTORING = "IsRestoreInProgress"


def attach(client: Any) -> None:
    """Set up a botocore client so that this module parses the objects of listings."""
    for operation in ("ListObjectsV2", "ListObjectVersions"):
        # Before botocore parses the answer to look for errors in it.
        client.meta.events.register_first(f"before-parse.s3.{operation}", _take_over)


def is_listing(page: Mapping[str, Any], *, all_versions: bool) -> bool:
    """Return True if an answer is a listing that can be continued; an error page of a proxy is not."""
    if _FOUND not in page:
        return False
    if page.get("IsTruncated") and not page.get("NextKeyMarker" if all_versions else "NextContinuationToken"):
        return False
    return all("Key" in entry and (entry.get("Size") or "").isdecimal() for entry in page[_FOUND])


def objects_of(page: Mapping[str, Any]) -> list[StoredObject]:
    """Return the objects of a page; all versions if they were requested, but no delete markers."""
    encoded = page.get("EncodingType") == "url"
    return [
        StoredObject(
            _bytes(entry["Key"], encoded=encoded),
            int(entry["Size"]),
            _nanoseconds(entry.get("LastModified") or ""),
            entry.get("ETag") or "",
            entry.get("VersionId") or "",
            _listed_checksum(entry),
            entry.get("StorageClass") in _ARCHIVE_CLASSES and entry.get(_RESTORING) != "false",
        )
        for entry in page.get(_FOUND, ())
    ]


def _listed_checksum(entry: Mapping[str, str | None]) -> str:
    algorithm = _ALGORITHMS.get(entry.get("ChecksumAlgorithm") or "", "")
    if entry.get("ChecksumType") != "FULL_OBJECT" or (algorithm in _CRCS and extend_of(algorithm) is None):
        return ""
    if checksum_of_etag(entry.get("ETag") or "") is None:
        return algorithm and _STATED
    return algorithm and f"{algorithm}:"


def prefixes_of(page: Mapping[str, Any]) -> list[bytes]:
    encoded = page.get("EncodingType") == "url"
    return [_bytes(part["Prefix"], encoded=encoded) for part in page.get("CommonPrefixes", ())]


def following(page: Mapping[str, Any], *, all_versions: bool) -> dict[str, str]:
    """Return the parameters of the request for the next page; empty if there is none."""
    if not page.get("IsTruncated"):
        return {}
    if not all_versions:
        return {"ContinuationToken": page["NextContinuationToken"]}
    encoded = page.get("EncodingType") == "url"
    marker = {"KeyMarker": _bytes(page["NextKeyMarker"], encoded=encoded).decode("utf-8", "replace")}
    if page.get("NextVersionIdMarker"):
        marker["VersionIdMarker"] = page["NextVersionIdMarker"]
    return marker


def _take_over(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **others: Any
) -> None:
    """Parse the entries of an answer, and remove them before botocore parses it."""
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314
    except ElementTree.ParseError:
        # botocore finds the same error, and reports it.
        return
    if not root.tag.endswith("Result"):
        return
    space = root.tag[: root.tag.rfind("}") + 1]
    cut = len(space)
    names = {space + name for name in (*_ENTRIES, "DeleteMarker")}
    entries = {space + name for name in _ENTRIES}
    found: list[dict[str, str | None]] = []
    for entry in root:
        if entry.tag in entries:
            fields = {field.tag[cut:]: field.text for field in entry}
            if "RestoreStatus" in fields:
                fields[_RESTORING] = entry.findtext(f"{space}RestoreStatus/{space}{_RESTORING}")
            found.append(fields)
    customized_response_dict[_FOUND] = found
    rest = ElementTree.Element(root.tag)
    rest.extend(part for part in root if part.tag not in names)
    response_dict["body"] = ElementTree.tostring(rest)


def _bytes(text: str, *, encoded: bool) -> bytes:
    """Return the bytes of a key or prefix."""
    return unquote_to_bytes(text.replace("+", " ")) if encoded else text.encode("utf-8")


def _nanoseconds(text: str) -> int:
    """Return a time of S3, such as `2026-01-02T03:04:05.000Z`, in ns since 1970; 0 if it is not valid."""
    try:
        return to_nanoseconds(parse_utc(text))
    except ValueError:
        return 0


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
        self._stated_when_read = False
        """True once the ETag of an object was seen to be no MD5: those that have another checksum are read so
        that it is stated, without a further request."""

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
        with explained(self._bucket, self._access):
            ask = self._lister.list_object_versions if all_versions else self._lister.list_objects_v2
            ask(Bucket=self._bucket, Prefix=prefix_text(prefix), MaxKeys=1)

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
        page = self._page(prefix, all_versions=all_versions, Delimiter="/")
        if page.get("IsTruncated"):
            return None
        prefixes = prefixes_of(page)
        try:
            for deeper in prefixes:
                prefix_text(deeper)
        except ListingError:
            # Such a prefix can't be requested; its objects are listed from the level above.
            return None
        return PrefixListing(objects_of(page), prefixes)

    def _page(self, prefix: bytes, *, all_versions: bool, **more: str) -> Mapping[str, Any]:
        other_error, client_error = _failures()
        ask = self._lister.list_object_versions if all_versions else self._lister.list_objects_v2
        try:
            # Set explicitly, so that botocore doesn't decode the keys: it replaces what is not UTF-8.
            page: Mapping[str, Any] = ask(
                Bucket=self._bucket,
                Prefix=prefix_text(prefix),
                EncodingType="url",
                OptionalObjectAttributes=ATTRIBUTES,
                **more,
            )
        except client_error as error:
            raise ListingError.of(refused(*answer_of(error))) from error
        except other_error as error:
            # Its text repeats the request; the name of its class is enough.
            raise ListingError(FolderReason.IO_ERROR, type(error).__name__) from error
        if not is_listing(page, all_versions=all_versions):
            raise ListingError(FolderReason.IO_ERROR, "the answer is no listing")
        return page

    def read(self, item: Item, offset: int) -> ObjectStream:
        """Read with obstore if it supports the key, otherwise with botocore."""
        stated = item.checksum == _STATED or (self._stated_when_read and item.checksum)
        path = None if stated else obstore_reader.path_of(item.name)
        # The first download creates the clients, all others wait for it.
        with self._making:
            fast = None if path is None else self._fast
            exact = None if fast is not None else self._exact
        if path is None or fast is None:
            return _read(exact, self._bucket, item, offset)
        return obstore_reader.read(fast, path, item, offset)

    def checksum(self, item: Item) -> StoredChecksum | None:
        """Return the MD5 that the ETag is, for an object in one part."""
        return checksum_of_etag(item.etag)

    def stated_checksum(self, item: Item) -> StoredChecksum | None:
        """Ask for the checksum, and how the object is encrypted.

        With keys of KMS, or of its owner, the ETag is no MD5.
        """
        version = {"VersionId": item.version} if item.version else {}
        with self._making:
            client = self._exact
        try:
            head = client.head_object(
                Bucket=self._bucket, Key=key_text(item.name, "S3"), ChecksumMode="ENABLED", **version
            )
        except (*_failures(), FileError):
            return None
        if normalize_etag(str(head.get("ETag", ""))) != normalize_etag(item.etag):
            return None
        encryption = head.get("ServerSideEncryption") or "AES256"
        is_md5 = encryption == "AES256" and not head.get("SSECustomerAlgorithm")
        stated = parse_checksum(_checksum_of(head))
        if stated is not None and stated.algorithm in _CRCS and item.checksum != f"{stated.algorithm}:":
            # The CRC was not computed as the bytes arrived.
            stated = None
        self._stated_when_read |= stated is not None and not is_md5
        return stated or (checksum_of_etag(item.etag) if is_md5 else None)

    def close(self) -> None:
        """Close botocore's connections; those of obstore are closed with its client."""
        close_clients(self, ("_lister", "_exact"), "_fast")


def _failures() -> tuple[type[Exception], type[Exception]]:
    """Return the classes of botocore's errors: of requests, and of answers."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _checksum_of(answer: Mapping[str, Any]) -> str:
    """Return the checksum of the whole object in an answer; one of its parts has another form."""
    stated = (
        in_base64(algorithm, answer.get(f"Checksum{name}") or "") for name, algorithm in _ALGORITHMS.items()
    )
    return next(filter(None, stated), "") if answer.get("ChecksumType") != "COMPOSITE" else ""


def _read(client: Any, bucket: str, item: Item, offset: int) -> ObjectStream:
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    options: dict[str, str] = {}
    if item.etag:
        options["IfMatch"] = item.etag
    if item.version:
        options["VersionId"] = item.version
    if offset:
        options["Range"] = f"bytes={offset}-"
    try:
        answer = client.get_object(Bucket=bucket, Key=key_text(item.name, "S3"), **options)
    except ClientError as error:
        raise refused(*answer_of(error), begun=offset > 0) from error
    except BotoCoreError as error:
        if is_credentials_error(error):
            raise credentials_not_renewed(error) from error
        raise RetryableError(f"the download failed ({type(error).__name__})") from error
    body = answer["Body"]
    size = int(answer["ContentLength"]) + (offset if "ContentRange" in answer else 0)
    if offset and "ContentRange" not in answer:
        body.close()
        raise FileError(Reason.IO_ERROR, "the server doesn't send parts of objects")
    return ObjectStream(
        read_pieces(partial(body.read, _PIECE), (BotoCoreError, HTTPError, OSError)),
        size,
        answer.get("ETag", ""),
        answer.get("VersionId", ""),
        checksum="" if offset else _checksum_of(answer),
        encoding=answer.get("ContentEncoding", ""),
        media_type=answer.get("ContentType", ""),
        close=body.close,
    )
