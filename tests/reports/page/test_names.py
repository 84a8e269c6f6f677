"""Names from strangers as markup."""

from __future__ import annotations

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.page.names import marked, marked_path


def test_what_cannot_be_seen_is_marked() -> None:
    assert marked("a\tb") == '<bdi>a<span class="mark">\\x09</span>b</bdi>'
    assert (
        marked("\u202e\udcff")
        == '<bdi><span class="mark">\\u202e</span><span class="mark">\\xff</span></bdi>'
    )


def test_paths_break_after_slashes() -> None:
    assert marked_path("/a<b/c") == '<bdi class="path">/<wbr>a&lt;b/<wbr>c</bdi>'


@given(st.text(st.characters(codec=None), max_size=40))
def test_nothing_stays_invisible_and_nothing_is_lost(name: str) -> None:
    for text in map(str, (marked(name), marked_path(name))):
        assert text.isprintable()
        marks = re.findall('<span class="mark">([^<]*)</span>', text)
        shown = html.unescape(re.sub("<[^>]*>", "", re.sub('<span class="mark">[^<]*</span>', "", text)))
        assert shown == "".join(character for character in name if character.isprintable())
        assert len(shown) + len(marks) == len(name)
