"""Killed between any two steps, an object is in its bucket or kept: never both, never neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hashscan.quarantine import system
from hashscan.quarantine.items import State
from hashscan.sources.objects.s3.changeable import ChangeableS3Store
from tests.quarantine.vault import Vault
from tests.sources.objects.buckets import moto_url

ROOT = Path(__file__).parents[3]

WAYS = [
    ("move", "folder", "plain", "0"),
    ("move", "bucket", "versioned", "2"),
    ("restore", "folder", "versioned", "1"),
    ("restore", "bucket", "plain", "3"),
    ("release", "bucket", "versioned", "0"),
]
"""The last word is the first step of those before which it dies: every fourth one of a way."""
ENDS = {
    "move": ({"there", "kept"}, "kept"),
    "restore": ({"there", "kept"}, "there"),
    "release": ({"moved", "released"}, "released"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("what", "place", "versions", "first"), WAYS)
def test_killed_before_any_step(what: str, place: str, versions: str, first: str, tmp_path: Path) -> None:
    way = [what, tmp_path, moto_url(), place, versions, first]
    done = subprocess.run(
        [sys.executable, "-m", "tests.quarantine.objects.dying", *way],
        cwd=ROOT,
        check=False,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ended = done.stdout.split()
    assert len(ended) > 2
    assert (set(ended), ended[-1]) == ENDS[what]


class Died(BaseException):
    """Stands for a process that was killed."""


@pytest.mark.parametrize("vault", ["folder", "bucket"], indirect=True)
def test_replaced_while_nobody_was_there(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is all there is of what was found, so it is kept."""
    request = vault.put(b"key")

    def dying(*_: object) -> None:
        raise Died

    monkeypatch.setattr(ChangeableS3Store, "delete", dying)
    with pytest.raises(Died):
        vault.take(request)
    monkeypatch.undo()
    vault.bucket.put(b"key", b"another")
    assert vault.mended() == []
    assert vault.verified() == []
    (item,) = vault.items()
    assert item.state is State.MOVED
    assert vault.copies() == [item.id]
    vault.bucket.remove(b"key")
    vault.give_back()
    assert vault.in_order(b"key") == "there"


@pytest.mark.parametrize("vault", ["folder"], indirect=True)
def test_half_a_copy_is_none(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    request = vault.put(b"key")

    def dying(descriptor: int, _: object) -> None:
        system.truncate(descriptor, 3)
        raise Died

    monkeypatch.setattr("hashscan.quarantine.item_storage.copy_content", lambda _, to, size: dying(to, size))
    with pytest.raises(Died):
        vault.take(request)
    monkeypatch.undo()
    assert vault.in_order(b"key") == "there"
