"""Time `hashscan lookup` as a whole process, in a state that knows millions of pictures.

    python benchmarks/known.py [--contents N] [--folder FILES] [--repeats N] [--keep DIR]

Run it with the Python that has hashscan. The state is made by the state's own code, block by block: random
digests, a still picture of one PDQ each, FILES of them in each folder. Lookups are by sha256, by sha1 (which
has no index), by PDQ within 31 bits (a query 20 bits from a known one) and of what isn't known; each answer
is compared with what was put in. Beside them, in the same run: `sqlite3` asking a table of the same sha256
by its index, in a process of its own, and `grep` through a text file of them, as from `sha256sum`; and the
same Python doing nothing. Prints median, least and most of the wall time, and bytes a file.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import pack_picture
from hashscan.hashing.variants import DigestRun, Part
from hashscan.model import ALWAYS_COMPUTED, FileStat, Item, Kept
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.setup import WorkerSetup
from hashscan.scan.state.contents import Contents
from hashscan.scan.state.database import open_database
from hashscan.scan.state.folder_rows import FolderRows
from hashscan.scan.state.listings import listing_of
from hashscan.scan.state.packing import pack
from hashscan.scan.state.profile import profile_of
from hashscan.scan.state.stored_contents import ABOUT, FURTHER, checksum_of, prefix_of

BLOCK = 100_000
SIZES = {"sha256": 32, "md5": 16, "sha1": 20}
NOW = 1_700_000_000
PEER = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"


def make(state: Path, count: int, files: int) -> tuple[dict[str, bytes], float]:
    """A state that knows so many pictures; the digests of one of them, and bytes a file."""
    setup = WorkerSetup((), SandboxOptions("auto", 1 << 30, 20.0), ALWAYS_COMPUTED, 64_000_000)
    database, folder, _ = open_database(state)
    database.execute("BEGIN IMMEDIATE")
    contents = Contents(database, folder, profile_of(setup))
    rows = FolderRows(database, "")
    database.execute("INSERT INTO filesystems VALUES (1, x'61')")
    first = _add_one(contents)
    template = bytearray(contents.columns["further"].read(0, contents.columns["further"].rows).tobytes())
    about = contents.columns["about"].read(first, 1)[0]
    random = np.random.default_rng(7)
    chosen: dict[str, bytes] = {}
    for start in range(1, count, BLOCK):
        number = min(BLOCK, count - start)
        digests = {n: random.integers(0, 256, (number, s), np.uint8) for n, s in SIZES.items()}
        pdq = random.integers(0, 256, (number, 32), np.uint8)
        _append(contents, about, bytes(template), digests, pdq)
        if start <= count // 2 < start + number:
            place = count // 2 - start
            chosen = {name: bytes(values[place]) for name, values in (*digests.items(), ("pdq", pdq))}
    database.execute("COMMIT")
    database.execute("BEGIN IMMEDIATE")
    for start in range(0, count, files):
        items = [
            Item(b"picture-%08d.jpg" % number, FileStat(1, number + 1, number, NOW, NOW, 1, 0))
            for number in range(start, min(start + files, count))
        ]
        listing, _ = listing_of(items, NOW * 10**9)
        listing.contents[:] = np.arange(start, start + len(items))
        row = rows.find_or_make(b"/srv/www/customer-%06d/uploads" % (start // files), 1)
        rows.write(row, listing)
        rows.see([(row, 1, 1, 1, NOW)])
    rows.place()
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
    assert int(prefixes[count // 2]) == prefix_of(chosen["sha256"])
    return chosen, sum(file.stat().st_size for file in folder.iterdir()) / count


def _add_one(contents: Contents) -> int:
    """A first picture, which the others are made after."""
    run = DigestRun(Part(), 0, (0,), 0, "pdq", bytes(range(32)), 90, 0)
    reply = pack_picture(FORMATS[0], 640, 480, ("pdq",), [run])
    exact = tuple(hashlib.new(name, b"first").digest() for name in ("md5", "sha1", "sha256"))
    return contents.add(Kept(exact, 0, pack(reply, ("pdq",)), confirmed=True), 0, NOW)


def _append(
    contents: Contents, about: np.void, template: bytes, digests: dict[str, np.ndarray], pdq: np.ndarray
) -> None:
    columns, number = contents.columns, len(pdq)
    row, picture, at = columns["about"].rows, columns["pdq"].rows, columns["further"].rows
    _, *rest = FURTHER.unpack_from(template)
    before = zlib.crc32(template[FURTHER.size : -4])
    bodies, abouts = [], np.zeros(number, ABOUT)
    hashed = {name: [bytes(value) for value in values] for name, values in digests.items()}
    fixed = tuple(int(about[name]) for name in ("profile", "flags", "kind", "since"))
    for place in range(number):
        crc = zlib.crc32(pdq[place].tobytes(), before)
        head = FURTHER.pack(picture + place, *rest)
        bodies.append(head + template[FURTHER.size : -4] + crc.to_bytes(4, "little"))
        fields = (*fixed, at + place * len(template))
        exact = {name: values[place] for name, values in hashed.items()}
        abouts[place] = (*fields, checksum_of(fields, exact))
    columns["about"].append(abouts.tobytes())
    for name, values in digests.items():
        columns[name].append(values.tobytes())
    columns["pdq"].append(pdq.tobytes())
    columns["pictures"].append(np.arange(row, row + number, dtype="<u4").tobytes())
    columns["further"].append(b"".join(bodies))


def timed(command: Sequence[str], expect: Callable[[str], bool], repeats: int) -> list[float]:
    """Seconds that a whole process takes, each time."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found.append(time.perf_counter() - began)
        if not expect(done.stdout):
            sys.exit(f"{' '.join(command[:6])}: unexpected answer {done.stdout[:500]}{done.stderr[:500]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time hashscan lookup.")
    parser.add_argument("--contents", type=int, default=10_000_000)
    parser.add_argument("--folder", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="make the state here, and leave it")
    options = parser.parse_args()
    with ExitStack() as stack:
        base = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        chosen, each = make(base, options.contents, options.folder)
        seconds = time.perf_counter() - began
        print(f"{options.contents} pictures, {each:.0f} bytes a file, made in {seconds:.0f} s")
        near = bytearray(chosen["pdq"])
        for place in range(20):
            near[place] ^= 1 << place % 8
        peers = _peers(base, options.contents)
        name = f"picture-{options.contents // 2:08d}.jpg"
        lookup = [sys.executable, "-m", "hashscan", "lookup", "--state", str(base)]
        text = chosen["sha256"].hex()
        prefix = prefix_of(chosen["sha256"])
        asked = {
            "nothing: python -c pass": ([sys.executable, "-c", "pass"], lambda out: out == ""),
            "lookup sha256": ([*lookup, f"sha256:{text}"], lambda out: name in out),
            "lookup sha1": ([*lookup, f"sha1:{chosen['sha1'].hex()}"], lambda out: name in out),
            "lookup pdq within 31": (
                [*lookup, f"pdq:{near.hex()}"],
                lambda out: name in out and "pdq 20" in out,
            ),
            "lookup unknown, sha256 and pdq": ([*lookup, "5a" * 32], lambda out: out == ""),
            "sqlite3, by its index": (
                [sys.executable, "-c", PEER, str(peers[0]), f"SELECT row FROM t WHERE prefix={prefix}"],
                lambda out: str(options.contents // 2) in out,
            ),
            "grep -F": (["grep", "-F", text, str(peers[1])], lambda out: name in out),
        }
        for words, (command, expect) in asked.items():
            times = timed(command, expect, options.repeats)
            print(f"{words:32} {statistics.median(times):6.3f} s  ({min(times):.3f} to {max(times):.3f})")


def _peers(base: Path, count: int) -> tuple[Path, Path]:
    """A database and a text file with the same sha256."""
    import sqlite3

    values = np.fromfile(base / "sweep" / "sha256", np.uint8).reshape(-1, 32)
    prefixes = values[:, :8].copy().view(">i8").ravel().astype(np.int64)
    order = np.argsort(prefixes)
    database = sqlite3.connect(base / "peer.sqlite")
    database.execute("CREATE TABLE t (prefix INTEGER, row INTEGER, PRIMARY KEY (prefix, row)) WITHOUT ROWID")
    database.executemany(
        "INSERT INTO t VALUES (?, ?)", zip(prefixes[order].tolist(), order.tolist(), strict=True)
    )
    database.commit()
    database.close()
    with (base / "sums").open("w") as file:
        for row in range(count):
            file.write(f"{values[row].tobytes().hex()}  picture-{row:08d}.jpg\n")
    return base / "peer.sqlite", base / "sums"


if __name__ == "__main__":
    main()
