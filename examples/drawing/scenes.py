"""The harmless scenes of the sample uploads, a function each."""

from __future__ import annotations

import math

from PIL import Image, ImageFilter, ImageOps

from .canvas import Canvas, Colour, fractal, height_at, ridge, shade


def hills() -> Image.Image:
    """Draw rolling hills with two cottages under a morning sun."""
    c = Canvas(101, 640, 440)
    c.sky((92, 152, 214), (240, 226, 200))
    c.sun(0.74, 0.2, 0.055, (255, 244, 190))
    for level, rise, dark, light in (
        (0.42, 0.09, (104, 128, 158), (140, 162, 184)),
        (0.52, 0.07, (70, 112, 104), (122, 156, 128)),
        (0.64, 0.05, (64, 110, 52), (150, 178, 84)),
    ):
        line = ridge(c.rng, 65, c.height * level, c.height * rise)
        c.ground(line, dark, light)
        c.wood(line, 26, c.height * (level - 0.36) * 0.6)
    front = ridge(c.rng, 65, c.height * 0.8, c.height * 0.03)
    c.ground(front, (86, 128, 44), (196, 204, 96), (40, 16))
    c.house(c.width * 0.3, height_at(front, c.width * 0.3, c.width) + 20, 190, (238, 226, 200), (176, 84, 62))
    c.house(c.width * 0.5, height_at(front, c.width * 0.5, c.width) + 40, 150, (222, 214, 206), (120, 84, 74))
    c.broadleaf(c.width * 0.12, c.height * 0.9, 300)
    c.broadleaf(c.width * 0.82, c.height * 0.92, 340, (96, 138, 48))
    return c.finish()


def lighthouse() -> Image.Image:
    """Draw a striped lighthouse on a rock above the sea."""
    c = Canvas(202, 640, 480)
    c.sky((70, 130, 200), (232, 222, 206))
    c.sun(0.2, 0.24, 0.05, (255, 240, 196))
    far = [*ridge(c.rng, 33, c.height * 0.55, 20)[:26], *[float(c.height)] * 39]
    c.ground(far, (84, 110, 104), (134, 152, 126))
    c.water(c.height * 0.6, (28, 84, 122), (108, 168, 186))
    rock = [c.height * 1.02 - (0.36 * c.height) * math.exp(-(((i / 64 - 0.7) / 0.2) ** 2)) for i in range(65)]
    rock = [y + c.rng.uniform(-12, 12) for y in rock]
    c.ground(rock, (74, 66, 62), (172, 160, 140), (50, 60))
    x, foot, top = c.width * 0.7, c.height * 0.7, c.height * 0.17
    for band in range(8):
        upper, lower = (foot + (top - foot) * part / 8 for part in (band + 1, band))
        wide, narrow = (74 - 30 * part / 8 for part in (band, band + 1))
        colour = (196, 52, 44) if band % 2 else (244, 240, 230)
        c.draw.polygon(
            [(x - wide, lower), (x - narrow, upper), (x + narrow, upper), (x + wide, lower)], fill=colour
        )
        edge = [(x + wide * 0.3, lower), (x + narrow * 0.3, upper), (x + narrow, upper), (x + wide, lower)]
        c.draw.polygon(edge, fill=shade(colour, 0.8))
    c.draw.rectangle((x - 58, top - 10, x + 58, top), fill=(60, 60, 66))
    c.draw.rectangle((x - 32, top - 66, x + 32, top - 10), fill=(252, 232, 150))
    for bar in range(-30, 31, 15):
        c.draw.line((x + bar, top - 66, x + bar, top - 10), fill=(60, 60, 66), width=4)
    c.draw.pieslice((x - 40, top - 106, x + 40, top - 30), 180, 360, fill=(176, 44, 40))
    c.house(c.width * 0.555, c.height * 0.8, 150, (240, 234, 222), (150, 70, 56))
    for _ in range(9):
        left, y = c.rng.uniform(0.06, 0.52) * c.width, c.rng.uniform(0.08, 0.44) * c.height
        c.draw.arc((left, y, left + 26, y + 16), 190, 330, fill=(70, 74, 84), width=4)
        c.draw.arc((left + 22, y, left + 48, y + 16), 210, 350, fill=(70, 74, 84), width=4)
    return c.finish()


