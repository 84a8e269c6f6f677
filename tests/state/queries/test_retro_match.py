from __future__ import annotations

import hashlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pdq_reduction import likely_turned
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import DigestRun, Part
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import TIGHT_REACH
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALWAYS_COMPUTED, Entry, StoredContentData
from hashscan.sandbox.client import SandboxOptions
from hashscan.state.queries.retro_match import RetroMatcher
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.packing import pack
from hashscan.state_dir import StateDir
from tests.state.profiles import PROFILE

PICTURES, ENTRIES, FULL = 300, 400, 31
TURNS = tuple(range(9))


@pytest.mark.parametrize("many", [1, 10**6])
def test_just_those_that_are_near_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr("hashscan.state.queries.retro_match._MANY", many)
    monkeypatch.setattr("hashscan.state.queries.retro_match._BLOCK", 64)
    random = np.random.default_rng(many)
    database, folder, _ = open_database(StateDir(tmp_path))
    pictures = []
    with closing(database), closing(Contents(database, folder, PROFILE)) as contents:
        for number in range(PICTURES):
            first = random.bytes(32)
            bits = np.unpackbits(likely_turned(first, TURNS), axis=1)
            for row in bits[1:]:
                row[random.choice(256, random.integers(0, 40), replace=False)] ^= 1
            digests = np.packbits(bits, axis=1)
            quality = 90 if number % 7 else 10
            run = DigestRun(Part(), 0, TURNS, 0, "pdq", digests.tobytes(), quality, 0)
            packed = pack(pack_picture(FORMATS[0], 300, 200, ("pdq",), [run]), ("pdq",))
            exact = tuple(hashlib.new(name, first).digest() for name in ("md5", "sha1", "sha256"))
            contents.add(StoredContentData(exact, 0, packed, False), 0, 5)
            pictures.append((digests, quality))
        values = random.integers(0, 256, (ENTRIES, 32), np.uint8)
        for place in range(0, ENTRIES, 2):
            digests, _ = pictures[random.integers(PICTURES)]
            turn = random.integers(len(TURNS))
            flipped = np.unpackbits(digests[turn])
            flips = (TIGHT_REACH if turn else FULL) + place // 2 % 2
            flipped[random.choice(256, flips, replace=False)] ^= 1
            values[place] = np.packbits(flipped)
        store = ListStore(tmp_path / "lists")
        entries = [Entry(f"e{n}", "pdq", value.tobytes(), "baseline") for n, value in enumerate(values)]
        store.import_entries("gained", entries, "a test")
        limits = np.array([FULL, *[TIGHT_REACH] * (len(TURNS) - 1)])
        wanted = [
            row
            for row, (digests, quality) in enumerate(pictures)
            if quality > 50
            and (np.bitwise_count(digests[:, None] ^ values).sum(axis=2) <= limits[:, None]).any()
        ]
        with store.open(("gained",), datetime.now(UTC)) as opened:
            said: list[str] = []
            # As if each block took a minute.
            monkeypatch.setattr("hashscan.state.queries.retro_match.LINE_SECONDS", 0.0)
            setup = WorkerSetup(opened.handles, SandboxOptions("auto"), ALWAYS_COMPUTED, 1 << 20)
            gains = RetroMatcher(database, contents, setup, said.append)
            assert gains.take() == PICTURES
            assert [message.split()[0] for message in said[-2:]] == ["192", "256"]
            said.clear()
            gains.commit()
            assert RetroMatcher(database, contents, setup, said.append).take() == 0
            assert said == []
        found = database.execute("SELECT content FROM hits ORDER BY content").fetchall()
    assert [row for (row,) in found] == wanted
    assert 20 < len(wanted) < PICTURES - 20
