"""Animated PNG files: all ways to dispose of frames and to blend them; and faults."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, drawn, profiles
from tests.hashing.browser.files.png import (
    END,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    SIGNATURE,
    chunk,
    header,
    palette,
    plain,
    profile,
    samples,
    scanlines,
)
from tests.pictures import encoded


def files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    yield from _whole()
    yield from _faulty()


class Animation:
    """The chunks of an animation, one after another."""

    def __init__(
        self,
        kind: int = RGBA,
        *,
        frames: int = 2,
        plays: int = 0,
        before: Sequence[bytes] = (),
        control: bool = True,
    ) -> None:
        colours = [chunk(b"PLTE", palette(8))] if kind == PALETTE else []
        self.kind, self.number = kind, 0
        self.pieces = [SIGNATURE, header(kind)]
        if control:
            self.pieces.append(chunk(b"acTL", struct.pack(">II", frames, plays)))
        self.pieces += [*colours, *before]

    def control(
        self,
        box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT),
        *,
        dispose: int = 0,
        blend: int = 0,
        delay: int = 10,
        crc: int = 0,
    ) -> Animation:
        """Add the chunk fcTL for a frame of a box (left, top, width, height)."""
        left, top, width, height = box
        fields = struct.pack(">5I2H2B", self.number, width, height, left, top, delay, 100, dispose, blend)
        self.pieces.append(chunk(b"fcTL", fields, crc=crc))
        self.number += 1
        return self

    def data(
        self,
        seed: int,
        box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT),
        *,
        first: bool = False,
        crc: int = 0,
        part: float = 1,
    ) -> Animation:
        """Add a frame's data, as that of the first picture or of another."""
        left, top, width, height = box
        values = samples(self.kind, 8, seed)[top : top + height, left : left + width]
        content = zlib.compress(scanlines(values, 8))
        content = content[: int(part * len(content))]
        if first:
            self.pieces.append(chunk(b"IDAT", content, crc=crc))
        else:
            self.pieces.append(chunk(b"fdAT", struct.pack(">I", self.number) + content, crc=crc))
            self.number += 1
        return self

    def frame(
        self,
        seed: int,
        box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT),
        *,
        first: bool = False,
        dispose: int = 0,
        blend: int = 0,
    ) -> Animation:
        """Add a frame."""
        return self.control(box, dispose=dispose, blend=blend).data(seed, box, first=first)

    def add(self, *chunks: bytes) -> Animation:
        """Add other chunks."""
        self.pieces += chunks
        return self

    def file(self) -> bytes:
        """Return the file."""
        return b"".join((*self.pieces, END))


def _whole() -> Iterator[tuple[str, bytes]]:
    part = (20, 10, 100, 80)
    for dispose in range(3):
        for blend in range(2):
            for kind in (RGB, RGBA, PALETTE, GREY_ALPHA):
                three = Animation(kind, frames=3).frame(1, first=True, dispose=dispose)
                three.frame(2, part, dispose=dispose, blend=blend).frame(3, (0, 30, 150, 90), blend=blend)
                yield f"animated-{kind}-dispose-{dispose}-blend-{blend}.png", three.file()
    shades = [chunk(b"tRNS", bytes(range(255, -1, -1)))]
    yield (
        "animated-palette-shades.png",
        Animation(PALETTE, before=shades).frame(1, first=True).frame(2, blend=1).file(),
    )
    yield "animated-default-apart.png", Animation(frames=2).data(1, first=True).frame(2).frame(3).file()
    yield "animated-one.png", Animation(frames=1).frame(1, first=True).file()
    yield "animated-one-apart.png", Animation(frames=1).data(1, first=True).frame(2).file()
    yield "animated-once.png", Animation(plays=1).frame(1, first=True).frame(2).file()
    for dispose, blend in ((9, 0), (0, 9), (3, 2)):
        made = Animation().frame(1, first=True).frame(2, dispose=dispose, blend=blend)
        yield f"animated-odd-dispose-{dispose}-blend-{blend}.png", made.file()
    others = [drawn(2), drawn(3)]
    yield (
        "animated-by-pillow.png",
        encoded(drawn(1), "PNG", save_all=True, append_images=others, duration=100),
    )
    yield (
        "animated-profile.png",
        Animation(before=[profile(profiles()["inverting"])]).frame(1, first=True).frame(2).file(),
    )


