from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hashscan.errors import EXIT_MEANINGS
from hashscan.reports.markdown import FINDINGS_SHOWN, Markdown
from hashscan.reports.records import line_of
from hashscan.reports.report import Report
from hashscan.text import printable
from tests.reports.documents import HOSTILE, SCAN, finding, summary, unreadable, written
from tests.shortcomings import shortcoming

OURS = {"h2", "h3", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}


class Page(HTMLParser):
    """The tags of a page, and the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        assert attrs == []
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def document(path: Path) -> str:
    stream = io.BytesIO()
    Markdown().write(Report(path), stream)
    return stream.getvalue().decode("ascii")


def page(path: Path) -> Page:
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(document(path)))


def test_counts_findings_and_reasons(tmp_path: Path) -> None:
    records = [finding(b"/srv/a", customer="ada"), finding(b"/srv/b", "held"), unreadable(b"/srv/c")]
    path = written(tmp_path / "r.jsonl", records)
    rows = page(path).rows
    assert document(path).startswith("## hashscan: 1 match, 1 held match\n")
    assert f"Exit code 1: {EXIT_MEANINGS[1]}." in document(path)
    for row in (["match", "1"], ["unreadable", "1"], ["clean", "10"], ["A1", "2"], ["ada", "1"],
                ["(not known)", "1"], ["match", "A1", "ada", "/srv/a", "entry e-1 of national"],
                ["unreadable", "permission denied", "1"]):  # fmt: skip
        assert row in rows
    assert ["skipped", "0"] not in rows


def test_nothing_found(tmp_path: Path) -> None:
    text = document(written(tmp_path / "r.jsonl", []))
    assert text.startswith("## hashscan: nothing found\n")
    assert "Findings" not in text


def test_what_is_not_whole_says_so(tmp_path: Path) -> None:
    killed = document(written(tmp_path / "k.jsonl", [finding(b"/a")], whole=False))
    assert "It was killed." in killed
    assert "Not everything was checked" in killed
    path = tmp_path / "r.jsonl"
    short = [shortcoming(f"- {number}) folders") for number in range(25)]
    path.write_bytes(line_of(SCAN) + line_of(summary([], incomplete=short, exit_code=3)))
    text = document(path)
    assert "- and 5 more" in text
    assert page(path).tags <= OURS


def test_test_entries_say_nothing_about_real_material(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records = [finding(b"/a"), finding(b"/b")]
    for further, message in (
        ({"only_test_entries": True, "test_findings": 2}, "only test entries"),
        ({"test_findings": 1}, "findings by test entries only&#58; 1"),
    ):
        path.write_bytes(b"".join(map(line_of, [SCAN, *records, summary(records, **further)])))
        text = document(path)
        assert text.startswith("## hashscan: 2 matches\n")
        assert message in text
    assert "Note:" not in document(written(path, records))


def test_many_findings_of_the_longest_names_fit_into_a_summary(tmp_path: Path) -> None:
    name = ("/" + "\U0001f600" * 2000).encode()
    hostile = "\U0001f600" * 4000
    records = [finding(name, customer=f"{n}{hostile}", because=hostile) for n in range(FINDINGS_SHOWN + 5)]
    text = document(written(tmp_path / "r.jsonl", records))
    assert f"the first {FINDINGS_SHOWN} of {FINDINGS_SHOWN + 5}" in text
    assert len(text) < 1 << 20


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name: bytes, tmp_path: Path) -> None:
    made = page(written(tmp_path / "r.jsonl", [finding(name, customer=name.decode(errors="replace"))]))
    assert made.tags <= OURS
    shown = made.rows[-1][3]
    whole = printable(name.decode(errors="surrogateescape"))
    assert shown == whole or (len(shown) == 200 and "…" in shown)


@given(
    st.text(max_size=12)
    | st.lists(
        st.sampled_from(
            ["|", "`", "<b>", "\n", "[x](y)", "https://x.example", "www.x.example", "@team", "#1", "&lt;",
             "\\", "*", "_", "~~", "- ", "1. ", "# ", "> ", "$x$", ":smile:", "\u202e", "a"]
        ),
        max_size=4,
    ).map("".join)
)  # fmt: skip
def test_any_name_is_text(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    record = finding(b"/" + name.encode("utf-8", "surrogatepass"), because=name, customer=name)
    path = written(tmp_path_factory.mktemp("markdown") / "r.jsonl", [record], whole=False)
    made = page(path)
    assert made.tags <= OURS
    *_, file, because = made.rows[-1]
    assert because.strip() == printable(name).strip()
    assert file.startswith("/")
    raw = document(path).lower()
    for meant in ("https:", "www", "@", ":smile"):
        assert meant not in raw
