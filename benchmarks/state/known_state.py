"""Make a state that knows millions of pictures, block by block, by the state's own code.

Each picture is made after one that the state knows already: it has a first PDQ of its own, from which its
other digests follow as they do in that one. All other digests are random.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import DigestRun, Part
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALWAYS_COMPUTED, FileStat, Item, StoredContentData
from hashscan.sandbox.client import SandboxOptions
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.folder_rows import FolderRows
from hashscan.state.store.listings import listing_of
from hashscan.state.store.packing import pack
from hashscan.state.store.profile import from_text, profile_of
from hashscan.state.store.stored_contents import ABOUT, COLUMN_DIGESTS, FURTHER, NONE, checksum_of
from hashscan.state_dir import StateDir

BLOCK = 100_000
MODELS = 200
"""Contents that others are made after, at most: the first of the state."""
NOW = 1_700_000_000


class _Model(NamedTuple):
    """A picture that others are made after."""

    fields: tuple[int, ...]
    """Those of `about` before `further`."""
    lengths: tuple[int, ...]
    """Those of `FURTHER` behind the row in `pdq`."""
    body: bytes


def begin(state: Path) -> None:
    """Make a state that knows one picture, with a single PDQ."""
    setup = WorkerSetup((), SandboxOptions("auto", 1 << 30, 20.0), ALWAYS_COMPUTED, 64_000_000)
    database, folder, _ = open_database(StateDir(state))
    database.execute("BEGIN IMMEDIATE")
    contents = Contents(database, folder, profile_of(setup))
    run = DigestRun(Part(), 0, (0,), 0, "pdq", bytes(range(32)), 90, 0)
    packed = pack(pack_picture(FORMATS[0], 640, 480, ("pdq",), [run]), ("pdq",))
    exact = tuple(hashlib.new(name, b"first").digest() for name in ("md5", "sha1", "sha256"))
    contents.add(StoredContentData(exact, 0, packed, confirmed=True), 0, NOW)
    contents.sync()
    database.execute("COMMIT")
    contents.close()
    database.close()


def fill(state: Path, count: int, files: int) -> float:
    """Have a state know so many pictures, `files` of them in each folder; bytes a file when it does.

    Of the first `MODELS` contents, pictures whose first digest is the PDQ of what is stored are the models.
    """
    database, folder, _ = open_database(StateDir(state))
    (text,) = database.execute("SELECT text FROM profiles").fetchone()
    database.execute("BEGIN IMMEDIATE")
    contents = Contents(database, folder, from_text(text))
    models = _models(contents)
    # By what is there, or a state filled up twice would have pictures twice.
    random = np.random.default_rng((7, contents.rows))
    known = contents.rows
    for start in range(known, count, BLOCK):
        _append(contents, models, min(BLOCK, count - start), random)
    database.execute("INSERT OR IGNORE INTO filesystems VALUES (1, x'61')")
    rows = FolderRows(database, "")
    for start in range(known, count, files):
        items = [
            Item(name_of(number), FileStat(1, number + 1, number, NOW, NOW, 1, 0))
            for number in range(start, min(start + files, count))
        ]
        listing, _ = listing_of(items, NOW * 10**9)
        listing.contents[:] = np.arange(start, start + len(items))
        row = rows.find_or_insert(b"/srv/www/customer-%06d/uploads" % (start // files), 1)
        rows.write(row, listing)
        rows.store_checked([(row, 1, 1, 1, NOW)])
    rows.index_contents()
    sha256 = contents.columns["sha256"]
    prefixes = np.concatenate(
        [
            sha256.read(start, BLOCK).view(np.uint8).reshape(-1, 32)[:, :8].copy().view(">i8").ravel()
            for start in range(0, count, BLOCK)
        ]
    ).astype(np.int64)
    order = np.argsort(prefixes)
    database.executemany(
        "INSERT OR IGNORE INTO contents VALUES (?, ?)",
        zip(prefixes[order].tolist(), order.tolist(), strict=True),
    )
    contents.sync()
    database.execute("COMMIT")
    contents.close()
    database.close()
    return sum(file.stat().st_size for file in folder.iterdir()) / count


def name_of(number: int) -> bytes:
    """Return the name of a made picture's file."""
    return b"picture-%08d.jpg" % number


def _models(contents: Contents) -> list[_Model]:
    found = []
    for about in contents.columns["about"].read(0, MODELS):
        head = contents.columns["further"].read(int(about["further"]), FURTHER.size).tobytes()
        picture, *lengths = FURTHER.unpack(head) if head else (NONE,)
        if picture == NONE:
            continue
        length = (lengths[1] & 0xFF) + (lengths[1] >> 8) + lengths[2] + lengths[3]
        body = contents.columns["further"].read(int(about["further"]) + FURTHER.size, length).tobytes()
        fields = tuple(int(about[name]) for name in ("profile", "flags", "kind", "since"))
        found.append(_Model(fields, tuple(lengths), body))
    return found


def _append(contents: Contents, models: list[_Model], number: int, random: np.random.Generator) -> None:
    columns: Any = contents.columns
    digests = {
        name: random.integers(0, 256, (number, columns[name].dtype.itemsize), np.uint8)
        for name in (*COLUMN_DIGESTS, "pdq")
    }
    row, picture, at = columns["about"].rows, columns["pdq"].rows, columns["further"].rows
    exact = {name: [bytes(value) for value in values] for name, values in digests.items()}
    sums = [zlib.crc32(model.body) for model in models]
    chosen = random.integers(0, len(models), number).tolist()
    records, abouts = [], np.zeros(number, ABOUT)
    for place, which in enumerate(chosen):
        model = models[which]
        crc = zlib.crc32(exact["pdq"][place], sums[which])
        record = FURTHER.pack(picture + place, *model.lengths) + model.body + crc.to_bytes(4, "little")
        fields = (*model.fields, at)
        abouts[place] = (*fields, checksum_of(fields, {name: exact[name][place] for name in COLUMN_DIGESTS}))
        records.append(record)
        at += len(record)
    columns["about"].append(abouts.tobytes())
    for name, values in digests.items():
        columns[name].append(values.tobytes())
    columns["pictures"].append(np.arange(row, row + number, dtype="<u4").tobytes())
    columns["further"].append(b"".join(records))
