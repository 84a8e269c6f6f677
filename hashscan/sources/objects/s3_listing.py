"""Reads the pages of S3's listings; botocore takes three times as long for it as the sweep for all else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from hashscan.sources.objects.store import StoredObject

_ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Their objects must be restored first. Intelligent tiering doesn't say so before an object is asked for."""

ATTRIBUTES = ["RestoreStatus"]
"""What listings are to tell besides: whether there is a restored copy, which can be read until it expires."""

_ENTRIES = ("Contents", "Version")
_FOUND = "hashscan"
_RESTORING = "IsRestoreInProgress"


def attach(client: Any) -> None:
    """Have a client of botocore leave the objects of listings to this module."""
    for operation in ("ListObjectsV2", "ListObjectVersions"):
        # Before botocore looks for errors in it, for which it parses it, too.
        client.meta.events.register_first(f"before-parse.s3.{operation}", _take_over)


def is_listing(page: Mapping[str, Any], *, all_versions: bool) -> bool:
    """Whether an answer is a listing that can be followed; a proxy's page of words is none."""
    if _FOUND not in page:
        return False
    if page.get("IsTruncated") and not page.get("NextKeyMarker" if all_versions else "NextContinuationToken"):
        return False
    return all("Key" in entry and (entry.get("Size") or "").isdecimal() for entry in page[_FOUND])


def objects_of(page: Mapping[str, Any]) -> list[StoredObject]:
    """The objects of a page; versions where those were asked for, but no delete markers."""
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
    """The common prefixes of a page."""
    encoded = page.get("EncodingType") == "url"
    return [_bytes(part["Prefix"], encoded=encoded) for part in page.get("CommonPrefixes", ())]


def following(page: Mapping[str, Any], *, all_versions: bool) -> dict[str, str]:
    """What to ask for the next page by; empty where there is none."""
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
    """Parse the entries of an answer, and hide them from botocore."""
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314
    except ElementTree.ParseError:
        # botocore finds the same, and says so.
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
    """A key or prefix as the bytes it stands for."""
    return unquote_to_bytes(text.replace("+", " ")) if encoded else text.encode("utf-8")


def _nanoseconds(text: str) -> int:
    """A time as S3 writes it, `2026-01-02T03:04:05.000Z`, since 1970; 0 where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) * 1_000_000
