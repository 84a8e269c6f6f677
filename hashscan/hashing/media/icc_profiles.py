"""Distinguish ordinary ICC profiles from those that show another picture than is stored; uses no library.

For a photograph in sRGB, Adobe RGB, Display P3 or ProPhoto RGB, the stored values have the same digest as the
shown ones. Any other profile is odd: its curves are not near those, its colour weights differ, or it has
tables. Odd profiles are applied (see `profile_conversion`). The bytes are untrusted: each length and offset
is checked against the length of the profile, and a profile that can't be read is odd.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HEADER, _ENTRY = 128, 12
_TAGS_MAX = 128
_CLASSES = frozenset({b"mntr", b"scnr", b"prtr", b"spac"})
_COLORANTS, _CURVES = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")
TABLES = tuple(kind + number for kind in (b"D2B", b"A2B") for number in (b"0", b"1", b"2", b"3"))
"""Tags of tables that convert from the picture's colours; D2B3 is for the absolute intent."""

_TOLERANCE = 0.1
"""Largest difference between a curve and that of sRGB, in shown values from 0 black to 1 white. Curves of
gamma 1.8 and 2.6 differ by 0.07."""
_NEAR = 0.06
"""Largest difference between a primary colour and that of a known colour space, in each of X, Y and Z."""
_STEPS = np.arange(255 * 16 + 1) / (255 * 16)
_STEEPEST = 4.0

_KNOWN = np.array(
    [
        [[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]],  # sRGB
        [[0.6097, 0.3111, 0.0195], [0.2053, 0.6257, 0.0609], [0.1492, 0.0632, 0.7446]],  # Adobe RGB
        [[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]],  # Display P3
        [[0.7977, 0.2880, 0.0000], [0.1352, 0.7119, 0.0000], [0.0313, 0.0001, 0.8249]],  # ProPhoto RGB
        [[0.6734, 0.2790, -0.0019], [0.1657, 0.6753, 0.0300], [0.1250, 0.0456, 0.7969]],  # BT.2020
        [[0.7161, 0.2582, 0.0000], [0.1009, 0.7249, 0.0518], [0.1472, 0.0169, 0.7735]],  # Wide Gamut
        [[0.4753, 0.2555, 0.0185], [0.3395, 0.6725, 0.1133], [0.1489, 0.0720, 0.6931]],  # Apple RGB
        [[0.5093, 0.2749, 0.0243], [0.3209, 0.6581, 0.1088], [0.1340, 0.0670, 0.6919]],  # ColorMatch
    ]
)
"""Red, green and blue of known colour spaces as X, Y and Z, adapted to D50."""

SRGB_COLORANTS: Floats = _KNOWN[0]
"""Red, green and blue of sRGB."""

_REMEMBERED = 64
_judged: OrderedDict[bytes, bool] = OrderedDict()


def is_ordinary(profile: bytes) -> bool:
    """Return True if a profile hardly changes the brightness from which a picture's digest is computed.

    The result is cached by the profile's SHA-256, so that no other profile can get it, for the lifetime of
    this process: the decoder uses a new process for each owner of files.
    """
    key = hashlib.sha256(profile).digest()
    known = _judged.get(key)
    if known is None:
        try:
            known = _judge(profile)
        except (struct.error, ValueError, IndexError, OverflowError, FloatingPointError):
            known = False
        _judged[key] = known
        if len(_judged) > _REMEMBERED:
            _judged.popitem(last=False)
    return known


def is_profile(content: bytes) -> bool:
    """Return True if bytes begin like a profile, so that a viewer may apply it."""
    return len(content) >= _HEADER + 4 and content[36:40] == b"acsp"


def tags_of(profile: bytes) -> list[tuple[bytes, int, int, int]]:
    """Return signature, offset and length of each tag within the profile, and the offset of its entry."""
    count = min(int.from_bytes(profile[_HEADER : _HEADER + 4]), _TAGS_MAX)
    found = []
    for place in range(_HEADER + 4, _HEADER + 4 + _ENTRY * count, _ENTRY):
        entry = profile[place : place + _ENTRY]
        if len(entry) == _ENTRY:
            signature, offset, length = entry[:4], int.from_bytes(entry[4:8]), int.from_bytes(entry[8:])
            if offset + length <= len(profile):
                found.append((signature, offset, length, place))
    return found


def hide_tags(profile: bytes, signatures: tuple[bytes, ...]) -> bytes:
    """Return the profile as a viewer reads it that doesn't support the given tags."""
    changed = bytearray(profile)
    for signature, _, _, place in tags_of(profile):
        if signature in signatures:
            changed[place : place + 4] = b"none"
    return bytes(changed)


def _judge(profile: bytes) -> bool:
    if not is_profile(profile):
        return False
    tags = tags_of(profile)
    by_name = {signature: profile[offset : offset + length] for signature, offset, length, _ in tags}
    declared = int.from_bytes(profile[_HEADER : _HEADER + 4])
    # Programs differ in which of two equal tags they use, and in how they treat a truncated one.
    if len(by_name) != declared or profile[12:16] not in _CLASSES or profile[20:24] != b"XYZ ":
        return False
    if any(table in by_name for table in TABLES):
        return False
    if b"cicp" in by_name and not is_ordinary_coding(by_name[b"cicp"][8:12]):
        return False
    match profile[16:20]:
        case b"RGB ":
            colorants = np.array([_xyz(by_name.get(name, b"")) for name in _COLORANTS])
            curves = {by_name.get(name, b"") for name in _CURVES}
            return are_ordinary_colorants(colorants) and all(map(_is_ordinary_curve, curves))
        case b"GRAY":
            return _is_ordinary_curve(by_name.get(b"kTRC", b""))
    return False


