"""Archives with changed bytes: each gets one verdict, and the worker goes on."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from hashscan.model import Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from tests.examples import examples
from tests.hashing.archives.test_members import PICTURE, nested, tarred, written, zipped
from tests.scan.workers.test_worker import CONTAINERS, NOTHING, check, worker_with

pytestmark = pytest.mark.integration

COPIES = examples(40)


def changed(content: bytes, chance: random.Random) -> bytes:
    """Return a copy with some bytes changed, a piece repeated, or the end missing."""
    made = bytearray(content)
    for _ in range(chance.choice((1, 3, 20))):
        # Headers are where the parsers are, at the beginning and at the end.
        place = chance.choice((chance.randrange(min(64, len(made))), chance.randrange(-64, 0)))
        made[chance.choice((place, chance.randrange(len(made))))] = chance.randrange(256)
    way = chance.randrange(4)
    if way == 0:
        del made[chance.randrange(len(made)) :]
    elif way == 1:
        at = chance.randrange(len(made))
        made[at:at] = made[at : at + chance.randrange(200)]
    return bytes(made)


@pytest.mark.parametrize(
    ("sandbox", "written_by_library"), [("auto", ("7zip", "cpio", "iso9660")), ("off", ())]
)
def test_each_changed_archive_has_a_verdict(
    tmp_path: Path, sandbox: Literal["auto", "off"], written_by_library: tuple[str, ...]
) -> None:
    if written_by_library:
        pytest.importorskip("libarchive")
    (tmp_path / "files").mkdir()
    made = [
        zipped({"b.png": PICTURE, "text": b"words"}),
        nested(2),
        tarred("b.png", PICTURE, "w"),
        tarred("b.png", PICTURE, "w:xz"),
        gzip.compress(PICTURE, mtime=0),
        *(written(tmp_path / kind, kind, None, "b.png") for kind in written_by_library),
    ]
    chance = random.Random(7)
    for number in range(COPIES * len(made)):
        (tmp_path / "files" / str(number)).write_bytes(changed(made[number % len(made)], chance))
    options = SandboxOptions(sandbox, seconds=5.0)
    with worker_with(tmp_path, NOTHING, containers=CONTAINERS, sandbox=options, forked=False) as worker:
        found = check(worker, tmp_path / "files")
    assert len(found) == COPIES * len(made)
    counts = Counter(result.verdict for result in found.values())
    assert set(counts) <= {Verdict.CLEAN, Verdict.UNDECODED}
    assert counts[Verdict.UNDECODED] > COPIES
    reasons = [result.reason for result in found.values() if result.verdict is Verdict.UNDECODED]
    assert None not in reasons
    assert not [result.detail for result in found.values() if result.reason is Reason.PART_FAILED]
