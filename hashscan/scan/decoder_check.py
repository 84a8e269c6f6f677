"""Check that the decoders of this machine work at all.

A library that was replaced may make every file of a format undecoded. Undecoded files alone are no failure of
a scan: customers have broken pictures. A scan counts undecoded files by format and owner, and if there are
many it has a decoder decode a picture of our own. So no customer can make a scan incomplete with broken
files: our own picture is decoded then, and the customer is only one owner.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hashscan.hashing.formats import FORMATS
from hashscan.matching.worker_setup import WorkerSetup, licensed_by
from hashscan.model import ALWAYS_COMPUTED, FileResult, Reason, StoredContentData, Verdict
from hashscan.scan.single_checks import check_file
from hashscan.scan.workers.worker import Worker
from hashscan.shortcomings import Shortcoming, ShortcomingCode

_FAILURES = frozenset(
    {
        Reason.BROKEN,
        Reason.TRUNCATED,
        Reason.UNSUPPORTED,
        Reason.DECODER_DIED,
        Reason.HASH_FAILED,
        Reason.PART_FAILED,
    }
)
"""The reasons that a decoder gives if it doesn't work; the limits of time, memory and size are not among
them."""

FEWEST_FILES = 4
"""The number of undecoded files of one format from which its decoder is checked."""
FEWEST_OWNERS = 3
"""The number of owners with mostly undecoded files from which one customer can't be the cause."""

Probe = Callable[[], Mapping[str, str]]


class DecodingCount:
    """The number of files that one scan has read and decoded, by format and owner."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, dict[int, list[int]]] = defaultdict(dict)
        """By format and owner: the number of decoded and of undecoded files."""

    def add(self, result: FileResult, kept: StoredContentData | None) -> None:
        """Count one file that was read. Without data kept for the cache, a decoded file is not known to be a
        picture."""
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

    def shortcomings(self, probe: Probe, decoded_before: Callable[[str], int]) -> Iterator[Shortcoming]:
        """Yield the reasons why decoding makes the scan incomplete; `probe` is called only if needed."""
        broken: Mapping[str, str] | None = None
        for name, owners in sorted(self._counts.items()):
            decoded, failed = (sum(count[place] for count in owners.values()) for place in (0, 1))
            if failed < max(FEWEST_FILES, decoded):
                continue
            broken = probe() if broken is None else broken
            counts = f"{failed} of {decoded + failed} {name} files that were read are undecoded"
            if name in broken and (broken[name] != Reason.UNSUPPORTED or decoded_before(name)):
                why = f"a {name} picture of our own is: {broken[name]}; see `hashscan selftest`"
                yield Shortcoming(ShortcomingCode.DECODER, f"{counts}, and {why}", name)
                continue
            affected = sum(count[1] > count[0] for count in owners.values())
            if affected >= max(FEWEST_OWNERS, len(owners) / 2) and decoded_before(name) > failed:
                why = f"those of {affected} owners, and earlier ones were decoded"
                yield Shortcoming(ShortcomingCode.DECODER, f"{counts}, {why}", name)


def undecoded_samples(setup: WorkerSetup) -> dict[str, str]:
    """Return by format why a sandboxed decoder fails on our own picture of it; JPEG has two pictures."""
    from hashscan.hashing.media.samples import builtin_pictures

    formats = [known for known in FORMATS if known.pillow is not None]
    try:
        drawn = builtin_pictures()
    except Exception as error:
        # Whatever is raised by a library that can't even save a picture, the result is that it can't be used.
        return {known.name: f"none can be drawn: {error}" for known in formats}
    found: dict[str, str] = {}
    algorithms = (*ALWAYS_COMPUTED, *licensed_by(setup.photodna))
    setup = replace(setup, lists=(), algorithms=algorithms, keep=False)
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
