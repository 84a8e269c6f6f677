"""Each bound within documents at its edge: met, it is no trouble; beyond it the document is in doubt."""

from __future__ import annotations

import base64
import plistlib
import struct
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from hashscan.hashing.archives.library import ArchiveMember, MemberError
from hashscan.hashing.documents import compound, mail, metafiles, pdf, rtf, texts
from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.hashing.recognition.text_proof import TRACE, plain_in_python
from hashscan.model import Reason
from tests.hashing.documents.compound_files import compound as made_compound
from tests.hashing.documents.drawn import JPEG, stream
from tests.hashing.documents.drawn import pdf as made_pdf
from tests.hashing.documents.office import star_view

Make = Callable[[int], bytes]


def reasons(opener: object, content: bytes) -> Iterator[Reason]:
    """The reasons why an opener did not read all of a document."""
    try:
        for found in opener.members(PreadFile(content)):  # type: ignore[attr-defined]
            if isinstance(found, ArchiveMember):
                try:
                    for _ in found.pieces:
                        pass
                except MemberError as error:
                    yield error.reason
    except ContainerError as error:
        yield error.reason


def pages(number: int, content: bytes = b"", more: bytes = b"", objects: tuple[bytes, ...] = ()) -> bytes:
    kids = b" ".join(b"%d 0 R" % (3 + at + len(objects)) for at in range(1, number + 1))
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 600]/Contents 3 0 R/Resources<<%b>>>>" % more
    tree = b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, number)
    return made_pdf(
        [b"<</Type/Catalog/Pages 2 0 R>>", tree, stream(b"", content), *objects, *[page] * number]
    )


def annotated(number: int) -> bytes:
    note = b"<</Type/Annot/Subtype/Square/Rect[9 9 9 9]>>" * number
    return pages(1).replace(b"/Resources<<>>", b"/Annots[%b]" % note)


