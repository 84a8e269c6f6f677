"""Write the pages of docs/reference, whose tables are those of the code.

    python -m tools.reference

`tests/test_docs.py` fails while a page differs from what this program writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from hashscan import registry
from hashscan.alerts.metrics import ListMetrics, Metrics, ScanMetrics, render_metrics
from hashscan.attribution.hosting_panels import PANELS
from hashscan.cases.queries import LedgerStats

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
OUR_OWN = "hashscan."
"""How the targets of rows begin that are not of an installed plug-in."""


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
    data = render_metrics(Metrics(run, 1, (one,), stats, 0, 0, 1)).decode()
    yield "# Metrics of scans"
    rows = [
        (code(family.samples[0].name), code(*family.samples[0].labels), family.documentation)
        for family in text_string_to_metric_families(data)
    ]
    yield table(("metric", "labels", "help"), *rows)


PAGES: Mapping[str, Iterable[str]] = {
    "registries.md": tuple(registries()),
    "metrics.md": tuple(metrics()),
}


def text_of(page: str) -> str:
    """Return the text of a page."""
    return "\n\n".join(PAGES[page]) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")
