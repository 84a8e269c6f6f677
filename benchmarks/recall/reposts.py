"""Alter photographs in the 108 ways of `near_copies.py`, as people do when they publish a picture again.

A crop, or a border, of p % takes away or adds p % of the width at the left and right together, and p % of the
height at the top and bottom together; "one side" takes all of it from one side, drawn by lot. Unless an
alteration says otherwise, it returns a JPEG of quality 85. Chance comes from a generator that depends on the
photo and the alteration, so that every run draws the same files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from benchmarks.recall.alterations import BLACK, WHITE, Colour, encoded

Repost = Callable[[Image.Image, Random, Sequence[Image.Image]], bytes]
"""Takes the photo, chance, and at least three other photos."""
Change = Callable[[Image.Image], Image.Image]

_CUBIC = Image.Resampling.BICUBIC
_ORIENTATION = 274
_WORDS = (
    "nobody",
    "knows",
    "where",
    "this",
    "picture",
    "came",
    "from",
    "but",
    "they",
    "share",
    "it",
    "again",
)


def _text(chance: Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8, size))


def _always(change: Change, form: str = "JPEG", **options: int) -> Repost:
    return _by_chance(lambda image, _: change(image), form, **options)


def _by_chance(
    change: Callable[[Image.Image, Random], Image.Image], form: str = "JPEG", **options: int
) -> Repost:
    def alter(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
        return encoded(change(image, chance), form, **options)

    return alter


def _scaled(image: Image.Image, across: float, down: float) -> Image.Image:
    return image.resize((max(1, round(image.width * across)), max(1, round(image.height * down))), _CUBIC)


def _within(image: Image.Image, width: float, height: float) -> Image.Image:
    factor = min(width / image.width, height / image.height)
    return _scaled(image, factor, factor)


def _thumbnail(side: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        small = image.copy()
        small.thumbnail((side, side), _CUBIC)
        return small

    return change


def _curve(image: Image.Image, exponent: float) -> Image.Image:
    return image.point([round(255 * (grey / 255) ** exponent) for grey in range(256)] * 3)


def _enhanced(
    image: Image.Image, kind: Callable[[Image.Image], ImageEnhance._Enhance], factor: float
) -> Image.Image:
    return kind(image).enhance(factor)


def _blurred(image: Image.Image, share: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * max(image.size)))


def _sepia(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(image.convert("L"), (32, 18, 4), (255, 238, 205))


def _hue(image: Image.Image) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(grey + 64) % 256 for grey in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _picture(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _noisy(image: Image.Image, chance: Random, deviation: float, grain: int = 1) -> Image.Image:
    values = np.asarray(image, np.float64)
    rng = np.random.default_rng(chance.getrandbits(32))
    shape = (-(-values.shape[0] // grain), -(-values.shape[1] // grain), 3 if grain == 1 else 1)
    noise = rng.normal(0, deviation, shape).repeat(grain, 0).repeat(grain, 1)
    return _picture(values + noise[: values.shape[0], : values.shape[1]])


def _vignette(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float64)
    down = np.linspace(-1, 1, values.shape[0])[:, None, None]
    across = np.linspace(-1, 1, values.shape[1])[None, :, None]
    return _picture(values * (1 - 0.75 * ((down**2 + across**2) / 2) ** 1.2))


def _toned(
    image: Image.Image, ends: Sequence[tuple[int, int, float]], contrast: float, colour: float
) -> Image.Image:
    tables = [
        round(low + (high - low) * (grey / 255) ** bend) for low, high, bend in ends for grey in range(256)
    ]
    return ImageEnhance.Contrast(ImageEnhance.Color(image.point(tables)).enhance(colour)).enhance(contrast)


def _halved(image: Image.Image) -> Image.Image:
    """Return the picture in black and white, as much of the one as of the other."""
    grey = image.convert("L")
    median = int(np.median(np.asarray(grey)))
    return grey.point([255 * (value >= median) for value in range(256)])


def _cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    box = (
        round(width * left),
        round(height * top),
        width - round(width * right),
        height - round(height * bottom),
    )
    return image.crop(box)


def _cut_evenly(image: Image.Image, share: float) -> Image.Image:
    return _cut(image, share, share, share, share)


def _cut_one_side(share: float) -> Repost:
    def alter(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
        sides = [0.0] * 4
        sides[chance.randrange(4)] = share
        return encoded(_cut(image, *sides))

    return alter


def _cut_anyhow(most: float) -> Repost:
    return _by_chance(lambda image, chance: _cut(image, *(chance.uniform(0, most) for _ in range(4))))


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    return ImageOps.fit(image, (side, side), _CUBIC)


def _rotated(degrees: float, *, cropped: bool) -> Repost:
    """Rotate to either side; with black corners, or cropped to the largest rectangle without any."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))

    def change(image: Image.Image, chance: Random) -> Image.Image:
        turned = image.rotate(degrees * chance.choice((1, -1)), _CUBIC, expand=not cropped)
        if not cropped:
            return turned
        width, height = image.size
        shrunk = cosine**2 - sine**2
        across = 1 - (cosine - sine * height / width) / shrunk
        down = 1 - (cosine - sine * width / height) / shrunk
        return _cut(turned, across / 2, down / 2, across / 2, down / 2)

    return _by_chance(change)


