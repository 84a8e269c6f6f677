"""A plug-in of the sandbox that decodes videos."""

from __future__ import annotations

from collections.abc import Callable

from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.video.frames import Sampling, VideoFrame, VideoLimits, hash_video


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
