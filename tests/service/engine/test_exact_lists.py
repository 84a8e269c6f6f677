"""Lists without digests of pictures: pictures are not decoded, and nothing can hide behind that."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.media.quadrants import PDQQuadrants
from hashscan.model import QUADRANTS, Entry, MemberLimits, Reason, Verdict
from hashscan.service.engine.uploads import Answer
from hashscan.settings.service import ServeSettings
from tests.hashing.archives.test_members import encrypted, tarred
from tests.pictures import encoded
from tests.scan.hostile import MARKS
from tests.service.engine.serving import (
    DOOR,
    PDQ_ENTRY,
    check,
    client,
    entry_of,
    picture,
    run,
    serving,
    settings_of,
    store_list,
)
from tests.service.engine.test_attacks import decoding_by, pdq_entry

LISTED = picture(1)
OTHER = picture(2)
JPEG_XR = b"II\xbc\x01" + bytes(300)
CUT = OTHER[:1000]


def zipped(*contents: bytes, comment: bytes = b"") -> bytes:
    """A ZIP archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}", content)
        archive.comment = comment
    return stream.getvalue()


def opening(state: Path) -> ServeSettings:
    """Settings of an engine that opens containers."""
    return replace(settings_of(state), containers=MemberLimits())


@pytest.mark.parametrize("more", [(), (PDQ_ENTRY,)], ids=["exact", "pictures"])
def test_a_listed_file_is_found_wherever_it_is_put(tmp_path: Path, more: tuple[Entry, ...]) -> None:
    store_list(tmp_path, entry_of(LISTED), *more)
    page = b'<img src="data:image/jpeg;base64,' + b64encode(LISTED) + b'">'
    hidden = {
        "alone": LISTED,
        "in an archive": zipped(OTHER, LISTED),
        "in one of an archive": zipped(zipped(LISTED)),
        "compressed": gzip.compress(LISTED),
        "behind a picture": OTHER + zipped(LISTED),
        "behind a broken picture": CUT + zipped(LISTED),
        "behind a picture, with a comment": OTHER + zipped(LISTED, comment=OTHER[:60_000]),
        "behind a large picture": OTHER + bytes(400_000) + zipped(LISTED),
        "behind a picture that nothing decodes": JPEG_XR + zipped(LISTED),
        "behind one in an archive": zipped(CUT + zipped(LISTED)),
        "behind one in an archive that nothing decodes": zipped(JPEG_XR + zipped(LISTED)),
        "behind a picture in a picture": OTHER + zipped(OTHER + zipped(LISTED)),
        "in an archive that begins like a picture": tarred("GIF89a", LISTED),
        "in a page": page,
        "in a page in an archive": zipped(page),
    }

    async def test() -> None:
        async with serving(opening(tmp_path)) as engine:
            for place, content in hidden.items():
                answer = await check(engine, content)
                assert (place, answer.verdict) == (place, Verdict.MATCH)
                assert {match.algorithm for match in answer.result.matches} == {"sha256"}

    run(test)


