"""Whatever Chromium shows is hashed as it shows it, or is undecoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.model import Verdict
from tests.hashing.browser.compare import compare, table
from tests.hashing.browser.files import write_all

EXCEPTIONS: dict[str, tuple[str, ...]] = {
    "Pillow restores the frame before for disposal methods 4 to 7, Chromium for 4 alone": (
        *(f"gif/dispose-4-opaque-{table}.gif" for table in ("global", "local")),
        *(
            f"gif/dispose-{method}-{kind}-{table}.gif"
            for method in (5, 6, 7)
            for kind in ("opaque", "clear")
            for table in ("global", "local")
        ),
    ),
    "Pillow enlarges the screen for a frame that exceeds it, Chromium cuts the frame off": (
        "gif/frame-beyond.gif",
    ),
    "translucent frames over each other are composed otherwise": (
        "apng/animated-4-dispose-0-blend-1.png",
        "apng/animated-6-dispose-0-blend-1.png",
        "apng/animated-palette-shades.png",
    ),
    "the brightness range of PQ (transfer 16) is reduced as in no other program": (
        "avif/coding-9-16-9-1.avif",
        "png/coding-12-16-0-1.png",
        "png/coding-16-bit.png",
        "png/coding-9-16-0-1.png",
    ),
    "colours that are multiplied by opacity are hashed as if they were not": ("avif/alpha-multiplied.avif",),
    "indices beyond the table of colours are black in Chromium": (
        "bmp/table-half.bmp",
        "png/palette-short-of-indices.png",
    ),
    "Chromium takes an offset of 0 as that behind the headers": ("bmp/fault-offset-0.bmp",),
    "an icon without any opacity is opaque in Chromium but for its mask": (
        "icon/bitmap-32-alpha-none.cur",
        "icon/bitmap-32-alpha-none.ico",
    ),
}
"""By reason, the files that are clean though Chromium shows something else than was hashed."""

UNDECODED_MAX = 284
"""Number of the files that Chromium shows, and that are undecoded; to be lowered, not raised."""


@pytest.mark.slow
def test_all_kinds_of_files(tmp_path: Path) -> None:
    write_all(tmp_path)
    compared = list(compare(tmp_path))
    assert len(compared) >= 1500
    faulty = {each.path.relative_to(tmp_path).as_posix() for each in compared if each.fault}
    known = {name for names in EXCEPTIONS.values() for name in names}
    found = table(compared, tmp_path)
    assert faulty <= known, found
    # Take out of the table what is mended.
    assert known <= faulty, known - faulty
    assert sum(each.hashed.verdict is Verdict.UNDECODED for each in compared) <= UNDECODED_MAX, found