def lake() -> Image.Image:
    """Mountains with snow over a lake that mirrors them."""
    c = Canvas(303, 640, 420)
    shore = round(c.height * 0.56)
    c.sky((58, 112, 186), (244, 206, 176), (255, 238, 226))
    peaks = [max(50.0, y) for y in ridge(c.rng, 65, c.height * 0.27, c.height * 0.16, 0.6)]
    c.ground(peaks, (206, 214, 232), (255, 255, 255), (40, 70))
    snow = c.height * 0.25
    rock = [max(y, snow + (26 if i % 2 else -26) + c.rng.uniform(-16, 16)) for i, y in enumerate(peaks)]
    c.ground(rock, (78, 86, 112), (166, 164, 182), (40, 70))
    slope = ridge(c.rng, 65, c.height * 0.48, 34)
    c.ground(slope, (52, 84, 70), (110, 140, 96))
    c.wood(slope, 60, 76)
    mirror = ImageOps.flip(c.picture.crop((0, 2 * shore - c.height, c.width, shore)))
    mirror = Image.blend(mirror, Image.new("RGB", mirror.size, (40, 84, 120)), 0.35)
    c.water(shore, (40, 84, 120), (150, 186, 200))
    below = c.picture.crop((0, shore, c.width, c.height))
    c.picture.paste(Image.blend(below, mirror.filter(ImageFilter.GaussianBlur(3)), 0.66), (0, shore))
    bank = [c.height * 0.99 - 90 * (i / 64 - 0.35) ** 2 * 4 + c.rng.uniform(-5, 5) for i in range(65)]
    c.ground(bank, (70, 90, 44), (170, 168, 98), (30, 20))
    c.draw.polygon([(250, 640), (560, 640), (520, 690), (290, 690)], fill=(146, 74, 48))
    c.draw.polygon([(250, 640), (560, 640), (552, 652), (258, 652)], fill=(206, 150, 96))
    c.draw.line((392, 640, 392, 400), fill=(98, 70, 50), width=8)
    c.draw.polygon([(402, 410), (402, 620), (540, 620)], fill=(250, 244, 226))
    c.draw.polygon([(382, 430), (382, 620), (296, 620)], fill=(226, 96, 70))
    c.conifer(c.width * 0.9, c.height * 0.9, 420, (30, 70, 48))
    c.conifer(c.width * 0.97, c.height * 0.96, 500, (30, 70, 48))
    return c.finish()


def balloon(c: Canvas, x: float, y: float, r: float, colours: tuple[Colour, ...]) -> None:
    """Draw a hot-air balloon with coloured gores."""
    for side in (-1, -0.4, 0.4, 1):
        c.draw.line(
            (x + side * r * 0.5, y + r * 0.8, x + side * r * 0.18, y + r * 1.5), fill=(90, 80, 70), width=2
        )
    c.draw.polygon(
        [
            (x - r * 0.8, y + r * 0.55),
            (x + r * 0.8, y + r * 0.55),
            (x + r * 0.22, y + r * 1.25),
            (x - r * 0.22, y + r * 1.25),
        ],
        fill=shade(colours[0], 0.8),
    )
    for gore, part in enumerate((1.0, 0.78, 0.52, 0.2)):
        c.draw.ellipse((x - r * part, y - r, x + r * part, y + r), fill=colours[gore % len(colours)])
    c.draw.rectangle((x - r * 0.19, y + r * 1.48, x + r * 0.19, y + r * 1.74), fill=(132, 92, 56))


def balloons(drift: float = 0) -> Image.Image:
    """Balloons over fields; `drift` moves them, in fractions of the width."""
    c = Canvas(404, 480, 360)
    c.sky((104, 168, 226), (250, 230, 206))
    c.ground(ridge(c.rng, 65, c.height * 0.6, 40), (112, 140, 140), (160, 178, 160))
    field = ridge(c.rng, 65, c.height * 0.72, 14)
    c.ground(field, (96, 134, 54), (200, 196, 100), (70, 20))
    for furrow in range(-14, 30):
        c.draw.line(
            (c.width * 0.5 + furrow * 14, c.height * 0.75, c.width * 0.5 + furrow * 90, c.height),
            fill=(120, 132, 54),
            width=4,
        )
    c.wood(field, 18, 60)
    red, gold, white, blue, green = (
        (206, 62, 50),
        (242, 190, 70),
        (248, 242, 228),
        (52, 96, 168),
        (70, 140, 90),
    )
    for x, y, r, colours in (
        (0.25, 0.28, 92, (red, gold)),
        (0.6, 0.2, 62, (blue, white)),
        (0.82, 0.42, 76, (green, gold, white)),
    ):
        balloon(c, (x + drift) * c.width, (y - drift / 3) * c.height, r, colours)
    return c.finish()


