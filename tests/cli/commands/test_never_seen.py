"""Notices about what was never seen here: it can't be seen gone, and a hub learns nothing of other places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hashscan.attribution.sites import Sites
from hashscan.cases.hub_notices import HubNotices
from hashscan.cases.ledger import Ledger
from hashscan.cases.sightings import Sightings
from hashscan.model import SiteRule
from hashscan.state_dir import StateDir
from tests.cases.test_hub_notices import HUB, Hub, notice
from tests.cli.conftest import Run

NOW = 1_800_000_000


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "srv"
    folder.mkdir()
    return folder


class Notified:
    """A server with one site, and a hub that sends it notices."""

    def __init__(self, site: Path, state: Path, call: Run) -> None:
        self.hub = Hub()
        self._sites = Sites([SiteRule("one", "https://a.example/", str(site))])
        self._state, self._call = StateDir(state), call

    def answers(self, **place: Any) -> list[tuple[str, str]]:
        """Send a notice, look for its file, and return the answers."""
        self.hub.sent.append(notice(len(self.hub.sent) + 1, **place))
        self.sync()
        self._call("cases", "check")
        return self.answered(len(self.hub.sent))

    def answered(self, number: int) -> list[tuple[str, str]]:
        self.sync()
        return [(event, how) for of, event, how in self.hub.posted if of == number]

    def sync(self) -> None:
        with Ledger(self._state) as ledger, Sightings(self._state) as sightings:
            made = HubNotices(ledger, HUB, "hub hub.example", self.hub)
            made.fetch("web1", self._sites, NOW, sightings=sightings)
            made.answer("web1", NOW)


@pytest.fixture
def notified(site: Path, call: Run, state: Path) -> Notified:
    return Notified(site, state, call)


def cases(call: Run) -> list[Any]:
    return call("cases", "list", "--status", "all", "--format", "json").lines


def test_what_a_wrong_root_names_is_not_removed(call: Run, tmp_path: Path) -> None:
    config, table = tmp_path / "hashscan.toml", tmp_path / "notices.csv"
    config.write_text(f'[[site]]\nurl = "https://a.example/"\npath = "{tmp_path}/wrong"\n')
    table.write_text("url\nhttps://a.example/x.jpg\n")
    assert call("--config", config, "cases", "import", table).code == 0
    checked = call("cases", "check")
    (case,) = cases(call)
    assert (checked.code, case["state"], "removed" in case) == (3, "never_seen", False)


NEVER = [("never_seen", "")]


def test_a_hub_learns_of_no_place_outside_the_sites_roots(
    notified: Notified, call: Run, site: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    (site / "folder").symlink_to(tmp_path)
    (site / "link").symlink_to(secret)
    inner = f"{site}/../secret.txt"
    for place in (
        {"url": "", "path": str(secret)},
        {"url": "", "path": f"{tmp_path}/missing.txt"},
        {"url": "", "path": inner},
        {"url": "", "path": f"{site}/folder/secret.txt"},
        {"url": "", "path": f"{site}/folder/missing.txt"},
        {"url": "", "path": f"http://127.0.0.1:9/{secret}"},
        {"url": "", "path": "s3://a-bucket-of-another/key"},
        {"url": "https://other.example/secret.txt"},
        {"url": "https://a.example/missing.txt"},
        {"url": "https://a.example/link"},
        {"url": "https://a.example/folder/secret.txt"},
        {"url": "https://a.example/folder/missing.txt"},
        {"url": "https://a.example/../secret.txt"},
        {"url": "https://a.example/%2e%2e/secret.txt"},
        {"url": "https://a.example/..%2fsecret.txt"},
        {"url": "https://a.example/%252e%252e/secret.txt"},
        {"url": "https://a.example/secret.txt%00"},
        {"url": "https://a.example/", "path": str(secret)},
    ):
        assert notified.answers(**place) == NEVER, place
    assert {case["state"] for case in cases(call)} == {"never_seen"}


def test_what_was_there_is_seen_gone(notified: Notified, call: Run, site: Path) -> None:
    file = site / "a.jpg"
    file.write_bytes(b"x")
    assert notified.answers(url="https://a.example/a.jpg") == [("acknowledged", "")]
    assert notified.answers(url="", path=str(site / "b.jpg")) == NEVER
    file.unlink()
    assert call("cases", "check").code == 3
    first, second = cases(call)
    assert (first["state"], first["how"], first["witness"]) == ("removed", "gone", "import")
    assert second["state"] == "never_seen"
    assert "seen" not in second
    assert notified.answered(1) == [("acknowledged", ""), ("removed", "gone")]
    assert notified.answered(2) == NEVER


def test_what_appears_later_is_acknowledged_before_it_is_removed(
    notified: Notified, call: Run, site: Path
) -> None:
    file = site / "a.jpg"
    assert notified.answers(url="https://a.example/a.jpg") == NEVER
    file.write_bytes(b"x")
    assert call("cases", "check").code == 0
    (case,) = cases(call)
    assert (case["state"], case["witness"]) == ("found", "check")
    file.unlink()
    assert call("cases", "check").code == 0
    assert cases(call)[0]["state"] == "removed"
    assert notified.answered(1) == [*NEVER, ("acknowledged", ""), ("removed", "gone")]


def test_a_person_ends_what_was_never_seen_and_it_is_not_removed(
    notified: Notified, call: Run, site: Path
) -> None:
    notified.answers(url="https://a.example/missing.jpg")
    (site / "there.jpg").write_bytes(b"x")
    notified.answers(url="https://a.example/there.jpg")
    assert call("cases", "close", 2, "--not-found", "--reason", "no").code == 2
    assert call("cases", "close", 1, "--not-found", "--reason", "looked").code == 0
    first, second = cases(call)
    assert (first["state"], first["how"], second["state"]) == ("not_found", "not_found", "found")
    assert "removed" not in first
    assert notified.answered(1) == [*NEVER, ("not_found", "")]
    assert call("cases", "times", "--format", "json").lines == []
    assert call("cases", "reopen", 1, "--reason", "again").code == 0
    assert notified.answered(1)[-2:] == [("not_found", ""), ("reopened", "")]


def test_what_the_last_scan_listed_was_seen(
    notified: Notified, call: Run, site: Path, local_list: str, tmp_path: Path
) -> None:
    file = site / "a.jpg"
    file.write_bytes(b"clean")
    assert call("scan", site, "--list", local_list, "--report", tmp_path / "r.jsonl").code == 0
    file.unlink()
    answers = notified.answers(url="https://a.example/a.jpg")
    assert answers == [("acknowledged", ""), ("removed", "gone")]
    (case,) = cases(call)
    assert case["witness"] == "scan"
