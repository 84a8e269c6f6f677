"""Tests of state.store.packing."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pdq_reduction import likely_turned
from hashscan.hashing.records import pack_failure, pack_picture
from hashscan.hashing.variants import RESTORED, SECTION, DigestRun, Kind, Part
from hashscan.matching.evaluation import FileTask, result_of
from hashscan.model import FileStat, Item, Reason
from hashscan.state.store.members import to_keep
from hashscan.state.store.packing import ALL_TURNS, Packed, pack, steps_of, unpack

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
    assert unpack(pack(reply, ("pdq", "phash")), ("pdq", "phash")) == reply


def test_a_failure_comes_back() -> None:
    reply = pack_failure(Reason.BROKEN)
    assert unpack(pack(reply, ("pdq", "phash")), ("pdq", "phash")) == reply


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
        unpack(Packed(first, heads, rest), ("pdq", "phash"))


def test_what_is_cut_short_is_an_error() -> None:
    run = DigestRun(Part(), 0, (0, 1), 0, "pdq", bytes(range(64)), 100, 0)
    packed = pack(pack_picture(FORMATS[0], 3, 4, ("pdq",), [run]), ("pdq",))
    with pytest.raises(ValueError, match="short"):
        unpack(packed._replace(rest=packed.rest[:16]), ("pdq",))
    with pytest.raises(ValueError, match="long"):
        unpack(packed._replace(rest=packed.rest + b"x"), ("pdq",))


@pytest.mark.parametrize("reason", [None, Reason.COMPRESSED, Reason.PARTIAL, Reason.NAMED])
def test_a_verdict_that_depends_on_more_than_the_content_is_not_kept(reason: Reason | None) -> None:
    """Its file would be clean in the next scan."""
    file = FileTask(ITEM, exact={"md5": bytes(16)}, as_listed=True, reason=reason)
    assert (result_of(file, ["md5"]).verdict == "clean") == (reason is None)
    assert (to_keep(file, ["pdq"]) is None) == (reason is not None)


def head(*, number: int = 0, rendering: int = 0, algorithm: int = 0, turns: int = 1) -> bytes:
    """Return the head of a run; of `turns`, bit n is for turn n."""
    return bytes((number, 0, 0, 0, 0, rendering, 0, algorithm, 0, 0)) + turns.to_bytes(2, "little")


ALL = (1 << ALL_TURNS) - 1


def digests_of(seed: int) -> list[np.ndarray]:
    """Return the digests of all turns of a drawn picture, each of shape (1, 32)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:200, 0:300]
    luma = sum(np.sin(a * x + b * y) for a, b in random.uniform(-0.2, 0.2, (20, 2)))
    scaled = (255 * (luma - luma.min()) / (luma.max() - luma.min())).astype(np.uint8)
    (hashed,) = PDQ().runs(scaled, None, tuple(range(ALL_TURNS)))
    return list(np.frombuffer(hashed.values, np.uint8).reshape(ALL_TURNS, 1, 32))


def bits(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.bitwise_count(one ^ other).sum())


@pytest.mark.parametrize("seed", range(4))
def test_half_of_the_turns_follow_from_the_others(seed: int) -> None:
    digests, exact = digests_of(seed), []
    for step, digest in zip(steps_of(head(turns=ALL), ("pdq",)), digests, strict=True):
        guess = step.guess(digests)
        assert (guess is None) == (step.turn == 0)
        if guess is not None:
            assert bits(guess.made(), digest) < 60
            exact += [step.turn] if bits(guess.made(), digest) == 0 else []
    assert {4, 5, 6, 7} <= set(exact)


def test_one_digest_is_predicted_as_many_are() -> None:
    digests = digests_of(1) + digests_of(2)
    numbers = [int.from_bytes(digest.tobytes()) for digest in digests]
    for step in steps_of(head(turns=ALL) + head(rendering=2, turns=ALL), ("pdq",))[1:]:
        guess, number = step.guess(digests), step.guessed(numbers)
        assert guess is not None
        assert number is not None
        assert guess.made().tobytes() == number.to_bytes(32)


def test_of_another_rendering_a_guess_is_as_from_the_first() -> None:
    value = np.arange(32, dtype=np.uint8)[None]
    first, *others = steps_of(head() + b"".join(head(rendering=2, turns=1 << n) for n in range(9)), ("pdq",))
    assert first.known is None
    guess = others[0].guess([value])
    assert guess is not None
    assert guess.made().tobytes() == value.tobytes()
    for turn in range(1, ALL_TURNS):
        [_, other] = steps_of(head() + head(rendering=2, turns=1 << turn), ("pdq",))
        guess = other.guess([value])
        assert guess is not None
        assert guess.made().tobytes() == likely_turned(value.tobytes(), (turn,)).tobytes()


@pytest.mark.parametrize(
    "second",
    [
        head(number=1, turns=2),
        head(algorithm=1, turns=2),
        head(turns=1 << ALL_TURNS),
        head(rendering=RESTORED, turns=2),
        head(rendering=SECTION, turns=2),
    ],
    ids=["another picture", "another algorithm", "an unknown turn", "a restored picture", "a section"],
)
def test_there_is_not_always_a_guess(second: bytes) -> None:
    assert [step.known for step in steps_of(head() + second, ("pdq", "phash"))] == [None, None]


def test_digests_of_another_length_predict_nothing() -> None:
    assert [step.known for step in steps_of(head(algorithm=1, turns=3), ("pdq", "phash"))] == [None, None]


def test_a_first_digest_of_another_run_is_an_error() -> None:
    """A run without a digest comes first, so that the length is that of another algorithm."""
    packed = Packed(bytes(8), head(algorithm=1, turns=0) + head(turns=3), bytes(17))
    with pytest.raises(ValueError, match="length"):
        unpack(packed, ("pdq", "phash"))
