"""The documents that channels are given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hashscan.alerts.alert import (
    CASES_NAMED,
    DETAILS_MAX,
    SEVERITIES,
    Alert,
    AlertDetail,
    Kind,
    merge_documents,
)


def document(number: int, kind: Kind = Kind.FOUND, **options: Any) -> dict[str, Any]:
    made = Alert(kind, (f"k{number}",), f"subject {number}", cases=(number,), counts={"match": 1}, **options)
    return {**made.document("web1", f"2027-01-{number:02}"), "id": number}


def test_every_kind_has_a_severity() -> None:
    assert set(SEVERITIES) == set(Kind)


def test_the_page_explains_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    for kind, severity in SEVERITIES.items():
        if kind is not Kind.TEST:
            assert re.search(rf"^\| {kind.value} \| .* \| {severity} \|$", page, re.MULTILINE), kind


def test_it_is_bounded_and_says_what_is_left_out() -> None:
    details = [AlertDetail(case=n, verdict="match", path=f"/www/{n}") for n in range(50)]
    made = Alert(Kind.FOUND, ("k",), "x" * 5000, cases=tuple(range(5000)), details=details).document("h", "t")
    assert len(made["subject"]) <= 300
    assert len(made["cases"]) == CASES_NAMED
    assert "18, 19 and 4980 more" in made["text"]
    assert len(made["details"]) == DETAILS_MAX
    assert "path /www/19" in made["text"]
    assert "and 30 more" in made["text"]
    assert "/www/20" not in json.dumps(made)


@given(st.text(), st.lists(st.text(), max_size=3), st.text(), st.text())
def test_lines_stay_lines(subject: str, lines: list[str], path: str, host: str) -> None:
    details = [AlertDetail(case=1, verdict="match", path=path)]
    made = Alert(Kind.FOUND, ("k",), subject, tuple(lines), details=details).document(host, "t")
    assert made["subject"].isprintable()
    assert len(made["text"].split("\n")) == len(lines) + 1
    assert all(line.isprintable() for line in made["text"].split("\n"))
    json.dumps(made).encode("ascii")


def test_many_that_waited_become_one() -> None:
    made = merge_documents([document(n, Kind.OVERDUE if n == 3 else Kind.INCOMPLETE) for n in range(1, 26)])
    assert made["subject"] == "hashscan on web1: 25 alerts have waited since 2027-01-01"
    assert (made["kind"], made["severity"]) == ("overdue", "alert")
    assert made["text"].splitlines()[0].startswith("5 older ones")
    assert "2027-01-25  hashscan on web1: subject 25" in made["text"]
    assert made["cases"] == list(range(1, 26))
    assert made["counts"] == {"match": 25}
