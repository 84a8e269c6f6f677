"""Read PDF documents by PDFium: embedded pictures, pages as they are shown, attachments.

A viewer shows pages, and a page is more than the pictures embedded in it: a picture may be cut into strips,
laid behind a mask, stored inverted, or drawn by lines, patterns and letters. So these are members:

- `page=3,image=2`: an embedded picture. Its bytes are digested as they are stored; for JPEG those of the file
  that it is. It is decoded from these, or drawn by PDFium alone where they are no file.
- `page=3`: the page, drawn with all that lies on it, annotations too.
- `page=3,region=2`: a part of the page in which pictures, lines and shapes touch each other, such as the
  strips of one picture; text may lie over it.
- `page=3,attachment=1/NAME`, `attachment=1/NAME`: files in the document.

- `page=3,thumbnail`: the small picture of the page that viewers list.

A document whose members could all be read is checked in full. An embedded film, sound, or drawing in three
dimensions is a member with `Reason.CONTAINER`, as is a form that draws pages (XFA). Not seen is a picture of
several parts that do not touch, one whose shapes lie over another shape that is larger, what a script draws,
shapes by which a button looks otherwise while it is pressed, shapes of hidden layers; nor an earlier version
of a changed document.

PDFium reads through a function of ours; it gets no file, and no fonts of the system. It is loaded before the
sandbox is closed, since the function needs executable memory, and started by a document of one page.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pypdfium2_raw

from hashscan.hashing.archives.openers import READ_MAX, DrawnPicture, Found, failed, guarded, stored
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

PAGES_MAX = 10_000
"""Pages."""
OBJECTS_MAX = 20_000
"""Objects of one page, with those of groups, and letters with a picture among their operators."""
FORMS_MAX = 16
"""Groups of objects (form XObjects) within each other."""
ANNOTATIONS_MAX = 1000
"""Annotations of one page, and attachments of a document."""
REGIONS_MAX = 1000
"""Regions of one page, which are drawn alone."""
PATTERNS_MAX = 1000
"""Patterns of a document, each of which is drawn."""
PIXELS_MAX = 1 << 24
"""Pixels of an embedded picture that is no JPEG; thrice as many of one byte a value."""

_SIDE = 512
"""Longer side of a drawn page or region in pixels: hashes are of far fewer."""

_GRID = 128
"""Cells along each side of a page, in which objects touch each other."""
_ALL_OF_IT = 0.9
"""Share of both sides from which a region is the page."""
_SMALLEST, _SMALLEST_POINTS = 0.03, 24.0
"""Share of both sides below which a region of few lines and shapes is left out: a bullet, a rule. Letters
that are pictures (Type 3) are left out below this height in points, too: they may be those of the text."""
_LEAST = 1e-4
"""Share of both sides below which nothing is drawn."""
_MOSAIC = 64
"""Number of shapes from which a region of any size may be a picture."""
_SEGMENTS = 64
"""Segments of a path that count as one shape: all of its parts have one colour."""
_PATTERN = (0xBF, 0xBF, 0xBF)
"""The colour that PDFium states of what a pattern fills."""

_pdfium: Any = pypdfium2_raw

_JPEG, _JPEG_2000 = b"DCTDecode", b"JPXDecode"
_SHORT_NAMES = {b"DCT": _JPEG}
_FAULTS = {
    _pdfium.FPDF_ERR_PASSWORD: Reason.ENCRYPTED,
    _pdfium.FPDF_ERR_SECURITY: Reason.ENCRYPTED,
}
_XFA = frozenset({_pdfium.FORMTYPE_XFA_FULL, _pdfium.FORMTYPE_XFA_FOREGROUND})
_UNOPENED = frozenset(
    {
        *(_pdfium.FPDF_ANNOT_MOVIE, _pdfium.FPDF_ANNOT_SOUND, _pdfium.FPDF_ANNOT_SCREEN),
        *(_pdfium.FPDF_ANNOT_RICHMEDIA, _pdfium.FPDF_ANNOT_THREED),
    }
)

Matrix = tuple[float, float, float, float, float, float]
"""A matrix as in a PDF: x' = ax + cy + e, y' = bx + dy + f."""
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


class Box(NamedTuple):
    """A rectangle in shares of the page as it is shown, from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


_WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class _Object(NamedTuple):
    """An object on a page."""

    pointer: Any
    kind: int
    box: Box | None
    """None where it lies nowhere on the page."""


class Placed(NamedTuple):
    """The place of what may be a part of a picture."""

    box: Box
    weight: int
    """`_MOSAIC` for what may be a picture alone, otherwise 1."""


