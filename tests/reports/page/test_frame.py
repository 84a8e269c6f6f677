"""The frame: strict policy, escaping, and pieces that come as they are made."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from hashscan.reports.page.frame import Page

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
