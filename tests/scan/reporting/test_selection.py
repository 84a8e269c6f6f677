"""Whatever changes what is checked is in a report, and nothing that was not asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashscan.model import Access
from hashscan.scan.reporting.shard_merging import SELECTION
from hashscan.scan.session import selection_fields
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.scan import ScanSettings
from hashscan.sources.patterns import Patterns

PLAIN = ScanSettings(
    targets=(b"/t",), lists=None, reports=(), state=None, workers=1, decoding=DecodingLimits()
)
LIMITS = {
    "max_sparse": 16 << 30,
    "max_pixels": 64_000_000,
    "decoder_memory": 768 << 20,
    "large_decoder_memory": 3 << 30,
    "decoder_seconds": 20.0,
}


def test_nothing_was_asked_for() -> None:
    assert selection_fields(PLAIN, Patterns.compile()) == LIMITS


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"max_file_size": 7}, {"max_file_size": 7}),
        ({"one_file_system": True}, {"one_file_system": True}),
        ({"all_versions": True}, {"all_versions": True}),
        ({"access": Access("http://s3", anonymous=True)}, {"endpoint": "http://s3", "anonymous": True}),
        ({"access": Access(concurrency=3)}, {}),
        ({"decoding": DecodingLimits(max_pixels=5)}, {"max_pixels": 5}),
        ({"decoding": DecodingLimits(memory_bytes=5)}, {"decoder_memory": 5}),
        ({"decoding": DecodingLimits(seconds=5)}, {"decoder_seconds": 5}),
    ],
)
def test_what_was_asked_for(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    found = selection_fields(replace(PLAIN, **changes), Patterns.compile())
    assert found == {**LIMITS, **fields}
    # Each has a name for a person.
    assert found.keys() <= SELECTION.keys()


def exclude(*patterns: str, file: Path | None = None) -> Any:
    return selection_fields(PLAIN, Patterns.compile(patterns, file))["exclude"]


def test_patterns_are_distinguished_by_text_order_and_sense(tmp_path: Path) -> None:
    file = tmp_path / "ignore"
    file.write_text("# said\n*.log\n!a.log\n")
    found = exclude("x/", file=file)
    assert (found["number"], found["patterns"]) == (3, ["*.log", "!a.log", "x/"])
    # Wherever the same patterns come from.
    file.write_text("x/\n")
    assert exclude(file=file) == exclude("x/")
    # In a file this takes back; on the command line it is a name.
    file.write_text("!a\n")
    others = [exclude(file=file), exclude("!a"), exclude("a", "b"), exclude("b", "a"), exclude("a"), found]
    assert len({one["fingerprint"] for one in others}) == len(others)


def test_very_many_patterns_do_not_fill_the_report() -> None:
    many = [f"{number}.log" for number in range(5000)]
    found = exclude(*many)
    assert (found["number"], len(found["patterns"])) == (5000, 100)
    assert found["fingerprint"] != exclude(*many[:-1], "other")["fingerprint"]