def village() -> Image.Image:
    """Draw a street of coloured houses with a church below wooded hills."""
    c = Canvas(505, 600, 400)
    c.sky((120, 172, 214), (246, 232, 208))
    back = ridge(c.rng, 65, c.height * 0.36, 60)
    c.ground(back, (70, 108, 84), (140, 166, 116))
    c.wood(back, 40, 84)
    c.ground(ridge(c.rng, 65, c.height * 0.62, 20), (112, 146, 70), (186, 196, 108))
    c.draw.rectangle((560, 230, 650, 560), fill=(236, 228, 210))
    c.draw.polygon([(548, 232), (605, 70), (662, 232)], fill=(96, 104, 116))
    c.draw.ellipse((584, 262, 626, 304), fill=(250, 248, 240), outline=(90, 70, 50), width=4)
    paints = (
        (226, 186, 120),
        (204, 216, 200),
        (232, 200, 186),
        (180, 200, 216),
        (240, 230, 196),
        (214, 170, 150),
    )
    for i, paint in enumerate(paints):
        c.house(110 + i * 198, 600 - (i % 2) * 24, 176, paint, ((168, 78, 58), (128, 72, 62))[i % 2])
    c.ground(
        [c.height * 0.76 + 8 * math.sin(i / 5) for i in range(65)], (128, 120, 112), (196, 186, 170), (26, 12)
    )
    for x in (30, 410, 800, 1170):
        c.broadleaf(x, 690, 210, (92, 140, 58))
    return c.finish()


def night_town() -> Image.Image:
    """Lit windows under a moon, mirrored in a river."""
    c = Canvas(606, 560, 380)
    c.sky((14, 20, 52), (76, 70, 118), (60, 62, 104))
    for _ in range(140):
        x, y = c.rng.uniform(0, c.width), c.rng.uniform(0, c.height * 0.45)
        c.draw.ellipse((x, y, x + 3, y + 3), fill=(236, 236, 250))
    c.sun(0.8, 0.16, 0.06, (250, 246, 220))
    bank = round(c.height * 0.68)
    for x in range(-20, c.width, 74):
        top = bank - c.rng.randrange(120, 340, 20)
        c.draw.rectangle((x, top, x + 84, bank), fill=shade((44, 48, 78), c.rng.uniform(0.7, 1.3)))
        for left in range(x + 10, x + 74, 18):
            for y in range(top + 14, bank - 16, 26):
                lit = c.rng.random() < 0.55
                c.draw.rectangle((left, y, left + 9, y + 14), fill=(255, 212, 120) if lit else (30, 34, 58))
    mirror = ImageOps.flip(c.picture.crop((0, 2 * bank - c.height, c.width, bank)))
    c.water(bank, (18, 24, 56), (78, 84, 132))
    below = c.picture.crop((0, bank, c.width, c.height))
    c.picture.paste(Image.blend(below, mirror.filter(ImageFilter.BoxBlur(2)), 0.6), (0, bank))
    return c.finish()


def table(c: Canvas, wall: Colour, stripe: Colour) -> None:
    """Draw a papered wall behind a wooden table, for the shop's wares."""
    c.picture.paste(
        ImageOps.colorize(fractal(c.rng, c.size, (200, 200), 2), shade(wall, 0.9), shade(wall, 1.08))
    )
    for x in range(0, c.width, 64):
        c.draw.rectangle((x, 0, x + 22, c.height), fill=stripe)
    c.ground([c.height * 0.7] * 3, (122, 78, 46), (206, 154, 100), (420, 14))


