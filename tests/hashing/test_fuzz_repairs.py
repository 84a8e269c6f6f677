"""Damaged files of each kind whose faults are overlooked: each has a verdict, and the decoder survives."""

from __future__ import annotations

import pytest

from tests.examples import examples
from tests.hashing.fuzz_repairs import DRAWN, KINDS, verdicts_of

SLOW = "scaled WebP"
"""The path of which each file needs a new decoder."""


@pytest.mark.usefixtures("forked_zygotes")
@pytest.mark.parametrize(
    "kind", [kind for kind in (*KINDS, *DRAWN) if kind != SLOW] + [pytest.param(SLOW, marks=pytest.mark.slow)]
)
def test_each_damaged_file_has_a_verdict(kind: str) -> None:
    files = examples(30)
    found = verdicts_of(kind, files, 7)
    lost = found.pop("(decoders lost)")
    found.pop("(sandbox full)")
    assert sum(found.values()) == files
    assert lost <= sum(count for name, count in found.items() if name.startswith("undecoded"))
    assert {name.partition(":")[0] for name in found} <= {"clean", "undecoded"}
