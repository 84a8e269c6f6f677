"""Each limit of archives at its edge: met, all members are looked at; one beyond, the rest is in doubt."""

from __future__ import annotations

import io
import zipfile

import pytest

from hashscan.hashing.archives import members as members_module
from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.exact import MD5
from hashscan.hashing.formats import sniff
from hashscan.hashing.member_records import BEFORE_RISK, ContainerEnd, Member
from hashscan.hashing.pread import PreadFile
from hashscan.model import MemberLimits, Reason


def zipped(*contents: bytes) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(str(number), content)
    return output.getvalue()


def reasons(content: bytes, limits: MemberLimits) -> set[Reason]:
    """The reasons why not all was looked at, of the container and of its members."""
    reader = MemberReader(StandardLibrary(), len(content), [MD5()], None, limits, {})
    kind = sniff(content)
    assert kind is not None
    found = set()
    for record in reader.records(PreadFile(content), kind):
        if isinstance(record, Member | ContainerEnd) and record is not BEFORE_RISK and record.reason:
            found.add(record.reason)
    return found


PLAIN = zipped(b"a" * 1000, b"b" * 1000, b"c" * 1000)
NESTED = zipped(zipped(zipped(b"words")))


@pytest.mark.parametrize(
    ("content", "within", "beyond", "reason"),
    [
        (PLAIN, MemberLimits(members=3), MemberLimits(members=2), Reason.CONTAINER_MEMBERS),
        (PLAIN, MemberLimits(bytes=3000), MemberLimits(bytes=2999), Reason.CONTAINER_BYTES),
        (NESTED, MemberLimits(depth=3), MemberLimits(depth=2), Reason.CONTAINER_DEPTH),
        (
            zipped(PLAIN),
            MemberLimits(member_bytes=len(PLAIN)),
            MemberLimits(member_bytes=len(PLAIN) - 1),
            Reason.CONTAINER_MEMBER,
        ),
    ],
)
def test_limits(content: bytes, within: MemberLimits, beyond: MemberLimits, reason: Reason) -> None:
    assert reasons(content, within) == set()
    assert reasons(content, beyond) == {reason}


@pytest.mark.parametrize(("length", "expected"), [(5000, set()), (5001, {Reason.CONTAINER_RATIO})])
def test_the_ratio(length: int, expected: set[Reason], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "_RATIO_FROM", 5000)
    assert reasons(zipped(bytes(length)), MemberLimits(ratio=0)) == expected
