"""Harmless pictures turned, negative or within a border, in frames, pages and icons after a file's first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from tests.container_attacks import icon
from tests.hashing.media.test_frames import exif
from tests.viewer_attacks import SHOWN, SIZE, STORED, beside_checks, chroma_of, framed, gif, grey, saved

BRIEF, LONG = 100, 60_000
"""Milliseconds."""


def shown() -> Image.Image:
    """The picture."""
    return Image.fromarray(grey(SHOWN))


def decoy() -> Image.Image:
    """Another one."""
    return Image.fromarray(grey(STORED)).convert("RGB")


def turned() -> Image.Image:
    """The picture turned by a quarter."""
    return shown().transpose(Image.Transpose.ROTATE_90).resize(SIZE).convert("RGB")


def negative() -> Image.Image:
    """The picture in the brightness that its negative has."""
    return ImageOps.invert(shown()).convert("RGB")


def bordered() -> Image.Image:
    """The picture within a border."""
    return framed(shown()).resize(SIZE)


def sequence(form: str, images: list[Image.Image], **options: object) -> bytes:
    """One file of several pictures."""
    return saved(images[0], form, save_all=True, append_images=images[1:], **options)


def in_the_middle(form: str, image: Image.Image, **options: object) -> bytes:
    """An animation that goes round for ever and stays at the picture for a minute of each."""
    images = [decoy(), image, decoy().rotate(180)]
    return sequence(form, images, duration=[BRIEF, LONG, BRIEF], loop=0, **options)


def at_the_end(form: str, image: Image.Image, **options: object) -> bytes:
    """An animation that ends with the picture."""
    return sequence(form, [decoy(), image], duration=BRIEF, loop=1, **options)


def chroma_behind_equal_brightness() -> bytes:
    """An animation whose frames differ in colours alone, beside squares of much contrast."""
    other, shown = (beside_checks(chroma_of(seed)).convert("RGB") for seed in (STORED, SHOWN))
    return sequence("PNG", [other, shown, other], duration=[BRIEF, LONG, BRIEF], loop=0)


def in_pieces() -> bytes:
    """An animation that shows the picture for more than a second, never for long at once."""
    images, times = [decoy()], [BRIEF]
    for _ in range(15):
        images += [turned(), decoy().rotate(180)]
        times += [90, 20]
    return sequence("WEBP", images, duration=times, loop=0, quality=90)


def behind_brief_one() -> bytes:
    """The picture in a short frame first, which the long one repeats."""
    images = [decoy(), turned(), decoy().rotate(180), turned(), decoy()]
    return sequence("WEBP", images, duration=[BRIEF, BRIEF, BRIEF, LONG, BRIEF], loop=0, quality=90)


def until_a_key_is_pressed() -> bytes:
    """A frame that a GIF asks to be kept until somebody does something, however short its time."""
    planes = [(np.asarray(image.convert("L")) // 17, None, 1) for image in (decoy(), turned(), decoy())]
    content = bytearray(gif(planes, bytes(grey for step in range(16) for grey in (17 * step,) * 3)))
    place = content.index(b"!\xf9", content.index(b"!\xf9") + 1)
    content[place + 3] |= 2
    return bytes(content)


def in_a_preview() -> bytes:
    """A photo whose preview is another picture."""
    preview = saved(turned().resize((160, 120)), "JPEG", quality=90)
    return saved(decoy(), "JPEG", quality=90, exif=exif(1, preview))


def small(image: Image.Image) -> bytes:
    """For an icon."""
    return saved(image.resize((192, 144)), "PNG")


ATTACKS: dict[str, Callable[[], bytes]] = {
    "turned-middle.gif": lambda: in_the_middle("GIF", turned()),
    "turned-middle.png": lambda: in_the_middle("PNG", turned()),
    "turned-middle.webp": lambda: in_the_middle("WEBP", turned(), quality=90),
    "turned-middle.avif": lambda: in_the_middle("AVIF", turned(), max_threads=1),
    "negative-middle.webp": lambda: in_the_middle("WEBP", negative(), quality=90),
    "bordered-middle.webp": lambda: in_the_middle("WEBP", bordered(), quality=90),
    "turned-end.gif": lambda: at_the_end("GIF", turned()),
    "turned-end.png": lambda: at_the_end("PNG", turned()),
    "turned-end.webp": lambda: at_the_end("WEBP", turned(), quality=90),
    "turned-end.avif": lambda: at_the_end("AVIF", turned(), max_threads=1),
    "negative-end.gif": lambda: at_the_end("GIF", negative()),
    "bordered-end.png": lambda: at_the_end("PNG", bordered()),
    "turned-pieces.webp": in_pieces,
    "turned-again.webp": behind_brief_one,
    "turned-key.gif": until_a_key_is_pressed,
    "chroma-middle.png": chroma_behind_equal_brightness,
    "turned-page.tif": lambda: sequence("TIFF", [decoy(), turned()]),
    "negative-page.tif": lambda: sequence("TIFF", [decoy(), negative()]),
    "bordered-page.tif": lambda: sequence("TIFF", [decoy(), bordered()]),
    "turned-beside.jpg": lambda: sequence("MPO", [decoy(), turned()]),
    "turned-preview.jpg": in_a_preview,
    "turned.ico": lambda: icon([(8, small(decoy())), (32, small(turned()))]),
    "negative.ico": lambda: icon([(8, small(decoy())), (32, small(negative()))]),
}
"""By file name. In each a viewer shows the picture of seed `SHOWN` in one of these ways."""
