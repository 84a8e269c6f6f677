"""Decode untrusted picture files to brightness: every frame and page, and their embedded previews.

Call this only inside the sandbox: Pillow and the libraries that it uses parse hostile bytes here.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from functools import cached_property, partial
from itertools import chain, count
from math import inf
from typing import cast

from msgspec import structs
from PIL import Image

from hashscan.hashing.avif_items import has_hidden_alternatives, other_pictures
from hashscan.hashing.container_kinds import LOSSLESS_DECODER
from hashscan.hashing.decoding_faults import bytes_behind, decoding_faults
from hashscan.hashing.embedded.directories import (
    PNG_SIGNATURE,
    HasInfo,
    MemoryFile,
    is_unsupported_tiff,
    mac_icons,
    orientation_of,
    other_directories,
    pictures_beside,
    previews_of,
    swap_avif_brand,
)
from hashscan.hashing.embedded.metadata import jpegs_behind, pictures_in_metadata
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import SVG
from hashscan.hashing.media import animation
from hashscan.hashing.media.faulty_animations import has_frames, read_faulty
from hashscan.hashing.media.jpeg_header import (
    LARGEST_FILE,
    PlainHeader,
    is_unsupported_jpeg,
    read_header,
    read_lossless_header,
    scale_of,
)
from hashscan.hashing.media.jpeg_xl import read_jxl_header
from hashscan.hashing.media.luma_alpha import colours_of, luma_of, may_be_translucent
from hashscan.hashing.media.other_readings import (
    Found,
    beyond_palette,
    bitmap_frames,
    frames_by_header,
    multiplied_frames,
    opacity_frames,
    run_length_frames,
)
from hashscan.hashing.media.partial_pictures import decoded_part, has_whole_scan
from hashscan.hashing.media.picture_loading import PictureLoader
from hashscan.hashing.media.picture_opening import (
    BYTES_PER_PIXEL,
    DRAFT_SIDE,
    MISSING,
    Frame,
    Limits,
    OpenPicture,
    UndecodedError,
    allow_truncated,
    check_pixels,
    convert_errors,
    open_picture,
    set_pixel_limit,
)
from hashscan.hashing.media.png_data import end_of_data, ending_at, may_end_early
from hashscan.hashing.media.repairs import patched, repaired_files, repairs_of
from hashscan.hashing.media.views import (
    over_backgrounds,
)
from hashscan.hashing.media.windows_bitmaps import icons_of
from hashscan.hashing.pillow_internals import decode_jpeg, note_end
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import fault_of
from hashscan.hashing.svg.rendering import draw
from hashscan.hashing.svg.values import RefusedError
from hashscan.hashing.tiff_pieces import decode_pieces
from hashscan.hashing.variants import WHOLE, Kind, Part
from hashscan.model import Reason

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("AVIF", "FLI", "GIF", "PNG", "WEBP"), Kind.FRAME),
    **dict.fromkeys(("DCX", "TIFF"), Kind.PAGE),
    **dict.fromkeys(("CUR", "HEIF", "ICO", "JPEG"), Kind.FURTHER),
}
"""By Pillow's name of a format, the kind of a file's further pictures. Other formats have one picture to
show: the largest of an ICNS, the merged layers of a PSD."""

_SALVAGEABLE = frozenset({Reason.TRUNCATED, Reason.BROKEN})
_OF_ONE_PAGE = frozenset({*_SALVAGEABLE, Reason.UNSUPPORTED, Reason.TOO_LARGE})
"""Reasons why a page is not decoded behind which others can be; frames build on those before them."""
_ODD = frozenset({Reason.UNSUPPORTED, Reason.BROKEN, Reason.TRUNCATED})
_JPEG_START = b"\xff\xd8\xff"
_HEIF_PREVIEW_SIDE = 32
_FIRST_IN_METADATA, _FIRST_BEHIND, _FIRST_IN_DIRECTORY = 1001, 1001, 2001
"""The numbers of the first pictures that no index of the file names."""


def decode_frames(
    file: PreadFile, picture_format: FileFormat, limits: Limits | None = None
) -> Iterator[Frame]:
    """Decode the pictures of a file one after another: its first, its previews, then its further ones.

    After each come the views in which viewers show it differently from how it is stored. Frames of an
    animation are composed, as a viewer shows them. Viewers show the readable part of a truncated or corrupt
    picture, so this part is decoded here, too: nobody can hide a picture by cutting off its last bytes.

    Args:
        picture_format: the format recognised by `sniff`; the file is decoded as this format or not at all.

    Raises:
        UndecodedError: a part of the file or all of it was not decoded; raised after the last decoded frame.
    """
    if picture_format.pillow is None or picture_format.pillow in MISSING:
        raise UndecodedError(Reason.UNSUPPORTED)
    if picture_format == SVG:
        yield from _drawn_frames(file, limits or Limits())
        return
    reader = _Reader(file, picture_format.pillow, limits or Limits())
    for frames in (reader.first(), reader.previews(), reader.further(), reader.beside()):
        yield from reader.guarded(frames)
    is_tiff = picture_format.pillow == "TIFF"
    if reader.shortfall is Reason.BROKEN and is_tiff and is_unsupported_tiff(file):
        raise UndecodedError(Reason.UNSUPPORTED)
    if reader.shortfall is not None:
        raise UndecodedError(reader.shortfall, reader.fault)


def _drawn_frames(file: PreadFile, limits: Limits) -> Iterator[Frame]:
    """Yield a drawing, and once more if it has other colours for viewers that prefer dark ones.

    Raises:
        UndecodedError: as of `decode_frames`.
    """
    try:
        drawn = draw(file)
    except RefusedError as error:
        raise UndecodedError(Reason.UNSUPPORTED) from error
    except MemoryError:
        raise
    except Exception as error:
        raise UndecodedError(Reason.PART_FAILED, fault_of(error)) from error
    for number, content in enumerate(drawn.contents, start=1):
        reader = _Reader(PreadFile(content), "PNG", limits)
        for frame in reader.guarded(reader.first()):
            yield frame if number == 1 else structs.replace(frame, part=Part(Kind.FURTHER, number))
        if reader.shortfall is not None:
            raise UndecodedError(reader.shortfall, reader.fault)
    if drawn.broken:
        raise UndecodedError(Reason.BROKEN)


class _Reader(PictureLoader):
    """The state of decoding the pictures of one file."""

    def __init__(self, file: PreadFile, pillow_format: str, limits: Limits) -> None:
        super().__init__(file, pillow_format, limits)
        self._original = file
        self._opened: OpenPicture | None = None
        self._plain: PlainHeader | None = None
        self._intact = False
        """True if the first picture was decoded completely."""
        self._read_to: list[int] = []
        """The offset up to which Pillow has read the data of a PNG, if it has decoded all rows."""
        self._indexed: set[tuple[int, int]] = set()
        """Offset and length of the JPEGs that an index names."""
        self._animation_fault: Reason | None = None
        """The reason why an animated PNG is not read as an animation; None if it is, or isn't animated."""

    def first(self) -> Iterator[Frame]:
        """Yield the picture that a viewer shows first, and its views."""
        plain = self._plain_jpeg() if self._format == "JPEG" else None
        if plain is not None:
            yield plain
            return
        if self._format in {"CUR", "ICO"}:
            yield from self._icons()
            return
        if self._format == "BMP" and (runs := self._found(run_length_frames(self._file, self._limits))):
            yield from runs
            return
        try:
            frame, image = self._load_first()
        except UndecodedError as error:
            if self._format == "BMP" and error.reason in _ODD:
                odd, reason = bitmap_frames(self._file, self._limits)
                if odd and reason is None:
                    yield from odd
                    yield from self._found(opacity_frames(self._file, odd[0]))
                    return
            if self._format == "TIFF" and is_unsupported_tiff(self._file):
                # What was recorded is that libtiff failed.
                self.shortfall = None
                yield from self._pieced_tiff()
                return
            if self._format == "JPEG" and is_unsupported_jpeg(self._file):
                # What was recorded is that libjpeg failed.
                self.shortfall = None
                yield from self._lossless_jpeg()
                return
            found = self._load_repaired() if error.reason in _SALVAGEABLE else None
            if found is None:
                yield from self._salvaged(error.reason, 0, WHOLE)
                return
            frame, image = found
        yield from self._shown(frame, image, self._file, self._format)
        yield from self._read_otherwise(frame, image)

    def _pieced_tiff(self) -> Iterator[Frame]:
        """Yield the first picture of a TIFF that Pillow can't decode as a whole."""
        started = time.process_time()
        most = self._limits.max_pixels * BYTES_PER_PIXEL
        try:
            with convert_errors(self._file, self._format):
                set_pixel_limit(self._limits.max_pixels)
                found = decode_pieces(
                    self._file, most, lambda number: self._check_all(0, number, time.process_time() - started)
                )
        except UndecodedError as error:
            self._fall_short(error.reason)
            return
        if not found.whole:
            self._fall_short(Reason.UNSUPPORTED)
        for number, image in enumerate(found.images, start=1):
            self._pixels += image.width * image.height
            yield Frame(
                luma_of(image),
                *image.size,
                orientation=found.orientation if 1 <= found.orientation <= 8 else 1,
                part=WHOLE if number == 1 else Part(Kind.FURTHER, number),
                colours=partial(colours_of, image),
            )

    def _lossless_jpeg(self) -> Iterator[Frame]:
        """Yield a JPEG that Pillow can't decode, as if it were the PNG that has the same pixels."""
        try:
            with convert_errors(self._file, self._format):
                self._file.seek(0)
                content = self._file.read(self._file.size)
                header = read_lossless_header(content)
                decoder = sys.modules.get(LOSSLESS_DECODER)
                if header is None or decoder is None:
                    raise UndecodedError(Reason.UNSUPPORTED)
                self._plain, self._opened = header.plain, None
                decoded = decoder.decode_lossless(content, header, self._limits.max_pixels)
                file = PreadFile(decoded.png)
                opened = open_picture(file, "PNG", self._limits.max_pixels)
                frame = self._frame(opened, WHOLE, "PNG")
        except UndecodedError as error:
            self._fall_short(error.reason)
            return
        yield from self._shown(frame, opened.image, file, "PNG")
        if not decoded.whole:
            self._fall_short(Reason.BROKEN)
        if len(header.profiles) > 1:
            self._fall_short(Reason.UNSUPPORTED)

    def _read_otherwise(self, frame: Frame, image: Image.Image) -> Iterator[Frame]:
        """Yield the first picture in the ways in which browsers read it and Pillow does not."""
        if self._format == "PNG":
            yield from self._tried(lambda: beyond_palette(image, frame)) or ()
            if self._tried(self._ends_early) and not (yield from self._over_page()):
                self._fall_short(Reason.BROKEN)
        elif self._format == "AVIF":
            yield from self._tried(lambda: multiplied_frames(self._file, self._limits.max_pixels)) or ()
        elif self._format == "BMP":
            if not may_be_translucent(image):
                yield from self._found(opacity_frames(self._file, frame))
            yield from self._found(frames_by_header(self._file, self._limits))

    def _load_first(self) -> tuple[Frame, Image.Image]:
        """Open and load the first picture.

        Raises:
            UndecodedError: it can't be decoded.
        """
        with convert_errors(self._file, self._format), warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", UserWarning)
            self._opened = opened = open_picture(self._file, self._format, self._limits.max_pixels)
            self._read_to = note_end(opened.image) if self._format == "PNG" else []
            frame = self._frame(opened, WHOLE)
        self._intact = True
        if any(warning.category is UserWarning for warning in noted):
            # For example, a still picture is loaded in place of an animation.
            self._note_frames(self._file)
            if self._format != "PNG":
                self._fall_short(Reason.BROKEN)
        return frame, opened.image

    def _ends_early(self) -> bool:
        """Return True if viewers may show fewer rows of a PNG than Pillow, which has decoded all of them."""
        read_to = self._read_to[0] if self._read_to else 0
        return may_end_early(self._file, read_to) and not end_of_data(self._file).complete

    def _note_frames(self, file: PreadFile) -> None:
        """Record that an animated PNG was read as a still picture."""
        if self._format == "PNG" and self._tried(lambda: has_frames(file)):
            self._animation_fault = Reason.BROKEN

    def _faulty_animation(self, reason: Reason) -> Iterator[list[Frame]]:
        """Yield all that viewers may compose of an animation with faults, each over all backgrounds."""
        started = time.process_time()

        def check(pixels: int, number: int) -> None:
            self._pixels += pixels
            self._check_all(pixels, number, time.process_time() - started)

        found = read_faulty(self._original, self._format, self._limits, check)
        if not found.known:
            self._fall_short(reason)
        for number, (black, alpha, seconds) in enumerate(found.composed(self._limits), start=2):
            check(alpha.size, number)
            frame = Frame(black, *found.size, part=Part(Kind.FRAME, number), seconds=seconds)
            yield [
                structs.replace(frame, luma=view.luma, look=view.look)
                for view in over_backgrounds(black, alpha)
            ]

    def _load_repaired(self) -> tuple[Frame, Image.Image] | None:
        """Load the first picture without faults beside its pixels; if this fails, too, return None."""
        original = self._file
        for file, shortfall in self._each(repaired_files(original, self._format)):
            self._file = file
            try:
                found = self._load_first()
            except UndecodedError:
                continue
            if shortfall is not None:
                self._fall_short(shortfall)
            self._note_frames(original)
            return found
        return None

    def _plain_jpeg(self) -> Frame | None:
        """Decode an ordinary JPEG without opening it in Pillow; return None for any other file."""
        if self._file.size > LARGEST_FILE:
            return None
        try:
            content = self._file.hold()
            header = read_header(content)
            if header is None:
                return None
            scale = scale_of(header.size, DRAFT_SIDE)
            check_pixels(
                2 * (header.size[0] // scale + 1) * (header.size[1] // scale + 1), self._limits.max_pixels
            )
            faults = decoding_faults()
            luma = decode_jpeg(content, header.size, scale)
        except (OSError, MemoryError, UndecodedError):
            # Pillow fails in the same way later, when it is known what else can be decoded of the file.
            return None
        if luma is None:
            return None
        self._note_faults(faults)
        self._plain = header
        left = bytes_behind()
        self._file.end_of_picture = None if left is None else self._file.size - left
        self._pixels += luma.size
        width, height = header.size
        frame = Frame(luma, width, height, (height, width) if scale > 1 else None, orientation_of(header))
        return structs.replace(
            frame,
            colours=partial(self._colours, None, self._file, "JPEG"),
            chroma=partial(self._chroma, frame, None, self._file, "JPEG"),
        )

    def _found(self, found: Found) -> list[Frame]:
        """Return frames, and record why not all was decoded."""
        frames, reason = found
        if reason is not None:
            self._fall_short(reason)
        return frames

    def previews(self) -> Iterator[Frame]:
        """Yield the previews (thumbnails) that file managers show in place of the picture."""
        described = self._described
        if described is None or (self._format == "JPEG" and "exif" not in described.info):
            return
        try:
            with convert_errors(self._file, self._format):
                sources = previews_of(described, self._file, self._format)
        except UndecodedError:
            # No viewer can show such previews.
            return
        for number, source in enumerate(sources, start=1):
            part = Part(Kind.PREVIEW, number if len(sources) > 1 else 0)
            yield from self.guarded(self._jpeg(source, part))
        if self._format == "HEIF" and (sizes := described.info.get("thumbnails")):
            yield from self._heif_preview()
            if len(sizes) > 1:
                self._fall_short(Reason.UNSUPPORTED)

    def further(self) -> Iterator[Frame]:
        """Yield the pictures after the first: frames, pages, further pictures and composed animations."""
        if self._format == "JXL":
            header = self._tried(lambda: read_jxl_header(self._file))
            if header is not None and (header.animated or header.inks):
                # The plug-in decodes the first frame only, and leaves inks out.
                self._fall_short(Reason.UNSUPPORTED)
        described = self._described
        if described is None or self._format not in _KINDS or self._format in {"CUR", "ICO"}:
            return
        if self._format == "JPEG":
            beside = self._tried(lambda: pictures_beside(described, self._file)) or []
            self._indexed = {source.place[1:] for source in beside}
            for number, source in enumerate(beside, start=2):
                yield from self.guarded(self._jpeg(source, Part(Kind.FURTHER, number)))
        else:
            yield from self.guarded(self.further_frames())
        if self._format == "AVIF":
            yield from self.guarded(self._other_avif())
            yield from self.guarded(self._other_items())
        if self._format == "HEIF" and self._tried(lambda: has_hidden_alternatives(self._file)):
            self._fall_short(Reason.UNSUPPORTED)
        if self._format == "GIF" or (
            self._format == "PNG" and self._tried(lambda: animation.is_animated_png(self._file))
        ):
            yield from chain.from_iterable(self._each(self._composed()))
        if self._animation_fault is not None:
            yield from chain.from_iterable(
                self._each(self._faulty_animation(self._animation_fault), truncated=False)
            )

    def beside(self) -> Iterator[Frame]:
        """Yield the pictures in the metadata of the first one, and JPEGs behind it."""
        described = self._described
        if described is None:
            return
        found = self._tried(lambda: pictures_in_metadata(described, self._original, self._format))
        if found is not None:
            for number, source in enumerate(found.sources, start=_FIRST_IN_METADATA):
                is_png = source.read(1) == PNG_SIGNATURE[:1]
                frames = (
                    self._read_again(source, number, "PNG")
                    if is_png
                    else self._jpeg(source, Part(Kind.PREVIEW, number))
                )
                yield from self.guarded(frames)
            if found.reason is not None:
                self._fall_short(found.reason)
        yield from self._in_other_directories(described)
        if self._format == "ICNS":
            icons = self._tried(lambda: mac_icons(self._original)) or ()
            for number, (file, only) in enumerate(icons, start=_FIRST_IN_DIRECTORY):
                yield from self.guarded(self._read_again(file, number, only))
        behind = self._tried(lambda: jpegs_behind(self._original, self._format)) or ()
        for number, source in enumerate(behind, start=_FIRST_BEHIND):
            if source.place[1:] in self._indexed:
                continue
            yield from self.guarded(self._jpeg(source, Part(Kind.FURTHER, number)))

    def _in_other_directories(self, described: HasInfo) -> Iterator[Frame]:
        """Yield the pictures of a TIFF, or of EXIF data, that no viewer of pages shows."""
        found = self._tried(lambda: other_directories(described, self._original, self._format))
        if found is None:
            return
        files, more = found
        if more:
            self._fall_short(Reason.TOO_MANY)
        for number, file in enumerate(files, start=_FIRST_IN_DIRECTORY):
            yield from self.guarded(self._read_again(file, number, "TIFF"))

    def further_frames(self) -> Iterator[Frame]:
        """Yield the frames of an animation after the first, or the further pages."""
        if self._opened is not None and self._intact:
            image = self._opened.image
            if self._tried(lambda: getattr(image, "is_animated", False)):
                yield from self._frames(image)

    def _other_avif(self) -> Iterator[Frame]:
        """Yield the other content of an AVIF that has a still picture and a sequence: viewers show either."""
        content = self._tried(lambda: swap_avif_brand(self._file))
        if content is not None:
            # A MemoryFile has all methods that are needed for this format.
            yield from self._read_again(cast("PreadFile", MemoryFile(content)), 2)

    def _other_items(self) -> Iterator[Frame]:
        """Yield the pictures of an AVIF beside its primary one."""
        for number, patches in enumerate(self._tried(lambda: other_pictures(self._original)) or (), start=3):
            yield from self._read_again(cast("PreadFile", patched(self._original, patches)), number)

    def _read_again(self, file: PreadFile, number: int, only: str = "") -> Iterator[Frame]:
        """Yield the pictures of the file as it is read with changes, the first as a further one.

        Args:
            only: Pillow's name of the format if the first picture alone is wanted.
        """
        left = structs.replace(self._limits, total_pixels=self._limits.total_pixels - self._pixels)
        reader = _Reader(file, only or self._format, left)
        frames = reader.first() if only else chain(reader.first(), reader.further_frames())
        for count_of, frame in enumerate(frames, start=number):
            yield structs.replace(
                frame, part=Part(Kind.FURTHER, count_of) if frame.part == WHOLE else frame.part
            )
        self._pixels += reader._pixels
        if reader.shortfall is not None:
            self._fall_short(reader.shortfall, reader.fault)

    def _icons(self) -> Iterator[Frame]:
        """Yield all pictures of an icon. Viewers differ in which one they show, and take for the largest."""
        started = time.process_time()
        try:
            with convert_errors(self._file, self._format):
                entries = icons_of(self._file)
        except UndecodedError as error:
            self._fall_short(error.reason)
            return
        shown = 0
        for number, (offset, load) in enumerate(entries, start=1):
            part = Part(Kind.FURTHER, shown + 1) if shown else WHOLE
            try:
                if load is None:
                    # A PNG.
                    self._check_all(0, number, time.process_time() - started)
                    shown += yield from self._png_icon(offset, part)
                    continue
                frame, image = self._icon(load, part, number, time.process_time() - started)
            except UndecodedError as error:
                self._fall_short(error.reason)
                if load is None or error.reason in {Reason.TIMEOUT, Reason.TOO_MANY}:
                    return
                try:
                    with allow_truncated():
                        frame, image = self._icon(load, part, number, time.process_time() - started)
                except UndecodedError:
                    continue
            shown += 1
            yield from self._shown(frame, image, self._file, self._format)
        if not shown:
            self._fall_short(Reason.BROKEN)

    def _png_icon(self, offset: int, part: Part) -> Generator[Frame, None, bool]:
        """Yield a PNG in an icon, which is read like others; return True if anything of it was decoded."""
        reader = _Reader(self._file.subfile(offset), "PNG", self._limits)
        shown = False
        for frame in reader.first():
            shown = True
            yield structs.replace(frame, part=part) if frame.part == WHOLE else frame
        self._pixels += reader._pixels
        if reader.shortfall is not None:
            self._fall_short(reader.shortfall, reader.fault)
        return shown

    def _icon(
        self, load: Callable[[], Image.Image], part: Part, number: int, seconds: float
    ) -> tuple[Frame, Image.Image]:
        with convert_errors(self._file, self._format):
            set_pixel_limit(self._limits.max_pixels)
            image = load()
            self._check_all(image.width * image.height, number, seconds)
            return self._frame(OpenPicture(image, image.size), part), image

    def _composed(self) -> Iterator[list[Frame]]:
        """Yield an animation's frames over all backgrounds, if browsers don't compose it as Pillow does."""
        started = time.process_time()
        size, pieces = self._pieces
        last = len(pieces)
        if self._opened is not None:
            last = min(last, animation.frames_known(self._opened.image))
        if last == len(pieces) and not animation.composition_differs(size, pieces, self._format):
            return
        composed = animation.compose_frames(size, pieces, self._limits.max_pixels)
        for number, (black, alpha) in enumerate(composed, start=1):
            self._pixels += alpha.size
            self._check_all(alpha.size, number, time.process_time() - started)
            height, width = alpha.shape
            part = WHOLE if number == 1 else Part(_KINDS[self._format], number)
            seconds = inf if number == 1 or number >= last else pieces[number - 1].seconds
            yield [
                Frame(view.luma, width, height, part=part, look=view.look, seconds=seconds)
                for view in over_backgrounds(black, alpha)
            ]

    @cached_property
    def _pieces(self) -> tuple[tuple[int, int], list[animation.AnimationFrame]]:
        """Canvas size and frames of a GIF or animated PNG before they are composed."""
        return animation.pieces_of(self._file, self._format)

    def _seconds(self, image: Image.Image, place: int) -> float:
        """Return the display time of the frame that was just loaded; infinite if it is not an animation's."""
        if _KINDS[self._format] is not Kind.FRAME:
            return inf
        try:
            with convert_errors(self._file, self._format):
                pieces = self._pieces[1] if self._format in {"GIF", "PNG"} else None
        except UndecodedError:
            # The failure is recorded when the frames are composed.
            return inf
        return animation.frame_seconds(image, place, pieces)

    @property
    def _described(self) -> HasInfo | None:
        """The opened picture, from Pillow or from the plain JPEG reader; None if there is none."""
        return self._opened.image if self._opened is not None else self._plain

    def _frames(self, image: Image.Image) -> Iterator[Frame]:
        shown = image.tell()
        started = time.process_time()
        number = 1
        for place in count():
            if place == shown:
                continue
            moved = False
            part = Part(_KINDS[self._format], number + 1)
            try:
                with convert_errors(self._file, self._format):
                    # Moving to the second frame of a GIF converts the first to a colour mode.
                    self._check_size(image, first=False)
                    try:
                        image.seek(place)
                    except EOFError:
                        return
                    moved = True
                    number += 1
                    self._check_all(image.width * image.height, number, time.process_time() - started)
                    frame = self._frame(OpenPicture(image, image.size), part)
                    frame = structs.replace(frame, seconds=self._seconds(image, place))
            except UndecodedError as error:
                yield from self._salvaged(error.reason, place, part)
                if moved and part.kind is not Kind.FRAME and error.reason in _OF_ONE_PAGE:
                    continue
                return
            yield from self._shown(frame, image, self._file, self._format)

    def _jpeg(self, source: PreadFile | MemoryFile, part: Part, *, repaired: bool = False) -> Iterator[Frame]:
        """Yield a JPEG embedded in the file, as far as it is complete, and its views."""
        source.seek(0)
        if source.read(len(_JPEG_START)) != _JPEG_START:
            # Programs that rewrite a picture drop the data after it, but keep the index that refers to them.
            return
        faults = decoding_faults()
        try:
            with convert_errors(source, "JPEG"), allow_truncated():
                opened = open_picture(source, "JPEG", self._limits.max_pixels)
                frame = self._frame(opened, part, "JPEG")
        except UndecodedError as error:
            repair = None if repaired else next(repairs_of(source, "JPEG"), None)
            if repair is None:
                self._fall_short(error.reason)
            else:
                yield from self._jpeg(patched(source, repair[0]), part, repaired=True)
        else:
            if not source.ran_out:
                self._note_faults(faults)
            yield from self._shown(frame, opened.image, source, "JPEG")

    def _heif_preview(self) -> Iterator[Frame]:
        def load() -> tuple[Frame, Image.Image] | None:
            image = open_picture(self._file, self._format, self._limits.max_pixels).image
            if image.draft("L", (_HEIF_PREVIEW_SIDE, _HEIF_PREVIEW_SIDE)) is None:
                return None
            return self._frame(OpenPicture(image, image.size), Part(Kind.PREVIEW)), image

        loaded = self._tried(load)
        if loaded is not None:
            yield from self._shown(*loaded, self._file, self._format)

    def _salvaged(self, reason: Reason, place: int, part: Part) -> Iterator[Frame]:
        """Yield the readable part of a picture, if it could not be decoded because it is damaged."""
        if reason not in _SALVAGEABLE or self._format in {"HEIF", "JXL"}:
            # The libraries decode all of a picture or nothing.
            self._fall_short(reason)
            return
        if place and self._format in {"GIF", "PNG"}:
            self._animation_fault = reason
            return
        try:
            with convert_errors(self._file, self._format), allow_truncated():
                opened = open_picture(self._file, self._format, self._limits.max_pixels)
                if place:
                    opened.image.seek(place)
                    opened = OpenPicture(opened.image, opened.image.size)
                frame = self._frame(opened, part)
        except UndecodedError:
            self._fall_short(reason)
            return
        self._opened = self._opened or opened
        yield from self._shown(frame, opened.image, self._file, self._format)
        # Of a picture in several scans, browsers show those before the damage, as libjpeg does.
        in_scans = reason is Reason.TRUNCATED and opened.coefficients > 0 and has_whole_scan(self._file)
        if place or not (in_scans or (yield from self._over_page())):
            self._fall_short(reason)

    def _over_page(self) -> Generator[Frame, None, bool]:
        """Yield the decoded part of a damaged picture over the page; return True if no more is shown."""
        ends = self._tried(lambda: end_of_data(self._file)) if self._format == "PNG" else None
        for number, end in enumerate((ends and ends.places) or (self._file.size,), start=2):
            try:
                with convert_errors(self._file, self._format), ending_at(self._file, end):
                    found = decoded_part(self._file, self._format, self._limits.max_pixels)
            except UndecodedError:
                return False
            tags = self._tags
            if tags is None or tags.unreadable or (tags.profiles and self._format == "JPEG"):
                return False
            if found is None:
                # Of a PNG, Chromium shows nothing where others show some rows.
                return number > 2
            image, (width, height), rows = found
            self._reduced = None
            blocks_of = (height, width) if image.size != found.stored else None
            frame = Frame(luma_of(image), width, height, blocks_of, orientation_of(image))
            yield from self._shown(frame, image, self._file, self._format)
            if rows < image.height:
                # The part alone, as a copy that was cropped to it.
                part = Part(Kind.FURTHER, number)
                yield structs.replace(frame, luma=frame.luma[:rows], part=part, blocks_of=None)
        return True
