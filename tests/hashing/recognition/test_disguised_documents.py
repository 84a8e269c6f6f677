"""Documents with bytes before and behind them: where the library that shows them does, they are not clean."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hashscan.model import Verdict
from tests.hashing.documents.drawn import JPEG, PNG
from tests.hashing.documents.office import coded, docx, fodt, odt, wmf, word_2003
from tests.hashing.documents.test_constructs import BACKGROUND, LETTER, SCENE, checked, pieces, workbook
from tests.hashing.recognition.disguises import disguised

for module in ("libarchive", "pypdfium2", "olefile"):
    pytest.importorskip(module)
pytestmark = pytest.mark.integration


def in_pdf(content: bytes) -> bool:
    """True if PDFium shows a page of it."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(content) as document:
            return len(document) > 0 and any(document[0].get_objects())
    except pypdfium2.PdfiumError:
        return False


def in_zip(content: bytes) -> bool:
    """True if a program that reads the directory at the end unpacks the picture."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(archive.read(name)[:3] == JPEG[:3] for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False


def in_compound(content: bytes) -> bool:
    """True if the workbook in it can be read."""
    import olefile

    try:
        return b"\xe9\0" in olefile.OleFileIO(io.BytesIO(content)).openstream("Workbook").read()
    except OSError:
        return False


def at_begin(begin: bytes) -> Callable[[bytes], bool]:
    """True if LibreOffice reads it: it goes by the first bytes, and reads up to the end of the document."""
    return lambda content: content.startswith(begin)


RTF = b"{\\rtf1 {\\pict\\pngblip\\picw320\\pich240\\picwgoal4800\\pichgoal3600 " + PNG.hex().encode() + b"}}"
METAFILE, FLAT = wmf(SCENE), fodt(f"<office:binary-data>{coded(PNG)}</office:binary-data>").encode()
WORD = word_2003(f'<w:binData w:name="wordml://1.png">{coded(PNG)}</w:binData>').encode()
DOCUMENTS: Mapping[str, tuple[bytes, Callable[[bytes], bool]]] = {
    "pdf": (LETTER, in_pdf),
    "docx": (docx("media/image1.jpg", JPEG), in_zip),
    "odt": (odt("Pictures/a.jpg", JPEG), in_zip),
    "xps": (pieces(100), in_zip),
    "xls": (workbook(0xE9, BACKGROUND), in_compound),
    "rtf": (RTF, at_begin(RTF[:9])),
    "wmf": (METAFILE, at_begin(METAFILE[:18])),
    "fodt": (FLAT, at_begin(FLAT[:9])),
    "xml": (WORD, at_begin(WORD[:9])),
}


@pytest.mark.slow
def test_what_a_library_shows_is_not_clean(tmp_path: Path) -> None:
    files, shown = {}, set()
    for kind, (content, is_shown) in DOCUMENTS.items():
        for altered in disguised(content):
            shows = is_shown(altered.content)
            # With another ending, and with none.
            for ending in (f".{kind}", ".bin", ""):
                name = f"{kind} {altered.how}{ending}"
                files[name] = altered.content
                if shows:
                    shown.add(name)
    found = checked(tmp_path, files)
    assert [name for name in shown if found[name].verdict is Verdict.CLEAN] == []
    # At least each as it is, and with bytes behind it.
    assert len(shown) >= 3 * len(DOCUMENTS) * 7
