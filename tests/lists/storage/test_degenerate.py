"""Entries of smooth and even pictures are not matched by similarity; what is scanned has no part in this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hashscan.hashing.member_records import Borders, SampledFrames
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pdq_reduction import likely_turned
from hashscan.hashing.records import DecodedPicture
from hashscan.hashing.variants import ALPHA, LOOK, OVER_WHITE, WHOLE, DigestRun
from hashscan.lists.index.segments import SMALL
from hashscan.lists.storage.degenerate import are_degenerate
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import FileTask, Matcher, Query, match_files
from hashscan.matching.listed_videos import VideoMatcher
from hashscan.model import QUADRANTS, Entry, FileStat, Item, Picture
from tests.pictures import scene

Luma = NDArray[np.uint8]
NOW = datetime.now(UTC)


def pdq(luma: Luma) -> bytes:
    return PDQ().digest(np.ascontiguousarray(luma))[0]


def radial() -> Luma:
    across, down = np.mgrid[:512, :512] - 256.0
    return np.clip(255 - np.hypot(across, down) / 1.5, 0, 255).astype(np.uint8)


def diagonal() -> Luma:
    return (np.add.outer(np.arange(512), np.arange(512)) // 4).astype(np.uint8)


def rectangle() -> Luma:
    return np.pad(np.full((400, 400), 255, np.uint8), 56)


WALLPAPERS: list[Callable[[], Luma]] = [radial, diagonal, rectangle]
PHOTO = pdq(np.asarray(scene(1).convert("L")))


def rows_of(values: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


@pytest.mark.parametrize("drawn", WALLPAPERS)
def test_a_wallpaper_is_degenerate_however_it_is_turned(drawn: Callable[[], Luma]) -> None:
    value = pdq(drawn())
    turned = likely_turned(value, tuple(range(9)))
    assert are_degenerate("pdq", turned).all()
    assert are_degenerate("vpdq", rows_of([value])).all()
    assert are_degenerate(QUADRANTS, rows_of([value * 3 + PHOTO])).all()
    assert not are_degenerate(QUADRANTS, rows_of([value * 2 + PHOTO * 2])).any()
    assert not are_degenerate("sha256", rows_of([value])).any()


@pytest.mark.parametrize("algorithm", ["pdq", "phash", "dhash", "photodna"])
def test_digests_of_nothing_are_degenerate(algorithm: str) -> None:
    size = {"pdq": 32, "photodna": 144}.get(algorithm, 8)
    assert are_degenerate(algorithm, np.zeros((3, size), np.uint8)).all()


def test_pictures_are_not_degenerate() -> None:
    values = [pdq(np.asarray(scene(seed).convert("L"))) for seed in range(50)]
    assert not are_degenerate("pdq", rows_of(values)).any()


def test_rows_and_columns_are_compared_as_one_by_one() -> None:
    chance = np.random.default_rng(1)
    rows = np.repeat(chance.integers(0, 65536, (400, 1)), 16, 1) ^ 65535 * chance.integers(0, 2, (400, 16))
    for _ in range(3):
        rows ^= (chance.random((400, 16)) < 0.6) << chance.integers(0, 16, (400, 16))
    for row, other in zip(rows, chance.integers(0, 4, 400), strict=True):
        row[:other] = chance.integers(0, 65536, other)
    expected = [_is_degenerate(row.tolist()) for row in rows]
    values = rows.astype(">u2").view(np.uint8)
    assert are_degenerate("pdq", values).tolist() == expected
    assert 40 < sum(expected) < 360


def _is_degenerate(rows: list[int]) -> bool:
    columns = [sum((row >> place & 1) << at for at, row in enumerate(rows)) for place in range(16)]
    return any(
        sum(min(n := (one ^ other).bit_count(), 16 - n) <= 2 for other in lines) >= 14
        for lines in (rows, columns)
        for one in lines
    )


@pytest.mark.parametrize("others", [0, pytest.param(SMALL, id="compiled")])
def test_the_other_digests_of_its_entry_are_matched(tmp_path: Path, others: int) -> None:
    value = pdq(radial())
    more = np.random.default_rng(1).integers(0, 256, (others, 32), dtype=np.uint8)
    entries = [
        *(Entry("e", "pdq", value, "A1"), Entry("e-md5", "md5", bytes(16), "A1")),
        *(Entry("f", "pdq", PHOTO, "A1"), Entry("g", "phash", bytes(8), "A1")),
        *(Entry(f"o{number}", "pdq", other.tobytes(), "A1") for number, other in enumerate(more)),
    ]
    store = ListStore(tmp_path / "lists")
    info = store.import_entries("ours", entries, "test")
    assert info.degenerate == (("pdq", 1), ("phash", 1))
    assert info.entries == len(entries)
    with store.open(["ours"], NOW) as opened:
        assert opened.infos[0].degenerate == info.degenerate
        matcher = Matcher(opened.handles, 52)
        assert not list(matcher.ask("pdq", [Query(value)]))
        assert not list(matcher.ask("phash", [Query(bytes(8))]))
        assert not len(matcher.near("pdq", rows_of([value]), 31))
        assert [found.entry_id for _, found in matcher.ask_digests("pdq", PHOTO)] == ["f"]
        assert [found.entry_id for _, found in matcher.ask("md5", [Query(bytes(16))])] == ["e-md5"]


def test_a_scanned_picture_is_asked_about_however_smooth_it_is(tmp_path: Path) -> None:
    """No service is asked about a plane of opacity that shows only a shape."""
    # 30 bits from nothing, in six rows and five columns.
    listed = b"\xf8\0" * 6 + bytes(20)
    assert not are_degenerate("pdq", rows_of([listed])).any()
    store = ListStore(tmp_path / "lists")
    store.import_entries("ours", [Entry("e", "pdq", listed, "A1"), Entry("f", "pdq", PHOTO, "A1")], "test")

    def matched(value: bytes, look: int) -> list[str]:
        run = DigestRun(WHOLE, look * LOOK, (0,), 0, "pdq", value, 100, 0)
        file = FileTask(Item(b"", FileStat(0, 0, 0, 0, 0, 0, 0)))
        file.decoded = DecodedPicture(Picture("PNG", 64, 64), (run,))
        with store.open(["ours"], NOW) as opened:
            match_files(Matcher(opened.handles, 52), ["pdq"], [file])
        return [match.entry_id for match in file.matches]

    assert matched(bytes(32), 0) == matched(bytes(32), OVER_WHITE) == ["e"]
    assert matched(bytes(32), ALPHA) == []
    assert matched(listed, ALPHA) == ["e"]
    assert matched(PHOTO, ALPHA) == ["f"]


def test_a_video_is_not_matched_by_title_cards_alone(tmp_path: Path) -> None:
    cards = [pdq(drawn()) for drawn in (radial, diagonal)]
    entries = [
        Entry(f"v@{number}/3", "vpdq", value, "A1") for number, value in enumerate([*cards, PHOTO])
    ] + [Entry(f"w@{number}/2", "vpdq", value, "A1") for number, value in enumerate(cards)]
    store = ListStore(tmp_path / "lists")
    assert store.import_entries("ours", entries, "test").degenerate == (("vpdq", 4),)

    def matched(*values: bytes) -> list[tuple[str, int]]:
        frames = SampledFrames(b"", Borders.NONE, b"\0", b"".join(values))
        with store.open(["ours"], NOW) as opened:
            return [
                (found.entry_id, found.distance) for found in VideoMatcher(opened.handles).matches([frames])
            ]

    assert matched(*cards) == []
    assert matched(*cards, PHOTO) == [("v", 0)]
