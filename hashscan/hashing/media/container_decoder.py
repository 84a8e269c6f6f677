"""Load what opens containers, and return the function that opens one, for the sandbox."""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from msgspec import json

from hashscan.hashing.archives.library import ArchiveLibrary, ArchiveReader
from hashscan.hashing.archives.members import Frames, MemberReader
from hashscan.hashing.archives.openers import Opener
from hashscan.hashing.archives.standard_library import StandardLibrary
from hashscan.hashing.archives.unpacking import load_deflate64
from hashscan.hashing.container_kinds import LOSSLESS_DECODER, VIDEO_OPENER, library_installed, openers_of
from hashscan.hashing.documents.fonts import font_kinds
from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.hash_algorithms import ExactHash, PictureHash
from hashscan.hashing.media.decoder import Decode, DecodePicture
from hashscan.hashing.member_records import pack_messages
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import archive_probe, archives_beside
from hashscan.hashing.recognition.other_probes import document_probe, picture_probe
from hashscan.hashing.recognition.recogniser import Probe, ProbeAnswer, Recogniser
from hashscan.hashing.records import pack_request, unpack_request
from hashscan.model import ContainerKind, MemberLimits

_CODECS = (
    *("utf-16-le", "utf-16-be", "utf-7", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp1257", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-8"),
    *("iso8859-9", "iso8859-15", "koi8-r", "koi8-u", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr"),
    *("shift_jis", "cp932", "cp949", "cp950", "iso2022_jp", "hz"),
)
"""Encodings of names and texts; no other can be loaded in the sandbox."""


def load(
    decode: DecodePicture,
    hashes: Sequence[PictureHash],
    wanted: Collection[str],
    max_pixels: int,
    options: Mapping[str, str],
) -> Decode:
    """Load all libraries that open containers, before the sandbox is closed.

    Args:
        decode: decodes the pictures in containers, and files that are none.
        hashes: the algorithms over pictures, in the order of a reply.
        wanted: some of `variants.VARIANTS`.
        max_pixels: of one picture or frame.
        options: `exact`, `containers`, `members`, `videos` and `libraries`, as of `media.decoder.load`.
    """
    limits = json.decode(options["containers"], type=MemberLimits)
    by_bytes, by_python = options.get("members") == "bytes", options.get("libraries") == "none"
    # Those of kinds that are not opened, too: it takes them to tell what a file may be.
    library = _archive_reader(by_python=by_python)
    openers = load_openers(limits.kinds, by_python=by_python)
    frames = None if by_python else _video_frames(hashes, wanted, max_pixels, samples="videos" in options)
    recogniser = Recogniser(
        archives=[archive_probe],
        documents=[document_probe],
        headers=[font_kinds, picture_probe],
        texts=[texts_with_pictures],
        players=[] if by_python else _loaded(_PLAYERS),
        unpackers=[archives_beside],
    )
    exact: list[ExactHash] = []
    for target in filter(None, options["exact"].split(",")):
        module, _, name = target.partition(":")
        exact.append(getattr(importlib.import_module(module), name)())

    def decode_member(file: PreadFile, picture_format: FileFormat, opened: bool) -> bytes:
        return decode(file, pack_request(picture_format), opened)

    def explained(file: PreadFile) -> bytes:
        found = islice(recogniser.kinds(file), _EXPLAINED_MAX)
        return json.encode([ProbeAnswer(each.kind.name, *each[1:]) for each in found])

    def handle(descriptor: int, request: bytes) -> bytes | Generator[bytes, None, bytes]:
        kind = unpack_request(request).picture_format
        if not kind.container:
            return decode(descriptor, request)
        file = PreadFile(descriptor)
        if "explain" in options:
            return explained(file)
        reader = MemberReader(
            library, file.size, exact, decode_member, limits, openers, frames, recogniser, by_bytes=by_bytes
        )
        return pack_messages(reader.records(file, kind))

    return handle


_EXPLAINED_MAX = 64
"""Formats that are named of one file."""
_PLAYERS = ("hashscan.hashing.recognition.video_probe",)
"""Modules whose function `load` returns a probe that takes a library."""


def _loaded(modules: Iterable[str]) -> list[Probe]:
    """Load the probes whose libraries are installed."""
    found = []
    for module in modules:
        with suppress(ImportError, OSError):
            found.append(importlib.import_module(module).load())
    return found


def load_openers(kinds: Collection[ContainerKind], *, by_python: bool = False) -> dict[str, Opener]:
    """Load what opens containers of these kinds, by the name of the format.

    Those whose library is not installed are missing.

    Args:
        by_python: leave out all that need a library.
    """
    for name in _CODECS:
        codecs.lookup(name)
    return {
        name: getattr(importlib.import_module(opener.module), opener.name)()
        for name, opener in openers_of(kinds).items()
        if library_installed(opener) and not (by_python and opener.library)
    }


def _archive_reader(*, by_python: bool) -> ArchiveReader:
    try:
        if by_python:
            return StandardLibrary()
        load_deflate64()
        return ArchiveLibrary(StandardLibrary())
    except (ImportError, OSError, MemoryError):
        # It is not installed, or no memory may be executable.
        return StandardLibrary()


def _video_frames(
    hashes: Sequence[PictureHash], wanted: Collection[str], max_pixels: int, *, samples: bool
) -> Frames | None:
    """Load what opens videos; return None where it can't be loaded."""
    try:
        module = importlib.import_module(VIDEO_OPENER)
    except (ImportError, OSError):
        return None
    importlib.import_module(LOSSLESS_DECODER).warm_up()
    frames: Frames = module.VideoOpener(hashes, wanted, max_pixels, samples=samples).frames
    return frames
