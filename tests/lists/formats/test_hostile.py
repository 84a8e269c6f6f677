"""Every list format with files that are malformed or endless."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from hashscan.errors import ListFormatError
from hashscan.lists.store import ListStore
from hashscan.registry import LIST_FORMATS
from tests.examples import quick_first
from tests.lists.formats.examples import EXAMPLES, MD5
from tests.lists.formats.reading import new, read

MIB = 1 << 20


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("list", data)
    return out.getvalue()


def refused(name: str, stream: Any) -> ListFormatError:
    with pytest.raises(ListFormatError) as caught:
        for _ in new(name).blocks(stream, "file"):
            pass
    assert "nothing was imported" in caught.value.remedy
    return caught.value


@pytest.mark.parametrize("name", LIST_FORMATS)
@pytest.mark.parametrize(
    ("pack", "message", "command"),
    [
        (gzip.compress, "gzip", "gunzip"),
        (bz2.compress, "bzip2", "bunzip2"),
        (lzma.compress, "xz", "unxz"),
        (zipped, "zip", "unzip"),
    ],
)
def test_a_compressed_file_is_reported(
    name: str, pack: Callable[[bytes], bytes], message: str, command: str
) -> None:
    error = refused(name, io.BytesIO(pack(EXAMPLES[name].good[0][0].encode())))
    assert str(error) == f"file, {LIST_FORMATS[name].unit} 1: the file is compressed with {message}"
    assert f"`{command}`" in error.remedy


@pytest.mark.parametrize("name", LIST_FORMATS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_reported(name: str, encoding: str) -> None:
    text = EXAMPLES[name].good[0][0]
    if name == "ncmec" and encoding != "utf-32":
        # XML's parser sees it.
        assert read(name, text.encode(encoding)) == read(name, text.encode())
        return
    error = refused(name, io.BytesIO(text.encode(encoding)))
    assert str(error).startswith(f"file, {LIST_FORMATS[name].unit} 1: ")
    assert name == "ncmec" or "Save the file as UTF-8" in error.remedy


@pytest.mark.parametrize("name", LIST_FORMATS)
def test_a_nul_amid_an_entry_is_refused(name: str) -> None:
    text = EXAMPLES[name].good[0][0].encode()
    at = text.index(b"123456")
    refused(name, io.BytesIO(text[:at] + b"\0" + text[at:]))


class Endless(io.RawIOBase):
    """A beginning, then the same for ever."""

    def __init__(self, beginning: bytes, again: bytes) -> None:
        self._left = beginning
        self._again = again * (MIB // len(again))
        self.served = 0

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            self._left = self._again
        data, self._left = self._left[:size], self._left[size:]
        self.served += len(data)
        assert self.served < 64 * MIB, "it reads on and on"
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        data = b""
        while len(data) < size and not data.endswith(b"\n"):
            data += self.read(1 if b"\n" in self._left[:size] else size - len(data))
        return data


CSV = b"id,algorithm,value,category\n"
VICS = b'{"@odata.context":"x#Media","value":['
NCMEC = b"<queryResult><images>"
ENDLESS = [
    *((name, b"", b"a") for name in LIST_FORMATS),
    *((name, b"", b"\n") for name in ("vics", "stopncii")),
    ("csv", CSV, b"a"),
    ("csv", CSV + b'"', b"a"),
    ("csv", CSV, b","),
    ("csv", CSV, b"a" * 3000 + b",md5,00,A1\n"),
    ("csv", CSV, b"a,md5," + b"0" * 8000 + b",A1\n"),
    ("csv", CSV, b"a," + b"m" * 8000 + b",00,A1\n"),
    ("csv", CSV, b"a,md5," + MD5.encode() + b"," + b"A" * 8000 + b"\n"),
    ("ndjson", b'{"id":"', b"a"),
    ("ndjson", b"", b"["),
    ("pdq", b"hash,file\n", b"0" * 8000 + b",f\n"),
    ("vics", VICS, b" "),
    ("vics", VICS, b"9"),
    ("vics", VICS + b'{"MediaID":', b"9"),
    ("vics", VICS + b'{"MD5":"', b"0"),
    ("vics", VICS + b'{"x":[', b"{},"),
    ("vics", VICS, b"["),
    ("vics", VICS, b'{"Category":1,"MD5":"' + b"0" * (MIB // 2) + b'"},'),
    ("vics", b"{", b'"a":1,'),
    ("stopncii", b'{"hashRecords":[{"hashValue":"', b"0"),
    ("ncmec", NCMEC, b" "),
    ("ncmec", NCMEC, b"<a>"),
    ("ncmec", NCMEC + b"<image><id>", b"0"),
    ("ncmec", NCMEC + b'<image id="', b"0"),
    ("ncmec", NCMEC + b"<!--", b"-"),
    ("ncmec", b"<", b"a"),
    ("ncmec", NCMEC + b"<image>", b"<fingerprints/>"),
]


@pytest.mark.parametrize(("name", "beginning", "again"), quick_first(ENDLESS, 14))
def test_what_never_ends_is_refused_in_bounded_memory(name: str, beginning: bytes, again: bytes) -> None:
    stream = Endless(beginning, again)
    tracemalloc.start()
    try:
        error = refused(name, stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "file, " in str(error)
    assert peak < 140 * MIB


@pytest.mark.parametrize("number", ["9" * 18, "9" * 400, "9" * 6_000, "-1", "1.5", "1e400", "-1e999999999"])
@pytest.mark.parametrize("key", ["MediaID", "Category", "MediaSize", "MD5"])
def test_odd_numbers(key: str, number: str) -> None:
    values = {"MediaSize": "1", "MediaID": "7", "Category": "1", "MD5": f'"{MD5}"', key: number}
    medium = ",".join(f'"{name}":{value}' for name, value in values.items())
    document = VICS + b"{" + medium.encode() + b"}]}"
    whole = number.lstrip("-").isdigit() and len(number) < 20
    if (key == "MediaSize" and len(number) < 20 and "e" not in number) or (
        key in ("MediaID", "Category") and whole
    ):
        (entry,) = read("vics", document)
        assert entry.category == ("other" if key == "Category" else "baseline")
    else:
        assert str(refused("vics", io.BytesIO(document))).startswith("file, record 1: ")


@pytest.mark.parametrize("name", LIST_FORMATS)
def test_a_file_that_can_not_be_read_to_its_end_is_reported(name: str) -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    error = refused(name, io.BufferedReader(Failing()))
    assert str(error) == "file can't be read: Input/output error"


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, e in EXAMPLES.items() for text, kinds in e.good if not kinds]
)
def test_a_list_without_entries_is_refused(store: ListStore, name: str, text: str) -> None:
    with pytest.raises(ListFormatError, match=r"^file: no entries$") as caught:
        store.import_entries("one", new(name).blocks(io.BytesIO(text.encode()), "file"), "file")
    assert "the file you mean" in caught.value.remedy
    assert store.names() == ()


@pytest.mark.slow
def test_one_bad_line_in_a_million_imports_nothing(store: ListStore) -> None:
    lines = [b"%064x,f" % number for number in range(1_000_000)]
    lines[876_543] = b"%063x,f" % 1
    stream = io.BytesIO(b"\n".join(lines))
    with pytest.raises(ListFormatError, match=r"^file, line 876544: the value has 63 characters"):
        store.import_entries("one", new("pdq").blocks(stream, "file"), "file")
    assert store.names() == ()


def test_a_list_given_twice_over_is_taken_in_once(store: ListStore) -> None:
    lines = [f"e{n},md5,{random.Random(n).randbytes(16).hex()},A1\n".encode() for n in range(40_000)]
    stream = io.BytesIO(CSV + b"".join(lines) + b"".join(reversed(lines)))
    assert store.import_entries("one", new("csv").blocks(stream, "file"), "file").entries == 40_000