class PdfOpener:
    """Opens PDF documents by PDFium."""

    def __init__(self) -> None:
        """Start the library; do it once, before the sandbox is closed."""
        no_fonts = (ctypes.POINTER(ctypes.c_char) * 1)()
        config = _pdfium.FPDF_LIBRARY_CONFIG(version=2, m_pUserFontPaths=no_fonts)
        _pdfium.FPDF_InitLibraryWithConfig(ctypes.byref(config))
        self._files: dict[int, PreadFile] = {}
        self._numbers = count(1)
        # Made only once: it needs executable memory.
        self._callback = dict(_pdfium.FPDF_FILEACCESS._fields_)["m_GetBlock"](self._read)
        for _ in self.members(PreadFile(_sample())):
            pass

    def members(self, file: PreadFile) -> Iterator[Found]:
        """Yield embedded pictures, pages, regions and attachments."""
        if _is_about_documents(file):
            return
        with self._opened(file) as document:
            pages = _pdfium.FPDF_GetPageCount(document)
            if pages <= 0:
                raise ContainerError(Reason.CONTAINER_BROKEN)
            if _pdfium.FPDF_GetFormType(document) in _XFA:
                yield failed(b"form", Reason.CONTAINER)
            seen: set[bytes] = set()
            for number in range(min(pages, PAGES_MAX)):
                yield from guarded(b"page=%d" % (number + 1), _page_members(document, number, seen))
            attachments = _pdfium.FPDFDoc_GetAttachmentCount(document)
            for number in range(min(attachments, ANNOTATIONS_MAX)):
                name = b"attachment=%d" % (number + 1)
                attachment = _pdfium.FPDFDoc_GetAttachment(document, number)
                yield from guarded(name, _attachment(attachment, name))
            yield from guarded(b"pattern", self._of_patterns(file, seen))
            if pages > PAGES_MAX or attachments > ANNOTATIONS_MAX:
                raise ContainerError(Reason.TOO_MANY)

    def _of_patterns(self, file: PreadFile, seen: set[bytes]) -> Iterator[Found]:
        """Yield the embedded pictures that are on no page, and what patterns repeat, drawn: small letters and
        patterns, alternates, and other looks of buttons. They are put on pages that are appended to the
        document."""
        if not {_LETTERS, _BUTTONS} & seen and not _shows_elsewhere(file):
            return
        if file.size > READ_MAX:
            yield failed(b"pattern", Reason.CONTAINER_BYTES)
            return
        file.seek(0)
        content = file.read()
        appended, patterns = _with_pages_of_pictures(content, letters=_LETTERS in seen)
        if appended is None:
            yield failed(b"pattern", Reason.TOO_MANY)
            return
        with self._opened(PreadFile(appended)) as document:
            for number in range(max(1, _pdfium.FPDF_GetPageCount(document))):
                page = _pdfium.FPDF_LoadPage(document, number)
                if not page:
                    raise ContainerError(Reason.CONTAINER_BROKEN)
                try:
                    if number == 0 or number > patterns:
                        name = b"letter=%d" % (number - patterns) if number else b"pattern"
                        yield from _embedded(page, name, seen, _IDENTITY, [])
                    else:
                        yield from _drawn(page, b"pattern=%d" % number, _WHOLE, _SIDE, _SIDE)
                finally:
                    _pdfium.FPDF_ClosePage(page)

    @contextmanager
    def _opened(self, file: PreadFile) -> Iterator[Any]:
        number = next(self._numbers)
        file = self._files[number] = _from_header(file)
        access = _pdfium.FPDF_FILEACCESS(
            m_FileLen=file.size, m_GetBlock=self._callback, m_Param=ctypes.c_void_p(number)
        )
        try:
            document = _pdfium.FPDF_LoadCustomDocument(ctypes.byref(access), None)
            if not document:
                raise ContainerError(_FAULTS.get(_pdfium.FPDF_GetLastError(), Reason.CONTAINER_BROKEN))
            try:
                yield document
            finally:
                _pdfium.FPDF_CloseDocument(document)
        finally:
            del self._files[number]

    def _read(self, number: int, position: int, place: Any, size: int) -> int:
        try:
            file = self._files[number]
            file.seek(position)
            block = file.read(size)
        except (OSError, MemoryError, KeyError):
            return 0
        ctypes.memmove(place, block, len(block))
        return int(len(block) == size)


