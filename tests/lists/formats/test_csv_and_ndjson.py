from __future__ import annotations

import csv as stdlib_csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import ListFormatError
from hashscan.lists.formats.csv_and_ndjson import CsvFormat
from hashscan.lists.store import ListStore
from hashscan.model import ALGORITHMS, CATEGORIES, ENTRY_ID_MAX, Entry, ListInfo
from tests.examples import examples
from tests.lists.builders import as_csv, some_entries
from tests.lists.formats.reading import read

HEADER = b"id,algorithm,value,category\n"
MD5 = "0123456789abcdef0123456789abcdef"
LINE = f"a1,md5,{MD5},A1\n".encode()


def error_of(data: bytes) -> ListFormatError | None:
    try:
        for _ in CsvFormat().blocks(io.BytesIO(data), "list.csv"):
            pass
    except ListFormatError as error:
        return error
    return None


PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    ids = draw(
        st.lists(
            st.text(PRINTABLE, min_size=1, max_size=ENTRY_ID_MAX).filter(lambda text: text == text.strip()),
            unique=True,
            max_size=12,
        )
    )
    made = []
    for entry_id in ids:
        algorithm = draw(st.sampled_from(sorted(ALGORITHMS)))
        size = ALGORITHMS[algorithm].size
        value = draw(st.binary(min_size=size, max_size=size))
        if algorithm == "vpdq":
            entry_id = f"{entry_id[:40]}@{len(made)}/12"
        made.append(Entry(entry_id, algorithm, value, draw(st.sampled_from(CATEGORIES))))
    return made


@given(
    entries=entries(),
    columns=st.permutations(["id", "algorithm", "value", "category"]),
    bom=st.booleans(),
    upper=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quote=st.sampled_from([stdlib_csv.QUOTE_ALL, stdlib_csv.QUOTE_MINIMAL]),
    blank=st.booleans(),
)
@settings(deadline=None, max_examples=examples(150))
def test_reads_back_whatever_was_written(
    entries: list[Entry], columns: list[str], bom: bool, upper: bool, line_end: str, quote: int, blank: bool
) -> None:
    out = io.StringIO(newline="")
    writer = stdlib_csv.writer(out, lineterminator=line_end, quoting=quote)
    writer.writerow(columns)
    for entry in entries:
        value = entry.value.hex()
        row = {
            "id": entry.id,
            "algorithm": entry.algorithm,
            "value": value.upper() if upper else value,
            "category": entry.category,
        }
        writer.writerow([row[column] for column in columns])
        if blank:
            out.write(line_end)
    data = out.getvalue().encode("utf-8-sig" if bom else "utf-8")
    assert read("csv", data) == entries


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_give_entries_or_the_one_kind_of_error(data: bytes) -> None:
    for text in (data, HEADER + data, HEADER + LINE + data):
        error = error_of(text)
        if error:
            assert str(error).startswith("list.csv, line ")
            assert str(error).isascii()
            assert str(error).isprintable()
            assert "nothing was imported" in error.remedy


