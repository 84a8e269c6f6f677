"""Render a proof of care as one self-contained, printable HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hashscan.cases.care.document import CareDocument
from hashscan.reports.page.frame import Page


def html_parts(document: CareDocument, timestamp: str) -> Iterator[bytes]:
    """Yield the page in pieces; `timestamp` is the time of its time-stamp, empty without one."""
    page = Page(Path(__file__).parent / "templates", "care.html")
    return page.parts(title="Proof of care", document=document, timestamp=timestamp)
