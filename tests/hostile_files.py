"""Documents, archives, pictures and videos that are made to keep a decoder busy, or to fill its memory.

Each is small for what it asks of a reader, harmless, and drawn by code.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

from PIL import Image

from tests.hashing.documents.drawn import pdf, stream

_PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<<%b>>%b>>"


def one_page(resources: bytes, content: bytes, *more: bytes, page: bytes = b"") -> bytes:
    """A PDF of one page; further objects have the numbers from 5 on."""
    tree = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
    return pdf([*tree, _PAGE % (resources, page), stream(b"", content), *more])


_SUM = b"{2 copy add %b add sin mul}" % (b"dup sin add " * 20)


def pdf_of_shadings(number: int = 2000) -> bytes:
    """Each is a function of two variables, in a program that is run for each pixel."""
    function = stream(
        b"/FunctionType 4/Domain[0 1 0 1]/Range[0 1]", b"{add " + b"dup 57 mul sin add 0.5 mul " * 300 + b"}"
    )
    shading = b"<</ShadingType 1/ColorSpace/DeviceGray/Matrix[600 0 0 800 0 0]/Function 6 0 R>>"
    return one_page(b"/Shading<</S 5 0 R>>", b"/S sh\n" * number, shading, function)


def pdf_of_meshes(number: int = 200, patches: int = 3000) -> bytes:
    """Each of the patches covers the page."""
    corners = [0, 0, 0, 0x5555, 0, 0xAAAA, 0, 0xFFFF, 0x5555, 0xFFFF, 0xAAAA, 0xFFFF, 0xFFFF, 0xFFFF]
    corners += [0xFFFF, 0xAAAA, 0xFFFF, 0x5555, 0xFFFF, 0, 0xAAAA, 0, 0x5555, 0]
    patch = struct.pack(">B24H4B", 0, *corners, 0, 90, 180, 255)
    shading = stream(
        b"/ShadingType 6/ColorSpace/DeviceGray/BitsPerCoordinate 16/BitsPerComponent 8/BitsPerFlag 8"
        b"/Decode[0 600 0 800 0 1]/Filter/FlateDecode",
        zlib.compress(patch * patches),
    )
    return one_page(b"/Shading<</S 5 0 R>>", b"/S sh\n" * number, shading)


def pdf_of_tilings(depth: int = 6) -> bytes:
    """Each tile is filled with tiles."""
    patterns = [
        stream(
            b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 600 800]/XStep 0.7/YStep 0.7"
            b"/Resources<</Pattern<</P %d 0 R>>>>" % (6 + at),
            b"/Pattern cs /P scn 0 0 600 800 re f",
        )
        for at in range(depth)
    ]
    last = stream(
        b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 9 9]/XStep 1/YStep 1/Resources<<>>",
        b"0 0 m 9 9 l S",
    )
    content = b"/Pattern cs /P scn 0 0 600 800 re f\n" * 500
    return one_page(b"/Pattern<</P 5 0 R>>", content, *patterns, last)


def pdf_of_forms(depth: int = 25) -> bytes:
    """Each form draws the next one twice."""
    forms = [
        stream(
            b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</F %d 0 R>>>>" % (6 + at),
            b"/F Do /F Do",
        )
        for at in range(depth)
    ]
    last = stream(b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]", b"0 0 9 9 re f")
    return one_page(b"/XObject<</F 5 0 R>>", b"/F Do", *forms, last)


def pdf_of_groups(depth: int = 9) -> bytes:
    """Forms that are blended, each of which draws the next one four times."""
    forms = [
        stream(
            b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Group<</S/Transparency/I true>>"
            b"/Resources<</XObject<</F %d 0 R>>/ExtGState<</G<</ca .5/BM/Luminosity>>>>>>" % (6 + at),
            b"/G gs " + b"/F Do " * 4,
        )
        for at in range(depth)
    ]
    last = stream(b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]", b"0 0 600 800 re f")
    return one_page(b"/XObject<</F 5 0 R>>", b"/F Do", *forms, last)


def pdf_of_lines(number: int = 3_000_000) -> bytes:
    content = zlib.compress(b"0 0 m 600 800 l S\n" * number, 9)
    tree = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
    return pdf([*tree, _PAGE % (b"", b""), stream(b"/Filter/FlateDecode", content)])


def pdf_of_dashes(number: int = 300) -> bytes:
    curve = b"[.001] 0 d 0 0 m 6e5 8e5 -6e5 8e5 600 0 c S\n"
    return one_page(b"", curve * number)


def pdf_of_pages(number: int = 2000) -> bytes:
    tree = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (b"3 0 R " * number, number),
    )
    lines = b"".join(b"%d 0 m 600 %d l S\n" % (at % 600, at % 800) for at in range(2000))
    return pdf([*tree, _PAGE % (b"", b""), stream(b"", lines)])


def pdf_of_deep_tree(depth: int = 10_000) -> bytes:
    inner = [
        b"<</Type/Pages/Parent %d 0 R/Kids[%d 0 R]/Count 1>>" % (at - 1, at + 1) for at in range(3, depth)
    ]
    first = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
    return pdf([*first, *inner, b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 9 9]>>" % depth])


def pdf_of_loop() -> bytes:
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1000000/Kids[2 0 R 3 0 R]>>",
            b"<</Type/Pages/Parent 2 0 R/Count 5/Kids[2 0 R 3 0 R]>>",
        ]
    )


def pdf_of_strings(length: int = 30 << 20) -> bytes:
    return one_page(b"", b"BT (" + b"(" * 400 + b"a" * length + b")" * 400 + b") Tj ET")


def pdf_of_arrays(depth: int = 2_000_000) -> bytes:
    return one_page(b"", b"0 0 m", b"[" * depth + b"]" * depth)


def pdf_of_annotations(number: int = 10_000) -> bytes:
    stamp = b"<</Type/Annot/Subtype/Stamp/Rect[0 0 500 500]/AP<</N 6 0 R>>>>"
    drawn = stream(b"/Type/XObject/Subtype/Form/BBox[0 0 500 500]", b"0 0 99 99 re f " * 1000)
    return one_page(b"", b"", stamp, drawn, page=b"/Annots[%b]" % (b"5 0 R " * number))


_CODESTREAM = (
    b"\xff\x4f\xff\x51\x00\x29\x00\x00%b" + bytes(8) + b"%b" + bytes(8) + b"\0\1\7\1\1"
    b"\xff\x52\0\x0c\0\0\0\1\0\5\4\4\0\0\xff\x5c\0\4\x40\0\xff\x90\0\x0a\0\0\0\0\0\0\0\1\xff\x93\xff\xd9"
)


def pdf_of_image(name: bytes, content: bytes, side: int = 4000, bits: int = 8, number: int = 60) -> bytes:
    """A page on which pictures lie that are nearly at the limit of what is drawn."""
    images = [
        stream(
            b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent %d/ColorSpace/DeviceGray"
            b"/Filter%b" % (side, side - at, bits, name),
            content,
        )
        for at in range(number)
    ]
    names = b"".join(b"/I%d %d 0 R" % (at, at + 5) for at in range(number))
    drawn = b"".join(b"q 600 0 0 800 0 0 cm /I%d Do Q\n" % at for at in range(number))
    return one_page(b"/XObject<<%b>>" % names, drawn, *images)


def jbig2_bomb() -> bytes:
    page = struct.pack(">IBBBIIIIIBH", 0, 0x30, 0, 1, 19, 4000, 4000, 0, 0, 0, 0)
    return pdf_of_image(b"/JBIG2Decode", page, bits=1)


def jpx_bomb() -> bytes:
    size = struct.pack(">II", 4000, 4000)
    return pdf_of_image(b"/JPXDecode", _CODESTREAM % (size, size))


def flate_chain() -> bytes:
    content = zlib.compress(zlib.compress(bytes(16_000_000), 9), 9)
    return pdf_of_image(b"[/FlateDecode/FlateDecode]", content)


def zip_of_many(number: int = 90_000) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for at in range(number):
            archive.writestr(zipfile.ZipInfo(f"{at}"), b"x")
    return made.getvalue()


def zip_of_zeros(size: int = 9 << 20, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("a", bytes(size))
    return made.getvalue()


def zip_of_overlaps(number: int = 30_000) -> bytes:
    """Make an archive in which all names have the same bytes."""
    whole = zip_of_zeros()
    directory, end = whole.rindex(b"PK\1\2"), whole.rindex(b"PK\5\6")
    entries = whole[directory:end] * number
    tail = struct.pack("<HHII", number, number, len(entries), directory) + b"\0\0"
    return whole[:directory] + entries + whole[end : end + 8] + tail


def zip_of_long_names(number: int = 300) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for at in range(number):
            archive.writestr(f"n{at:05}" + "x" * 65_000, b"a")
    return made.getvalue()


def zip_in_zip(levels: int = 6, wide: int = 10) -> bytes:
    content = zip_of_zeros(1 << 20)
    for _ in range(levels):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for at in range(wide):
                archive.writestr(f"{at}.zip", content)
        content = made.getvalue()
    return content


def gzip_chain(levels: int = 5) -> bytes:
    content = gzip.compress(bytes(60 << 20))
    for _ in range(levels - 1):
        content = gzip.compress(content)
    return content


def gzip_members(number: int = 500_000) -> bytes:
    return gzip.compress(b"") * number


def tar_of_many(number: int = 95_000) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for _ in range(number):
            archive.addfile(tarfile.TarInfo("a"))
    return made.getvalue()


def _number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else b"\xff" + struct.pack("<Q", value)


def seven_zip_of_empties(number: int = 10_000_000) -> bytes:
    """A list of empty files, compressed to some kilobytes."""
    names = b"\0" + b"a\0\0\0" * number
    bits = b"\xff" * (number // 8)
    sized = _number(len(bits)) + bits
    header = b"\1\5" + _number(number) + b"\x0e" + sized + b"\x0f" + sized
    header += b"\x11" + _number(len(names)) + names + b"\0\0"
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 26, "lc": 3, "lp": 0, "pb": 2}]
    packed = lzma.compress(header, lzma.FORMAT_RAW, filters=chain)
    coded = (
        b"\x17\x06" + _number(0) + _number(1) + b"\x09" + _number(len(packed)) + b"\0"
        b"\x07\x0b" + _number(1) + b"\0" + _number(1) + b"\x23\x03\x01\x01\x05\x5d"
        + struct.pack("<I", 1 << 26) + b"\x0c" + _number(len(header))
        + b"\x0a\x01" + struct.pack("<I", zlib.crc32(header)) + b"\0\0"
    )  # fmt: skip
    start = struct.pack("<QQI", len(packed), len(coded), zlib.crc32(coded))
    head = b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start))
    return head + start + packed + coded


def png_of(width: int, height: int, *, interlaced: bool = False, chunks: bytes = b"") -> bytes:
    """A grey picture of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    made = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    pixels = b"".join(made.compress(row) for _ in range(height)) + made.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def png_of_text() -> bytes:
    """Texts that unpack to more than the picture."""
    text = b"Comment\0\0" + zlib.compress(bytes(60 << 20), 9)
    made = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    return png_of(9, 9, chunks=made * 50)


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    made = io.BytesIO()
    image.save(made, name, **options)
    return made.getvalue()


