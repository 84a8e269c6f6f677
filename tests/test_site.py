"""The site that Sphinx makes of README, docs/ and others: whole, without other hosts, readable on a phone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import barriers, chromium

pytest.importorskip("furo", reason="of the extra docs")
pytest.importorskip("myst_parser", reason="of the extra docs")

ROOT = Path(__file__).parents[1]
START = "docs/index.html"
PHONE = 360
"""Width of a small phone's window, in CSS pixels."""

pytestmark = pytest.mark.slow


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Make the site, with each warning an error."""
    options = ("--quiet", "--fail-on-warning", "--keep-going", "--jobs", "2", "-d", f"{site}.cache")
    command = [sys.executable, "-m", "sphinx", *options, "-c", ROOT / "docs", source, site]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


class Fetched(HTMLParser):
    """Collects what a browser fetches for a page, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        where = self.links if tag == "a" else self.urls
        where.extend(
            value for key in ("href", "src", "srcset", "action", "data") if (value := values.get(key))
        )


def pages(site: Path) -> Iterator[Path]:
    """Yield all pages but the first, which leads to `START`."""
    yield from (
        page
        for page in site.rglob("*.html")
        if page != site / "index.html" and page.parent != site / "_static"
    )


def test_every_page_of_the_documentation_is_there(site: Path) -> None:
    for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "SECURITY.md"]:
        assert (site / page.relative_to(ROOT)).with_suffix(".html").is_file(), page


def test_nothing_comes_from_another_host(site: Path) -> None:
    for page in pages(site):
        assert not [url for url in Fetched(page).urls if re.match(r"(?:\w+:)?//", url)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:\w+:)?//", sheet.read_text(encoding="utf-8")), (
            sheet
        )


def test_every_link_leads_to_a_place_of_the_site(site: Path) -> None:
    """Also those in raw HTML, of which Sphinx knows nothing."""
    for page in pages(site):
        for link in Fetched(page).links:
            if re.match(r"\w+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.is_file(), f"{page}: {link}"
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), f"{page}: {link}"


def test_pages_fit_a_phone_and_keep_nobody_out_and_the_search_finds_them(site: Path) -> None:
    """From the disk, without a server and without a network."""
    with chromium() as browser:
        context = browser.new_context(viewport={"width": PHONE, "height": 640})
        requests: list[str] = []
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        for path in pages(site):
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, path
            assert barriers(page) == [], path
        page.goto((site / "index.html").as_uri())
        page.wait_for_url((site / START).as_uri())
        page.fill("input[name=q]", "quarantine")
        page.press("input[name=q]", "Enter")
        page.wait_for_selector("#search-results li a[href*='docs/quarantine.html']")
        assert not [url for url in requests if not url.startswith(("file:", "data:"))]
        context.close()


def test_a_wrong_link_a_wrong_anchor_and_a_page_outside_the_navigation_fail(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Start\n\n## Task\n\n- [one](one.md): text\n")
    (tmp_path / "docs" / "one.md").write_text("# One\n\n[page](missing.md) [anchor](index.md#missing)\n")
    (tmp_path / "docs" / "two.md").write_text("# Two\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert sorted(re.findall(r"(\w+)\.md[:\d]*: WARNING: .*\[([\w.]+)\]", done.stderr)) == [
        ("one", "myst.xref_missing"),
        ("one", "myst.xref_missing"),
        ("two", "toc.not_included"),
    ]
