"""The proof that a sweep on this machine finds what it should: a real one, over a test picture."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashscan.scan.canary import canary
from hashscan.scan.lock import SweepLock
from hashscan.scan.sweep import Observer, run_sweep
from hashscan.settings import DecodingLimits, ReportTarget, SweepSettings


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the chain."""

    passed: bool
    words: str


def run_selftest(limits: DecodingLimits, state: Path) -> Iterator[Step]:
    """Sweep the test picture, altered and unaltered, and something that is on no list.

    Raises:
        OutputError: the state folder can't be used.
        SandboxError: the sandbox that was demanded can't be had.
    """
    with SweepLock(state):
        yield Step(True, f"the state folder {state} can be written to")
    with tempfile.TemporaryDirectory(prefix="hashscan-selftest-") as name:
        folder = Path(name)
        uploads = folder / "uploads"
        uploads.mkdir()
        (uploads / "same").write_bytes(canary())
        (uploads / "likeness").write_bytes(canary("other bytes, same picture"))
        (uploads / "unlisted").write_bytes(b"nothing of note\n")
        report = folder / "report.jsonl"
        outcome = run_sweep(
            SweepSettings(
                targets=(bytes(uploads),),
                lists=("demo",),
                reports=(ReportTarget("jsonl", report),),
                state=None,
                workers=1,
                decoding=limits,
            ),
            Observer(),
        )
        records = [json.loads(line) for line in report.read_text(encoding="ascii").splitlines()]
    for info in outcome.lists:
        yield Step(
            True, f"list {info.name} version {info.version}: {info.state.value}, {info.entries} entries"
        )
    level = outcome.summary.sandbox
    if level is None:
        yield Step(False, "no picture was decoded")
    else:
        yield Step(
            level.full or level.mode == "off",
            f"sandbox {level.word}: Landlock {level.landlock or 'missing'}, "
            f"seccomp {'on' if level.seccomp else 'missing'}, "
            f"user {'changed' if level.uid_dropped else 'kept'}, "
            f"capabilities {'dropped' if level.capabilities_dropped else 'kept'}, "
            f"limits {'set' if level.limits else 'missing'}",
        )
    found = {Path(r["path"]).name: _algorithms(r) for r in records if r["type"] == "finding"}
    yield Step(
        {"sha256", "pdq"} <= found.get("same", set()),
        "the test picture is found by its bytes and by likeness",
    )
    yield Step(found.get("likeness") == {"pdq"}, "with other bytes it is found by likeness")
    yield Step("unlisted" not in found, "a file that is on no list is not accused")
    yield Step(
        outcome.summary.files == 3 and outcome.exit_code == 1 and records[-1]["type"] == "summary",
        "three files, three verdicts, exit code 1",
    )


def _algorithms(record: dict[str, Any]) -> set[str]:
    return {match["algorithm"] for match in record["matches"]}
