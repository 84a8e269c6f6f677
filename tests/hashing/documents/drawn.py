"""Documents and pictures drawn by code, and the comparison of what was found in them."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from hashscan.hashing.member_records import Member
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.records import DecodedPicture
from hashscan.model import Reason
from tests.pictures import encoded, scene

SCENE = scene(1)
JPEG, PNG = encoded(SCENE, "JPEG", quality=90), encoded(SCENE, "PNG")


def digests(content: bytes) -> tuple[bytes, ...]:
    return tuple(hashlib.new(name, content).digest() for name in ("md5", "sha1", "sha256"))


def distance(member: Member, picture: Image.Image = SCENE) -> int:
    """The smallest distance in bits of a member's digests to those of a picture; 256 if it has none."""
    found = member.decoded(("pdq",))
    if not isinstance(found, DecodedPicture):
        return 256
    wanted, _ = PDQ().digest(np.asarray(picture.convert("L")))
    return min(
        (int.from_bytes(digest.value) ^ int.from_bytes(wanted)).bit_count() for digest in found.digests
    )


def by_place(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Members by their place, of which several may have the same."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(member.place.decode("utf-8", "replace"), []).append(member)
    return found


def reasons(members: Sequence[Member]) -> dict[str, Reason]:
    """The reasons by place."""
    return {member.place.decode("utf-8", "replace"): member.reason for member in members if member.reason}


def zipped(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def pdf(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A document of these objects; the first is its catalogue."""
    made, places = b"%PDF-1.7\n", []
    for number, part in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return made + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, trailer, len(made))
    )


def stream(entries: bytes, content: bytes) -> bytes:
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(content), content)


def jpeg_stream(picture: Image.Image = SCENE, content: bytes = JPEG, more: bytes = b"") -> bytes:
    return stream(
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8"
        b"/Filter/DCTDecode%b" % (*picture.size, more),
        content,
    )


def pixel_stream(picture: Image.Image = SCENE, more: bytes = b"") -> bytes:
    """A picture that is stored as pixels, which are no file."""
    form = b"/DeviceGray" if picture.mode == "L" else b"/DeviceRGB"
    return stream(
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace%b/BitsPerComponent 8"
        b"/Filter/FlateDecode%b" % (*picture.size, form, more),
        zlib.compress(picture.tobytes()),
    )


def page_of(content: bytes, images: Sequence[bytes], page: bytes = b"", more: Sequence[bytes] = ()) -> bytes:
    """A document of one page, on which the pictures are called I1, I2 and so on.

    Args:
        page: more entries of the page.
        more: more objects; the first has the number 5 plus that of the pictures.
    """
    names = b"".join(b"/I%d %d 0 R" % (number, number + 4) for number in range(1, len(images) + 1))
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
            b"/Resources<</XObject<<%b>>>>%b>>" % (names, page),
            stream(b"", content),
            *images,
            *more,
        ]
    )


LETTER = page_of(b"q 320 0 0 240 100 300 cm /I1 Do Q", [jpeg_stream()])
