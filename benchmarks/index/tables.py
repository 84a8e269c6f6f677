"""Format the results of the queries as tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def spread(turns: list[Row], unit: float) -> Row:
    """Median, least and most time for one query over all batches; `unit` 1e3 for milliseconds."""
    each = [seconds / turn["batch"] * unit for turn in turns for seconds in turn["seconds"]]
    return {"median": statistics.median(each), "least": min(each), "most": max(each), "batches": len(each)}


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _time(row: Row) -> list[str]:
    return [_number(row["median"]), f"{_number(row['least'])}-{_number(row['most'])}"]


def _mega(value: float) -> str:
    return f"{value / 1e6:.0f}"


def _size(row: Row) -> str:
    return f"{row['entries']:,}"


def _agrees(row: Row) -> str:
    return "yes" if row["exact"] else "NO"


def _compile(row: Row) -> list[str]:
    anonymous = _mega(row["peak anonymous"]) if "peak anonymous" in row else ""
    make = row.get("make", "hashscan")
    memory = [anonymous, _mega(row["peak resident"])]
    return [_size(row), row["algorithm"], row["kind"], make, f"{row['seconds']:.1f}", *memory]


def _near(row: Row) -> list[str]:
    about = [_size(row), row["kind"], row["queries"], str(row["threshold"]), row["make"]]
    return [*about, *_time(row), _number(row["hits"]), _agrees(row)]


def _exact(row: Row) -> list[str]:
    return [_size(row), row["algorithm"], row["queries"], row["make"], *_time(row), _agrees(row)]


def _workers(row: Row) -> list[str]:
    opened = [1e3 * seconds for seconds in row["open"]]
    spread_ = f"{_number(min(opened))}-{_number(max(opened))}"
    more = [size / 1e6 for size in row["more"]]
    memory = [_mega(row["empty"]), f"{statistics.median(more):.1f}", f"{max(more):.1f}"]
    return [_size(row), row["make"], _number(statistics.median(opened)), spread_, *memory]


def _growth(row: Row) -> list[str]:
    return [_size(row), row["make"], str(row["threshold"]), *_time(row), row["plan"]]


def _takeover(row: Row) -> list[str]:
    return [_size(row), row["make"], "never" if row["threshold"] is None else str(row["threshold"])]


def _check(row: Row) -> list[str]:
    return [_size(row), row["queries"], *_time(row)]


TABLES: dict[str, tuple[str, list[str], Callable[[Row], list[str]]]] = {
    "compile": (
        "Making the index",
        ["entries", "algorithm", "kind", "make", "s", "peak anonymous MB", "peak resident MB"],
        _compile,
    ),
    "near": (
        "PDQ hashes within a threshold",
        *(
            ["entries", "kind", "queries", "bits", "make", "ms/query", "least-most", "hits/query", "exact"],
            _near,
        ),
    ),
    "exact": (
        "Exact digests",
        ["entries", "algorithm", "queries", "make", "µs/digest", "least-most", "exact"],
        _exact,
    ),
    "workers": (
        "Eight processes with the index open",
        ["entries", "make", "open ms", "least-most", "empty MB", "more MB, median", "more MB, most"],
        _workers,
    ),
    "growth": (
        "A query as its threshold grows (no hits)",
        ["entries", "make", "bits", "ms/query", "least-most", "searched by"],
        _growth,
    ),
    "takeover": (
        "Threshold from which a scan in blocks takes over",
        ["entries", "make", "bits"],
        _takeover,
    ),
    "check": ("hashscan check DIGEST, whole process", ["entries", "queries", "s", "least-most"], _check),
}
"""Heading, columns and cells of each part."""


def line(row: Row) -> str:
    """One result as it comes in."""
    return f"{row['part']}: " + " ".join(TABLES[row["part"]][2](row))


def table(about: Row, rows: list[Row]) -> str:
    """Everything a person wants to see of the results."""
    lines = [", ".join(f"{key} {value}" for key, value in about.items() if key != "peers")]
    if "peers" in about:
        lines.append("peers: " + ", ".join(f"{name} {version}" for name, version in about["peers"].items()))
    for part, (heading, columns, cells) in TABLES.items():
        grid = [columns, *(cells(row) for row in rows if row["part"] == part)]
        if len(grid) == 1:
            continue
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines += ["", heading, ""]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in grid
        ]
    return "\n".join(lines + _ratios(rows))


def _ratios(rows: list[Row]) -> list[str]:
    """Return the times by which ours was faster than the flat scan of faiss in the same run."""
    keys = ("entries", "kind", "queries", "threshold")
    near = [row for row in rows if row["part"] == "near"]
    flat = {tuple(row[key] for key in keys): row for row in near if row["make"] == "faiss flat"}
    lines = []
    for row in near:
        beside = flat.get(tuple(row[key] for key in keys))
        if beside is not None and row is not beside:
            about = f"{_size(row)} {row['kind']} {row['queries']} {row['threshold']} bits, {row['make']}"
            lines.append(f"{about}: {beside['median'] / row['median']:.1f}")
    return ["", "Times faster than faiss flat", "", *lines] if lines else []