_TILING = rb"/(?:PatternType|P[A-Za-z0-9]{0,30}#[A-Za-z0-9#]{0,40})\s{0,9}1(?![0-9])"
_ELSEWHERE = re.compile(_TILING + rb"|/(?:Alternates|Al[a-z]{0,8}#[A-Za-z0-9#]{0,20})\s{0,9}\[")
"""A pattern that repeats something, or an alternate of a picture."""
_LETTERS = b"letters"
"""Among the digests of pictures: there are small letters that may be pictures."""
_BUTTONS = b"buttons"
"""Among the digests of pictures: there are fields of forms, which look otherwise while they are pressed."""
_OBJECT = rb"([0-9]{1,7})\s{1,9}([0-9]{1,5})\s{1,9}obj\b(?:(?!endobj|stream|\sobj).){1,65536}?"
_PICTURE = re.compile(_OBJECT + rb"/(?:Image\b|[A-Za-z]{0,9}#)", re.DOTALL)
"""A picture's number and that of its version, and its type, or a name with an escape."""
_REPEATED = re.compile(_OBJECT + _TILING, re.DOTALL)
_APPENDED = 4_000_000
"""Number of the first appended object, below the greatest that PDFium knows."""


_BEGIN_OF_OBJECT = re.compile(rb"(?:[0-9]|%[^\r\n%]*+)[\0\s]++obj")
"""Begin of an object: two numbers and a word, between which comments may stand."""


def _is_about_documents(file: PreadFile) -> bool:
    """Return True for a file that names the mark of a document, and has no object: no viewer opens it."""
    if file.size > READ_MAX:
        return False
    file.seek(0)
    begin = file.read(_PIECE_SIZE)
    if begin.startswith(_HEADER) or _BEGIN_OF_OBJECT.search(begin) is not None:
        return False
    return file.size == len(begin) or _BEGIN_OF_OBJECT.search(begin + file.read()) is None


def _shows_elsewhere(file: PreadFile) -> bool:
    """Return True if a document may have patterns that repeat something, or alternates of pictures."""
    file.seek(0)
    last = b""
    while piece := file.read(_PIECE_SIZE):
        if _ELSEWHERE.search(last + piece) is not None:
            return True
        last = piece[-_OVERLAP:]
    return False


_PIECE_SIZE, _OVERLAP = 1 << 20, 1024


_STREAM = re.compile(_OBJECT + rb"stream\r?\n", re.DOTALL)
_FILTER = re.compile(rb"/(?:F|Filter)\s*\[?\s*/([A-Za-z0-9]+)")
_IS_LETTER = re.compile(rb"\s*(?:%|(?:[-+.0-9]+\s+){2,6}d[01]\b)")
_SIDES = re.compile(rb"/(?:W|H|Width|Height)\s*([0-9]{1,6})")
_LETTER_BEGIN, _LETTER_SIDE = 4096, 96
"""Bytes of a letter that are looked at, and pixels of the longer side from which its picture counts."""


