from __future__ import annotations

import pytest

from hashscan.hashing.variants import RENDERINGS, TURNS, WHOLE, Kind, Part, PictureDigest


def variant(part: Part = WHOLE, *, rendering: str = "", turn: str = "", shown: bool = False) -> PictureDigest:
    return PictureDigest(
        part, RENDERINGS.index(rendering), TURNS.index(turn), shown, "pdq", bytes(32), 100, 0
    )


@pytest.mark.parametrize(
    ("digest", "description"),
    [
        (variant(), "as stored"),
        (variant(rendering="512x512"), "512x512"),
        (variant(turn="mirrored, turned 90"), "mirrored, turned 90"),
        (variant(turn="turned 270", shown=True), "as shown"),
        (
            variant(rendering="borders trimmed, 512x512", turn="mirrored"),
            "borders trimmed, 512x512, mirrored",
        ),
        (variant(Part(Kind.FRAME, 17)), "frame 17"),
        (variant(Part(Kind.PAGE, 3), turn="turned 90"), "page 3, turned 90"),
        (variant(Part(Kind.PREVIEW)), "preview"),
    ],
)
def test_descriptions(digest: PictureDigest, description: str) -> None:
    assert digest.variant == description
    assert digest.plain == (description == "as stored")
