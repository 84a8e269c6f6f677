from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.settings.file import plain_value, toml_key, toml_text

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


@given(texts, values)
def test_it_is_read_as_what_it_was(key: str, value: Any) -> None:
    text = f"{toml_key(key)} = {toml_text(value)}"
    assert "\n" not in text
    assert tomllib.loads(text) == {key: value}


@given(st.text())
def test_no_terminal_is_commanded(text: str) -> None:
    written = toml_text(text)
    assert written.isprintable()
    tomllib.loads(f"x = {written}")


def test_not_a_number() -> None:
    assert math.isnan(tomllib.loads(f"x = {toml_text(math.nan)}")["x"])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Path("/a"), "/a"),
        (b"/\xff", "/\udcff"),
        ((1, Path("b")), [1, "b"]),
        ({"a": (None, True)}, {"a": [None, True]}),
    ],
)
def test_plain_values(value: Any, plain: Any) -> None:
    assert plain_value(value) == plain
