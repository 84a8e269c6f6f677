"""Time the moves of findings into quarantine, beside the usual commands for it.

    python -m benchmarks.cases.quarantine --work DIR [--far DIR]

Run it as root, with the Python that has hashscan. In turn, a thousand fresh files are moved by `hashscan
quarantine add`, by `sha256sum` and `mv`, and by those with a `sync` at the end; with --far, which names a
folder on another file system, from there as well. `hashing` is what reading and digesting takes by itself:
md5, sha1 and sha256, and sha256 once more. `starting` is `add --dry-run`, which does nothing else; `restore`
puts all back. Then scans over as many files, all of which a list accuses, are timed with and without
`--quarantine`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.lib import measure
from benchmarks.lib.build import announce_build
from benchmarks.lib.scans import HASHSCAN, machine

OURS, STARTING, HASHING = "hashscan quarantine add", "starting", "hashing"
BACK = "hashscan quarantine restore"
SCAN, MOVING = "hashscan scan", "hashscan scan --quarantine"
TERMS = ["--retain-min", "1d", "--destroy-by", "2d"]
PEERS = {
    "sha256sum, mv": "sha256sum -- * > ../sums && mv -t ../moved -- *",
    "sha256sum, mv, sync": "sha256sum -- * > ../sums && mv -t ../moved -- * && sync -f ../moved .",
}


def lay_out(folder: Path, files: int, size: int) -> list[str]:
    """Files of random bytes, which are on the disk when this returns."""
    folder.mkdir()
    for number in range(files):
        (folder / f"{number:05}").write_bytes(os.urandom(size))
    os.sync()
    return [str(path) for path in sorted(folder.iterdir())]


def timed(name: str, files: Path, work: Path, number: int, size: int) -> measure.Sample:
    """Run one contender on fresh files."""
    with (
        tempfile.TemporaryDirectory(dir=files) as there,
        tempfile.TemporaryDirectory(dir=work) as here,
        tempfile.TemporaryDirectory(dir=work) as scratch,
    ):
        paths = lay_out(Path(there) / "files", number, size)
        moved = Path(here) / "moved"
        moved.mkdir()
        if name in {OURS, STARTING, BACK}:
            state = ["--state", f"{here}/state"]
            command = [*HASHSCAN, "quarantine", "add", *paths, "--reason", "r", *TERMS, *state]
            if name == STARTING:
                command += ["--dry-run"]
            elif name == BACK:
                subprocess.run(command, check=True, capture_output=True)
                os.sync()
                command = [*HASHSCAN, "quarantine", "restore", "--all", *state]
        elif name == HASHING:
            sums = "; ".join(f"{tool}sum -- * > /dev/null" for tool in ("md5", "sha1", "sha256", "sha256"))
            command = ["sh", "-c", f"cd {there}/files; {sums}"]
        else:
            script = PEERS[name].replace("../moved", str(moved)).replace("../sums", f"{here}/sums")
            command = ["sh", "-c", f"cd {there}/files; {script}"]
        return measure.run(name, command, Path(scratch), {})


def scanned(name: str, files: Path, work: Path, number: int, size: int) -> measure.Sample:
    """Run one scan over fresh files, all of which a list accuses."""
    with (
        tempfile.TemporaryDirectory(dir=files) as there,
        tempfile.TemporaryDirectory(dir=work) as here,
        tempfile.TemporaryDirectory(dir=work) as scratch,
    ):
        lines = ["id,algorithm,value,category"]
        for path in lay_out(Path(there) / "files", number, size):
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            lines.append(f"{Path(path).name},sha256,{digest},A1")
        entries = Path(here) / "entries.csv"
        entries.write_text("\n".join(lines))
        state = ["--state", f"{here}/state"]
        subprocess.run(
            [*HASHSCAN, "lists", "import", str(entries), "--name", "all", *state],
            check=True, capture_output=True,
        )  # fmt: skip
        moving = ["--quarantine", "--act-on", "local", *TERMS] if name == MOVING else []
        command = [*HASHSCAN, "scan", f"{there}/files", "--report", f"{here}/report", *state, *moving]
        sample = measure.run(name, command, Path(scratch), {"HASHSCAN_BACKGROUND": "no"}, expected=1)
        left = len(os.listdir(Path(there) / "files"))
        if left != (0 if name == MOVING else number):
            sys.exit(f"{name}: {left} files are left")
        return sample


def compare_scans(title: str, files: Path, work: Path, number: int, size: int, runs: int) -> None:
    """Print what a scan takes for a finding, and what it takes more to move it, in milliseconds."""
    names = [SCAN, MOVING, HASHING]
    samples: dict[str, list[measure.Sample]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            run = timed if name == HASHING else scanned
            samples[name].append(run(name, files, work, number, size))
    wall = {name: statistics.median(s.wall for s in samples[name]) / number * 1e3 for name in names}
    print(f"\n{title}: a scan with {number} findings of {size} bytes, median of {runs} runs, ms a finding")
    print(f"{'':28}{'wall':>8}{'CPU':>8}")
    for name in names:
        cpu = statistics.median(s.cpu for s in samples[name]) / number * 1e3
        print(f"{name:28}{wall[name]:8.3f}{cpu:8.3f}")
    beyond = wall[MOVING] - wall[SCAN] - wall[HASHING]
    print(f"beyond the scan and hashing again: {beyond:.3f} ms a move")


def compare(title: str, files: Path, work: Path, number: int, size: int, runs: int) -> None:
    """Print what each contender takes for a file, in milliseconds."""
    names = [OURS, BACK, STARTING, HASHING, *PEERS]
    samples: dict[str, list[measure.Sample]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            samples[name].append(timed(name, files, work, number, size))
    wall = {name: statistics.median(s.wall for s in samples[name]) / number * 1e3 for name in names}
    print(f"\n{title}: {number} files of {size} bytes, median of {runs} runs, ms a file")
    print(f"{'':28}{'wall':>8}{'CPU':>8}{'ratio':>8}")
    for name in names:
        cpu = statistics.median(s.cpu for s in samples[name]) / number * 1e3
        print(f"{name:28}{wall[name]:8.3f}{cpu:8.3f}{wall[name] / wall[OURS]:8.2f}")
    beyond = wall[OURS] - wall[STARTING] - wall[HASHING]
    print(f"beyond starting and hashing: {beyond:.3f} ms a file")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--far", type=Path, help="a folder on another file system, in which others can rename"
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("sha256sum") is None:
        sys.exit("this needs root and sha256sum")
    measure.adopt_orphans()
    print(machine())
    for how in (compare, compare_scans):
        how("on one file system", asked.work, asked.work, asked.files, asked.size, asked.runs)
        if asked.far is not None:
            how("across file systems", asked.far, asked.work, asked.files, asked.size, asked.runs)


if __name__ == "__main__":
    announce_build()
    main()
