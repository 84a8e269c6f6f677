"""Time the comparison of all known pictures with the new entries of a list.

    python -m benchmarks.state.retro [--contents N] [--entries N] [--photos DIR] [--quadrants] [--repeats N]
                                     [--keep DIR]

Run it with the Python that has hashscan. Photographs (those of DIR, else drawn ones) are scanned, with
--quadrants for a list that has quadrants, too, and the state is filled up with pictures made after them (see
`known_state`). A list of random PDQs is imported, with some
planted that lie just within and just beyond what counts as near to one of a known picture's digests. Timed
are the comparison alone and `hashscan scan --known`, each in a process of its own; exactly the planted ones
that are near must be found. Beside them, in the same run, one thread each and worked out from a share of the
pictures: a brute force in numpy, and faiss' `IndexBinaryFlat` where this Python has faiss.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN
from benchmarks.state.known_state import fill
from hashscan.hashing.pdq_reduction import likely_turned
from hashscan.hashing.records import DecodedPicture, unpack_reply
from hashscan.hashing.variants import RESTORED
from hashscan.lists.store import ListStore
from hashscan.matching.evaluation import RESTORED_THRESHOLD, TIGHT_REACH, has_tight_threshold
from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import ALGORITHMS, ALWAYS_COMPUTED, QUADRANTS
from hashscan.sandbox.client import SandboxOptions
from hashscan.state.queries.retro_match import RetroMatcher
from hashscan.state.store.contents import Contents
from hashscan.state.store.database import open_database
from hashscan.state.store.packing import MOST_BITS
from hashscan.state.store.profile import from_text
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir

LIST = "gained"
DRAWN = 48
PLANTED = 200
SHARE = 200
"""Pictures that the peers are asked about."""
FULL = ALGORITHMS["pdq"].threshold


def draw(folder: Path) -> None:
    """Pictures with as much detail at each scale as photographs have, of two sizes."""
    folder.mkdir()
    for seed in range(DRAWN):
        random = np.random.default_rng(seed)
        height, width = ((720, 960), (320, 480))[seed % 4 == 3]
        far = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) + 1e-3
        waves = np.fft.fft2(random.normal(size=(3, height, width))) / far**1.2
        planes = np.fft.ifft2(waves).real
        low, high = planes.min(axis=(1, 2), keepdims=True), planes.max(axis=(1, 2), keepdims=True)
        image = Image.fromarray((255 * (planes - low) / (high - low)).astype(np.uint8).transpose(1, 2, 0))
        image.save(folder / f"{seed}.jpg", quality=85)


def hashscan(state: Path, *arguments: str, expect: int) -> None:
    """Run a command of hashscan."""
    command = [*HASHSCAN, *arguments, "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != expect:
        sys.exit(f"{' '.join(command)}: {done.returncode}: {done.stderr[-1000:]}")


class _Digest(NamedTuple):
    value: bytes
    limit: int
    """Bits that an entry may lie away from it."""
    guessed: bool
    """False if all pictures that are made after one have it: it is not stored as what a guess lacks."""


def digests_of(reader: StateReader, row: int) -> Iterator[_Digest]:
    """All PDQs of a known picture that are good enough."""
    content = reader.contents.load(row)
    if content.kind is None or not content.reply:
        return
    found = unpack_reply(content.reply, content.kind, content.profile.picture_names)
    assert isinstance(found, DecodedPicture)
    likely: list[bytes] = []
    for run in found.runs:
        if run.algorithm == "pdq" and run.quality >= ALGORITHMS["pdq"].min_quality:
            for digest in run.digests():
                likely = likely or [guess.tobytes() for guess in likely_turned(digest.value, range(9))]
                tight = has_tight_threshold(run.rendering, digest.turn, run.shown)
                limit = TIGHT_REACH if tight else FULL
                limit = RESTORED_THRESHOLD if run.rendering == RESTORED else limit
                guessed = run.rendering < RESTORED and any(
                    _distance(digest.value, guess) <= MOST_BITS for guess in likely
                )
                yield _Digest(digest.value, limit, guessed)


def plant(state: Path, entries: int) -> list[int]:
    """Import the list; the rows of the pictures that have an entry near them."""
    random = np.random.default_rng(5)
    values = random.integers(0, 256, (entries, 32), np.uint8)
    near = []
    with StateReader(StateDir(state)) as reader:
        rows = random.choice(reader.contents.rows, min(PLANTED, entries, reader.contents.rows), replace=False)
        for place, row in enumerate(rows.tolist()):
            mine = list(digests_of(reader, row))
            if not mine:
                continue
            own = [digest for digest in mine if digest.guessed]
            value, limit, _ = own[random.integers(len(own))]
            bits = np.unpackbits(np.frombuffer(value, np.uint8))
            bits[random.choice(256, limit + place % 2, replace=False)] ^= 1
            values[place] = np.packbits(bits)
            if any(_distance(bytes(values[place]), other) <= far for other, far, _ in mine):
                near.append(row)
    file = state / "gained.csv"
    lines = [f"e{number},pdq,{value.tobytes().hex()},baseline\n" for number, value in enumerate(values)]
    file.write_text("id,algorithm,value,category\n" + "".join(lines))
    hashscan(state, "lists", "import", str(file), "--name", LIST, expect=0)
    np.save(state / "gained.npy", values)
    return sorted(near)


def _distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def take(state: Path) -> None:
    """Compare, tell how long that took and what was found, and leave the state as it was."""
    database, folder, _ = open_database(StateDir(state))
    (text,) = database.execute("SELECT text FROM profiles").fetchone()
    with ListStore(state / "lists").open((LIST,), datetime.now(UTC)) as opened:
        database.execute("BEGIN IMMEDIATE")
        contents = Contents(database, folder, from_text(text))
        setup = WorkerSetup(opened.handles, SandboxOptions("auto"), ALWAYS_COMPUTED, 1 << 20)
        gains = RetroMatcher(database, contents, setup, print)
        wall, cpu = time.perf_counter(), time.process_time()
        compared = gains.take()
        seconds, worked = time.perf_counter() - wall, time.process_time() - cpu
        found = [row for (row,) in database.execute("SELECT content FROM hits ORDER BY content")]
        database.execute("ROLLBACK")
    # Not by getrusage: a process begins with the peak of the one that started it.
    status = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    peak = int(status.split()[0]) * 1024
    print(json.dumps({"compared": compared, "wall": seconds, "cpu": worked, "peak": peak, "found": found}))


def compared_in_child(state: Path) -> dict[str, Any]:
    """`take` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.state.retro", "--take", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def whole_command(state: Path) -> tuple[float, float]:
    """Wall and processor seconds of `hashscan scan --known`."""
    command = [*HASHSCAN, "scan", "--known", "--list", LIST, "--state", str(state)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 1}:
        sys.exit(said.decode(errors="replace")[-2000:])
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def peers(state: Path, contents: int) -> Iterator[tuple[str, float]]:
    """Seconds that each would take for all pictures, from a share of them."""
    entries = np.load(state / "gained.npy")
    with StateReader(StateDir(state)) as reader:
        rows = np.linspace(0, reader.contents.rows - 1, SHARE).astype(int).tolist()
        mine = [digest for row in rows for digest in digests_of(reader, row)]
    for name, ask in (("numpy, brute force", _brute), ("faiss IndexBinaryFlat", _faiss(entries))):
        if ask is None:
            continue
        began = time.process_time()
        for limit in {digest.limit for digest in mine}:
            values = [digest.value for digest in mine if digest.limit == limit]
            ask(entries, np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32), limit)
        yield name, (time.process_time() - began) / SHARE * contents


