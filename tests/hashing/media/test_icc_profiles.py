"""Ordinary colour profiles, and the verdicts of all others."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from hashscan.hashing.formats import sniff
from hashscan.hashing.media import icc_profiles
from hashscan.hashing.media.colour_tags import ColourInfo, tags_of_picture
from hashscan.hashing.media.icc_profiles import SRGB_COLORANTS, is_ordinary, make_profile
from hashscan.hashing.media.luma_alpha import luma_of
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Frame, UndecodedError
from hashscan.hashing.media.profile_conversion import apply_profile
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import LOOKS, PROFILED
from hashscan.model import Reason
from tests.examples import examples
from tests.pictures import counts_faults, scene
from tests.viewer_attacks import (
    ATTACKS,
    added_tag,
    blue_profile,
    chunk,
    folded_profile,
    saved,
    stretching_profile,
    swapped,
    swapped_profile,
    table_profile,
    with_chunks,
)

VALUES = np.linspace(0, 1, 1024)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = make_profile(icc_profiles._KNOWN[1], [VALUES ** (563 / 256)] * 3)
DISPLAY_P3 = make_profile(icc_profiles._KNOWN[2], [VALUES**2.2] * 3)
PROPHOTO = make_profile(icc_profiles._KNOWN[3], [VALUES**1.8] * 3)
ORDINARY = {"sRGB": SRGB, "Adobe RGB": ADOBE, "Display P3": DISPLAY_P3, "ProPhoto RGB": PROPHOTO}


def grey_profile(curve: bytes) -> bytes:
    made = bytearray(added_tag(SRGB, b"kTRC", curve))
    made[16:20] = b"GRAY"
    return bytes(made)


def with_tag(name: bytes, tag: bytes) -> bytes:
    """The profile of sRGB with one tag replaced."""
    return added_tag(icc_profiles.hide_tags(SRGB, (name,)), name, tag)


def parametric(kind: int, *numbers: float) -> bytes:
    fixed = (round(number * 65536) for number in numbers)
    return struct.pack(f">4s4xHxx{len(numbers)}i", b"para", kind, *fixed)


def curve(*values: int) -> bytes:
    return struct.pack(f">4s4xI{len(values)}H", b"curv", len(values), *values)


ODD = {
    "tones change places": swapped_profile(),
    "tones folded": folded_profile(),
    "contrast stretched": stretching_profile(),
    "blue alone": blue_profile(),
    "a table": table_profile(),
    "light itself": make_profile(SRGB_COLORANTS, [VALUES] * 3),
    "one curve": make_profile(SRGB_COLORANTS, [VALUES**2.2, VALUES**2.2, 1 - VALUES]),
    "colours change places": make_profile(SRGB_COLORANTS[::-1], [VALUES**2.2] * 3),
    "no curve": icc_profiles.hide_tags(SRGB, (b"gTRC",)),
    "curve twice": added_tag(SRGB, b"gTRC", curve(0x0100)),
    "spike in a long table": with_tag(
        b"gTRC", curve(*(int((n / 9999) ** 2.2 * 65535) for n in range(5000)), 0)
    ),
    "steep function": with_tag(b"rTRC", parametric(4, 2.2, 1, 0, 30, 0.5, 0, 0)),
    "function of a step": with_tag(b"rTRC", parametric(3, 2.2, 1, 0, 0, 0.5)),
    "unknown function": with_tag(b"rTRC", parametric(5, 2.2)),
    "light in a coding": added_tag(SRGB, b"cicp", b"cicp\0\0\0\0" + bytes((1, 8, 0, 1))),
    "grey, inverted": grey_profile(curve(65535, 0)),
}


@pytest.mark.parametrize(
    "profile",
    [
        *ORDINARY.values(),
        with_tag(b"rTRC", curve(round(2.2 * 256))),
        with_tag(b"rTRC", parametric(0, 2.4)),
        with_tag(b"rTRC", parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
        grey_profile(curve(round(1.8 * 256))),
    ],
)
def test_ordinary_profiles(profile: bytes) -> None:
    assert is_ordinary(profile)
    # Remembered.
    assert is_ordinary(bytes(bytearray(profile)))


@pytest.mark.parametrize("profile", ODD.values(), ids=ODD)
def test_odd_profiles(profile: bytes) -> None:
    assert not is_ordinary(profile)
    assert not is_ordinary(profile)


def test_the_newest_64_results_are_cached_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[bytes] = []

    def noted(content: bytes) -> bool:
        examined.append(content)
        return is_profile(content)

    is_profile = icc_profiles.is_profile
    monkeypatch.setattr(icc_profiles, "is_profile", noted)
    profiles = [SRGB + bytes((number,)) for number in range(200)]
    for profile in (*profiles, *profiles[-64:], profiles[-65]):
        is_ordinary(profile)
    assert examined == [*profiles, profiles[-65]]


def decoded(content: bytes) -> tuple[list[Frame], Reason | None]:
    descriptor = os.memfd_create("picture")
    frames: list[Frame] = []
    try:
        os.pwrite(descriptor, content, 0)
        known = sniff(content)
        assert known is not None
        for frame in decode_frames(PreadFile(descriptor), known):
            frames.append(frame)  # noqa: PERF402 - those before an error count
    except UndecodedError as error:
        return frames, error.reason
    finally:
        os.close(descriptor)
    return frames, None


def with_profile(profile: bytes) -> bytes:
    return with_chunks(saved(scene(1, 48, 48), "PNG"), chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)))


@pytest.mark.parametrize("form", ["PNG", pytest.param("JPEG", marks=counts_faults), "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("profile", ORDINARY.values(), ids=ORDINARY)
def test_with_an_ordinary_profile_a_picture_is_hashed_as_without(form: str, profile: bytes) -> None:
    options = {"max_threads": 1} if form == "AVIF" else {}
    frames, reason = decoded(saved(scene(1, 48, 48), form, icc_profile=profile, **options))
    assert reason is None
    assert [frame.look for frame in frames] == [0]


@given(data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_hostile_profiles(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([*ORDINARY.values(), *ODD.values()])))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    end = min(len(content), 600) - 1
    for _ in range(data.draw(st.integers(0, 4)) if end > 0 else 0):
        content[data.draw(st.integers(0, end))] = data.draw(st.integers(0, 255))
    profile = bytes(content)
    ordinary = is_ordinary(profile)
    frames, reason = decoded(with_profile(profile))
    assert frames[0].look == 0
    if ordinary or not icc_profiles.is_profile(profile):
        assert (len(frames), reason) == (1, None)
    else:
        # Applied, or no viewer's, or undecoded.
        assert {frame.look for frame in frames[1:]} <= {PROFILED}
        assert reason in {None, Reason.UNSUPPORTED, Reason.BROKEN}


@given(profile=st.binary(max_size=600))
def test_any_bytes(profile: bytes) -> None:
    assert is_ordinary(profile) is False
    header = profile[:36].ljust(36, b"\0") + b"acsp" + profile[36:]
    assert isinstance(is_ordinary(header), bool)


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_hostile_containers(data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(["profile.png", "alpha.avif", "alpha.jp2", "profile-icon.ico", "gamma.png"])
    )
    content = bytearray(_drawn(name))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    descriptor = os.memfd_create("picture")
    try:
        os.pwrite(descriptor, content, 0)
        kind = {"png": "PNG", "avif": "AVIF", "jp2": "JPEG2000", "ico": "ICO"}[name.rpartition(".")[2]]
        found = tags_of_picture(Image.new("L", (8, 8)), PreadFile(descriptor), kind)
    finally:
        os.close(descriptor)
    assert isinstance(found, ColourInfo)


_files: dict[str, bytes] = {}


def _drawn(name: str) -> bytes:
    if name not in _files:
        _files[name] = ATTACKS[name]()
    return _files[name]


def test_a_large_picture_is_shown_by_some_of_its_pixels() -> None:
    large = swapped().resize((1280, 960), Image.Resampling.NEAREST)
    ((found, alpha),) = apply_profile(large, swapped_profile(), np.asarray(large.convert("L")))
    assert found.width * found.height <= 1 << 19
    assert alpha is not None
    assert alpha.shape == (found.height, found.width)
    # Of the same pixels.
    expected = np.asarray(shown_grey(alpha), int)
    assert np.abs(np.asarray(luma_of(found), int) - expected).max() <= 1


def shown_grey(stored: np.ndarray) -> np.ndarray:
    image = Image.fromarray(stored).convert("RGB")
    ((found, _),) = apply_profile(image, swapped_profile(), None)
    return luma_of(found)


def test_what_a_profile_says_in_tables_and_in_curves_is_shown_both_ways() -> None:
    # The table is that of tones which change places, the curves are ordinary.
    looks = [frame.look for frame in decoded(ATTACKS["profile-table.png"]())[0]]
    assert [LOOKS[look] for look in looks] == ["", "colour profile applied"]
    both = added_tag(swapped_profile(), b"A2B1", profiles_table(table_profile()))
    assert len(list(apply_profile(swapped(), both, None))) == 1


def profiles_table(profile: bytes) -> bytes:
    ((at, length),) = [
        (at, length) for name, at, length, _ in icc_profiles.tags_of(profile) if name == b"A2B0"
    ]
    return profile[at : at + length]


def test_a_profile_that_inflates_without_end_is_not_followed() -> None:
    bomb = zlib.compress(SRGB[:128] + bytes(20 << 20), 9)
    frames, reason = decoded(with_chunks(saved(scene(1, 48, 48), "PNG"), chunk(b"iCCP", b"x\0\0" + bomb)))
    assert len(frames) == 1
    assert reason is not None


def test_more_profiles_than_are_followed_are_a_reason() -> None:
    chunks = [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(make_profile(SRGB_COLORANTS, [1 - VALUES**power] * 3)))
        for power in (1, 2, 3, 4, 5)
    ]
    _, reason = decoded(with_chunks(saved(scene(1, 48, 48), "PNG"), *chunks))
    assert reason is Reason.UNSUPPORTED
