"""Hash videos by the reference implementation of vPDQ and compare them; run by the Python that has it.

    PYTHON reference.py < {"listed": [PATH, ...], "scanned": [PATH, ...]} > RESULT

The result has each file's frames, as `[number, quality, digest]`, and for each scanned file the shares of the
listed and of the scanned frames, for each listed file.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import vpdq  # type: ignore[import-not-found]
from threatexchange.extensions.vpdq.vpdq_brute_matcher import match_VPDQ_hash_brute
from threatexchange.extensions.vpdq.vpdq_util import VpdqCompactFeature


def main() -> None:
    """Read the paths, and write the result."""
    order: dict[str, list[str]] = json.load(sys.stdin)
    frames = {path: vpdq.computeHash(path, thread_count=1) for paths in order.values() for path in paths}
    compact = {path: list(map(VpdqCompactFeature.from_vpdq_feature, of)) for path, of in frames.items()}
    shares: dict[str, dict[str, Any]] = {}
    for scanned in order["scanned"]:
        shares[scanned] = {}
        for listed in order["listed"]:
            found = match_VPDQ_hash_brute(compact[scanned], compact[listed], 50, 31)
            shares[scanned][listed] = [found.compared_match_percent, found.query_match_percent]
    hashed = {path: [[f.frame_number, f.quality, f.hex] for f in of] for path, of in frames.items()}
    json.dump({"frames": hashed, "shares": shares}, sys.stdout)


if __name__ == "__main__":
    main()
