"""A process that has its children killed in the middle of pulls, and looks at what each of them leaves.

python -m tests.lists.pulling.pulls everywhere FOLDER FIRST STEP
    Pull into fresh copies of FOLDER/lists; die just before the FIRST-th change of the file system, then STEP
    changes later, and so on until a pull comes through. Each death is followed by a look, a second pull and
    another look. Prints how often a child died, and how often the new version was in use then.

python -m tests.lists.pulling.pulls anytime FOLDER TIMES
    The same, killed from outside at random moments; after a death, the next child goes on from there.

FOLDER/old.json and new.json tell the entries of both versions.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from hashscan.lists.entries import entries_of_list
from hashscan.lists.index import segments
from hashscan.lists.pulling import client
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore
from hashscan.model import Entry, TrustState
from tests.lists.builders import tree
from tests.lists.dying import die_at, say
from tests.quick_disk import sync_nothing

NAME = "mine"


def written(entries: list[Entry]) -> list[str]:
    """Entries as they stand in FOLDER/old.json and new.json."""
    return sorted(f"{entry.id} {entry.algorithm} {entry.value.hex()} {entry.category}" for entry in entries)


def is_new(folder: Path) -> bool:
    """Make sure that the old version is in use, or the new one, and nothing else; True for the new."""
    old, new = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("old", "new"))
    now = datetime.now(UTC)
    with ListStore(folder / "lists").open([NAME], now, VerificationLevel.SIGNED) as opened:
        (info,) = opened.infos
        if not opened.handles:
            assert info.state is TrustState.MISSING, info
            assert not old
            return False
        assert info.state is TrustState.FRESH, info
        found = written(list(entries_of_list(opened.handles[0])))
        assert found in (old, new), found
        # What was linked or compiled when it was put in use is whole.
        assert info.problem is None, info
        return bool(found == new)


def pull(folder: Path) -> None:
    client.pull(ListStore(folder / "lists"), NAME)


def finish(folder: Path) -> None:
    """Pull again, and make sure that this leaves the new version and nothing else."""
    pull(folder)
    assert is_new(folder)
    leftovers = {name for name in tree(folder / "lists") if ".tmp" in name or "staging" in name}
    assert not leftovers, leftovers
    assert len(list((folder / "lists").glob("*/versions/*"))) == 1


def everywhere(folder: Path, first: int, step: int) -> None:
    kept, new = folder / "kept", 0
    shutil.copytree(folder / "lists", kept, symlinks=True)
    for deaths, moment in enumerate(itertools.count(first, step)):
        child = os.fork()
        if child == 0:
            die_at(moment)
            pull(folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), status
        new += is_new(folder)
        finish(folder)
        shutil.rmtree(folder / "lists")
        shutil.copytree(kept, folder / "lists", symlinks=True)
        if status == 0:
            say(f"{deaths} {new - 1}")
            return


def anytime(folder: Path, times: int) -> None:
    kept, new, deaths = folder / "kept", 0, 0
    shutil.copytree(folder / "lists", kept, symlinks=True)
    started = time.monotonic()
    pull(folder)
    duration = time.monotonic() - started
    while deaths < times:
        if is_new(folder):
            new += 1
            finish(folder)
            shutil.rmtree(folder / "lists")
            shutil.copytree(kept, folder / "lists", symlinks=True)
        child = os.fork()
        if child == 0:
            pull(folder)
            os._exit(0)
        time.sleep(duration * random.random())
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), status
        deaths += status != 0
    is_new(folder)
    finish(folder)
    say(f"{deaths} {new - 1}")


def main() -> None:
    mode, folder = sys.argv[1], Path(sys.argv[2])
    sync_nothing()
    segments.SMALL = 1
    is_new(folder)  # imports what is imported on first use
    if mode == "everywhere":
        everywhere(folder, *map(int, sys.argv[3:5]))
    else:
        anytime(folder, int(sys.argv[3]))


if __name__ == "__main__":
    main()
