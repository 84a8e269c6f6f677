"""Read the texts and attributes of a document of XML, as a parser of XML reads them.

Comments, CDATA sections, prefixes, encodings and the entities of the document's own DTD make no difference
then. Nothing outside of the document is read. It ends where the document is not well-formed, as in browsers.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from hashscan.hashing.archives.openers import READ_MAX
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.recognition.text_proof import is_begin_of_file
from hashscan.model import Reason

_FILES = frozenset({"binary-data", "binaryData", "binData", "binary"})
"""Local names of elements that hold a file: of OpenDocument and Office in one file, and of FictionBook."""
_LEAST, _BEGIN = 128, 4096
_CODED = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")


class _Reader:
    """The texts of a document, while it is parsed."""

    def __init__(self) -> None:
        self._left = READ_MAX
        self._open: list[tuple[str, list[str]]] = []
        self.found: list[str] = []

    def begin(self, name: str, attributes: list[str]) -> None:
        for value in attributes[1::2]:
            self._take(value)
            self.found.append(f'"{value}"')
        self._open.append((name.rpartition(":")[2], []))

    def text(self, data: str) -> None:
        self._take(data)
        if self._open:
            self._open[-1][1].append(data)

    def end(self, _name: str) -> None:
        self.close()

    def close(self) -> None:
        """End the innermost element that is open."""
        name, texts = self._open.pop()
        text = "".join(texts)
        if text:
            self.found.append(f"<binary>{text}</binary>" if name in _FILES or _is_file(text) else f'"{text}"')

    def rest(self) -> None:
        """End all elements, where the document does not."""
        while self._open:
            self.close()

    def _take(self, data: str) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise ContainerError(Reason.CONTAINER_BYTES)


def _is_file(text: str) -> bool:
    """Return True for a text that may be a file as Base64, in lines of any length."""
    if len(text) < _LEAST or _CODED.fullmatch(text) is None:
        return False
    return is_begin_of_file("".join(text[:_BEGIN].split()).encode(), 0)


def xml_texts(content: bytes) -> bytes:
    """Return all values of attributes and texts of elements in quotes, one a line; the text of an element
    that holds a file is in the element `binary`. With its entities expanded, it may be no longer than
    `READ_MAX`."""
    reader = _Reader()
    parser = expat.ParserCreate()
    # Not buffered: at a fault, the buffer would be lost.
    parser.buffer_text = False
    parser.ordered_attributes = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError):
        # What comes before the fault is shown.
        reader.rest()
    return "\n".join(reader.found).encode("utf-8", "replace")