def _bordered(share: float, colour: Colour) -> Change:
    return lambda image: ImageOps.expand(
        image, (round(image.width * share / 2), round(image.height * share / 2)), colour
    )


def _coloured_border(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    return encoded(
        _bordered(0.1, (chance.randrange(256), chance.randrange(256), chance.randrange(256)))(image)
    )


def _over_blurred_copy(width: int, height: int, share: float = 1.0) -> Change:
    """Put the picture before a blurred and enlarged copy of it, as sites of short videos fill bands."""

    def change(image: Image.Image) -> Image.Image:
        ground = ImageOps.fit(image, (width, height), _CUBIC).filter(ImageFilter.GaussianBlur(width / 25))
        ground = ImageEnhance.Brightness(ground).enhance(0.75)
        front = _within(image, width * share, height * share)
        ground.paste(front, ((width - front.width) // 2, (height - front.height) // 2))
        return ground

    return change


def _over_blurred_square(image: Image.Image) -> Image.Image:
    side = max(image.size)
    nearly_square = side - min(image.size) < 0.1 * side
    return _over_blurred_copy(side, side, 0.85 if nearly_square else 1.0)(image)


def _barred(image: Image.Image, chance: Random, share: float, place: str) -> Image.Image:
    """Add a bar with text over the lowest part of the picture, below or above it."""
    bar = round(image.height * share)
    fill, ink = chance.choice(((WHITE, BLACK), (BLACK, WHITE)))
    result = Image.new("RGB", (image.width, image.height + (bar if place != "over" else 0)), fill)
    result.paste(image, (0, bar if place == "above" else 0))
    top = 0 if place == "above" else result.height - bar
    draw = ImageDraw.Draw(result)
    draw.rectangle((0, top, result.width, top + bar - 1), fill)
    middle = (result.width // 2, top + bar // 2)
    draw.text(middle, _text(chance, 4), ink, _font(bar / 3), anchor="mm")
    return result


def _captioned(share: float, place: str) -> Repost:
    return _by_chance(lambda image, chance: _barred(image, chance, share, place))


def _over(image: Image.Image, layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _dark_band(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    high, top = image.height * 0.09, image.height * chance.uniform(0.45, 0.75)
    draw.rectangle((0, top, image.width, top + high), (0, 0, 0, 150))
    draw.text((image.width / 2, top + high / 2), _text(chance, 5), WHITE, _font(high / 2), anchor="mm")
    return encoded(_over(image, layer))


def _meme(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    result = image.copy()
    draw = ImageDraw.Draw(result)
    for height, anchor in ((0.03, "ma"), (0.97, "md")):
        text, size = _text(chance, 4).upper(), image.width / 11
        while draw.textlength(text, _font(size)) > 0.96 * image.width and size > 8:
            size *= 0.95
        place = (image.width / 2, image.height * height)
        draw.text(
            place, text, WHITE, _font(size), anchor, stroke_width=max(1, int(size / 12)), stroke_fill=BLACK
        )
    return encoded(result)


def _signed(image: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    place = (image.width * 0.97, image.height * 0.97)
    ImageDraw.Draw(layer).text(place, "@some_user", (*WHITE, 200), _font(image.width / 18), anchor="rd")
    return _over(image, layer)


def _marked_across(image: Image.Image) -> Image.Image:
    side = math.ceil(math.hypot(*image.size))
    layer = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(layer)
    for row, top in enumerate(range(0, side, image.width // 5)):
        for left in range(-40 * (row % 3), side, image.width // 2):
            draw.text((left, top), "example.org", (*WHITE, 110), _font(image.width / 14))
    layer = layer.rotate(30)
    left, top = (side - image.width) // 2, (side - image.height) // 2
    return _over(image, layer.crop((left, top, left + image.width, top + image.height)))


def _sticker(share: float) -> Repost:
    """Cover a share of the picture by a round face."""

    def alter(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
        result = image.copy()
        draw = ImageDraw.Draw(result)
        side = min(math.sqrt(share * image.width * image.height / (math.pi / 4)), *image.size)
        left, top = chance.uniform(0, image.width - side), chance.uniform(0, image.height - side)
        colour = chance.choice(((255, 204, 50), (250, 190, 40), (235, 60, 60), (90, 190, 90)))

        def box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
            return left + x0 * side, top + y0 * side, left + x1 * side, top + y1 * side

        draw.ellipse(box(0, 0, 1, 1), colour, (120, 80, 20), max(1, int(side / 40)))
        for x in (0.3, 0.6):
            draw.ellipse(box(x, 0.28, x + 0.12, 0.46), (70, 40, 10))
        draw.chord(box(0.22, 0.35, 0.78, 0.85), 10, 170, (110, 30, 20))
        return encoded(result)

    return alter


def _two_tiles(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    tiles = [image, ImageOps.fit(others[0], image.size, _CUBIC)]
    chance.shuffle(tiles)
    result = Image.new("RGB", (2 * image.width, image.height))
    for place, tile in enumerate(tiles):
        result.paste(tile, (place * image.width, 0))
    return encoded(result)


def _four_tiles(gap: int, *, square: bool = False) -> Repost:
    def alter(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
        size = (300, 300) if square else image.size
        tiles = [ImageOps.fit(picture, size, _CUBIC) for picture in (image, *others[:3])]
        chance.shuffle(tiles)
        width, height = size
        result = Image.new("RGB", (2 * width + 3 * gap, 2 * height + 3 * gap), WHITE)
        for place, tile in enumerate(tiles):
            result.paste(tile, (gap + place % 2 * (width + gap), gap + place // 2 * (height + gap)))
        result.thumbnail((1000, 1000))
        return encoded(result)

    return alter


_PHONE = (450, 900)


def _phone(ground: Colour, ink: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a phone's screen with its status bar."""
    screen = Image.new("RGB", _PHONE, ground)
    draw = ImageDraw.Draw(screen)
    draw.text((16, 8), "9:41", ink, _font(16))
    draw.rectangle((404, 11, 432, 25), outline=ink)
    draw.rectangle((406, 13, 424, 23), ink)
    return screen, draw


def _chat(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    screen, draw = _phone((236, 229, 221), BLACK)
    draw.rectangle((0, 36, 450, 100), (10, 95, 85))
    draw.text((70, 55), "Anna", WHITE, _font(20))
    mine, theirs = (220, 248, 198), WHITE

    def bubble(top: int) -> int:
        text = _text(chance, chance.randint(2, 4))
        width = draw.textlength(text, _font(16)) + 24
        left, fill = chance.choice(((12.0, theirs), (438 - width, mine)))
        draw.rounded_rectangle((left, top, left + width, top + 36), 10, fill)
        draw.text((left + 12, top + 8), text, BLACK, _font(16))
        return top + 46

    top = 115
    for _ in range(chance.randint(1, 3)):
        top = bubble(top)
    width, height = 320, min(round(image.height * 320 / image.width), 440)
    left = chance.choice((16, 450 - width - 16))
    draw.rounded_rectangle((left - 5, top, left + width + 5, top + height + 30), 10, mine)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), 8, 255)
    screen.paste(ImageOps.fit(image, (width, height), _CUBIC), (left, top + 5), mask)
    top += height + 42
    while top < 780:
        top = bubble(top)
    draw.rounded_rectangle((10, 840, 380, 886), 20, WHITE)
    return encoded(screen, "PNG")


def _gallery(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    screen, draw = _phone(BLACK, WHITE)
    draw.text((20, 55), "< 24 March", WHITE, _font(18))
    shown = _within(image, 450, 680)
    screen.paste(shown, ((450 - shown.width) // 2, (900 - shown.height) // 2))
    for place in range(35, 450, 90):
        draw.ellipse((place, 840, place + 25, 865), outline=WHITE, width=2)
    return encoded(screen, "PNG")


def _post(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    screen, draw = _phone(WHITE, BLACK)
    draw.ellipse((12, 48, 48, 84), (150, 90, 160))
    draw.text((60, 55), "some_user", BLACK, _font(16))
    height = min(round(image.height * 450 / image.width), 560)
    screen.paste(ImageOps.fit(image, (450, height), _CUBIC), (0, 95))
    for place in range(14, 134, 40):
        draw.ellipse((place, height + 107, place + 24, height + 131), outline=BLACK, width=2)
    for top in range(height + 143, 810, 24):
        draw.text((14, top), _text(chance, 6), (40, 40, 40), _font(15))
    return encoded(screen, "PNG")


def _web_page(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    page = Image.new("RGB", (1280, 800), WHITE)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 1280, 70), (222, 225, 230))
    draw.text((140, 42), "https://example.org/article/17", BLACK, _font(14))
    draw.rectangle((0, 70, 220, 800), (245, 246, 248))
    for top in range(100, 600, 36):
        draw.text((24, top), _text(chance, 2), (60, 60, 120), _font(15))
    draw.text((250, 95), _text(chance, 6).title(), BLACK, _font(28))
    shown = _within(image, 640, 440)
    page.paste(shown, (250, 150))
    for top in range(170 + shown.height, 770, 24):
        draw.text((250, top), _text(chance, 12), BLACK, _font(15))
    for top in range(150, 750, 30):
        draw.text((960, top), _text(chance, 4), (80, 80, 80), _font(15))
    return encoded(page, "PNG")


def _corner(chance: Random, outer: tuple[int, int], inner: tuple[int, int], gap: int) -> tuple[int, int]:
    return chance.choice((gap, outer[0] - inner[0] - gap)), chance.choice((gap, outer[1] - inner[1] - gap))


def _small_in_other(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    ground = ImageOps.fit(others[0], (640, 480), _CUBIC)
    front = _within(image, 0.45 * 640, 0.45 * 480)
    ground.paste(front, _corner(chance, ground.size, front.size, 20))
    return encoded(ground)


def _other_in_corner(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    result = image.copy()
    front = ImageOps.fit(others[0], (round(image.width * 0.3), round(image.height * 0.3)), _CUBIC)
    result.paste(front, _corner(chance, image.size, front.size, round(image.width * 0.02)))
    return encoded(result)


Corners = Sequence[tuple[float, float]]


def _plane_map(corners: Corners, onto: Corners) -> list[float]:
    """Return the eight numbers by which Pillow maps each point of `onto` to that of `corners`."""
    rows, values = [], []
    for (x, y), (u, v) in zip(onto, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved: list[float] = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return solved


def _tilted(image: Image.Image, chance: Random, share: float, ground: Colour | None) -> Image.Image:
    """View the picture aslant: within it, or, with a ground, all of it."""
    width, height = image.size
    whole = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    inwards = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    moved = [
        (x + right * width * chance.uniform(0, share), y + below * height * chance.uniform(0, share))
        for (x, y), (right, below) in zip(whole, inwards, strict=True)
    ]
    numbers = _plane_map(moved, whole) if ground is None else _plane_map(whole, moved)
    return image.transform(image.size, Image.Transform.PERSPECTIVE, numbers, _CUBIC, fillcolor=ground)


def _aslant(share: float, ground: Colour | None = None) -> Repost:
    return _by_chance(lambda image, chance: _tilted(image, chance, share, ground))


def _photographed_screen(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    """Draw a photo of a screen: moiré, uneven light, the screen's frame, a slant, blur and noise."""
    values = np.asarray(_within(image, 800, 800), np.float64)
    down, across = np.mgrid[: values.shape[0], : values.shape[1]].astype(np.float64)
    angle, period = chance.uniform(0.05, 0.3), chance.uniform(5, 9)
    phase = (across * math.cos(angle) + down * math.sin(angle)) * math.tau / period
    waves = np.stack([np.sin(phase + 2.1 * channel) for channel in range(3)], axis=-1)
    lines = np.sin(down * math.tau / chance.uniform(20, 60))[..., None]
    values = values * (1 + 0.1 * waves + 0.06 * lines) * (0.85 + 0.25 * across / values.shape[1])[..., None]
    framed = ImageOps.expand(_picture(values), (60, 50), (20, 20, 24))
    seen = _tilted(framed, chance, 0.04, (70, 65, 60)).filter(ImageFilter.GaussianBlur(0.8))
    return encoded(_noisy(seen, chance, 8), quality=75)


def _transparent_border(image: Image.Image) -> Image.Image:
    result = Image.new("RGBA", (round(image.width * 1.2), round(image.height * 1.2)))
    result.paste(image, ((result.width - image.width) // 2, (result.height - image.height) // 2))
    return result


def _round_corners(image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size)
    radius = min(image.size) // 6
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, 255)
    result = image.convert("RGBA")
    result.putalpha(mask)
    return result


def _sixteen_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _third_frame(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    frames = [ImageOps.fit(other, image.size, _CUBIC) for other in others[:3]]
    frames.insert(2, image)
    first, *more = (frame.quantize(256, Image.Quantize.FASTOCTREE) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=more, duration=300, loop=0)
    return stream.getvalue()


def _by_exif(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    stream = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(stream, "JPEG", quality=85, exif=exif)
    return stream.getvalue()


def _saved(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, quality=quality)))


def _sent_on(image: Image.Image, chance: Random, others: Sequence[Image.Image]) -> bytes:
    small = _scaled(_cut(image, *(chance.uniform(0, 0.015) for _ in range(4))), 0.7, 0.7)
    bright = ImageEnhance.Brightness(ImageEnhance.Contrast(small).enhance(1.15)).enhance(1.08)
    return encoded(_scaled(_saved(bright, 60), 0.8, 0.8), quality=45)


def _mirrored_and_cut(image: Image.Image) -> Image.Image:
    return _scaled(ImageOps.mirror(_cut_evenly(image, 0.01)), 0.6, 0.6)


def _signed_and_framed(image: Image.Image) -> Image.Image:
    return _bordered(0.06, BLACK)(_saved(_signed(_scaled(image, 0.7, 0.7)), 85))


def _turned(method: Image.Transpose) -> Change:
    return lambda image: image.transpose(method)


def _same(image: Image.Image) -> Image.Image:
    return image


def _of_values() -> Iterator[tuple[str, Repost]]:
    for quality in (10, 30, 60):
        yield f"jpeg {quality}", _always(_same, quality=quality)
    for name, factor in (
        ("half size", 0.5),
        ("quarter size", 0.25),
        ("eighth size", 0.125),
        ("double size", 2),
    ):
        yield name, _always(partial(_scaled, across=factor, down=factor))
    for side in (200, 160, 128, 64):
        yield f"thumbnail {side}", _always(_thumbnail(side), quality=80)
    yield "grey", _always(lambda image: image.convert("L"))
    yield "sepia", _always(_sepia)
    for name, share in (("blur", 0.004), ("strong blur", 0.012)):
        yield name, _always(partial(_blurred, share=share))
    yield "sharpened", _always(lambda image: image.filter(ImageFilter.UnsharpMask(3, 200)))
    for name, factor in (("brighter by 30 %", 1.3), ("darker by 30 %", 0.7)):
        yield name, _always(partial(_enhanced, kind=ImageEnhance.Brightness, factor=factor))
    for name, factor in (("contrast 150 %", 1.5), ("contrast 60 %", 0.6)):
        yield name, _always(partial(_enhanced, kind=ImageEnhance.Contrast, factor=factor))
    for exponent in (0.5, 2):
        yield f"gamma {exponent}", _always(partial(_curve, exponent=exponent))
    for name, factor in (("saturation 30 %", 0.3), ("saturation 200 %", 2)):
        yield name, _always(partial(_enhanced, kind=ImageEnhance.Color, factor=factor))
    yield "hue by 90 degrees", _always(_hue)
    yield "noise", _by_chance(lambda image, chance: _noisy(image, chance, 25))


def _of_shape() -> Iterator[tuple[str, Repost]]:
    yield "mirrored", _always(ImageOps.mirror)
    yield "upside down", _always(ImageOps.flip)
    yield "turned 90", _always(_turned(Image.Transpose.ROTATE_270))
    yield "turned 180", _always(_turned(Image.Transpose.ROTATE_180))
    yield "turned 270", _always(_turned(Image.Transpose.ROTATE_90))
    yield "negative", _always(ImageOps.invert)
    for degrees in (2, 5, 10):
        yield f"rotated {degrees}, black corners", _rotated(degrees, cropped=False)
        yield f"rotated {degrees}, cropped", _rotated(degrees, cropped=True)
    for percent in (2, 5, 10, 20, 30):
        yield f"crop {percent} %", _always(partial(_cut_evenly, share=percent / 200))
        yield f"crop {percent} % one side", _cut_one_side(percent / 100)
    yield "crop 0 to 6 % each side", _cut_anyhow(0.06)
    yield "crop to a square", _always(_square)
    for percent in (10, 25):
        yield f"narrowed by {percent} %", _always(partial(_scaled, across=1 - percent / 100, down=1))
    for colour, value, widths in (("white", WHITE, (2, 5, 10, 20)), ("black", BLACK, (5, 20))):
        for percent in widths:
            yield f"border {percent} % {colour}", _always(_bordered(percent / 100, value))
    yield "border 10 % coloured", _coloured_border
    yield "blurred copy 9:16", _always(_over_blurred_copy(450, 800))
    yield "blurred copy square", _always(_over_blurred_square)


def _with_more() -> Iterator[tuple[str, Repost]]:
    for percent in (10, 15, 20):
        yield f"caption {percent} % over it", _captioned(percent / 100, "over")
    for place in ("below", "above"):
        yield f"caption 15 % {place}", _captioned(0.15, place)
    yield "dark band with text", _dark_band
    yield "meme text", _meme
    yield "watermark in the corner", _always(_signed)
    yield "watermark across", _always(_marked_across)
    for percent in (5, 10):
        yield f"sticker {percent} %", _sticker(percent / 100)
    yield "collage of 2", _two_tiles
    yield "collage of 4", _four_tiles(0)
    yield "collage of 4, gaps", _four_tiles(12)
    yield "collage of 4, squares", _four_tiles(0, square=True)
    yield "screenshot of a chat", _chat
    yield "screenshot of a gallery", _gallery
    yield "screenshot of a post", _post
    yield "screenshot of a web page", _web_page
    yield "small in another", _small_in_other
    yield "another in the corner", _other_in_corner
    for percent in (3, 8):
        yield f"perspective {percent} %", _aslant(percent / 100)
    yield "perspective 8 %, dark ground", _aslant(0.08, (40, 40, 40))
    yield "photo of a screen", _photographed_screen


def _of_form() -> Iterator[tuple[str, Repost]]:
    yield "gif", _always(_same, "GIF")
    yield "16 colours", _always(lambda image: image.quantize(16, dither=Image.Dither.NONE), "PNG")
    yield "webp 30", _always(_same, "WEBP", quality=30)
    yield "avif 30", _always(_same, "AVIF", quality=30, speed=9)
    yield "heic 30", _always(_same, "HEIF", quality=30)
    yield "png", _always(_same, "PNG", compress_level=1)
    yield "transparent border 20 %", _always(_transparent_border, "PNG", compress_level=1)
    yield "transparent corners", _always(_round_corners, "PNG", compress_level=1)
    yield "cmyk", _always(lambda image: image.convert("CMYK"))
    yield "png of 16 bits, grey", _always(_sixteen_bit, "PNG", compress_level=1)
    warm = ((40, 255, 0.85), (30, 240, 1.0), (50, 200, 1.15))
    cold = ((0, 230, 1.25), (0, 250, 1.0), (20, 255, 0.8))
    yield "filter, warm and faded", _always(lambda image: _toned(image, warm, 0.9, 0.8))
    yield "filter, cold and hard", _always(lambda image: _toned(image, cold, 1.35, 1.3))
    yield "vignette", _always(_vignette)
    yield "film grain", _by_chance(lambda image, chance: _noisy(image, chance, 30, 2))
    yield "vintage", _by_chance(lambda image, chance: _noisy(_vignette(_sepia(image)), chance, 30, 2))
    yield "black and white", _always(_halved, "PNG")
    yield "dithered", _always(lambda image: image.convert("1"), "PNG")
    yield "third frame of a gif", _third_frame
    yield "turned by EXIF", _by_exif
    yield "cut twice, smaller twice", _sent_on
    yield "mirrored and cut 2 %", _always(_mirrored_and_cut, quality=50)
    yield "watermark and border", _always(_signed_and_framed, quality=50)


REPOSTS = dict(chain(_of_values(), _of_shape(), _with_more(), _of_form()))
"""By name, in the order of the table."""
