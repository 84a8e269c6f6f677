"""Write the pages of docs/reference, whose tables are those of the code.

    python -m tools.reference

`tests/test_docs.py` fails while a page differs from what this program writes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from hashscan import registry
from hashscan.alerts.metrics import ListMetrics, Metrics, ScanMetrics, render_metrics
from hashscan.attribution.hosting_panels import PANELS
from hashscan.cases.queries import LedgerStats

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
OUR_OWN = "hashscan."
"""Prefix of the targets of rows that are not of an installed plug-in."""
LIMITS: Mapping[str, str] = {
    "archives/openers": "READ_MAX",
    "archives/warc": "_HEAD_MAX",
    "recognition/archive_probe": "DOUBTFUL_MAX FAILED_MAX",
    "documents/compound": "_STREAMS_MAX",
    "documents/mail": "DEPTH_MAX",
    "documents/metafiles": "_POINTS_MAX _RECORDS_MAX",
    "documents/pdf": "PAGES_MAX OBJECTS_MAX FORMS_MAX ANNOTATIONS_MAX REGIONS_MAX PATTERNS_MAX PIXELS_MAX",
    "documents/rtf": "_TOKENS_MAX",
    "documents/text_probe": "_HEADERS_MAX",
    "documents/texts": "_VALUES_MAX _REFERENCES_DEEP",
    "font_tables": "_COLLECTED_MAX",
    "avif_items": "_BOXES_MAX _OTHERS_MAX",
    "embedded/directories": "_MAX_TAGS _MAX_PICTURES _MAX_INDEXED _ICONS_MAX",
    "embedded/ends": "_JPEGS_MAX _PARTS_MAX _UNKNOWN_MAX _STARTS_MAX",
    "embedded/metadata": "_MOST _SEGMENTS_MAX",
    "video/covers": "TAG_MAX INDEX_MAX",
    "video/opening": "_BOXES_MAX",
    "video/streams": "_REORDERED _TIMES_MAX",
}
"""Constants of modules of `hashscan/hashing`; of several in one line, the first."""


def table(*rows: Iterable[str]) -> str:
    """Return a table whose first row is its head."""
    head, *others = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def code(*words: str) -> str:
    """Return words as code."""
    return ", ".join(f"`{word}`" for word in words)


def registries() -> Iterator[str]:
    """Yield the tables of what a plug-in can add to, and of the hosting panels."""
    yield "# Algorithms, sources, formats and services"
    found = [each for each in vars(registry).values() if isinstance(each, registry.Registry)]
    for each in sorted(found, key=lambda one: one.kind):
        rows = [row for row in each.rows.values() if row.target.startswith(OUR_OWN)]
        yield f"## {each.kind.capitalize()}"
        yield table(("name", "description"), *((code(row.name), row.summary) for row in rows))
    yield "## Hosting panel"
    panels = (
        (code(name), each.summary, code(*each.within, *each.paths), code(*each.unassigned))
        for name, each in PANELS.items()
    )
    yield table(("name", "description", "paths", "paths of no customer"), *panels)


def metrics() -> Iterator[str]:
    """Yield the table of metrics, made of a file that has all of them."""
    run = ScanMetrics(1, 2, 0)
    one = ListMetrics("national", "fresh", 1, 1, 1, 1)
    stats = LedgerStats(None, 1, {}, 0, 0, 0, in_quarantine=0)
    data = render_metrics(Metrics(run, 1, (one,), stats, 0, 0, 1, 1)).decode()
    yield "# Metrics of scans"
    rows = [
        (code(family.samples[0].name), code(*family.samples[0].labels), family.documentation)
        for family in text_string_to_metric_families(data)
    ]
    yield table(("metric", "labels", "help"), *rows)


def limits() -> Iterator[str]:
    """Yield the table of fixed limits, which are constants with a docstring."""
    yield "# Fixed limits"
    rows = []
    for module, names in LIMITS.items():
        body = ast.parse((ROOT / "hashscan" / "hashing" / f"{module}.py").read_text(encoding="utf-8")).body
        for each, text in pairwise(body):
            match each, text:
                case ast.Assign([target], value), ast.Expr(ast.Constant(str(docstring))):
                    if ast.unparse(target).strip("()").split(",")[0] in names.split():
                        numbers = eval(ast.unparse(value), {})  # noqa: S307 - our own constants
                        shown = (f"{number:,}" for number in np.atleast_1d(numbers))
                        rows.append((code(module), "; ".join(shown), " ".join(docstring.split())))
    yield table(("module", "limit", "of"), *rows)


PAGES: Mapping[str, Iterable[str]] = {
    "registries.md": tuple(registries()),
    "metrics.md": tuple(metrics()),
    "limits.md": tuple(limits()),
}


def text_of(page: str) -> str:
    """Return the text of a page."""
    return "\n\n".join(PAGES[page]) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")
