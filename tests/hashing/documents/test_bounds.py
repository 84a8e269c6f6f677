"""Each bound within documents at its edge: met, it is no trouble; beyond it the document is in doubt."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from hashscan.hashing.archives.library import ArchiveMember, MemberError
from hashscan.hashing.documents import compound, metafiles, pdf, rtf
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.documents.compound_files import compound as made_compound
from tests.hashing.documents.drawn import pdf as made_pdf
from tests.hashing.documents.drawn import stream
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


CASES: list[tuple[ModuleType, str, int, type, Make, Reason]] = [
    (pdf, "PAGES_MAX", 3, pdf.PdfOpener, pages, Reason.TOO_MANY),
    (pdf, "ANNOTATIONS_MAX", 5, pdf.PdfOpener, annotated, Reason.TOO_MANY),
    (pdf, "REGIONS_MAX", 128, pdf.PdfOpener, regions, Reason.TOO_MANY),
    (pdf, "FORMS_MAX", 6, pdf.PdfOpener, within, Reason.TOO_MANY),
    (compound, "_STREAMS_MAX", 9, compound.CompoundOpener, streams, Reason.CONTAINER_MEMBERS),
    (metafiles, "_POINTS_MAX", 9, metafiles.MetafileOpener, dots, Reason.UNSUPPORTED),
    (metafiles, "_RECORDS_MAX", 9, metafiles.MetafileOpener, records, Reason.CONTAINER_MEMBERS),
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
    beyond = bound + 2 if module is rtf else bound + 1
    assert set(reasons(opened, make(beyond))) == {reason}
