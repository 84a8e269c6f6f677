"""Tests of settings.file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.settings.file import key_lines, line_of, read_file


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no settings file"):
        read_file(tmp_path / "none.toml", {})


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("workers = 3\n")
    assert read_file(None, {"HASHSCAN_CONFIG": str(file)}) == (file, file.read_text(), {"workers": 3})


@pytest.mark.parametrize("content", [b"workers = ", b"\xff\xfe"])
def test_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "h.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"h\.toml"):
        read_file(file, {})


DOCUMENT = '''# scan = "no"
top = """
[scan]
workers = 3
"""
"quoted.key" = 1  # = 2
a.b . "c" = ["x", [1, 2], { inner = [1,
  2] }]

[ scan ]
exclude = [
  "]", # workers = 1
  'a = b',
]
workers = 4
[[policy]]
action = "held"
[[policy]]
path = """a\\"""b""""
action = 'review'
[policy.more]
x = 1979-05-27 07:32:00
[deep.er.table]
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("top",), 2),
        (("quoted.key",), 6),
        (("a",), 7),
        (("a", "b"), 7),
        (("a", "b", "c"), 7),
        (("scan",), 10),
        (("scan", "exclude"), 11),
        (("scan", "workers"), 15),
        (("policy",), 16),
        (("policy", 0), 16),
        (("policy", 0, "action"), 17),
        (("policy", 1), 18),
        (("policy", 1, "path"), 19),
        (("policy", 1, "action"), 20),
        (("policy", 1, "more"), 21),
        (("policy", 1, "more", "x"), 22),
        (("deep",), 23),
        (("deep", "er", "table"), 23),
    ],
)
def test_lines(place: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(DOCUMENT)
    assert key_lines(DOCUMENT)[place] == line


def test_what_is_within_an_inline_table_stands_where_this_does() -> None:
    lines = key_lines(DOCUMENT)
    assert line_of(lines, ("a", "b", "c", 2, "inner")) == 7
    assert line_of(lines, ("nowhere",)) is None


def test_line_ends_of_other_systems() -> None:
    assert key_lines("a = 1\r\n[t]\r\nb = '''\r\n\r\n'''\r\nc = 1\r\n")["t", "c"] == 6


keys = st.one_of(st.text("ab-_1", min_size=1, max_size=3), st.text(max_size=4))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.one_of(st.integers(-9, 9), st.booleans(), texts, st.lists(texts, max_size=2))
tables = st.dictionaries(keys, scalars, max_size=3)
documents = st.tuples(
    tables, st.dictionaries(keys, st.one_of(tables, st.lists(tables, min_size=1)), max_size=3)
)


def quoted(text: str, style: int) -> str:
    plain = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    if style == 1:
        return f'"""\n{plain}"""'
    if style == 2 and "'" not in text and text.isprintable():
        return f"'{text}'"
    return f'"{plain}"'


def written(value: Any, style: int) -> str:
    if isinstance(value, str):
        return quoted(value, style)
    if isinstance(value, list):
        return "[" + ", # ]\n".join(quoted(one, style) for one in value) + "\n]"
    return str(value).lower()


def lines_of(document: tuple[dict[str, Any], dict[str, Any]], style: int) -> Iterator[tuple[Any, str]]:
    """Places, each with what is written for it."""
    top, rest = document
    for key, value in top.items():
        yield (key,), f"{quoted(key, 0)} = {written(value, style)} # [x]\n"
    for name, table in rest.items():
        rows = table if isinstance(table, list) else [table]
        for number, row in enumerate(rows):
            place = (name, number) if isinstance(table, list) else (name,)
            marks = ("[[", "]]") if isinstance(table, list) else ("[ ", " ]")
            yield place, f"\t{marks[0]}{quoted(name, 0)}{marks[1]}\n"
            for key, value in row.items():
                yield (*place, key), f" {quoted(key, 0)}={written(value, style)}\n\n"


@given(documents, st.integers(0, 2))
def test_every_key_is_found_where_it_was_written(
    document: tuple[dict[str, Any], dict[str, Any]], style: int
) -> None:
    top, rest = document
    text, expected = "", {}
    for place, addition in lines_of((top, {key: rest[key] for key in rest if key not in top}), style):
        expected[place] = text.count("\n") + 1
        text += addition
    tomllib.loads(text)
    found = key_lines(text)
    assert {place: found[place] for place in expected} == expected
