"""Pictures that LibreOffice, MuPDF or PDFium show of a document match, or the document is in doubt."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageOps

from hashscan.hashing.pdq import PDQ
from hashscan.lists.formats.base import Entry
from hashscan.model import ContainerKind, FileResult, MemberLimits, Reason, Verdict
from tests.hashing.documents.compound_files import compound
from tests.hashing.documents.drawn import (
    JPEG,
    PNG,
    SCENE,
    jpeg_stream,
    page_of,
    pdf,
    pixel_stream,
    stream,
    zipped,
)
from tests.hashing.documents.office import docx, odt, pict, star_view, wmf
from tests.pictures import encoded, scene
from tests.scan.workers.test_worker import check, worker_with

for module in ("libarchive", "pypdfium2_raw", "olefile"):
    pytest.importorskip(module)
pytestmark = pytest.mark.integration

LIMITS = MemberLimits(
    members=5000, bytes=1 << 28, ratio=2000, depth=5, seconds=60.0, kinds=tuple(ContainerKind)
)
NOISE = random.Random(1).randbytes(9000)
OTHER = encoded(scene(3), "JPEG")
BITS = SCENE.convert("1")


def checked(tmp_path: Path, files: Mapping[str, bytes]) -> dict[str, FileResult]:
    """The results of files by name, with the scene listed."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    value, _ = PDQ().digest(np.asarray(SCENE.convert("L")))
    with worker_with(tmp_path, Entry("a", "pdq", value, "A1"), containers=LIMITS) as worker:
        return check(worker, folder)


def pieces(at: int) -> bytes:
    """An XPS document with a picture in two pieces."""
    relation = b'<Relationship Type="http://schemas.microsoft.com/xps/2005/06/fixedrepresentation"/>'
    return zipped({"_rels/.rels": relation, "a.jpg/[0].piece": JPEG[:at], "a.jpg/[1].last.piece": JPEG[at:]})


def workbook(kind: int, body: bytes, continued: int = 0x3C) -> bytes:
    """A workbook of Excel up to 2003 with one record, which goes on in others."""
    parts = [body[at : at + 8224] for at in range(0, len(body), 8224)]
    kinds = [kind] + [continued] * len(parts)
    return compound(
        {
            "Workbook": struct.pack("<HH16x", 0x0809, 16)
            + b"".join(
                struct.pack("<HH", each, len(part)) + part for each, part in zip(kinds, parts, strict=False)
            )
            + struct.pack("<HH", 0x0A, 0)
        }
    )


def presentation(inner: bytes, compressed: bool) -> bytes:
    """A presentation of PowerPoint up to 2003 with a document of another program in it."""
    body = struct.pack("<I", len(inner)) + zlib.compress(inner) if compressed else inner
    record = struct.pack("<HHI", 16 * compressed, 0x1011, len(body)) + body
    return compound({"PowerPoint Document": bytes(64) + record, "Current User": bytes(40)})


_PIXELS = encoded(SCENE, "BMP")[54:]
BACKGROUND = struct.pack("<IHHHH", 12, *SCENE.size, 1, 24) + _PIXELS
BACKGROUND = struct.pack("<HHI", 9, 1, len(BACKGROUND)) + BACKGROUND
BLIP = struct.pack("<HHI", 0x6E00, 0xF01E, 17 + len(PNG)) + bytes(16) + b"\xff" + PNG

FOUND: dict[str, bytes] = {"version-1.wmf": wmf(SCENE, 0x100), "version-0.wmf": wmf(SCENE, 0)}
CALLED = b"q 320 0 0 240 100 300 cm /I Do Q"
LETTER = page_of(CALLED.replace(b"/I", b"/I1"), [jpeg_stream()])


