"""A quarantine, a stranger's folder, and whether what happened to them is in order."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hashscan.quarantine.captured_file import QuarantineRequest
from hashscan.quarantine.items import KEPT, UNFINISHED, Item, NoteState
from hashscan.quarantine.moving import MoveResult, move
from hashscan.quarantine.repair import repair, verify
from hashscan.quarantine.retention import Retention
from hashscan.quarantine.store import Quarantine, read_items
from hashscan.state_dir import StateDir

NOTE = "Moved. Ask us: abuse@example.com, 5 €\n".encode()
TERMS = Retention(timedelta(days=90), timedelta(days=365))


@dataclass(frozen=True)
class Room:
    """A state folder and a folder of files."""

    state: Path
    files: Path

    def file(self, name: str, content: bytes = b"accused", mode: int = 0o640) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
        return path

    def take(self, *paths: Path, note: bytes | None = None) -> list[MoveResult]:
        with Quarantine(StateDir(self.state)) as quarantine:
            return list(move(quarantine, [request(path) for path in paths], TERMS, note))

    def items(self) -> list[Item]:
        return list(read_items(StateDir(self.state)).values())


def request(path: Path, content: bytes | None = None) -> QuarantineRequest:
    digest = None if content is None else hashlib.sha256(content).hexdigest()
    return QuarantineRequest(os.fsencode(path), {"reason": "a test"}, digest)


def mended(state: Path) -> list[str]:
    with Quarantine(StateDir(state)) as quarantine:
        return repair(quarantine)


def in_order(room: Room, path: Path, content: bytes, mode: int) -> str:
    """Return the place of a file, after all that was begun has been ended; it is in one place, and whole."""
    assert mended(room.state) == []
    assert verify(StateDir(room.state), None)[2] == []
    return where_of(room, path, content, mode)


def where_of(room: Room, path: Path, content: bytes, mode: int) -> str:
    """Return the place of a file; it is in one place, and whole."""
    items = room.items()
    assert not [item for item in items if item.state in UNFINISHED]
    all_kept = [item for item in items if item.state in KEPT]
    for item in all_kept:
        entry = Path(os.fsdecode(item.place)) / item.id
        assert stat.S_IMODE(entry.stat().st_mode) == (0 if os.geteuid() == 0 else 0o400)
        assert entry.read_bytes() == content
        assert item.record["file"]["mode"] == mode
    left = set(os.listdir(room.state / "quarantine" / ".hashscan-quarantine"))
    assert left - {"CACHEDIR.TAG"} == {item.id for item in all_kept}
    kept = [item for item in all_kept if item.path == os.fsencode(path)]
    assert [name for name in os.listdir(path.parent) if name.startswith(".hashscan-")] == []
    assert len(kept) <= 1
    if kept and path.exists():
        # Only a note, which its record describes.
        ((note, found),) = [(item.note, path.stat()) for item in kept]
        assert note is not None
        assert (note.state, note.inode) == (NoteState.NOTED, found.st_ino)
        assert (path.read_bytes(), stat.S_IMODE(found.st_mode)) == (NOTE, 0o644)
        return "noted"
    assert path.exists() is not bool(kept)
    if kept:
        return "kept"
    status = path.stat()
    assert path.read_bytes() == content
    assert stat.S_IMODE(status.st_mode) == mode
    assert status.st_mtime_ns == 1_100_000_000_987_654_321
    return "there"
