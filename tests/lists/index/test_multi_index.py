from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.lists.index.kernel import words_of
from hashscan.lists.index.multi_index import SHORT_MAX, Chunks, flips

DIVISIONS = [Chunks(bits, length) for bits in (64, 128, 256) for length in (8, 16)]

each = pytest.mark.parametrize("chunks", DIVISIONS, ids=str)


@each
def test_cuts_follow_each_other_round_the_ring(chunks: Chunks) -> None:
    values = np.random.default_rng(1).integers(0, 256, (50, chunks.bits // 8), dtype=np.uint8)
    bits = np.unpackbits(values, axis=1, bitorder="little")
    words = words_of(values).view(np.uint64)
    for chunk in range(chunks.count):
        start = chunk * chunks.length
        ring = np.roll(bits, -start, axis=1)
        begin = 0
        for name, size in (("keys", chunks.length), ("near", 16), ("after", 16)):
            expected = ring[:, begin : begin + size] @ (1 << np.arange(size))
            assert getattr(chunks, name)(words, chunk).tolist() == expected.tolist()
            begin += size


@each
@given(data=st.data())
def test_one_chunk_and_those_after_it_are_within_their_limits(chunks: Chunks, data: st.DataObject) -> None:
    """The pigeonring principle, with any spread of as many flips as the threshold allows."""
    threshold = data.draw(st.integers(0, chunks.bits))
    flipped = data.draw(st.sets(st.integers(0, chunks.bits - 1), max_size=threshold))
    differing = [sum(bit // chunks.length == number for bit in flipped) for number in range(chunks.count)]
    step = 16 // chunks.length

    def fits(chunk: int) -> bool:
        upto = list(accumulate(differing[(chunk + n) % chunks.count] for n in range(2 * step + 1)))
        near, both = chunks.limits(threshold, chunk)
        return upto[0] <= chunks.radii(threshold)[chunk] and upto[step] <= near and upto[-1] <= both

    assert any(fits(chunk) for chunk in range(chunks.count))


@each
@pytest.mark.parametrize("threshold", [0, 5, 31, 34, 47])
def test_radii_add_up_and_are_spread(chunks: Chunks, threshold: int) -> None:
    radii = chunks.radii(threshold)
    assert len(radii) == chunks.count
    assert sum(radius + 1 for radius in radii) == threshold + 1
    twice = [*radii, *radii]
    windows = [sum(twice[first : first + 3]) for first in range(chunks.count)]
    assert max(windows) - min(windows) <= 1


def test_many_entries_have_longer_chunks() -> None:
    assert Chunks.of(256, SHORT_MAX) == Chunks(256, 8)
    assert Chunks.of(256, SHORT_MAX + 1) == Chunks(256, 16)


@pytest.mark.parametrize("length", [8, 16])
def test_flips_are_all_numbers_by_the_bits_set(length: int) -> None:
    masks, upto = flips(length)
    assert sorted(masks.tolist()) == list(range(1 << length))
    weights = [int(mask).bit_count() for mask in masks]
    assert weights == sorted(weights)
    assert upto.tolist() == [sum(weight <= radius for weight in weights) for radius in range(length + 1)]
