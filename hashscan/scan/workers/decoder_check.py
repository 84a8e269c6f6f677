"""Whether the decoders of this machine decode at all.

A library that was replaced may make every file of a format undecoded, which by itself is no failure of a
scan: customers have broken pictures. A scan counts what is undecoded, by format and owner, and where that is
much it has a decoder decode a picture of our own. So no customer can make a scan incomplete with broken
files: the picture of our own is decoded then, and he is only one owner.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hashscan.hashing.formats import FORMATS
from hashscan.matching.setup import WorkerSetup
from hashscan.model import ALWAYS_COMPUTED, FileResult, Kept, Reason, Verdict
from hashscan.scan.single import check_file
from hashscan.scan.workers.worker import Worker

_FAILURES = frozenset({Reason.BROKEN, Reason.TRUNCATED, Reason.UNSUPPORTED, Reason.DECODER_DIED})
"""What a decoder that doesn't work says of files; limits of time, memory and size are not among it."""

FEWEST_FILES = 4
"""Undecoded files of one format that give reason to look at its decoder."""
FEWEST_OWNERS = 3
"""Owners whose files are mostly undecoded, so that it isn't one customer's doing."""

Probe = Callable[[], Mapping[str, str]]


class DecodingCount:
    """What of each format one scan has read and decoded, owner by owner."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, dict[int, list[int]]] = defaultdict(dict)
        """By format and owner: how many files were decoded, how many not."""

    def add(self, result: FileResult, kept: Kept | None) -> None:
        """Count one file that was read.

        Args:
            result: its result.
            kept: what is kept of it; without, nobody knows of a decoded file that it is a picture.
        """
        if result.reason in _FAILURES and result.format:
            name, failed = result.format, 1
        elif result.reason is None and kept is not None and kept.kind >= 0:
            name, failed = FORMATS[kept.kind].name, 0
        else:
            return
        owners = self._counts[name]
        count = owners.get(result.stat.uid)
        if count is None:
            count = owners[result.stat.uid] = [0, 0]
        count[failed] += 1

    def shortcomings(self, probe: Probe, decoded_before: Callable[[str], int]) -> Iterator[str]:
        """Why the scan is incomplete, in words.

        Args:
            probe: says which formats are not decoded here, by `undecoded_samples`; not called without need.
            decoded_before: how many contents of a format are known that were decoded, in this scan or before.
        """
        broken: Mapping[str, str] | None = None
        for name, owners in sorted(self._counts.items()):
            decoded, failed = (sum(count[place] for count in owners.values()) for place in (0, 1))
            if failed < max(FEWEST_FILES, decoded):
                continue
            broken = probe() if broken is None else broken
            words = f"{failed} of {decoded + failed} {name} files that were read are undecoded"
            if name in broken and (broken[name] != Reason.UNSUPPORTED or decoded_before(name)):
                yield f"{words}, and a {name} picture of our own is: {broken[name]}; see `hashscan selftest`"
                continue
            affected = sum(count[1] > count[0] for count in owners.values())
            if affected >= max(FEWEST_OWNERS, len(owners) / 2) and decoded_before(name) > failed:
                yield f"{words}, those of {affected} owners, and earlier ones were decoded"


def undecoded_samples(setup: WorkerSetup) -> dict[str, str]:
    """Have a confined decoder decode a picture of each format, drawn by ourselves; of JPEG two kinds.

    Args:
        setup: says how decoders are held; its lists are not asked.

    Returns:
        By format why its picture is not decoded; those that are decoded are left out.
    """
    from hashscan.hashing.self_check import own_pictures

    formats = [known for known in FORMATS if known.pillow is not None]
    try:
        drawn = own_pictures()
    except Exception as error:
        # Whatever a library raises that can't even save a picture, it is the finding that it is of no use.
        return {known.name: f"none can be drawn: {error}" for known in formats}
    found: dict[str, str] = {}
    setup = replace(setup, lists=(), algorithms=ALWAYS_COMPUTED, keep=False)
    with tempfile.TemporaryDirectory(prefix="hashscan-selftest-") as folder, Worker(setup) as worker:
        place = Path(folder) / "picture"
        for known in formats:
            pictures = [content for name, content in drawn if name == known.pillow]
            if not pictures:
                found[known.name] = Reason.UNSUPPORTED.value
            for content in pictures:
                place.write_bytes(content)
                result = check_file(worker, bytes(place))
                if result.verdict is not Verdict.CLEAN:
                    found[known.name] = (result.reason or result.verdict).value
    return found
