"""The processor time that reading archives takes is limited, also within one call of a library."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from msgspec import structs

from hashscan.hashing.archives import library_time
from hashscan.hashing.archives.library import ArchiveLibrary, ArchiveReader
from hashscan.hashing.archives.library_time import LibraryTime, TimedFile
from hashscan.hashing.archives.members import MemberReader
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.container_kinds import seconds_to_open
from hashscan.hashing.exact import MD5
from hashscan.hashing.formats import FORMATS, sniff
from hashscan.hashing.member_records import ContainerEnd, ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import MemberLimits, Reason
from tests.hashing.archives.test_iso_structure import disc, record

pytestmark = pytest.mark.unit


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", b"content")
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return made.getvalue()


ARCHIVES = {
    "zip": zipped(),
    "Python: zip": zipped(),
    "Python: tar.gz": gzip.compress(tarred()),
    "tar.gz": gzip.compress(tarred()),
    "iso": disc(record(b"A", 20)),
    "iso.gz": gzip.compress(disc(record(b"A", 20))),
}


def end_of(library: ArchiveReader, content: bytes) -> ContainerEnd:
    kind = sniff(content)
    assert kind is not None
    reader = MemberReader(library, len(content), [MD5()], None, MemberLimits(), {})
    *_, end = reader.records(PreadFile(content), kind)
    assert isinstance(end, ContainerEnd)
    return end


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_takes_more_is_over_the_time(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    content = ARCHIVES[name]
    library: ArchiveReader = StandardLibrary() if name.startswith("Python") else ArchiveLibrary()
    assert end_of(library, content).reason is not Reason.TIMEOUT
    monkeypatch.setattr(library_time, "SECONDS", 1e-9)
    monkeypatch.setattr(library_time, "SECONDS_PER_MIB", 0.0)
    assert end_of(library, content).reason is Reason.TIMEOUT


def test_the_time_grows_with_the_container_up_to_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_time, "SECONDS", 0.0)
    monkeypatch.setattr(library_time, "SECONDS_PER_MIB", 1.0)
    LibraryTime(1 << 20, 1.0).check()
    for size, most in ((0, 1.0), (1 << 20, 0.0)):
        with pytest.raises(TimeoutError):
            LibraryTime(size, most).check()


def test_a_small_container_has_less_time() -> None:
    kinds, limits = {known.name: known for known in FORMATS}, MemberLimits()
    for name in ("PDF", "ZIP"):
        assert seconds_to_open(kinds[name], 4096, limits) <= limits.seconds / 5
        assert seconds_to_open(kinds[name], 1 << 20, limits) == limits.seconds
        assert seconds_to_open(kinds[name], 4096, structs.replace(limits, seconds=1.0)) == 1.0


def test_a_call_that_has_begun_gets_no_more_bytes() -> None:
    """The library reads on by itself, here from a file that is used up before it begins."""
    file = TimedFile(PreadFile(ARCHIVES["zip"]), LibraryTime(0, 0.0))
    with pytest.raises(ContainerError):
        next(ArchiveLibrary().members(file, "ZIP"))
    with pytest.raises(TimeoutError):
        file.read(1)
