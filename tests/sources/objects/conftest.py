"""Fixtures of all tests of object stores."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.prefork import PREFORK
from tests.sources.objects.buckets import TestBucket, moto_url, wake_obstore


@pytest.fixture(scope="session", autouse=True)
def _ready() -> None:
    """Before descriptors are counted."""
    wake_obstore()
    moto_url()
    PREFORK.run(["--version"], env=os.environ)


@pytest.fixture
def bucket() -> Iterator[TestBucket]:
    with TestBucket() as made:
        yield made


@pytest.fixture
def versioned() -> Iterator[TestBucket]:
    with TestBucket(versioned=True) as made:
        yield made
