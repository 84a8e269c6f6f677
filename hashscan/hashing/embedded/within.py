"""Search a file for all containers that programs may see in it, beside what it is.

This is the only search: of a scanned file, of a member of another one, and of a picture that was decoded. In
pictures, archives are searched for from the first byte to the last one, as 7-Zip does: in pixels, between the
last pixel and the end, in metadata and in padding. Streams are searched for where FFmpeg plays them.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashscan.hashing.containers import (
    APPENDED,
    ARCHIVES_SEARCHED,
    TAIL_SIZE,
    UNRECOGNISED,
    containers_of,
    may_hold_archive,
)
from hashscan.hashing.embedded.ends import (
    BARE,
    BOXED,
    ENDS,
    LEAST,
    SCAN,
    SEGMENTS_MAX,
    WITHOUT_LENGTH,
    Span,
    behind,
)
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import DRAWING_MAX, SVG, TEXT, is_page_too, sniff
from hashscan.hashing.pread import PictureFile, PreadFile
from hashscan.hashing.recognition.none_kinds import FIRST, FIRST_OF_PICTURE, FURTHER, may_hold_others


def containers_within(file: PreadFile, known: FileFormat | None) -> tuple[tuple[FileFormat, ...], bytes]:
    """Return all containers that programs may see in a file, and the file's last `TAIL_SIZE` bytes.

    What it is besides is asked in the sandbox, where it may have an archive in it, or was known by its end
    alone.

    Args:
        known: what the file was recognised as.

    Raises:
        OSError: it can't be read.
    """
    file.seek(0)
    prefix = file.read(DRAWING_MAX if known == SVG else TAIL_SIZE)
    file.seek(max(0, file.size - TAIL_SIZE))
    tail = file.read(TAIL_SIZE)
    found = containers_of(known, prefix, tail)
    if TEXT not in found and is_page_too(known, found, prefix, tail):
        found = *found, TEXT
    picture = "" if known is None else known.pillow or ""
    if UNRECOGNISED not in found and _is_more(file, found, prefix, picture):
        found = *found, UNRECOGNISED
    if picture and _is_followed(file, found, picture):
        found = *found, APPENDED
    return found, tail


def _is_more(file: PreadFile, found: tuple[FileFormat, ...], prefix: bytes, picture: str) -> bool:
    """Return True if the probes are to be asked about a file, too."""
    begin = sniff(prefix)
    if begin is None and found:
        return True
    if picture:
        return _may_hold_unseen(file, picture)
    if begin is not None and begin.name in WHOLE:
        return False
    if file.size > len(prefix):
        file.seek(0)
        prefix = file.read(ARCHIVES_SEARCHED)
    return may_hold_archive(prefix)


WHOLE = frozenset(
    {
        *("ZIP", "tar", "gzip", "bzip2", "xz", "Zstandard", "LZMA", "compress", "other compressed file"),
        *("7z", "RAR", "CAB", "cpio", "binary cpio", "ar", "RPM", "LHA", "ARJ", "other archive"),
        "compound file",
    }
)
"""Names of formats that begin a file so that no program looks for another archive within it."""


def _is_followed(file: PreadFile, found: tuple[FileFormat, ...], picture: str) -> bool:
    """Return True if something is behind a picture that is not found otherwise."""
    _, rest, more = behind(file, picture)
    names = {each.name for each in found}
    for start, _ in rest:
        file.seek(start)
        # An archive alone is found by its end, and opened as such.
        if _ARCHIVE_STARTS.get(file.read(4)) not in names:
            return True
    return more


_ARCHIVE_STARTS = {b"PK\3\4": "ZIP", b"Rar!": "RAR"}


def _may_hold_unseen(file: PreadFile, picture: str) -> bool:
    """Return True if programs may find an archive anywhere in a picture, or a video where they look."""
    if may_hold_others(file, FURTHER):
        return True
    if picture == "JPEG":
        # FFmpeg is less sure of this format than of a stream in the metadata.
        return any(
            length >= LEAST and may_hold_others(file.subfile(start, length), FIRST_OF_PICTURE)
            for start, length in _segments_of_jpeg(file)
        )
    if picture in ENDS or picture in _OF_FFMPEG:
        return False
    file.seek(0)
    if picture in BOXED and file.read(2) not in BARE:
        return False
    # All icons of an ICNS are hashed: they are pictures with signatures of their own.
    return may_hold_others(file, FIRST_OF_PICTURE if picture == "ICNS" else FIRST)


_OF_FFMPEG = frozenset({"DDS", "ICO", "JXL", "PCX", "PPM", "PSD", "QOI", "SGI", "SUN", "SVG", "TIFF"})
"""Formats of which the end is not known, and that FFmpeg is sure of, whatever stream follows."""


def _segments_of_jpeg(file: PictureFile) -> Iterator[Span]:
    """Yield the segments before the first scan from the first to the last one that may hold a stream.

    FFmpeg plays a stream whatever its segment is named: EXIF, a profile, XMP.
    """
    place, first, last = 2, 0, 0
    for _ in range(SEGMENTS_MAX):
        file.seek(place)
        head = file.read(4)
        if len(head) < 4 or head[1] in {0xD9, SCAN}:
            break
        if head[0] != 0xFF or head[1] in WITHOUT_LENGTH:
            first, last, place = first or place, place + 1, place + 1
            continue
        length = 2 + int.from_bytes(head[2:4])
        if head[1] >= _APPLICATION or length > _TABLES_MAX:
            first, last = first or place, place + length
        place += length
    else:
        first, last = first or place, file.size
    if first:
        yield first, min(last, file.size) - first


_APPLICATION = 0xE0
"""The first of the markers of applications and comments; those of tables are below."""
_TABLES_MAX = 700
"""Length of a segment with all tables of a kind."""
