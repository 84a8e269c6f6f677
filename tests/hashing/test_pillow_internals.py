"""Decoding with a Pillow that lacks undocumented parts."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from io import BytesIO
from typing import Any

import pytest
from PIL import IcoImagePlugin, Image, ImageCms, ImageFile, JpegImagePlugin

from hashscan.hashing import decoding_faults, pillow_internals, webp_scaled
from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Limits, UndecodedError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.browser.files.icons import Entry, dib, icon, png
from tests.hashing.drawings import scene
from tests.pictures import counts_faults


def test_pillow_is_of_a_known_major_version() -> None:
    """Read the notes of a new one, run all tests of hashing with it, then raise both bounds."""
    assert version("pillow").split(".")[0] in {"12", "13"}


def saved(name: str, **options: object) -> bytes:
    """Return a drawing in a format."""
    held = BytesIO()
    Image.fromarray(scene(240, 320)).convert("RGB").save(held, name, **options)
    return held.getvalue()


def wide_profile() -> bytes:
    """Return a colour profile that is not ordinary."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def half(content: bytes) -> bytes:
    """Return a file that ends early."""
    return content[: len(content) // 2]


FILES: dict[str, bytes] = {
    "bitmap": saved("BMP"),
    "half bitmap": half(saved("BMP")),
    "half GIF": half(saved("GIF")),
    "icon": icon([Entry(dib(32)), Entry(png(2, 48, 48), 48, 48)]),
    "JPEG": saved("JPEG"),
    "half JPEG": half(saved("JPEG")),
    "JPEG with profile": saved("JPEG", icc_profile=wide_profile()),
    "progressive JPEG": saved("JPEG", progressive=True),
    "PNG": saved("PNG"),
    "half PNG": half(saved("PNG")),
    "TIFF": saved("TIFF", compression="tiff_lzw"),
    "raw TIFF": saved("TIFF"),
    "WEBP": saved("WEBP"),
}


def decoded(content: bytes) -> tuple[set[bytes], Reason | None]:
    """Return the planes of brightness of a file, and the reason why it is not all that it shows."""
    descriptor = os.memfd_create("picture")
    os.pwrite(descriptor, content, 0)
    found: set[bytes] = set()
    known = sniff(content)
    assert known is not None
    try:
        with PreadFile(descriptor) as file:
            for frame in decode_frames(file, known, Limits()):
                found.add(struct.pack("2i", *frame.luma.shape) + frame.luma.tobytes())
    except UndecodedError as error:
        return found, error.reason
    return found, None


class Hidden:
    """An attribute that Pillow itself has, and hashscan does not find."""

    def __init__(self, name: str, default: Any) -> None:
        self._name, self._default = name, default

    def __get__(self, instance: Any, owner: type) -> Any:
        """Raise AttributeError for hashscan."""
        asked_by = sys._getframe(1).f_globals["__name__"]
        if instance is None or asked_by.startswith("hashscan") or self._name not in vars(instance):
            if self._default is None or asked_by.startswith("hashscan"):
                raise AttributeError(self._name)
            return self._default if instance is None else self._default.__get__(instance)
        return vars(instance)[self._name]

    def __set__(self, instance: Any, value: Any) -> None:
        """Keep a value."""
        vars(instance)[self._name] = value


def hide(owner: type, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a function that hides an attribute."""
    return lambda patch: patch.setattr(owner, name, Hidden(name, getattr(owner, name, None)), raising=False)


def always_new_pixels(patch: pytest.MonkeyPatch) -> None:
    """Have Pillow not use the pixels that an image has before it is loaded."""
    before = ImageFile.ImageFile.load_prepare

    def load_prepare(self: Any) -> None:
        before(self)
        self.im = Image.new(self.mode, self.size).im

    patch.setattr(ImageFile.ImageFile, "load_prepare", load_prepare)


LACKS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "_imaging": lambda patch: patch.setattr(pillow_internals, "_imaging", None),
    "counter": lambda patch: patch.setattr(decoding_faults, "_counter", None),
    "_webp": lambda patch: patch.setattr(webp_scaled, "_library", None),
    "JpegImageFile.layer": hide(JpegImagePlugin.JpegImageFile, "layer"),
    "JpegImageFile.applist": hide(JpegImagePlugin.JpegImageFile, "applist"),
    "ImageFile.fp": hide(ImageFile.ImageFile, "fp"),
    "ImageFile.load_end": hide(ImageFile.ImageFile, "load_end"),
    "ImageFile.tile": hide(ImageFile.ImageFile, "tile"),
    "Image.im": always_new_pixels,
    "IcoFile.buf": hide(IcoImagePlugin.IcoFile, "buf"),
    "IcoFile.entry": hide(IcoImagePlugin.IcoFile, "entry"),
    "IcoFile.frame": hide(IcoImagePlugin.IcoFile, "frame"),
}
UNDECODED = {
    **{("Image.im", name): Reason.TRUNCATED for name in ("half GIF", "half JPEG", "half PNG")},
    **{
        ("counter", name): Reason.UNSUPPORTED
        for name in ("JPEG", "half JPEG", "JPEG with profile", "progressive JPEG", "TIFF")
    },
    ("ImageFile.tile", "icon"): Reason.BROKEN,
    ("IcoFile.buf", "icon"): Reason.UNSUPPORTED,
    ("IcoFile.entry", "icon"): Reason.BROKEN,
    ("IcoFile.frame", "icon"): Reason.BROKEN,
}
"""The reasons of files that are decoded less, or not at all; all others give the same pictures."""


TRIED = (
    pillow_internals.private_decoder_works,
    pillow_internals._fills_pixels,
    decoding_faults._counts_faults,
)


@pytest.fixture
def untried() -> Iterator[None]:
    """Try Pillow's functions anew."""
    for each in TRIED:
        each.cache_clear()
    yield
    for each in TRIED:
        each.cache_clear()


@counts_faults
@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("lack", LACKS)
def test_without_the_pictures_are_the_same_or_count_as_undecoded(
    lack: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, reason = decoded(FILES[name])
    LACKS[lack](monkeypatch)
    for each in TRIED:
        each.cache_clear()
    found, without = decoded(FILES[name])
    assert without == UNDECODED.get((lack, name), reason)
    # Of a damaged picture, what Pillow fills in is hashed, too, where it is not known.
    assert (lack, name) in UNDECODED or found == usual


@counts_faults
def test_all_of_it_is_there() -> None:
    assert pillow_internals.private_decoder_works()
    assert pillow_internals._fills_pixels()
    assert decoding_faults.decoding_faults() is not None
    assert webp_scaled.available()
