"""ImageHash's hashes as we pack them, against the library's own hexadecimal form."""

from __future__ import annotations

import subprocess
import sys

import imagehash
import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.hash_algorithms import PictureHash
from hashscan.hashing.perceptual import AHash, DHash, PHash, WHash
from hashscan.model import ALGORITHMS
from tests.hashing.drawings import clouds, disc, flat, scene

LIBRARY = [
    (PHash, imagehash.phash),
    (DHash, imagehash.dhash),
    (AHash, imagehash.average_hash),
    (WHash, imagehash.whash),
]


@pytest.mark.parametrize(("ours", "theirs"), LIBRARY)
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (300, 20), (333, 517), (600, 900)])
def test_same_as_the_library(ours: type[PictureHash], theirs, shape: tuple[int, int]) -> None:
    for drawing in (clouds, disc, flat, scene):
        luma = drawing(*shape)
        value, quality = ours().digest(luma)
        assert value.hex() == str(theirs(Image.fromarray(luma)))
        assert quality == 100
        assert len(value) == ALGORITHMS[ours.name].size


def test_wavelets_of_large_pictures_stay_close_to_the_librarys_own() -> None:
    luma = scene(2100, 2500)
    ours = np.frombuffer(WHash().digest(luma)[0], np.uint8)
    theirs = np.frombuffer(bytes.fromhex(str(imagehash.whash(Image.fromarray(luma)))), np.uint8)
    assert np.bitwise_count(ours ^ theirs).sum() <= 2


@pytest.mark.integration
def test_the_library_is_imported_only_when_asked_for() -> None:
    program = (
        "import sys, hashscan.hashing.perceptual as hashes\n"
        "before = 'imagehash' in sys.modules\n"
        "hashes.AHash()\n"
        "print(before, 'imagehash' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
