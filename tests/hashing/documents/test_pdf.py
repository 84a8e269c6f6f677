"""Opening PDF documents in a confined decoder: pictures, pages, regions, attachments, hostile ones."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, ImageOps

from hashscan.model import Reason
from hashscan.sandbox.client import Sandbox
from tests.hashing.documents.conftest import Open
from tests.hashing.documents.drawn import (
    JPEG,
    LETTER,
    SCENE,
    by_place,
    digests,
    distance,
    jpeg_stream,
    page_of,
    pdf,
    pixel_stream,
    reasons,
    stream,
    zipped,
)
from tests.pictures import encoded, scene

pytest.importorskip("pypdfium2_raw")
pytest.importorskip("libarchive")
pytestmark = pytest.mark.integration

THRESHOLD = 31
PLACED = b"q 320 0 0 240 100 300 cm /I1 Do Q"


def test_the_sandbox_is_as_tight_as_for_pictures(sandbox: Sandbox, opened: Open) -> None:
    opened(LETTER)
    assert sandbox.level is not None
    assert sandbox.level.full or os.geteuid() != 0


def test_a_jpeg_keeps_its_digests(opened: Open) -> None:
    members, end = opened(LETTER)
    found = by_place(members)
    assert set(found) == {"page=1", "page=1,image=1", "page=1,region=1"}
    (image,) = found["page=1,image=1"]
    assert image.exact == digests(JPEG)
    assert distance(image) <= 8
    assert distance(found["page=1,region=1"][0]) <= THRESHOLD
    assert (end.reason, reasons(members)) == (None, {})


def test_a_jpeg_that_is_compressed_again_keeps_its_digests(opened: Open) -> None:
    packed = stream(
        b"/Type/XObject/Subtype/Image/Width 320/Height 240/ColorSpace/DeviceRGB/BitsPerComponent 8"
        b"/Filter[/FlateDecode/DCTDecode]",
        zlib.compress(JPEG),
    )
    members, _ = opened(page_of(PLACED, [packed]))
    assert by_place(members)["page=1,image=1"][0].exact == digests(JPEG)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_hashed(opened: Open, mode: str) -> None:
    members, end = opened(page_of(PLACED, [pixel_stream(SCENE.convert(mode))]))
    stored, drawn = by_place(members)["page=1,image=1"]
    assert (len(stored.exact), drawn.exact) == (3, ())
    assert distance(drawn) <= 8
    assert (end.reason, reasons(members)) == (None, {})


def test_a_picture_on_many_pages_is_hashed_once(opened: Open) -> None:
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 6 0 R/Resources<</XObject<</I1 7 0 R>>>>>>"
    )
    pages = b"<</Type/Pages/Kids[3 0 R 4 0 R 5 0 R]/Count 3>>"
    catalogue = b"<</Type/Catalog/Pages 2 0 R>>"
    members, _ = opened(pdf([catalogue, pages, page, page, page, stream(b"", PLACED), jpeg_stream()]))
    places = by_place(members)
    assert [place for place in places if "image" in place] == ["page=1,image=1"]
    assert {"page=1", "page=2", "page=3"} < set(places)


def strips(count: int) -> tuple[bytes, list[bytes]]:
    """A picture cut into strips that lie above each other."""
    high = 240 // count
    content = b"".join(
        b"q 320 0 0 %d 100 %d cm /I%d Do Q " % (high, 540 - high * number, number)
        for number in range(1, count + 1)
    )
    parts = [SCENE.crop((0, high * number, 320, high * (number + 1))) for number in range(count)]
    return content, [pixel_stream(part) for part in parts]


TEXT = b" BT /F1 12 Tf 100 100 Td (A picture is above.) Tj ET"


def group(content: bytes, first: int, count: int) -> bytes:
    names = b"".join(b"/I%d %d 0 R" % (number, first + number - 1) for number in range(1, count + 1))
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Matrix[0.5 0 0 0.5 0 0]"
    return stream(entries + b"/Resources<</XObject<<%b>>>>" % names, content)


def in_group() -> bytes:
    content, images = strips(8)
    return page_of(b"1 0 0 1 90 200 cm /I1 Do", [group(content, 6, 8), *images])


def drawn_by_lines() -> bytes:
    """A picture of rectangles, each with a colour."""
    small = SCENE.resize((64, 48))
    parts = []
    for at in range(64 * 48):
        x, y = at % 64, at // 64
        colour = small.getpixel((x, y))
        assert isinstance(colour, tuple)
        parts.append(
            b"%.2f %.2f %.2f rg %d %d 5 5 re f" % (*(part / 255 for part in colour), 100 + 5 * x, 600 - 5 * y)
        )
    return page_of(b"\n".join(parts) + TEXT, [])


def in_type_3_letter() -> bytes:
    """A picture that is a letter."""
    glyph = stream(b"", b"1 0 d0 q 320 0 0 240 0 0 cm /I1 Do Q")
    font = (
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 320 240]/FontMatrix[1 0 0 1 0 0]/CharProcs<</a 6 0 R>>"
        b"/Encoding<</Type/Encoding/Differences[97/a]>>/FirstChar 97/LastChar 97/Widths[320]"
        b"/Resources<</XObject<</I1 5 0 R>>>>>>"
    )
    page = b"/MediaBox[0 0 320 240]"
    made = page_of(b"BT /F1 1 Tf (a) Tj ET", [jpeg_stream()], page, [glyph, font])
    return made.replace(b"/XObject<</I1 5 0 R>>>>/MediaBox", b"/Font<</F1 7 0 R>>>>/MediaBox")


def in_pattern() -> bytes:
    """A rectangle filled with a picture."""
    pattern = stream(
        b"/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 320 240]/XStep 320/YStep 240"
        b"/Matrix[1 0 0 1 100 300]/Resources<</XObject<</I1 5 0 R>>>>",
        b"q 320 0 0 240 0 0 cm /I1 Do Q",
    )
    made = page_of(b"/Pattern cs /P1 scn 100 300 320 240 re f", [jpeg_stream()], b"", [pattern])
    return made.replace(
        b"/Resources<</XObject<</I1 5 0 R>>>>>>\nendobj", b"/Resources<</Pattern<</P1 6 0 R>>>>>>\nendobj", 1
    )


def inverted() -> bytes:
    """A JPEG of the opposite colours, which the document turns back."""
    negative = ImageOps.invert(SCENE)
    content = encoded(negative, "JPEG", quality=95)
    return page_of(PLACED, [jpeg_stream(negative, content, b"/Decode[1 0 1 0 1 0]")])


def behind_mask() -> bytes:
    """A picture of one colour, whose opacity is the picture."""
    black = Image.new("RGB", SCENE.size)
    mask = pixel_stream(ImageOps.invert(SCENE.convert("L")))
    return page_of(PLACED, [pixel_stream(black, b"/SMask 6 0 R"), mask])


def cut_out() -> bytes:
    """A picture beside others in a larger one, of which a path shows it alone."""
    wide = Image.new("RGB", (960, 720))
    for place in range(9):
        wide.paste(SCENE if place == 4 else scene(50 + place), (320 * (place % 3), 240 * (place // 3)))
    clip = b"q 100 300 320 240 re W n 960 0 0 720 -220 60 cm /I1 Do Q"
    return page_of(clip, [jpeg_stream(wide, encoded(wide, "JPEG"))])


def in_stamp() -> bytes:
    """An annotation whose appearance is the picture."""
    stamp = b"<</Type/Annot/Subtype/Stamp/Rect[100 300 420 540]/F 4/AP<</N 7 0 R>>>>"
    look = stream(
        b"/Type/XObject/Subtype/Form/BBox[0 0 320 240]/Resources<</XObject<</I1 5 0 R>>>>",
        b"q 320 0 0 240 0 0 cm /I1 Do Q",
    )
    return page_of(b"", [jpeg_stream()], b"/Annots[6 0 R]", [stamp, look])


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: page_of(strips(8)[0] + TEXT, strips(8)[1]), id="strips"),
        pytest.param(in_group, id="strips in a group"),
        pytest.param(drawn_by_lines, id="shapes"),
        pytest.param(in_type_3_letter, id="letter"),
        pytest.param(in_pattern, id="pattern"),
        pytest.param(inverted, id="inverted"),
        pytest.param(behind_mask, id="mask"),
        pytest.param(cut_out, id="cut out"),
        pytest.param(in_stamp, id="stamp"),
        pytest.param(
            lambda: page_of(PLACED, [jpeg_stream()], b"/Rotate 90/CropBox[50 200 500 600]"), id="turned page"
        ),
        pytest.param(lambda: page_of(b"q -320 0 0 240 420 300 cm /I1 Do Q", [jpeg_stream()]), id="mirrored"),
    ],
)
def test_what_a_page_shows_is_found(opened: Open, made: Callable[[], bytes]) -> None:
    members, end = opened(made())
    assert min(map(distance, members)) <= THRESHOLD, by_place(members).keys()
    assert (end.reason, reasons(members)) == (None, {})


@pytest.mark.parametrize("made", [inverted, behind_mask, cut_out])
def test_a_stored_picture_that_is_shown_otherwise_is_found_as_shown(
    opened: Open, made: Callable[[], bytes]
) -> None:
    members, _ = opened(made())
    (region,) = by_place(members)["page=1,region=1"]
    assert distance(region) <= THRESHOLD


def attached(name: bytes, content: bytes) -> bytes:
    """A document with an attachment."""
    file = stream(b"/Type/EmbeddedFile", content)
    spec = b"<</Type/Filespec/F(%b)/UF(%b)/EF<</F 5 0 R>>>>" % (name, name)
    made = page_of(b"", [file, spec])
    catalogue = b"<</Type/Catalog/Pages 2 0 R/Names<</EmbeddedFiles<</Names[(%b) 6 0 R]>>>>>>" % name
    return made.replace(b"<</Type/Catalog/Pages 2 0 R>>", catalogue)


def test_attachments_are_opened(opened: Open) -> None:
    members, end = opened(attached(b"x.zip", zipped({"a.jpg": JPEG})))
    found = by_place(members)
    assert found["attachment=1/x.zip!a.jpg"][0].exact == digests(JPEG)
    assert (end.reason, reasons(members)) == (None, {})


def test_an_attachment_of_an_annotation(opened: Open) -> None:
    note = b"<</Type/Annot/Subtype/FileAttachment/Rect[0 0 9 9]/FS 7 0 R>>"
    spec = b"<</Type/Filespec/F(a.jpg)/UF(a.jpg)/EF<</F 5 0 R>>>>"
    file = stream(b"/Type/EmbeddedFile", JPEG)
    members, _ = opened(page_of(b"", [file], b"/Annots[6 0 R]", [note, spec]))
    assert by_place(members)["page=1,attachment=1/a.jpg"][0].exact == digests(JPEG)


def test_films_and_the_like_are_not_opened(opened: Open) -> None:
    kinds = (b"Movie", b"Screen", b"RichMedia", b"3D", b"Sound")
    notes = [b"<</Type/Annot/Subtype/%b/Rect[0 0 9 9]>>" % kind for kind in kinds]
    numbers = b" ".join(b"%d 0 R" % (5 + at) for at in range(len(notes)))
    members, _ = opened(page_of(b"", [], b"/Annots[%b]" % numbers, notes))
    assert reasons(members) == {
        f"page=1,annotation={at}": Reason.CONTAINER for at in range(1, len(kinds) + 1)
    }


def test_three_deep(opened: Open) -> None:
    members, end = opened(zipped({"x.zip": zipped({"letter.pdf": LETTER})}))
    found = by_place(members)
    assert found["x.zip!letter.pdf#page=1,image=1"][0].exact == digests(JPEG)
    assert (end.reason, reasons(members)) == (None, {})


def encrypted() -> bytes:
    """A document that wants a password."""
    trailer = (
        b"/ID[<00112233445566778899aabbccddeeff><00112233445566778899aabbccddeeff>]/Encrypt<</Filter/Standard"
        b"/V 2/R 3/Length 128/P -4/O<%b>/U<%b>>>" % (b"ab" * 32, b"cd" * 32)
    )
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"], trailer)


def endless_groups() -> bytes:
    """Groups of which each shows the next one many times."""
    groups = [
        stream(
            b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</I %d 0 R>>>>" % (number + 6),
            b"/I Do " * 30,
        )
        for number in range(8)
    ]
    return page_of(b"/I1 Do " * 30, [*groups, jpeg_stream()])


def loop() -> bytes:
    """A group that shows itself, and a page tree that holds itself."""
    inner = stream(b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</I1 5 0 R>>>>", b"/I1 Do ")
    return page_of(b"/I1 Do", [inner]).replace(b"/Kids[3 0 R]/Count 1", b"/Kids[3 0 R 2 0 R]/Count 2")


def huge_page() -> bytes:
    return LETTER.replace(b"/MediaBox[0 0 612 792]", b"/MediaBox[0 0 1e30 1e30]")


def huge_picture() -> bytes:
    """A picture of few bytes with more pixels than there is memory for."""
    entries = (
        b"/Type/XObject/Subtype/Image/Width 60000/Height 60000/ColorSpace/DeviceRGB/BitsPerComponent 8"
        b"/Filter/FlateDecode"
    )
    return page_of(PLACED, [stream(entries, zlib.compress(bytes(1 << 20)))])


def unknown_picture() -> bytes:
    """A picture in a format that a broken stream of JBIG2 has."""
    entries = (
        b"/Type/XObject/Subtype/Image/Width 60/Height 60/ColorSpace/DeviceGray/BitsPerComponent 1"
        b"/Filter/JBIG2Decode"
    )
    return page_of(PLACED, [stream(entries, bytes(range(200)))])


def test_a_text_about_documents_is_none(opened: Open) -> None:
    rules = b'patterns = {pdf = [[%PDF-1.7]], object = "obj", 5 % 3}\n' * 9
    members, end = opened(rules)
    assert (members, end.reason) == ([], None)
    for hidden in (rules + LETTER, rules + LETTER.replace(b"1 0 obj", b"1 0%5\n\0obj")):
        assert by_place(opened(hidden)[0])


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(encrypted, {Reason.ENCRYPTED}, id="encrypted"),
        pytest.param(lambda: b"%PDF-1.7\n" + bytes(5000), {Reason.CONTAINER_BROKEN}, id="no document"),
        pytest.param(lambda: LETTER[:300], {Reason.CONTAINER_BROKEN}, id="truncated"),
        pytest.param(
            lambda: LETTER.replace(b"/Kids[3 0 R]/Count 1", b"/Kids[]/Count 0"),
            {Reason.CONTAINER_BROKEN},
            id="no page",
        ),
        pytest.param(huge_picture, {Reason.TOO_LARGE}, id="huge picture"),
        pytest.param(unknown_picture, {Reason.BROKEN}, id="broken JBIG2"),
        pytest.param(
            lambda: page_of(PLACED, [jpeg_stream(content=JPEG[:200])]),
            {Reason.BROKEN, Reason.TRUNCATED},
            id="cut JPEG",
        ),
        pytest.param(
            lambda: page_of(b"0 0 m 9 9 l S " * 60_000, []), {Reason.TOO_MANY}, id="too many objects"
        ),
        pytest.param(huge_page, {None}, id="huge page"),
        pytest.param(loop, {None, Reason.BROKEN}, id="loop"),
    ],
)
def test_hostile_documents(opened: Open, made: Callable[[], bytes], expected: set[Reason | None]) -> None:
    members, end = opened(made())
    given = {end.reason, *reasons(members).values()}
    damage = {found for member in members if isinstance(found := member.decoded(("pdq",)), Reason)}
    partly = {getattr(member.decoded(("pdq",)), "damage", None) for member in members}
    assert (given | damage | partly) & expected, (given, damage)


def test_a_thumbnail_with_a_bit_for_each_pixel_costs_no_page(opened: Open) -> None:
    small = ImageOps.fit(SCENE.convert("L"), (128, 96)).convert("1")
    packed = stream(b"/Width 128/Height 96/ColorSpace/DeviceGray/BitsPerComponent 1", small.tobytes())
    members, end = opened(page_of(PLACED, [jpeg_stream()], b"/Thumb 6 0 R", [packed]))
    found = by_place(members)
    assert set(found) == {"page=1", "page=1,thumbnail", "page=1,image=1", "page=1,region=1"}
    assert min(distance(member, small) for member in found["page=1,thumbnail"]) <= THRESHOLD
    assert (end.reason, reasons(members)) == (None, {})