def _faulty() -> Iterator[tuple[str, bytes]]:
    def two(**options: object) -> Animation:
        return Animation(**options).frame(1, first=True).frame(2)  # type: ignore[arg-type]

    for frames in (0, 1, 3, 100, 0x80000000, 0xFFFFFFFF):
        yield f"animated-count-{frames}.png", two(frames=frames).file()
    for second in (1, 2, 3, 0):
        again = chunk(b"acTL", struct.pack(">II", second, 0))
        yield f"animated-control-again-{second}.png", two(before=[again]).file()
        yield (
            f"animated-control-again-{second}-late.png",
            Animation().frame(1, first=True).add(again).frame(2).file(),
        )
    yield (
        "animated-control-late.png",
        Animation(control=False)
        .frame(1, first=True)
        .add(chunk(b"acTL", struct.pack(">II", 2, 0)))
        .frame(2)
        .file(),
    )
    yield "animated-no-control.png", two(control=False).file()
    yield (
        "animated-control-crc.png",
        two(control=False, before=[chunk(b"acTL", struct.pack(">II", 2, 0), crc=1)]).file(),
    )
    yield "animated-control-short.png", two(control=False, before=[chunk(b"acTL", bytes(4))]).file()
    yield (
        "animated-control-long.png",
        two(control=False, before=[chunk(b"acTL", struct.pack(">III", 2, 0, 0))]).file(),
    )
    made = Animation(frames=2).data(1, first=True)
    yield "animated-data-without-frame.png", made.data(2).file()
    yield "still-with-fdat.png", Animation(control=False).data(1, first=True).data(2).file()
    yield "still-with-fctl.png", Animation(control=False).frame(1, first=True).control().file()
    yield "still-with-short-fdat.png", plain(behind=[chunk(b"fdAT", b"\0")])
    yield "still-with-empty-fdat.png", plain(behind=[chunk(b"fdAT")])
    yield (
        "animated-frame-without-data.png",
        Animation(frames=3).frame(1, first=True).control().frame(2).file(),
    )
    yield "animated-last-without-data.png", Animation().frame(1, first=True).control().file()
    for name, box in {
        "beyond": (100, 0, WIDTH, HEIGHT),
        "far": (5000, 5000, 10, 10),
        "empty": (0, 0, 0, 0),
        "huge": (0, 0, 100000, 100000),
    }.items():
        yield f"animated-box-{name}.png", Animation().frame(1, first=True).control(box).data(2).file()
        yield (
            f"animated-box-{name}-then.png",
            Animation(frames=3).frame(1, first=True).control(box).data(2).frame(3).file(),
        )
    yield (
        "animated-first-small.png",
        Animation().control((10, 10, 80, 60)).data(1, (10, 10, 80, 60), first=True).frame(2).file(),
    )
    made = Animation().frame(1, first=True)
    made.number += 3
    yield "animated-gap.png", made.frame(2).file()
    made = Animation().frame(1, first=True)
    made.number = 0
    yield "animated-number-again.png", made.frame(2).file()
    for part in (0.1, 0.6, 0.95):
        yield (
            f"animated-second-cut-{part}.png",
            Animation().frame(1, first=True).control().data(2, part=part).file(),
        )
        content = two().file()
        yield f"animated-cut-{part}.png", content[: int(len(content) * part)]
    yield "animated-first-cut.png", Animation().control().data(1, first=True, part=0.6).frame(2).file()
    yield "animated-second-crc.png", Animation().frame(1, first=True).control().data(2, crc=1).file()
    yield "animated-frame-crc.png", Animation().frame(1, first=True).control(crc=1).data(2).file()
    yield (
        "animated-control-twice.png",
        Animation(frames=3).frame(1, first=True).control().control().data(2).file(),
    )
    yield "animated-data-behind-frames.png", two().data(3, first=True).file()
    yield "animated-text-crc.png", two(before=[chunk(b"tEXt", b"a\0b", crc=1)]).file()
    yield (
        "animated-text-between.png",
        Animation().frame(1, first=True).add(chunk(b"tEXt", b"a\0b", crc=1)).frame(2).file(),
    )
    yield (
        "animated-delay-zero.png",
        Animation().control(delay=0).data(1, first=True).control(delay=0).data(2).file(),
    )
    yield "animated-no-end.png", two().file().removesuffix(END)
