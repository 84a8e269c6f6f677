"""Names from strangers are shown escaped, and each finding has one line."""

from __future__ import annotations

import os
from typing import Any

from hashscan.cli.output.terminal import finding_line
from hashscan.text import printable

MATCH = {"list": "national", "entry": "n-1", "category": "A1", "algorithm": "pdq", "distance": 8}
FOUND: dict[str, Any] = {
    "type": "finding",
    "verdict": "match",
    "path": "/f",
    "because": "b",
    "matches": [MATCH],
}


def test_bytes_that_are_no_text_are_shown_as_they_are_on_the_disk() -> None:
    assert printable(os.fsdecode(b"odd\xff\x1b[31m")) == "odd\\xff\\x1b[31m"
    assert printable("Größe 图\u202e") == "Größe 图\\u202e"


def test_the_line_of_a_finding() -> None:
    assert finding_line(FOUND) == "/f: MATCH national/n-1 (A1), pdq 8"
    assert finding_line({**FOUND, "matches": [MATCH, MATCH]}).endswith("pdq 8 and 1 more")
    assert finding_line({**FOUND, "quarantine": {"outcome": "done"}}).endswith("pdq 8; moved")
    assert finding_line({**FOUND, "quarantine": {"outcome": "raced"}}).endswith("; NOT moved: raced")
    assert finding_line({**FOUND, "accepted": {}}).endswith("pdq 8; accepted")
    assert finding_line({**FOUND, "customer": "ada"}).endswith("; customer ada")
    assert finding_line({**FOUND, "type": "standing", "was": "held"}).startswith("/f: HELD national/n-1")
    assert finding_line({**FOUND, "matches": []}) == "/f: MATCH b"


def test_no_name_adds_a_line_or_a_colour() -> None:
    hostile = "\n/g: MATCH national/n-2 (A1), pdq 0\x1b[31m"
    named = {**MATCH, "entry": hostile, "list": hostile, "category": hostile}
    found = {**FOUND, "path": hostile, "matches": [named], "customer": hostile}
    line = finding_line(found, {"match": "31"})
    assert len(line.splitlines()) == 1
    assert line.count("\x1b") == 2
