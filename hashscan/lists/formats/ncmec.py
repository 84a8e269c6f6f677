"""NCMEC's hash-sharing documents, XML, version 2.

`queryResult > images|videos > image|video > member@id, id, classification, fingerprints`. The
classifications A1, A2, B1 and B2 keep their names, any other becomes `other`. deletedImage and deletedVideo
are not entries. Only a document without a document type is read: entities, internal or external, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from hashscan.lists.formats.base import ListFormat, id_stem
from hashscan.lists.formats.text import LineError, RawEntry, read_photodna, refuse_compressed

CLASSIFICATIONS = frozenset({"A1", "A2", "B1", "B2"})
"""Classifications that keep their names as our categories."""
_MEDIA = frozenset({"image", "video"})
_DELETED = frozenset({"deletedImage", "deletedVideo"})
ALGORITHM_NAMES = {name: name for name in ("md5", "sha1", "sha256", "sha512", "pdq", "photodna")} | {
    "pdna": "photodna"
}
"""Names of algorithms by NCMEC's, in lower case."""
_DEPTH_MAX = 32
_CHUNK = 1 << 16
_ELEMENTS_MAX = 10_000
_RECORD_MAX = 4 << 20
"""Largest number of elements, and of bytes, without a complete picture or video."""
_MEND = "Get the document anew from its supplier"


class NcmecFormat(ListFormat):
    """Pictures and videos of a query result; ids are `member/id:algorithm`."""

    name = "ncmec"
    unit = "record"

    def _raw_entries(self, stream: BinaryIO) -> Iterator[RawEntry]:
        number = 0
        for element in _records(stream):
            number += 1
            if _tag(element) in _DELETED:
                self.left_out["deleted"] += 1
                continue
            yield from self._entries(number, element)

    def _entries(self, number: int, element: Element) -> Iterator[RawEntry]:
        parts = {_tag(child): child for child in element}
        fingerprints = parts.get("fingerprints")
        given = (parts["id"].text or "").strip() if "id" in parts else ""
        member = parts["member"].get("id", "") if "member" in parts else ""
        if not given or not member:
            raise LineError(number, "without an id, or without a member's", _MEND)
        stem = id_stem(f"{member}/{given}")
        classification = (parts["classification"].text or "").strip() if "classification" in parts else ""
        category = classification if classification in CLASSIFICATIONS else "other"
        for fingerprint in fingerprints if fingerprints is not None else ():
            value = (fingerprint.text or "").strip()
            algorithm = ALGORITHM_NAMES.get(_tag(fingerprint).lower())
            if algorithm is None:
                self.left_out["of an algorithm that hashscan doesn't know"] += 1
            elif value:
                if algorithm == "photodna":
                    try:
                        algorithm, value = read_photodna(value)
                    except ValueError as error:
                        raise LineError(number, "the photodna can't be read", _MEND) from error
                yield number, f"{stem}:{algorithm}", algorithm, value, category


def _records(stream: BinaryIO) -> Iterator[Element]:
    """Yield the finished elements of pictures and videos; finished elements are freed."""
    source = _Guarded(stream)
    path: list[Element] = []
    passed = 0
    try:
        for event, element in iterparse(
            source, events=("start", "end"), forbid_dtd=True, forbid_entities=True, forbid_external=True
        ):
            if event == "start":
                path.append(element)
                passed += 1
                if len(path) == 1 and _tag(element) != "queryResult":
                    raise LineError(1, "the document is no queryResult", "Name a hash-sharing document")
                if len(path) > _DEPTH_MAX or passed > _ELEMENTS_MAX:
                    raise LineError(source.records + 1, "nested too deep, or a record without end", _MEND)
                continue
            path.pop()
            if len(path) == 2 and _tag(element) in _MEDIA | _DELETED:
                source.records += 1
                yield element
            if len(path) <= 2:
                passed = source.passed = 0
                element.clear()
                if path:
                    path[-1].remove(element)
    except DefusedXmlException as error:
        mend = "Ask its supplier for a document without them"
        raise LineError(source.records + 1, "it has a document type or entities", mend) from error
    except (ParseError, ValueError, LookupError) as error:
        raise LineError(source.records + 1, "not XML from here on, or cut short", _MEND) from error


class _Guarded:
    """A stream that refuses endless records before the parser, which buffers whole records, has read them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._begun = False
        self.records = 0
        self.passed = 0

    def read(self, size: int = _CHUNK, /) -> bytes:
        data = self._stream.read(size)
        if not self._begun:
            refuse_compressed(data)
            self._begun = True
        self.passed += len(data)
        if self.passed > _RECORD_MAX:
            raise LineError(self.records + 1, f"a record of more than {_RECORD_MAX >> 20} MiB", _MEND)
        return data


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
