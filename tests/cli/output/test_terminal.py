"""What strangers name is shown as it is, and does nothing to a terminal."""

from __future__ import annotations

import os

import pytest

from hashscan.cli.output.terminal import show_findings
from hashscan.text import printable


def test_bytes_that_are_no_text_are_shown_as_they_are_on_the_disk() -> None:
    assert printable(os.fsdecode(b"odd\xff\x1b[31m")) == "odd\\xff\\x1b[31m"
    assert printable("Größe 图\u202e") == "Größe 图\\u202e"


def test_what_came_of_a_move_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"verdict": "match", "path": "/f", "because": "b"}
    show_findings([found, {**found, "quarantine": {"outcome": "done"}}], 2)
    show_findings([{**found, "quarantine": {"outcome": "raced"}}], 1)
    shown = capsys.readouterr().err
    assert "│ match        │" in shown
    assert "│ match, moved │" in shown
    assert "│ match, NOT moved: raced │" in shown