def _letters(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the streams that may be letters (Type 3) with a picture of some size among their operators."""
    for found in _STREAM.finditer(content):
        packed = _FILTER.search(found[0])
        begin, is_whole = content[found.end() : found.end() + _LETTER_BEGIN], False
        if packed is not None and packed[1] not in {b"FlateDecode", b"Fl"}:
            if b"/Subtype" not in found[0]:
                yield int(found[1]), int(found[2])
            continue
        if packed is not None:
            unpacker = zlib.decompressobj()
            with suppress(zlib.error):
                begin = unpacker.decompress(content[found.end() : found.end() + READ_MAX], _LETTER_BEGIN)
            is_whole = unpacker.eof
        elif (end := begin.find(b"endstream")) >= 0:
            begin, is_whole = begin[:end], True
        if _IS_LETTER.match(begin) is None or (is_whole and b"BI" not in begin):
            continue
        sides = [int(side) for side in _SIDES.findall(begin)]
        is_small = len(sides) == 2 and max(sides) < _LETTER_SIDE and begin.count(b"BI") == 1
        if not (is_whole and is_small):
            yield int(found[1]), int(found[2])


def _with_pages_of_pictures(content: bytes, *, letters: bool) -> tuple[bytes | None, int]:
    """Return a document with one page on which all embedded pictures are, then one for each pattern, and one
    for each letter that may be a picture; None if they are too many. Then the number of patterns.

    Its table of objects is wrong, so that PDFium searches for them. A pattern is the look of a stamp, which
    fills its page; a letter is the content of its page.
    """
    found = {(int(each[1]), int(each[2])) for each in _PICTURE.finditer(content)}
    patterns = {(int(each[1]), int(each[2])) for each in _REPEATED.finditer(content)}
    written = set(islice(_letters(content), OBJECTS_MAX + 1)) if letters else set()
    if max(len(found), len(written)) > OBJECTS_MAX or len(patterns) > PATTERNS_MAX:
        return None, 0
    first = _APPENDED
    names = b"".join(b"/I%d %d %d R" % (at, *each) for at, each in enumerate(sorted(found)))
    drawn = b"".join(b"/I%d Do " % at for at in range(len(found)))
    number = len(patterns) + len(written)
    pages = b"".join(b" %d 0 R" % (first + 4 + at) for at in range(number))
    parts = (
        b"<</Type/Catalog/Pages %d 0 R>>" % (first + 1),
        b"<</Type/Pages/Kids[%d 0 R%b]/Count %d>>" % (first + 2, pages, 1 + number),
        b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 9 9]/Contents %d 0 R/Resources<</XObject<<%b>>>>>>"
        % (first + 1, first + 3, names),
        b"<</Length %d>>stream\n%b\nendstream" % (len(drawn), drawn),
        *(
            b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 512 512]/Annots[<</Type/Annot/Subtype/Stamp/F 4"
            b"/Rect[0 0 512 512]/AP<</N %d %d R>>>>]>>" % (first + 1, *each)
            for each in sorted(patterns)
        ),
        *(
            b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 9 9]/Contents %d %d R>>" % (first + 1, *each)
            for each in sorted(written)
        ),
    )
    objects = b"".join(b"%d 0 obj\n%b\nendobj\n" % (first + at, part) for at, part in enumerate(parts))
    trailer = b"trailer\n<</Root %d 0 R/Size %d>>\nstartxref\n0\n%%%%EOF\n" % (first, first + len(parts))
    return content + b"\n" + objects + trailer, len(patterns)


_HEADER, _HEADER_SEARCHED = b"%PDF", 1028


def _from_header(file: PreadFile) -> PreadFile:
    """Return a document from its header on, which PDFium needs within the first kilobyte; MuPDF opens a
    document whatever precedes it, and one that has no header."""
    file.seek(0)
    if _HEADER in file.read(_HEADER_SEARCHED):
        return file
    if file.size > READ_MAX:
        raise ContainerError(Reason.CONTAINER_BYTES)
    file.seek(0)
    content = file.read()
    place = content.find(_HEADER)
    return PreadFile(content[place:] if place >= 0 else b"%PDF-1.7\n" + content)


def _page_members(document: Any, number: int, seen: set[bytes]) -> Iterator[Found]:
    """Yield what is on a page (from 0); `seen` are digests of the embedded pictures of earlier pages."""
    name = b"page=%d" % (number + 1)
    page = _pdfium.FPDF_LoadPage(document, number)
    if not page:
        yield failed(name, Reason.BROKEN)
        return
    try:
        width, height = _pdfium.FPDF_GetPageWidthF(page), _pdfium.FPDF_GetPageHeightF(page)
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            yield failed(name, Reason.BROKEN)
            return
        to_page = _to_page(page, width, height)
        boxes: list[Placed] = []
        yield from guarded(name, _annotations(page, name, seen, to_page, boxes))
        yield from guarded(name, _thumbnail(page, name))
        yield from guarded(name, _embedded(page, name, seen, to_page, boxes))
        yield from guarded(name, _drawn(page, name, _WHOLE, width, height))
        regions = _touching(boxes)
        for place, box in enumerate(regions[:REGIONS_MAX], 1):
            here = name + b",region=%d" % place
            yield from guarded(here, _drawn(page, here, box, width, height))
        if len(regions) > REGIONS_MAX:
            yield failed(name, Reason.TOO_MANY)
    finally:
        _pdfium.FPDF_ClosePage(page)


def _embedded(
    page: Any, name: bytes, seen: set[bytes], to_page: Matrix, boxes: list[Placed]
) -> Iterator[Found]:
    """Yield the embedded pictures of a page, and add the places of all that is no usual text to `boxes`."""
    number = _pdfium.FPDFPage_CountObjects(page)
    pointers = [_pdfium.FPDFPage_GetObject(page, at) for at in range(min(number, OBJECTS_MAX + 1))]
    yield from _pictures(page, pointers, name, seen, to_page, boxes)


def _pictures(
    page: Any, pointers: Sequence[Any], name: bytes, seen: set[bytes], to_page: Matrix, boxes: list[Placed]
) -> Iterator[Found]:
    """Yield the pictures among objects and in groups of them, and add places to `boxes`."""
    images = count(1)
    for found in _objects(pointers, to_page):
        if found is None:
            yield failed(name, Reason.TOO_MANY)
            return
        if found.kind == _pdfium.FPDF_PAGEOBJ_IMAGE:
            here = name + b",image=%d" % next(images)
            yield from guarded(here, _image(page, found.pointer, here, seen))
        if found.box is None:
            continue
        if found.kind == _pdfium.FPDF_PAGEOBJ_TEXT and _LETTERS not in seen and _has_pictures(found.pointer):
            seen.add(_LETTERS)
        if weight := _weight(found, found.box, to_page, letters=_LETTERS in seen):
            boxes.append(Placed(found.box, weight))


def _weight(found: _Object, box: Box, to_page: Matrix, *, letters: bool) -> int:
    """Return the weight of an object's place; 0 for usual text, unless letters may be pictures."""
    if found.kind == _pdfium.FPDF_PAGEOBJ_TEXT:
        if not letters or not _has_pictures(found.pointer):
            return 0
        points = math.hypot(to_page[1], to_page[3])
        high, across = box.bottom - box.top, box.right - box.left
        if high >= min(_SMALLEST, _SMALLEST_POINTS * points):
            return _MOSAIC
        # As many as there may be in a line of them.
        return min(_MOSAIC, max(1, round(across / high))) if high > 0 else 1
    if found.kind != _pdfium.FPDF_PAGEOBJ_PATH or _pdfium.FPDFPageObj_HasTransparency(found.pointer):
        return _MOSAIC
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    _pdfium.FPDFPageObj_GetFillColor(found.pointer, *map(ctypes.byref, (red, green, blue, alpha)))
    if (red.value, green.value, blue.value) == _PATTERN:
        return _MOSAIC
    return max(1, int(_pdfium.FPDFPath_CountSegments(found.pointer)) // _SEGMENTS)


def _has_pictures(text: Any) -> bool:
    """Return True for a text whose letters may be any pictures (Type 3): its font has no file.

    PDFium has a file for each other font, if need be one of its own.
    """
    font = _pdfium.FPDFTextObj_GetFont(text)
    size = ctypes.c_size_t()
    return bool(font and _pdfium.FPDFFont_GetFontData(font, None, 0, ctypes.byref(size)) and size.value == 0)


def _objects(pointers: Sequence[Any], to_page: Matrix) -> Iterator[_Object | None]:
    """Yield objects, those of groups too but not the groups; None if there are too many."""
    left = OBJECTS_MAX
    waiting: list[tuple[Any, Matrix, int]] = [(pointer, to_page, 0) for pointer in pointers[::-1]]
    while waiting:
        pointer, matrix, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > FORMS_MAX:
            yield None
            return
        if not pointer:
            continue
        kind = _pdfium.FPDFPageObj_GetType(pointer)
        if kind != _pdfium.FPDF_PAGEOBJ_FORM:
            yield _Object(pointer, kind, _box(pointer, matrix))
            continue
        inner = _product(_matrix(pointer), matrix)
        members = min(max(0, _pdfium.FPDFFormObj_CountObjects(pointer)), left + 1)
        waiting += [
            (_pdfium.FPDFFormObj_GetObject(pointer, place), inner, depth + 1)
            for place in reversed(range(members))
        ]


def _matrix(pointer: Any) -> Matrix:
    found = _pdfium.FS_MATRIX()
    if not _pdfium.FPDFPageObj_GetMatrix(pointer, ctypes.byref(found)):
        return _IDENTITY
    return found.a, found.b, found.c, found.d, found.e, found.f


def _product(first: Matrix, second: Matrix) -> Matrix:
    """Return the matrix that applies `first`, and then `second`."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return (
        *(a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j),
        *(e * g + f * i + k, e * h + f * j + m),
    )


def _to_page(page: Any, width: float, height: float) -> Matrix:
    """Return the matrix from the coordinates of a page, in its own unit, to shares of it as it is shown."""
    side = max(width, height)
    across, down = ctypes.c_int(), ctypes.c_int()
    found = []
    for x, y in ((0.0, 0.0), (side, 0.0), (0.0, side)):
        _pdfium.FPDF_PageToDevice(
            page, 0, 0, _UNITS, _UNITS, 0, x, y, ctypes.byref(across), ctypes.byref(down)
        )
        found.append((across.value / _UNITS, down.value / _UNITS))
    (e, f), (a, b), (c, d) = found
    return (a - e) / side, (b - f) / side, (c - e) / side, (d - f) / side, e, f


_UNITS = 1 << 20


def _box(pointer: Any, matrix: Matrix) -> Box | None:
    """Return the place of an object in shares of the page, as far as it is not cut off."""
    sides = ctypes.c_float(), ctypes.c_float(), ctypes.c_float(), ctypes.c_float()
    if not _pdfium.FPDFPageObj_GetBounds(pointer, *map(ctypes.byref, sides)):
        return None
    left, bottom, right, top = (side.value for side in sides)
    clip = _pdfium.FPDFPageObj_GetClipPath(pointer)
    for path in range(min(_CLIPS_MAX, _pdfium.FPDFClipPath_CountPaths(clip) if clip else 0)):
        points = _points(clip, path)
        if points:
            left, right = max(left, min(x for x, _ in points)), min(right, max(x for x, _ in points))
            bottom, top = max(bottom, min(y for _, y in points)), min(top, max(y for _, y in points))
    return _around([(x, y) for x in (left, right) for y in (bottom, top)], matrix)


_CLIPS_MAX, _POINTS_MAX = 16, 64
"""Paths that cut off what lies outside, and their points; one of more points is passed over."""


def _points(clip: Any, path: int) -> list[tuple[float, float]]:
    """Return the points of a path that cuts off what lies outside; none where there are too many."""
    number = _pdfium.FPDFClipPath_CountPathSegments(clip, path)
    if not 0 < number <= _POINTS_MAX:
        return []
    x, y = ctypes.c_float(), ctypes.c_float()
    points = []
    for place in range(number):
        segment = _pdfium.FPDFClipPath_GetPathSegment(clip, path, place)
        if not segment or not _pdfium.FPDFPathSegment_GetPoint(segment, ctypes.byref(x), ctypes.byref(y)):
            return []
        points.append((x.value, y.value))
    return points


def _around(points: list[tuple[float, float]], matrix: Matrix) -> Box | None:
    """Return the rectangle around some points, without what lies beyond the edges of the page."""
    a, b, c, d, e, f = matrix
    across = [a * x + c * y + e for x, y in points]
    down = [b * x + d * y + f for x, y in points]
    if not all(map(math.isfinite, across + down)):
        return None
    box = Box(max(0.0, min(across)), max(0.0, min(down)), min(1.0, max(across)), min(1.0, max(down)))
    return box if box.left <= box.right and box.top <= box.bottom else None


def _distinct(labels: npt.NDArray[np.int32]) -> set[int]:
    """Return the distinct values; `np.unique` would have each zygote import `numpy.ma` for it."""
    return set(np.flatnonzero(np.bincount(labels.ravel())).tolist())


def _touching(boxes: list[Placed]) -> list[Box]:
    """Return the rectangles around boxes that touch, in the order in which they are first met.

    Boxes nearly as large as the page are left out, since all others lie in them, as are results of this size.
    """
    cells: npt.NDArray[np.int32] = np.zeros((_GRID, _GRID), np.int32)
    parents = [0]
    around: list[Box] = [_WHOLE]
    weights = [0]

    def root(label: int) -> int:
        while parents[label] != label:
            parents[label] = label = parents[parents[label]]
        return label

    for box, weight in boxes:
        if _is_page(box):
            continue
        rows = slice(_cell(box.top), _cell(box.bottom) + 1)
        columns = slice(_cell(box.left), _cell(box.right) + 1)
        area = cells[rows, columns]
        most = int(area.max())
        # Most boxes lie within one other, or touch none.
        labels = {most} if most == int(area.min()) else _distinct(area)
        met = sorted({root(label) for label in labels} - {0})
        if met:
            label = met[0]
        else:
            label = len(parents)
            parents.append(label)
            around.append(box)
            weights.append(0)
        weights[label] += weight
        together = box
        for other in met:
            if other != label:
                weights[label] += weights[other]
            parents[other] = label
            together = _union(together, around[other])
        around[label] = together
        area[...] = label
    groups = [(around[label], weights[label]) for label in range(1, len(parents)) if root(label) == label]
    return [
        box
        for box, weight in groups
        if not _is_page(box)
        and min(box.right - box.left, box.bottom - box.top) >= (_LEAST if weight >= _MOSAIC else _SMALLEST)
    ]


def _cell(share: float) -> int:
    return min(_GRID - 1, int(share * _GRID))


def _union(one: Box, other: Box) -> Box:
    return Box(
        min(one.left, other.left),
        min(one.top, other.top),
        max(one.right, other.right),
        max(one.bottom, other.bottom),
    )


def _is_page(box: Box) -> bool:
    return box.right - box.left >= _ALL_OF_IT and box.bottom - box.top >= _ALL_OF_IT


def _drawn(page: Any, name: bytes, box: Box, width: float, height: float) -> Iterator[Found]:
    """Yield a part of a page, drawn; width and height of the page are in any unit."""
    across, down = (box.right - box.left) * width, (box.bottom - box.top) * height
    scale = _SIDE / max(across, down)
    columns, rows = max(1, round(across * scale)), max(1, round(down * scale))
    bitmap = _pdfium.FPDFBitmap_CreateEx(columns, rows, _pdfium.FPDFBitmap_BGR, None, 0)
    if not bitmap:
        yield failed(name, Reason.MEMORY)
        return
    try:
        _pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, columns, rows, 0xFFFFFFFF)
        _pdfium.FPDF_RenderPageBitmap(
            *(bitmap, page),
            *(-round(box.left * width * scale), -round(box.top * height * scale)),
            *(max(1, round(width * scale)), max(1, round(height * scale))),
            *(0, _pdfium.FPDF_ANNOT),
        )
        for content in _pnms(bitmap):
            yield DrawnPicture(name, content)
    finally:
        _pdfium.FPDFBitmap_Destroy(bitmap)


def _pnms(bitmap: Any) -> Iterator[bytes]:
    """Yield a bitmap as a PNM file, without its opacity; one of a bit for each pixel in black on white and in
    white on black, since PDFium tells nothing of its colours.
    """
    width, height = _pdfium.FPDFBitmap_GetWidth(bitmap), _pdfium.FPDFBitmap_GetHeight(bitmap)
    stride, form = _pdfium.FPDFBitmap_GetStride(bitmap), _pdfium.FPDFBitmap_GetFormat(bitmap)
    buffer = ctypes.cast(
        _pdfium.FPDFBitmap_GetBuffer(bitmap), ctypes.POINTER(ctypes.c_uint8 * (stride * height))
    )
    rows = np.frombuffer(buffer.contents, np.uint8).reshape(height, stride)
    if form == _pdfium.FPDFBitmap_Unknown:
        bits = rows[:, : (width + 7) // 8]
        for each in (bits, ~bits):
            yield b"P4 %d %d\n" % (width, height) + each.tobytes()
    elif form == _pdfium.FPDFBitmap_Gray:
        yield b"P5 %d %d 255\n" % (width, height) + rows[:, :width].tobytes()
    else:
        channels = 3 if form == _pdfium.FPDFBitmap_BGR else 4
        pixels = rows[:, : width * channels].reshape(height, width, channels)[:, :, 2::-1]
        yield b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()


def _image(page: Any, image: Any, name: bytes, seen: set[bytes]) -> Iterator[Found]:
    """Yield an embedded picture, unless it was on an earlier page."""
    about = _pdfium.FPDF_IMAGEOBJ_METADATA()
    _pdfium.FPDFImageObj_GetImageMetadata(image, page, ctypes.byref(about))
    raw = _data(_pdfium.FPDFImageObj_GetImageDataRaw, image)
    if raw is None:
        yield failed(name, Reason.CONTAINER_BYTES)
        return
    filters = _filters(image)
    facts = f"{about.width} {about.height} {about.bits_per_pixel} {about.colorspace} {filters}"
    digest = hashlib.blake2b(raw, digest_size=16, key=hashlib.sha256(facts.encode()).digest()).digest()
    if digest in seen:
        return
    seen.add(digest)
    last = filters[-1] if filters else b""
    if last in {_JPEG, _JPEG_2000} and len(filters) > 1:
        decoded = _data(_pdfium.FPDFImageObj_GetImageDataDecoded, image)
        if decoded is None:
            yield failed(name, Reason.CONTAINER_BYTES)
            return
        raw = decoded
    if raw:
        yield stored(name, raw)
    if last == _JPEG and raw:
        return
    if about.width * about.height > PIXELS_MAX * (3 if about.bits_per_pixel <= 8 else 1):
        yield failed(name, Reason.TOO_LARGE)
        return
    bitmap = _pdfium.FPDFImageObj_GetBitmap(image)
    if not bitmap:
        yield failed(name, Reason.BROKEN)
        return
    try:
        for content in _pnms(bitmap):
            yield DrawnPicture(name, content)
    finally:
        _pdfium.FPDFBitmap_Destroy(bitmap)


def _thumbnail(page: Any, name: bytes) -> Iterator[Found]:
    """Yield the small picture that viewers show beside a page, if it has one."""
    bitmap = _pdfium.FPDFPage_GetThumbnailAsBitmap(page)
    if not bitmap:
        return
    name += b",thumbnail"
    try:
        for content in _pnms(bitmap):
            yield DrawnPicture(name, content)
    finally:
        _pdfium.FPDFBitmap_Destroy(bitmap)


def _filters(image: Any) -> list[bytes]:
    """Return the names of the filters that a picture is stored by."""
    names = []
    for place in range(min(16, max(0, _pdfium.FPDFImageObj_GetImageFilterCount(image)))):
        buffer = ctypes.create_string_buffer(64)
        _pdfium.FPDFImageObj_GetImageFilter(image, place, buffer, len(buffer))
        names.append(_SHORT_NAMES.get(buffer.value, buffer.value))
    return names


def _data(getter: Any, owner: Any) -> bytes | None:
    """Return bytes from a function of the library; None if they are too many."""
    length = getter(owner, None, 0)
    if length > READ_MAX:
        return None
    buffer = ctypes.create_string_buffer(length)
    length = getter(owner, buffer, length) if length else 0
    return buffer.raw[:length]


def _annotations(
    page: Any, name: bytes, seen: set[bytes], to_page: Matrix, boxes: list[Placed]
) -> Iterator[Found]:
    """Yield the pictures and files of annotations, and add their places to `boxes`."""
    number = _pdfium.FPDFPage_GetAnnotCount(page)
    for place in range(min(number, ANNOTATIONS_MAX)):
        annotation = _pdfium.FPDFPage_GetAnnot(page, place)
        if not annotation:
            continue
        here = name + b",annotation=%d" % (place + 1)
        file = name + b",attachment=%d" % (place + 1)
        try:
            yield from guarded(here, _annotation(page, annotation, here, file, seen, to_page, boxes))
        finally:
            _pdfium.FPDFPage_CloseAnnot(annotation)
    if number > ANNOTATIONS_MAX:
        yield failed(name, Reason.TOO_MANY)


def _annotation(
    page: Any,
    annotation: Any,
    here: bytes,
    file: bytes,
    seen: set[bytes],
    to_page: Matrix,
    boxes: list[Placed],
) -> Iterator[Found]:
    """Yield the pictures of an annotation, named `here`, or its file, and add its place to `boxes`."""
    kind = _pdfium.FPDFAnnot_GetSubtype(annotation)
    if kind == _pdfium.FPDF_ANNOT_WIDGET:
        seen.add(_BUTTONS)
    if kind in _UNOPENED:
        yield failed(here, Reason.CONTAINER)
    elif kind == _pdfium.FPDF_ANNOT_FILEATTACHMENT:
        attachment = _pdfium.FPDFAnnot_GetFileAttachment(annotation)
        yield from _attachment(attachment, file)
    rectangle, box = _pdfium.FS_RECTF(), None
    if kind != _pdfium.FPDF_ANNOT_LINK and _pdfium.FPDFAnnot_GetRect(annotation, ctypes.byref(rectangle)):
        corners = [(rectangle.left, rectangle.bottom), (rectangle.right, rectangle.top)]
        box = _around(corners, to_page)
        if box is not None:
            boxes.append(Placed(box, 1))
    number = max(0, _pdfium.FPDFAnnot_GetObjectCount(annotation))
    pointers = [_pdfium.FPDFAnnot_GetObject(annotation, at) for at in range(min(number, OBJECTS_MAX + 1))]
    # Their places are that of the annotation.
    inner: list[Placed] = []
    yield from _pictures(page, pointers, here, seen, to_page, inner)
    if box is not None and (weight := sum(each.weight for each in inner)):
        boxes.append(Placed(box, weight))


def _attachment(attachment: Any, name: bytes) -> Iterator[Found]:
    if not attachment:
        yield failed(name, Reason.CONTAINER_BROKEN)
        return
    length = _pdfium.FPDFAttachment_GetName(attachment, None, 0)
    if 2 < length <= 8192:
        text = (ctypes.c_ushort * (length // 2))()
        _pdfium.FPDFAttachment_GetName(attachment, text, length)
        name += b"/" + bytes(text)[:-2].decode("utf-16-le", "replace").encode()
    size = ctypes.c_ulong()
    if not _pdfium.FPDFAttachment_GetFile(attachment, None, 0, ctypes.byref(size)):
        # Other programs find a file whose key is another one than that of its name.
        yield failed(name, Reason.AMBIGUOUS)
        return
    if size.value > READ_MAX:
        yield failed(name, Reason.CONTAINER_BYTES)
        return
    buffer = ctypes.create_string_buffer(size.value)
    if size.value and not _pdfium.FPDFAttachment_GetFile(attachment, buffer, size.value, ctypes.byref(size)):
        yield failed(name, Reason.CONTAINER_BROKEN)
    elif size.value:
        yield stored(name, buffer.raw)


def _sample() -> bytes:
    """Return a document of one page with a letter, a line and a picture."""
    content = b"q 9 0 0 9 9 9 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \0 EI Q 0 0 m 9 9 l S BT /F 9 Tf (a) Tj ET"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    made, places = b"%PDF-1.7\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(parts) + 1
    return made + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(made))
    )
