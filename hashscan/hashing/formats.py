"""Recognise a file's format by its content: pictures, containers, and texts that contain pictures.

A page, a drawing (SVG) or a style sheet can contain pictures as `data:` URLs, and a document of XML as Base64
in elements. They are searched for in files that begin like text, and only in those. Not noticed is an URL in
UTF-16 without a mark of the byte order, or one that a script puts together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

from hashscan.c_parts import BUILT
from hashscan.hashing.containers import (
    CONTAINERS,
    SEARCHED,
    container_of,
)
from hashscan.hashing.format_signatures import Candidates, FileFormat, at, number, starting_with

PREFIX_SIZE = 272
"""Number of a file's first bytes in which the format is recognised. They include the brands of an ISO base
media file up to byte 256, and 16 entries of an icon."""
_FIXED_SIZE = 64
"""Number of first bytes of a file in the formats with a long header of fixed size."""

_IN_MARKUP = re.compile(rb"(?<=[\"'=(])\s*data:|data:(?:[;,]|[a-z0-9+\-._]+/)", re.IGNORECASE)
_IN_STYLES = re.compile(rb"url\(\s*[\"']?\s*data:", re.IGNORECASE)


def search_in_python(text: bytes | memoryview, markup: bool, /) -> bool:
    """Return True if a text contains a `data:` URL (RFC 2397).

    Args:
        text: its bytes.
        markup: True for a page or drawing; False for styles, where URLs are in `url()`.
    """
    return (_IN_MARKUP if markup else _IN_STYLES).search(text) is not None


def scheme_in_python(text: bytes, escaped: bool, /) -> bool:
    """Return True if a text has the scheme of a `data:` URL in it, however it is written.

    Args:
        escaped: True for a scheme that is written with a reference or an escape alone.
    """
    found = _WRITTEN.finditer(text)
    return any(not escaped or b"&" in each[0] or b"\\" in each[0] for each in found)


if BUILT:
    from hashscan.hashing._text import has_data_url
    from hashscan.hashing._text import has_scheme as has_scheme  # noqa: PLC0414 - exported
else:
    has_data_url, has_scheme = search_in_python, scheme_in_python

_MODULES = {"heif": "pillow_heif", "jxl": "pillow_jxl", "svg": "resvg_py"}
"""By extra, the module that it needs."""
_PACKAGES = {"svg": "resvg-py"}
"""The distributions that are no extras: they are missing only where there is no wheel of them."""

BITMAP_HEADERS = frozenset({12, *range(16, 65, 4), 42, 46, 108, 124})
"""Sizes in bytes of a bitmap's second header. Browsers also show OS/2 headers truncated after any field."""


def _is_bitmap(prefix: bytes) -> bool:
    # "BM" is also the start of many texts; the size of the second header has one of few values.
    return number(prefix, 14, 4) in BITMAP_HEADERS


def _is_icon(prefix: bytes) -> bool:
    # Many binaries and some Targa pictures start with these four bytes, too. Browsers ignore the stated
    # length of an icon, and some of them entries without a picture.
    count = number(prefix, 4, 2)
    places = range(18, min(6 + 16 * count, len(prefix)), 16)
    return any(number(prefix, place, 4) >= 6 + 16 * count for place in places)


def _is_mac_icon(prefix: bytes) -> bool:
    # The file's length; in a text file, these bytes would mean over a gigabyte.
    return 8 <= int.from_bytes(prefix[4:8], "big") < 1 << 27


def _is_paintbrush(prefix: bytes) -> bool:
    # Run-length coded, a known depth, and a rectangle with ordered corners.
    left, top, right, bottom = (number(prefix, offset, 2) for offset in (4, 6, 8, 10))
    return (
        len(prefix) >= _FIXED_SIZE
        and prefix[1] in {0, 2, 3, 4, 5}
        and prefix[2] in {0, 1}
        and prefix[3] in {1, 2, 4, 8}
        and left <= right
        and top <= bottom
    )


