"""Where other pictures lie within an opened picture file, and what its EXIF data say of its orientation."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Protocol

from hashscan.hashing.directories import Directories, ReadAt, read_directories, read_picture_index
from hashscan.hashing.pread import PreadFile

_EXIF_HEADER = b"Exif\0\0"
_PHOTOSHOP_THUMBNAIL = 1036
_PHOTOSHOP_HEADER = 28


class Described(Protocol):
    """A picture of which Pillow's `info` is known."""

    @property
    def info(self) -> Mapping[Any, Any]:
        """What its header says, by Pillow's names."""


class HeldFile(io.BytesIO):
    """A file within one whose bytes Pillow has already read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.size = len(content)
        """Length in bytes."""
        self.ran_out = False
        """Never told; see `PreadFile`."""


def orientation_of(image: Described) -> int:
    """How EXIF says to turn the picture before it is shown, 1 to 8 (EXIF 2.32, section 4.6.4)."""
    # Of a TIFF file Pillow has turned the picture itself, and there is no EXIF data beside it.
    return _exif(image).orientation


def previews_of(image: Described, file: PreadFile, pillow_format: str) -> list[PreadFile | HeldFile]:
    """The JPEGs that a picture file carries to be shown small: of EXIF, of a TIFF's directories, of a PSD.

    None is known to be one.
    """
    if pillow_format == "JPEG":
        exif = _exif_bytes(image)
        return [HeldFile(exif[start : start + length]) for start, length in _exif(image).previews]
    if pillow_format == "TIFF":
        found = read_directories(_reader(file))
        return [file.within(start, length) for start, length in found.previews]
    if pillow_format == "PSD":
        resources = getattr(image, "resources", ())
        return [
            HeldFile(data[_PHOTOSHOP_HEADER:]) for name, _, data in resources if name == _PHOTOSHOP_THUMBNAIL
        ]
    return []


def pictures_beside(image: Described, file: PreadFile) -> list[PreadFile]:
    """The further pictures of a multi-picture JPEG; empty for others, and where the index makes no sense."""
    index, start = image.info.get("mp"), image.info.get("mpoffset")
    if not isinstance(index, bytes) or not isinstance(start, int):
        return []
    held = HeldFile(index)
    return [file.within(start + offset, length) for offset, length in read_picture_index(_reader(held))]


def _exif_bytes(image: Described) -> bytes:
    exif = image.info.get("exif", b"")
    return exif.removeprefix(_EXIF_HEADER) if isinstance(exif, bytes) else b""


def _exif(image: Described) -> Directories:
    exif = _exif_bytes(image)
    return read_directories(_reader(HeldFile(exif))) if exif else Directories()


def _reader(file: PreadFile | HeldFile) -> ReadAt:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return read
