"""JSON from others is decoded strictly, and encoded so that a terminal shows nothing but text."""

from __future__ import annotations

import json
import subprocess
import sys
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from hashscan.schema import NEST_MAX, InvalidDocumentError, decode_json, encode_json, validated

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**200), 10**200) | st.text(st.characters(exclude_categories=()), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def standard(data: bytes) -> Any:
    def refuse(text: str) -> None:
        raise ValueError(text)

    def finite(text: str) -> float:
        number = float(text)
        if not isfinite(number):
            raise ValueError(text)
        return number

    return json.loads(data.decode(), parse_constant=refuse, parse_float=finite)


@given(VALUES)
def test_a_value_comes_back_from_printable_ascii(value: Any) -> None:
    line = encode_json(value)
    assert line.isascii()
    assert line.decode("ascii").isprintable()
    assert decode_json(line) == value == json.loads(line)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_the_standard_library_reads_the_same(value: Any, ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(errors="surrogatepass")
    try:
        expected = standard(data)
    except UnicodeDecodeError:
        with pytest.raises(InvalidDocumentError):
            decode_json(data)
    else:
        assert decode_json(data) == expected


@given(VALUES, st.data())
def test_any_bytes_are_read_as_by_the_standard_library(value: Any, data: st.DataObject) -> None:
    document = encode_json(value)
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, len(document)))
    document = document[:start] + data.draw(st.binary(max_size=4)) + document[end:]
    try:
        expected = standard(document)
    except ValueError:
        with pytest.raises(InvalidDocumentError):
            decode_json(document)
    else:
        assert decode_json(document) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 5000,
        b"\xff",
        b"\xef\xbb\xbf1",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (NEST_MAX + 1) + b"]" * (NEST_MAX + 1),
        b'"\\ud800" NaN',
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        decode_json(data)


class _Strict(Struct, forbid_unknown_fields=True):
    name: str


@pytest.mark.parametrize(
    "value",
    [
        {"name": 7},
        {"name": "n", "\x1b\u202e" * 200: 1},
        {"name": "n", "key - at $" + "\x1b\u202e" * 200: 1},
        [],
        None,
    ],
)
def test_an_error_is_short_and_printable(value: object) -> None:
    with pytest.raises(InvalidDocumentError) as refused:
        validated(value, _Strict)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_an_error_names_the_field() -> None:
    with pytest.raises(InvalidDocumentError, match=r"^\[1\]\.name: Expected str, got int$"):
        validated([{"name": "n"}, {"name": 7}], list[_Strict])


def test_of_a_key_that_occurs_twice_the_last_value_counts() -> None:
    assert decode_json(b'{"a":"x","a":1}') == {"a": 1}
    assert decode_json(b"[" * NEST_MAX + b"]" * NEST_MAX)


_IN_THREADS = """
import sys
from threading import Barrier, Thread
from msgspec import Struct, defstruct
from hashscan.schema import validated

sys.setswitchinterval(1e-6)
barrier = Barrier(4)

def work(shape):
    barrier.wait()
    validated({"inner": [{"number": 1}] * 3}, shape)

for _ in range(400):
    inner = defstruct("Inner", [("number", int), ("text", str, "")])
    shape = defstruct("Outer", [("inner", tuple[inner, ...]), ("text", str, "")])
    threads = [Thread(target=work, args=(shape,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_may_use_a_type_for_the_first_time_together() -> None:
    """msgspec alone crashes the process."""
    done = subprocess.run([sys.executable, "-c", _IN_THREADS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
