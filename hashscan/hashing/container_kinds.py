"""Say which containers are opened, of which kind they are, and what must be installed for each.

Operators choose the kinds (`model.ContainerKind`). Mails are a kind of their own, since the secrecy of
communications differs by country; a message of Outlook is one. What lies in a container is opened on the same
terms as what lies beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

from hashscan.hashing.containers import APPENDED, UNRECOGNISED
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import TEXT
from hashscan.model import ContainerKind, MemberLimits
from hashscan.plugins import installed_versions

COMPRESSED = frozenset({"gzip", "bzip2", "xz", "LZMA", "Zstandard", "compress", "other compressed file"})
"""Names of the formats of compressed files, whose content need not be an archive."""
ARCHIVES: Mapping[str, tuple[str, ...]] = {
    "ZIP": ("zip",),
    "tar": ("tar",),
    "7z": ("7zip",),
    "RAR": ("rar", "rar5"),
    "CAB": ("cab",),
    "cpio": ("cpio",),
    "binary cpio": ("cpio",),
    "ar": ("ar",),
    "RPM": ("cpio",),
    "LHA": ("lha",),
    "CD or DVD image": ("iso9660",),
}
"""Names of the formats of archives, and libarchive's names of each."""
_STANDARD = frozenset({"ZIP", "tar", "gzip", "bzip2", "xz", "LZMA"})
_ZSTANDARD = "_zstd"
"""The module of Python that unpacks Zstandard, from version 3.14 on."""
OTHER_VIDEO = "other video"
VIDEOS: Mapping[str, tuple[str, ...]] = {
    "MP4 or QuickTime": ("mov,mp4,m4a,3gp,3g2,mj2",),
    "Matroska or WebM": ("matroska,webm",),
    "AVI": ("avi",),
    "MPEG": ("mpeg", "mpegvideo"),
    "MPEG transport stream": ("mpegts",),
    "Flash video": ("flv", "live_flv", "kux"),
    "Windows Media": ("asf",),
    "Ogg": ("ogg",),
    OTHER_VIDEO: (),
    "music with a picture": (
        *("mp3", "aac", "aiff", "ape", "dsf", "mpc", "mpc8", "oma", "tak", "tta", "wav", "wv"),
    ),
    "FLAC": ("flac",),
}
"""Names of the formats of videos and music, and FFmpeg's names of each; `OTHER_VIDEO` has all others that
show pictures (`recognition.demuxers`). A file that FFmpeg takes for another format than its signature says
is not opened: players differ in which of the two they show. Flash is a program, not a video."""
VIDEO_OPENER = "hashscan.hashing.video.opening"
"""The module that opens videos, which needs the extra `video`."""
LOSSLESS_DECODER = "hashscan.hashing.video.lossless_jpeg"
"""The module that decodes lossless JPEG and JPEG-LS; it is used where it was loaded with the former."""


_SECONDS, _SECONDS_PER_MIB = 10.0, 100.0
"""Processor time for a small container, and for each MiB of it besides: 0.2 s for a page of 2 KiB."""


class DocumentOpener(NamedTuple):
    """The place of the class that opens documents of one format."""

    module: str
    name: str
    """Name of its class."""
    library: str = ""
    """The module that it needs, of the extra `document`."""


_HERE = "hashscan.hashing.documents"
_DOCUMENTS = {
    TEXT.name: DocumentOpener(f"{_HERE}.texts", "TextOpener"),
    "uuencoded file": DocumentOpener(f"{_HERE}.mail", "UuOpener"),
    "contact with a photo": DocumentOpener(f"{_HERE}.texts", "ContactOpener"),
    "font with pictures": DocumentOpener(f"{_HERE}.fonts", "FontOpener"),
    "PDF": DocumentOpener(f"{_HERE}.pdf", "PdfOpener", "pypdfium2_raw"),
    "compound file": DocumentOpener(f"{_HERE}.compound", "CompoundOpener", "olefile"),
    "RTF": DocumentOpener(f"{_HERE}.rtf", "RtfOpener"),
    "Windows metafile": DocumentOpener(f"{_HERE}.metafiles", "MetafileOpener"),
}
_ALWAYS = {APPENDED.name: DocumentOpener(f"{_HERE}.appended", "AppendedOpener")}
"""Openers for all kinds: the members have kinds of their own."""
_MAILS = {
    "mail": DocumentOpener(f"{_HERE}.mail", "MailOpener"),
    "mailbox": DocumentOpener(f"{_HERE}.mail", "MailboxOpener"),
    "compound file": DocumentOpener(f"{_HERE}.compound", "CompoundMailOpener", "olefile"),
}
_WEB_ARCHIVES = {"WARC": DocumentOpener("hashscan.hashing.archives.warc", "WarcOpener")}
_OPENERS = {
    ContainerKind.ARCHIVE: _WEB_ARCHIVES,
    ContainerKind.DOCUMENT: _DOCUMENTS,
    ContainerKind.MAIL: _MAILS,
}


