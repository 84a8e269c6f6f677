"""Alter photographs as people do before they publish them again; each alteration returns a file's content.

A crop or pad of p % takes away or adds p % of the width at the left and right together, and p % of the height
at top and bottom together, as much on both sides. Unless it says otherwise the result is a JPEG of quality
85.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Alteration = Callable[[Image.Image], bytes]
Colour = tuple[int, int, int]

WHITE, BLACK, ORANGE, BLUE = (255, 255, 255), (0, 0, 0), (230, 120, 20), (30, 60, 160)
_ORIENTATION = 274


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """Return a picture as the content of a file."""
    if form == "JPEG":
        options.setdefault("quality", 85)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _jpeg(quality: int) -> Alteration:
    return lambda image: encoded(image, quality=quality)


def _form(form: str, **options: Any) -> Alteration:
    return lambda image: encoded(image, form, **options)


def _sized(across: float, down: float) -> Alteration:
    def alter(image: Image.Image) -> bytes:
        size = max(1, round(image.width * across)), max(1, round(image.height * down))
        return encoded(image.resize(size, Image.Resampling.BICUBIC))

    return alter


def _square(image: Image.Image) -> bytes:
    return encoded(image.resize((400, 400), Image.Resampling.BICUBIC))


def _grey(image: Image.Image) -> bytes:
    return encoded(image.convert("L"))


def _gamma(exponent: float) -> Alteration:
    table = [round(255 * (value / 255) ** exponent) for value in range(256)] * 3
    return lambda image: encoded(image.point(table))


def _brightness(factor: float) -> Alteration:
    return lambda image: encoded(ImageEnhance.Brightness(image).enhance(factor))


def _contrast(factor: float) -> Alteration:
    return lambda image: encoded(ImageEnhance.Contrast(image).enhance(factor))


def _blurred(share: float) -> Alteration:
    return lambda image: encoded(image.filter(ImageFilter.GaussianBlur(share * max(image.size))))


def _noise(image: Image.Image) -> bytes:
    grain = Image.effect_noise(image.size, 40).convert("RGB")
    return encoded(Image.blend(image, grain, 0.25))


def _sharpened(image: Image.Image) -> bytes:
    return encoded(image.filter(ImageFilter.UnsharpMask(radius=3, percent=200)))


def _watermark(image: Image.Image) -> bytes:
    over = Image.new("RGBA", image.size)
    size = max(10, image.width // 12)
    ImageDraw.Draw(over).text(
        (image.width // 2, image.height // 2),
        "example.org",
        (255, 255, 255, 150),
        anchor="mm",
        font_size=size,
    )
    return encoded(Image.alpha_composite(image.convert("RGBA"), over).convert("RGB"))


def _logo(image: Image.Image) -> bytes:
    side = max(8, min(image.size) // 8)
    place = image.width - side - side // 4, image.height - side - side // 4
    altered = image.copy()
    ImageDraw.Draw(altered).ellipse((*place, place[0] + side, place[1] + side), ORANGE, WHITE, 2)
    return encoded(altered)


def _caption(share: float, *, over: bool) -> Alteration:
    """Add a white bar with text below the picture, or over its lowest part."""

    def alter(image: Image.Image) -> bytes:
        bar = round(image.height * share)
        top = image.height - bar if over else image.height
        altered = Image.new("RGB", (image.width, top + bar), WHITE)
        altered.paste(image.crop((0, 0, image.width, top)))
        ImageDraw.Draw(altered).text(
            (image.width // 2, top + bar // 2),
            "such words as people write",
            BLACK,
            anchor="mm",
            font_size=max(8, bar // 3),
        )
        return encoded(altered)

    return alter


def _cropped(share: float, corner: bool = False) -> Alteration:
    def alter(image: Image.Image) -> bytes:
        across, down = image.width * share, image.height * share
        left, top = (0, 0) if corner else (round(across / 2), round(down / 2))
        right, bottom = left + image.width - round(across), top + image.height - round(down)
        return encoded(image.crop((left, top, right, bottom)))

    return alter


def _padded(share: float, colour: Colour) -> Alteration:
    def alter(image: Image.Image) -> bytes:
        across, down = round(image.width * share / 2), round(image.height * share / 2)
        return encoded(ImageOps.expand(image, (across, down), colour))

    return alter


def _letterbox(image: Image.Image) -> bytes:
    altered = Image.new("RGB", (image.width, round(image.width * 1.6)), BLACK)
    altered.paste(image, (0, (altered.height - image.height) // 2))
    return encoded(altered)


def _frame(image: Image.Image) -> bytes:
    side = max(2, max(image.size) // 40)
    return encoded(ImageOps.expand(ImageOps.expand(image, side, WHITE), side, BLACK))


def _viewer(image: Image.Image) -> bytes:
    """Draw a screenshot of a viewer's window: title bar, tool bar with buttons, dark ground, status bar."""
    unit = max(4, image.width // 60)
    screen = Image.new("RGB", (round(image.width * 1.5), round(image.height * 1.2) + 8 * unit), (40, 40, 44))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, screen.width, 3 * unit), (70, 70, 78))
    draw.text((unit, unit), "picture.jpg - viewer", WHITE, font_size=max(8, unit))
    draw.rectangle((0, 3 * unit, screen.width, 6 * unit), (55, 55, 60))
    for button in range(6):
        at = unit + button * 3 * unit
        draw.rectangle((at, 3.5 * unit, at + 2 * unit, 5.5 * unit), (120, 120, 130))
    draw.text((unit, screen.height - 1.5 * unit), "100 %", WHITE, font_size=max(8, unit))
    left = (screen.width - image.width) // 2
    top = 6 * unit + (screen.height - 8 * unit - image.height) // 2
    screen.paste(image, (left, top))
    return encoded(screen, "PNG")


