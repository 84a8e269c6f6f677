"""A bucket with accused objects, and where they may be kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashscan.quarantine.captured_file import ObjectIdentity, QuarantineRequest
from hashscan.quarantine.items import KEPT, UNFINISHED, Item
from hashscan.quarantine.moving import MoveResult, move
from hashscan.quarantine.object_stores import Stores
from hashscan.quarantine.repair import repair, verify
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.store import Quarantine, read_items
from hashscan.registry import SOURCES
from hashscan.state_dir import StateDir
from tests.quarantine.rooms import TERMS
from tests.sources.objects.buckets import TestBucket

HEADERS = {"ContentType": "image/jpeg", "CacheControl": "max-age=60"}


@dataclass
class Vault:
    """A state folder, and a bucket in which objects are found."""

    state: Path
    bucket: TestBucket
    keep: TestBucket | None = None
    """The bucket in which they are kept; without it, the state folder."""

    def stores(self) -> Stores:
        place = None if self.keep is None else f"s3://{self.keep.name}/kept here"
        return Stores(SOURCES, self.bucket.access.endpoint, place)

    def quarantine(self) -> Quarantine:
        return Quarantine(StateDir(self.state), stores=self.stores())

    def put(self, key: bytes, content: bytes = b"accused") -> QuarantineRequest:
        """An object, and the request that a scan of it leads to."""
        answer = self.bucket.put(
            key, content, **HEADERS, Metadata={"who": "me"}, Tagging="case=4711"  # type: ignore[arg-type]
        )  # fmt: skip
        return QuarantineRequest(self.url(key), {"reason": "a test"}, identity=ObjectIdentity(answer["ETag"]))

    def url(self, key: bytes) -> bytes:
        return self.bucket.url + b"/" + key

    def take(self, *requests: QuarantineRequest) -> list[MoveResult]:
        with self.quarantine() as quarantine:
            return list(move(quarantine, requests, TERMS))

    def give_back(self) -> None:
        with self.quarantine() as quarantine:
            for item in quarantine.items().values():
                restore(quarantine, item)

    def mended(self) -> list[str]:
        with self.quarantine() as quarantine:
            return repair(quarantine)

    def items(self) -> list[Item]:
        return list(read_items(StateDir(self.state)).values())

    def verified(self) -> list[str]:
        return verify(StateDir(self.state), None, self.stores())[2]

    def copies(self) -> list[str]:
        """Return the names of the kept copies."""
        if self.keep is not None:
            return sorted(key.decode().rpartition("/")[2] for key in self.keep.listed())
        folder = self.state / "quarantine" / ".hashscan-quarantine"
        return sorted(path.name for path in folder.iterdir() if path.name != "CACHEDIR.TAG")

    def in_order(self, key: bytes, content: bytes = b"accused") -> str:
        """Return the place of an object, after all that was begun has been ended; it is in one place, and
        whole."""
        assert self.mended() == []
        assert self.verified() == []
        assert not [item for item in self.items() if item.state in UNFINISHED]
        kept = [item for item in self.items() if item.state in KEPT]
        assert self.copies() == [item.id for item in kept]
        if kept:
            assert self.bucket.listed() == []
            assert [item.path for item in kept] == [self.url(key)]
            return "kept"
        self.is_there(key, content)
        return "there"

    def is_there(self, key: bytes, content: bytes = b"accused") -> None:
        """With all that was kept with it."""
        named = {"Bucket": self.bucket.name, "Key": key.decode()}
        found = self.bucket.client.get_object(**named)
        assert found["Body"].read() == content
        assert {name: found[name] for name in HEADERS} == HEADERS
        assert found["Metadata"] == {"who": "me"}
        tags = self.bucket.client.get_object_tagging(**named)["TagSet"]
        assert tags == [{"Key": "case", "Value": "4711"}]