def large(name: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    return saved(Image.new(mode, size, 7 if mode == "L" else None), name, **options)


def gif_of_frames(number: int = 100_000, side: int = 1) -> bytes:
    """Frames of a pixel on a screen of more."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 2000 if side > 1 else 64, 2000 if side > 1 else 64, 0x80, 0, 0)
    frame = b"\x21\xf9\x04\0\x0a\0\0\0,\0\0\0\0" + struct.pack("<HH", 1, 1) + b"\0\2\2D\1\0"
    return screen + b"\0\0\0\xff\xff\xff" + frame * number + b";"


def apng_of_frames(number: int = 100_000) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    pixel = zlib.compress(bytes(4))
    made = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", 1000, 1000, 8, 2, 0, 0, 0))]
    made += [chunk(b"acTL", struct.pack(">II", number + 1, 0))]
    made += [chunk(b"IDAT", zlib.compress(bytes(3001 * 1000), 9))]
    for at in range(number):
        control = struct.pack(">IIIIIHHBB", 2 * at, 1, 1, at % 1000, 0, 1, 10, 0, 0)
        made += [chunk(b"fcTL", control), chunk(b"fdAT", struct.pack(">I", 2 * at + 1) + pixel)]
    return b"".join((*made, chunk(b"IEND", b"")))


def jpeg_of_scans(number: int = 20_000) -> bytes:
    """A progressive picture with the same scan again and again."""
    whole = saved(Image.linear_gradient("L").resize((2000, 2000)), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda")
    second = (
        whole.index(b"\xff\xc4", first)
        if b"\xff\xc4" in whole[first:]
        else whole.index(b"\xff\xda", first + 2)
    )
    last = whole.rindex(b"\xff\xda")
    return whole[:second] + whole[last:-2] * min(number, (30 << 20) // (len(whole) - last)) + b"\xff\xd9"


_SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" viewBox="0 0 999 999">'


def svg_of_filters(number: int = 400) -> bytes:
    steps = '<feGaussianBlur stdDeviation="90"/><feTurbulence baseFrequency=".9" numOctaves="99"/>' * number
    drawn = '<rect width="999" height="999" filter="url(#f)"/>'
    return f'{_SVG}<filter id="f">{steps}</filter>{drawn}</svg>'.encode()


def svg_of_uses(depth: int = 30) -> bytes:
    groups = "".join(
        f'<g id="g{at}"><use x:href="#g{at + 1}"/><use x:href="#g{at + 1}" x="1"/></g>' for at in range(depth)
    )
    return f'{_SVG}{groups}<rect id="g{depth}" width="9" height="9"/></svg>'.encode()


def svg_of_entities(depth: int = 12) -> bytes:
    lines = "".join(f'<!ENTITY e{at + 1} "{f"&e{at};" * 10}">' for at in range(depth))
    return f'<!DOCTYPE svg [<!ENTITY e0 "aaaaaaaaaa">{lines}]>{_SVG}<text>&e{depth};</text></svg>'.encode()


def compound_of_chain(sectors: int = 60_000) -> bytes:
    """A file of OLE whose tables refer to themselves."""
    head = bytearray(512)
    head[:8] = bytes.fromhex("d0cf11e0a1b11ae1")
    head[24:34] = struct.pack("<HHHHH", 62, 3, 0xFFFE, 9, 6)
    head[44:48] = struct.pack("<I", 109)
    head[48:52] = struct.pack("<I", 1)
    head[56:76] = struct.pack("<IIIII", 4096, 2, sectors, 0, 0x7FFFFFFF)
    head[76:512] = struct.pack("<109I", *[0] * 109)
    table = struct.pack("<128I", *range(1, 129))
    return bytes(head) + table * sectors


def rtf_nested(depth: int = 2_000_000) -> bytes:
    return b"{\\rtf1" + b"{\\pict" * depth + b"00" + b"}" * depth + b"}"


def mbox_of_many(number: int = 100_000) -> bytes:
    head = b"From a@b Mon Jan  1 00:00:00 2024\nFrom: a@b\nTo: c@d\nSubject: e\nContent-Type: text/html\n\n"
    return (head + b"<img src=a>\n\n") * number


def mail_of_parts(depth: int = 3000) -> bytes:
    heads = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (at, at) for at in range(depth)
    )
    return b"From: a@b\nTo: c@d\nSubject: e\nMIME-Version: 1.0\n" + heads + b"\nend\n"


def html_of_data(number: int = 200_000) -> bytes:
    return (
        b"<!DOCTYPE html><html>" + b'<img src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yw=">' * number
    )


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + struct.pack(">Q", len(content) | 1 << 56) + content


def mkv_of_streams(number: int = 100_000) -> bytes:
    """Tracks of video without a frame."""
    ebml = _element("1a45dfa3", _element("4282", b"matroska"))
    tracks = b"".join(
        _element("ae", _element("d7", struct.pack(">I", at + 1)) + _element("83", b"\1")
                 + _element("86", b"V_VP8")
                 + _element("e0", _element("b0", b"\x40\0") + _element("ba", b"\x40\0")))
        for at in range(number)
    )  # fmt: skip
    return ebml + _element("18538067", _element("1654ae6b", tracks))


def _box(name: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return struct.pack(">I", 8 + len(whole)) + name + whole


def mp4_of_times(number: int = 1_000_000, count: int = 0xFFFF) -> bytes:
    """A track whose table of times stands for more frames than could be."""
    times = struct.pack(">II", 0, number) + struct.pack(">II", count, 1) * number
    entry = bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HH", 640, 480) + bytes(50)
    table = _box(
        b"stbl",
        _box(b"stsd", struct.pack(">II", 0, 1), _box(b"mp4v", entry)),
        _box(b"stts", times),
        _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1)),
        _box(b"stsz", struct.pack(">III", 0, 1, 0xFFFFFF)),
        _box(b"stco", struct.pack(">II", 0, 1) + bytes(4)),
    )
    handler = _box(b"hdlr", bytes(8) + b"vide" + bytes(13))
    media = _box(b"mdia", _box(b"mdhd", bytes(12) + struct.pack(">III", 1000, 1000, 0)), handler,
                 _box(b"minf", _box(b"vmhd", bytes(12)), table))  # fmt: skip
    head = _box(b"tkhd", b"\0\0\0\7" + bytes(8) + b"\0\0\0\1" + bytes(68))
    moov = _box(b"moov", _box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 1000) + bytes(80)),
                _box(b"trak", head, media))  # fmt: skip
    return _box(b"ftyp", b"isom\0\0\0\0isom") + moov


def docx_of_media(number: int = 50_000) -> bytes:
    made = io.BytesIO()
    pixel = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<w/>")
        for at in range(number):
            archive.writestr(f"word/media/image{at}.gif", pixel)
    return made.getvalue()


def tiff_of_pages(number: int = 200_000) -> bytes:
    """Directories of a picture of one pixel, each behind the other."""
    fields = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1))
    length = 2 + 12 * len(fields) + 4
    made = [b"II*\0" + struct.pack("<I", 8 + 8) + bytes(8)]
    for at in range(number):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
        following = 16 + (at + 1) * length if at < number - 1 else 0
        made.append(struct.pack("<H", len(fields)) + entries + struct.pack("<I", following))
    return b"".join(made)


def repeated(unit: bytes, size: int = 8 << 20) -> bytes:
    """As many bytes as are searched for archives, behind one that no format begins with."""
    return b"\1" + (unit * (size // len(unit) + 1))[:size]


def tar_headers(size: int = 8 << 20) -> bytes:
    """Blocks with a checksum that is wrong."""
    return repeated(b"\xff" * 147 + b"7777777\0" + b"\xff" * 101 + b"ustar\0" + b"00" + b"\xff" * 248, size)


def tar_header_of_nothing(size: int = 8 << 20) -> bytes:
    """Members without bytes, of which each checksum is right."""
    return b"\1" * 512 + tarfile.TarInfo("a").tobuf() * (size // 512)


FILES: dict[str, Callable[[], bytes]] = {
    "shadings.pdf": pdf_of_shadings,
    "meshes.pdf": pdf_of_meshes,
    "tilings.pdf": pdf_of_tilings,
    "forms.pdf": pdf_of_forms,
    "groups.pdf": pdf_of_groups,
    "lines.pdf": pdf_of_lines,
    "dashes.pdf": pdf_of_dashes,
    "pages.pdf": pdf_of_pages,
    "deep-tree.pdf": pdf_of_deep_tree,
    "loop.pdf": pdf_of_loop,
    "strings.pdf": pdf_of_strings,
    "arrays.pdf": pdf_of_arrays,
    "annotations.pdf": pdf_of_annotations,
    "jbig2.pdf": jbig2_bomb,
    "jpx.pdf": jpx_bomb,
    "flate.pdf": flate_chain,
    "many.zip": zip_of_many,
    "zeros.zip": zip_of_zeros,
    "overlaps.zip": zip_of_overlaps,
    "names.zip": zip_of_long_names,
    "nested.zip": zip_in_zip,
    "chain.gz": gzip_chain,
    "members.gz": gzip_members,
    "zeros.xz": lambda: lzma.compress(bytes(200 << 20)),
    "zeros.bz2": lambda: bz2.compress(bytes(200 << 20)),
    "many.tar": tar_of_many,
    "many.tar.gz": lambda: gzip.compress(tar_of_many()),
    "many.tar.xz": lambda: lzma.compress(tar_of_many()),
    "empties.7z": seven_zip_of_empties,
    "side.png": lambda: png_of(20_000, 20_000),
    "interlaced.png": lambda: png_of(8000, 8000, interlaced=True),
    "texts.png": png_of_text,
    "frames.png": apng_of_frames,
    "frames.gif": gif_of_frames,
    "screen.gif": lambda: gif_of_frames(100_000, 2),
    "progressive.jpg": lambda: large("JPEG", (30_000, 20_000), progressive=True, quality=50),
    "scans.jpg": jpeg_of_scans,
    "side.webp": lambda: large("WEBP", (16_383, 16_383), lossless=True, quality=0, method=0),
    "side.avif": lambda: large("AVIF", (10_000, 10_000), speed=10, max_threads=1),
    "below.avif": lambda: large("AVIF", (8000, 7990), speed=10, max_threads=1),
    "side.tif": lambda: large("TIFF", (30_000, 20_000), compression="tiff_adobe_deflate"),
    "pages.tif": tiff_of_pages,
    "filters.svg": svg_of_filters,
    "uses.svg": svg_of_uses,
    "entities.svg": svg_of_entities,
    "chain.doc": compound_of_chain,
    "nested.rtf": rtf_nested,
    "many.mbox": mbox_of_many,
    "parts.eml": mail_of_parts,
    "data.html": html_of_data,
    "streams.mkv": mkv_of_streams,
    "times.mp4": mp4_of_times,
    "media.docx": docx_of_media,
    "cpio.bin": lambda: repeated(b"07070"),
    "binary-cpio.bin": lambda: repeated(b"\xc7\x71"),
    "gzip.bin": lambda: repeated(b"\x1f\x8b\x08\0" + bytes(6) + b"\0\0\0\xff\xff" * 3),
    "zstandard.bin": lambda: repeated(b"\x28\xb5\x2f\xfd\0\x58\1\0\0"),
    "lzma.bin": lambda: repeated(b"\x5d\0\0\x80\0" + b"\xff" * 8 + bytes(5)),
    "rar.bin": lambda: repeated(b"Rar!\x1a\7\0aaaaa\xff\xff"),
    "arj.bin": lambda: repeated(b"\x60\xea\x28\x0a"),
    "zip.bin": lambda: repeated(b"PK\3\4\x14\0\0\0\0\0" + bytes(16) + b"\0\x10\0\0aaaaaaaa"),
    "ustar.bin": tar_headers,
    "headers.bin": tar_header_of_nothing,
    "pdf.bin": lambda: repeated(b"%PDF-1.4\n"),
    "base64.bin": lambda: repeated(base64.b64encode(bytes(96)) + b"\n\0"),
    "base64.txt": lambda: repeated(b"/9j/4AAQSkZJRgABAQ==\n")[1:],
    "svg.bin": lambda: repeated(b"<svg "),
    "data.bin": lambda: repeated(b"data:image/gif;base64,R0lG\0"),
    "begin.txt": lambda: repeated(b"begin 644 a.jpg\n")[1:],
    "yenc.txt": lambda: repeated(b"=ybegin line=128 size=9 name=a\n")[1:],
    "layers.bin": lambda: repeated(b"\xff\xfb\x90\x64"),
    "starts.bin": lambda: repeated(b"\0\0\1\xba\0\0\1\xe0\0\0"),
    "packets.bin": lambda: repeated(b"\x47"),
}
"""The functions that make the files, by name."""
