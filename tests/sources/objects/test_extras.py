"""Errors where the library of a provider isn't installed."""

from __future__ import annotations

import sys
from unittest import mock

import pytest

from hashscan.errors import TargetError
from hashscan.model import DIRECT
from hashscan.registry import SOURCES
from hashscan.sources.base import ListingOptions


@pytest.mark.parametrize(
    ("scheme", "missing"),
    [("az", "azure.storage.blob"), ("gs", "google.auth"), ("az", "obstore"), ("gs", "obstore")],
)
def test_the_extra_is_named(scheme: str, missing: str) -> None:
    kind = SOURCES[scheme]
    with mock.patch.dict(sys.modules, {missing: None}):
        sys.modules.pop("hashscan.sources.objects.gs.client", None)
        with pytest.raises(TargetError, match=f"{scheme}://bucket needs the Python package") as caught:
            kind([f"{scheme}://bucket".encode()], ListingOptions(), DIRECT)
    assert f"hashscan[{scheme}]" in caught.value.remedy
