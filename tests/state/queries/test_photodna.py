"""Digests of PhotoDNA in a state are compared with new entries of lists, and looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import DigestRun, Part
from hashscan.lists.store import ListStore
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALWAYS_COMPUTED, DistanceRule, Entry, StoredContentData
from hashscan.sandbox.client import SandboxOptions
from hashscan.state.findings.coverage import Coverage
from hashscan.state.queries import digest_lookup
from hashscan.state.queries.digest_lookup import find_contents, matching_contents, sought_of_digest
from hashscan.state.queries.retro_match import RetroMatcher
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.packing import pack
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir
from tests.state import profiles

NAMES = "pdq", "photodna"
PROFILE = replace(profiles.PROFILE, pictures=("pdq/1", "photodna/1"))
PICTURES, POOR = 60, 7
"""Pictures, of which the one with this number has a digest of PhotoDNA without quality."""
TURNS = (0, 4)


def digests() -> NDArray[np.uint8]:
    """The digests of all pictures, shape (PICTURES, turns, 144): far from each other."""
    return np.random.default_rng(1).integers(0, 200, (PICTURES, len(TURNS), 144), np.uint8)


def fill(contents: Contents) -> None:
    random = np.random.default_rng(2)
    for number, values in enumerate(digests()):
        pdq = DigestRun(Part(), 0, (0,), 0, "pdq", random.bytes(32), 100, 0)
        vectors = DigestRun(Part(), 0, TURNS, 0, "photodna", values.tobytes(), 100 * (number != POOR), 0)
        packed = pack(pack_picture(FORMATS[0], 300, 200, NAMES, [pdq, vectors]), NAMES)
        exact = tuple(hashlib.new(name, b"%d" % number).digest() for name in ("md5", "sha1", "sha256"))
        contents.add(StoredContentData(exact, 0, packed, False), 0, 5)


def shifted(value: NDArray[np.uint8], far: int) -> bytes:
    """A digest at this squared distance, a sum of squares of up to 55 along each byte."""
    moved = value.copy()
    for place in range(len(moved)):
        step = min(55, int(far**0.5))
        moved[place] += step
        far -= step**2
    assert far == 0
    return moved.tobytes()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[StateReader]:
    state = StateDir(tmp_path)
    database, folder, _ = open_database(state)
    with closing(database), closing(Contents(database, folder, PROFILE)) as contents:
        fill(contents)
        contents.sync()
        database.commit()
    with StateReader(state) as reading:
        yield reading


def test_new_entries_are_compared_up_to_the_distance_of_their_list(tmp_path: Path) -> None:
    of_pictures = digests()
    store = ListStore(tmp_path / "lists")
    for name, first in (("near", 0), ("wide", 20)):
        entries = [
            Entry(f"e{far}", "photodna", shifted(of_pictures[first + place, turn], far), "A1")
            for place, (turn, far) in enumerate([(0, 0), (1, 10_000), (0, 10_001), (0, 20_000), (1, 20_001)])
        ]
        poor = Entry("poor", "photodna", of_pictures[POOR, 0].tobytes(), "A1")
        store.import_entries(name, [*entries, poor], "a test")
    database, folder, _ = open_database(StateDir(tmp_path))
    with closing(database), closing(Contents(database, folder, PROFILE)) as contents:
        fill(contents)
        with store.open(None, datetime.now(UTC)) as opened:
            rules = (DistanceRule(("wide",), 20_000, 500),)
            setup = WorkerSetup(
                opened.handles, SandboxOptions("auto"), ALWAYS_COMPUTED, 1 << 20, distances=rules
            )
            gains = RetroMatcher(database, contents, setup, print)
            assert gains.take() == PICTURES
            gains.commit()
            found = {row for (row,) in database.execute("SELECT content FROM hits")}
            # What is near in one list only because another one has a larger distance, is derived in vain.
            assert {0, 1, 20, 21, 22, 23} <= found <= {0, 1, 2, 3, 20, 21, 22, 23}
            same = replace(setup, distances=(DistanceRule(("wide",), 20_000),))
            assert RetroMatcher(database, contents, same, print).take() == 0
            wider = replace(setup, distances=(DistanceRule((), 20_001),))
            assert RetroMatcher(database, contents, wider, print).take() == PICTURES
            match = {"list": "near", "algorithm": "photodna", "distance": 10_001}
            assert not Coverage.of_setup(setup).covers(match)
            assert Coverage.of_setup(setup).covers({**match, "list": "wide"})
            assert Coverage.of_setup(wider).covers(match)


def test_a_digest_is_looked_up(reader: StateReader) -> None:
    of_pictures = digests()
    for turn, variant in ((0, "as stored"), (1, "mirrored")):
        asked = sought_of_digest(reader, "photodna", shifted(of_pictures[3, turn], 10_000), None)
        (near,) = find_contents(reader, [asked])
        assert (near.content, near.distance, near.variant) == (3, 10_000, variant)
        assert find_contents(reader, [asked._replace(distance=9_999)]) == []
    assert find_contents(reader, [asked._replace(value=of_pictures[POOR, 0].tobytes())]) == []


@pytest.mark.parametrize("small", [1, 10**6])
def test_many_digests_are_looked_up_at_once(
    reader: StateReader, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(digest_lookup, "SMALL", small)
    monkeypatch.setattr(digest_lookup, "_BLOCK", 16)
    of_pictures = digests()
    places = [5, POOR, 50, 5]
    values = [
        shifted(of_pictures[place, 0], far) for place, far in zip(places, (0, 0, 900, 901), strict=True)
    ]
    asked = np.frombuffer(b"".join(values), np.uint8).reshape(-1, 144)
    found = set(matching_contents(reader, "photodna", asked, [900] * len(values)))
    assert found == {(0, 5, 0), (2, 50, 900)}
