"""`hashscan cases check --web`: no look ends a case, and runs under a mandate are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run
from tests.outside.web_servers import Page, Site, site
from tests.pictures import encoded, scene


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as made:
        yield made


def outcomes(run: Run, number: int = 1) -> set[str]:
    (case,) = run("cases", "show", number, "--format", "json").lines
    return {look["outcome"] for look in case["web"]}


def test_from_a_baseline_to_gone(run: Run, tmp_path: Path, server: Site) -> None:
    settings = tmp_path / "hashscan.toml"
    settings.write_text(
        '[outside]\nown_networks = ["127.0.0.0/8"]\nmandate_by = "authority"\n'
        'mandate_legal_basis = "law"\nmandate_until = 2999-12-31\n'
    )
    server.pages["/a.jpg"] = Page(body=encoded(scene(3), "PNG"))
    url = f"http://127.0.0.1:{server.port}/a.jpg"
    assert run("cases", "add", url).code == 3
    check = ("--config", settings, "cases", "check", "--web")
    for body, status, expected in (
        (None, 200, "answers"), (None, 200, "there"), (encoded(scene(3), "JPEG"), 200, "there"),
        (b"other", 200, "changed"), (b"", 500, "unclear"), (b"", 404, "gone"),
    ):  # fmt: skip
        if body is not None:
            server.pages["/a.jpg"] = Page(status, body)
        assert run(*check).code == (3 if expected == "unclear" else 0)
        assert outcomes(run) == {expected}
    (case,) = run("cases", "list", "--format", "json").lines
    assert "removed" not in case
    assert run("cases", "close", 1, "--reason", "done").code == 0
    assert "0 addresses" in run(*check).err
    assert run(*check, 1).code == 0
    assert run(*check, 2).code == 2
    assert "gone (status) at 127.0.0.1" in run("cases", "show", 1).out
    with Ledger(StateDir(tmp_path / "state")) as ledger:
        assert list(ledger.rows("SELECT number, mandated_by, urls FROM mandated_runs")) == [
            (number, "authority", 1) for number in range(1, 8)
        ]


def test_without_settings_this_machine_is_not_asked(run: Run, tmp_path: Path, server: Site) -> None:
    assert run("cases", "add", f"http://127.0.0.1:{server.port}/a.jpg").code == 3
    assert run("cases", "check", "--web").code == 3
    assert outcomes(run) == {"unclear"}
    assert server.asked == []
    with Ledger(StateDir(tmp_path / "state")) as ledger:
        assert list(ledger.rows("SELECT * FROM mandated_runs")) == []


@pytest.mark.parametrize(
    "table",
    [
        'mandate_by = "authority"', 'own_networks = ["10.0.0.1/8"]', "own_networks = [1]",
        'proxy = "ftp://x"', 'mandate_until = "soon"',
    ],
)  # fmt: skip
def test_settings_that_can_not_be_used(run: Run, tmp_path: Path, table: str) -> None:
    settings = tmp_path / "hashscan.toml"
    settings.write_text(f"[outside]\n{table}\n")
    assert run("--config", settings, "cases", "check", "--web").code == 2