def regions(number: int) -> bytes:
    place = ((30 * (at % 20), 30 * (at // 20)) for at in range(number))
    return pages(1, b"".join(b"%d %d 20 20 re f\n" % each for each in place))


def within(number: int) -> bytes:
    """A page with groups within each other."""
    groups = [
        stream(
            b"/Subtype/Form/BBox[0 0 600 600]/Resources<</XObject<</A %d 0 R>>>>" % (5 + at),
            b"/A Do" if at < number - 1 else b"0 0 9 9 re f",
        )
        for at in range(number)
    ]
    return pages(1, b"/A Do", b"/XObject<</A 4 0 R>>", tuple(groups))


def streams(number: int) -> bytes:
    return made_compound({"Workbook": b"", **{f"s{at}": b"" for at in range(number - 1)}})


def dots(number: int) -> bytes:
    return star_view(*[(100, b"")] * number)


def records(number: int) -> bytes:
    """A metafile of so many records, with that at its end."""
    first = struct.pack("<HHHIHIH", 1, 9, 0x300, 0, 0, 0, 0)
    return first + struct.pack("<IHh", 4, 0x0103, 8) * (number - 1) + struct.pack("<IH", 3, 0)


def parts(number: int) -> bytes:
    """A document whose group has so many parts, with the one that ends it."""
    return b"{\\rtf1{\\pict" + b"{}" * ((number - 1) // 2) + b"}}"


def lengthened(content: bytes) -> Make:
    return lambda size: content.ljust(size)


def drawn_often(number: int) -> bytes:
    """A page with so many objects."""
    return pages(1, b"9 9 9 9 re f\n" * number)


def attached(number: int, size: int = 1) -> bytes:
    names = b"".join(b"(%04d)<</Type/Filespec/F(a)/EF<</F 4 0 R>>>>" % at for at in range(number))
    catalogue = b"<</Type/Catalog/Names<</EmbeddedFiles<</Names[%b]>>>>/Pages 2 0 R>>" % names
    return pages(1, objects=(stream(b"/Type/EmbeddedFile", b"x" * size),)).replace(
        b"<</Type/Catalog/Pages 2 0 R>>", catalogue
    )


def attachment(size: int) -> bytes:
    return attached(1, size)


def of_pixels(number: int) -> bytes:
    """A page with a picture of two bytes a value; of one byte, thrice as many pixels are allowed."""
    entries = b"/Subtype/Image/Width %d/Height 1/ColorSpace/DeviceRGB/BitsPerComponent 16" % number
    picture = stream(entries, bytes(6 * number))
    return pages(1, b"q 600 0 0 600 0 0 cm /A Do Q", b"/XObject<</A 4 0 R>>", (picture,))


def late(size: int) -> bytes:
    """A document whose header is late."""
    document = pages(1)
    return b" " * (size - len(document)) + document


def stream_of(size: int) -> bytes:
    return made_compound({"Workbook": b"x" * size})


def values(number: int) -> bytes:
    """A property list of so many values, with that around them."""
    return plistlib.dumps(list(range(number - 1)), fmt=plistlib.FMT_BINARY)


def coded(depth: int) -> bytes:
    """A page within so many others, with a letter as a reference."""
    return b"<p>&" + b"amp;" * (depth - 1) + b"#100;ata:</p>"


def patterns(number: int) -> bytes:
    """A document of so many patterns."""
    pattern = stream(
        b"/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 9 9]/XStep 9/YStep 9/Resources<<>>",
        b"0 0 9 9 re f",
    )
    return pages(1, objects=(pattern,) * number)


CASES: list[tuple[ModuleType, str, int, type, Make, Reason]] = [
    (pdf, "PAGES_MAX", 3, pdf.PdfOpener, pages, Reason.TOO_MANY),
    (pdf, "ANNOTATIONS_MAX", 5, pdf.PdfOpener, annotated, Reason.TOO_MANY),
    (pdf, "REGIONS_MAX", 128, pdf.PdfOpener, regions, Reason.TOO_MANY),
    (pdf, "PATTERNS_MAX", 5, pdf.PdfOpener, patterns, Reason.TOO_MANY),
    (pdf, "FORMS_MAX", 6, pdf.PdfOpener, within, Reason.TOO_MANY),
    (compound, "_STREAMS_MAX", 9, compound.CompoundOpener, streams, Reason.CONTAINER_MEMBERS),
    (metafiles, "_POINTS_MAX", 9, metafiles.MetafileOpener, dots, Reason.UNSUPPORTED),
    (metafiles, "_RECORDS_MAX", 9, metafiles.MetafileOpener, records, Reason.CONTAINER_MEMBERS),
    (pdf, "OBJECTS_MAX", 9, pdf.PdfOpener, drawn_often, Reason.TOO_MANY),
    (pdf, "ANNOTATIONS_MAX", 5, pdf.PdfOpener, attached, Reason.TOO_MANY),
    (pdf, "READ_MAX", 5000, pdf.PdfOpener, attachment, Reason.CONTAINER_BYTES),
    (pdf, "READ_MAX", 5000, pdf.PdfOpener, late, Reason.CONTAINER_BYTES),
    (pdf, "PIXELS_MAX", 300, pdf.PdfOpener, of_pixels, Reason.TOO_LARGE),
    (compound, "READ_MAX", 5000, compound.CompoundOpener, stream_of, Reason.CONTAINER_BYTES),
    (
        metafiles,
        "READ_MAX",
        len(dots(1)),
        metafiles.MetafileOpener,
        lengthened(dots(1)),
        Reason.CONTAINER_BYTES,
    ),
    (rtf, "READ_MAX", 99, rtf.RtfOpener, lengthened(b"{\\rtf1}"), Reason.CONTAINER_BYTES),
    (texts, "READ_MAX", 99, texts.TextOpener, lengthened(b"<p>"), Reason.CONTAINER_BYTES),
    (texts, "READ_MAX", 99, texts.ContactOpener, lengthened(b"BEGIN:VCARD"), Reason.CONTAINER_BYTES),
    (mail, "READ_MAX", 99, mail.MailOpener, lengthened(b"From: a\n\n"), Reason.CONTAINER_BYTES),
    (mail, "READ_MAX", 99, mail.UuOpener, lengthened(b"begin"), Reason.CONTAINER_BYTES),
    (texts, "_VALUES_MAX", 99, texts.TextOpener, values, Reason.CONTAINER_MEMBERS),
    (texts, "_REFERENCES_DEEP", 8, texts.TextOpener, coded, Reason.CONTAINER_DEPTH),
    (rtf, "_TOKENS_MAX", 9, rtf.RtfOpener, parts, Reason.CONTAINER_MEMBERS),
]


@pytest.mark.parametrize(("module", "name", "bound", "opener", "make", "reason"), CASES)
def test_beyond_a_bound_a_document_is_in_doubt(
    module: ModuleType,
    name: str,
    bound: int,
    opener: type,
    make: Make,
    reason: Reason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, bound)
    opened = opener()
    assert set(reasons(opened, make(bound))) == set()
    # Groups of RTF are two parts each.
    beyond = bound + 2 if name == "_TOKENS_MAX" else bound + 1
    assert set(reasons(opened, make(beyond))) == {reason}


def test_beyond_its_bound_a_compound_file_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    content = made_compound({f"s{at}": bytes(4096) for at in range(8)} | {"Workbook": b""})
    for bound, expected in ((len(content) // 4, set()), (len(content) // 4 - 1, {Reason.CONTAINER_BYTES})):
        monkeypatch.setattr(compound, "READ_MAX", bound)
        assert set(reasons(compound.CompoundOpener(), content)) == expected


@pytest.mark.parametrize(("more", "expected"), [(b"", set()), (b"/PatternType 1", {Reason.CONTAINER_BYTES})])
def test_a_long_document_is_in_doubt_if_patterns_repeat_pictures(
    more: bytes, expected: set[Reason], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pages(1, b"9 9 9 9 re f\n" * 100, objects=(b"<<%b>>" % more,))
    monkeypatch.setattr(pdf, "_PIECE_SIZE", 100)
    for bound, found in ((len(content), set()), (len(content) - 1, expected)):
        monkeypatch.setattr(pdf, "READ_MAX", bound)
        assert set(reasons(pdf.PdfOpener(), content)) == found


@pytest.mark.parametrize("more", [-1, 0, 1, 100_000])
@pytest.mark.parametrize(
    ("before", "behind"), [(b'<img src="', b'">'), (b"url(", b")"), (b"see ", b" there"), (b'{"a": "', b'"}')]
)
def test_the_type_of_an_url_may_be_long(before: bytes, behind: bytes, more: int) -> None:
    """As for browsers."""
    kind = b"image/jpeg;name=".ljust(512 + more - len(b";base64"), b"x") + b";base64"
    text = b"words, " + before + b"data:" + kind + b"," + base64.b64encode(JPEG) + behind
    assert plain_in_python(text) == TRACE
    assert none_kind(PreadFile(text)) == ""
    assert [probed.kind.name for probed in texts_with_pictures(PreadFile(text))] == ["text with pictures"]
    found = [b"".join(member.pieces) for member in texts.TextOpener().members(PreadFile(text))]
    assert JPEG in found


@pytest.mark.parametrize("more", [0, 1])
def test_headers_of_a_mail_beyond_the_bound_are_of_no_text(more: int) -> None:
    line = b"Content-Type: text/plain; name=".ljust((1 << 20) - 2 + more, b"x")
    found = texts_with_pictures(PreadFile(line + b"\n\nwords\n"))
    assert [probed.kind.name for probed in found] == ["mail"] * more