def gzip_like_flic(content: bytes) -> bytes:
    """A gzip file whose time, name and first block have the values of a FLIC header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = b"\0" + struct.pack("<HH", 256, 256 ^ 0xFFFF) + content[:256]
    rest = packer.compress(content[256:]) + packer.flush()
    header = b"\x1f\x8b\x08\x08" + b"\x11\xaf\0\0" + b"\2\3" + b"ab\x08\0"
    return header + first + rest + struct.pack("<II", zlib.crc32(content), len(content))


PHOTODNA_ENTRY = Entry("p", "photodna", bytes(range(144)), "A1")
"""Nothing computes it, so that there is nothing to compare."""

UNOPENED: dict[str, Callable[[], bytes]] = {
    "encrypted": encrypted,
    "encrypted behind a picture": lambda: OTHER + encrypted(),
    "encrypted behind a picture in an archive": lambda: zipped(OTHER + encrypted()),
    "cut in an archive": lambda: zipped(OTHER)[:-400],
    "too deep": lambda: zipped(zipped(zipped(zipped(zipped(OTHER + zipped(LISTED)))))),
    "a film like a picture": lambda: b"\0\0\0\x18ftypavif\0\0\0\0avifmp42" + bytes(400),
    "a style like a picture": lambda: b"/* XPM */ a{background:url(data:image/png;base64,AAAA)}",
    "not opened": lambda: OTHER + b"\xc4\x3d\x7b\0\x40\7\0",
}


@pytest.mark.parametrize("more", [(), (PDQ_ENTRY,)], ids=["exact", "pictures"])
def test_a_container_that_was_not_opened_is_not_clean(tmp_path: Path, more: tuple[Entry, ...]) -> None:
    assert gzip.decompress(gzip_like_flic(LISTED)) == LISTED
    store_list(tmp_path, entry_of(LISTED), *more)

    async def test() -> None:
        async with serving(opening(tmp_path)) as engine:
            for place, content in UNOPENED.items():
                assert (place, (await check(engine, content())).verdict) == (place, Verdict.UNDECODED)
            for content in (gzip_like_flic(LISTED), zipped(gzip_like_flic(LISTED))):
                assert (await check(engine, content)).verdict is Verdict.MATCH
        async with serving(settings_of(tmp_path)) as engine:
            answer = await check(engine, OTHER + zipped(LISTED))
            assert (answer.verdict, answer.result.reason) == (Verdict.UNDECODED, Reason.CONTAINER)

    run(test)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [((), Verdict.CLEAN), ((PHOTODNA_ENTRY,), Verdict.CLEAN), ((PDQ_ENTRY,), Verdict.UNDECODED)],
    ids=["exact", "photodna", "pictures"],
)
def test_a_broken_picture_is_clean_if_only_bytes_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[Entry, ...], verdict: Verdict
) -> None:
    store_list(tmp_path, entry_of(LISTED), *more)
    deadly = OTHER + MARKS["segfault"]

    async def test() -> None:
        async with serving(opening(tmp_path)) as engine:
            for content in (deadly, CUT, JPEG_XR, zipped(CUT, JPEG_XR)):
                assert (await check(engine, content)).verdict is verdict

    with decoding_by(monkeypatch, "tests.scan.hostile:load"):
        run(test)


def test_pictures_are_decoded_as_soon_as_a_list_has_some(tmp_path: Path) -> None:
    """Also those that the same owner has sent before."""
    store_list(tmp_path, entry_of(LISTED))
    similar, owner = picture(1) + b"more", client(1, "owner")

    async def test() -> None:
        async with serving(opening(tmp_path)) as engine:
            verdict = Verdict.CLEAN
            for entries in ([pdq_entry(LISTED, tmp_path)], []):
                former, before = verdict, engine.version
                store_list(tmp_path, entry_of(LISTED), *entries)
                during = [asyncio.create_task(check(engine, similar, owner)) for _ in range(8)]
                assert await engine.reload()
                verdict = Verdict.MATCH if entries else Verdict.CLEAN
                for answer in await asyncio.gather(*during):
                    assert (answer.version, answer.verdict) in {(before, former), (engine.version, verdict)}
                for _ in range(3):
                    answer = await check(engine, similar, owner)
                    assert (answer.verdict, answer.version) == (verdict, engine.version)

    run(test)


def test_digests_of_other_algorithms_are_not_taken_for_those_of_new_lists(tmp_path: Path) -> None:
    """The cache of decoded pictures lasts longer than the workers that fill it."""
    store_list(tmp_path, entry_of(LISTED), PDQ_ENTRY)
    owner = client(1, "owner")

    async def test() -> None:
        async with serving(opening(tmp_path)) as engine:
            for _ in range(3):
                assert (await check(engine, OTHER, owner)).verdict is Verdict.CLEAN
            store_list(tmp_path, entry_of(LISTED), PDQ_ENTRY, Entry("h", "dhash", bytes(7) + b"\1", "A1"))
            assert await engine.reload()
            for _ in range(3):
                answer = await check(engine, OTHER, owner)
                assert (answer.verdict, answer.result.reason) == (Verdict.CLEAN, None)

    run(test)


def test_a_finding_and_a_door_that_shows_digests_have_those_of_pictures(tmp_path: Path) -> None:
    store_list(tmp_path, entry_of(LISTED))

    def computed(answer: Answer) -> set[str]:
        return {digest.algorithm for digest in answer.result.digests}

    async def test() -> None:
        async with serving(opening(tmp_path)) as engine:
            assert computed(await check(engine, LISTED)) == {"md5", "sha1", "sha256", "pdq"}
            assert computed(await check(engine, OTHER)) == set()
        settings = replace(settings_of(tmp_path), doors=(replace(DOOR, show_entries=True),))
        async with serving(settings) as engine:
            assert computed(await check(engine, OTHER)) == {"md5", "sha1", "sha256", "pdq"}

    run(test)


def test_a_list_of_quadrants_alone_has_pictures_decoded(tmp_path: Path) -> None:
    """A copy with one of its four quadrants covered is for review."""
    image = Image.open(io.BytesIO(LISTED))
    value, _ = PDQQuadrants().digest(np.asarray(image.convert("L")))
    store_list(tmp_path, Entry("e", QUADRANTS, value, "A1"))
    image.paste("orange", (0, 0, image.width // 2, image.height // 2))

    async def test() -> None:
        async with serving(settings_of(tmp_path, workers=1)) as engine:
            covered = await check(engine, encoded(image, quality=85))
            assert covered.verdict is Verdict.REVIEW
            assert [match.algorithm for match in covered.result.matches] == [QUADRANTS]
            assert (await check(engine, OTHER)).verdict is Verdict.CLEAN

    run(test)
