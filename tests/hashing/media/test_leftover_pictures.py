"""Bytes in a picture's metadata that are left of another one."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from hashscan.hashing.embedded.metadata import pictures_in_metadata
from hashscan.hashing.pread import PreadFile


@pytest.mark.parametrize(("before_scan", "number"), [(0, 0), (40, 1)])
def test_the_begin_of_a_jpeg_is_a_picture_from_its_scan_on(before_scan: int, number: int) -> None:
    whole, inner = io.BytesIO(), io.BytesIO()
    Image.new("L", (64, 64), 90).save(whole, "JPEG")
    Image.effect_noise((64, 64), 90).save(inner, "JPEG")
    begin = inner.getvalue()[: inner.getvalue().index(b"\xff\xda") + before_scan]
    segment = b"\xff\xed" + (2 + len(begin)).to_bytes(2) + begin
    content = whole.getvalue()[:2] + segment + whole.getvalue()[2:]

    with Image.open(io.BytesIO(content)) as image:
        found = pictures_in_metadata(image, PreadFile(content), "JPEG")
    assert (len(found.sources), found.reason) == (number, None)
