"""The page for browsers, in a browser."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from hashscan.registry import REPORT_FORMATS
from hashscan.reports.page.frame import marked_path
from hashscan.reports.report import Report
from hashscan.reports.report_file import convert
from tests.browser import CONTRAST, LAYOUT, barriers, chromium, opened
from tests.reports.documents import HOSTILE, finding, unreadable, written

LONG = "customer-" + "x" * 90
SCHEMES = ("light", "dark")

expect.set_options(timeout=30_000)


def made(folder: Path, name: str, records: list[dict[str, Any]], *, whole: bool = True) -> Path:
    path = folder / f"{name}.html"
    convert(Report(written(folder / f"{name}.jsonl", records, whole=whole)), REPORT_FORMATS["html"], path)
    return path


def of_many(number: int) -> list[dict[str, Any]]:
    """Findings of all kinds, in an order that no column has."""
    return [
        finding(
            b"/var/www/vhosts/customer%d.example/uploads/IMG_%06d.jpg" % (n % 31, n * 7919 % 1_000_003),
            ("match", "review", "held")[n % 3],
            customer=f"customer {n % 31}",
            uid=1000 + n % 17,
            mtime_ns=(1_700_000_000 + n * 104_729 % 80_000_000) * 10**9,
            matches=[
                {"list": f"list{n % 2}", "entry": f"e-{n % 997}", "algorithm": "pdq", "variant": "as stored",
                 "distance": n % 32, "threshold": 31, "category": ("A1", "A2", "B1")[n % 3]}
            ],
        )
        for n in range(number)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    hostile = [finding(path, customer=LONG, because=path.decode(errors="replace")) for path in HOSTILE]
    hostile += [unreadable(path) for path in HOSTILE]
    return {
        "none": made(folder, "none", []),
        "three": made(folder, "three", of_many(3)),
        "some": made(folder, "some", of_many(240)),
        "hostile": made(folder, "hostile", hostile),
        "killed": made(folder, "killed", of_many(3), whole=False),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def column(page: Page, field: str) -> list[str]:
    return page.locator(f"#findings tbody td.{field}").all_text_contents()


def shown(page: Page) -> str:
    return page.locator("#shown").inner_text().replace("\u202f", "")


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('#findings tbody button').forEach(button => button.click())")


def test_names_of_strangers_execute_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["hostile"]) as page:
        open_all(page)
        for button in page.locator("#findings thead button").all():
            button.click()
        page.fill("#text", "<script>")
        expect(page.locator("#shown")).to_contain_text("filtered")
        open_all(page)
        page.select_option("#kind", "=match")
        assert page.locator("#findings img, #findings script, #findings b").count() == 0
        page.pdf()


def test_the_policy_stops_what_is_not_ours(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["three"].as_uri())
    for attempt, wanted in (
        ("document.body.innerHTML = '<b>x</b>'", "TrustedHTML"),
        ("document.body.setAttribute('onclick', 'alert(1)')", "TrustedScript"),
    ):
        with pytest.raises(Error, match=wanted):
            page.evaluate(f"() => {{ {attempt}; }}")
    for attempt, wanted in (
        ("new Image().src = 'https://picture.example/a.png'", "Loading the image"),
        ("document.body.setAttribute('style', 'color: red')", "inline style"),
    ):
        blocked = re.compile(f"{wanted}.*has been blocked", re.DOTALL)
        with page.expect_console_message(lambda message, blocked=blocked: bool(blocked.search(message.text))):
            page.evaluate(f"() => {{ {attempt}; }}")
    page.close()


def test_names_are_marked_as_the_server_marks_them(browser: Browser, tmp_path: Path) -> None:
    odd = "/a/" + "".join(
        map(chr, [*range(1, 0x250), 0x61C, *range(0x2000, 0x2070), 0xFEFF, 0xE0001, 0x1F600])
    )
    names = [odd.encode().replace(b"/a/", b"/a\xff\xc3("), *HOSTILE]
    path = made(tmp_path, "odd", [finding(name) for name in names])
    plain = path.read_text(encoding="utf-8")
    body = plain[plain.index("<tbody>", plain.index('id="findings"')) :]
    expected = re.findall(r'<td class="name"[^>]*>(.*?)</td>', body)
    assert len(expected) == len(names)
    assert str(marked_path("/srv/two\nlines\r\nthree\ttab\x01.jpg")) in expected
    with opened(browser, path) as page:
        there = page.evaluate(
            "[...document.querySelectorAll('#findings tbody td.name')].map(cell => cell.innerHTML)"
        )
    assert [html.unescape(text) for text in there] == [html.unescape(text) for text in expected]


@pytest.mark.slow
def test_every_column_sorts_both_ways(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["some"]) as page:
        page.select_option("#per", "500")
        kinds = ["match", "held", "review"]
        fields = ["name", "customer", "category", "list_name", "entry", "why", "changed", "kind"]
        assert page.locator("#findings thead th[data-field]").count() == len(fields)
        for field in fields:
            order = kinds.index if field == "kind" else str
            head = page.locator(f"#findings thead th.{field}")
            head.locator("button").click()
            if field == "kind" and head.get_attribute("aria-sort") == "descending":
                head.locator("button").click()
            up = column(page, field)
            assert head.get_attribute("aria-sort") == "ascending"
            assert up == sorted(up, key=order)
            assert len(set(up)) > 1
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == "descending"
            assert column(page, field) == sorted(up, key=order, reverse=True)
            assert page.locator("[aria-sort]").count() == 1


@pytest.mark.slow
def test_filters_narrow_and_clear(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["some"]) as page:
        assert shown(page) == "Rows 1 to 100 of 240"
        page.select_option("#kind", "=review")
        assert shown(page) == "Rows 1 to 80 of 80, filtered from 240"
        assert set(column(page, "kind")) == {"review"}
        page.select_option("#list_name", "=list1")
        page.select_option("#customer", "=customer 1")
        page.select_option("#category", "=A2")
        assert set(column(page, "list_name")) == {"list1"}
        assert set(column(page, "customer")) == {"customer 1"}
        assert shown(page) == "Rows 1 to 2 of 2, filtered from 240"
        page.fill("#text", "no such name")
        expect(page.locator("#shown")).to_contain_text("No row")
        page.click("#clear")
        assert shown(page) == "Rows 1 to 100 of 240"
        page.fill("#text", "CUSTOMER5.EXAMPLE")
        expect(page.locator("#shown")).to_contain_text("filtered")
        assert all("customer5.example" in name for name in column(page, "name"))


@pytest.mark.slow
def test_pages_and_details(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["some"]) as page:
        assert page.locator("#back").is_disabled()
        page.click("#on")
        page.click("#on")
        assert shown(page) == "Rows 201 to 240 of 240"
        assert page.locator("#on").is_disabled()
        row = page.locator("#findings tbody tr").first
        button = row.locator("button")
        assert button.get_attribute("aria-expanded") == "false"
        button.click()
        assert button.get_attribute("aria-expanded") == "true"
        assert "entry e-1 of national" in page.locator("#findings tr.details").inner_text()
        button.click()
        assert page.locator("#findings tr.details").count() == 0


def test_choices_are_few_enough_to_choose_from(browser: Browser, tmp_path: Path) -> None:
    owners = ["c0", *(f"c{n}" for n in range(1500))]
    path = made(tmp_path, "owners", [finding(b"/srv/%d" % n, customer=c) for n, c in enumerate(owners)])
    with opened(browser, path) as page:
        choices = page.locator("#customer option").all_text_contents()
        assert len(choices) == 1002
        assert choices[:2] == ["All", "c0 (2)"]
        assert choices[-1].replace("\u202f", "") == "500 others: find them by text"
        assert not page.locator("#kind").is_visible()
        page.fill("#text", "c1499")
        expect(page.locator("#shown")).to_contain_text("filtered")
        assert column(page, "customer") == ["c1499"]


def test_it_can_be_read_without_script(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["some"], java_script_enabled=False) as page:
        assert page.locator("#findings tbody tr").count() == 200
        assert not page.locator("#filters").is_visible()
        assert "The first 200 of 240 rows" in page.locator("#shown").inner_text()


@pytest.mark.slow
def test_it_is_accessible(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["hostile"], bypass_csp=True) as page:
        open_all(page)
        assert barriers(page) == []


def test_nothing_is_cut_and_nothing_overlaps(browser: Browser, pages: dict[str, Path]) -> None:
    for name in ("three", "hostile"):
        with opened(browser, pages[name]) as page:
            open_all(page)
            for width in (320, 1440):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(LAYOUT) == [], (name, width)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_is_cut_at_any_width(browser: Browser, pages: dict[str, Path], scheme: str) -> None:
    for name, path in pages.items():
        with opened(browser, path, color_scheme=scheme) as page:
            open_all(page)
            # Colours alone depend on the scheme.
            widths = (320, 480, 768, 1056, 1057, 1440, 2560)
            for width in widths if scheme == "light" else (320,):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(LAYOUT) == [], (name, width)
            page.emulate_media(media="print")
            page.set_viewport_size({"width": 680, "height": 900})
            assert page.evaluate(LAYOUT) == [], (name, "print")


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1440)])
def test_it_is_accessible_at_any_width(
    browser: Browser, pages: dict[str, Path], scheme: str, width: int
) -> None:
    for path in pages.values():
        window = {"width": width, "height": 900}
        with opened(browser, path, color_scheme=scheme, viewport=window, bypass_csp=True) as page:
            open_all(page)
            assert barriers(page, CONTRAST if scheme == "dark" else ()) == []


@pytest.mark.slow
def test_fifty_thousand_rows_can_be_used(browser: Browser, tmp_path: Path) -> None:
    path = made(tmp_path, "many", of_many(50_001))
    with opened(browser, path) as page:
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            # The heads of columns stay in sight, over rows that are scrolled.
            page.evaluate("scrollTo(0, 0)")
            assert shown(page) == "Rows 1 to 100 of 50000"
            assert page.evaluate(LAYOUT) == []
            page.fill("#text", "customer7.example")
            expect(page.locator("#shown")).to_contain_text("filtered")
            assert shown(page) == "Rows 1 to 100 of 1613, filtered from 50000"
            page.click("#clear")
            page.select_option("#per", "500")
            assert page.evaluate(LAYOUT) == []
            assert page.locator("#findings tbody tr").count() == 500
            page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
            assert page.locator("#findings tbody tr").count() == 2000
            page.evaluate("window.dispatchEvent(new Event('afterprint'))")
            assert page.locator("#findings tbody tr").count() == 500
            page.select_option("#per", "100")
