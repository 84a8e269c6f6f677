"""Digest pictures that are attached to notices: in memory and in the sandbox, and never stored."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time

from msgspec import structs

from hashscan.hashing.formats import PREFIX_SIZE, sniff
from hashscan.locking import ClosedOnExit
from hashscan.matching.worker_setup import WorkerSetup, sandbox_options
from hashscan.model import ALGORITHMS, Digest
from hashscan.sandbox.client import Sandbox
from hashscan.sandbox.decoders import DecoderLost
from hashscan.scan.stay_down import decoded_pdq
from hashscan.scan.workers.worker import picture_program
from hashscan.settings.matching import DecodingLimits

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_SECONDS = 5.0
"""Processor time of one picture. Senders may be malicious, and orders must not wait for their pictures."""
_LOST_SECONDS = 30.0
"""Total time of pictures whose decoder was lost."""
_ALL_SECONDS = 120.0
"""Time for all pictures of a command; later ones have no PDQ."""


class PictureDigester(ClosedOnExit):
    """Digests pictures; the decoder starts with the first one."""

    def __init__(self) -> None:
        self._sandbox: Sandbox | None = None
        self._left = _ALL_SECONDS

    def __call__(self, data: bytes) -> tuple[tuple[str, str], ...]:
        """Return algorithm and digest in hex of a picture, ordered by algorithm; nothing for other bytes.

        A picture that can't be decoded, or has too little detail, has no PDQ.

        Raises:
            SandboxError: the sandbox is not available.
        """
        kind = sniff(memoryview(data)[:PREFIX_SIZE])
        if kind is None or kind.container:
            return ()
        found = {name: hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256")}
        pdq = self._pdq_of(data) if self._left > 0 else None
        if pdq is not None and (pdq.quality or 0) >= ALGORITHMS["pdq"].min_quality:
            found["pdq"] = pdq.value.hex()
        return tuple(sorted(found.items()))

    def _pdq_of(self, data: bytes) -> Digest | None:
        begun = time.monotonic()
        with open(os.memfd_create("attachment", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb", 0) as stream:
            stream.write(data)
            fcntl.fcntl(stream, fcntl.F_ADD_SEALS, _SEALS)
            try:
                return decoded_pdq(self._started(), stream.fileno(), os.geteuid())
            except (DecoderLost, ValueError):
                return None
            finally:
                self._left -= time.monotonic() - begun

    def _started(self) -> Sandbox:
        if self._sandbox is None:
            limits = DecodingLimits()
            options = structs.replace(sandbox_options(limits), seconds=_SECONDS, owner_seconds=_LOST_SECONDS)
            setup = WorkerSetup((), options, ("sha256", "pdq"), limits.max_pixels, variants=())
            self._sandbox = Sandbox(picture_program(setup), setup.sandbox)
        return self._sandbox

    def close(self) -> None:
        """End the decoder."""
        if self._sandbox is not None:
            self._sandbox.close()
