"""Members of archives that no signature tells, and containers that players play."""

from __future__ import annotations

import base64
import gzip
import io
import random
import tarfile
from collections.abc import Iterator

import pytest

from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.containers import UNRECOGNISED
from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.exact import MD5
from hashscan.hashing.formats import TEXT, sniff
from hashscan.hashing.member_records import BEFORE_RISK, ContainerEnd, Member
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import archive_probe
from hashscan.hashing.recognition.recogniser import Probed, Recogniser
from hashscan.hashing.recognition.video_probe import load
from hashscan.hashing.video.opening import VideoOpener
from hashscan.model import ContainerKind, MemberLimits, Reason
from tests.hashing.recognition.test_video_probe import NEAR, encoded
from tests.hashing.video.test_opening import bits_from
from tests.pictures import encoded as encoded_picture
from tests.pictures import scene

LARGE = 4096
_JPEG = encoded_picture(scene(1, 160, 120), "JPEG")
NOISE = random.Random(2).randbytes(1 << 20)
PAGE = b'<html><img src="data:image/jpeg;base64,%b">' % base64.b64encode(_JPEG)
BASE64 = base64.encodebytes(_JPEG)
UUENCODED = b"begin 644 p.jpg\n#_]C_\n`\nend\n"


def failing(file: PreadFile) -> list[Probed]:
    raise RuntimeError("a probe that fails")


def members_of(
    content: bytes, recogniser: Recogniser | None = None, **limits: object
) -> tuple[list[Member], ContainerEnd]:
    frames = VideoOpener([PDQ()], ("as-shown",), 1 << 26).frames
    recogniser = recogniser or Recogniser(
        archives=[archive_probe], players=[load()], texts=[texts_with_pictures]
    )
    within = MemberLimits(**limits)  # type: ignore[arg-type]
    library = StandardLibrary()
    reader = MemberReader(library, len(content), [MD5()], None, within, {}, frames, recogniser)
    kind = sniff(content)
    assert kind is not None
    *members, end = (each for each in reader.records(PreadFile(content), kind) if each is not BEFORE_RISK)
    assert isinstance(end, ContainerEnd)
    return [each for each in members if isinstance(each, Member)], end


def archive(content: bytes, name: str = "a") -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        header = tarfile.TarInfo(name)
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))
    return output.getvalue()


def reasons(found: tuple[list[Member], ContainerEnd]) -> list[Reason]:
    members, end = found
    return [reason for reason in (end.reason, *(member.reason for member in members)) if reason is not None]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0" + encoded("avi"), [Reason.CONTAINER_MEMBER]),
        (bytes(100) + encoded("mpegts"), [Reason.CONTAINER_MEMBER]),
        (bytes(100_000) + archive(b"a" * 100), [Reason.CONTAINER_MEMBER]),
        (b"<html>" + b"some words\n" * 50_000 + PAGE, [Reason.CONTAINER_MEMBER]),
        (b"some words\n" * 50_000 + UUENCODED + b"some words\n" * 200_000, [Reason.CONTAINER_MEMBER]),
        (NOISE * 2 + gzip.compress(_JPEG) + NOISE, [Reason.CONTAINER_MEMBER]),
        (NOISE * 7 + b"\0" * 512 + archive(b"a") + NOISE * 3, [Reason.CONTAINER_MEMBER]),
        (bytes(9 << 20) + archive(b"a") + NOISE, [Reason.CONTAINER_MEMBER]),
        (b"some words\n" * 300_000 + BASE64 + b"some words\n" * 300_000, [Reason.CONTAINER_MEMBER]),
        (NOISE * 9 + b"\n" + BASE64 + NOISE * 2, [Reason.CONTAINER_MEMBER]),
        (b"GET /data:image base64 content-type: x 0123456789abcdef\n" * 100_000, []),
        (b"some words\n" * 50_000, []),
        (random.Random(1).randbytes(100_000), []),
        (bytes(100_000), []),
    ],
    ids=[
        *("video", "stream", "archive", "page", "uuencoded", "gzip behind 2 MiB", "tar behind 7 MiB"),
        *("tar behind 9 MiB", "Base64 in text", "Base64 in noise", "log", "text", "random bytes", "zeros"),
    ],
)
def test_a_member_too_large_to_be_held_is_told_by_its_begin_and_end(
    content: bytes, expected: list[Reason]
) -> None:
    found = reasons(members_of(archive(content), member_bytes=LARGE))
    # Players may play the archive, too.
    assert found[: len(expected)] == expected or set(expected) < set(found)


def test_a_video_behind_an_archive_is_looked_at_as_players_do() -> None:
    content = gzip.compress(b"harmless", mtime=0) + encoded("mpegts")
    members, _ = members_of(content)
    assert any(bits_from(member, scene(1, 160, 120)) <= NEAR for member in members)
    nested, _ = members_of(archive(content))
    assert any(bits_from(member, scene(1, 160, 120)) <= NEAR for member in nested)


def test_where_videos_are_not_opened_one_behind_an_archive_is_undecoded() -> None:
    content = gzip.compress(b"harmless", mtime=0) + encoded("mpegts")
    assert Reason.CONTAINER in reasons(members_of(content, kinds=(ContainerKind.ARCHIVE,)))


def test_a_probe_that_fails_costs_no_other_and_is_not_passed_over() -> None:
    recogniser = Recogniser(archives=[failing], players=[load()])
    members, _ = found = members_of(archive(b"\0" + encoded("avi")), recogniser)
    assert reasons(found) == [Reason.PART_FAILED]
    assert any(bits_from(member, scene(1, 160, 120)) <= NEAR for member in members)


def test_an_opener_that_fails_costs_nothing_else_that_a_file_may_be() -> None:
    class Failing:
        def members(self, file: PreadFile) -> Iterator[ArchiveMember]:
            raise RuntimeError("an opener that fails")

    video = b"\0" + encoded("avi")
    recogniser = Recogniser(headers=[lambda _: [Probed(TEXT, True)]], players=[load()])
    frames = VideoOpener([PDQ()], ("as-shown",), 1 << 26).frames
    reader = MemberReader(
        None, len(video), [MD5()], None, MemberLimits(), {TEXT.name: Failing()}, frames, recogniser
    )
    members = [each for each in reader.records(PreadFile(video), UNRECOGNISED) if isinstance(each, Member)]
    assert Reason.PART_FAILED in {each.reason for each in members}
    assert any(bits_from(member, scene(1, 160, 120)) <= NEAR for member in members)
