from __future__ import annotations

import numpy as np
import pytest

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pdq_turns import likely_turned
from hashscan.state.store.pdq_prediction import ALL_TURNS, Guesses

HEAD = bytes(12)


def digests_of(seed: int) -> list[np.ndarray]:
    """Of all turns of a drawn picture, each of shape (1, 32)."""
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
    guesses, exact = Guesses(), []
    for turn, digest in enumerate(digests_of(seed)):
        guess = guesses.of(HEAD, turn)
        assert (guess is None) == (turn == 0)
        if guess is not None:
            assert bits(guess.made(), digest) < 60
            exact += [turn] if bits(guess.made(), digest) == 0 else []
        guesses.learn(HEAD, turn, digest)
    assert {4, 5, 6, 7} <= set(exact)


def test_of_another_rendering_a_guess_is_as_from_the_first() -> None:
    guesses = Guesses()
    value = np.arange(32, dtype=np.uint8)[None]
    guesses.learn(HEAD, 0, value)
    other = HEAD[:5] + b"\x02" + HEAD[6:]
    for turn in range(ALL_TURNS):
        guess = guesses.of(other, turn)
        assert guess is not None
        assert guess.made().tobytes() == likely_turned(value.tobytes(), (turn,)).tobytes()


def test_there_is_not_always_a_guess() -> None:
    guesses = Guesses()
    guesses.learn(HEAD, 0, np.zeros((1, 8), np.uint8))
    assert guesses.of(HEAD, 0) is None
    guesses.learn(HEAD, 0, np.zeros((1, 32), np.uint8))
    assert guesses.of(HEAD, ALL_TURNS) is None
    assert guesses.of(b"\x01" + HEAD[1:], 1) is None
    assert guesses.of(HEAD[:7] + b"\x01" + HEAD[8:], 1) is None
