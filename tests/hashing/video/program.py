"""A program of the sandbox that decodes videos."""

from __future__ import annotations

from collections.abc import Callable

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.video.frames import VideoFrame, VideoLimits, hash_video
from hashscan.hashing.video.opening import VideoOpener
from hashscan.hashing.video.streams import Sampling
from hashscan.sandbox.zygote import Parts
from tests.sandbox import program


def load() -> Callable[[int, bytes], bytes]:
    hashes = [PDQ()]

    def handle(descriptor: int, request: bytes) -> bytes:
        records = hash_video(PreadFile(descriptor), hashes, Sampling(request.decode()), VideoLimits())
        digests = [
            record.runs[0].values[:32] if isinstance(record, VideoFrame) else repr(record.fault).encode()
            for record in records
        ]
        return b"".join(digests)

    return handle


def load_hostile(listener: str) -> Callable[[int, bytes], bytes | Parts]:
    """Load what opens videos, and do then as an intruder would."""
    VideoOpener([PDQ()], ("turned",), 1 << 20)
    return program.load(listener)
