"""Customers who change their files all the time keep no match from being moved without a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.published import BAD, national, signed
from tests.quarantine.attacking import KINDS, USER

ROOT = Path(__file__).parents[2]
TERMS = ("--retain-min", "90d", "--destroy-by", "365d")
FILES = 3
"""Files of each kind, in each round."""

SECONDS = float(os.environ.get("HASHSCAN_ATTACK_SECONDS", "20"))

JUSTIFIED = {"changed", "gone", "raced"}
"""Outcomes with which a file may stay, see docs/quarantine.md: it was another one, or not to be found."""

__all__ = ["national", "signed"]  # fixtures


@pytest.fixture
def tree() -> Iterator[Path]:
    """A customer's tree, in whose path others may search."""
    with tempfile.TemporaryDirectory(prefix="hashscan-attacked-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "outside").mkdir()
        (folder / "outside" / "0").write_bytes(b"innocent")
        (folder / "home").mkdir()
        os.chown(folder / "home", USER, USER)
        yield folder / "home"


def fill(folder: Path, number: int) -> None:
    """Give a kind more files, by descriptor, since its folder may be a link at any time."""
    for one in range(FILES):
        new = folder.parents[1] / "new"
        new.write_bytes(BAD)
        os.chown(new, USER, USER)
        until = time.monotonic() + 30
        while True:
            try:
                into = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                break
            except OSError:
                assert time.monotonic() < until
        try:
            os.rename(new, f"{number}-{one}", dst_dir_fd=into)
        finally:
            os.close(into)


def left_in(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_attacks_on_moving(signed: None, run: Run, tree: Path, tmp_path: Path) -> None:
    report, made, rounds = tmp_path / "found.jsonl", 0, 0
    outcomes: Counter[tuple[str, str]] = Counter()
    others: Counter[tuple[str, str]] = Counter()
    codes: Counter[int] = Counter()
    for kind in KINDS:
        (tree / kind).mkdir()
        os.chown(tree / kind, USER, USER)
    with ExitStack() as stack:
        customer = subprocess.Popen(
            [sys.executable, "-m", "tests.quarantine.attacking", tree, *KINDS],
            cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip
        stack.callback(customer.wait)
        stack.callback(customer.kill)
        assert customer.stdout is not None
        stack.callback(customer.stdout.close)
        customer.stdout.readline()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or rounds < 2:
            for kind in KINDS:
                fill(tree / kind, rounds)
                made += FILES
            rounds += 1
            ran = run("scan", tree, "--quarantine", *TERMS, "--report", report, "--accept-shrink")
            codes[ran.code] += 1
            lines = [json.loads(line) for line in report.read_bytes().splitlines()]
            summary = lines[-1]
            assert sum(summary["verdicts"].values()) == summary["files"], summary
            for line in lines[1:-1]:
                kind = Path(line["path"]).relative_to(tree).parts[0].removesuffix(".aside")
                if line["type"] == "finding":
                    moved = line.get("quarantine", {})
                    outcomes[kind, moved.get("outcome", "not asked for")] += 1
                    if moved.get("outcome") != "done":
                        others[kind, moved.get("detail", "")] += 1
                elif line["type"] != "standing":
                    others[kind, f"{line['type']}: {line.get('reason')}"] += 1
            stays = [line for line in lines if line["type"] == "finding"
                     and line["quarantine"]["outcome"] != "done"]  # fmt: skip
            assert ran.code in ({4} if stays else {0, 1, 3, 4}), ran.err
    _check(run, tree, made, outcomes, others, codes, rounds)


def _check(
    run: Run,
    tree: Path,
    made: int,
    outcomes: Counter[Any],
    others: Counter[Any],
    codes: Counter[int],
    rounds: int,
) -> None:
    print(f"{rounds} rounds, {made} files, exit codes {dict(codes)}")  # noqa: T201
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"{kind}: {outcome} {number}")  # noqa: T201
    for (kind, outcome), number in sorted(others.items()):
        print(f"  {kind}: {number} {outcome}")  # noqa: T201
    assert {outcome for _, outcome in outcomes} <= {"done", *JUSTIFIED}
    for kind in ("still", ".hashscan-quarantine", "mapped"):
        assert not [key for key in outcomes if key[0] == kind and key[1] != "done"]
    # Once nobody meddles, all that stayed is found and moved.
    for path in left_in(tree):
        path.chmod(0o644)
    ran = run("scan", tree, "--quarantine", *TERMS, "--accept-shrink")
    assert ran.code in (1, 3, 0), ran.err
    assert [path for path in left_in(tree) if path.read_bytes() == BAD] == []
    assert run("quarantine", "verify").code == 0
    assert (tree.parent / "outside" / "0").read_bytes() == b"innocent"
    kept: Counter[str] = Counter()
    for item in run("quarantine", "list", "--format", "json").lines:
        parts = Path(item["path"]).relative_to(tree).parts
        kept["linked" if parts[0] == "soft" else parts[0].removesuffix(".aside")] += 1
    print(dict(kept))  # noqa: T201
    # Those who write by a path make a new file where one was moved.
    assert {kind for kind in KINDS if kept[kind] != made // len(KINDS)} <= {"rewrite", "replace"}
    for kind in ("rewrite", "replace"):
        assert kept[kind] + len(left_in(tree / kind)) >= made // len(KINDS)