@given(st.data())
@settings(deadline=None)
def test_a_good_file_with_one_byte_changed_never_surprises(data: st.DataObject) -> None:
    good = bytearray(as_csv(some_entries(6)))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    error = error_of(bytes(good))
    assert "list.csv, line " in str(error) if error else len(read("csv", bytes(good))) <= 6


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "header"),
        (b"id,algorithm,value\n", 1, "header"),
        (b"id,algorithm,value,category,note\n", 1, "header"),
        (b"id,id,value,category\n", 1, "header"),
        (b"\n\nnonsense\n", 3, "header"),
        (HEADER + LINE + b"a2,md6,00,A1\n", 3, "unknown algorithm 'md6'"),
        (HEADER + f"a1,md5,{MD5},A9\n".encode(), 2, "unknown category 'A9'"),
        (HEADER + f"a1,md5,{MD5[:-1]},A1\n".encode(), 2, "31 characters"),
        (HEADER + f"a1,md5,{MD5[:-1]}g,A1\n".encode(), 2, "not hexadecimal"),
        (HEADER + f"a1,md5,{MD5[:-2]}  ,A1\n".encode(), 2, "not hexadecimal"),
        (HEADER + f"a1,md5,0x{MD5[:-2]},A1\n".encode(), 2, "not hexadecimal"),
        (HEADER + f"a1,md5,{'٣' * 32},A1\n".encode(), 2, "not hexadecimal"),
        (HEADER + f",md5,{MD5},A1\n".encode(), 2, "can't be an id"),
        (HEADER + f" a,md5,{MD5},A1\n".encode(), 2, "can't be an id"),
        (HEADER + f"{'x' * 65},md5,{MD5},A1\n".encode(), 2, "can't be an id"),
        (HEADER + f"é,md5,{MD5},A1\n".encode(), 2, "can't be an id"),
        (HEADER + f"\x1b[2J,md5,{MD5},A1\n".encode(), 2, r"'\x1b[2J' can't be an id"),
        (HEADER + b"a1,md5\n", 2, "2 fields"),
        (HEADER + LINE + b"a\0b,md5,00,A1\n", 3, "NUL"),
        (HEADER + b"\xff\xfe\n", 2, "not UTF-8"),
        ("id,algorithm,value,category\n".encode("utf-16"), 1, "UTF-16"),
        (HEADER + b"x" * 9000, 2, "longer than"),
        (HEADER + b'"a1' + b"\n" * 20, 2, "no comma-separated values"),
        (HEADER + b'"a1\n' + b"x" * 3000 + b"\n" + b"y" * 3000 + b'",md5,00,A1\n', 2, "runs over the end"),
        (HEADER + b'"' + b"x\n" * 100_000, 2, "no comma-separated values"),
        (HEADER + b'"a1"x,md5,00,A1\n', 2, "no comma-separated values"),
        (HEADER + b"a1,md5,00,A1\ra2,md5,00,A1\n", 2, "no comma-separated values"),
    ],
)
def test_says_which_line_is_wrong_and_how_to_mend_it(data: bytes, line: int, message: str) -> None:
    error = error_of(data)
    assert error is not None
    assert str(error).startswith(f"list.csv, line {line}: ")
    assert message in str(error)
    assert error.remedy.endswith(", then import the file again; nothing was imported.")


def test_never_shows_a_value() -> None:
    error = error_of(HEADER + f"a1,md5,{MD5}99,A1\n".encode())
    assert error is not None
    assert MD5 not in f"{error} {error.remedy}"


def imported(store: ListStore, data: bytes) -> ListInfo:
    return store.import_entries("x", CsvFormat().blocks(io.BytesIO(data), "list.csv"), "list.csv")


def test_an_entry_repeated_word_for_word_is_no_error(store: ListStore) -> None:
    again = LINE.replace(MD5.encode(), MD5.upper().encode())
    assert imported(store, HEADER + LINE + again).entries == 1


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (LINE.replace(b"A1", b"B1"), 3),
        (b"\n" + LINE.replace(b"0123", b"9123", 1), 4),
        (f"b,md5,{MD5},A1\na1,sha1,{MD5}01234567,A1\n".encode(), 4),
    ],
)
def test_different_entries_of_one_id_are_reported_with_their_lines(
    store: ListStore, other: bytes, line: int
) -> None:
    message = f"^list.csv, line {line}: the id 'a1' was given to a different entry on line 2$"
    with pytest.raises(ListFormatError, match=message) as caught:
        imported(store, HEADER + LINE + other)
    assert "nothing was imported" in caught.value.remedy
    assert store.names() == ()


def test_the_later_line_is_blamed_whatever_the_algorithms(store: ListStore) -> None:
    lines = f"x,md5,{MD5},A1\na,sha1,{MD5}01234567,A1\na,md5,{MD5[::-1]},A1\n"
    with pytest.raises(ListFormatError, match=r"line 4: .* line 3$"):
        imported(store, HEADER + lines.encode())


def test_the_first_conflict_of_many_is_named(store: ListStore) -> None:
    lines = [f"id{number},md5,{random.Random(number).randbytes(16).hex()},A1" for number in range(3000)]
    lines += [f"id{number},md5,{MD5},A1" for number in (2999, 5, 17)]
    with pytest.raises(ListFormatError, match=r"line 3002: .* line 3001$"):
        imported(store, HEADER + "\n".join(lines).encode())


def test_entries_stream_before_the_end_is_read() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.lines = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            self.lines += 1
            return HEADER if self.lines == 1 else LINE

    stream = Endless()
    blocks = CsvFormat().blocks(stream, "endless")  # type: ignore[arg-type]
    assert next(blocks).ids[0] == b"a1"
    assert stream.lines < 50_000


def test_the_first_of_several_faults_is_named() -> None:
    error = error_of(HEADER + LINE + b"a2,md5,00,A1\na3,sha1,00,A1\na4,md5\n")
    assert "list.csv, line 3: the value has 2 characters" in str(error)