def _is_silicon_graphics(prefix: bytes) -> bool:
    # Stored plain or run-length coded, one or two bytes a value, one to three dimensions.
    return (
        len(prefix) >= _FIXED_SIZE
        and prefix[2] in {0, 1}
        and prefix[3] in {1, 2}
        and prefix[4] == 0
        and prefix[5] in {1, 2, 3}
    )


def _is_quite_ok(prefix: bytes) -> bool:
    return len(prefix) >= 14 and prefix[12] in {3, 4} and prefix[13] in {0, 1}


_BITMAP = re.compile(rb"\s*#define[ \t]+\S*_width[ \t]+[0-9]+\s+#define[ \t]+\S*_height[ \t]+[0-9]+\s")


def _is_bitmap_source(prefix: bytes) -> bool:
    # The bits must follow, perhaps behind the first bytes.
    rest = len(prefix) >= PREFIX_SIZE or b"char" in prefix or b"short" in prefix
    return rest and _BITMAP.match(prefix) is not None


def _is_bare_bitmap(prefix: bytes) -> bool:
    # One plane, a known depth, and a sensible size.
    if prefix[0] == 12:
        return number(prefix, 8, 2) == 1 and number(prefix, 10, 2) in {1, 4, 8, 24}
    return (
        number(prefix, 12, 2) == 1
        and number(prefix, 14, 2) in {1, 2, 4, 8, 16, 24, 32}
        and 0 < number(prefix, 4, 4) < 1 << 20
        and number(prefix, 16, 4) < 16
    )


def _is_flic(prefix: bytes) -> bool:
    return number(prefix, 12, 2) == 8 and number(prefix, 14, 2) in {0, 3}


# "P1 costs 20 euros" is no picture: width and height must follow, perhaps after comments. The last comment
# may extend beyond the first bytes.
_GAP = rb"(?:[ \t\n\v\f\r]|#[^\r\n]*(?:[\r\n]|\Z))+"
_PORTABLE = re.compile(
    rb"P[1-6f]" + _GAP + rb"(?:\Z|[0-9]+(?:\Z|" + _GAP + rb"(?:\Z|[0-9]+(?:\Z|[ \t\n\v\f\r#]))))"
)


def _is_portable(prefix: bytes) -> bool:
    return len(prefix) > 6 and _PORTABLE.match(prefix) is not None


def _brands(prefix: bytes) -> frozenset[bytes]:
    """Return the brands of an ISO base media file: the major one, and the compatible ones within the prefix.

    If not all brands are within the prefix, the AVIF brands are added, so that nobody can hide them behind
    others. The number after the major brand `mif3` (minimized image box) is a brand, too.
    """
    length, start = int.from_bytes(prefix[:4], "big"), 8
    if length == 1:
        # The length follows as a 64-bit number.
        length, start = int.from_bytes(prefix[8:16], "big"), 16
    elif length == 0:
        length = PREFIX_SIZE + 1
    first = start + 4 if prefix.startswith(b"mif3", start) else start + 8
    offsets = (start, *range(first, min(length, len(prefix)) - 3, 4))
    found = frozenset(prefix[offset : offset + 4] for offset in offsets)
    return found | _AVIF if length > PREFIX_SIZE == len(prefix) else found


_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})


def _is_avif(prefix: bytes) -> bool:
    # Browsers show a file with one of the brands, whether as the major or a compatible brand.
    return bool(_brands(prefix) & _AVIF)


def _is_heif(prefix: bytes) -> bool:
    return bool(_brands(prefix) & _HEIF)


SVG = FileFormat("SVG", "SVG", extra="svg")
"""Drawings, which have no signature: see `is_drawing`."""

TARGA = FileFormat("Targa", "TGA")
"""Pictures that have no signature: see `recognition.other_probes`."""

