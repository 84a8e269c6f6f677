"""Makes entries, files of entries and published lists for the tests of this room."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hashscan.lists.entries import canary_entries
from hashscan.lists.publishing import metadata as release
from hashscan.lists.publishing.keys import load_key
from hashscan.lists.publishing.next_version import PublishedEntries
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.storage import trust
from hashscan.lists.storage.signed_list import file_names, open_published, read_metadata
from hashscan.model import ALGORITHMS, CATEGORIES, Entry, ListInfo

CANARIES = len(canary_entries())
"""How many entries every published list has of its own."""
NOW = datetime.now(UTC).replace(microsecond=0)


def some_entries(
    count: int,
    *,
    start: int = 0,
    algorithms: Sequence[str] = ("md5", "pdq", "sha256"),
    categories: Sequence[str] = ("A1", "B2"),
) -> list[Entry]:
    """Entries e<start>, e<start+1> and so on, with the ids of frames for vpdq; always the same."""
    made = []
    for number in range(start, start + count):
        algorithm = algorithms[number % len(algorithms)]
        value = random.Random(number).randbytes(ALGORITHMS[algorithm].size)
        entry_id = f"e{number}@0/1" if algorithm == "vpdq" else f"e{number}"
        made.append(Entry(entry_id, algorithm, value, categories[number % len(categories)]))
    return made


def as_csv(entries: Sequence[Entry]) -> bytes:
    lines = ["id,algorithm,value,category"]
    lines += [f"{e.id},{e.algorithm},{e.value.hex()},{e.category}" for e in entries]
    return "\n".join(lines).encode()


@dataclass(frozen=True)
class Owner:
    """A list's owner with a published folder."""

    publisher: Publisher
    folder: Path

    @classmethod
    def begin(cls, folder: Path, *, now: datetime | None = None) -> Owner:
        publisher = Publisher.init(folder / "work", folder / "published", folder / "keys", "test", now=now)
        return cls(publisher, folder)

    @property
    def repository(self) -> Path:
        return self.folder / "published"

    @property
    def metadata(self) -> Path:
        return self.repository / "metadata"

    @property
    def targets(self) -> Path:
        return self.repository / "targets"

    @property
    def root(self) -> bytes:
        return self.publisher.root()

    def info(self, now: datetime = NOW) -> ListInfo:
        """What a subscriber would say of the published folder."""
        return open_published("test", self.repository, self.root, now, remedy="restore it").info

    def entries(self) -> list[Entry]:
        """All published entries but the test picture's, by the number in their ids."""
        opened = open_published("test", self.repository, self.root, NOW, remedy="restore it")
        assert opened.manifest is not None, opened.info
        verified = trust.verify(self.root, lambda name: read_metadata(self.repository, name))
        rows = PublishedEntries(self.targets, opened.manifest, file_names(verified)).by_algorithm()
        return sorted(
            (
                Entry(bytes(entry_id).decode(), algorithm, value.tobytes(), CATEGORIES[category])
                for algorithm, blocks in rows.items()
                for block in blocks
                for entry_id, category, value in zip(*block, strict=True)
            ),
            key=lambda entry: int(entry.id[1:].partition("@")[0]),
        )

    def release(self, entries: Sequence[Entry], *, now: datetime | None = None) -> None:
        self.publisher.add(entries, "entries")
        self.publisher.release(now=now)

    def target(self, name: str) -> Path:
        """The newest file of a target."""
        return max(self.targets.glob(f"*.{name}"), key=lambda path: path.stat().st_mtime_ns)

    def publish_files(self, files: Mapping[str, bytes], version: int = 1) -> None:
        """Sign and publish any files at all, as a careless or hostile owner could."""
        staging = self.folder / "files"
        staging.mkdir()
        for name, data in files.items():
            (staging / name).write_bytes(data)
        targets = [release.new_target(staging / name) for name in files]
        signed = {target.info.path: target.info for target in targets}
        signers = {role: [load_key(self.folder / "keys", role, None)] for role in release.SIGNING_ROLES}
        before = dict.fromkeys(release.SIGNING_ROLES, version - 1)
        for target in targets:
            (staging / target.info.path).replace(self.targets / target.file_name)
        for name, data in release.signed_release("targets", signed, before, signers, Expiry(), NOW).items():
            (self.metadata / name).write_bytes(data)
        staging.rmdir()

    def copy(self, name: str) -> Path:
        """The published folder as it is now, kept elsewhere."""
        return Path(shutil.copytree(self.repository, self.folder / name))


def tree(folder: Path) -> set[str]:
    """Everything beneath a folder, by relative name."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