def is_ordinary_coding(coding: bytes) -> bool:
    """Return True if primaries and transfer function are near those of sRGB.

    Args:
        coding: four bytes by ITU-T H.273, of which the first two are primaries and transfer characteristics.
    """
    return len(coding) > 1 and coding[0] not in _ODD_PRIMARIES and coding[1] not in _ODD_TRANSFERS


_ODD_PRIMARIES = frozenset({8, 10, 11})
_ODD_TRANSFERS = frozenset({5, 8, 9, 10, 16, 17, 18})


def are_ordinary_colorants(colorants: Floats) -> bool:
    """Return True if red, green and blue (shape (3, 3), each X, Y, Z) are near those of a known space."""
    return bool((np.abs(_KNOWN - colorants).max(axis=(1, 2)) <= _NEAR).any())


def is_ordinary_transfer(values: Floats, light: Floats) -> bool:
    """Return True if a curve is near that of sRGB.

    Args:
        values: stored values, 0 to 1.
        light: the light of each value, 0 to 1.
    """
    return bool((np.abs(srgb_values(light) - values) <= _TOLERANCE).all())


def srgb_values(light: Floats) -> Floats:
    """Return the sRGB values (IEC 61966-2-1), 0 to 1, of light, which is clipped to 0 to 1."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _xyz(tag: bytes) -> tuple[float, ...]:
    kind, *numbers = struct.unpack_from(">4s4x3i", tag)
    if kind != b"XYZ ":
        raise ValueError("no colour")
    return tuple(number / 65536 for number in numbers)


def _is_ordinary_curve(tag: bytes) -> bool:
    """Return True if a tag's curve is near that of sRGB.

    Each value of a table is checked, since the picture may use any of them.
    """
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 1:
            return is_ordinary_transfer(_STEPS, _STEPS ** (struct.unpack_from(">H", tag, 12)[0] / 256))
        if not 1 < count <= (len(tag) - 12) // 2:
            # A curve without a table is the identity (gamma 1), which is not near sRGB's.
            return False
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float64) / 65535
        return is_ordinary_transfer(np.linspace(0, 1, count), table)
    if tag[:4] == b"para":
        return _is_ordinary_function(tag)
    return False


def _is_ordinary_function(tag: bytes) -> bool:
    """Return True if a parametric curve of type 0 to 4 (ICC.1, section 10.18) is near that of sRGB."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    given = [number / 65536 for number in struct.unpack_from(f">{count}i", tag, 12)]
    gamma, a, b = [*given, 1.0, 0.0][:3]
    if not (0 < gamma <= _STEEPEST and 0 < a <= _STEEPEST):
        return False
    slope, start, above, below = 0.0, -b / a, 0.0, 0.0
    if kind == 2:
        above = below = given[3]
    elif kind >= 3:
        slope, start = given[3:5]
        above, below = (*given[5:], 0.0, 0.0)[:2]
    if not 0 <= slope <= _STEEPEST:
        return False
    # Both parts are increasing, so nothing can be hidden between the steps.
    power = (a * _STEPS + b).clip(0) ** gamma + above
    return is_ordinary_transfer(_STEPS, np.where(start <= _STEPS, power, slope * _STEPS + below))


def make_profile(colorants: Floats, curves: list[Floats]) -> bytes:
    """Make an ICC profile of version 2 for a picture that defines its colours without a profile.

    Args:
        colorants: red, green and blue, shape (3, 3), each X, Y and Z adapted to D50.
        curves: for each of them, the light of equally spaced values, 0 to 1.
    """
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)
    pieces = [(b"wtpt", white)]
    for name, numbers in zip(_COLORANTS, colorants, strict=True):
        fixed = np.rint(numbers.clip(-8, 8) * 65536).astype(int)
        pieces.append((name, struct.pack(">4s4x3i", b"XYZ ", *fixed.tolist())))
    for name, curve in zip(_CURVES, curves, strict=True):
        table = np.rint(np.nan_to_num(curve).clip(0, 1) * 65535).astype(">u2")
        tag = struct.pack(">4s4xI", b"curv", table.size) + table.tobytes()
        pieces.append((name, tag.ljust(-(-len(tag) // 4) * 4, b"\0")))
    first = _HEADER + 4 + _ENTRY * len(pieces)
    starts = [first]
    for _, tag in pieces:
        starts.append(starts[-1] + len(tag))
    entries = b"".join(
        struct.pack(">4sII", name, start, end - start)
        for (name, _), (start, end) in zip(pieces, pairwise(starts), strict=True)
    )
    head = struct.pack(">I4xI4s4s4s12x4s", starts[-1], 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + white[8:]
    return b"".join(
        (head.ljust(_HEADER, b"\0"), struct.pack(">I", len(pieces)), entries, *(tag for _, tag in pieces))
    )
