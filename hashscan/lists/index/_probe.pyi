"""The inner loops of the Hamming search in C; arguments are contiguous arrays of 8 or 4 byte numbers."""

from typing import Any

from numpy.typing import NDArray

class DamagedFileError(Exception): ...

def probe(
    words: NDArray[Any],
    starts: NDArray[Any],
    rows: NDArray[Any],
    sketch: NDArray[Any],
    lengths: NDArray[Any],
    queries: NDArray[Any],
    thresholds: NDArray[Any],
    budget: int,
    /,
) -> tuple[bytes, bytes]: ...
def halo(
    words: NDArray[Any],
    starts: NDArray[Any],
    pairs: NDArray[Any],
    first: NDArray[Any],
    crowded: NDArray[Any],
    limits: NDArray[Any],
    queries: NDArray[Any],
    threshold: int,
    budget: int,
    /,
) -> tuple[bytes, bytes]: ...
def scan(words: NDArray[Any], queries: NDArray[Any], thresholds: NDArray[Any], size: int, /) -> bytes: ...
