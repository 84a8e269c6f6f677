"""Zygotes that are forked, as each that is started loads the decoder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from hashscan.sandbox import launch
from tests.forked_zygote import fork_zygotes, preload


@pytest.fixture(scope="module")
def forked_zygotes() -> Iterator[None]:
    """Those of workers in this process are forked from it."""
    preload()
    fork_zygotes()
    yield
    launch.subprocess = subprocess
