"""A picture digest of any length survives the state: packing, columns, unpacking and later scans."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import REPLY_MAX, DecodedPicture, pack_picture, unpack_reply
from hashscan.hashing.variants import DigestRun, Kind, Part
from hashscan.model import ALGORITHMS, Reason, StoredContentData
from hashscan.state.queries.digest_lookup import DigestQuery, find_contents
from hashscan.state.store import unpacking
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.packing import Packed, pack, unpack
from hashscan.state.store.reading import StateReader
from hashscan.state.store.unpacking import CLoops, Loops, NumpyLoops, Unpacked, best_loops, blocks_of
from hashscan.state_dir import StateDir
from tests.cli.later import seconds_later
from tests.pictures import encoded, scene
from tests.state.digest_lengths import NAMES, ROWS, SIZES
from tests.state.profiles import PROFILE

EXACT = ("md5", "sha1", "sha256")
PART = Part()


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, algorithm in ROWS.items():
        monkeypatch.setitem(ALGORITHMS, name, algorithm)


def runs_of(names: tuple[str, ...], seed: int, turns: tuple[int, ...] = (0, 1, 4)) -> list[DigestRun]:
    """Return a run of random digests by each algorithm, of the picture, and of a preview of it."""
    rng = random.Random(seed)
    return [
        DigestRun(part, 0, turns, 0, name, rng.randbytes(len(turns) * ALGORITHMS[name].size), 100, 0)
        for part in (PART, Part(Kind.PREVIEW, 0))
        for name in names
    ]


def reply_of(names: tuple[str, ...], seed: int) -> bytes:
    return pack_picture(FORMATS[0], 30, 20, names, runs_of(names, seed))


ORDERS = [("pdq", "phash", *NAMES), *((name, "pdq", "phash") for name in NAMES), ("phash", "odd144")]


@pytest.mark.parametrize("names", ORDERS, ids="-".join)
def test_replies_come_back(names: tuple[str, ...]) -> None:
    reply = reply_of(names, 1)
    assert unpack(pack(reply, names), names) == reply


@pytest.mark.parametrize("names", ORDERS, ids="-".join)
def test_digests_of_other_lengths_are_no_replies(names: tuple[str, ...]) -> None:
    packed = pack(reply_of(names, 1), names)
    for others in (tuple(reversed(names)), ("pdq",) * len(names), names[:1], ()):
        with pytest.raises(ValueError, match="kept reply"):
            unpack(packed, others)
    with pytest.raises(ValueError, match="heads"):
        unpack(Packed(packed.first + b"x", packed.heads, packed.rest), names)


@pytest.mark.parametrize("loops", [NumpyLoops(), CLoops()], ids=lambda loops: loops.name)
@pytest.mark.parametrize("names", ORDERS, ids="-".join)
def test_all_digests_are_unpacked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], loops: Loops
) -> None:
    if isinstance(loops, CLoops) and not isinstance(best_loops(), CLoops):
        pytest.skip("the C loops are not built")
    monkeypatch.setattr(unpacking, "best_loops", lambda: loops)
    profile = replace(PROFILE, pictures=tuple(f"{name}/1" for name in names))
    state = StateDir(tmp_path)
    database, folder, _ = open_database(state)
    expected = set()
    with closing(database), closing(Contents(database, folder, profile)) as contents:
        for seed in range(5):
            exact = tuple(hashlib.new(name, b"%d" % seed).digest() for name in EXACT)
            reply = reply_of(names, seed)
            row = contents.add(StoredContentData(exact, 0, pack(reply, names), False), 0, 5)
            assert contents.load(row).reply == reply
            expected |= {
                (row, run.algorithm, digest.value, digest.turn)
                for run in runs_of(names, seed)
                for digest in run.digests()
            }
        found = set()
        for block in blocks_of(contents, np.arange(contents.rows)):
            for part in block.digests():
                assert isinstance(part, Unpacked)
                values = [value.tobytes() for value in part.values]
                found |= {
                    (row, part.algorithm, value, part.turn)
                    for row, value in zip(part.rows.tolist(), values, strict=True)
                }
        assert found == expected
        contents.sync()
        database.commit()
    with StateReader(state) as reader:
        for row, name, value, _ in expected:
            (near, *_) = find_contents(reader, [DigestQuery(name, value, 0)], every_variant=True)
            assert (near.content, near.distance) == (row, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_an_algorithm_with_another_length_today_is_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """The state of before stays in use: its digests are just not compared."""
    names = "pdq", "odd18"
    profile = replace(PROFILE, pictures=("pdq/1", "odd18/1"))
    state = StateDir(tmp_path)
    database, folder, _ = open_database(state)
    with closing(database), closing(Contents(database, folder, profile)) as contents:
        exact = tuple(hashlib.new(name, b"").digest() for name in EXACT)
        contents.add(StoredContentData(exact, 0, pack(reply_of(names, 1), names), False), 0, 5)
        contents.sync()
        database.commit()
    value = runs_of(names, 1)[1].values[:18]
    if version == 2:
        changed = type(ROWS["odd18"])("odd18", 144 * 8, "hamming", of_picture=True, threshold=4, version=2)
        monkeypatch.setitem(ALGORITHMS, "odd18", changed)
        value *= 8
    with StateReader(state) as reader:
        found = find_contents(reader, [DigestQuery("odd18", value, 0)], every_variant=True)
    assert [near.content for near in found] == ([0] if version == 1 else [])


@pytest.mark.parametrize("name", NAMES)
def test_replies_with_many_long_digests_fit_into_the_limit(name: str) -> None:
    names = "pdq", name
    frames = [
        run._replace(part=PART if not number else Part(Kind.FRAME, number))
        for number in range(100)
        for run in runs_of(names, number, tuple(range(9)))[:2]
    ]
    reply = pack_picture(FORMATS[0], 30, 20, names, frames)
    answer = unpack_reply(reply, FORMATS[0], names)
    assert len(reply) <= REPLY_MAX
    assert isinstance(answer, DecodedPicture)
    assert answer.damage is Reason.TOO_MANY
    assert len(answer.digests) + answer.left_out == 2 * 9 * 100
    assert unpack(pack(reply, names), names) == reply


SCAN = """
import functools, sys
from tests.state import registering
from hashscan.matching.worker_setup import WorkerSetup
decoder = "tests.state.digest_lengths:load"
WorkerSetup.__init__ = functools.partialmethod(WorkerSetup.__init__, decoder=decoder)
from hashscan.cli.commands import scan
scan.source_modules = lambda targets: [registering.__name__]
from hashscan.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
"""The command, with more algorithms."""


