"""Hash files in one way; `recall.py` starts it in hashscan's Python and in the peers'.

    python benchmarks/recall/digests.py WAY NAMES OUT

NAMES is a file of paths with a NUL after each. Writes a JSON line for each file: a list of digests, each with
its hex form, its quality, and what hashscan says of it (variant, whether it is asked tightly, doubt).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = list[list[Any]]
Way = Callable[[str], Found]


def hashscan() -> Way:
    """All that a decoder answers, in this process and without walls."""
    from hashscan.hashing.formats import PREFIX_SIZE, sniff
    from hashscan.hashing.media import decoder
    from hashscan.hashing.records import DecodedPicture, pack_request, unpack_reply
    from hashscan.hashing.variants import SIMILARITY_DOUBTS
    from hashscan.matching.evaluation import RENDERING_DOUBTS, has_tight_threshold

    decode = decoder.load("hashscan.hashing.pdq:PDQ")

    def handle(path: str) -> Found:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            known = sniff(os.pread(descriptor, PREFIX_SIZE, 0))
            if known is None:
                return []
            reply = decode(descriptor, pack_request(known))
            # Containers are not opened without arguments that say so.
            assert isinstance(reply, bytes)
            answer = unpack_reply(reply, known, ["pdq"])
        finally:
            os.close(descriptor)
        if not isinstance(answer, DecodedPicture):
            return []
        return [
            [
                d.value.hex(),
                d.quality,
                d.variant,
                has_tight_threshold(d.rendering, d.turn, d.turn if d.shown else 0),
                RENDERING_DOUBTS.get(d.rendering) or SIMILARITY_DOUBTS[d.doubt],
            ]
            for d in answer.digests
        ]

    return handle


def threatexchange() -> Way:
    """PDQ by python-threatexchange."""
    from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_file

    return lambda path: [[*pdq_from_file(Path(path)), "", False, ""]]


def imagehash() -> Way:
    """ImageHash's pHash of 64 bits."""
    import imagehash as library
    from PIL import Image

    def handle(path: str) -> Found:
        with Image.open(path) as picture:
            return [[str(library.phash(picture)), 100, "", False, ""]]

    return handle


def perception() -> Way:
    """perception's PHash of 16x16."""
    from perception.hashers import PHash

    hasher = PHash(hash_size=16)

    def handle(path: str) -> Found:
        return [[hasher.compute(path, hash_format="hex"), 100, "", False, ""]]

    return handle


WAYS: dict[str, Callable[[], Way]] = {
    "hashscan": hashscan,
    "threatexchange": threatexchange,
    "imagehash": imagehash,
    "perception": perception,
}

_handle: list[Way] = []


def _begin(way: str) -> None:
    _handle.append(WAYS[way]())


def _digests(path: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return json.dumps(_handle[0](path))
        except (OSError, ValueError, TypeError):
            # What a library can't hash it doesn't find.
            return "[]"


def main() -> None:
    """Hash every named file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=sorted(WAYS))
    parser.add_argument("names", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    paths = [os.fsdecode(name) for name in options.names.read_bytes().split(b"\0") if name]
    # Not forked: some of the libraries start threads when they are imported.
    context = multiprocessing.get_context("spawn")
    with (
        context.Pool(len(os.sched_getaffinity(0)), _begin, (options.way,)) as pool,
        options.out.open("w") as out,
    ):
        out.writelines(line + "\n" for line in pool.imap(_digests, paths, chunksize=32))


if __name__ == "__main__":
    main()
