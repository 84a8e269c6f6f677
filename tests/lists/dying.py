"""A process that dies, as by SIGKILL, in the middle of changing a list.

python -m tests.lists.dying everywhere ACTION FOLDER FIRST STEP
    Do ACTION again and again on fresh copies of FOLDER; die just before its FIRST-th change of the file
    system, then STEP changes later, and so on until it comes through. After each death check that there is
    the old version or the new, finish the work, and check that nothing is left over. Prints how often it
    died, and how often that left the new version.

python -m tests.lists.dying anytime ACTION FOLDER
    Do ACTION on FOLDER; then on fresh copies, killed at random moments, one in each tenth of the time that it
    took. Check after each as above.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from hashscan.lists.difference import activate, staged_info
from hashscan.lists.publishing.filters import publish_filter_of
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.pulling import client
from hashscan.lists.storage.signed_list import open_published
from hashscan.lists.store import ListStore
from hashscan.model import USABLE_STATES, ListInfo
from hashscan.state_dir import StateDir
from tests.lists.builders import CANARIES, read_filter, some_entries, tree
from tests.quick_disk import sync_nothing

CHANGES = frozenset(
    {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ROLES = ("root", "targets", "snapshot", "timestamp")
ADDED = 3
"""Number of entries that the new version has more than the old, whose number is in FOLDER/old."""


def old_entries(folder: Path) -> int:
    """Entries of the old version."""
    return int((folder / "old").read_text())


def do(action: str, folder: Path) -> None:
    """One change of a list."""
    store = ListStore(folder / "lists")
    if action in {"pull", "stage"}:
        client.pull(store, "signed", stage=action == "stage")
    elif action == "activate":
        activate(store, "signed")
    elif action == "import":
        store.import_entries("own", some_entries(old_entries(folder) + ADDED, algorithms=["md5"]), "entries")
    elif action == "release":
        Publisher(folder / "owner" / "work").release()
    elif action == "compact":
        Publisher(folder / "owner" / "work").compact()
    elif action == "rotate":
        Publisher(folder / "owner" / "work").rotate(ROLES)
    elif action == "filter":
        publish_filter_of(folder / "filters" / "work", StateDir(folder), ["own"])
    elif action == "remove":
        store.remove("signed")


def look(action: str, folder: Path) -> ListInfo | None:
    """The list as a reader finds it; None when there is none."""
    now = datetime.now(UTC)
    store = ListStore(folder / "lists")
    if action in {"release", "compact", "rotate"}:
        published = folder / "owner" / "published"
        root = (published / "metadata" / "1.root.json").read_bytes()
        return open_published("test", published, root, now, remedy="restore it").info
    name = "own" if action == "import" else "signed"
    if name not in store.names():
        return None
    with store.open([name], now) as opened:
        return opened.infos[0]


def check(action: str, folder: Path) -> bool:
    """Make sure that there is the old version or the new one; True for the new."""
    if action == "filter":
        index, _ = read_filter(folder / "filters")
        return index.release == 2
    info = look(action, folder)
    old = old_entries(folder)
    if action == "stage":
        assert info is not None
        assert info.entries == old + CANARIES, info
        staged = staged_info(ListStore(folder / "lists"), "signed")
        assert staged is None or (
            staged.state in USABLE_STATES and staged.entries == old + ADDED + CANARIES
        ), staged
        return staged is not None
    if action == "remove":
        assert info is None or info.entries == old + CANARIES, info
        return info is None
    assert info is not None
    assert info.state in USABLE_STATES, info
    if action == "compact":
        # The old version has an increment, and another waits.
        assert info.entries == old + CANARIES, info
        return info.version == 3
    if action == "rotate":
        assert info.entries == old + CANARIES, info
        return (folder / "owner" / "published" / "metadata" / "3.root.json").exists()
    own = 0 if action == "import" else CANARIES
    assert info.entries - own in (old, old + ADDED), info
    return info.entries - own == old + ADDED


def finish(action: str, folder: Path) -> None:
    """Finish the work after a death, and check that no trace of it stays."""
    if action == "release":
        status = Publisher(folder / "owner" / "work").status()
        assert status.state.waiting == (0 if check(action, folder) else ADDED), status
        if status.state.waiting:
            do(action, folder)
        assert Publisher(folder / "owner" / "work").status().state.waiting == 0
        assert {path.name for path in (folder / "owner" / "published").iterdir()} == {"metadata", "targets"}
    elif action == "compact":
        status = Publisher(folder / "owner" / "work").status()
        assert (status.state.waiting, status.state.withdrawing) == (ADDED, 1), status
        if not check(action, folder):
            do(action, folder)
        status = Publisher(folder / "owner" / "work").status()
        assert (status.state.waiting, status.state.withdrawing, status.increments) == (ADDED, 1, 0), status
        assert {path.name for path in (folder / "owner" / "published").iterdir()} == {"metadata", "targets"}
    elif action == "rotate":
        Publisher(folder / "owner" / "work").status()
        if not check(action, folder):
            do(action, folder)
        assert not (folder / "owner" / "work" / "rotation.json").exists()
        Publisher(folder / "owner" / "work").refresh(everything=True)
    elif action == "filter":
        do(action, folder)
        assert {path.name for path in (folder / "filters" / "published").iterdir()} == {"metadata", "targets"}
        _, found = read_filter(folder / "filters")
        entries = some_entries(old_entries(folder) + ADDED, algorithms=["md5"])
        assert all(found.lets_through("md5", entry.value) for entry in entries)
    elif action == "remove":
        if look(action, folder):
            do(action, folder)
        else:
            ListStore(folder / "lists").import_entries("signed", some_entries(1), "entries")
            do(action, folder)
    elif action == "activate":
        if not check(action, folder):
            do(action, folder)
        do("pull", folder)
    else:
        do(action, folder)
    assert check(action, folder)
    leftovers = {name for name in tree(folder) if ".tmp" in name or "staging" in name or "download" in name}
    assert not leftovers, leftovers
    for versions in folder.glob("lists/*/versions"):
        assert len(list(versions.iterdir())) == (2 if action == "stage" else 1), list(versions.iterdir())
    if action == "activate":
        assert not (folder / "lists" / "signed" / "staged").is_symlink()


def die_at(moment: int) -> None:
    """Have this process killed just before its `moment`-th change of the file system."""
    changes = itertools.count(1)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        opened_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if (event in CHANGES or opened_to_write) and next(changes) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def everywhere(action: str, folder: Path, first: int, step: int) -> None:
    new = 0
    for deaths, moment in enumerate(itertools.count(first, step)):
        place = folder.parent / "dying"
        # Keys and published folder are named in full in the owner's state, so the copy takes their place.
        shutil.copytree(folder, place, symlinks=True)
        (original := folder).rename(folder.parent / "original")
        place.rename(original)
        child = os.fork()
        if child == 0:
            die_at(moment)
            do(action, original)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), status
        new += check(action, original)
        finish(action, original)
        shutil.rmtree(original)
        (folder.parent / "original").rename(original)
        if status == 0:
            say(f"{deaths} {new - 1}")
            return


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def anytime(action: str, folder: Path) -> None:
    """Kill a process that does an action at ten random moments, and check what is left each time."""
    kept = folder.with_name("kept")
    duration = 0.0
    for moment in range(11):
        shutil.copytree(folder, kept, symlinks=True)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            do(action, folder)
            os._exit(0)
        if moment:
            time.sleep(duration * (moment - random.random()) / 10)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        # The first one lives, to show how long it takes.
        duration = duration or time.monotonic() - started
        assert os.waitstatus_to_exitcode(status) in ((0, -signal.SIGKILL) if moment else (0,)), status
        assert check(action, folder) or moment
        finish(action, folder)
        shutil.rmtree(folder)
        kept.rename(folder)


def main() -> None:
    mode, action, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    sync_nothing()
    check(action, folder)  # imports what is imported on first use
    if mode == "everywhere":
        everywhere(action, folder, *map(int, sys.argv[4:6]))
    else:
        anytime(action, folder)


if __name__ == "__main__":
    main()
