"""Parses the objects of an array in a JSON document of any length one at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson
import numpy as np

from hashscan.lists.formats.beginning import refuse_not_utf8
from hashscan.lists.formats.text import BOM
from hashscan.lists.raw_entries import LineError

_CHUNK = 1 << 16
_DEPTH_MAX = 64
"""Largest depth. ijson keeps the path of every level: for nested brackets, memory would grow with the square
of their number.
"""
_RECORD_MAX = 4 << 20
"""Largest number of bytes without a complete object; as objects they can take thirty times as much memory."""
_PLAIN = bytes(set(range(256)) - set(b'"[]{}'))
"""All bytes that neither change the depth nor begin or end a string."""
_MEND = "Get the whole file anew from its supplier"


class JsonItems:
    """The objects of one array, counted from 1."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the beginning of `stream`; a byte order mark is skipped.

        Raises:
            LineError: the stream is not text.
        """
        head = stream.read(_CHUNK)
        refuse_not_utf8(head)
        self.head = head.removeprefix(BOM)
        self._source = stream
        self._reader = _LimitedStream(self.head, stream)

    def before(self, array: str) -> dict[str, Any]:
        """Return the scalar members before the member `array`, within the first 64 KiB."""
        found: dict[str, Any] = {}
        depth, key = 0, ""
        try:
            for kind, value in ijson.basic_parse(_LimitedStream(self.head, None), use_float=True):
                if kind == "map_key" and depth == 1:
                    key = value
                    if key == array:
                        break
                elif kind in ("start_map", "start_array"):
                    depth += 1
                elif kind in ("end_map", "end_array"):
                    depth -= 1
                elif depth == 1:
                    found[key] = value
        except (_UnreadableError, ijson.JSONError, ValueError, OverflowError):
            # The same bytes are read again for the objects; the error is then reported with its position.
            pass
        return found

    def objects(self, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and value of each object at `path`, in ijson's notation.

        Raises:
            LineError: the document is not JSON or too deep, or the array contains something else.
        """
        number = 0
        reader = self._reader
        items = ijson.items(reader, path, use_float=True, buf_size=_CHUNK)
        try:
            for item in items:
                number += 1
                reader.passed = 0
                if not isinstance(item, dict):
                    raise LineError(number, "not an object", _MEND)
                yield number, item
        except _UnreadableError as error:
            raise LineError(number + 1, error.args[0], _MEND) from error
        except (ijson.JSONError, ValueError, OverflowError) as error:
            # The parser's message quotes the document, and so values.
            problem = "not JSON from here on, cut short, or with a number too large"
            raise LineError(number + 1, problem, _MEND) from error


class _UnreadableError(Exception):
    """The rest of the document can't be read; the message says why."""


class _LimitedStream:
    """A stream that refuses deep nesting and endless records before the parser sees them."""

    def __init__(self, head: bytes, rest: BinaryIO | None) -> None:
        self._head = head
        self._rest = rest
        self._depth = 0
        self._in_string = False
        self._half_escape = b""
        self.passed = 0

    def read(self, size: int = _CHUNK) -> bytes:
        """Return the next bytes; a size of 0 returns none."""
        if size == 0:
            return b""
        data, self._head = self._head, b""
        if not data and self._rest is not None:
            data = self._rest.read(_CHUNK)
        self.passed += len(data)
        if self.passed > _RECORD_MAX:
            raise _UnreadableError(f"a record of more than {_RECORD_MAX >> 20} MiB")
        self._look_at(data)
        return data

    def _look_at(self, data: bytes) -> None:
        """Follow the depth of brackets outside of strings."""
        text = self._half_escape + data
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self._half_escape = b"\\" if backslashes % 2 else b""
        if b"\\" in text:
            text = text[: len(text) - backslashes].replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = text.translate(None, _PLAIN)
        # Two adjacent quotes can be dropped: what follows them is inside or outside of a string as before.
        pieces = marks.replace(b'""', b"").split(b'"')
        outside = np.frombuffer(b"".join(pieces[self._in_string :: 2]), dtype=np.uint8)
        self._in_string ^= len(pieces) % 2 == 0
        # The characters of both kinds of brackets differ in the same bit, 0x20.
        folded = outside | 0x20
        steps = (folded == 0x7B).astype(np.int64) - (folded == 0x7D)
        levels = self._depth + np.cumsum(steps)
        if levels.size:
            self._depth = int(levels[-1])
            if int(levels.max()) > _DEPTH_MAX:
                raise _UnreadableError(f"nested more than {_DEPTH_MAX} deep")
