"""Another reader of lists, written after hashlists/FORMAT.md alone, finds what hashscan published."""

from __future__ import annotations

import csv
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

import hashlists
from hashscan.lists.storage import published_columns
from hashscan.model import Entry
from tests.lists.builders import Owner, some_entries
from tests.lists.parts import PartwiseOwner

SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "pdq": 32}


class Reader:
    """Knows the published folder and nothing of this package; signatures are tuf's business."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        snapshot = self.signed("timestamp.json")["meta"]["snapshot.json"]["version"]
        targets = self.signed(f"{snapshot}.snapshot.json")["meta"]["targets.json"]["version"]
        self.targets = self.signed(f"{targets}.targets.json")["targets"]
        self.manifest = json.loads(self.target("manifest.json"))

    def signed(self, name: str) -> Any:
        return json.loads((self.folder / "metadata" / name).read_bytes())["signed"]

    def target(self, name: str) -> bytes:
        signed = self.targets[name]
        data = (self.folder / "targets" / f"{signed['hashes']['sha256']}.{name}").read_bytes()
        assert hashlib.sha256(data).hexdigest() == signed["hashes"]["sha256"]
        assert len(data) == signed["length"]
        return data

    def column(self, name: str, descr: str, shape: str, size: int) -> list[bytes]:
        header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
        header += text.encode().ljust(117) + b"\n"
        data = self.target(name)
        assert data[:128] == header
        return [data[start : start + size] for start in range(128, len(data), size)]

    def entries(self) -> list[Entry]:
        rows: dict[str, list[Entry]] = {}
        gone: dict[str, set[int]] = {}
        for part in self.manifest["parts"]:
            for algorithm, withdrawal in part["withdrawn"].items():
                count = withdrawal["rows"]
                numbers = self.column(withdrawal["file"], "<u4", f"({count},)", 4)
                assert len(numbers) == count
                gone.setdefault(algorithm, set()).update(struct.unpack("<I", number)[0] for number in numbers)
            for algorithm, brought in part["algorithms"].items():
                size = SIZES[algorithm]
                for shard in brought["shards"]:
                    count, id_size = shard["entries"], brought["id_size"]
                    ids = self.column(shard["ids"], f"|S{id_size}", f"({count},)", id_size)
                    categories = self.column(shard["category"], "|u1", f"({count},)", 1)
                    values = self.column(shard["value"], "|u1", f"({count}, {size})", size)
                    rows.setdefault(algorithm, []).extend(
                        Entry(
                            row[0].rstrip(b"\0").decode("ascii"),
                            algorithm,
                            row[2],
                            self.manifest["categories"][row[1][0]],
                        )
                        for row in zip(ids, categories, values, strict=True)
                    )
        return [
            entry
            for algorithm in sorted(rows)
            for number, entry in enumerate(rows[algorithm])
            if number not in gone.get(algorithm, ())
        ]


def test_a_list_of_parts(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 150)
    partwise = PartwiseOwner(owner)
    partwise.release(some_entries(30))
    partwise.release(some_entries(5, start=1000), {"md5": [0, 9]})
    partwise.release([], {"md5": [11], "pdq": [3]})
    partwise.release(some_entries(2, start=40, algorithms=["sha1"]))
    assert Reader(owner.repository).entries() == partwise.entries


def test_a_list_by_the_publisher(owner: Owner) -> None:
    owner.release(some_entries(9))
    found = Reader(owner.repository).entries()
    assert [entry for entry in found if entry.category != "test"] == sorted(
        some_entries(9), key=lambda entry: (entry.algorithm, int(entry.id[1:]))
    )


def test_the_demonstration_list() -> None:
    folder = Path(hashlists.__file__).parent
    found = {entry.id: entry for entry in Reader(folder / "demo").entries()}
    assert len(found) > 10
    assert {entry.category for entry in found.values()} == {"test"}
    source = folder.parent / "examples" / "demo-entries.csv"
    with source.open(newline="") as stream:
        for row in csv.DictReader(stream):
            value = bytes.fromhex(row["value"])
            assert found[row["id"]] == Entry(row["id"], row["algorithm"], value, row["category"])


def test_the_document_tells_numbers_as_they_are() -> None:
    text = " ".join((Path(hashlists.__file__).parent / "FORMAT.md").read_text(encoding="utf-8").split())
    assert published_columns.SHARD_MAX == 16_000_000
    assert "16,000,000 bytes must be refused" in text
    rows = published_columns.SHARD_SIZE // (8 + 1 + 32)
    assert f"{rows:,} rows a shard" in text
    assert f'{{"entries": {rows},' in text
