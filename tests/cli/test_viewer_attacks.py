"""Scans of pictures that viewers show otherwise than their colours are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashscan.hashing.pdq import PDQ
from tests.cli.conftest import Run
from tests.container_attacks import ATTACKS as IN_CONTAINERS
from tests.sequence_attacks import ATTACKS as IN_SEQUENCES
from tests.viewer_attacks import ATTACKS as BY_COLOURS
from tests.viewer_attacks import SHOWN, grey

ATTACKS = BY_COLOURS | IN_CONTAINERS | IN_SEQUENCES


@pytest.fixture(scope="module")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks")
    for name, draw in ATTACKS.items():
        (folder / name).write_bytes(draw())
    return folder


@pytest.mark.slow
def test_the_picture_that_is_shown_is_matched(run: Run, attacks: Path, tmp_path: Path) -> None:
    value, quality = PDQ().digest(grey(SHOWN))
    assert quality == 100
    (tmp_path / "entries.csv").write_text(f"id,algorithm,value,category\nshown,pdq,{value.hex()},A1\n")
    assert run("lists", "import", tmp_path / "entries.csv", "--name", "ours").code == 0
    ran = run("scan", attacks, "--report", "-")
    assert ran.code == 1
    verdicts = {Path(line["path"]).name: line["verdict"] for line in ran.lines if line["type"] == "finding"}
    assert verdicts == dict.fromkeys(ATTACKS, "match")
