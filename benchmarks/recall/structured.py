"""Draw pictures that perceptual hashes confuse: of lines, areas and letters.

Each kind has a dozen layouts, as forms, programs and shops have them, and every picture has contents of its
own: other words, digits, heights, colours. No two show the same.
"""

from __future__ import annotations

import io
import math
import random
import string
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw, ImageFilter

Drawing = Callable[[random.Random, random.Random, Image.Image, ImageDraw.ImageDraw], None]
"""Takes chance for the layout, chance for the contents, the picture, and what draws on it."""

SEED = 20261125
LAYOUTS = 12
_SIZES = ((640, 480), (800, 600), (600, 800), (720, 720), (1024, 576), (400, 300))


def _shade(rng: random.Random, low: int = 0, high: int = 255) -> tuple[int, int, int]:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _words(rng: random.Random, most: int) -> str:
    letters = string.ascii_lowercase
    text = ""
    while len(text) < most:
        text += "".join(rng.choices(letters, k=rng.randint(2, 9))) + " "
    return text[:most]


def _grid(layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    across, down = layout.randint(3, 20), layout.randint(3, 20)
    line = rng.randint(1, 6)
    draw.rectangle((0, 0, *image.size), _shade(rng, 170, 255))
    ink = _shade(rng, 0, 100)
    for number in range(across + 1):
        at = number * image.width // across
        draw.line((at, 0, at, image.height), ink, line)
    for number in range(down + 1):
        at = number * image.height // down
        draw.line((0, at, image.width, at), ink, line)


def _table(layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    columns, rows = layout.randint(3, 8), layout.randint(6, 24)
    high = image.height / (rows + 1)
    draw.rectangle((0, 0, image.width, high), _shade(layout, 60, 200))
    for row in range(rows + 1):
        draw.line((0, row * high, image.width, row * high), (150, 150, 150), 1)
        for column in range(columns):
            at = column * image.width / columns + 4, row * high + high / 4
            draw.text(at, _words(rng, rng.randint(3, 12)), (0, 0, 0), font_size=max(8, high / 2.2))
    for column in range(columns + 1):
        x = column * image.width // columns
        draw.line((x, 0, x, image.height), (150, 150, 150), 1)


def _stickers(
    layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw
) -> None:
    columns, rows = layout.randint(3, 8), layout.randint(3, 8)
    shape = layout.choice((draw.ellipse, draw.rectangle, None))
    gap = layout.uniform(0.05, 0.2)
    wide, high = image.width / columns, image.height / rows
    for row in range(rows):
        for column in range(columns):
            left, top = (column + gap) * wide, (row + gap) * high
            box = (left, top, left + wide * (1 - 2 * gap), top + high * (1 - 2 * gap))
            if shape is None:
                draw.rounded_rectangle(box, wide / 8, _shade(rng), (0, 0, 0), 2)
            else:
                shape(box, _shade(rng), (0, 0, 0), 2)


def _bar_code(
    layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw
) -> None:
    unit = max(2, image.width // layout.choice((80, 110, 140)))
    at = unit * 6
    while at < image.width - unit * 8:
        bar = unit * rng.randint(1, 4)
        draw.rectangle((at, image.height // 8, at + bar - 1, image.height * 3 // 4), (0, 0, 0))
        at += bar + unit * rng.randint(1, 4)
    digits = "".join(rng.choices(string.digits, k=13))
    draw.text((image.width // 4, image.height * 4 // 5), digits, (0, 0, 0), font_size=image.height // 9)


def _qr_code(
    layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw
) -> None:
    modules = layout.choice((21, 25, 29, 33))
    unit = min(image.size) // (modules + 8)
    left, top = (image.width - unit * modules) // 2, (image.height - unit * modules) // 2

    def square(x: int, y: int, side: int, colour: tuple[int, int, int]) -> None:
        box = (left + x * unit, top + y * unit, left + (x + side) * unit - 1, top + (y + side) * unit - 1)
        draw.rectangle(box, colour)

    for x in range(modules):
        for y in range(modules):
            if rng.random() < 0.5:
                square(x, y, 1, (0, 0, 0))
    for x, y in ((0, 0), (modules - 7, 0), (0, modules - 7)):
        square(x - (x > 0), y - (y > 0), 8, (255, 255, 255))
        for inset, colour in ((0, 0), (1, 255), (2, 0)):
            square(x + inset, y + inset, 7 - 2 * inset, (colour, colour, colour))


def _text(layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    dark = layout.random() < 0.3
    if dark:
        draw.rectangle((0, 0, *image.size), (25, 25, 30))
    ink = (220, 220, 220) if dark else (0, 0, 0)
    size = layout.randint(10, 26)
    top = size
    while top < image.height - size:
        indent = layout.choice((0, 0, 0, 2 * size))
        if layout.random() < 0.88:
            most = int((image.width - indent - 2 * size) / size * 2 * rng.uniform(0.5, 1))
            draw.text((size + indent, top), _words(rng, max(4, most)), ink, font_size=size)
        top += int(size * 1.35)


def _chart(layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    left, bottom = image.width // 10, image.height * 9 // 10
    draw.line((left, image.height // 12, left, bottom), (0, 0, 0), 2)
    draw.line((left, bottom, image.width * 19 // 20, bottom), (0, 0, 0), 2)
    number = layout.randint(4, 14)
    step = (image.width * 0.85) / number
    heights = [rng.uniform(0.1, 0.8) * image.height for _ in range(number)]
    colour = _shade(rng, 30, 200)
    if layout.random() < 0.5:
        for place, height in enumerate(heights):
            at = left + place * step + step / 6
            draw.rectangle((at, bottom - height, at + step * 2 / 3, bottom), colour)
    else:
        points = [(left + (place + 0.5) * step, bottom - height) for place, height in enumerate(heights)]
        draw.line(points, colour, 4)
    draw.text((image.width // 3, 2), _words(rng, 20), (0, 0, 0), font_size=image.height // 18)


def _logo(layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    side = min(image.size) * layout.uniform(0.3, 0.7)
    middle = image.width / 2, image.height * layout.uniform(0.35, 0.5)
    box = (middle[0] - side / 2, middle[1] - side / 2, middle[0] + side / 2, middle[1] + side / 2)
    kind = layout.randrange(4)
    if kind == 0:
        draw.ellipse(box, _shade(rng))
        inner = side * layout.uniform(0.1, 0.35)
        draw.ellipse(
            (middle[0] - inner, middle[1] - inner, middle[0] + inner, middle[1] + inner), (255, 255, 255)
        )
    elif kind == 1:
        draw.rounded_rectangle(box, side / layout.randint(3, 8), _shade(rng))
        draw.text(
            middle, rng.choice(string.ascii_uppercase), (255, 255, 255), anchor="mm", font_size=side / 1.6
        )
    elif kind == 2:
        draw.regular_polygon((*middle, side / 2), layout.randint(3, 8), layout.randint(0, 90), _shade(rng))
    else:
        draw.pieslice(box, layout.randint(0, 180), layout.randint(200, 340), _shade(rng))
    draw.text(
        (image.width / 2, image.height * 0.9), _words(rng, 9), (40, 40, 40), anchor="mm", font_size=side / 5
    )


def _gradient(
    layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw
) -> None:
    start, end = _shade(rng), _shade(rng)
    angle = layout.uniform(0, math.tau)
    ramp = Image.linear_gradient("L") if layout.random() < 0.6 else Image.radial_gradient("L")
    side = max(image.size) * 2
    ramp = ramp.resize((side, side)).rotate(math.degrees(angle))
    left, top = (side - image.width) // 2, (side - image.height) // 2
    mask = ramp.crop((left, top, left + image.width, top + image.height))
    image.paste(Image.composite(Image.new("RGB", image.size, start), Image.new("RGB", image.size, end), mask))


def _near_flat(
    layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw
) -> None:
    """Nearly white or black, with a little something: a scanned empty page, a dark frame of a film."""
    ground = rng.choice((rng.randint(0, 12), rng.randint(243, 255)))
    draw.rectangle((0, 0, *image.size), (ground,) * 3)
    for _ in range(rng.randint(1, 5)):
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        reach = rng.uniform(0.01, 0.12) * image.width
        value = abs(ground - rng.randint(5, 90))
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), (value,) * 3)
    image.paste(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 12))))


def _screen(layout: random.Random, rng: random.Random, image: Image.Image, draw: ImageDraw.ImageDraw) -> None:
    """Draw a chat or a settings page: a bar, and rows or bubbles with a few words each."""
    bar = image.height // 12
    draw.rectangle((0, 0, image.width, bar), _shade(rng, 40, 220))
    draw.text((bar, bar // 4), _words(rng, 12), (255, 255, 255), font_size=bar // 2)
    top = bar * 1.3
    while top < image.height - bar:
        lines = layout.randint(1, 3)
        high = lines * bar * 0.6 + bar * 0.3
        wide = image.width * layout.uniform(0.25, 0.65)
        left = layout.choice((bar / 3, image.width - wide - bar / 3))
        draw.rounded_rectangle((left, top, left + wide, top + high), bar / 4, _shade(rng, 190, 240))
        for line in range(lines):
            at = left + bar / 4, top + bar * (0.12 + 0.6 * line)
            draw.text(at, _words(rng, int(wide / bar * 3)), (20, 20, 20), font_size=bar * 0.45)
        top += high + bar * 0.25


KINDS: dict[str, Drawing] = {
    "grid": _grid,
    "table": _table,
    "sticker sheet": _stickers,
    "bar code": _bar_code,
    "QR code": _qr_code,
    "screen of text": _text,
    "chat": _screen,
    "chart": _chart,
    "logo": _logo,
    "gradient": _gradient,
    "nearly flat": _near_flat,
}
"""The drawings, by name."""


def drawn(kind: str, number: int) -> bytes:
    """Return the content of a file with one such picture; the same number gives the same picture."""
    layout = random.Random(f"{SEED} {kind} {number % LAYOUTS}")
    rng = random.Random(f"{SEED} {kind} {number} contents")
    image = Image.new("RGB", layout.choice(_SIZES), (255, 255, 255))
    KINDS[kind](layout, rng, image, ImageDraw.Draw(image))
    stream = io.BytesIO()
    if rng.random() < 0.5:
        image.save(stream, "PNG", compress_level=1)
    else:
        image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def names(number: int) -> Iterator[tuple[str, int]]:
    """Kinds and numbers of so many pictures, as many of each kind as of the others."""
    kinds = list(KINDS)
    for place in range(number):
        yield kinds[place % len(kinds)], place // len(kinds)
