"""Quarantine of what lies in Azure's and Google's storage, and of copies that lie elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.quarantine.captured_file import Outcome, QuarantineRequest
from hashscan.quarantine.moving import move
from hashscan.quarantine.object_stores import Stores
from hashscan.quarantine.repair import verify
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.store import Quarantine, kept_in_buckets
from hashscan.registry import SOURCES
from hashscan.state_dir import StateDir
from tests.quarantine.rooms import TERMS
from tests.sources.objects.az import test_source
from tests.sources.objects.azurite import PROGRAM, azurite
from tests.sources.objects.buckets import TestBucket
from tests.sources.objects.google_server import google_server


def take(state: Path, stores: Stores, url: bytes) -> Outcome:
    with Quarantine(StateDir(state), stores=stores) as quarantine:
        (answer,) = move(quarantine, [QuarantineRequest(url, {"reason": "a test"})], TERMS)
    return answer.outcome


def give_back(state: Path, stores: Stores) -> None:
    with Quarantine(StateDir(state), stores=stores) as quarantine:
        for item in quarantine.items().values():
            restore(quarantine, item)


@pytest.mark.skipif(PROGRAM not in os.environ, reason=f"{PROGRAM} names no azurite-blob")
@pytest.mark.parametrize("to_container", [False, True])
def test_azure(tmp_path: Path, to_container: bool) -> None:
    service = azurite()
    with (
        test_source.environment(**service.environment),
        service.container() as container,
        service.container() as keep,
    ):
        place = f"az://{keep.name}" if to_container else None
        container.client.upload_blob("a//b", b"accused", metadata={"who": "me"})
        url = f"az://{container.name}/a//b".encode()
        assert take(tmp_path, Stores(SOURCES, None, place), url) is Outcome.DONE
        assert list(container.client.list_blob_names()) == []
        assert (
            len(kept_in_buckets(StateDir(tmp_path)))
            == len(list(keep.client.list_blob_names()))
            == to_container
        )
        assert verify(StateDir(tmp_path), None, Stores(SOURCES))[1:] == (1, [])
        give_back(tmp_path, Stores(SOURCES))
        blob = container.client.get_blob_client("a//b")
        assert blob.download_blob().readall() == b"accused"
        assert blob.get_blob_properties().metadata == {"who": "me"}
        assert list(keep.client.list_blob_names()) == []


@pytest.mark.skipif(PROGRAM not in os.environ, reason=f"{PROGRAM} names no azurite-blob")
def test_a_blob_with_snapshots(tmp_path: Path) -> None:
    with test_source.environment(**azurite().environment), azurite().container() as container:
        blob = container.client.upload_blob("key", b"accused")
        blob.create_snapshot()
        with Quarantine(StateDir(tmp_path), stores=Stores(SOURCES)) as quarantine:
            url = f"az://{container.name}/key".encode()
            (answer,) = move(quarantine, [QuarantineRequest(url, {"reason": "a test"})], TERMS)
        assert (answer.outcome, "--all-versions" in answer.detail) == (Outcome.REFUSED, True)
        assert list(container.client.list_blob_names()) == ["key"]
        assert verify(StateDir(tmp_path), None, Stores(SOURCES))[1:] == (0, [])


def test_google_s_compressed_objects_are_kept_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with google_server() as server, TestBucket() as keep:
        # Buckets of both at once: each by its own variable.
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(keep.access.endpoint))
        server.put("key", b"stored", "gzip")
        stores = Stores(SOURCES, None, f"s3://{keep.name}")
        assert take(tmp_path, stores, b"gs://bucket/key") is Outcome.DONE
        assert server.held[b"key"] == []
        (kept,) = keep.listed()
        assert keep.client.get_object(Bucket=keep.name, Key=kept.decode())["Body"].read() == b"stored"
        give_back(tmp_path, Stores(SOURCES))
        (back,) = server.held[b"key"]
        assert (back.content, back.encoding, back.live) == (b"stored", "gzip", True)
        assert keep.listed() == []
