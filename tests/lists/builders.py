"""Makes entries, files of entries and published lists for the tests of this room."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hashscan.lists.entries import canary_entries
from hashscan.lists.filters.format import INDEX_NAME, DigestFilter, FilterIndex, FilterPart
from hashscan.lists.publishing import metadata as release
from hashscan.lists.publishing.filters import PublishedFilter, publish_filter
from hashscan.lists.publishing.keys import load_key
from hashscan.lists.publishing.next_version import PublishedEntries
from hashscan.lists.publishing.publisher import Publisher
from hashscan.lists.publishing.publisher_state import Expiry
from hashscan.lists.storage import trust
from hashscan.lists.storage.signed_list import file_names, intact_target, open_published, read_metadata
from hashscan.lists.store import ListStore, fingerprinted, lists_version
from hashscan.matching_service_api import FilterAddress
from hashscan.model import ALGORITHMS, CATEGORIES, Entry, ListInfo
from hashscan.state_dir import StateDir

CANARIES = len(canary_entries())
"""Number of entries that every published list has of its own."""
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
        """Return a subscriber's view of the published folder."""
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


def read_filter(folder: Path) -> tuple[FilterIndex, DigestFilter]:
    """The filters that are published in a folder, and the newest one, all of their files verified."""
    repository = folder / "published"
    root = (repository / "metadata" / "1.root.json").read_bytes()
    verified = trust.verify(root, lambda name: read_metadata(repository, name))

    def target(name: str) -> Path:
        return intact_target(verified.targets[name], repository)

    index = FilterIndex.decode(target(INDEX_NAME).read_bytes())
    assert index.targets == verified.targets.keys()
    for each in index.filters:
        base = target(each.base)
        additions = FilterPart.open(target(each.additions)) if each.additions else None
        assert additions is None or additions.header.base == hashlib.sha256(base.read_bytes()).hexdigest()
        assert DigestFilter(FilterPart.open(base), additions).version == each.version
    newest = index.filters[0]
    parts = [FilterPart.open(target(name)) for name in (newest.base, newest.additions) if name]
    return index, DigestFilter(*parts)


class Filters:
    """A folder of filters, and the lists that they are made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "filters"
        self.repository = self.folder / "published"
        self.work = self.folder / "work"
        self.publisher = Publisher.init(self.work, self.repository, self.folder / "keys", "filters")
        self.state = StateDir(folder / "state")
        self.store = ListStore(self.state.lists)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.repository / "metadata" / "1.root.json").read_bytes()).hexdigest()

    def address(self, url: str, version: str) -> FilterAddress:
        return FilterAddress(url, self.fingerprint, version)

    def publish(self, entries: list[Entry], days: float = 0, *, new_base: bool = False) -> PublishedFilter:
        self.store.import_entries("own", entries, "entries")
        with self.store.open(["own"], NOW) as opened:
            now = NOW + timedelta(days=days)
            made = publish_filter(
                self.work, opened.handles, lists_version(fingerprinted(opened)), new_base=new_base, now=now
            )
            assert made.version == lists_version(fingerprinted(opened))
        found = read_filter(self.folder)[1]
        assert found.version == made.version
        for entry in entries:
            assert found.lets_through(entry.algorithm, entry.value)
        return made


def tree(folder: Path) -> set[str]:
    """Everything beneath a folder, by relative name."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
