"""The picture formats we know, told apart by a file's first bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

PREFIX_SIZE = 64
"""How many of a file's first bytes `sniff` looks at."""

_MODULES = {"heif": ("pillow_heif", "hashscan.hashing._heif_threads")}
"""By extra, what it takes to be of use."""

Signature = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """One picture format."""

    name: str
    """What reports call it."""

    pillow: str | None
    """Pillow's name for it; None when we recognise but don't decode it."""

    signatures: tuple[Signature, ...] = ()
    """The file starts with the bytes of one of these, each given with its offset."""

    check: Callable[[bytes], bool] | None = None
    """A further test of the first bytes, where the signature alone would fit ordinary files too."""

    extra: str = ""
    """The extra of this package that decodes it, where the package alone doesn't."""

    def recognises(self, prefix: bytes) -> bool:
        """Whether a file that starts like this is of this format."""
        # Plain loops: every file of a sweep comes through here, and generators cost three times as much.
        for signature in self.signatures:
            for offset, magic in signature:
                if not prefix.startswith(magic, offset):
                    break
            else:
                return self.check is None or self.check(prefix)
        return False


def _at(*parts: bytes | tuple[int, bytes]) -> Signature:
    """A signature; bytes without an offset stand at the start of the file."""
    return tuple((0, part) if isinstance(part, bytes) else part for part in parts)


def _number(prefix: bytes, offset: int, size: int) -> int:
    """A little-endian number; what lies beyond the end counts as zero."""
    return int.from_bytes(prefix[offset : offset + size], "little")


BITMAP_HEADERS = frozenset({12, *range(16, 65, 4), 42, 46, 108, 124})
"""Bytes of a bitmap's second header. That of OS/2 may be cut off behind any field, and browsers show it."""


def _is_bitmap(prefix: bytes) -> bool:
    # "BM" starts many a text; the size of the second header takes one of few values.
    return _number(prefix, 14, 4) in BITMAP_HEADERS


def _is_icon(prefix: bytes) -> bool:
    # Four nearly zero bytes start many a binary, and some Targa pictures. How long an icon is said to be is
    # of no matter to browsers.
    count, offset = _number(prefix, 4, 2), _number(prefix, 18, 4)
    return count > 0 and offset >= 6 + 16 * count


def _is_mac_icon(prefix: bytes) -> bool:
    # The file's length; text would make it a gigabyte.
    return 8 <= int.from_bytes(prefix[4:8], "big") < 1 << 27


def _is_paintbrush(prefix: bytes) -> bool:
    # Run-length coded, a known depth, and a box whose corners are in order.
    left, top, right, bottom = (_number(prefix, offset, 2) for offset in (4, 6, 8, 10))
    return (
        len(prefix) == PREFIX_SIZE
        and prefix[1] in {0, 2, 3, 4, 5}
        and prefix[2] == 1
        and prefix[3] in {1, 2, 4, 8}
        and left <= right
        and top <= bottom
    )


def _is_silicon_graphics(prefix: bytes) -> bool:
    # Stored plain or run-length coded, one or two bytes a value, one to three dimensions.
    return (
        len(prefix) == PREFIX_SIZE
        and prefix[2] in {0, 1}
        and prefix[3] in {1, 2}
        and prefix[4] == 0
        and prefix[5] in {1, 2, 3}
    )


def _is_quite_ok(prefix: bytes) -> bool:
    return len(prefix) >= 14 and prefix[12] in {3, 4} and prefix[13] in {0, 1}


def _is_flic(prefix: bytes) -> bool:
    return _number(prefix, 12, 2) == 8 and _number(prefix, 14, 2) in {0, 3}


# "P1 costs 20 euros" is no picture: width and height must follow, perhaps after comments, of which
# the last may reach beyond the first bytes.
_GAP = rb"(?:[ \t\n\v\f\r]|#[^\r\n]*(?:[\r\n]|\Z))+"
_PORTABLE = re.compile(
    rb"P[1-6f]" + _GAP + rb"(?:\Z|[0-9]+(?:\Z|" + _GAP + rb"(?:\Z|[0-9]+(?:\Z|[ \t\n\v\f\r#]))))"
)


def _is_portable(prefix: bytes) -> bool:
    return len(prefix) > 6 and _PORTABLE.match(prefix) is not None


