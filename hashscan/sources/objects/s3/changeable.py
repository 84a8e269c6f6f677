"""Delete objects from S3 buckets for the quarantine, and restore them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlencode

from hashscan.model import Item, Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.changeable_store import (
    ChangeableStore,
    FilePart,
    ObjectDescription,
    ObjectExistsError,
    Properties,
)
from hashscan.sources.objects.s3.client import answer_of, is_credentials_error
from hashscan.sources.objects.s3.source import S3Store
from hashscan.sources.objects.store import RetryableError, credentials_not_renewed, key_text, refused

_HEADERS = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata",
    "StorageClass", "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "WebsiteRedirectLocation",
)  # fmt: skip

_WHOLE = 256 << 20
"""Bytes; larger objects are uploaded in parts."""
_PART = 64 << 20
_PARTS = 10_000
"""Maximum number of parts that S3 accepts."""

_GRANTS = {
    "FULL_CONTROL": "GrantFullControl", "READ": "GrantRead", "READ_ACP": "GrantReadACP",
    "WRITE_ACP": "GrantWriteACP",
}  # fmt: skip

_NO_CONDITION = frozenset({400, 501})
"""Answers of services that don't support a condition on deleting; others ignore the condition."""


class ChangeableS3Store(S3Store, ChangeableStore):
    """An S3 bucket in which objects can be created and deleted."""

    deletes: ClassVar[str] = "replicas in other buckets, and versions before and after it, stay"

    def describe(self, item: Item) -> ObjectDescription:
        """Return the headers of an object; tags and ACL too, if there is the right to read them."""
        named = self._named(item)
        with _spoken("s3:GetObject, with versions s3:GetObjectVersion"):
            head = self._client.head_object(**named, **({"IfMatch": item.etag} if item.etag else {}))
        version = str(head.get("VersionId", ""))
        properties: dict[str, Any] = {name: head[name] for name in _HEADERS if head.get(name)}
        expires = head.get("ExpiresString") or head.get("Expires")
        if expires:
            properties["Expires"] = str(expires)
        exact = self._named(item._replace(version=version))
        unread = []
        try:
            with _spoken("s3:GetObjectTagging"):
                tags = self._client.get_object_tagging(**exact)["TagSet"]
            if tags:
                properties["Tags"] = [[tag["Key"], tag["Value"]] for tag in tags]
        except FileError as trouble:
            _may_lack(trouble)
            unread.append("tags")
        try:
            with _spoken("s3:GetObjectAcl"):
                properties |= _grants(self._client.get_object_acl(**exact))
        except FileError as trouble:
            _may_lack(trouble)
            unread.append("ACL")
        modified = str(head.get("LastModified", ""))
        size = int(head["ContentLength"])
        return ObjectDescription(
            size, str(head.get("ETag", "")), version, modified, properties, tuple(unread)
        )

    def create(self, key: bytes, content: int, size: int, properties: Properties) -> ObjectDescription:
        """Create an object in one request, or from parts that become one object at the end."""
        options = _options(properties)
        named = {"Bucket": self._bucket, "Key": key_text(key, "S3")}
        with _spoken("s3:PutObject, with tags s3:PutObjectTagging, with an ACL s3:PutObjectAcl", taken=True):
            self._refuse_taken(named)
            if size <= _WHOLE:
                answer = self._client.put_object(
                    **named, **options, Body=FilePart(content, 0, size), ContentLength=size, IfNoneMatch="*"
                )
            else:
                answer = self._create_in_parts(named, options, content, size)
        version = str(answer.get("VersionId", ""))
        # Some services return this if they keep no versions, and then don't know a version of this name.
        version = "" if version == "null" else version
        return ObjectDescription(size, str(answer.get("ETag", "")), version, "", properties)

    def _refuse_taken(self, named: dict[str, str]) -> None:
        """Check that no object exists: some services ignore the condition, and would replace the object."""
        from botocore.exceptions import ClientError

        try:
            self._client.head_object(**named)
        except ClientError as error:
            # Without the right to list a bucket, the answer for a missing object is 403, too.
            if answer_of(error)[0] not in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}:
                raise
        else:
            raise ObjectExistsError

    def _create_in_parts(
        self, named: dict[str, str], options: dict[str, Any], content: int, size: int
    ) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        upload = {**named, "UploadId": self._client.create_multipart_upload(**named, **options)["UploadId"]}
        part = max(_PART, -(-size // _PARTS))
        parts = []
        try:
            for number, start in enumerate(range(0, size, part), 1):
                length = min(part, size - start)
                answer = self._client.upload_part(
                    **upload,
                    PartNumber=number,
                    Body=FilePart(content, start, length),
                    ContentLength=length,
                )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            whole: Mapping[str, Any] = self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            # Parts that remain are not an object; a bucket rule for incomplete uploads removes them.
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**upload)
            raise
        return whole

    def delete(self, item: Item) -> bool:
        """Delete by version; without versions, on condition that the ETag is unchanged."""
        named = self._named(item)
        lasting = item.version not in {"", "null"}
        # The version `null` can be overwritten, like an object without versions.
        compares = lasting or (not item.version and self._compares)
        with _spoken("s3:GetObject, with versions s3:GetObjectVersion"):
            self._client.head_object(**named, IfMatch=item.etag)
        condition = {} if lasting or not compares else {"IfMatch": item.etag}
        with _spoken("s3:DeleteObject, with versions s3:DeleteObjectVersion"):
            answer = self._client.delete_object(**named, **condition)
            if item.version or not answer.get("DeleteMarker"):
                return compares
            # The bucket has begun to keep versions, and the object would remain there, hidden, as the version
            # `null`.
            self._client.delete_object(**named, VersionId=answer["VersionId"])
        return self.delete(item._replace(version="null"))

    @cached_property
    def _compares(self) -> bool:
        """True if the service obeys a condition on deleting; tested with a false one on an unused key."""
        from botocore.exceptions import ClientError

        nothing = f".hashscan-{secrets.token_hex(16)}"
        try:
            with _spoken("s3:DeleteObject", plain=True):
                self._client.delete_object(Bucket=self._bucket, Key=nothing, IfMatch=f'"{"0" * 32}"')
        except ClientError as error:
            status, code = answer_of(error)
            if status in {404, 412}:
                return True
            if status in _NO_CONDITION:
                return False
            raise _trouble(status, code, "s3:DeleteObject") from error
        return False

    @property
    def _client(self) -> Any:
        with self._making:
            return self._exact

    def _named(self, item: Item) -> dict[str, str]:
        version = {"VersionId": item.version} if item.version else {}
        return {"Bucket": self._bucket, "Key": key_text(item.name, "S3"), **version}


@contextmanager
def _spoken(rights: str, *, taken: bool = False, plain: bool = False) -> Iterator[None]:
    """Convert botocore's errors to ours, without any text of the server; with `taken`, a failed condition
    means that the key is taken; with `plain`, error answers are not converted."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if plain:
            raise
        status, code = answer_of(error)
        if taken and (status == 412 or code in {"PreconditionFailed", "ConditionalRequestConflict"}):
            raise ObjectExistsError from error
        raise _trouble(status, code, rights) from error
    except BotoCoreError as error:
        if is_credentials_error(error):
            raise credentials_not_renewed(error) from error
        kind = type(error).__name__
        if kind == "ParamValidationError":
            raise FileError(Reason.IO_ERROR, "its properties don't fit into a request") from error
        raise RetryableError(f"the request failed ({kind})") from error


def _trouble(status: int, code: str, rights: str) -> FileError | RetryableError:
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return FileError(Reason.IO_ERROR, "the server does not support this request")
    trouble = refused(status, code)
    if isinstance(trouble, FileError) and trouble.reason is Reason.PERMISSION:
        return FileError(Reason.PERMISSION, f"{trouble.detail}; it needs {rights}")
    return trouble


def _may_lack(trouble: FileError) -> None:
    """Raise only errors about the object itself; ignore that tags or ACLs can't be read.

    Services that have no tags or ACLs, and credentials without the right to read them, cause many different
    errors.
    """
    if trouble.reason in {Reason.VANISHED, Reason.REPLACED}:
        raise trouble


def _grants(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the grants to others than the owner, in the form that a request to create an object needs."""
    owner = answer.get("Owner", {}).get("ID")
    said: dict[str, list[str]] = {}
    others = False
    for grant in answer.get("Grants", ()):
        grantee = grant.get("Grantee", {})
        name = _GRANTS.get(grant.get("Permission", ""))
        if name is None:
            continue
        if "ID" in grantee:
            whom = f'id="{grantee["ID"]}"'
            others = others or grantee["ID"] != owner or name != "GrantFullControl"
        elif "URI" in grantee:
            whom, others = f'uri="{grantee["URI"]}"', True
        else:
            continue
        said.setdefault(name, []).append(whom)
    return {"Grants": {name: ", ".join(whom) for name, whom in said.items()}} if others else {}


def _options(properties: Properties) -> dict[str, Any]:
    options = {name: properties[name] for name in (*_HEADERS, "Expires") if name in properties}
    options |= properties.get("Grants", {})
    if tags := properties.get("Tags"):
        options["Tagging"] = urlencode([(key, value) for key, value in tags])
    return options
