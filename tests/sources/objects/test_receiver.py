"""Bodies of unknown size are bounded, those of known size aren't."""

from __future__ import annotations

import pytest

from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects import receiver
from hashscan.sources.objects.receiver import bounded
from hashscan.sources.objects.store import UNKNOWN_SIZE


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "UNSIZED_MAX", 4)
    assert list(bounded([b"12", b"34"], UNKNOWN_SIZE)) == [b"12", b"34"]
    assert list(bounded([b"12", b"345"], 5)) == [b"12", b"345"]
    chunks = bounded([b"12", b"345", b"6"], UNKNOWN_SIZE)
    assert next(chunks) == b"12"
    with pytest.raises(FileError) as caught:
        next(chunks)
    assert caught.value.reason is Reason.IO_ERROR
