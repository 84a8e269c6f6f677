"""A browser for tests of our pages, and what it may find wrong with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
AXE = Path(os.environ.get("TEST_NODE_MODULES", "")) / "axe-core" / "axe.min.js"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
needs_axe = pytest.mark.skipif(CHROMIUM is None or not AXE.exists(), reason="no chromium or no axe-core")

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window, for as long as the context lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page in the browser that writes down all that it should never do."""

    def __init__(self, browser: Browser, path: Path, **context: Any) -> None:
        """Open a file.

        Args:
            browser: to open it in.
            path: of the page.
            context: what playwright's contexts take, such as `viewport` and `color_scheme`.
        """
        self.misdeeds: list[str] = []
        self._context = browser.new_context(**context)
        self.page: Page = self._context.new_page()
        self.page.on("dialog", self._dialog)
        self.page.on("console", lambda message: self.misdeeds.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.misdeeds.append(f"error: {error}"))
        self.page.on("popup", lambda popup: self.misdeeds.append(f"window: {popup.url}"))
        self._address = path.as_uri()
        self.page.on("request", self._request)
        self.page.goto(self._address)

    def _dialog(self, dialog: Any) -> None:
        self.misdeeds.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if request.url.partition("#")[0] != self._address:
            self.misdeeds.append(f"request: {request.url}")

    def close(self) -> None:
        """Close the page."""
        self._context.close()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def layout_faults(page: Page) -> list[str]:
    """What is cut off or lies over something else, in words."""
    found: list[str] = page.evaluate(_LAYOUT)
    return found


def accessibility_faults(page: Page) -> list[str]:
    """What axe-core finds; the page's context must be one with `bypass_csp`."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        """async () => (await axe.run({resultTypes: ["violations"]})).violations.flatMap(
            ({id, nodes}) => nodes.map(({html, failureSummary}) => `${id}: ${html}: ${failureSummary}`))"""
    )
    return found


_LAYOUT = """() => {
  const faults = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`the page is ${wide} wide, the window ${innerWidth}`);
  const boxes = [];
  const isHidden = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.clipPath !== "none" || style.visibility === "hidden") return true;
      if (at.classList.contains("skip")) return true;
    }
    return false;
  };
  const scrolls = (element) => {
    const outer = element.closest(".wide");
    return outer && getComputedStyle(outer).overflowX === "auto";
  };
  const add = (element, rectangle, words) => {
    if (rectangle.width < 1 || rectangle.height < 1) return;
    const {left, right, top, bottom} = rectangle;
    const isOutside = left < -1 || right > innerWidth + 1;
    if (isOutside && !scrolls(element)) faults.push(`outside the window: ${words}`);
    boxes.push({element, left, right, top, bottom, words});
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, select") || isHidden(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rectangle of range.getClientRects()) add(element, rectangle, node.data.trim().slice(0, 60));
  }
  for (const element of document.querySelectorAll("input, select, svg, button")) {
    if (!isHidden(element)) add(element, element.getBoundingClientRect(), element.outerHTML.slice(0, 60));
  }
  boxes.sort((a, b) => a.top - b.top);
  const across = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const down = (a, b) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  boxes.forEach((a, index) => {
    for (let other = index + 1; other < boxes.length && boxes[other].top < a.bottom; other += 1) {
      const b = boxes[other];
      if (a.element.contains(b.element) || b.element.contains(a.element)) continue;
      if (across(a, b) > 1 && down(a, b) > 4) faults.push(`${a.words} lies over ${b.words}`);
    }
  });
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    if (style.overflowX === "visible" || scrolls(element) || isHidden(element)) continue;
    if (element.closest("svg, input, select")) continue;
    if (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1) {
      faults.push(`cut off: ${element.outerHTML.slice(0, 60)}`);
    }
  }
  return faults.slice(0, 20);
}"""
