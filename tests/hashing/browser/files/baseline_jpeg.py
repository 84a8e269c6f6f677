"""Write baseline JPEG with any sampling factors and orders of scans, of which Pillow writes few."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import encoded

Plane = NDArray[np.uint8]

_STEP = 4
"""The quantization step of all coefficients."""
_ZIGZAG = sorted(range(64), key=lambda n: (n // 8 + n % 8, n // 8 if (n // 8 + n % 8) % 2 else n % 8))
_N, _K = np.mgrid[0:8, 0:8]
_COSINES = np.where(_N == 0, np.sqrt(1 / 8), np.sqrt(2 / 8) * np.cos((2 * _K + 1) * _N * np.pi / 16))


@dataclass(frozen=True)
class Component:
    """One component: its plane at the size of the picture, its sampling factors, and its identifier."""

    plane: Plane
    across: int = 1
    down: int = 1
    identifier: int | None = None


@cache
def _tables() -> tuple[bytes, dict[int, dict[int, tuple[int, int]]]]:
    """Return the DHT segments of a JPEG by Pillow, and by table its codes and their lengths."""
    content = encoded(Image.new("RGB", (8, 8)), "JPEG", optimize=False)
    segments, codes, at = b"", {}, 2
    while content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if content[at + 1] == 0xC4:
            segments += content[at:end]
            place = at + 4
            while place < end:
                counts, values = content[place + 1 : place + 17], content[place + 17 :]
                code, number, found = 0, 0, {}
                for length, count in enumerate(counts, 1):
                    for value in values[number : number + count]:
                        found[value] = code, length
                        code += 1
                    number += count
                    code <<= 1
                codes[content[place]] = found
                place += 17 + number
        at = end
    return segments, codes


def _blocks(component: Component, most_across: int, most_down: int) -> NDArray[np.int64]:
    """Return quantised coefficients in their order, shape (rows, columns, 64), of whole units."""
    height, width = component.plane.shape
    units_across = -(-width // (8 * most_across))
    units_down = -(-height // (8 * most_down))
    own = max(1, width * component.across // most_across), max(1, height * component.down // most_down)
    plane = np.asarray(Image.fromarray(component.plane).resize(own, Image.Resampling.BOX))
    rows, columns = units_down * component.down, units_across * component.across
    plane = np.pad(plane, ((0, 8 * rows - own[1]), (0, 8 * columns - own[0])), "edge").astype(float) - 128
    parts = plane.reshape(rows, 8, columns, 8).swapaxes(1, 2)
    found = np.rint(_COSINES @ parts @ _COSINES.T / _STEP).astype(np.int64)
    return found.reshape(rows, columns, 64)[:, :, _ZIGZAG]


def _coded(block: Sequence[int], before: int) -> str:
    """Return the bits of a block."""
    codes = _tables()[1]
    out = []

    def put(table: int, run: int, value: int) -> None:
        size = abs(value).bit_length()
        code, length = codes[table][run << 4 | size]
        out.append(f"{code:0{length}b}")
        if size:
            out.append(f"{value if value > 0 else value + (1 << size) - 1:0{size}b}")

    put(0, 0, block[0] - before)
    zeros = 0
    last = max((n for n in range(64) if block[n]), default=0)
    for value in block[1 : last + 1]:
        if not value:
            zeros += 1
            continue
        while zeros > 15:
            code, length = codes[0x10][0xF0]
            out.append(f"{code:0{length}b}")
            zeros -= 16
        put(0x10, zeros, value)
        zeros = 0
    if last < 63:
        code, length = codes[0x10][0]
        out.append(f"{code:0{length}b}")
    return "".join(out)


def _order(
    components: Sequence[int],
    factors: Sequence[tuple[int, int]],
    units: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
) -> Iterator[list[tuple[int, int, int]]]:
    """Yield units: of each block the component, row and column."""
    if len(components) == 1:
        rows, columns = sizes[components[0]]
        for row in range(rows):
            for column in range(columns):
                yield [(components[0], row, column)]
        return
    for unit_row in range(units[1]):
        for unit_column in range(units[0]):
            yield [
                (number, unit_row * factors[number][1] + row, unit_column * factors[number][0] + column)
                for number in components
                for row in range(factors[number][1])
                for column in range(factors[number][0])
            ]


def baseline_jpeg(components: Sequence[Component], *, interleaved: bool = True, restart: int = 0) -> bytes:
    """Return a JPEG.

    Args:
        components: all of one size.
        interleaved: one scan for all components, or one for each.
        restart: number of units between restart markers.
    """
    height, width = components[0].plane.shape
    factors = [(each.across, each.down) for each in components]
    across, down = (max(each[axis] for each in factors) for axis in (0, 1))
    units = -(-width // (8 * across)), -(-height // (8 * down))
    blocks = [_blocks(each, across, down).tolist() for each in components]
    # Alone in a scan, a component has no blocks beyond its own size.
    sizes = [
        tuple(-(-side // 8) for side in (-(-height * own_down // down), -(-width * own_across // across)))
        for own_across, own_down in factors
    ]
    identifiers = [
        number + 1 if each.identifier is None else each.identifier for number, each in enumerate(components)
    ]
    out = [b"\xff\xd8\xff\xdb\0\x43\0" + bytes([_STEP]) * 64, _tables()[0]]
    described = b"".join(
        bytes((identifier, own_across << 4 | own_down, 0))
        for identifier, (own_across, own_down) in zip(identifiers, factors, strict=True)
    )
    frame = struct.pack(">BHHB", 8, height, width, len(components)) + described
    out.append(b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame)
    if restart:
        out.append(b"\xff\xdd\0\4" + struct.pack(">H", restart))
    numbers = range(len(components))
    for scan in [tuple(numbers)] if interleaved else [(number,) for number in numbers]:
        chosen = b"".join(bytes((identifiers[number], 0)) for number in scan)
        head = bytes((len(scan),)) + chosen + b"\0\x3f\0"
        out.append(b"\xff\xda" + struct.pack(">H", len(head) + 2) + head)
        before = dict.fromkeys(scan, 0)
        bits: list[str] = []
        for place, unit in enumerate(_order(scan, factors, units, sizes)):
            if restart and place and place % restart == 0:
                out += [_packed(bits), bytes((0xFF, 0xD0 + (place // restart - 1) % 8))]
                bits, before = [], dict.fromkeys(scan, 0)
            for number, row, column in unit:
                block = blocks[number][row][column]
                bits.append(_coded(block, before[number]))
                before[number] = block[0]
        out.append(_packed(bits))
    return b"".join((*out, b"\xff\xd9"))


def _packed(bits: list[str]) -> bytes:
    whole = "".join(bits)
    whole += "1" * (-len(whole) % 8)
    return int(whole or "1" * 8, 2).to_bytes(max(1, len(whole) // 8)).replace(b"\xff", b"\xff\0")
