"""Pictures that are hard to notice in documents: each is found, or the file is in doubt."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import quopri
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from hashscan.hashing.pdq import PDQ
from hashscan.lists.formats.base import Entry
from hashscan.model import ContainerKind, MemberLimits, Reason, Verdict
from tests.hashing.archives.test_members import directory, local_header, tarred
from tests.hashing.documents.drawn import jpeg_stream, pdf, stream, zipped
from tests.hashing.documents.test_mail import parted
from tests.pictures import encoded, scene
from tests.scan.workers.test_worker import check, worker_with

for module in ("libarchive", "pypdfium2_raw", "olefile"):
    pytest.importorskip(module)
pytestmark = pytest.mark.integration

SCENE = scene(1, 96, 96)
PICTURE, JPEG = encoded(SCENE, "PNG"), encoded(SCENE, "JPEG", quality=95)
CODED = base64.b64encode(PICTURE)
URL = b"data:image/png;base64," + CODED
SHOWN = b'<img src="' + URL + b'">'
LONG = b"<p>words of a long page</p>\n" * 12_000
CATALOGUE = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"]
EMPTY = pdf([*CATALOGUE, b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>"])
DOCUMENT = pdf(
    [
        *CATALOGUE,
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>",
        stream(b"", b"q 300 0 0 300 50 50 cm /I Do Q"),
        jpeg_stream(SCENE, JPEG),
    ]
)
THUMBNAIL = pdf(
    [
        *CATALOGUE,
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Thumb 4 0 R>>",
        jpeg_stream(SCENE, JPEG),
    ]
)
FORM = pdf(
    [
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[]/XFA 4 0 R>>>>",
        CATALOGUE[1],
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>",
        stream(b"", b"<xdp:xdp xmlns:xdp='x'/>"),
    ]
)
XML = b'<?xml version="1.0"?>'
MAIL = parted(b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(PICTURE))
HEADERS = b"".join(b"X-Header-%d: %s\n" % (number, b"a" * 60) for number in range(1100))
PAGE_MAIL = b"From: a@example.org\nSubject: x\nContent-Type: text/html\n"
QUOTED = quopri.encodestring(b"<html>" + SHOWN).replace(b"data:image", b"dat=\na:im=\nage")


def in_extra_field() -> bytes:
    """A ZIP archive that browsers open as a PDF document, which lies in the extra field of its member."""
    name, content = b"a.txt", b"words"
    extra = b"\xfe\xca" + struct.pack("<H", len(DOCUMENT)) + DOCUMENT
    fields = (20, 0, 0, 0, 0, zlib.crc32(content), len(content), len(content), len(name), len(extra))
    body = b"PK\3\4" + struct.pack("<HHHHHIIIHH", *fields) + name + extra + content
    found = body + directory([(local_header(name, content, len(content), 0), 0)], len(body))
    return found[:-2] + struct.pack("<H", 6000) + b" " * 6000


def tar_as_page() -> bytes:
    """A tar archive that is a page: its first member's name begins it."""
    content = b"words -->" + SHOWN
    info = tarfile.TarInfo("<html><!--")
    info.size = len(content)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


FOUND = {
    "long.html": b"<html>" + LONG + SHOWN,
    "long.css": b"a{}\n" * 80_000 + b"b{background:url(" + URL + b")}",
    "long.zip": zipped({"x.html": b"<html>" + LONG + SHOWN}),
    "entity.html": b"<html>" + SHOWN.replace(b"data", b"&#100;ata"),
    "lines.html": b"<html>" + SHOWN.replace(b"data", b"da\nta"),
    "escape.css": b'b{background:url("' + URL.replace(b"data", rb"\64 ata") + b'")}',
    "flat.fodt": XML
    + b"<x><office:binary-data>"
    + base64.encodebytes(PICTURE)
    + b"</office:binary-data></x>",
    "book.fb2": XML + b'<FictionBook><binary id="a.png">' + CODED + b"</binary></FictionBook>",
    "drawing.svgz": gzip.compress(b'<svg><image href="' + URL + b'"/></svg>'),
    "page-and-document.html": b"<html><!--" + EMPTY + b"-->" + SHOWN,
    "page-and-tar.html": tar_as_page(),
    "document-and-zip.pdf": in_extra_field(),
    "late.pdf": b"\n" * 1022 + DOCUMENT,
    "no-end.pdf": DOCUMENT[: DOCUMENT.rindex(b"startxref")] + b" " * 5000,
    "thumbnail.pdf": THUMBNAIL,
    "long-header.eml": HEADERS + MAIL,
    "quoted.eml": PAGE_MAIL + b"Content-Transfer-Encoding: quoted-printable\n\n" + QUOTED,
    "space.eml": MAIL.replace(b"Content-Type:", b"Content-Type :", 1),
    "entity.eml": PAGE_MAIL + b"\n" + SHOWN.replace(b"data:", b"&#x64;ata:"),
}
IN_DOUBT = {
    "form.pdf": FORM,
}
CLEAN = {
    "words.html": b"<html>" + LONG + b"data: of the year &#64; &#97;",
    "words.txt": b"data: words\n" * 40_000,
    "table.xml": XML + b"<binary>words</binary>",
    "header.txt": HEADERS,
    "page.eml": PAGE_MAIL + b"\n<p>It costs 5 &#8364;</p>",
    "document.tar": tarred("a.pdf", EMPTY + bytes(8000)),
}
LIMITS = MemberLimits(
    members=1000, bytes=1 << 28, ratio=200, depth=5, seconds=60.0, kinds=tuple(ContainerKind)
)


def test_pictures_that_are_hard_to_notice(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in (FOUND | IN_DOUBT | CLEAN).items():
        (folder / name).write_bytes(content)
    value, _ = PDQ().digest(np.asarray(SCENE.convert("L")))
    listed = Entry("a", "pdq", value, "A1"), Entry("b", "sha256", hashlib.sha256(PICTURE).digest(), "A1")
    with worker_with(tmp_path, *listed, containers=LIMITS) as worker:
        found = check(worker, folder)
    verdicts = {name: found[name].verdict for name in found}
    assert verdicts == {
        **dict.fromkeys(FOUND, Verdict.MATCH),
        **dict.fromkeys(IN_DOUBT, Verdict.UNDECODED),
        **dict.fromkeys(CLEAN, Verdict.CLEAN),
    }
    assert found["form.pdf"].reason is Reason.CONTAINER
