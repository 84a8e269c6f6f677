from __future__ import annotations

import csv
import json

import pytest

from hashscan.cases.statistics.periods import Unit
from hashscan.cases.statistics.writer import csv_lines, json_text
from tests.cases.statistics.made import counted, few

HOSTILE = ("\x1b[31mred", "\u202elist", 'a;=HYPERLINK("x")', "\ud800", "two\nlines")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_from_another_machine_is_whole_in_json_and_plain_in_a_table(name: str) -> None:
    statistics = counted(few(name), days=31)
    text = json_text(statistics, Unit.MONTH, "UTC")
    assert text.isascii()
    assert json.loads(text)["totals"]["lists"][name] == 2
    header, *rows = csv.reader(csv_lines(statistics))
    shown = [column for column in header if column.startswith("lists_")]
    assert "".join(header).isprintable()
    assert ";=" not in "".join(shown)
    assert len(shown) == 2
    assert all(len(row) == len(header) for row in rows)
