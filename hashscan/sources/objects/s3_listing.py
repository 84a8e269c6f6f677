"""Parse the pages of S3 listings.

botocore needs three times as long for this as the scan for everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from hashscan.sources.objects.store import StoredObject
from hashscan.timefmt import parse_utc, to_nanoseconds

_ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be restored first. For intelligent tiering, this is known only when an
object is requested."""

ATTRIBUTES = ["RestoreStatus"]
"""Additional fields in listings: whether there is a restored copy, which can be read until it expires."""

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
            entry.get("StorageClass") in _ARCHIVE_CLASSES and entry.get(_RESTORING) != "false",
        )
        for entry in page.get(_FOUND, ())
    ]


def prefixes_of(page: Mapping[str, Any]) -> list[bytes]:
    """Return the common prefixes of a page."""
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
