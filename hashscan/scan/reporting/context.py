"""What explains a record to formats, from what the settings say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hashscan.attribution.sites import Sites
from hashscan.model import Reporter, SiteRule
from hashscan.reports.names import path_bytes
from hashscan.reports.record_lines import Record
from hashscan.reports.report import Context
from hashscan.state.findings.digests import KnownDigests


def context_of(sites: Iterable[SiteRule] = (), reporter: Reporter | None = None) -> Context:
    """The context of reports.

    Args:
        sites: rules that say where the world sees files.
        reporter: who speaks, if anybody said.

    Raises:
        UsageError: a rule can't be used.
    """
    compiled = Sites(sites)

    def url_of(record: Record) -> str:
        return compiled.url_of(path_bytes(record)) if "path" in record else ""

    return Context(url_of=url_of, reporter=reporter)


@contextmanager
def explained(context: Context, state: Path | None) -> Iterator[Context]:
    """The context with the digests that a state has of findings.

    Args:
        context: of reports.
        state: the folder; None for none.
    """
    if state is None:
        yield context
        return
    with KnownDigests(state) as known:
        yield replace(context, digests=known.of)
