"""Matching services among the lists of the engine: asked with each check, and never taken for an answer."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.pdq import PDQ
from hashscan.lists.services.settings import ServiceSettings
from hashscan.lists.store import ListStore
from hashscan.model import Reason, Verdict
from hashscan.scan.workers.worker import OPEN_BYTES_MAX
from hashscan.service.engine.uploads import Outcome, Unchecked
from hashscan.state_dir import StateDir
from tests.matching_services import SECRET, Listed, ServiceServer, service_running
from tests.pictures import encoded, scene
from tests.service.engine.serving import (
    check,
    client,
    entry_of,
    picture,
    run,
    serving,
    settings_of,
    store_list,
)


def add_service(state: Path, server: ServiceServer) -> None:
    """Store a service as a list; its matches count, and it is waited for a second."""
    key = state / "key"
    key.write_text(SECRET)
    key.chmod(0o600)
    settings = ServiceSettings(server.url, "hashscan", str(key), acts=True, patience=1.0)
    ListStore(StateDir(state).lists).add_service("national", settings)


def test_a_service_is_asked_with_each_check(tmp_path: Path) -> None:
    here, there = picture(1), picture(2)
    store_list(tmp_path, entry_of(here))
    with service_running(entries=[Listed("n-1", "sha256", hashlib.sha256(there).digest())]) as server:
        add_service(tmp_path, server)

        async def test() -> None:
            async with serving(settings_of(tmp_path, workers=1)) as engine:
                assert {info.name for info in engine.infos} == {"ours", "national"}
                found = await check(engine, there)
                assert (found.verdict, found.result.matches[0].list_name) == (Verdict.MATCH, "national")
                assert (await check(engine, here)).result.matches[0].list_name == "ours"
                assert (await check(engine, picture(3))).outcome is Outcome.ALLOW
                digests = [("sha256", hashlib.sha256(content).digest()) for content in (there, b"other")]
                assert [len(one) for one in await engine.match(digests, client())] == [1, 0]

        run(test)


def test_a_picture_that_a_service_names_is_confirmed_and_refused(tmp_path: Path) -> None:
    original = picture(2)
    value, _ = PDQ().digest(np.asarray(Image.open(BytesIO(original)).convert("L")))
    with service_running(entries=[Listed("n-2", "pdq", value)]) as server:
        add_service(tmp_path, server)

        async def test() -> None:
            async with serving(settings_of(tmp_path, workers=1)) as engine:
                found = await check(engine, encoded(scene(2), quality=60))
                assert (found.verdict, found.outcome) == (Verdict.MATCH, Outcome.REFUSE)
                assert [m.entry_id for m in found.result.matches] == ["n-2"]
                assert (await check(engine, picture(3))).verdict is Verdict.CLEAN

        run(test)


def test_a_silent_service_counts_for_large_uploads_too(tmp_path: Path) -> None:
    with service_running() as server:
        add_service(tmp_path, server)
        server.kill()

        async def test() -> None:
            async with serving(settings_of(tmp_path, workers=1)) as engine:
                silent = await check(engine, bytes(OPEN_BYTES_MAX))
                assert (silent.result.reason, silent.outcome) == (Reason.PENDING, Outcome.ERROR)

        run(test)


def test_a_silent_service_is_trouble_and_hides_no_match(tmp_path: Path) -> None:
    here = picture(1)
    store_list(tmp_path, entry_of(here))
    with service_running() as server:
        add_service(tmp_path, server)
        server.kill()

        async def test() -> None:
            async with serving(settings_of(tmp_path, workers=1)) as engine:
                for _ in range(2):
                    silent = await check(engine, picture(2))
                    assert (silent.verdict, silent.result.reason, silent.outcome) == (
                        Verdict.UNDECODED,
                        Reason.PENDING,
                        Outcome.ERROR,
                    )
                assert (await check(engine, here)).outcome is Outcome.REFUSE
                with pytest.raises(Unchecked, match="national"):
                    await engine.match([("sha256", bytes(32))], client())

        run(test)
