"""Whatever FFmpeg shows of an altered video is not clean; see `videos` for the files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.hashing.recognition.videos import CLEAN, FORMS, Form, Reader, altered, encoded, is_shown

SHOWN_MIN = 9
"""Edits of each format that FFmpeg shows, at least."""


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def check(form: Form, reader: Reader, **lengths: Sequence[int]) -> None:
    edits = list(altered(form, encoded(form), **lengths))
    shown = [each for each in edits if is_shown(each.content, form.size)]
    assert len(shown) >= SHOWN_MIN
    assert [each.how for each in shown if reader.outcome(each.content, form.size) == CLEAN] == []


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form.codec in {"mpeg4", "flv", "libvpx"}], ids=str
)
def test_an_altered_video_that_ffmpeg_shows_is_not_clean(form: Form, reader: Reader) -> None:
    check(form, reader, lengths=(1, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_any_altered_video_that_ffmpeg_shows_is_not_clean(form: Form, reader: Reader) -> None:
    check(form, reader)
