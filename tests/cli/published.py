"""Publishes lists and pulls them by the real commands, for the tests of what servers do with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hashscan.lists.canary import canary_entries
from hashscan.lists.publisher import Publisher
from hashscan.lists.publisher_state import Expiry
from hashscan.model import Entry
from tests.cli.conftest import Run
from tests.web import served


def with_canary(entries: Iterable[Entry]) -> list[Entry]:
    """As every release has them."""
    return [*entries, *canary_entries()]


def publish(folder: Path, entries: Iterable[Entry], expiry: Expiry = Expiry()) -> None:  # noqa: B008 - frozen
    """Begin a list, named after its owner's folder, and release its entries: these and no others."""
    work = folder / "work"
    publisher = Publisher.init(work, folder / "public", work / "keys", folder.name, expiry=expiry)
    publisher.add(entries, "entries")
    publisher.release()


def pull(run: Run, folder: Path) -> None:
    """Add the list that was published in a folder, and pull it from a web server."""
    with served(folder / "public") as url:
        ran = run("lists", "add", folder.name, url, "--root", folder / "work" / "root.json")
        assert ran.code == 0, ran.err
        ran = run("lists", "pull", folder.name)
        assert ran.code == 0, ran.err
