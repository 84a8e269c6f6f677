"""Animations composed as browsers do."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.hashing.media.animation import compose_frames, composition_differs, pieces_of
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import LOOKS
from hashscan.model import Reason
from tests.examples import examples
from tests.hashing.media.test_icc_profiles import decoded
from tests.pictures import scene
from tests.viewer_attacks import ATTACKS, dithered, gif, saved

INK, PAPER, CLEAR = 0, 1, 2
PALETTE = bytes((0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0))


def plane(value: int) -> np.ndarray:
    return np.full((240, 320), value, np.uint8)


def left(value: int) -> np.ndarray:
    """Half of a frame of one index, half transparent."""
    found = plane(CLEAR)
    found[:, :160] = value
    return found


def composed(content: bytes, form: str = "GIF") -> list[tuple[np.ndarray, np.ndarray]] | None:
    descriptor = os.memfd_create("animation")
    try:
        os.pwrite(descriptor, content, 0)
        found = pieces_of(PreadFile(descriptor), form)
        if not composition_differs(*found, form):
            return None
        frames = compose_frames(*found, 64_000_000)
        return [(black.copy(), alpha.copy()) for black, alpha in frames]
    finally:
        os.close(descriptor)


def test_what_pillow_composes_as_browsers_do_is_left_to_it() -> None:
    for content in (
        saved(scene(1), "GIF"),
        saved(scene(1), "GIF", save_all=True, append_images=[scene(2)]),
        gif([(plane(INK), None, 1), (left(PAPER), CLEAR, 1)], PALETTE),
        gif([(left(INK), CLEAR, 2), (left(PAPER), CLEAR, 2)], PALETTE),
    ):
        assert composed(content) is None


def test_a_cleared_frame_leaves_nothing() -> None:
    found = composed(gif([(plane(PAPER), None, 2), (left(INK), CLEAR, 1)], PALETTE))
    assert found is not None
    assert found[0][1].min() == 255
    assert found[1][1][:, :160].min() == 255
    assert found[1][1][:, 160:].max() == 0


def test_a_frame_is_taken_back() -> None:
    frames = [(plane(INK), None, 1), (plane(PAPER), None, 3), (left(PAPER), CLEAR, 0)]
    found = composed(gif(frames, PALETTE))
    assert found is not None
    assert found[1][0].min() == 255
    assert (found[2][0][:, :160].min(), found[2][0][:, 160:].max()) == (255, 0)
    assert found[2][1].min() == 255


@pytest.mark.parametrize(("disposal", "kept"), [(4, False), (5, True), (7, True)])
def test_disposal_methods_that_are_not_defined(disposal: int, kept: bool) -> None:
    frames = [(plane(INK), None, 1), (plane(PAPER), None, disposal), (plane(CLEAR), CLEAR, 1)]
    # The first frame is taken back, too, or Pillow would do the same as browsers.
    found = composed(gif([(plane(PAPER), None, disposal), *frames], PALETTE))
    assert found is not None
    assert found[3][0].max() == found[3][0].min() == (255 if kept else 0)


def test_a_later_frame_does_not_enlarge_the_canvas() -> None:
    large = np.full((300, 400), PAPER, np.uint8)
    found = composed(gif([(plane(INK), None, 1), (large, None, 1)], PALETTE))
    assert found is not None
    assert found[1][0].shape == (240, 320)
    assert found[1][0].min() == 255


def test_translucent_colours_are_put_over_each_other() -> None:
    image = scene(1).convert("RGBA")
    image.putalpha(128)
    found = composed(
        saved(image, "PNG", save_all=True, append_images=[scene(2).convert("RGBA")], blend=1), "PNG"
    )
    assert found is not None
    assert found[1][1].min() == 255


def test_the_first_frame_does_not_fill_the_canvas() -> None:
    small = np.zeros((40, 60), np.uint8)
    found = composed(gif([(small, None, 1)], PALETTE))
    assert found is not None
    assert found[0][1][:40, :60].min() == 255
    assert found[0][1].mean() < 10


@pytest.mark.parametrize("name", ["cleared.gif", "cleared.png", "small-first.gif"])
def test_what_is_hidden_by_it_is_hashed(name: str) -> None:
    frames, reason = decoded(ATTACKS[name]())
    assert reason is None
    over = [frame for frame in frames if LOOKS[frame.look] == "over white" and frame.part.number == 2]
    expected = np.where(dithered() == 1, 0, 255)
    # The small first frame stays.
    assert np.array_equal(over[-1].luma[4:], expected[4:])


def test_more_frames_than_are_decoded_are_a_reason() -> None:
    content = gif([(np.zeros((2, 2), np.uint8), None, 1)] * 1001, PALETTE)
    assert decoded(content)[1] in {Reason.TOO_MANY, Reason.TIMEOUT}


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_hostile_animations(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["cleared.gif", "cleared.png", "small-first.gif"]))
    content = bytearray(_drawn(name))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(40, len(content))) :]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    # Nothing is raised but an UndecodedError, which `decoded` takes.
    frames, reason = decoded(bytes(content))
    assert frames or reason is not None


_files: dict[str, bytes] = {}


def _drawn(name: str) -> bytes:
    if name not in _files:
        _files[name] = ATTACKS[name]()
    return _files[name]
