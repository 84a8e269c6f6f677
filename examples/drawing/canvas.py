"""A canvas with brushes for landscapes, deterministic for a seed."""

from __future__ import annotations

import math
import random
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFilter, ImageOps

Colour = tuple[int, int, int]
Line = list[float]

SCALE = 2
"""Everything is drawn this much larger, then shrunk, which smooths the edges."""


def fractal(
    rng: random.Random, size: tuple[int, int], cell: tuple[int, int], octaves: int = 4
) -> Image.Image:
    """Cloudy noise, mode L; `cell` is the width and height in pixels of its largest blobs."""
    picture = Image.new("L", size, 128)
    for octave in range(octaves):
        columns = max(2, size[0] * 2**octave // cell[0])
        rows = max(2, size[1] * 2**octave // cell[1])
        grain = Image.frombytes("L", (columns, rows), rng.randbytes(columns * rows))
        picture = Image.blend(
            picture, grain.resize(size, Image.Resampling.BICUBIC), 0.5 / (1 + 0.35 * octave)
        )
    return ImageOps.autocontrast(picture, cutoff=1)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """One colour at the top running into another at the bottom."""
    return ImageOps.colorize(Image.linear_gradient("L").resize(size), top, bottom)


def ridge(rng: random.Random, steps: int, level: float, rise: float, roughness: float = 0.5) -> Line:
    """Make a skyline by midpoint displacement: `steps` heights around `level`, in pixels from the top."""
    heights = [level + rng.uniform(-rise, rise), level + rng.uniform(-rise, rise)]
    while len(heights) < steps:
        between = [(a + b) / 2 + rng.uniform(-rise, rise) for a, b in pairwise(heights)]
        heights = [y for pair in zip(heights, between, strict=False) for y in pair] + [heights[-1]]
        rise *= roughness
    return heights


def height_at(line: Line, x: float, width: int) -> float:
    """Return the height of a ridge at one column."""
    return line[max(0, min(len(line) - 1, round(x / width * (len(line) - 1))))]


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (factor under 1) or lighter."""
    red, green, blue = (max(0, min(255, round(part * factor))) for part in colour)
    return red, green, blue


class Canvas:
    """A picture being painted from back to front, measured in pixels of the enlarged drawing."""

    def __init__(self, seed: int, width: int, height: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 (nothing here is secret)
        self.width = width * SCALE
        self.height = height * SCALE
        self.picture = Image.new("RGB", self.size)
        self.draw = ImageDraw.Draw(self.picture)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the enlarged drawing."""
        return self.width, self.height

    def finish(self) -> Image.Image:
        """Return the picture at its final size."""
        return self.picture.reduce(SCALE)

    def sky(self, top: Colour, bottom: Colour, cloud: Colour = (255, 255, 255)) -> None:
        """Paint a sky with clouds over the whole canvas."""
        self.picture.paste(gradient(self.size, top, bottom))
        puffs = fractal(self.rng, self.size, (self.width // 3, self.height // 5), 5)
        self.picture.paste(cloud, mask=puffs.point([max(0, min(230, (v - 120) * 3)) for v in range(256)]))

    def sun(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Paint a disc with a glow around it; position and radius are fractions of the canvas."""
        left, top, r = x * self.width, y * self.height, radius * self.height
        glow = Image.new("L", self.size)
        ImageDraw.Draw(glow).ellipse((left - 2 * r, top - 2 * r, left + 2 * r, top + 2 * r), fill=150)
        self.picture.paste(colour, mask=glow.filter(ImageFilter.GaussianBlur(r)))
        self.draw.ellipse((left - r, top - r, left + r, top + r), fill=colour)

    def ground(self, line: Line, dark: Colour, light: Colour, cell: tuple[int, int] = (60, 24)) -> None:
        """Textured land below a ridge."""
        mask = Image.new("L", self.size)
        step = self.width / (len(line) - 1)
        outline = [(i * step, y) for i, y in enumerate(line)]
        ImageDraw.Draw(mask).polygon([*outline, (self.width, self.height), (0, self.height)], fill=255)
        self.picture.paste(ImageOps.colorize(fractal(self.rng, self.size, cell), dark, light), mask=mask)

    def water(self, top: float, dark: Colour, light: Colour) -> None:
        """Water from `top` to the bottom edge, with waves that grow towards the viewer."""
        area = (self.width, self.height - round(top))
        ripples = fractal(self.rng, area, (90, 8), 3)
        self.picture.paste(ImageOps.colorize(ripples, dark, light), (0, round(top)))
        for _ in range(160):
            depth = self.rng.random() ** 1.5
            x, y = self.rng.uniform(0, self.width), top + depth * area[1]
            long = 10 + 60 * depth
            self.draw.line((x, y, x + long, y), fill=shade(light, 1.25), width=1 + round(3 * depth))

    def conifer(self, x: float, foot: float, tall: float, colour: Colour = (38, 84, 52)) -> None:
        """Paint a fir tree, lit from the left."""
        self.draw.rectangle((x - tall / 28, foot - tall / 6, x + tall / 28, foot), fill=(84, 60, 40))
        for tier in range(5):
            y = foot - tall * (0.1 + 0.17 * tier)
            half = tall * (0.26 - 0.042 * tier)
            tip = y - tall * 0.26
            self.draw.polygon([(x - half, y), (x, tip), (x, y)], fill=shade(colour, 1.25 + 0.05 * tier))
            self.draw.polygon([(x, y), (x, tip), (x + half, y)], fill=shade(colour, 0.8 + 0.05 * tier))

    def broadleaf(self, x: float, foot: float, tall: float, colour: Colour = (74, 128, 50)) -> None:
        """Paint a tree with a round crown made of many leaves."""
        self.draw.rectangle((x - tall / 20, foot - tall / 2, x + tall / 20, foot), fill=(92, 66, 44))
        for _ in range(150):
            angle, reach = self.rng.uniform(0, 2 * math.pi), math.sqrt(self.rng.random()) * tall * 0.34
            left, top = x + reach * math.cos(angle), foot - tall * 0.66 + reach * math.sin(angle)
            light = 0.75 - 0.5 * math.sin(angle + 0.8) * reach / tall + self.rng.uniform(-0.12, 0.3)
            r = tall * 0.055
            self.draw.ellipse((left - r, top - r, left + r, top + r), fill=shade(colour, light))

    def house(self, x: float, foot: float, wide: float, wall: Colour, roof: Colour) -> None:
        """Paint a cottage with its front to the viewer: door, windows, tiled roof and chimney."""
        tall = wide * 0.62
        left, right, eaves = x - wide / 2, x + wide / 2, foot - tall
        top = eaves - wide * 0.42
        self.draw.rectangle((x + wide * 0.2, top, x + wide * 0.3, eaves), fill=(128, 76, 62))
        self.draw.rectangle((left, eaves, right, foot), fill=wall)
        self.draw.rectangle((x + wide * 0.25, eaves, right, foot), fill=shade(wall, 0.86))
        self.draw.polygon([(left - wide * 0.08, eaves), (x, top), (right + wide * 0.08, eaves)], fill=roof)
        for row in range(1, 7):
            y = top + (eaves - top) * row / 7
            half = (wide * 0.58) * row / 7
            self.draw.line((x - half, y, x + half, y), fill=shade(roof, 0.78), width=2)
        self.draw.rectangle((x - wide * 0.08, foot - tall * 0.58, x + wide * 0.08, foot), fill=(96, 62, 40))
        for middle in (x - wide * 0.29, x + wide * 0.29):
            half, sill = wide * 0.1, foot - tall * 0.3
            self.draw.rectangle((middle - half, sill - 2 * half, middle + half, sill), fill=(250, 248, 240))
            self.draw.rectangle(
                (middle - half + 3, sill - 2 * half + 3, middle + half - 3, sill - 3), fill=(96, 128, 150)
            )
            self.draw.line((middle, sill - 2 * half, middle, sill), fill=(250, 248, 240), width=3)

    def wood(self, line: Line, count: int, tall: float, span: tuple[float, float] = (0, 1)) -> None:
        """Firs along a ridge, between two fractions of the width."""
        for x in sorted(self.rng.uniform(*span) for _ in range(count)):
            foot = height_at(line, x * self.width, self.width) + tall * 0.15
            self.conifer(x * self.width, foot, tall * self.rng.uniform(0.7, 1.2))
