"""Scans with a list in each state, beside a good list and alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hashscan.model import Entry, TrustState
from tests.cli.conftest import Run
from tests.cli.later import days_later
from tests.cli.published import DAYS, publish_exactly, pull, with_canary
from tests.examples import quick_first
from tests.shortcomings import codes

NAME = "national"


def fine(version: Path) -> None:
    """As it was pulled."""


def another_signature(version: Path) -> None:
    file = version / "metadata" / "timestamp.json"
    document = json.loads(file.read_bytes())
    document["signatures"][0]["sig"] = "00" * 64
    file.write_text(json.dumps(document))


def another_bit(version: Path) -> None:
    (column,) = version.rglob("*sha256*value*")
    content = bytearray(column.read_bytes())
    content[-1] ^= 1
    column.write_bytes(content)


@pytest.mark.parametrize(
    ("state_word", "spoil"),
    quick_first(
        [
            (TrustState.FRESH, fine),
            (TrustState.STALE, fine),
            (TrustState.UNVERIFIABLE, another_signature),
            (TrustState.DAMAGED, another_bit),
            (TrustState.MISSING, None),
        ],
        2,
    ),
)
def test_beside_a_good_list_and_alone(
    run: Run,
    tmp_path: Path,
    state: Path,
    uploads: Path,
    local_list: str,
    state_word: TrustState,
    spoil: Callable[[Path], None] | None,
) -> None:
    publish_exactly(tmp_path / NAME, with_canary([Entry("n", "sha256", bytes(32), "A1")]))
    if spoil is None:
        root = tmp_path / NAME / "work" / "root.json"
        assert run("lists", "add", NAME, tmp_path / NAME / "published", "--root", root).code == 0
    else:
        pull(run, tmp_path / NAME)
        (version,) = (state / "lists" / NAME / "versions").iterdir()
        spoil(version)
    env = days_later(tmp_path / "later", DAYS) if state_word is TrustState.STALE else None
    good = state_word is TrustState.FRESH
    usable = state_word in {TrustState.FRESH, TrustState.STALE}

    ran = run("scan", uploads, "--report", "-", env=env)
    assert ran.code == (1 if good else 4)
    assert {info["name"]: info["state"] for info in ran.lines[0]["lists"]} == {
        NAME: state_word.value,
        local_list: "local",
    }
    message = f"list {NAME} is {state_word.value}"
    assert codes(ran.lines[-1]) == ([] if good else ["list"])
    assert (f"hashscan: incomplete: {message}" in ran.err) is not good
    assert (f"hashscan: {message}: " in ran.err) is not good, "with what to do"
    assert ran.lines[-1]["verdicts"]["match"] == 2, "the good list is used"

    assert run("scan", uploads / "other.jpg", "--report", "-", env=env).code == (0 if good else 3)
    alone = run("scan", uploads / "other.jpg", "--report", "-", "--list", NAME, env=env)
    assert alone.code == (0 if good else 3 if usable else 10)
    if not usable:
        assert alone.out == ""
        assert f"no usable hash list: {NAME} is {state_word.value}" in alone.err
    ran = run("check", "--format", "json", uploads / "other.jpg", env=env)
    # A single question compares sizes only: a changed bit is for scans and `lists verify` to find.
    assert ran.code == (0 if good or state_word is TrustState.DAMAGED else 3)