def run(tmp_path: Path, *arguments: str | Path) -> bytes:
    """Run the command; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", SCAN, *arguments],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "clock")},
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr.decode()
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.stdout


def import_list(tmp_path: Path, name: str, values: dict[str, str]) -> None:
    """Import a list with an entry for each algorithm."""
    lines = ["id,algorithm,value,category", *(f"{key}-1,{key},{value},A1" for key, value in values.items())]
    (tmp_path / "entries.csv").write_text("\n".join(lines))
    run(tmp_path, "lists", "import", tmp_path / "entries.csv", "--name", name, "--state", tmp_path / "state")


def scan(tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scan `files`; return the summary, and the records of files."""
    report = tmp_path / "report.jsonl"
    report.unlink(missing_ok=True)
    options = "--workers", "1", "--sandbox", "off", "--report", report, "--state", tmp_path / "state"
    run(tmp_path, "scan", *options, tmp_path / "files")
    records = [json.loads(line) for line in report.read_text().splitlines()]
    return records[-1], records[1:-1]


@pytest.mark.slow
def test_later_scans_match_cached_digests(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for number in range(3):
        (tmp_path / "files" / f"{number}.jpg").write_bytes(encoded(scene(number)))
    # Files as new as these would be read again.
    seconds_later(tmp_path / "clock", 60)
    import_list(tmp_path, "unrelated", {name: "00" * ALGORITHMS[name].size for name in NAMES})
    _, records = scan(tmp_path)
    assert records == []
    wanted = [argument for name in NAMES for argument in ("--algorithm", name)]
    digests = json.loads(run(tmp_path, "hash", *wanted, tmp_path / "files" / "1.jpg"))["digests"]
    assert [len(digests[name]) for name in NAMES] == [2 * size for size in SIZES]
    import_list(tmp_path, "known", {name: digests[name] for name in NAMES})
    # The cached digests meet the new entries; a fresh decoder confirms the match; then it is cached, too.
    for unchanged in (2, 3):
        summary, (record,) = scan(tmp_path)
        assert summary["unchanged"] == unchanged
        assert record["verdict"] == "match"
        assert {match["entry"] for match in record["matches"]} == {f"{name}-1" for name in NAMES}
