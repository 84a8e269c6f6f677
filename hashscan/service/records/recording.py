"""Record the checks of a service: refused uploads in the journal, counts for statistics, metrics.

The content of refused uploads is kept if the operator names recipients (age), which is off by default: a file
in a folder of the state for each reference. The service can't decrypt them. Each is written under another
name, and renamed when it is whole and on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import secrets
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hashscan.atomic_files import replace_file, sync_folder
from hashscan.cases.uploads import ASKED, PERIOD, UNCHECKED, CheckCount, Checks, Refusal
from hashscan.errors import HashscanError, UsageError
from hashscan.model import FileResult, Verdict
from hashscan.quarantine.export import encrypt_to, recipient_keys
from hashscan.reports.records import FINDINGS, match_fields
from hashscan.service.engine.contents import Content
from hashscan.service.engine.recorder import REFERENCE_ALPHABET, REFERENCE_LENGTH, Recorder
from hashscan.service.engine.uploads import Client, Outcome, Upload
from hashscan.service.records.journal import Journal
from hashscan.service.records.metrics import ServiceMetrics
from hashscan.settings.service import ServeSettings
from hashscan.text import printable, shortened

SUFFIX = ".age"
_PARTIAL = ".partial"
PROBE = "probe"
"""Door of the service's own checks, which count nowhere."""
_KEY = "reference.key"
_KEY_BYTES = 32
_NAME_MAX = 500

_log = logging.getLogger(__name__)