def _brute(entries: np.ndarray, values: np.ndarray, limit: int) -> None:
    words = np.ascontiguousarray(entries).view(np.uint64)
    for value in values.view(np.uint64):
        np.flatnonzero(np.bitwise_count(words ^ value).sum(axis=1, dtype=np.uint16) <= limit)


def _faiss(entries: np.ndarray) -> Callable[[np.ndarray, np.ndarray, int], None] | None:
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(256)
    index.add(entries)

    def search(_: np.ndarray, values: np.ndarray, limit: int) -> None:
        index.range_search(values, limit + 1)

    return search


def show(runs: list[dict[str, Any]], entries: int, near: int) -> None:
    """Print what the comparisons took."""
    each = [run["wall"] / run["compared"] * 1e6 for run in runs]
    worked = statistics.median(run["cpu"] / run["compared"] * 1e6 for run in runs)
    print(
        f"compared {runs[0]['compared']} pictures with {entries} entries, all {near} found: "
        f"{statistics.median(run['wall'] for run in runs):.2f} s, {statistics.median(each):.2f} us a picture "
        f"({min(each):.2f} to {max(each):.2f}), {worked:.2f} us of processor; "
        f"peak {max(run['peak'] for run in runs) >> 20} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the comparison of known pictures with new entries.")
    parser.add_argument("--contents", type=int, default=10_000_000)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--photos", type=Path, help="scan these in place of drawn ones")
    parser.add_argument("--quadrants", action="store_true", help="scan for a list that has quadrants, too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="make the state here, or use the one that is there")
    parser.add_argument("--take", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take:
        take(options.take)
        return
    with ExitStack() as stack:
        base = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state = base / "state"
        if not state.exists():
            base.mkdir(parents=True, exist_ok=True)
            photos = options.photos or base / "drawn"
            if not options.photos:
                draw(photos)
            lists = ["demo"]
            if options.quadrants:
                file = base / "quadrants.csv"
                value = np.random.default_rng(6).bytes(ALGORITHMS[QUADRANTS].size).hex()
                file.write_text(f"id,algorithm,value,category\nq,{QUADRANTS},{value},baseline\n")
                hashscan(state, "lists", "import", str(file), "--name", "quadrants", expect=0)
                lists.append("quadrants")
            named = [word for name in lists for word in ("--list", name)]
            hashscan(state, "scan", str(photos), *named, expect=0)
            each = fill(state, options.contents, 1000)
            print(f"{options.contents} pictures, {each:.0f} bytes a file", flush=True)
        shutil.rmtree(state / "lists", ignore_errors=True)
        near = plant(state, options.entries)
        runs = [compared_in_child(state) for _ in range(options.repeats)]
        for run in runs:
            if run["found"] != near:
                sys.exit(f"{len(near)} pictures lie near an entry, {len(run['found'])} were found")
        show(runs, options.entries, len(near))
        wall, cpu = whole_command(state)
        print(f"hashscan scan --known: {wall:.2f} s, {cpu:.2f} s of processor")
        database = sqlite3.connect(state / "scans" / "state.sqlite", isolation_level=None)
        database.executescript("DELETE FROM matched; DELETE FROM hits; DELETE FROM findings")
        database.close()
        for name, seconds in peers(state, int(runs[0]["compared"])):
            print(f"{name}: {seconds:.0f} s, worked out from {SHARE} pictures")


if __name__ == "__main__":
    announce_build()
    main()
