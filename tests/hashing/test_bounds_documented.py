"""The bounds that docs/containers.md states are those of the code; tests of each package try them.

Those of docs/reference/limits.md are written by a program.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.hashing import containers
from hashscan.hashing.archives import openers
from hashscan.hashing.documents import fonts, metafiles, pdf
from hashscan.hashing.documents.texts import PICTURE_LEAST
from hashscan.hashing.media.picture_opening import Limits
from hashscan.hashing.recognition import archive_probe, text_proof
from hashscan.model import MemberLimits

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "containers.md").read_text().split())
MIB = 1 << 20


def stated() -> dict[str, int]:
    """The number of each bound, by a text with `{}` for it, in which `{:,}` has commas."""
    defaults = MemberLimits()
    return {
        "| `--container-members` | {:,} members or frames |": defaults.members,
        "| `--container-size` | {} GB unpacked |": defaults.bytes >> 30,
        "| `--member-size` | {} MB |": defaults.member_bytes // MIB,
        "| `--container-ratio` | {} unpacked bytes for each of the file": defaults.ratio,
        "| `--container-depth` | {} |": defaults.depth,
        "| `--container-time` | {:.0f} s of processor time;": int(defaults.seconds),
        "what begins within {} MiB": containers.ARCHIVES_SEARCHED // MIB,
        "in videos and documents within {} MiB": archive_probe.TAR_SEARCHED // MIB,
        "ZIP by its end, in the last {:,} bytes": containers.TAIL_SIZE,
        "{} MiB of a text, mail,": openers.READ_MAX // MIB,
        "({} MiB of a compound file)": 4 * openers.READ_MAX // MIB,
        "in Base64 of at least {} digits": text_proof.RUN_LEAST,
        "a text of {} bytes or less": PICTURE_LEAST - 1,
        "of {} with a signature of two bytes": text_proof.FEW_DIGITS * 3 // 4 - 1,
        "{:,} frames or pages of a picture": Limits().frames,
        "a PNG below {} pixels": fonts.SIDE_LEAST,
        "of fewer than {} elements": fonts.ELEMENTS_LEAST,
        "a bitmap letter below {} pixels": pdf._LETTER_SIDE,
        "{:,} pages of a PDF": pdf.PAGES_MAX,
        "more than {:,} single points or rectangles": metafiles._POINTS_MAX,
    }


@pytest.mark.parametrize(("text", "number"), stated().items(), ids=stated())
def test_a_bound_is_documented(text: str, number: int) -> None:
    assert text.format(number) in PAGE


def test_bounds_of_videos_are_documented() -> None:
    pytest.importorskip("av")
    from hashscan.hashing.video import covers, frames, opening

    for text, number in {
        "{} video streams": frames.VideoLimits().streams,
        "not in the last {} KiB": covers._TAIL >> 10,
        "from one of the {} before it": opening._COMPARED,
    }.items():
        assert text.format(number) in PAGE
