"""The recorder of a service: what can't be kept is recorded all the same."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cases.uploads import follow_uploads
from hashscan.model import Digest, FileResult, FileStat, Verdict
from hashscan.service.engine.contents import Receiving, Room
from hashscan.service.engine.uploads import Client, Upload
from hashscan.service.records.journal import Journal
from hashscan.service.records.metrics import ServiceMetrics
from hashscan.service.records.recording import UploadRecorder
from hashscan.settings.matching import DecodingLimits
from hashscan.settings.service import EngineLimits, ServeSettings
from hashscan.state_dir import StateDir


def test_content_for_which_no_descriptor_is_left_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyrage = pytest.importorskip("pyrage")
    (tmp_path / "recipients").write_text(str(pyrage.x25519.Identity.generate().to_public()))
    state = StateDir(tmp_path / "state")
    settings = ServeSettings(
        (), state, None, EngineLimits(workers=1), DecodingLimits(), keep_refused=tmp_path / "recipients"
    )
    digest = Digest("sha256", hashlib.sha256(b"listed").digest())
    result = FileResult(b"", FileStat(0, 0, 6, 0, 0, 1, 0), Verdict.MATCH, digests=(digest,))

    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def test() -> str:
        journal = Journal(state)
        recorder = UploadRecorder(settings, journal, ServiceMetrics())
        await journal.open()
        receiving = Receiving(Room(100, 100))
        receiving.write(b"listed")
        with receiving.finish() as content, monkeypatch.context() as patch:
            patch.setattr(os, "dup", none_left)
            reference = await recorder.refused(Upload(Client("clamd", "uid=0", 1)), result, content)
        await recorder.close(5)
        await journal.close(5)
        return reference

    reference = asyncio.run(test())
    with Ledger(state) as ledger:
        follow_uploads(ledger, state)
        assert ledger.one("SELECT kept FROM refusals WHERE reference=?", reference) == ("",)
