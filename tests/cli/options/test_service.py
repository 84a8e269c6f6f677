"""The options of `hashscan serve`."""

from __future__ import annotations

import pytest

from hashscan.cli.options.service import parse_answer, parse_mode
from hashscan.errors import UsageError


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0660", 0o660), ("060", 0o060), ("007", 0o007)])
def test_a_mode_has_three_octal_digits(text: str, mode: int) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "0", "66", "00660", "668", "1660", "+60", "0o60"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_mode(text)


def test_an_answer_names_door_verdict_and_answer() -> None:
    assert parse_answer("icap.undecoded=refuse") == ("icap", "undecoded", "refuse")
    for text in (
        "icap.undecoded",
        "icap.undecoded=",
        "icap.undecoded=refuse=",
        "icap.=refuse",
        "ftp.match=refuse",
    ):
        with pytest.raises(UsageError):
            parse_answer(text)
