"""Vaults whose copies go to a folder or to another bucket, with versions and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import botocore.session
import pytest

from hashscan.sources.objects import receiver
from tests.quarantine.vault import Vault
from tests.sources.objects.buckets import TestBucket, credentials


@lru_cache(maxsize=1)
def one_session() -> botocore.session.Session:
    with credentials():
        session = botocore.session.get_session()
        session.get_credentials()
    return session


WAYS = ["folder", "bucket", "versioned, folder", "versioned, bucket"]


@pytest.fixture
def vault(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    monkeypatch.setattr(receiver, "_FIRST_PAUSE", 0.001)
    # To read what S3 is takes each session half a second.
    session = one_session()
    monkeypatch.setattr(botocore.session, "get_session", lambda: session)
    way = getattr(request, "param", "bucket")
    versioned, to_bucket = "versioned" in way, "bucket" in way
    with ExitStack() as stack:
        keep = stack.enter_context(TestBucket(versioned=versioned)) if to_bucket else None
        yield Vault(tmp_path / "state", stack.enter_context(TestBucket(versioned=versioned)), keep)
