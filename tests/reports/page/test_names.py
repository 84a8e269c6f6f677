"""Names from strangers as markup."""

from __future__ import annotations

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.page.names import marked, marked_path
from hashscan.reports.page.text import number


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
