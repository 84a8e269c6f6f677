"""WebP files: lossy, lossless, with opacity and metadata, animations; and faults in chunks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from PIL import Image

from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, cut_out, drawn, exif, profiles, translucent
from tests.pictures import encoded

ICC, ALPHA, EXIF, XMP, ANIMATED = 0x20, 0x10, 8, 4, 2


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk."""
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def riff(*chunks: bytes, more: int = 0) -> bytes:
    """Return a file, whose stated length is wrong by `more`."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) + more) + body


def extended(flags: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Return the chunk VP8X."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides)


@cache
def coded(
    seed: int, *, lossless: bool = False, alpha: str = "", size: tuple[int, int] = (WIDTH, HEIGHT)
) -> bytes:
    """Return the chunks of a picture: VP8 or VP8L, perhaps with ALPH before."""
    image = {"": drawn, "shades": translucent, "cut": cut_out}[alpha](seed, width=size[0], height=size[1])
    content = encoded(image, "WEBP", quality=80, lossless=lossless, exact=True, method=0)[12:]
    return content[18:] if content[:4] == b"VP8X" else content


def frame(
    data: bytes,
    left: int = 0,
    top: int = 0,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    dispose: int = 0,
    blend: int = 0,
    milliseconds: int = 100,
) -> bytes:
    """Return the chunk ANMF; `blend` is 1 if the frame is not blended."""
    numbers = (left // 2, top // 2, size[0] - 1, size[1] - 1, milliseconds)
    fields = b"".join(struct.pack("<I", number)[:3] for number in numbers)
    return chunk(b"ANMF", fields + bytes((blend << 1 | dispose,)) + data)


def animation(*frames: bytes, flags: int = ANIMATED | ALPHA, control: bytes | None = None) -> bytes:
    """Return an animation."""
    return riff(
        extended(flags), chunk(b"ANIM", b"\xff\xff\xff\xff\0\0") if control is None else control, *frames
    )


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _stills()
    yield from _animations()
    yield from _faulty()


def _stills() -> Iterator[tuple[str, bytes]]:
    for quality in (0, 40, 100):
        for lossless in (False, True):
            name = f"{'lossless' if lossless else 'lossy'}-{quality}.webp"
            yield name, encoded(drawn(1), "WEBP", quality=quality, lossless=lossless, method=1)
    for lossless in (False, True):
        for alpha in ("shades", "cut"):
            for exact in (False, True):
                image = (translucent if alpha == "shades" else cut_out)(1)
                name = f"alpha-{alpha}-{'lossless' if lossless else 'lossy'}{'-exact' if exact else ''}.webp"
                yield name, encoded(image, "WEBP", lossless=lossless, exact=exact, method=1)
    for quality in (0, 50):
        yield (
            f"alpha-quality-{quality}.webp",
            encoded(translucent(1), "WEBP", alpha_quality=quality, method=1),
        )
    for colours in (2, 16, 200):
        image = drawn(1).quantize(colours).convert("RGB")
        yield f"colours-{colours}.webp", encoded(image, "WEBP", lossless=True)
    yield "grey.webp", encoded(drawn(1).convert("L"), "WEBP", lossless=True)
    for width, height in ((2, 1), (161, 119), (400, 16)):
        yield f"size-{width}x{height}.webp", encoded(drawn(3, width, height), "WEBP", method=1)
    for orientation in range(1, 10):
        yield (
            f"orientation-{orientation}.webp",
            riff(extended(EXIF), coded(1), chunk(b"EXIF", exif(orientation))),
        )
    yield (
        "orientation-6-with-head.webp",
        riff(extended(EXIF), coded(1), chunk(b"EXIF", b"Exif\0\0" + exif(6))),
    )
    yield (
        "orientation-6-lossless.webp",
        riff(extended(EXIF), coded(1, lossless=True), chunk(b"EXIF", exif(6))),
    )
    yield "orientation-6-no-flag.webp", riff(extended(0), coded(1), chunk(b"EXIF", exif(6)))
    for name, profile in profiles().items():
        yield f"profile-{name}.webp", riff(extended(ICC), chunk(b"ICCP", profile), coded(1))
        yield (
            f"profile-{name}-lossless.webp",
            riff(extended(ICC), chunk(b"ICCP", profile), coded(1, lossless=True)),
        )
    inverting = chunk(b"ICCP", profiles()["inverting"])
    yield "profile-no-flag.webp", riff(extended(0), inverting, coded(1))
    yield "profile-late.webp", riff(extended(ICC), coded(1), inverting)
    yield "profile-empty.webp", riff(extended(ICC), chunk(b"ICCP", b""), coded(1))
    yield "profile-garbage.webp", riff(extended(ICC), chunk(b"ICCP", b"garbage"), coded(1))
    yield "profile-missing.webp", riff(extended(ICC), coded(1))


def _animations() -> Iterator[tuple[str, bytes]]:
    part = 100, 80
    for lossless in (False, True):
        for alpha in ("", "cut"):
            for dispose in (0, 1):
                for blend in (0, 1):
                    frames = (
                        frame(coded(1, lossless=lossless), dispose=dispose),
                        frame(
                            coded(2, lossless=lossless, alpha=alpha, size=part),
                            20,
                            10,
                            size=part,
                            dispose=dispose,
                            blend=blend,
                        ),
                        frame(coded(3, lossless=lossless, alpha=alpha), dispose=dispose, blend=blend),
                    )
                    name = f"animated-{'lossless' if lossless else 'lossy'}-{alpha or 'opaque'}"
                    yield f"{name}-dispose-{dispose}-blend-{blend}.webp", animation(*frames)
    two = frame(coded(1)), frame(coded(2))
    yield "animated-no-alpha-flag.webp", animation(*two, flags=ANIMATED)
    yield "animated-one.webp", animation(two[0])
    yield "animated-first-small.webp", animation(frame(coded(1, size=part), 20, 10, size=part), two[1])
    yield "animated-no-time.webp", animation(*(frame(coded(n), milliseconds=0) for n in (1, 2)))
    yield (
        "animated-background.webp",
        animation(
            frame(coded(1, size=part), 20, 10, size=part, dispose=1),
            frame(coded(2, size=part), size=part),
            control=chunk(b"ANIM", b"\0\0\xff\xff\1\0"),
        ),
    )
    others: list[Image.Image] = [drawn(2), drawn(3)]
    yield (
        "animated-by-pillow.webp",
        encoded(drawn(1), "WEBP", save_all=True, append_images=others, duration=100, method=0),
    )
    exif_too = riff(extended(ANIMATED | EXIF), chunk(b"ANIM", bytes(6)), *two, chunk(b"EXIF", exif(6)))
    yield "animated-orientation-6.webp", exif_too
    inverting = chunk(b"ICCP", profiles()["inverting"])
    yield "animated-profile.webp", riff(extended(ANIMATED | ICC), inverting, chunk(b"ANIM", bytes(6)), *two)


def _faulty() -> Iterator[tuple[str, bytes]]:
    for lossless in (False, True):
        kind = "lossless" if lossless else "lossy"
        data = coded(1, lossless=lossless)
        content = riff(data)
        for part in (30, 60, 90, 99):
            yield f"cut-{part}-{kind}.webp", content[: len(content) * part // 100]
        for more in (-9, -1, 1, 9, 100000):
            yield f"length-{more}-{kind}.webp", riff(data, more=more)
        yield f"length-zero-{kind}.webp", content[:4] + bytes(4) + content[8:]
        yield f"length-most-{kind}.webp", content[:4] + b"\xff\xff\xff\xff" + content[8:]
        yield f"chunk-longer-{kind}.webp", riff(data[:4] + struct.pack("<I", len(data) + 90) + data[8:])
        yield f"chunk-shorter-{kind}.webp", riff(data[:4] + struct.pack("<I", len(data) // 2) + data[8:])
        yield f"behind-{kind}.webp", content + b"what follows" * 99
        yield f"canvas-other-{kind}.webp", riff(extended(0, 200, 150), data)
        yield f"canvas-small-{kind}.webp", riff(extended(0, 80, 60), data)
        yield f"flags-all-{kind}.webp", riff(extended(0x3C), data)
        yield f"flag-animated-{kind}.webp", riff(extended(ANIMATED), data)
        yield f"flags-reserved-{kind}.webp", riff(extended(0xC1), data)
        for where in ("first", "last", "simple-first", "simple-last"):
            unknown = chunk(b"UNKN", b"odd")
            head = [] if where.startswith("simple") else [extended(0)]
            body = [unknown, data] if where.endswith("first") else [data, unknown]
            yield f"unknown-{where}-{kind}.webp", riff(*head, *body)
        yield f"two-pictures-{kind}.webp", riff(extended(0), data, coded(5, lossless=lossless))
        yield f"two-simple-{kind}.webp", riff(data, coded(5, lossless=lossless))
        for number in range(3):
            spoilt = bytearray(content)
            spoilt[len(content) * (number + 2) // 6] ^= 0x55
            yield f"spoilt-{number}-{kind}.webp", bytes(spoilt)
    shades = coded(1, alpha="shades")
    yield "alpha-no-flag.webp", riff(extended(0), shades)
    yield "alpha-no-flag-lossless.webp", riff(extended(0), coded(1, lossless=True, alpha="shades"))
    yield "alpha-simple.webp", riff(shades)
    size = 8 + int.from_bytes(shades[4:8], "little") + shades[4] % 2
    yield "alpha-late.webp", riff(extended(ALPHA), shades[size:], shades[:size])
    yield "alpha-twice.webp", riff(extended(ALPHA), shades[:size], shades)
    yield "alpha-cut.webp", riff(extended(ALPHA), chunk(b"ALPH", shades[8:60]), shades[size:])
    yield "alpha-empty.webp", riff(extended(ALPHA), chunk(b"ALPH", b""), shades[size:])
    yield "alpha-raw-cut.webp", riff(extended(ALPHA), chunk(b"ALPH", bytes(100)), shades[size:])
    yield (
        "alpha-method-3.webp",
        riff(extended(ALPHA), chunk(b"ALPH", b"\x03" + shades[9:size]), shades[size:]),
    )
    two = frame(coded(1)), frame(coded(2))
    yield "animated-no-flag.webp", animation(*two, flags=0)
    yield "animated-no-control.webp", animation(*two, control=b"")
    yield "animated-control-late.webp", riff(extended(ANIMATED), *two, chunk(b"ANIM", bytes(6)))
    yield "animated-control-short.webp", animation(*two, control=chunk(b"ANIM", bytes(2)))
    yield "animated-beyond.webp", animation(two[0], frame(coded(2), 60, 60))
    yield "animated-size-other.webp", animation(two[0], frame(coded(2), size=(80, 60)))
    yield "animated-empty-frame.webp", animation(two[0], frame(b""), two[1])
    yield "animated-unknown.webp", animation(two[0], chunk(b"UNKN", b"odd"), two[1])
    yield "animated-unknown-in-frame.webp", animation(two[0], frame(chunk(b"UNKN", b"odd") + coded(2)))
    yield "animated-second-broken.webp", animation(two[0], frame(coded(2)[:900]))
    yield "animated-still-besides.webp", animation(*two, coded(5))
    for part in (30, 60, 80, 97):
        content = animation(*two)
        yield f"animated-cut-{part}.webp", content[: len(content) * part // 100]
