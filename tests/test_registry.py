"""Contract of every registry row of every kind, by the tables."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from hashscan import registry
from hashscan.cases.notices.reader import NOTICE_FORMATS
from hashscan.model import ALGORITHMS, COMPUTED, MATCHED
from hashscan.plugins import Row

TABLES: list[registry.Registry[Any]] = [
    registry.EXACT_HASHES,
    registry.PICTURE_HASHES,
    registry.SOURCES,
    registry.LIST_FORMATS,
    registry.LIST_WRITERS,
    registry.EXCHANGES,
    registry.MATCHING_SERVICES,
    registry.REPORT_FORMATS,
    NOTICE_FORMATS,
]
ROWS = [(table, name) for table in TABLES for name in table]


@pytest.mark.parametrize(("table", "name"), ROWS, ids=lambda value: getattr(value, "kind", value))
def test_a_row_leads_to_a_finished_class_of_its_name(table: registry.Registry[Any], name: str) -> None:
    if table is registry.EXCHANGES:
        pytest.importorskip("threatexchange", reason="not installed for all versions of Python")
    found = table[name]
    assert issubclass(found, table.base)
    assert not inspect.isabstract(found)
    assert found.name == name
    assert found.__doc__
    assert table.rows[name].summary


@pytest.mark.parametrize(
    ("code", "libraries"),
    [
        ("import hashscan.model", {"msgspec"}),
        ("import hashscan.registry, hashscan.cases.notices.reader", {"msgspec"}),
        (
            "from hashscan.registry import SOURCES; [SOURCES[name] for name in SOURCES]",
            {"msgspec", "urllib3"},
        ),
    ],
)
def test_libraries_are_imported_when_they_are_used(code: str, libraries: set[str]) -> None:
    """Listing the kinds of storage imports none of their libraries."""
    shown = "import sys; before = {*sys.modules}; " + code + "; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    found = {name.partition(".")[0] for name in done.stdout.split() if name[0] != "_"}
    # An installed plug-in, such as hashscan_example, is imported.
    foreign = {name for name in found - sys.stdlib_module_names if not name.startswith("hashscan")}
    assert foreign - {"typing_extensions"} <= libraries


def test_a_name_is_given_once() -> None:
    row = Row("csv", "hashscan.lists.formats.csv_and_ndjson:CsvFormat", "")
    with pytest.raises(ValueError, match="csv"):
        registry.Registry("list format", object, row, row)


def test_a_row_that_leads_elsewhere_is_found_out() -> None:
    wrong = registry.Registry("report", registry.ReportFormat, Row("x", "hashscan.model:Verdict", ""))  # type: ignore[type-abstract]
    with pytest.raises(TypeError):
        wrong["x"]


def test_algorithms_and_hash_classes_are_the_same_set() -> None:
    assert set(registry.EXACT_HASHES) == {n for n in COMPUTED if not ALGORITHMS[n].of_picture}
    assert set(registry.PICTURE_HASHES) == {n for n in MATCHED if ALGORITHMS[n].of_picture}


def test_pdq_comes_first_of_the_algorithms_over_pictures() -> None:
    """The state has a column for the first digest of a picture, if it is of PDQ; lookups search it."""
    assert next(name for name in COMPUTED if ALGORITHMS[name].of_picture) == "pdq"