_PACKAGES = {"olefile": "olefile", "pypdfium2_raw": "pypdfium2"}
"""The distributions that the modules come from."""


def openers_of(kinds: Collection[ContainerKind]) -> dict[str, DocumentOpener]:
    """Return what opens documents and mails of these kinds, by the name of the format.

    Their libraries may not be installed.
    """
    chosen: dict[str, DocumentOpener] = {**_ALWAYS}
    for kind, openers in _OPENERS.items():
        if kind in kinds:
            chosen |= openers
    return chosen


def is_opened(known: FileFormat, kinds: Collection[ContainerKind]) -> bool:
    """Return True if containers of this format are opened where these kinds are; a library may be missing."""
    if known == UNRECOGNISED:
        # What it is, is not known before; then each kind counts.
        return True
    if known.name in ARCHIVES or known.name in COMPRESSED:
        return ContainerKind.ARCHIVE in kinds
    if known.name in VIDEOS:
        return ContainerKind.VIDEO in kinds
    return known.name in openers_of(kinds)


def is_standard(name: str) -> bool:
    """Return True for a format of archives and compressed files that Python's standard library reads."""
    return name in _STANDARD or (name == "Zstandard" and _is_installed(_ZSTANDARD))


def opened_by_python(known: FileFormat, kinds: Collection[ContainerKind]) -> bool:
    """Return True if containers of this format are opened where these kinds are without another library."""
    if known == UNRECOGNISED:
        return True
    if is_standard(known.name):
        return ContainerKind.ARCHIVE in kinds
    opener = openers_of(kinds).get(known.name)
    return opener is not None and not opener.library


def missing_extra(known: FileFormat) -> str:
    """Return the extra of this package that opens such a container and is not installed; empty if it is."""
    if known.name in ARCHIVES or known.name in COMPRESSED:
        return "" if is_standard(known.name) or _is_installed("libarchive") else "archive"
    if known.name in VIDEOS:
        return "" if _is_installed("av") else "video"
    opener = (_DOCUMENTS | _MAILS).get(known.name)
    return "document" if opener is not None and not library_installed(opener) else ""


def missing_recogniser() -> str:
    """Return the extra whose library tells what a file is, if it is not installed; else an empty text."""
    return "" if _is_installed("av") else "video"


def seconds_to_open(known: FileFormat, size: int, limits: MemberLimits) -> float:
    """Return the processor time in seconds in which a container of `size` bytes must have been opened.

    A small one has less: within one call of a library, which a page of some kilobytes can keep busy without
    end, only the worker can stop it.
    """
    if known.name in VIDEOS or known == UNRECOGNISED:
        return limits.seconds + limits.more_seconds * size / (1 << 30)
    return min(limits.seconds, _SECONDS + _SECONDS_PER_MIB * size / (1 << 20))


def document_libraries() -> list[str]:
    """Return the name and version of each installed library that opens documents."""
    found = {opener.library for opener in openers_of(tuple(ContainerKind)).values()}
    versions = installed_versions()
    names = sorted(_PACKAGES[module] for module in found if module and _is_installed(module))
    return [f"{name} {versions.get(name, '')}" for name in names]


def video_version() -> str:
    """Return the name and version of the library that opens videos; empty if it is not installed."""
    return f"PyAV {installed_versions().get('av', '')}" if _is_installed("av") else ""


def library_installed(opener: DocumentOpener) -> bool:
    """Return True if the library that this needs is installed, or if it needs none."""
    return not opener.library or _is_installed(opener.library)


@cache
def _is_installed(module: str) -> bool:
    return find_spec(module) is not None