def large_page(content: bytes, resources: bytes, objects: Sequence[bytes], more: bytes = b"") -> bytes:
    """A document with a page of 200 inches, on which a picture is small; its objects begin with number 5."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 14400]/Contents 4 0 R/Resources<<%b>>%b>>"
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            page % (resources, more),
            stream(b"", content),
            *objects,
        ]
    )


def form(content: bytes, resources: bytes, more: bytes = b"/Subtype/Form") -> bytes:
    return stream(b"/Type/XObject/BBox[0 0 320 240]/Resources<<%b>>%b" % (resources, more), content)


WHOLE = b"q 320 0 0 240 0 0 cm /I Do Q"
GREY = pixel_stream(ImageOps.invert(SCENE.convert("L")))
BLACK = b"/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/SMask 6 0 R"
PATTERN = b"/PatternType 1/PaintType 1/TilingType 1/XStep 320/YStep 240/Matrix[1 0 0 1 100 300]"
TYPE_3 = (
    b"<</Type/Font/Subtype/Type3/FontBBox[0 0 320 240]/FontMatrix[1 0 0 1 0 0]/CharProcs<</a 6 0 R>>"
    b"/Encoding<</Differences[97/a]>>/FirstChar 97/LastChar 97/Widths[320]"
    b"/Resources<</XObject<</I 7 0 R>>>>>>"
)
MASK = b"<</SMask<</S/Luminosity/G 6 0 R>>>>"
STAMP = b"/Annots[<</Type/Annot/Subtype/Stamp/Rect[100 300 420 540]/AP<</N 5 0 R>>>>]"
COARSE = SCENE.convert("L").resize((80, 60))
TINY = SCENE.resize((40, 30))
MOSAIC = b"".join(
    b"%.3f %.3f %.3f rg %d %d 8 8 re f\n" % (*(value / 255 for value in colour), 100 + 8 * x, 300 + 8 * y)
    for x in range(40)
    for y in range(30)
    for colour in (TINY.getpixel((x, 29 - y)),)
)
FOUND |= {
    "mask.pdf": large_page(CALLED, b"/XObject<</I 5 0 R>>", [stream(BLACK, b"\0"), GREY]),
    "state-mask.pdf": large_page(
        b"/G gs 0 g 100 300 320 240 re f",
        b"/ExtGState<</G 5 0 R>>",
        [
            MASK,
            stream(
                b"/Type/XObject/Subtype/Form/BBox[0 0 999 999]/Group<</S/Transparency/CS/DeviceGray>>"
                b"/Resources<</XObject<</I 7 0 R>>>>",
                CALLED,
            ),
            GREY,
        ],
    ),
    "pattern.pdf": large_page(
        b"/Pattern cs /P scn 100 300 320 240 re f",
        b"/Pattern<</P 5 0 R>>",
        [form(WHOLE, b"/XObject<</I 6 0 R>>", PATTERN), jpeg_stream()],
    ),
    "repeated.pdf": large_page(
        b"/Pattern cs /P scn 0 0 14400 14400 re f",
        b"/Pattern<</P 5 0 R>>",
        [form(WHOLE, b"/XObject<</I 6 0 R>>", PATTERN), pixel_stream()],
    ),
    "letter.pdf": large_page(
        b"BT /F 1 Tf 100 300 Td (a) Tj ET",
        b"/Font<</F 5 0 R>>",
        [TYPE_3, stream(b"", b"320 0 d0 " + WHOLE), jpeg_stream()],
    ),
    "mosaic.pdf": large_page(MOSAIC, b"", []),
    "nested-stamp.pdf": large_page(
        b"",
        b"",
        [
            form(b"/I Do", b"/XObject<</I 6 0 R>>"),
            form(WHOLE, b"/XObject<</I 7 0 R>>"),
            jpeg_stream(),
        ],
        STAMP,
    ),
    "late-header.pdf": bytes(1025) + LETTER,
    "far-header.pdf": NOISE * 30 + LETTER,
    "no-header.pdf": LETTER[9:],
    "other-header.pdf": LETTER.replace(b"%PDF", b"%pdf", 1),
    "behind-a-picture.pdf": OTHER + bytes(2000) + LETTER,
}
SMALL = b"/Font<</F 5 0 R>>"
USUAL = b"/MediaBox[0 0 595 842]"
GLYPH = TYPE_3.replace(b"/Type/Font", b"/Type/Font/BaseFont/Helvetica")
ALL_OVER = b"/Pattern cs /P scn 0 0 14400 14400 re f"
INLINE = b"BI /W 320 /H 240 /CS /RGB /BPC 8 ID " + SCENE.tobytes() + b" EI "
BY_GREY = b"".join(
    b"%f g %b f\n"
    % (
        (level + 0.5) / 16,
        b"".join(
            b"%f %f 4 4 re " % (100 + 4 * x, 300 + 4 * (59 - y))
            for x in range(80)
            for y in range(60)
            if COARSE.getpixel((x, y)) // 16 == level
        ),
    )
    for level in range(16)
)


def of_letters(across: int, down: int, size: int) -> bytes:
    """A page of which each letter of a font is a piece of the picture, in lines of text."""
    count, wide, high = across * down, SCENE.width // across, SCENE.height // down
    places = [(x * wide, y * high) for y in range(down) for x in range(across)]
    pieces = [SCENE.crop((x, y, x + wide, y + high)) for x, y in places]
    font = (
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 1 1]/FontMatrix[1 0 0 1 0 0]/CharProcs<<%b>>/Encoding"
        b"<</Differences[33%b]>>/FirstChar 33/LastChar %d/Widths[%b]/Resources<</XObject<<%b>>>>>>"
        % (
            b"".join(b"/g%d %d 0 R" % (at, 6 + at) for at in range(count)),
            b"".join(b"/g%d" % at for at in range(count)),
            32 + count,
            b" 1" * count,
            b"".join(b"/I%d %d 0 R" % (at, 6 + count + at) for at in range(count)),
        )
    )
    lines = b"".join(
        b"BT /F %d Tf 100 %d Td <%b> Tj ET\n"
        % (
            size,
            300 + size * (down - 1 - y),
            b"".join(b"%02x" % (33 + y * across + x) for x in range(across)),
        )
        for y in range(down)
    )
    letters = [stream(b"", b"1 0 d0 q /I%d Do Q" % at) for at in range(count)]
    return large_page(lines, SMALL, [font, *letters, *map(pixel_stream, pieces)], USUAL)


FOUND |= {
    "small-letter.pdf": large_page(
        b"BT /F .03 Tf 100 300 Td (a) Tj ET",
        SMALL,
        [TYPE_3, stream(b"", b"320 0 d0 " + WHOLE), pixel_stream()],
        USUAL,
    ),
    "named-letter.pdf": large_page(
        b"BT /F .05 Tf 100 300 Td (a) Tj ET",
        SMALL,
        [GLYPH, stream(b"", b"320 0 d0 " + WHOLE), jpeg_stream()],
    ),
    "letters.pdf": of_letters(16, 12, 10),
    "greys.pdf": large_page(BY_GREY, b"", []),
    "alternate.pdf": large_page(
        CALLED,
        b"/XObject<</I 5 0 R>>",
        [jpeg_stream(SCENE, OTHER, b"/Alternates[<</Image 6 0 R/DefaultForPrinting true>>]"), pixel_stream()],
    ),
    "repeated-inline.pdf": large_page(
        ALL_OVER, b"/Pattern<</P 5 0 R>>", [form(b"q 320 0 0 240 0 0 cm " + INLINE + b"Q", b"", PATTERN)]
    ),
    "repeated-mosaic.pdf": large_page(
        ALL_OVER, b"/Pattern<</P 5 0 R>>", [form(b"1 0 0 1 -100 -300 cm " + MOSAIC, b"", PATTERN)]
    ),
    "repeated-escaped.pdf": large_page(
        ALL_OVER,
        b"/Pattern<</P 5 0 R>>",
        [
            form(WHOLE, b"/XObject<</I 6 0 R>>", PATTERN.replace(b"PatternType", b"Pattern#54ype")),
            pixel_stream(),
        ],
    ),
}
IN_LETTER = TYPE_3.replace(b"/Resources<</XObject<</I 7 0 R>>>>", b"")
WRITTEN = b"320 0 d0 q 320 0 0 240 0 0 cm " + INLINE + b"Q"
BUTTON = (
    b"/Annots[<</Type/Annot/Subtype/Widget/FT/Btn/Ff 65536/F 4/Rect[100 300 420 540]"
    b"/AP<</N 7 0 R%b>>/MK<<%b>>>>]"
)
EMPTY = form(b"", b"")
FOUND |= {
    "inline-letter.pdf": large_page(
        b"BT /F .03 Tf 100 300 Td (a) Tj ET", SMALL, [IN_LETTER, stream(b"", WRITTEN)], USUAL
    ),
    "packed-inline-letter.pdf": large_page(
        b"BT /F .03 Tf 100 300 Td (a) Tj ET",
        SMALL,
        [IN_LETTER, stream(b"/Filter/FlateDecode", zlib.compress(WRITTEN))],
        USUAL,
    ),
    "pressed-button.pdf": large_page(
        b"",
        b"",
        [form(WHOLE, b"/XObject<</I 6 0 R>>"), pixel_stream(), EMPTY],
        USUAL + BUTTON % (b"/D 5 0 R", b""),
    ),
    "icon-of-a-button.pdf": large_page(
        b"",
        b"",
        [form(WHOLE, b"/XObject<</I 6 0 R>>"), pixel_stream(), EMPTY],
        USUAL + BUTTON % (b"", b"/I 5 0 R/TP 1"),
    ),
}
FOUND |= {
    "background.xls": workbook(0xE9, BACKGROUND),
    "older-picture.xls": workbook(0x7F, BACKGROUND),
    "chart-fill.xls": workbook(0x1066, BLIP, 0x1066),
    "continued-chart-fill.xls": workbook(0x1066, BLIP),
    "object.ppt": presentation(workbook(0xE9, BACKGROUND), True),
    "plain-object.ppt": presentation(workbook(0xE9, BACKGROUND), False),
    "metafile.doc": compound({"WordDocument": bytes(64), "Data": bytes(68) + wmf(SCENE)}),
} | {f"{name}.docx": docx("media/image1.wmf", content) for name, content in FOUND.items()}
FOUND |= {
    "any-name.odt": odt("any.dat", pict(SCENE)),
    "pict.docx": docx("media/image1.pict", pict(SCENE)),
    "xbm.docx": docx("media/image1.xbm", encoded(BITS, "XBM")),
}
LINE, BITMAP = (102, bytes(20)), (116, encoded(SCENE, "BMP"))
IN_DOUBT = {
    "bitmap.svm": (star_view(LINE, BITMAP), Reason.UNSUPPORTED),
    "chart.odt": (odt("ObjectReplacements/1", star_view(LINE, BITMAP)), Reason.UNSUPPORTED),
    "dots.svm": (star_view(*[(100, bytes(12))] * 4097), Reason.UNSUPPORTED),
    "encrypted-whole.odt": (zipped({"encrypted-package": NOISE}), Reason.ENCRYPTED),
    "encrypted-part.odt": (odt("a", NOISE, entry="<manifest:encryption-data/>"), Reason.ENCRYPTED),
    "encrypted.epub": (
        zipped({"META-INF/encryption.xml": b'<EncryptionMethod Algorithm="urn:x"/>', "a": NOISE}),
        Reason.ENCRYPTED,
    ),
    "pieces.xps": (pieces(len(JPEG) // 2), Reason.PARTIAL),
    "small-piece.xps": (pieces(1), Reason.PARTIAL),
}
BEGINS = {
    "outlook.pst": b"!BDN",
    "words.wpd": b"\xffWPC",
    "publisher.pub": b"\xe7\xac\x2c\0",
    "write.wri": b"\x31\xbe\0\0",
    "excel-4.xls": b"\x09\x04\6\0\0\0\x10\0",
    "onenote.one": b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d",
    "scan.dcm": bytes(128) + b"DICM",
    "book.prc": bytes(60) + b"TEXtREAd",
    "drawing.dwg": b"AC1015\0",
    "stamps.fdf": b"%FDF-1.2",
    "pages.djvu": b"FORM\0\0\0\x20DJVM",
}
ATTACHED = (
    b"<</Type/Catalog/Pages 2 0 R/Names<</EmbeddedFiles<</Names[(a)<</F(p.jpg)/EF<</UF 4 0 R>>>>]>>>>>>"
)
PAGES = [b"<</Type/Pages/Kids[3 0 R]/Count 1>>", b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"]
FOUND["attached.pdf"] = pdf([ATTACHED, *PAGES, stream(b"", JPEG)])
PACKED = stream(b"/Filter/FlateDecode", zlib.compress(JPEG))
IN_DOUBT["attached-packed.pdf"] = pdf([ATTACHED, *PAGES, PACKED]), Reason.AMBIGUOUS
IN_DOUBT |= {name: (begin + NOISE, Reason.CONTAINER) for name, begin in BEGINS.items()}
CLEAN = {
    "chart-of-lines.odt": odt("ObjectReplacements/1", star_view(LINE, (109, bytes(40)))),
    "few-dots.svm": star_view(*[(100, bytes(12))] * 4096),
    "usual.docx": docx("media/a.jpg", OTHER, {"word/printerSettings1.bin": NOISE, "word/a.txt": b"words"}),
    "usual.odt": odt("Pictures/a.jpg", OTHER, {"layout-cache": NOISE}),
    "fonts.epub": zipped(
        {
            "META-INF/encryption.xml": b'<EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/>',
            "a.otf": NOISE,
        }
    ),
    "package.nupkg": zipped({"_rels/.rels": b'<Relationship Type="manifest"/>', "a.dll": NOISE}),
    "picture.wmf": wmf(scene(3), 0x100),
}


FOUND |= {
    "any-name.odt": odt("any.dat", pict(SCENE)),
    "pict.docx": docx("media/image1.pict", pict(SCENE)),
    "xbm.docx": docx("media/image1.xbm", encoded(BITS, "XBM")),
}


@pytest.mark.slow
def test_what_programs_show_is_found_or_in_doubt(tmp_path: Path) -> None:
    doubt = {name: content for name, (content, _) in IN_DOUBT.items()}
    found = checked(tmp_path, FOUND | doubt | CLEAN)
    assert {name: found[name].verdict for name in found} == {
        **dict.fromkeys(FOUND, Verdict.MATCH),
        **dict.fromkeys(IN_DOUBT, Verdict.UNDECODED),
        **dict.fromkeys(CLEAN, Verdict.CLEAN),
    }
    assert {name: found[name].reason for name in IN_DOUBT} == {
        name: reason for name, (_, reason) in IN_DOUBT.items()
    }


@pytest.mark.parametrize("form", ["TGA", "tga_rle"])
def test_a_picture_without_a_signature_in_a_document(tmp_path: Path, form: str) -> None:
    picture = encoded(SCENE, "TGA", compression="tga_rle" if form == "tga_rle" else None)
    found = checked(
        tmp_path, {"a.docx": docx("media/a.tga", picture), "a.odt": odt("Pictures/a.tga", picture)}
    )
    assert {result.verdict for result in found.values()} <= {Verdict.MATCH, Verdict.UNDECODED}