def mug() -> Image.Image:
    """Draw a patterned mug with a biscuit beside it."""
    c = Canvas(707, 400, 320)
    table(c, (206, 220, 220), (186, 206, 210))
    c.draw.ellipse((210, 500, 640, 570), fill=(96, 60, 36))
    c.draw.arc((500, 240, 690, 460), -100, 100, fill=(40, 92, 140), width=34)
    c.draw.rectangle((240, 190, 560, 520), fill=(54, 112, 164))
    c.draw.ellipse((240, 480, 560, 560), fill=(54, 112, 164))
    c.draw.rectangle((480, 190, 560, 520), fill=(44, 94, 142))
    for row in range(4):
        for dot in range(6 - row % 2):
            x, y = 256 + dot * 48 + (row % 2) * 20, 262 + row * 64
            c.draw.ellipse(
                (x, y, x + 26, y + 30), fill=(248, 214, 110) if (row + dot) % 2 else (244, 240, 230)
            )
    c.draw.ellipse((240, 150, 560, 232), fill=(70, 130, 180))
    c.draw.ellipse((258, 162, 542, 222), fill=(82, 50, 32))
    c.draw.ellipse((80, 520, 230, 590), fill=(204, 146, 84), outline=(150, 98, 54), width=5)
    for _ in range(14):
        crumb_x, crumb_y = c.rng.uniform(105, 195), c.rng.uniform(535, 570)
        c.draw.ellipse((crumb_x, crumb_y, crumb_x + 12, crumb_y + 9), fill=(88, 54, 36))
    return c.finish()


def plant() -> Image.Image:
    """Draw a leafy plant in a painted pot."""
    c = Canvas(808, 360, 360)
    table(c, (236, 222, 200), (244, 232, 212))
    for leaf in range(34):
        turn = math.pi * (1.02 + 0.96 * ((leaf * 13) % 34) / 33)
        long = c.rng.uniform(150, 300)
        tip = (360 + long * math.cos(turn), 400 + long * math.sin(turn))
        bend = (360 + long * 0.6 * math.cos(turn + 0.22), 400 + long * 0.6 * math.sin(turn + 0.22))
        arch = (360 + long * 0.6 * math.cos(turn - 0.22), 400 + long * 0.6 * math.sin(turn - 0.22))
        green = shade((62, 132, 66), c.rng.uniform(0.6, 1.5))
        c.draw.polygon([(360, 410), bend, tip, arch], fill=green)
        c.draw.line((360, 410, *tip), fill=shade(green, 0.7), width=4)
    c.draw.polygon([(250, 400), (470, 400), (430, 620), (290, 620)], fill=(196, 98, 62))
    c.draw.polygon([(400, 400), (470, 400), (430, 620), (384, 620)], fill=(160, 76, 48))
    for x in range(256, 440, 30):
        c.draw.polygon([(x, 500), (x + 15, 470), (x + 30, 500), (x + 15, 530)], fill=(244, 226, 190))
    c.draw.rectangle((236, 380, 484, 430), fill=(210, 112, 74))
    return c.finish()


def market() -> Image.Image:
    """Three stalls with striped awnings and crates of fruit."""
    c = Canvas(909, 480, 340)
    c.sky((126, 180, 220), (240, 230, 210))
    for x in range(0, c.width, 130):
        c.draw.rectangle(
            (x, c.rng.randrange(110, 220), x + 126, 460),
            fill=shade((212, 178, 144), c.rng.uniform(0.75, 1.1)),
        )
        for y in range(230, 400, 70):
            c.draw.rectangle((x + 30, y, x + 58, y + 40), fill=(104, 128, 146))
            c.draw.rectangle((x + 76, y, x + 104, y + 40), fill=(104, 128, 146))
    c.ground([450.0] * 3, (128, 122, 116), (190, 180, 166), (30, 14))
    for stall, (paint, fruit) in enumerate(
        (((190, 56, 52), (232, 140, 40)), ((46, 118, 96), (196, 44, 50)), ((54, 92, 160), (128, 170, 60)))
    ):
        left = 40 + stall * 310
        for post in (left + 8, left + 272):
            c.draw.rectangle((post, 280, post + 10, 620), fill=(110, 82, 58))
        for strip in range(7):
            x = left - 12 + strip * 44
            colour = paint if strip % 2 == 0 else (248, 242, 230)
            c.draw.polygon([(x + 10, 240), (x + 50, 240), (x + 44, 340), (x, 340)], fill=colour)
            c.draw.pieslice((x, 318, x + 44, 362), 0, 180, fill=shade(colour, 0.85))
        c.draw.rectangle((left, 500, left + 290, 600), fill=(150, 108, 70))
        for _ in range(120):
            edge, top = left + c.rng.uniform(4, 262), c.rng.uniform(450, 500)
            c.draw.ellipse((edge, top, edge + 26, top + 26), fill=shade(fruit, c.rng.uniform(0.75, 1.2)))
    return c.finish()
