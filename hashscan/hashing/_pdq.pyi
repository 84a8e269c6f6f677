"""The inner loops of PDQ in C; arguments but `luma` are contiguous arrays, see _pdq.c for their shapes."""

from typing import Any

from numpy.typing import NDArray

Table = bytes | NDArray[Any]

def weights(length: int, kept: int, factor: int, ways: bytes, /) -> tuple[bytes, bytes]: ...
def reduce(
    luma: NDArray[Any],
    spans_down: Table,
    weights_down: Table,
    spans_across: Table,
    weights_across: Table,
    out: NDArray[Any],
    /,
) -> None: ...
def judge(
    small: NDArray[Any],
    dct: NDArray[Any],
    limits: NDArray[Any],
    places: NDArray[Any],
    slack: float,
    /,
) -> tuple[bytes, float, int, int, int, int, int, int]: ...
def hashed(
    luma: NDArray[Any],
    spans_down: Table,
    weights_down: Table,
    spans_across: Table,
    weights_across: Table,
    dct: NDArray[Any],
    limits: NDArray[Any],
    places: NDArray[Any],
    slack: float,
    /,
) -> tuple[bytes, float, int, int, int, int, int, int]: ...
def restored(small: NDArray[Any], maps: NDArray[Any], dct: NDArray[Any], /) -> bytes: ...
def rounded(
    luma: NDArray[Any], dct: NDArray[Any], out: NDArray[Any], out_frequencies: NDArray[Any], /
) -> None: ...
def lines(luma: NDArray[Any], across: bool, out: NDArray[Any], /) -> None: ...
def inner_boxes(luma: NDArray[Any], /) -> list[tuple[int, int, int, int]]: ...
def least_edge(luma: NDArray[Any], /) -> float: ...
