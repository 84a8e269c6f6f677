"""The inner loops of unpacking in C; arrays are contiguous."""

from typing import Any

from numpy.typing import NDArray

def sums(
    data: NDArray[Any], at: NDArray[Any], length: NDArray[Any], values: NDArray[Any], apart: NDArray[Any], /
) -> bytes: ...
def step(
    data: NDArray[Any],
    at: NDArray[Any],
    values: NDArray[Any],
    size: int,
    guessed: bool,
    known: NDArray[Any],
    swapped: bool,
    mask: NDArray[Any],
    /,
) -> None: ...
