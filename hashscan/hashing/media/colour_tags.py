"""Find the colour information in picture files: ICC profiles, and numbers that define a colour space.

All of it is returned, even where the format defines which of two applies: viewers differ in that.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import takewhile

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.avif_items import boxes_of
from hashscan.hashing.embedded.directories import PNG_SIGNATURE, png_chunks
from hashscan.hashing.media.icc_profiles import (
    are_ordinary_colorants,
    is_ordinary,
    is_ordinary_coding,
    is_ordinary_transfer,
    is_profile,
    make_profile,
    tags_of,
)
from hashscan.hashing.media.profile_conversion import PQ, PROFILE_MAX
from hashscan.hashing.pillow_internals import jpeg_application_data
from hashscan.hashing.pread import PictureFile

Floats = NDArray[np.float64]

_VALUES = np.linspace(0, 1, 4096)
_SRGB_XY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""Chromaticities of sRGB: x and y of white, red, green and blue."""
_PRIMARIES = {
    8: (0.31, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_D50 = np.array((0.9642, 1.0, 0.8249))
_CONES = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))
"""Bradford's matrix, for the adaptation of colours to another white point."""

_CHUNKS_MAX, _BOXES_MAX, _BOX_BYTES = 10_000, 1_000, 16 << 20
_ICONS_MAX = 64
_ICC_SEGMENT = b"ICC_PROFILE\0"