OTHER_PICTURE = FileFormat(
    "other picture",
    None,
    (
        *(at(b"BLP1"), at(b"BLP2"), at(b"farbfeld"), at(b"SIMPLE  ="), at(b"P7 332"), at(b"FTEX")),
        # Paint Shop Pro; textures; film scans (SMPTE 268M, Cineon).
        *(
            at(b"Paint Shop Pro Image File\n"),
            at(b"\xabKTX 11\xbb\r\n"),
            at(b"\xabKTX 20\xbb\r\n"),
            at(b"VTF\0"),
        ),
        *(at(b"SDPX"), at(b"XPDS"), at(b"\x80\x2a\x5f\xd7"), at(b"\xd7\x5f\x2a\x80")),
    ),
)
"""Pictures of rare formats, which are not decoded."""

FORMATS: tuple[FileFormat, ...] = (
    # Decoded. Only formats that Pillow decodes by itself or with a plug-in, without another program. JPEG
    # includes MPO, several JPEGs one after another; PNG includes APNG.
    FileFormat("JPEG", "JPEG", (at(b"\xff\xd8\xff"),)),
    FileFormat("PNG", "PNG", (at(b"\x89PNG\r\n\x1a\n"),)),
    FileFormat("GIF", "GIF", (at(b"GIF87a"), at(b"GIF89a"))),
    FileFormat("WebP", "WEBP", (at(b"RIFF", (8, b"WEBP")),)),
    FileFormat("AVIF", "AVIF", (at((4, b"ftyp")),), _is_avif),
    FileFormat("BMP", "BMP", (at(b"BM"),), _is_bitmap),
    FileFormat(
        "TIFF",
        "TIFF",
        (
            at(b"II*\0"),
            at(b"MM\0*"),
            # Pillow shows these, too.
            at(b"II\0*"),
            at(b"MM*\0"),
            # BigTIFF, with offsets of 64 bits.
            at(b"II+\0"),
            at(b"MM\0+"),
        ),
    ),
    FileFormat("ICO", "ICO", (at(b"\0\0\1\0"),), _is_icon),
    FileFormat("CUR", "CUR", (at(b"\0\0\2\0"),), _is_icon),
    FileFormat("ICNS", "ICNS", (at(b"icns"),), _is_mac_icon),
    FileFormat("JPEG 2000", "JPEG2000", (at(b"\0\0\0\x0cjP  \r\n\x87\n"), at(b"\xff\x4f\xff\x51"))),
    FileFormat(
        "PNM",
        "PPM",
        tuple(at(b"P" + kind) for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")),
        _is_portable,
    ),
    FileFormat("PSD", "PSD", (at(b"8BPS\0\1"),)),
    FileFormat("SGI", "SGI", (at(b"\x01\xda"),), _is_silicon_graphics),
    FileFormat("PCX", "PCX", (at(b"\n"),), _is_paintbrush),
    FileFormat("DCX", "DCX", (at(b"\xb1\x68\xde\x3a"),)),
    FileFormat("QOI", "QOI", (at(b"qoif"),), _is_quite_ok),
    FileFormat("DDS", "DDS", (at(b"DDS \x7c\0\0\0"),)),
    FileFormat("Sun raster", "SUN", (at(b"\x59\xa6\x6a\x95"),)),
    FileFormat("XPM", "XPM", (at(b"/* XPM */"),)),
    FileFormat("FLIC", "FLI", (at((4, b"\x11\xaf")), at((4, b"\x12\xaf"))), _is_flic),
    FileFormat("HEIF", "HEIF", (at((4, b"ftyp")),), _is_heif, extra="heif"),
    FileFormat("JPEG XL", "JXL", (at(b"\xff\x0a"), at(b"\0\0\0\x0cJXL \r\n\x87\n")), extra="jxl"),
    SVG,
    # Recognised but not decoded: viewers show them, so skipping them silently would mean to miss pictures.
    FileFormat("JPEG XR", None, (at(b"II\xbc\x01"),)),
    FileFormat("MNG", None, (at(b"\x8aMNG\r\n\x1a\n"), at(b"\x8bJNG\r\n\x1a\n"))),
    FileFormat("PAM", None, (at(b"P7\nWIDTH "), at(b"P7\n#"), at(b"PF\n"))),
    FileFormat("PSB", None, (at(b"8BPS\0\2"),)),
    FileFormat("XCF", None, (at(b"gimp xcf "),)),
    FileFormat(
        "EPS",
        None,
        (at(b"\xc5\xd0\xd3\xc6"), at(b"%!PS-Adobe-", (14, b" EPSF"))),
    ),
    FileFormat("animated cursor", None, (at(b"RIFF", (8, b"ACON")),)),
    FileFormat("ILBM", None, (at(b"FORM", (8, b"ILBM")), at(b"FORM", (8, b"PBM ")))),
    FileFormat("OpenEXR", None, (at(b"\x76\x2f\x31\x01"),)),
    FileFormat("Radiance HDR", None, (at(b"#?RADIANCE\n"), at(b"#?RGBE\n"))),
    FileFormat("BPG", None, (at(b"BPG\xfb"),)),
    FileFormat("FLIF", None, (at(b"FLIF"),)),
    FileFormat(
        # Only the camera formats that aren't TIFF files.
        "camera raw",
        None,
        (
            at(b"FUJIFILMCCD-RAW "),
            at(b"IIU\0"),
            at(b"IIRO"),
            at(b"IIRS"),
            at(b"MMOR"),
            at(b"FOVb"),
            at(b"\0MRM"),
            at((6, b"HEAPCCDR")),
            at((4, b"ftypcrx ")),
        ),
    ),
    FileFormat("XBM", "XBM", (at(b"#define "), at(b"#define\t"), at(b"\n#define ")), _is_bitmap_source),
    FileFormat(
        "DIB",
        "DIB",
        tuple(at(bytes((size, 0, 0, 0))) for size in (12, 40, 52, 56, 64, 108, 124)),
        _is_bare_bitmap,
    ),
    TARGA,
    OTHER_PICTURE,
)
"""All formats; a file has the first one that recognises it. Requests and replies use the index in this tuple.

Not included, since nothing at their start distinguishes them from other files: plain sensor data, Alias,
MacPaint. Also not included: some textures of single games (WAL), scientific arrays (HDF, GRIB).
"""


def sniff(prefix: bytes | memoryview) -> FileFormat | None:
    """Return a file's format by its content; the file's name is not used.

    Args:
        prefix: the file's first bytes, at least `PREFIX_SIZE`, or the whole file if it is shorter. All that
            are given are searched for pictures within a text; containers need `containers.SEARCHED` bytes.

    Returns:
        The format, or None if the file is neither a known picture nor a known container.
    """
    return sniff_begin(prefix) or (TEXT if prefix and contains_pictures(bytes(prefix)) else None)


def sniff_begin(prefix: bytes | memoryview) -> FileFormat | None:
    """Return a file's format as `sniff` does, but do not search a text for pictures.

    Args:
        prefix: as of `sniff`.
    """
    start = bytes(prefix[:PREFIX_SIZE])
    if not start:
        return None
    if (picture_format := _candidates(start[0]).first(start, start)) is not None:
        return picture_format
    if is_drawing(prefix):
        return SVG
    return container_of(prefix)


def is_plain_picture(kind: FileFormat, prefix: bytes | memoryview) -> bool:
    """Return True if a file is a picture that does not begin like a container or a text with pictures, too.

    Files of some formats do by their nature (AVIF and HEIF like MP4), others by intent: the name and the time
    in the header of a gzip file can make it begin like FLIC. Only decoding shows if it is such a picture.

    Args:
        kind: what the file was recognised as.
        prefix: as of `sniff`.
    """
    return not kind.container and container_of(prefix) is None and not contains_pictures(bytes(prefix))


def is_drawing(prefix: bytes | memoryview) -> bool:
    """Return True if a file is XML whose root element is `svg`, or has no element yet.

    Args:
        prefix: as of `sniff`.
    """
    start = bytes(prefix[:_XML_START])
    if _MAY_BE_XML.match(start) is None:
        return False
    text = bytes(prefix)
    if b"\0" in start:
        # UTF-16.
        text = text.lstrip(b"\xff\xfe").replace(b"\0", b"")
    root = _PROLOG.match(text)
    assert root is not None
    if _ROOT.match(text, root.end()) is not None:
        return True
    # A prolog longer than what was read; the name of the root must follow.
    return len(prefix) >= SEARCHED and _UNENDED.match(text, root.end()) is not None


def contains_pictures(text: bytes, begin: bytes | None = None) -> bool:
    """Return True if a text contains pictures, or an URL of one.

    Args:
        text: the whole text, or a piece of it.
        begin: the first bytes of the text, if this is another piece of it.
    """
    first = _first_of_text(text if begin is None else begin)
    if first in _BINARY:
        return False
    if (text if begin is None else begin).startswith(_WIDE):
        # UTF-16: the characters of a URL have a byte 0 each.
        text = text.replace(b"\0", b"")
    if has_data_url(text, first == _MARKUP):
        return True
    if first != _MARKUP:
        # Most texts have no escape, and are searched for that in a tenth of the time.
        return b"\\" in text and _ESCAPED.search(text) is not None and has_scheme(text, True)
    # Browsers pass over the ends of lines in an URL.
    if has_data_url(text.translate(None, _ENDS_OF_LINES), True) or _BINARY_ELEMENT.search(text) is not None:
        return True
    return _REFERRED.search(text) is not None and has_scheme(text, True)


def is_page_too(known: FileFormat | None, found: Sequence[FileFormat], prefix: bytes, tail: bytes) -> bool:
    """Return True if a file is a page around another container, or a picture with a page in it.

    A picture is shown as a page where its name or the server says that it is one. Pages in the middle of long
    pictures are not noticed.

    Args:
        known, tail: as of `containers.containers_of`.
        found: all other containers that it is.
        prefix: its begin, or all of a drawing (SVG) up to `DRAWING_MAX`.
    """
    if known == SVG:
        return contains_pictures(prefix)
    if found and _first_of_text(prefix) == _MARKUP and contains_pictures(prefix):
        return True
    if has_data_url(prefix, True) or has_data_url(tail, True):
        begin = sniff(prefix[:PREFIX_SIZE])
        return begin is not None and (begin.pillow is not None or begin.name == "Windows metafile")
    return False


def _first_of_text(begin: bytes) -> int:
    start = begin[:PREFIX_SIZE]
    if start.startswith(_WIDE):
        start = start[2:].replace(b"\0", b"")
    first = start[0] if start else 0
    if first in _SPACES:
        first = (start.lstrip(_SPACES) or begin.lstrip(_SPACES) or b" ")[0]
    return first


TEXT = FileFormat("text with pictures", None, container=True)
"""Pages, drawings (SVG) and style sheets that contain pictures."""
_PICTURES = FORMATS
FORMATS = (*FORMATS, TEXT, *CONTAINERS)

_XML_START = 64
_MAY_BE_XML = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*(?:<[?!\w:\x80-\xff]|\Z)|(?:\xff\xfe|\xfe\xff|\0?<\0)")
_QUOTED = rb"\"[^\"]*+\"|'[^']*+'"
_COMMENT = rb"<!--(?:[^-]|-(?!->))*+-->|<\?(?:[^?]|\?(?!>))*+\?>"
_SUBSET = rb"\[(?:[^\]\"'<]|" + _QUOTED + rb"|" + _COMMENT + rb"|<)*+\]"
_PROLOG = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|"
    + _COMMENT
    + rb"|<!DOCTYPE(?:[^\[>\"']|"
    + _QUOTED
    + rb"|"
    + _SUBSET
    + rb")*+>)*+"
)
"""All that may precede the root element of a document of XML."""
_ROOT = re.compile(rb"<(?:[^\s<>/:&!?]+:)?svg[\s/>]")
_UNENDED = re.compile(rb"<[!?]|\Z")
DRAWING_MAX = 64 << 20

