"""Tests of reports.page.frame."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from hashscan.reports.page.frame import Page, duration, format_bytes, marked, marked_path, number

TEMPLATE = """{% extends "frame.html" %}
{% block main %}<h1>{{ title }}</h1>{% for row in rows %}<p>{{ row|name }}</p>{% endfor %}{% endblock %}
"""


@pytest.fixture
def page(tmp_path: Path) -> Page:
    (tmp_path / "own.html").write_text(TEMPLATE)
    (tmp_path / "own.css").write_text("p { color: var(--ink) }\n")
    (tmp_path / "own.js").write_text('"use strict";\n')
    return Page(tmp_path, "own.html", styles=("own.css",), scripts=("own.js",))


def source(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def test_the_policy_allows_what_is_there_and_nothing_else(page: Page) -> None:
    text = b"".join(page.parts(title="T", rows=[])).decode()
    found = re.search('Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    policy = dict(part.split(" ", 1) for part in found[1].replace("&#39;", "'").split("; "))
    styles = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    scripts = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    assert len(styles) == 2
    assert len(scripts) == 1
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == " ".join(map(source, styles))
    assert policy["script-src"] == " ".join(map(source, scripts))
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert "style=" not in text
    assert "http:" not in text
    assert "https:" not in text


def test_what_comes_from_outside_is_escaped(page: Page) -> None:
    hostile = "</script><script>alert(1)</script>&\"'\x1b[31m\u202egpj"
    text = b"".join(page.parts(title=hostile, rows=[hostile])).decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    main = text[text.index("<p>") :]
    assert "\x1b" not in main
    assert "\u202e" not in main
    assert '<span class="mark">\\u202e</span>' in main


def test_a_page_is_written_while_its_rows_are_made(page: Page) -> None:
    asked = 0

    def rows() -> Iterator[str]:
        nonlocal asked
        for asked in range(10_000):
            yield f"row {asked}"

    for part in page.parts(title="T", rows=rows()):
        if b"row" in part:
            break
    assert asked < 100


def test_what_a_template_asks_for_must_be_given(page: Page) -> None:
    with pytest.raises(UndefinedError):
        b"".join(page.parts(title="T"))


def test_what_cannot_be_seen_is_marked() -> None:
    assert marked("a\tb") == '<bdi>a<span class="mark">\\x09</span>b</bdi>'
    assert (
        marked("\u202e\udcff")
        == '<bdi><span class="mark">\\u202e</span><span class="mark">\\xff</span></bdi>'
    )


def test_our_own_numbers_are_not_marked_and_odd_spaces_in_paths_are() -> None:
    assert marked(f"{number(1000)} files") == "<bdi>1\u202f000 files</bdi>"
    assert '<span class="mark">\\u202f</span>' in marked_path("/1\u202f000")


def test_paths_break_after_slashes() -> None:
    assert marked_path("/a<b/c") == '<bdi class="path">/<wbr>a&lt;b/<wbr>c</bdi>'


@given(st.text(st.characters(codec=None), max_size=40))
def test_nothing_stays_invisible_and_nothing_is_lost(name: str) -> None:
    name = name.translate({0xA0: "a", 0x202F: "b"})
    for text in map(str, (marked(name), marked_path(name))):
        assert text.isprintable()
        marks = re.findall('<span class="mark">([^<]*)</span>', text)
        shown = html.unescape(re.sub("<[^>]*>", "", re.sub('<span class="mark">[^<]*</span>', "", text)))
        assert shown == "".join(character for character in name if character.isprintable())
        assert len(shown) + len(marks) == len(name)


def test_thousands_are_apart() -> None:
    assert number(1234567) == "1\u202f234\u202f567"
    assert number(0) == "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1048575, "1 MiB"),
        (1 << 40, "1 TiB"),
        (1 << 62, "4096 PiB"),
    ],
)
def test_bytes(value: int, text: str) -> None:
    assert format_bytes(value).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.407, "0.4 s"), (59.9, "1 min 0 s"), (42.0, "42 s"), (3725, "1 h 2 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
