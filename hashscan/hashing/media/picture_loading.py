"""Load one picture of an untrusted file after another, and note why something was not decoded.

A picture is loaded in the size in which it is hashed, and yielded with the views in which viewers show it.
Which pictures a file has, `picture` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from math import inf
from typing import TypeVar

import numpy as np
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.decoding_faults import decoding_faults
from hashscan.hashing.embedded.directories import (
    orientation_of,
)
from hashscan.hashing.media import large_pictures
from hashscan.hashing.media.colour_tags import ColourInfo, tags_of_picture
from hashscan.hashing.media.low_contrast import coloured_frames
from hashscan.hashing.media.luma_alpha import colours_of, luma_of, may_be_translucent
from hashscan.hashing.media.picture_opening import (
    Frame,
    Limits,
    OpenPicture,
    UndecodedError,
    allow_truncated,
    check_size,
    convert_errors,
    open_picture,
    truncated_allowed,
)
from hashscan.hashing.media.views import (
    VIEW_BYTES_PER_PIXEL,
    View,
    views_of,
)
from hashscan.hashing.pillow_internals import uses_libtiff
from hashscan.hashing.pread import PictureFile, PreadFile
from hashscan.hashing.records import fault_of
from hashscan.hashing.variants import Kind, Part
from hashscan.model import Reason

T = TypeVar("T")


class PictureLoader:
    """The pictures of one file that were loaded, within the limits on all of them."""

    def __init__(self, file: PreadFile, pillow_format: str, limits: Limits) -> None:
        """Load nothing yet.

        Args:
            pillow_format: Pillow's name of the file's format.
        """
        self._file = file
        self._format = pillow_format
        self._limits = limits
        self._pixels = 0
        self._tags: ColourInfo | None = None
        self.shortfall: Reason | None = None
        """The first reason why something was not decoded; None if there is none."""
        self.fault = ""
        """The name of an exception's type, if that is the reason."""
        self._reduced: large_pictures.ReducedPicture | None = None
        """The picture that was loaded last, if it is large and was reduced."""

    def guarded(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield frames; an unexpected exception costs the rest of them, and no others."""
        try:
            yield from frames
        except (UndecodedError, MemoryError):
            raise
        except Exception as error:
            self._fall_short(Reason.PART_FAILED, fault_of(error))

    def _tried(
        self,
        step: Callable[[], T],
        file: PictureFile | None = None,
        pillow_format: str = "",
        *,
        truncated: bool = False,
    ) -> T | None:
        """Return the result of a step that reads `file`; if it fails, record the reason and return None."""
        try:
            with (
                convert_errors(file or self._file, pillow_format or self._format),
                allow_truncated() if truncated else nullcontext(),
            ):
                return step()
        except UndecodedError as error:
            self._fall_short(error.reason)
            return None

    def _each(
        self,
        items: Iterator[T],
        file: PictureFile | None = None,
        pillow_format: str = "",
        *,
        truncated: bool = True,
    ) -> Iterator[T]:
        """Yield items up to the first that fails; see `_tried`."""
        step = partial(next, items, None)
        while (item := self._tried(step, file, pillow_format, truncated=truncated)) is not None:
            yield item

    def _frame(self, opened: OpenPicture, part: Part, pillow_format: str = "") -> Frame:
        """Load a picture and return its brightness as a frame."""
        image = opened.image
        drafted = image.size != opened.stored
        self._reduced = None
        scale = 1 if drafted or not self._limits.large else large_pictures.scale_for(image.size)
        if scale > 1:
            return self._large_frame(image, part, pillow_format or self._format, scale)
        self._check_size(image, pillow_format, more=opened.coefficients, first=part.number < 2)
        self._load(image)
        width, height = opened.stored if drafted else image.size
        self._pixels += image.width * image.height
        stored = (height, width) if drafted else None
        seconds = 0.0 if part.kind is Kind.PREVIEW else inf
        return Frame(luma_of(image), width, height, stored, orientation_of(image), part, seconds)

    def _load(self, image: Image.Image) -> None:
        """Load the pixels of a picture, and record if a library made up some of them."""
        faults = decoding_faults()
        counted = image.format == "JPEG" or uses_libtiff(image)
        try:
            image.load()
        finally:
            # Where a picture may be truncated, Pillow ends it, which is a fault for libjpeg.
            if counted and not truncated_allowed():
                self._note_faults(faults)

    def _note_faults(self, before: int | None) -> None:
        """Record that the JPEG or TIFF that was just decoded has faults, or that this is not known.

        Args:
            before: the faults that were counted before it.
        """
        if before is None:
            self._fall_short(Reason.UNSUPPORTED)
        elif decoding_faults() != before:
            self._fall_short(Reason.BROKEN)

    def _large_frame(self, image: Image.Image, part: Part, pillow_format: str, scale: int) -> Frame:
        """Load a large picture, reduce it, and return its brightness as a frame."""
        found = None
        width, height = image.size
        if pillow_format == "WEBP":
            found = large_pictures.load_webp(image, self._file, scale, self._limits.max_pixels)
        if found is None:
            self._check_size(image, pillow_format, first=part.number < 2)
            self._load(image)
            width, height = image.size
            depth = tags_of_picture(image, self._file, pillow_format).depth
            found = large_pictures.reduce_picture(image, scale, depth)
        self._reduced = found
        self._pixels += width * height
        return Frame(found.luma, width, height, (height, width), orientation_of(image), part)

    def _shown(
        self, frame: Frame, image: Image.Image, file: PictureFile, pillow_format: str
    ) -> Iterator[Frame]:
        """Yield a picture that was just loaded, and the views in which viewers show it differently."""
        drafted = frame.blocks_of is not None or pillow_format == "JPEG"
        stored = None if drafted else image
        if self._reduced is not None:
            stored = self._reduced.image
        yield structs.replace(
            frame,
            colours=partial(self._colours, stored, file, pillow_format),
            chroma=partial(self._chroma, frame, stored, file, pillow_format),
        )
        for view in self._each(self._views(frame, image, file, pillow_format), file, pillow_format):
            found = structs.replace(frame, luma=view.luma, look=view.look)
            if view.image is not None:
                found = structs.replace(
                    found, blocks_of=None, chroma=partial(self._chroma, found, view.image, file, "")
                )
            yield found

    def _views(
        self, frame: Frame, image: Image.Image, file: PictureFile, pillow_format: str
    ) -> Iterator[View]:
        """Yield the views of a picture; see `views_of`."""
        if self._tags is None or file is not self._file or pillow_format == "TIFF":
            tags = tags_of_picture(image, file, pillow_format)
            if file is self._file:
                self._tags = tags
        else:
            tags = self._tags
        if self._reduced is not None:
            size = frame.width, frame.height
            yield from self._reduced.views(tags, size, large_pictures.scale_for(size))
            return
        if may_be_translucent(image):
            more = VIEW_BYTES_PER_PIXEL * image.width * image.height
            self._check_size(image, pillow_format, more=more, first=frame.part.number < 2)
        full = image
        if tags.profiles and pillow_format == "JPEG":
            opened = open_picture(file, pillow_format, self._limits.max_pixels, draft="")
            self._check_size(opened.image, pillow_format, more=opened.coefficients, first=True)
            full = opened.image
            full.load()
        yield from views_of(image, frame.luma, tags, full)

    def _chroma(
        self,
        frame: Frame,
        image: Image.Image | None,
        file: PictureFile,
        pillow_format: str,
        whole: bool,
        even: bool,
    ) -> Iterator[Frame]:
        """Yield the chroma planes (see `coloured_frames`); without an image, those of the JPEG in `file`."""

        def planes() -> list[Frame]:
            loaded = self._jpeg_in_colours(file, pillow_format) if image is None else image
            return coloured_frames(frame, loaded, whole=whole, even=even)

        yield from self._tried(planes, file, pillow_format, truncated=True) or ()

    def _jpeg_in_colours(self, file: PictureFile, pillow_format: str) -> Image.Image:
        opened = open_picture(file, pillow_format, self._limits.max_pixels, draft="YCbCr")
        self._check_size(opened.image, pillow_format, more=opened.coefficients, first=True)
        opened.image.load()
        return opened.image

    def _colours(
        self, image: Image.Image | None, file: PictureFile, pillow_format: str
    ) -> NDArray[np.uint8] | None:
        """Return the colours of a picture as stored; without an image, those of the JPEG in `file`."""

        def colours() -> NDArray[np.uint8] | None:
            return colours_of(self._jpeg_in_colours(file, pillow_format) if image is None else image)

        return self._tried(colours, file, pillow_format, truncated=True)

    def _check_size(self, image: Image.Image, pillow_format: str = "", *, more: int = 0, first: bool) -> None:
        name = pillow_format or self._format
        check_size(image, name, self._file.size, self._limits.max_pixels, more=more, first=first)

    def _check_all(self, pixels: int, number: int, seconds: float) -> None:
        """Check that one more frame keeps within the limits on all frames."""
        if number > self._limits.frames or self._pixels + pixels > self._limits.total_pixels:
            raise UndecodedError(Reason.TOO_MANY)
        if seconds > self._limits.seconds:
            raise UndecodedError(Reason.TIMEOUT)

    def _fall_short(self, reason: Reason, fault: str = "") -> None:
        if self.shortfall is None:
            self.shortfall, self.fault = reason, fault
