from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.records import pack_failure, pack_picture
from hashscan.hashing.variants import DigestRun, Kind, Part
from hashscan.matching.evaluation import result_of
from hashscan.matching.file_task import FileTask
from hashscan.model import FileStat, Item, Reason
from hashscan.state.store.packing import Packed, pack, to_keep, unpack

ITEM = Item(b"f", FileStat(device=0, inode=0, size=3, mtime_ns=1, ctime_ns=0, links=1, uid=1))

runs = st.lists(
    st.builds(
        lambda kind, number, rendering, turns, values, quality, doubt, short: DigestRun(
            Part(kind, 0 if kind is Kind.PICTURE else number),
            rendering,
            tuple(sorted(turns)),
            0,
            "phash" if short else "pdq",
            b"".join(values[: len(turns)]) if not short else b"".join(v[:8] for v in values[: len(turns)]),
            quality,
            doubt,
        ),
        st.sampled_from(list(Kind)),
        st.integers(0, 2**32 - 1),
        st.integers(0, 5),
        st.lists(st.integers(0, 8), min_size=1, max_size=9, unique=True),
        st.lists(st.binary(min_size=32, max_size=32), min_size=9, max_size=9),
        st.integers(0, 100),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=8,
)


@given(runs)
def test_any_reply_comes_back(found: list[DigestRun]) -> None:
    reply = pack_picture(FORMATS[0], 3, 4, ("pdq", "phash"), found)
    assert unpack(pack(reply, ("pdq", "phash"))) == reply


def test_a_failure_comes_back() -> None:
    reply = pack_failure(Reason.BROKEN)
    assert unpack(pack(reply, ("pdq", "phash"))) == reply


def test_turned_digests_take_little() -> None:
    random = np.random.default_rng(1)
    y, x = np.mgrid[0:200, 0:300]
    luma = sum(np.sin(a * x + b * y) for a, b in random.uniform(-0.2, 0.2, (20, 2)))
    scaled = (255 * (luma - luma.min()) / (luma.max() - luma.min())).astype(np.uint8)
    (hashed,) = PDQ().runs(scaled, None, tuple(range(9)))
    run = DigestRun(Part(), 0, hashed.turns, 0, "pdq", hashed.values, 100, 0)
    packed = pack(pack_picture(FORMATS[0], 300, 200, ("pdq",), [run]), ("pdq",))
    assert len(packed.rest) < 16 + 8 * 20


@given(st.binary(max_size=200), st.binary(max_size=66), st.binary(max_size=80))
def test_nonsense_is_an_error_and_no_more(first: bytes, heads: bytes, rest: bytes) -> None:
    with contextlib.suppress(ValueError):
        unpack(Packed(first, heads, rest))


def test_what_is_cut_short_is_an_error() -> None:
    run = DigestRun(Part(), 0, (0, 1), 0, "pdq", bytes(range(64)), 100, 0)
    packed = pack(pack_picture(FORMATS[0], 3, 4, ("pdq",), [run]), ("pdq",))
    with pytest.raises(ValueError, match="short"):
        unpack(packed._replace(rest=packed.rest[:16]))
    with pytest.raises(ValueError, match="long"):
        unpack(packed._replace(rest=packed.rest + b"x"))


@pytest.mark.parametrize("reason", [None, Reason.COMPRESSED])
def test_a_verdict_that_depends_on_more_than_the_content_is_not_kept(reason: Reason | None) -> None:
    """Its file would be clean in the next scan."""
    file = FileTask(ITEM, exact={"md5": bytes(16)}, as_listed=True, reason=reason)
    assert (result_of(file, ["md5"]).verdict == "clean") == (reason is None)
    assert (to_keep(file, ["pdq"]) is None) == (reason is not None)
