"""A short run of the soak: no request is lost or wrong, no descriptor and no process is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.soak.__main__ import soak


@pytest.mark.slow
def test_nothing_is_lost_or_wrong_while_processes_are_killed(tmp_path: Path) -> None:
    found = soak(tmp_path, 15.0, workers=2, kill=True).figures()
    assert found["trouble"] == [], found
    assert found["versions"] >= 1
    assert found["killed"]["worker"] >= 1
    assert found["killed"]["decoder"] >= 1