_BINARY = frozenset({*range(9), *range(14, 32), 127})
"""Bytes that no text begins with."""
_SPACES = b"\xef\xbb\xbf \t\n\v\f\r"
"""White space, and a mark of the byte order in UTF-8."""
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_MARKUP = ord("<")
_ENDS_OF_LINES = b"\t\r\n"
OVERLAP = 512
"""Bytes of a piece of text that are searched with the next one, too."""

_AMPERSAND = rb"&(?:(?:[aA][mM][pP]|#0*38|#[xX]0*26);?)*"
"""It may be written as a reference itself, in a page within a page."""
_REFERRED = re.compile(
    _AMPERSAND + rb"(?:#(?:0*(?:100|97|116|58|68|65|84|9|10|13)(?![0-9])"
    rb"|[xX]0*(?:64|61|74|3[aA]|44|41|54|9|[aAdD])(?![0-9a-fA-F]))|colon;|Tab;|Ne)"
)
_ESCAPED = re.compile(rb"\\(?:0{0,4}(?:64|61|74|3[aA]|44|41|54)|x(?:64|61|74|3[aA])|u00(?:64|61|74|3[aA]))")
"""A letter of the scheme of a `data:` URL, or white space in it, as a reference or an escape."""
_BETWEEN = rb"(?:[\t\r\n]|&Tab;|&NewLine;|&#0*(?:9|10|13);?|&#x0*[9ad];?|\\\r?\n|\\0{0,5}[9ad]\s?)*"


