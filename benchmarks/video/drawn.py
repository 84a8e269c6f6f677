"""Draw videos by code, read others, and alter them as people do before they publish them again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageOps

RATE = 25
SIZE = (480, 272)
SHOT_SECONDS = 3


def shots(seed: int, number: int, size: tuple[int, int] = SIZE) -> Iterator[Image.Image]:
    """Yield the frames of a video: a camera that moves over one drawn scene after another."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        scene = _scene(random, (size[0] * 21 // 20, size[1] * 21 // 20))
        room = np.array([scene.width - size[0], scene.height - size[1]])
        start, end = random.random(2) * room, random.random(2) * room
        for step in np.linspace(0, 1, RATE * SHOT_SECONDS):
            left, top = (start + (end - start) * step).round().astype(int).tolist()
            yield scene.crop((left, top, left + size[0], top + size[1]))


def _scene(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw a scene: waves of colour, shapes in front of them, and fine grain."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 6.28, width), np.linspace(0, 6.28, height))
    planes = []
    for _ in range(3):
        plane = sum(
            random.uniform(0.3, 1) * np.sin(random.uniform(-4, 4) * x + random.uniform(-4, 4) * y + phase)
            for phase in random.uniform(0, 6.28, 6)
        )
        planes.append(127 + 40 * np.asarray(plane) / np.std(plane) + random.normal(0, 3, x.shape))
    scene = Image.fromarray(np.dstack(planes).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    for _ in range(24):
        left, top = random.uniform(-0.1, 1, 2) * size
        across, down = random.uniform(0.03, 0.3, 2) * size
        colour = tuple(random.integers(0, 256, 3).tolist())
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((left, top, left + across, top + down), fill=colour)
    return scene


def frames_of(path: Path, seconds: float) -> list[Image.Image]:
    """Return the first frames of a video, no wider than those that are drawn."""
    frames: list[Image.Image] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if len(frames) >= seconds * RATE:
                break
            width = min(SIZE[0], frame.width) // 4 * 4
            height = frame.height * width // frame.width // 4 * 4
            small = frame.reformat(width=width, height=height, format="rgb24")
            frames.append(Image.fromarray(small.to_ndarray()))
    return frames


@contextmanager
def unchanged_scheduling() -> Iterator[None]:
    """Undo that SVT-AV1 gives root's process real-time priority, which starves all others."""
    policy, values = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, values)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The way in which frames are encoded."""

    codec: str = "libx264"
    suffix: str = ".mp4"
    options: tuple[tuple[str, str], ...] = (("preset", "veryfast"), ("crf", "23"))
    bit_rate: int = 0
    rate: Fraction = Fraction(RATE)

    def write(self, path: Path, frames: Iterable[Image.Image]) -> None:
        """Encode frames to a file."""
        with unchanged_scheduling(), av.open(str(path), "w") as container:
            stream: av.VideoStream | None = None
            for picture in frames:
                if stream is None:
                    added = container.add_stream(self.codec, rate=self.rate, options=dict(self.options))
                    assert isinstance(added, av.VideoStream)
                    stream = added
                    stream.width, stream.height = picture.size
                    stream.pix_fmt = "yuv420p"
                    stream.gop_size = 2 * RATE
                    if self.bit_rate:
                        stream.bit_rate = self.bit_rate
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), "rgb24")))
            assert stream is not None
            container.mux(stream.encode(None))


H264 = Encoding()

Alteration = Callable[[list[Image.Image]], Iterable[Image.Image]]


@dataclass(frozen=True, slots=True)
class Altered:
    """One way to alter a video: its frames, and their encoding."""

    frames: Alteration = list
    encoding: Encoding = H264


def _each(change: Callable[[Image.Image], Image.Image]) -> Alteration:
    return lambda frames: map(change, frames)


def _letterboxed(picture: Image.Image) -> Image.Image:
    boxed = Image.new("RGB", (picture.width, picture.height * 2 // 3 * 2))
    boxed.paste(picture, (0, (boxed.height - picture.height) // 2))
    return boxed


def _watermarked(picture: Image.Image) -> Image.Image:
    marked = picture.copy()
    ImageDraw.Draw(marked).text(
        (picture.width * 0.6, picture.height * 0.8), "WATERMARK", "white", font_size=28
    )
    return marked


def _with_intro(frames: list[Image.Image]) -> Iterator[Image.Image]:
    yield from shots(10_000, 2, frames[0].size)
    yield from frames


def tenth(path: Path) -> Encoding:
    """Return an encoding with a tenth of the bits of a file."""
    with av.open(str(path)) as container:
        assert container.bit_rate
        return Encoding(options=(("preset", "veryfast"),), bit_rate=container.bit_rate // 10)


ALTERATIONS: dict[str, Altered] = {
    "H.264 again": Altered(encoding=Encoding(options=(("preset", "veryfast"), ("crf", "30")))),
    "VP9": Altered(encoding=Encoding("libvpx-vp9", ".webm", (("deadline", "realtime"), ("cpu-used", "8")))),
    "AV1": Altered(encoding=Encoding("libsvtav1", ".mkv", (("preset", "11"), ("svtav1-params", "lp=1")))),
    "a tenth of the bits": Altered(),
    "half the size": Altered(
        _each(lambda picture: picture.resize((picture.width // 4 * 2, picture.height // 4 * 2)))
    ),
    "letterboxed": Altered(_each(_letterboxed)),
    "mirrored": Altered(_each(ImageOps.mirror)),
    "cut to a third": Altered(lambda frames: frames[len(frames) // 3 : 2 * len(frames) // 3]),
    "5 % slower": Altered(encoding=Encoding(rate=Fraction(RATE * 100, 105))),
    "watermarked": Altered(_each(_watermarked)),
    "new intro": Altered(_with_intro),
}
