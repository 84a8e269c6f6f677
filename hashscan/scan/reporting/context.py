"""Build the context that report formats need besides the records: URLs, reporter, digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hashscan.attribution.sites import Sites
from hashscan.model import Reporter, SiteRule
from hashscan.reports.names import path_bytes
from hashscan.reports.record_lines import Record
from hashscan.reports.report import ReportContext
from hashscan.state.findings.digests import FindingDigests


def report_context(sites: Iterable[SiteRule] = (), reporter: Reporter | None = None) -> ReportContext:
    """Return the context of reports.

    Args:
        sites: rules that map files to public URLs.
        reporter: the person or organisation that reports, if one is configured.

    Raises:
        UsageError: a rule can't be used.
    """
    compiled = Sites(sites)

    def url_of(record: Record) -> str:
        return compiled.url_of(path_bytes(record)) if "path" in record else ""

    return ReportContext(url_of=url_of, reporter=reporter)


@contextmanager
def with_digests(context: ReportContext, state: Path | None) -> Iterator[ReportContext]:
    """Yield the context with the digests of findings that the state folder has.

    Args:
        context: the context of reports.
        state: the state folder; None if there is none.
    """
    if state is None:
        yield context
        return
    with FindingDigests(state) as known:
        yield replace(context, digests=known.of)
