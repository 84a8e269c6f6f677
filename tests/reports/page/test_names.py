"""Names from strangers on a page."""

from __future__ import annotations

import html
import os
import re

from hypothesis import given
from hypothesis import strategies as st

from hashscan.reports.page.names import label, marked, plain


def test_bytes_that_are_no_text_come_back_whole() -> None:
    name = b"/srv/\xff\xfe\n\xe2\x80\xae.jpg"
    assert os.fsencode(plain(name.decode(errors="replace"), name)) == name
    assert plain("/srv/a", None) == "/srv/a"


def test_what_cannot_be_seen_is_marked() -> None:
    assert label("\n") == r"\n"
    assert label("\x00") == r"\x00"
    assert label("\udcff") == r"\xff"
    assert label("\u202e") == "U+202E"
    assert marked("a\tb") == '<bdi>a<span class="mark">\\t</span>b</bdi>'


@given(st.text(st.characters(codec=None), max_size=40))
def test_nothing_stays_invisible_and_nothing_is_lost(name: str) -> None:
    text = str(marked(name))
    assert not re.search(
        "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]", text
    )
    assert text.encode()
    shown = html.unescape(re.sub("<[^>]*>", "", re.sub('<span class="mark">[^<]*</span>', "", text)))
    assert shown == "".join(character for character in name if character in shown)
    marks = re.findall('<span class="mark">([^<]*)</span>', text)
    assert len(shown) + len(marks) == len(name)