def _brands(prefix: bytes) -> frozenset[bytes]:
    """The brands an ISO base media file says it follows: the major one, and the compatible ones in sight.

    Where not all are in sight, AVIF is among them, so that nobody can put it behind others.
    """
    length, start = int.from_bytes(prefix[:4], "big"), 8
    if length == 1:
        # It follows in eight bytes.
        length, start = int.from_bytes(prefix[8:16], "big"), 16
    elif length == 0:
        length = PREFIX_SIZE + 1
    offsets = (start, *range(start + 8, min(length, len(prefix)) - 3, 4))
    found = frozenset(prefix[offset : offset + 4] for offset in offsets)
    return found | _AVIF if length > PREFIX_SIZE == len(prefix) else found


_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})


def _is_avif(prefix: bytes) -> bool:
    # Browsers show whatever names one of the brands, as the major one or a compatible one.
    return bool(_brands(prefix) & _AVIF)


def _is_heif(prefix: bytes) -> bool:
    return bool(_brands(prefix) & _HEIF)


FORMATS: tuple[PictureFormat, ...] = (
    # Decoded. Only formats that Pillow decodes by itself or with a plug-in, without another program. JPEG
    # includes MPO, several JPEGs one after another; PNG includes APNG.
    PictureFormat("JPEG", "JPEG", (_at(b"\xff\xd8\xff"),)),
    PictureFormat("PNG", "PNG", (_at(b"\x89PNG\r\n\x1a\n"),)),
    PictureFormat("GIF", "GIF", (_at(b"GIF87a"), _at(b"GIF89a"))),
    PictureFormat("WebP", "WEBP", (_at(b"RIFF", (8, b"WEBP")),)),
    PictureFormat("AVIF", "AVIF", (_at((4, b"ftyp")),), _is_avif),
    PictureFormat("BMP", "BMP", (_at(b"BM"),), _is_bitmap),
    PictureFormat(
        "TIFF",
        "TIFF",
        (
            _at(b"II*\0"),
            _at(b"MM\0*"),
            # BigTIFF, with offsets of 64 bits.
            _at(b"II+\0"),
            _at(b"MM\0+"),
        ),
    ),
    PictureFormat("ICO", "ICO", (_at(b"\0\0\1\0"),), _is_icon),
    PictureFormat("CUR", "CUR", (_at(b"\0\0\2\0"),), _is_icon),
    PictureFormat("ICNS", "ICNS", (_at(b"icns"),), _is_mac_icon),
    PictureFormat("JPEG 2000", "JPEG2000", (_at(b"\0\0\0\x0cjP  \r\n\x87\n"), _at(b"\xff\x4f\xff\x51"))),
    PictureFormat(
        "PNM",
        "PPM",
        tuple(_at(b"P" + kind) for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")),
        _is_portable,
    ),
    PictureFormat("PSD", "PSD", (_at(b"8BPS\0\1"),)),
    PictureFormat("SGI", "SGI", (_at(b"\x01\xda"),), _is_silicon_graphics),
    PictureFormat("PCX", "PCX", (_at(b"\n"),), _is_paintbrush),
    PictureFormat("DCX", "DCX", (_at(b"\xb1\x68\xde\x3a"),)),
    PictureFormat("QOI", "QOI", (_at(b"qoif"),), _is_quite_ok),
    PictureFormat("DDS", "DDS", (_at(b"DDS \x7c\0\0\0"),)),
    PictureFormat("Sun raster", "SUN", (_at(b"\x59\xa6\x6a\x95"),)),
    PictureFormat("XPM", "XPM", (_at(b"/* XPM */"),)),
    PictureFormat("FLIC", "FLI", (_at((4, b"\x11\xaf")), _at((4, b"\x12\xaf"))), _is_flic),
    PictureFormat("HEIF", "HEIF", (_at((4, b"ftyp")),), _is_heif, extra="heif"),
    # Recognised: viewers show them, so to pass over them in silence would be to miss pictures.
    PictureFormat("JPEG XL", None, (_at(b"\xff\x0a"), _at(b"\0\0\0\x0cJXL \r\n\x87\n"))),
    PictureFormat("JPEG XR", None, (_at(b"II\xbc\x01"),)),
    PictureFormat("MNG", None, (_at(b"\x8aMNG\r\n\x1a\n"), _at(b"\x8bJNG\r\n\x1a\n"))),
    PictureFormat("PAM", None, (_at(b"P7\nWIDTH "), _at(b"P7\n#"), _at(b"PF\n"))),
    PictureFormat("PSB", None, (_at(b"8BPS\0\2"),)),
    PictureFormat("XCF", None, (_at(b"gimp xcf "),)),
    PictureFormat(
        "EPS",
        None,
        (_at(b"\xc5\xd0\xd3\xc6"), _at(b"%!PS-Adobe-", (14, b" EPSF"))),
    ),
    PictureFormat(
        "Windows metafile",
        None,
        (_at(b"\1\0\0\0", (40, b" EMF")), _at(b"\xd7\xcd\xc6\x9a"), _at(b"\1\0\x09\0\0\3")),
    ),
    PictureFormat("animated cursor", None, (_at(b"RIFF", (8, b"ACON")),)),
    PictureFormat("ILBM", None, (_at(b"FORM", (8, b"ILBM")), _at(b"FORM", (8, b"PBM ")))),
    PictureFormat("OpenEXR", None, (_at(b"\x76\x2f\x31\x01"),)),
    PictureFormat("Radiance HDR", None, (_at(b"#?RADIANCE\n"), _at(b"#?RGBE\n"))),
    PictureFormat("BPG", None, (_at(b"BPG\xfb"),)),
    PictureFormat("FLIF", None, (_at(b"FLIF"),)),
    PictureFormat(
        # Those that aren't TIFF files too.
        "camera raw",
        None,
        (
            _at(b"FUJIFILMCCD-RAW "),
            _at(b"IIU\0"),
            _at(b"IIRO"),
            _at(b"IIRS"),
            _at(b"MMOR"),
            _at(b"FOVb"),
            _at(b"\0MRM"),
            _at((6, b"HEAPCCDR")),
            _at((4, b"ftypcrx ")),
        ),
    ),
)
"""All formats; the first that recognises a file is its format. Requests and replies name one by its place.

No pictures to us, since nothing at their start tells them from other files: Targa, plain sensor data, Alias,
MacPaint, X bitmaps (C source). No pictures either: documents that may hold some (PDF, SVG, PostScript, DjVu,
OLE compound files such as FlashPix), textures of single games (BLP, FTEX, WAL), scientific arrays (FITS, HDF,
GRIB), videos.
"""


def sniff(prefix: bytes | memoryview) -> PictureFormat | None:
    """Tell a picture's format by its content; a file's name counts for nothing.

    Args:
        prefix: the file's first 64 bytes (`PREFIX_SIZE`), or all of it if it is shorter. More are ignored.

    Returns:
        The format, or None if the file is no picture that we know.
    """
    prefix = bytes(prefix[:PREFIX_SIZE])
    if not prefix or (prefix[0] in _BEGINS_LIKE_NONE and _LATE.match(prefix) is None):
        return None
    for picture_format in _candidates(prefix[0]):
        if picture_format.recognises(prefix):
            return picture_format
    return None


def advice(picture_format: PictureFormat) -> str:
    """What would have a format decoded, in words to follow its name; empty where nothing would."""
    if not picture_format.extra:
        return ""
    missing = [module for module in _MODULES[picture_format.extra] if find_spec(module) is None]
    if not missing:
        return ""
    return f"; to have it decoded, install hashscan[{picture_format.extra}] with a C compiler at hand"


# Every file of a sweep is sniffed, and most are no pictures; but a short command meets few first bytes.
@cache
def _candidates(first_byte: int) -> tuple[PictureFormat, ...]:
    """The formats of which a file may be that starts with this byte."""
    return tuple(
        picture_format
        for picture_format in FORMATS
        if any(
            all(magic[0] == first_byte for offset, magic in signature if offset == 0)
            for signature in picture_format.signatures
        )
    )


_LATE_SIGNATURES = tuple(
    signature
    for picture_format in FORMATS
    for signature in picture_format.signatures
    if all(offset for offset, _ in signature)
)
"""They say nothing of a file's first byte, so their formats are candidates whatever it is."""

_LATE = re.compile(
    b"|".join(b".{%d}%s" % (offset, re.escape(magic)) for ((offset, magic), *_) in _LATE_SIGNATURES),
    re.DOTALL,
)
_BEGINS_LIKE_NONE = frozenset(range(256)) - {
    magic[0]
    for picture_format in FORMATS
    for signature in picture_format.signatures
    for offset, magic in signature
    if offset == 0
}


def extras_here() -> tuple[str, ...]:
    """The extras of this package that decode further formats and can be used here."""
    return tuple(extra for extra, modules in _MODULES.items() if all(find_spec(m) for m in modules))
