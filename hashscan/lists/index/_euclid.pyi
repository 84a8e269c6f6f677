"""The inner loops of the Euclidean search in C; arguments are contiguous arrays of 1, 4 or 8 byte numbers."""

from typing import Any

from numpy.typing import NDArray

class DamagedFileError(Exception): ...

def probe(
    values: NDArray[Any],
    codes: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    rows: NDArray[Any],
    query_codes: NDArray[Any],
    limits: NDArray[Any],
    queries: NDArray[Any],
    thresholds: NDArray[Any],
    size: int,
    /,
) -> bytes: ...
def scan(values: NDArray[Any], queries: NDArray[Any], thresholds: NDArray[Any], size: int, /) -> bytes: ...
