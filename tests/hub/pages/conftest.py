"""Passwords that cost little, and answers to failed sign-ins without delay."""

from __future__ import annotations

from collections.abc import Iterator

import argon2
import pytest

from hashscan.hub.accounts import sign_in, users
from hashscan.hub.storage.database import Database
from hashscan.hub.web.pages import account
from hashscan.hub.web.requests import Context
from hashscan.state_dir import StateDir
from tests.hub.pages.browsing import make_context


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    for module in (users, sign_in):
        monkeypatch.setattr(module, "HASHER", hasher)
    monkeypatch.setattr(account, "REFUSED_SECONDS", 0.0)
    sign_in._dummy.cache_clear()
    yield
    sign_in._dummy.cache_clear()


@pytest.fixture
def context(database: Database, hub_state: StateDir) -> Context:
    return make_context(database, hub_state)
