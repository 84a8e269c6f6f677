"""Read notices in XARF, versions 4 and 3: one document, an array of them, or one per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from hashscan.cases.notices import fields
from hashscan.cases.notices.notice import Notice
from hashscan.cases.notices.reader import NoticeError, NoticeFormat, Skipped, SkipReason
from hashscan.lists.formats.text import BOM, shown

DOCUMENT_MAX = 32 << 20
"""Limit in bytes of one document; most of a long one is evidence, which is not used."""
_NODES_MAX = 1_000_000
"""Limit of objects and arrays in a document: in Python one takes thirty times its two bytes of JSON."""

_ADVICE = "Ask its sender for XARF 4 as JSON, or put url, reference and received into a CSV file."
_V4_TYPES = ("csam", "csem")


class NotXarfError(Exception):
    """An error for data that is not XARF, or lacks required values; its message says why."""


class XarfNotices(NoticeFormat):
    """Notices of category content and type csam or csem, or ChildAbuse in version 3."""

    name = "xarf"

    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        number = 0
        try:
            for document in _documents(stream):
                number += 1
                found = notice_of(document)
                if isinstance(found, Notice):
                    yield found
                else:
                    self.passed_over[found] += 1
            if not number:
                raise NotXarfError("it is empty")
        except NotXarfError as error:
            raise NoticeError(f"{label}, report {max(number, 1)}: {error}", advice=_ADVICE) from error


def parse(data: bytes | str) -> Any:
    """Parse a JSON value, within limits of size and number of parts."""
    marks: tuple[Any, Any] = (b"{", b"[") if isinstance(data, bytes) else ("{", "[")
    if len(data) > DOCUMENT_MAX or sum(map(data.count, marks)) > _NODES_MAX:
        raise NotXarfError(f"a document of more than {DOCUMENT_MAX >> 20} MiB or of too many parts")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotXarfError("it is no JSON") from error


def notice_of(document: object) -> Notice | Skipped:
    """Return the notice in a XARF document, or the kind of other abuse that it reports."""
    if not isinstance(document, dict):
        raise NotXarfError("it is no JSON object")
    try:
        if "xarf_version" in document:
            return _version_4(document)
        if "ReporterInfo" in document and "Report" in document:
            return _version_3(document)
    except fields.FieldError as error:
        raise NotXarfError(str(error)) from error
    raise NotXarfError("it has no xarf_version, and so is no XARF")


def _documents(stream: BinaryIO) -> Iterator[object]:
    first = _line(stream)
    while first and not first.removeprefix(BOM).strip():
        first = _line(stream)
    first = first.removeprefix(BOM)
    if not first:
        return
    try:
        value = parse(first)
    except NotXarfError:
        value = parse(first + stream.read(DOCUMENT_MAX + 1))
    if isinstance(value, list):
        yield from value
    else:
        yield value
    while line := _line(stream):
        if line.strip():
            yield parse(line)


def _line(stream: BinaryIO) -> bytes:
    return stream.readline(DOCUMENT_MAX + 1)


def _version_4(report: Mapping[str, Any]) -> Notice | Skipped:
    version = _text(report, "xarf_version")
    if not version.startswith("4."):
        raise NotXarfError(f"it is XARF {shown(version)}, and known are 3 and 4")
    kind = _text(report, "category"), _text(report, "type")
    if kind[0] != "content" or kind[1] not in _V4_TYPES:
        return Skipped(SkipReason.OTHER_ABUSE, shown("/".join(kind)))
    reporter = _table(report, "reporter")
    values = _table(report, "hash_values")
    return Notice(
        reference=fields.printable_line("report_id", _text(report, "report_id")),
        sender=fields.printable_line("reporter", _text(reporter, "contact") or _text(reporter, "org")),
        url=fields.url(_text(report, "url")),
        received=fields.time_or_day("timestamp", _text(report, "timestamp")),
        category=fields.category(_text(report, "classification")),
        digests=tuple(
            fields.digest(name, _text(values, name)) for name in fields.DIGESTS if _text(values, name)
        ),
    )


def _version_3(document: Mapping[str, Any]) -> Notice | Skipped:
    report, reporter = _table(document, "Report"), _table(document, "ReporterInfo")
    kind = _text(report, "ReportType")
    if kind.replace("-", "").replace(" ", "").casefold() != "childabuse":
        return Skipped(SkipReason.OTHER_ABUSE, shown(kind))
    url = _text(report, "SourceUrl") or _text(report, "Url") or _text(_table(report, "Source"), "URL")
    sender = next(
        filter(None, (_text(reporter, f"Reporter{name}") for name in ("ContactEmail", "OrgEmail", "Org"))), ""
    )
    return Notice(
        reference=fields.printable_line("ReportID", _text(report, "ReportID")),
        sender=fields.printable_line("ReporterInfo", sender),
        url=fields.url(url),
        received=fields.time_or_day("Date", _text(report, "Date")),
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise NotXarfError(f"its {key} is no text")
    return value


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotXarfError(f"its {key} is no object")
    return value