def _written(letter: str) -> bytes:
    small, large = ord(letter), ord(letter.upper())
    named = b"|" + _AMPERSAND + b"colon;" if letter == ":" else b""
    reference = rb"#(?:0*(?:%d|%d)(?![0-9])|x0*(?:%x|%x)(?![0-9a-f]));?" % (small, large, small, large)
    escape = rb"\\0{0,4}(?:%x|%x)\s?|\\(?:x|u00)(?:%x|%x)" % (small, large, small, large)
    return b"(?:%c|%b%b|%b%b)" % (small, _AMPERSAND, reference, escape, named)


_WRITTEN = re.compile(_BETWEEN.join(map(_written, "data:")), re.IGNORECASE)
"""The scheme of a `data:` URL, perhaps with references or escapes for its letters."""
_BINARY_ELEMENT = re.compile(rb"<(?:[\w-]+:)?(?:binary-data|binaryData|binData|binary)[\s>]")
"""Holds a file as Base64 in XML: of OpenDocument and Office in one file, and of FictionBook."""


def install_hint(picture_format: FileFormat) -> str:
    """Return a text on how to get a format decoded, to append to its name; empty if there is no way."""
    extra = picture_format.extra
    if not extra or is_installed(extra):
        return ""
    compiler = " with a C compiler at hand" if extra == "heif" else ""
    package = _PACKAGES.get(extra, f"hashscan[{extra}]")
    return f"; to have it decoded, install {package}{compiler}"


def counts_faults() -> bool:
    """Return True if the module in C is there without which no JPEG or TIFF counts as decoded."""
    return BUILT


def counting_hint() -> str:
    """Return a text on how to get JPEGs and TIFFs decoded; empty if `counts_faults`."""
    if counts_faults():
        return ""
    return "; faults in JPEGs and TIFFs are not counted: install hashscan again with a C compiler at hand"


# Every scanned file is sniffed, and most are no pictures. Cached on demand: a short command sees few values.
@cache
def _candidates(first_byte: int) -> Candidates:
    """Return the formats possible for a file that starts with this byte."""
    return starting_with(_PICTURES, first_byte)


def is_installed(extra: str) -> bool:
    """Return True if what an extra of this package decodes can be decoded; HEIF needs a part in C, too."""
    return find_spec(_MODULES[extra]) is not None and (BUILT or extra != "heif")


def installed_extras() -> tuple[str, ...]:
    """Return the extras of this package that decode further formats and are installed here."""
    return tuple(filter(is_installed, _MODULES))
