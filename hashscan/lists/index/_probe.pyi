"""The inner loops of the Hamming search in C; arguments are contiguous arrays of 8, 4 or 2 byte numbers."""

from typing import Any

from numpy.typing import NDArray

LOOPS: str
"""Which of them this processor runs: `avx2`, `popcnt` or `plain`."""

class DamagedFileError(Exception): ...

def probe(
    words: NDArray[Any],
    starts: NDArray[Any],
    near: NDArray[Any],
    after: NDArray[Any],
    rows: NDArray[Any],
    masks: NDArray[Any],
    upto: NDArray[Any],
    queries: NDArray[Any],
    thresholds: NDArray[Any],
    length: int,
    budget: int,
    /,
) -> tuple[bytes, bytes]: ...
def scan(words: NDArray[Any], queries: NDArray[Any], thresholds: NDArray[Any], size: int, /) -> bytes: ...
