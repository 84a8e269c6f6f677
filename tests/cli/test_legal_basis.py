"""`hashscan scan` with a list whose legal basis has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(("after", "code"), [("not_checked", 2), ("continue", 1)])
def test_a_scan_stops_or_goes_on_when_the_basis_of_a_list_has_ended(
    run: Run, uploads: Path, local_list: str, tmp_path: Path, after: str, code: int
) -> None:
    rows = tmp_path / "bases.toml"
    for name, expected in (("other", 1), (local_list, code)):
        rows.write_text(
            f'[[basis]]\nlist = "{name}"\nlegal_basis = "Some law"\n'
            f'legal_basis_until = 2020-01-01\nafter_legal_basis = "{after}"\n'
        )
        ran = run("--config", rows, "scan", uploads)
        assert ran.code == expected, ran.err
        assert ("2020-01-01" in ran.err) is (name == local_list)
