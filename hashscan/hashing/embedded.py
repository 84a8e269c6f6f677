"""Locate previews and further pictures within an opened picture file, and read its EXIF orientation."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Protocol

from hashscan.hashing.directories import ReadAt, TiffTags, read_directories, read_picture_index
from hashscan.hashing.pread import PreadFile

_EXIF_HEADER = b"Exif\0\0"
_PHOTOSHOP_THUMBNAIL = 1036
_PHOTOSHOP_HEADER = 28


class HasInfo(Protocol):
    """A picture that has Pillow's `info`."""

    @property
    def info(self) -> Mapping[Any, Any]:
        """Return the metadata of its header, by Pillow's names."""


class MemoryFile(io.BytesIO):
    """A file embedded in another file, whose bytes Pillow has already read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.size = len(content)
        """Length in bytes."""
        self.ran_out = False
        """Always False; see `PreadFile`."""


def orientation_of(image: HasInfo) -> int:
    """Return the EXIF orientation of the picture, 1 to 8 (EXIF 2.32, section 4.6.4)."""
    # Pillow turns the picture of a TIFF file itself, and gives no EXIF data for it.
    return _exif(image).orientation


def previews_of(image: HasInfo, file: PreadFile, pillow_format: str) -> list[PreadFile | MemoryFile]:
    """Return the JPEG previews of a picture file: from EXIF, from a TIFF's directories, from a PSD.

    It is not checked that they are JPEGs.
    """
    if pillow_format == "JPEG":
        exif = _exif_bytes(image)
        return [MemoryFile(exif[start : start + length]) for start, length in _exif(image).previews]
    if pillow_format == "TIFF":
        found = read_directories(_reader(file))
        return [file.subfile(start, length) for start, length in found.previews]
    if pillow_format == "PSD":
        resources = getattr(image, "resources", ())
        return [
            MemoryFile(data[_PHOTOSHOP_HEADER:])
            for name, _, data in resources
            if name == _PHOTOSHOP_THUMBNAIL
        ]
    return []


def pictures_beside(image: HasInfo, file: PreadFile) -> list[PreadFile]:
    """Return the further pictures of a multi-picture JPEG; none for other files or a malformed index."""
    index, start = image.info.get("mp"), image.info.get("mpoffset")
    if not isinstance(index, bytes) or not isinstance(start, int):
        return []
    held = MemoryFile(index)
    return [file.subfile(start + offset, length) for offset, length in read_picture_index(_reader(held))]


def _exif_bytes(image: HasInfo) -> bytes:
    exif = image.info.get("exif", b"")
    return exif.removeprefix(_EXIF_HEADER) if isinstance(exif, bytes) else b""


def _exif(image: HasInfo) -> TiffTags:
    exif = _exif_bytes(image)
    return read_directories(_reader(MemoryFile(exif))) if exif else TiffTags()


def _reader(file: PreadFile | MemoryFile) -> ReadAt:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read