class ColourInfo(Struct):
    """The colour information of a file."""

    profiles: list[bytes] = field(default_factory=list)
    """The profiles that are not ordinary, each once."""
    depth: int = 8
    """Bits of a sample, if the format is PNG."""
    unreadable: bool = False
    """True if the file has colour information that cannot be applied."""
    bright: list[int] = field(default_factory=list)
    """The numbers of the primaries of the colours of high dynamic range, each once; see `pq_luma`."""
    apertures: list[bytes] = field(default_factory=list)
    """The boxes `clap` (clean aperture) of an AVIF, each once: the parts of the picture to show."""

    def add(self, profile: object) -> None:
        """Add a profile, unless it is ordinary."""
        if not isinstance(profile, bytes) or not is_profile(profile):
            # No viewer applies it.
            return
        if is_ordinary(profile) or profile in self.profiles:
            return
        if len(profile) > PROFILE_MAX or len(self.profiles) >= _PROFILES_MAX:
            self.unreadable = True
            return
        self.profiles.append(profile)
        for name, at, _, _ in tags_of(profile):
            if name == b"cicp":
                self.add_coding(profile[at + 8 : at + 12])

    def add_aperture(self, box: bytes) -> None:
        """Add a clean aperture: a part of the picture (ISO/IEC 14496-12, section 12.1.4)."""
        if len(box) < _APERTURE.size or box in self.apertures:
            return
        if len(self.apertures) >= _APERTURES_MAX:
            self.unreadable = True
            return
        self.apertures.append(box)

    def aperture_boxes(self, width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield left, top, right and bottom of each part within a picture of this size, in Pillow's order."""
        for box in self.apertures:
            numbers = _APERTURE.unpack(box)
            if 0 in numbers[1::2]:
                continue
            across, down, right, below = (n / d for n, d in zip(numbers[::2], numbers[1::2], strict=True))
            left, top = (width - across) / 2 + right, (height - down) / 2 + below
            first_x, first_y = max(0, round(left)), max(0, round(top))
            end_x, end_y = min(width, round(left + across)), min(height, round(top + down))
            if first_x < end_x and first_y < end_y and (end_x - first_x, end_y - first_y) != (width, height):
                yield first_x, first_y, end_x, end_y

    def add_coding(self, coding: bytes) -> None:
        """Add a profile for primaries and a transfer function given by their numbers (ITU-T H.273)."""
        if len(coding) < 2 or is_ordinary_coding(coding):
            return
        primaries, transfer = coding[:2]
        if transfer == PQ and primaries not in self.bright:
            if len(self.bright) >= _PROFILES_MAX:
                self.unreadable = True
                return
            self.bright.append(primaries)
        light = _light(transfer)
        colorants = _colorants(_PRIMARIES.get(primaries, _SRGB_XY))
        self.add(make_profile(colorants, [light] * 3))


_PROFILES_MAX = 3
_APERTURES_MAX = 4
_APERTURE = struct.Struct(">IIIIiIiI")
"""Width, height, and the offset of the centre from the picture's centre (right, down), as fractions."""


def tags_of_picture(image: Image.Image, file: PictureFile, pillow_format: str) -> ColourInfo:
    """Return the colour information of an opened picture's file that is not ordinary."""
    found = ColourInfo()
    match pillow_format:
        case "JPEG":
            for profile in jpeg_profiles(jpeg_application_data(image)):
                found.add(profile)
            return found
        case "PNG":
            _add_png(found, file, 0)
        case "ICO" | "CUR" | "ICNS":
            _add_icons(found, file)
        case "AVIF" | "HEIF":
            _add_boxes(found, file, (b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"))
        case "JPEG2000":
            _add_boxes(found, file, (b"jp2h",))
        case "BMP":
            _add_bitmap(found, file)
    # Pillow may read another profile than the code above.
    found.add(image.info.get("icc_profile"))
    return found


def jpeg_profiles(segments: list[bytes]) -> list[bytes]:
    """Return the profiles of a JPEG (ICC.1, annex B.4), given the contents of its APP2 segments.

    There is at most one, unless the file contains a piece of it twice.
    """
    pieces: dict[int, list[bytes]] = {}
    for segment in segments:
        if segment.startswith(_ICC_SEGMENT) and len(segment) > len(_ICC_SEGMENT) + 2:
            pieces.setdefault(segment[len(_ICC_SEGMENT)], []).append(segment[len(_ICC_SEGMENT) + 2 :])
    most = max((len(same) for same in pieces.values()), default=0)
    places = sorted(pieces)
    return [
        b"".join(pieces[place][min(at, len(pieces[place]) - 1)] for place in places) for at in range(most)
    ]


def _add_png(found: ColourInfo, file: PictureFile, start: int) -> None:
    """Add the colour chunks before the pixels (PNG, third edition, section 11.3.2)."""
    gammas, chromaticities = list[int](), list[tuple[int, ...]]()
    try:
        chunks = png_chunks(file, start, limit=_CHUNKS_MAX)
        for kind, _, length in takewhile(lambda chunk: chunk[0] not in {b"IDAT", b"fdAT"}, chunks):
            if kind == b"IHDR" and not start:
                found.depth = file.read(9)[8:9][0] if length >= 9 else 8
            elif kind == b"iCCP":
                found.add(_inflated(found, file.read(min(length, PROFILE_MAX))))
            elif kind == b"gAMA" and length == 4:
                gammas.append(int.from_bytes(file.read(4)))
            elif kind == b"cHRM" and length == 32:
                chromaticities.append(struct.unpack(">8I", file.read(32).ljust(32, b"\0")))
            elif kind == b"cICP" and length == 4:
                found.add_coding(file.read(4))
    except NotImplementedError:
        found.unreadable = True
    for gamma in gammas or [0]:
        for corners in chromaticities or [()]:
            _add_numbers(found, gamma, corners)


def _add_numbers(found: ColourInfo, gamma: int, corners: tuple[int, ...]) -> None:
    """Add a profile for the numbers of gAMA and cHRM, in units of 1/100,000; 0 and () if there are none."""
    exponent = 1e5 / gamma if gamma else 2.2
    light = _VALUES**exponent
    colorants = _colorants(tuple(number / 1e5 for number in corners) or _SRGB_XY)
    if not (is_ordinary_transfer(_VALUES, light) and are_ordinary_colorants(colorants)):
        found.add(make_profile(colorants, [light] * 3))


def _inflated(found: ColourInfo, chunk: bytes) -> bytes:
    """Return the profile in an iCCP chunk: a name, a NUL, the method 0, and the compressed profile."""
    _, _, rest = chunk.partition(b"\0")
    if not rest or rest[0]:
        return b""
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(rest[1:], PROFILE_MAX)
    except zlib.error:
        # Viewers cannot apply it either.
        return b""
    if decompressor.unconsumed_tail:
        found.unreadable = True
    return profile


def _add_icons(found: ColourInfo, file: PictureFile) -> None:
    """Add the colour information of the PNG files within an icon."""
    file.seek(0)
    content = file.read(_BOX_BYTES)
    place = -1
    for _ in range(_ICONS_MAX):
        place = content.find(PNG_SIGNATURE, place + 1)
        if place < 0:
            return
        _add_png(found, file, place)
    found.unreadable = True


def _add_boxes(found: ColourInfo, file: PictureFile, containers: tuple[bytes, ...]) -> None:
    """Add the boxes `colr` and `clap` of an ISO base media file or of JPEG 2000.

    Sources: ISO/IEC 23008-12 and ISO/IEC 15444-1.
    """
    left = _BOXES_MAX
    spans = [(0, file.size)]
    while spans:
        start, end = spans.pop()
        for kind, first, after in boxes_of(file, start, end):
            left -= 1
            if not left:
                found.unreadable = True
                return
            if kind in containers:
                # The content of `meta` begins after its version and flags.
                spans.append((first + 4 if kind == b"meta" else first, after))
            elif kind == b"clap":
                file.seek(first)
                found.add_aperture(file.read(min(after - first, _APERTURE.size)))
            elif kind == b"colr":
                file.seek(first)
                _add_colour_box(found, file.read(min(after - first, PROFILE_MAX)))


def _add_colour_box(found: ColourInfo, content: bytes) -> None:
    kind = content[:4]
    if kind == b"nclx":
        found.add_coding(content[5:6] + content[7:8])
    elif kind in {b"prof", b"rICC"}:
        found.add(content[4:])
    elif content[:1] in {b"\2", b"\3"}:
        # JPEG 2000: the method, precedence and approximation precede the profile.
        found.add(content[3:])


def _add_bitmap(found: ColourInfo, file: PictureFile) -> None:
    """Add the colour space of a bitmap's header (BITMAPV4HEADER and BITMAPV5HEADER)."""
    file.seek(14)
    header = file.read(124)
    if len(header) < 108:
        return
    size = int.from_bytes(header[:4], "little")
    space = header[56:60]
    if size >= 124 and space == b"DEBM":
        offset, length = struct.unpack_from("<II", header, 112)
        file.seek(14 + offset)
        found.add(file.read(min(length, PROFILE_MAX)))
    elif size >= 108 and space == bytes(4):
        colorants = np.array(struct.unpack_from("<9i", header, 60)).reshape(3, 3) / (1 << 30)
        curves = [_VALUES ** (gamma / 65536) for gamma in struct.unpack_from("<3I", header, 96)]
        ordinary = all(is_ordinary_transfer(_VALUES, curve) for curve in curves)
        if colorants.any() and not (ordinary and are_ordinary_colorants(colorants)):
            found.add(make_profile(colorants, curves))


def _colorants(corners: tuple[float, ...]) -> Floats:
    """Return X, Y and Z of red, green and blue, adapted to D50, shape (3, 3)."""
    x, y = np.array(corners[0::2]), np.array(corners[1::2])
    if not (y > 0).all():
        # The imaginary primaries of some spaces have no luminance (y is 0).
        y = y.clip(1e-6)
    tristimulus = np.stack((x / y, np.ones(4), (1 - x - y) / y), axis=1)
    white, primaries = tristimulus[0], tristimulus[1:]
    try:
        scaled = primaries * np.linalg.solve(primaries.T, white)[:, None]
    except np.linalg.LinAlgError:
        return _colorants(_SRGB_XY)
    adapt = np.linalg.inv(_CONES) @ np.diag((_CONES @ _D50) / (_CONES @ white)) @ _CONES
    found: Floats = scaled @ adapt.T
    return found if np.isfinite(found).all() else _colorants(_SRGB_XY)


def _light(transfer: int) -> Floats:
    """Return the light of `_VALUES` under a transfer function; 203 candelas count as white, as in HDR."""
    match transfer:
        case 5:
            return _VALUES**2.8
        case 8:
            return _VALUES
        case 9 | 10:
            return np.where(_VALUES > 0, 10 ** ((_VALUES - 1) * (2 if transfer == 9 else 2.5)), 0)
        case 16:
            root = _VALUES ** (32 / 2523)
            light = ((root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305)
            return light * (10_000 / 203)
        case 17:
            return _VALUES**2.6
        case 18:
            low = _VALUES**2 / 3
            high = (np.exp((_VALUES - 0.55991073) / 0.17883277) + 0.28466892) / 12
            return np.where(_VALUES <= 0.5, low, high) / 0.265
    return _VALUES**2.2
