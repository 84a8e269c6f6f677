"""Decoding of strangers' picture files to brightness: every frame and page, and the previews beside them.

To be called inside the sandbox only: Pillow and the libraries below it parse hostile bytes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, count
from math import inf
from typing import cast

from PIL import Image

from hashscan.hashing import canvas
from hashscan.hashing.avif import other_avif
from hashscan.hashing.bitmap import bitmap_alpha, bitmap_luma, bitmap_size
from hashscan.hashing.colour_planes import coloured_frames
from hashscan.hashing.colour_tags import ColourTags, tags_of_picture
from hashscan.hashing.embedded import Described, HeldFile, orientation_of, pictures_beside, previews_of
from hashscan.hashing.formats import PictureFormat
from hashscan.hashing.frames import Frame, Limits
from hashscan.hashing.icons import icons_of
from hashscan.hashing.jpeg_pixels import decode
from hashscan.hashing.luma import luma_of
from hashscan.hashing.opening import (
    DRAFT_SIDE,
    MISSING,
    OpenPicture,
    PictureFile,
    UndecodedError,
    check_pixels,
    check_size,
    limit_pixels,
    open_picture,
    reasons,
    salvaging,
)
from hashscan.hashing.plain_jpeg import LARGEST_FILE, PlainHeader, read_header, scale_of
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.transparency import may_be_translucent
from hashscan.hashing.variants import WHOLE, Kind, Part
from hashscan.hashing.views import BYTES_MORE, Plane, View, over_backgrounds, views_of, views_of_alpha
from hashscan.model import Reason

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("AVIF", "FLI", "GIF", "PNG", "WEBP"), Kind.FRAME),
    **dict.fromkeys(("DCX", "TIFF"), Kind.PAGE),
    **dict.fromkeys(("CUR", "HEIF", "ICO", "JPEG"), Kind.FURTHER),
}
"""By Pillow's name, what the further pictures of a file are. Formats not named here have one picture to show:
the largest of ICNS, a PSD's layers merged."""

_SALVAGEABLE = frozenset({Reason.TRUNCATED, Reason.BROKEN})
_ODD = frozenset({Reason.UNSUPPORTED, Reason.BROKEN})
_JPEG_START = b"\xff\xd8\xff"
_HEIF_PREVIEW_SIDE = 32


def decode_frames(
    file: PreadFile, picture_format: PictureFormat, limits: Limits | None = None
) -> Iterator[Frame]:
    """Decode the pictures of a file one after another: its first, its previews, then its further ones.

    Behind each come the ways in which viewers show it otherwise than it is stored. Frames of an animation
    come composed, as a viewer shows them. Viewers show as much as there is of a picture that is cut or
    spoilt. So that nobody hides one by cutting off its last bytes, that much is decoded here too.

    Args:
        file: the picture file.
        picture_format: what it was sniffed to be; it is decoded as this or not at all.
        limits: how much to decode.

    Raises:
        UndecodedError: after the last that could be had, if a part or all of the file was not decoded.
    """
    if picture_format.pillow is None or picture_format.pillow in MISSING:
        raise UndecodedError(Reason.UNSUPPORTED)
    reader = _Reader(file, picture_format.pillow, limits or Limits())
    yield from reader.first()
    yield from reader.previews()
    yield from reader.further()
    if reader.shortfall is not None:
        raise UndecodedError(reader.shortfall)