class UploadRecorder(Recorder):
    """The recorder of a service."""

    def __init__(self, settings: ServeSettings, journal: Journal, metrics: ServiceMetrics) -> None:
        """Prepare to keep contents, if the settings say so."""
        self._journal = journal
        self._metrics = metrics
        self._key = _reference_key(settings)
        self._kept = KeptContents(settings) if settings.keep_refused else None
        # One thread, so that the bytes in all are known.
        self._keeper = ThreadPoolExecutor(1, "keep-refused")
        self._counts: defaultdict[tuple[int, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        self._recording: set[asyncio.Task[None]] = set()
        self.answered = 0
        """Number of checks that workers have answered."""

    async def refused(self, upload: Upload, result: FileResult, content: Content) -> str:
        """Record a refused upload before it is answered, and return its reference.

        The same content of one customer, or else of one address, has one reference at a door. Nobody else can
        compute it, and it says nothing about content that another customer sends.
        """
        reference = self._reference_of(upload.client, result)
        descriptor = -1
        if self._keeps(result):
            try:
                # The caller closes the content when it is cancelled, but the record goes on.
                descriptor = os.dup(content.descriptor)
            except OSError as error:
                _log.error("the content of %s is not kept: %s", reference, error)
        task = asyncio.ensure_future(self._record(reference, upload, result, descriptor, content.size))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        await asyncio.shield(task)
        return reference

    def _keeps(self, result: FileResult) -> bool:
        return self._kept is not None and result.verdict in FINDINGS and not result.only_test

    async def _record(
        self, reference: str, upload: Upload, result: FileResult, descriptor: int, size: int
    ) -> None:
        client = upload.client
        digests: dict[str, str] = {}
        for digest in result.digests:
            digests.setdefault(digest.algorithm, digest.value.hex())
        kept = ""
        if descriptor >= 0:
            loop = asyncio.get_running_loop()
            sha256 = bytes.fromhex(digests.get("sha256", ""))
            kept = await loop.run_in_executor(self._keeper, self._keep, reference, descriptor, size, sha256)
        refusal = Refusal(
            reference, int(time.time()), client.door, client.address, printable(client.customer),
            shortened(printable(os.fsdecode(upload.name)), _NAME_MAX), result.verdict.value,
            result.because or str(result.reason or ""), size, digests,
            [match_fields(match) for match in result.matches], kept,
        )  # fmt: skip
        _log.warning("refused %s: %s, from %s %s", reference, refusal.verdict, client.door, client.address)
        await self._journal.write(refusal)

    def _keep(self, reference: str, descriptor: int, size: int, sha256: bytes) -> str:
        """Keep a content and close its descriptor; in the keeper's thread."""
        assert self._kept is not None
        try:
            return self._kept.keep(reference, descriptor, size, sha256)
        except (NotKept, OSError) as error:
            _log.error("the content of %s is not kept: %s", reference, error)
            return ""
        finally:
            os.close(descriptor)

    def _reference_of(self, client: Client, result: FileResult) -> str:
        sha256 = next((digest.value for digest in result.digests if digest.algorithm == "sha256"), None)
        if sha256 is None:
            number = secrets.randbits(5 * REFERENCE_LENGTH)
        else:
            who = f"customer {client.customer}" if client.customer else f"address {client.address}"
            text = b"\0".join((client.door.encode(), who.encode("utf-8", "surrogatepass"), sha256))
            code = hashlib.blake2b(text, digest_size=5 * REFERENCE_LENGTH // 8, key=self._key).digest()
            number = int.from_bytes(code, "big")
        return "".join(REFERENCE_ALPHABET[number >> 5 * place & 31] for place in range(REFERENCE_LENGTH))

    def checked(self, client: Client, verdict: Verdict, outcome: Outcome, size: int, seconds: float) -> None:
        self.answered += 1
        if client.door == PROBE:
            return
        found, answer = verdict.value, outcome.value
        self._metrics.checked(client.door, found, answer, size, seconds)
        self._count(client.door, found, answer, 1, size)

    def matched(self, client: Client, digests: int, found: int) -> None:
        self.answered += 1
        self._metrics.matched(client.door, digests, found)
        self._count(client.door, Verdict.MATCH.value, ASKED, found, 0)
        self._count(client.door, Verdict.CLEAN.value, ASKED, digests - found, 0)

    def failed(self, client: Client, error: HashscanError) -> None:
        if client.door == PROBE:
            return
        self._metrics.failed(client, error)
        self._count(client.door, UNCHECKED, Outcome.ERROR.value, 1, 0)

    def _count(self, door: str, verdict: str, outcome: str, number: int, size: int) -> None:
        if number:
            counts = self._counts[int(time.time()) // PERIOD * PERIOD, door, verdict, outcome]
            counts[0] += number
            counts[1] += size

    async def flush(self) -> None:
        counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        periods: dict[int, list[CheckCount]] = {}
        for (at, door, verdict, outcome), (number, size) in counts.items():
            periods.setdefault(at, []).append(CheckCount(door, verdict, outcome, number, size))
        for at, rows in periods.items():
            await self._journal.write(Checks(at, rows))

    async def close(self, seconds: float) -> None:
        """Finish the records in progress, within `seconds`, and write the counts."""
        if self._recording:
            await asyncio.wait(self._recording, timeout=seconds)
        await self.flush()
        self._keeper.shutdown(wait=False)


def _reference_key(settings: ServeSettings) -> bytes:
    """Return the key of references; make it at the first start."""
    path = settings.state.uploads / _KEY
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != _KEY_BYTES:
        key = secrets.token_bytes(_KEY_BYTES)
        settings.state.make()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(path, key)
    return key


class NotKept(HashscanError):
    """The error that content can't be kept; the upload stays refused."""


class KeptContents:
    """The encrypted contents, and their bytes in all."""

    def __init__(self, settings: ServeSettings) -> None:
        """Read the recipients, and count what is kept."""
        assert settings.keep_refused is not None
        self._keys = recipient_keys(_recipients(settings.keep_refused))
        self._folder = settings.state.refused
        self._most = settings.keep_refused_bytes
        settings.state.make()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.bytes = 0
        for entry in os.scandir(self._folder):
            if entry.name.endswith(_PARTIAL):
                os.unlink(entry.path)
            else:
                self.bytes += entry.stat(follow_symlinks=False).st_size

    def keep(self, reference: str, descriptor: int, size: int, sha256: bytes) -> str:
        """Encrypt the content behind a descriptor, whose offset is not used, unless it is kept already;
        return the name of its file. NotKept: there is no room, or the content is no longer that which was
        checked."""
        path = self._folder / f"{reference}{SUFFIX}"
        if path.exists():
            return path.name
        if self.bytes + size > self._most:
            raise NotKept(f"{self.bytes} bytes are kept already", advice="Move files elsewhere.")
        partial = path.with_suffix(_PARTIAL)
        try:
            with open(
                os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b"
            ) as output:
                clear = _Positioned(descriptor, size)
                encrypt_to(self._keys, cast("Any", io.BufferedReader(clear, 1 << 20)), output)
                if clear.digest.digest() != sha256:
                    raise NotKept("the content has changed since it was checked")
                output.flush()
                os.fsync(output.fileno())
                written = output.tell()
            partial.rename(path)
            sync_folder(self._folder)
        except BaseException:
            with suppress(FileNotFoundError):
                partial.unlink()
            raise
        self.bytes += written
        return path.name


class _Positioned(io.RawIOBase):
    """A descriptor's bytes, read by position and digested."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._left = size
        self._offset = 0
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        read = os.preadv(self._descriptor, [view], self._offset) if view else 0
        self.digest.update(view[:read])
        self._left -= read
        self._offset += read
        return read


def _recipients(path: Path) -> list[str]:
    """Return the recipients that a file names, one on each line; they are no secret."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--keep-refused: {path} can't be read: {error}", advice="Name a text file."
        ) from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError(f"--keep-refused: {path} names no recipient", advice="Write age1... on a line.")
    return found
