"""Web addresses in the text of mails."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.cases.notices.urls import text_of_html, urls_of

LONG = "https://customer.example/" + "a" * 40 + "/bc"


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see https://x.example/a.jpg, and http://y.example.", ["https://x.example/a.jpg", "http://y.example"]),
        ("hxxps://x[.]example/a hXXp://y(.)example/b h**p://z.example", [
            "https://x.example/a", "http://y.example/b", "http://z.example",
        ]),
        ("hxxp[:]//x[dot]example/a[.]jpg", ["http://x.example/a[.]jpg"]),
        ("(https://x.example/a_(1).jpg)", ["https://x.example/a_(1).jpg"]),
        ("<https://x.example/a\n b.jpg> <URL:https://y.example/>", [
            "https://x.example/ab.jpg", "https://y.example/",
        ]),
        ("> > https://x.example/a\n> text", ["https://x.example/a"]),
        (f"{LONG}\nd-e/f.jpg\n", [f"{LONG}d-e/f.jpg"]),
        (f"> {LONG}\n> d-e/f.jpg\n", [f"{LONG}d-e/f.jpg"]),
        (f"{LONG}\nplease", [LONG, f"{LONG}please"]),
        (f"{LONG}\nhttps://y.example/", [LONG, "https://y.example/"]),
        (f"{LONG}\n\nd-e/f.jpg", [LONG]),
        ("https://x.example/a\nd-e/f.jpg", ["https://x.example/a"]),
        ("https://x.example/a https://x.example/a", ["https://x.example/a"]),
        ("https://good.example@evil.example/", ["https://good.example@evil.example/"]),
        ("https://b\u00fccher.example/\u0430", ["https://b\u00fccher.example/\u0430"]),
        ("ftp://x.example/ mailto:a@x.example www.x.example", []),
        ("https://x.example/\u202egpj.exe http://", []),
    ],
)  # fmt: skip
def test_addresses_are_found_as_people_write_them(text: str, urls: list[str]) -> None:
    assert list(urls_of(text)) == urls


def test_a_page_gives_its_text_and_the_targets_of_its_links() -> None:
    page = '<p>See <a href="https://x.example/1">here</a><br>hxxp://y[.]example/2&amp;3<script>"'
    assert list(urls_of(text_of_html(page))) == ["https://x.example/1", "http://y.example/2&3"]


@given(st.text(string.printable + "\u00fc\u202e", max_size=300))
def test_any_text_gives_addresses_that_are_lines(text: str) -> None:
    for url in urls_of(f"https://x.example/{text}"):
        assert url.startswith(("http://", "https://"))
        assert url.isprintable()
        assert " " not in url


@pytest.mark.parametrize(
    "part", ["https://x/" + ")" * 7000, "<http://", "hxxp://x\n", "<" + " " * 99, "http://a "]
)
def test_a_hostile_text_takes_steps_in_proportion_to_its_length(part: str) -> None:
    assert len(list(urls_of(part * (2_000_000 // len(part))))) <= 3
