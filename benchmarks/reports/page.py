"""Time the HTML report in Chromium, beside a plain page that has all rows in its markup.

    python -m benchmarks.reports.page [--findings N] [--repeats N] [--shots FOLDER]

Run it with the Python that has hashscan and its test extra. The record is made as in documents.py. In each
round both pages are opened anew; then the report's table is filtered by text (without the pause in which a
person types on) and by category, sorted by each column both ways, turned to the next page, and printed. Each
time ends when the browser has laid out what it shows. Prints the median, least and most of each in
milliseconds. With --shots, pictures of the page are left there: wide and narrow, light and dark, and what a
printer gets.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.lib.build import announce_build
from benchmarks.reports.documents import make_record
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.report import Report
from hashscan.reports.report_file import convert

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]

_TIMED = """(act) => {
  const began = performance.now();
  act();
  document.body.offsetHeight;
  return performance.now() - began;
}"""
_ACTS = {
    "filter by text": """() => {
        const real = setTimeout;
        window.setTimeout = (act) => act();
        const text = document.getElementById("text");
        text.value = "photo 1234";
        text.dispatchEvent(new Event("input"));
        window.setTimeout = real;
    }""",
    "clear": '() => document.getElementById("clear").click()',
    "filter by category": """() => {
        const select = document.getElementById("category");
        select.selectedIndex = 2;
        select.dispatchEvent(new Event("change", {bubbles: true}));
    }""",
    "clear again": '() => document.getElementById("clear").click()',
    **{
        f"sort by {field}, {way}": f'() => document.querySelector("#findings th.{field} button").click()'
        for field in ("name", "customer", "entry", "changed")
        for way in ("up", "down")
    },
    "next page": '() => document.getElementById("on").click()',
}


def make_plain(record: Path, page: Path) -> None:
    """Write what a page without a script has to be."""
    with record.open("rb") as lines, page.open("w", encoding="utf-8") as stream:
        stream.write("<!DOCTYPE html><html lang=en><title>T</title><table>\n")
        for line in lines:
            found = json.loads(line)
            if found["type"] == "finding":
                match = found["matches"][0]
                cells = [found["verdict"], found["path"], found["customer"], match["category"], match["list"]]
                cells += [match["entry"], found["because"], str(found["mtime_ns"])]
                stream.write("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>\n")
        stream.write("</table></html>\n")


def opened(browser: Browser, page: Path, name: str, taken: dict[str, list[float]]) -> Page:
    """Open a page, and note how long that took."""
    shown = browser.new_page(viewport={"width": 1440, "height": 900})
    began = time.perf_counter()
    shown.goto(page.as_uri())
    shown.evaluate("document.body.offsetHeight")
    taken.setdefault(name, []).append(1000 * (time.perf_counter() - began))
    return shown


def take_round(browser: Browser, page: Path, plain: Path, taken: dict[str, list[float]]) -> None:
    """Open both pages, and do to the report's what people do."""
    opened(browser, plain, "open the plain page", taken).close()
    shown = opened(browser, page, "open the report", taken)
    for name, act in _ACTS.items():
        taken.setdefault(name, []).append(shown.evaluate(f"({_TIMED})({act})"))
    began = time.perf_counter()
    shown.pdf(format="A4")
    taken.setdefault("print", []).append(1000 * (time.perf_counter() - began))
    shown.close()


def take_shots(browser: Browser, page: Path, folder: Path) -> None:
    """Leave pictures of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for width in (1440, 360):
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 3000})
            shown = context.new_page()
            shown.goto(page.as_uri())
            shown.screenshot(path=folder / f"{width}-{scheme}.png")
            shown.pdf(path=folder / "printed.pdf", format="A4")
            context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the HTML report in Chromium.")
    parser.add_argument("--findings", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shots", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        record, page, plain = (Path(made) / name for name in ("record.jsonl", "page.html", "plain.html"))
        make_record(record, options.findings)
        convert(Report(record), REPORT_FORMATS["html"], page)
        make_plain(record, plain)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_ARGUMENTS)
        taken: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            take_round(browser, page, plain, taken)
        if options.shots:
            take_shots(browser, page, options.shots)
        browser.close()
        sizes = f"report {page.stat().st_size / 1e6:.1f} MB, plain page {plain.stat().st_size / 1e6:.1f} MB"
        print(f"{options.findings} findings; {sizes}; load {os.getloadavg()[0]:.1f}")
        for name, times in taken.items():
            spread = f"{min(times):.0f} to {max(times):.0f}"
            print(f"{name:28} {statistics.median(times):7.0f} ms ({spread:>14})")


if __name__ == "__main__":
    announce_build()
    main()