class _Reader:
    """One file while its pictures are decoded."""

    def __init__(self, file: PreadFile, pillow_format: str, limits: Limits) -> None:
        self._file = file
        self._format = pillow_format
        self._limits = limits
        self._opened: OpenPicture | None = None
        self._plain: PlainHeader | None = None
        self._pixels = 0
        self._tags: ColourTags | None = None
        self.shortfall: Reason | None = None
        """Why something was not decoded, the first reason there was."""

    def first(self) -> Iterator[Frame]:
        """The picture that a viewer shows first."""
        plain = self._plain_jpeg() if self._format == "JPEG" else None
        if plain is not None:
            yield plain
            return
        try:
            with reasons(self._file, self._format):
                self._opened = opened = open_picture(self._file, self._format, self._limits.max_pixels)
                frame, image = self._frame(opened, WHOLE), opened.image
        except UndecodedError as error:
            odd = self._odd_bitmap() if self._format == "BMP" and error.reason in _ODD else None
            if odd is not None:
                yield odd
                yield from self._translucent_bitmap(odd)
            else:
                yield from self._salvaged(error.reason, 0, WHOLE)
        else:
            yield from self._shown(frame, image, self._file, self._format)
            if self._format == "BMP" and not may_be_translucent(image):
                yield from self._translucent_bitmap(frame)

    def _translucent_bitmap(self, frame: Frame) -> Iterator[Frame]:
        """A bitmap over all backgrounds, if it has a mask of opacity that Pillow takes no account of."""
        try:
            with reasons(self._file, self._format):
                self._file.ran_out = False
                alpha = bitmap_alpha(self._file)
                if self._file.ran_out:
                    self._fall_short(Reason.TRUNCATED)
        except UndecodedError as error:
            self._fall_short(error.reason)
            return
        if alpha is not None and alpha.min() < alpha.max():
            for view in views_of_alpha(frame.luma, alpha):
                yield replace(frame, luma=view.luma, look=view.look)

    def _plain_jpeg(self) -> Frame | None:
        """The picture of a JPEG with nothing odd about it, without Pillow's opening; None of all others."""
        if self._file.size > LARGEST_FILE:
            return None
        try:
            content = self._file.read(self._file.size)
            header = read_header(content)
            if header is None:
                return None
            scale = scale_of(header.size, DRAFT_SIDE)
            check_pixels(
                2 * (header.size[0] // scale + 1) * (header.size[1] // scale + 1), self._limits.max_pixels
            )
            luma = decode(content, header.size, scale)
        except (OSError, MemoryError, UndecodedError):
            # Pillow comes to the same, and by then it is known what else can be had of the file.
            return None
        if luma is None:
            return None
        self._plain = header
        self._pixels += luma.size
        width, height = header.size
        frame = Frame(luma, width, height, (height, width) if scale > 1 else None, orientation_of(header))
        return replace(frame, chroma=partial(self._chroma, frame, None, self._file, "JPEG"))

    def _odd_bitmap(self) -> Frame | None:
        """A bitmap that Pillow can't read and others can."""
        try:
            with reasons(self._file, self._format):
                width, height = bitmap_size(self._file)
                check_pixels(width * height, self._limits.max_pixels)
                if height * ((width + 7) // 8) > self._file.size:
                    # Not one bit for each pixel.
                    return None
                self._file.ran_out = False
                frame = Frame(bitmap_luma(self._file), width, height)
                if self._file.ran_out:
                    self._fall_short(Reason.TRUNCATED)
                return frame
        except UndecodedError:
            return None

    def previews(self) -> Iterator[Frame]:
        """The small pictures that file managers show in place of it."""
        described = self._described
        if described is None or (self._format == "JPEG" and "exif" not in described.info):
            return
        try:
            with reasons(self._file, self._format):
                sources = previews_of(described, self._file, self._format)
        except UndecodedError:
            # Nothing that anybody could show.
            return
        for number, source in enumerate(sources, start=1):
            yield from self._jpeg(source, Part(Kind.PREVIEW, number if len(sources) > 1 else 0))
        if self._format == "HEIF" and described.info.get("thumbnails"):
            yield from self._heif_preview()

    def further(self) -> Iterator[Frame]:
        """What follows the first picture."""
        described = self._described
        if described is None or self._format not in _KINDS:
            return
        if self._format == "JPEG":
            for number, source in enumerate(pictures_beside(described, self._file), start=2):
                yield from self._jpeg(source, Part(Kind.FURTHER, number))
        elif self._format in {"CUR", "ICO"}:
            yield from self._icons()
        else:
            yield from self.further_frames()
        if self._format == "AVIF":
            yield from self._other_avif()
        if self._format == "GIF" or (
            self._format == "PNG" and self._is(lambda: canvas.is_animated_png(self._file))
        ):
            yield from self._composed()

    def further_frames(self) -> Iterator[Frame]:
        """Those after the first of an animation, or the further pages."""
        if self._opened is not None and self.shortfall is None:
            image = self._opened.image
            if self._is(lambda: getattr(image, "is_animated", False)):
                yield from self._frames(image)

    def _other_avif(self) -> Iterator[Frame]:
        """The picture of an AVIF that is also a film, or the film: viewers differ in which they show."""
        try:
            with reasons(self._file, self._format):
                content = other_avif(self._file)
        except UndecodedError as error:
            self._fall_short(error.reason)
            return
        if content is None:
            return
        left = replace(self._limits, total_pixels=self._limits.total_pixels - self._pixels)
        # It has all that is asked of a file of this format.
        reader = _Reader(cast("PreadFile", HeldFile(content)), self._format, left)
        for number, frame in enumerate(chain(reader.first(), reader.further_frames()), start=2):
            yield replace(frame, part=Part(Kind.FURTHER, number) if frame.part == WHOLE else frame.part)
        if reader.shortfall is not None:
            self._fall_short(reader.shortfall)

    def _icons(self) -> Iterator[Frame]:
        """All pictures of an icon. Programs differ in which they show, and in which is the largest."""
        started = time.process_time()
        icons: Iterator[Image.Image] | None = None
        for number in count(1):
            part = Part(Kind.FURTHER, number)
            try:
                with reasons(self._file, self._format):
                    limit_pixels(self._limits.max_pixels)
                    if icons is None:
                        icons = icons_of(self._file)
                    image = next(icons, None)
                    if image is None:
                        return
                    self._check_all(image.width * image.height, number, time.process_time() - started)
                    frame = self._frame(OpenPicture(image, image.size), part)
            except UndecodedError as error:
                self._fall_short(error.reason)
                return
            yield from self._shown(frame, image, self._file, self._format)

    def _composed(self) -> Iterator[Frame]:
        """The frames of an animation over all backgrounds, if browsers compose it otherwise than Pillow."""
        started = time.process_time()
        number = 0
        frames: Iterator[tuple[Plane, Plane]] | None = None
        while True:
            try:
                with reasons(self._file, self._format), salvaging():
                    if frames is None:
                        pieces = self._pieces[1]
                        last = len(pieces)
                        if self._opened is not None:
                            last = min(last, canvas.frames_known(self._opened.image))
                        otherwise = canvas.is_composed_otherwise(*self._pieces, self._format)
                        if last == len(pieces) and not otherwise:
                            return
                        frames = canvas.composed_frames(*self._pieces, self._limits.max_pixels)
                    following = next(frames, None)
                    if following is None:
                        return
                    black, alpha = following
                    number += 1
                    self._pixels += alpha.size
                    self._check_all(alpha.size, number, time.process_time() - started)
                    views = list(over_backgrounds(black, alpha))
            except UndecodedError as error:
                self._fall_short(error.reason)
                return
            height, width = alpha.shape
            part = WHOLE if number == 1 else Part(_KINDS[self._format], number)
            seconds = inf if number == 1 or number >= last else pieces[number - 1].seconds
            for view in views:
                yield Frame(view.luma, width, height, part=part, look=view.look, seconds=seconds)

    @cached_property
    def _pieces(self) -> tuple[tuple[int, int], list[canvas.Piece]]:
        """The frames of a GIF or animated PNG before they are composed."""
        return canvas.pieces_of(self._file, self._format)

    def _seconds(self, image: Image.Image, place: int) -> float:
        """How long a frame is shown that was just loaded, for ever if it is none."""
        if _KINDS[self._format] is not Kind.FRAME:
            return inf
        try:
            with reasons(self._file, self._format):
                pieces = self._pieces[1] if self._format in {"GIF", "PNG"} else None
        except UndecodedError:
            # It is said when they are composed.
            return inf
        return canvas.frame_seconds(image, place, pieces)

    @property
    def _described(self) -> Described | None:
        """Whichever was opened, by Pillow or without it."""
        return self._opened.image if self._opened is not None else self._plain

    def _is(self, ask: Callable[[], object]) -> bool:
        """The answer of a library to a question; no, if it can't tell."""
        try:
            with reasons(self._file, self._format):
                return bool(ask())
        except UndecodedError as error:
            self._fall_short(error.reason)
            return False

    def _frames(self, image: Image.Image) -> Iterator[Frame]:
        shown = image.tell()
        started = time.process_time()
        number = 1
        for place in count():
            if place == shown:
                continue
            part = Part(_KINDS[self._format], number + 1)
            try:
                with reasons(self._file, self._format):
                    # Going on to the second frame of a GIF converts the first to colours.
                    self._check_size(image, first=False)
                    try:
                        image.seek(place)
                    except EOFError:
                        return
                    number += 1
                    self._check_all(image.width * image.height, number, time.process_time() - started)
                    frame = self._frame(OpenPicture(image, image.size), part)
                    frame = replace(frame, seconds=self._seconds(image, place))
            except UndecodedError as error:
                yield from self._salvaged(error.reason, place, part)
                return
            yield from self._shown(frame, image, self._file, self._format)

    def _check_all(self, pixels: int, number: int, seconds: float) -> None:
        """See that one more frame, of so many pixels, keeps to the limits on all of them."""
        if number > self._limits.frames or self._pixels + pixels > self._limits.total_pixels:
            raise UndecodedError(Reason.TOO_MANY)
        if seconds > self._limits.seconds:
            raise UndecodedError(Reason.TIMEOUT)

    def _jpeg(self, source: PreadFile | HeldFile, part: Part) -> Iterator[Frame]:
        """A JPEG within the file, as much as there is of it."""
        if source.read(len(_JPEG_START)) != _JPEG_START:
            # Programs that rewrite a picture drop what follows it, and keep what was said about that.
            return
        try:
            with reasons(source, "JPEG"), salvaging():
                opened = open_picture(source, "JPEG", self._limits.max_pixels)
                frame = self._frame(opened, part, "JPEG")
        except UndecodedError as error:
            self._fall_short(error.reason)
        else:
            yield from self._shown(frame, opened.image, source, "JPEG")

    def _heif_preview(self) -> Iterator[Frame]:
        try:
            with reasons(self._file, self._format):
                opened = open_picture(self._file, self._format, self._limits.max_pixels)
                if opened.image.draft("L", (_HEIF_PREVIEW_SIDE, _HEIF_PREVIEW_SIDE)) is None:
                    return
                frame = self._frame(OpenPicture(opened.image, opened.image.size), Part(Kind.PREVIEW))
        except UndecodedError as error:
            self._fall_short(error.reason)
        else:
            yield from self._shown(frame, opened.image, self._file, self._format)

    def _salvaged(self, reason: Reason, place: int, part: Part) -> Iterator[Frame]:
        """As much as there is of a picture that is damaged, if that is why it couldn't be had."""
        self._fall_short(reason)
        if reason not in _SALVAGEABLE or self._format == "HEIF":
            # Its library has all of a picture or nothing, for which Pillow would take black.
            return
        try:
            with reasons(self._file, self._format), salvaging():
                opened = open_picture(self._file, self._format, self._limits.max_pixels)
                if place:
                    opened.image.seek(place)
                    opened = OpenPicture(opened.image, opened.image.size)
                frame = self._frame(opened, part)
        except UndecodedError:
            # The reason is known already.
            return
        self._opened = self._opened or opened
        yield from self._shown(frame, opened.image, self._file, self._format)

    def _frame(self, opened: OpenPicture, part: Part, pillow_format: str = "") -> Frame:
        """Load a picture and take its brightness."""
        image = opened.image
        self._check_size(image, pillow_format, more=opened.coefficients, first=part.number < 2)
        drafted = image.size != opened.stored
        image.load()
        width, height = opened.stored if drafted else image.size
        self._pixels += image.width * image.height
        stored = (height, width) if drafted else None
        seconds = 0.0 if part.kind is Kind.PREVIEW else inf
        return Frame(luma_of(image), width, height, stored, orientation_of(image), part, seconds)

    def _shown(
        self, frame: Frame, image: Image.Image, file: PictureFile, pillow_format: str
    ) -> Iterator[Frame]:
        """A picture just loaded, and the ways in which viewers show it otherwise.

        Args:
            frame: the picture.
            image: the same, loaded.
            file: what it was read from.
            pillow_format: its format.
        """
        drafted = frame.blocks_of is not None or pillow_format == "JPEG"
        stored = None if drafted else image
        yield replace(frame, chroma=partial(self._chroma, frame, stored, file, pillow_format))
        views: Iterator[View] | None = None
        while True:
            try:
                with reasons(file, pillow_format), salvaging():
                    if views is None:
                        views = self._views(frame, image, file, pillow_format)
                    view = next(views, None)
            except UndecodedError as error:
                self._fall_short(error.reason)
                return
            if view is None:
                return
            found = replace(frame, luma=view.luma, look=view.look)
            if view.image is not None:
                found = replace(
                    found, blocks_of=None, chroma=partial(self._chroma, found, view.image, file, "")
                )
            yield found

    def _views(
        self, frame: Frame, image: Image.Image, file: PictureFile, pillow_format: str
    ) -> Iterator[View]:
        """See `views_of`."""
        if self._tags is None or file is not self._file or pillow_format == "TIFF":
            tags = tags_of_picture(image, file, pillow_format)
            if file is self._file:
                self._tags = tags
        else:
            tags = self._tags
        if may_be_translucent(image):
            more = BYTES_MORE * image.width * image.height
            self._check_size(image, pillow_format, more=more, first=frame.part.number < 2)
        full = image
        if tags.profiles and pillow_format == "JPEG":
            opened = open_picture(file, pillow_format, self._limits.max_pixels, draft="")
            self._check_size(opened.image, pillow_format, more=opened.coefficients, first=True)
            full = opened.image
            full.load()
        return views_of(image, frame.luma, tags, full)

    def _chroma(
        self,
        frame: Frame,
        image: Image.Image | None,
        file: PictureFile,
        pillow_format: str,
        whole: bool,
        even: bool,
    ) -> Iterator[Frame]:
        """See `coloured_frames`; without an image, of the JPEG at the scale it was decoded at."""
        try:
            with reasons(file, pillow_format), salvaging():
                if image is None:
                    opened = open_picture(file, pillow_format, self._limits.max_pixels, draft="YCbCr")
                    image = opened.image
                    self._check_size(image, pillow_format, more=opened.coefficients, first=True)
                    image.load()
                planes = coloured_frames(frame, image, whole=whole, even=even)
        except UndecodedError as error:
            self._fall_short(error.reason)
            return
        yield from planes

    def _check_size(self, image: Image.Image, pillow_format: str = "", *, more: int = 0, first: bool) -> None:
        name = pillow_format or self._format
        check_size(image, name, self._file.size, self._limits.max_pixels, more=more, first=first)

    def _fall_short(self, reason: Reason) -> None:
        self.shortfall = self.shortfall or reason
