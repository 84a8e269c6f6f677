"""Extensions in C that were built can be imported, or Python would do their work unnoticed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import hashscan

PACKAGE = Path(hashscan.__file__).parent
SOURCES = {
    "hashscan." + ".".join(source.relative_to(PACKAGE).with_suffix("").parts): source
    for source in PACKAGE.rglob("_*.c")
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_was_built_is_imported(name: str) -> None:
    source = SOURCES[name]
    if not list(source.parent.glob(f"{source.stem}.*.so")):
        pytest.skip("it was not built here")
    assert importlib.import_module(name).__name__ == name