def _turned(method: Image.Transpose) -> Alteration:
    return lambda image: encoded(image.transpose(method))


def _by_exif(image: Image.Image) -> bytes:
    """Store the picture turned, with an EXIF orientation that makes viewers turn it back."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _rotated(degrees: float) -> Alteration:
    """Rotate the picture a little, and crop it so that no corner is empty."""

    def alter(image: Image.Image) -> bytes:
        turned = image.rotate(degrees, Image.Resampling.BICUBIC)
        lost = abs(degrees) / 57.3
        across, down = round(image.height * lost / 2), round(image.width * lost / 2)
        return encoded(turned.crop((across, down, image.width - across, image.height - down)))

    return alter


def _inverted(image: Image.Image) -> bytes:
    return encoded(ImageOps.invert(image))


def _chain(image: Image.Image) -> bytes:
    """Sent on three times: smaller each time, with ever lower quality."""
    for quality in (80, 60, 40):
        image = image.resize((max(1, image.width * 4 // 5), max(1, image.height * 4 // 5)))
        image = Image.open(io.BytesIO(encoded(image, quality=quality)))
    return encoded(image, quality=40)


_SHARES = (0.02, 0.05, 0.10, 0.20)
_COLOURS = {"white": WHITE, "black": BLACK, "orange": ORANGE, "blue": BLUE}
_TURNS = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "upside down": Image.Transpose.FLIP_TOP_BOTTOM,
    "turned 90": Image.Transpose.ROTATE_270,
    "turned 180": Image.Transpose.ROTATE_180,
    "turned 270": Image.Transpose.ROTATE_90,
    "transposed": Image.Transpose.TRANSPOSE,
}

ALTERATIONS: dict[str, Alteration] = {
    "jpeg 50": _jpeg(50),
    "jpeg 10": _jpeg(10),
    "png": _form("PNG"),
    "webp 50": _form("WEBP", quality=50),
    "gif": _form("GIF"),
    "half size": _sized(0.5, 0.5),
    "quarter size": _sized(0.25, 0.25),
    "double size": _sized(2, 2),
    "narrowed by a fifth": _sized(0.8, 1),
    "made square": _square,
    "sent on thrice": _chain,
    "grey": _grey,
    "gamma 0.6": _gamma(0.6),
    "gamma 1.7": _gamma(1.7),
    "brighter by 40 %": _brightness(1.4),
    "darker by 40 %": _brightness(0.6),
    "contrast 150 %": _contrast(1.5),
    "blur": _blurred(0.0025),
    "strong blur": _blurred(0.005),
    "noise": _noise,
    "sharpened": _sharpened,
    "watermark": _watermark,
    "logo in the corner": _logo,
    "caption 15 % over it": _caption(0.15, over=True),
    "caption 15 % below": _caption(0.15, over=False),
    **{f"crop {share:.0%}": _cropped(share) for share in _SHARES},
    "crop 5% in a corner": _cropped(0.05, corner=True),
    **{
        f"pad {share:.0%} {name}": _padded(share, colour)
        for share in _SHARES
        for name, colour in _COLOURS.items()
    },
    "letterbox": _letterbox,
    "double frame": _frame,
    "viewer's window": _viewer,
    **{name: _turned(method) for name, method in _TURNS.items()},
    "turned by EXIF": _by_exif,
    "rotated 1 degree": _rotated(1),
    "rotated 3 degrees": _rotated(3),
    "inverted": _inverted,
}
"""By name, in the order of the table."""
