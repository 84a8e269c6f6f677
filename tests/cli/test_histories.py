"""Scans that remember a random history, each compared with one that has just read everything."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import COMMAND, Run, environment
from tests.pictures import encoded, scene
from tests.prefork import PREFORK

Records = list[dict[str, Any]]

YOUNG_MS = 60
"""A file is believed to be unchanged so soon after its change; in earnest it is two seconds."""

FOLDERS = ("", "a", "a/b", "c", "c/d e")
NAMES = ("1", "2.jpg", "three.png", "four")
OPTIONS: tuple[tuple[str, ...], ...] = (
    *((),) * 6,
    ("--skip-variant", "turned"),
    ("--skip-variant", "all"),
    ("--max-pixels", "60000"),
    ("--review-threshold", "60"),
    ("--max-file-size", "8K"),
    ("--exclude", "*.png"),
    ("--exclude", "/a/"),
    ("--shard", "1/2"),
    ("--shard", "2/2"),
    ("--sandbox", "off"),
    ("--reread", "50%"),
    ("--one-file-system",),
    ("--workers", "2"),
)


def contents() -> list[bytes]:
    """Return contents of files: pictures, some alike, some broken, and no pictures."""
    pictures = [scene(seed) for seed in (5, 6, 7)]
    made = [encoded(picture, quality=90) for picture in pictures]
    made += [encoded(picture.resize((240, 180)), quality=40) for picture in pictures]
    made.append(encoded(pictures[0].transpose(Image.Transpose.ROTATE_90), "PNG"))
    made.append(encoded(pictures[1].crop((20, 15, 310, 230)), quality=80))
    made.append(encoded(Image.new("RGB", (100, 100), "grey"), "PNG"))
    made.append(encoded(pictures[2], "GIF", save_all=True, append_images=pictures[:2]))
    made += [
        made[0][:-2500],
        made[1][:300],
        b"8BPS\0\1" + bytes(100),
        b"",
        b"words",
        b"WORDS",
        b"more" * 5000,
    ]
    return made


class History:
    """A tree, its lists and its state, as they change."""

    def __init__(self, run: Run, folder: Path, state: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.run = run
        self.folder = folder
        self.state = state
        self.tree = folder / "tree"
        self.contents = contents()
        self.log: list[str] = []
        self.policies = random.Random(seed)
        self.policy = folder / "policy.toml"
        self.write_policy()
        for name in FOLDERS:
            (self.tree / name).mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                self.write(self.tree / name / self.random.choice(NAMES))
        self.entries = self.all_entries()
        self.import_list()
        patched = folder / "patched"
        patched.mkdir()
        (patched / "sitecustomize.py").write_text(
            f"import hashscan.state.store.listings as listings\nlistings.RACY_NS = {YOUNG_MS * 1_000_000}\n"
        )
        self.env = {"PYTHONPATH": str(patched)}

    def all_entries(self) -> list[tuple[str, str, str]]:
        """Everything that could be listed."""
        found = [("sha256", hashlib.sha256(content).hexdigest()) for content in self.contents]
        found += [
            ("md5", hashlib.md5(content, usedforsecurity=False).hexdigest()) for content in self.contents
        ]
        originals = self.folder / "originals"
        originals.mkdir()
        for number, content in enumerate(self.contents[:6]):
            (originals / f"{number}").write_bytes(content)
        ran = self.run("hash", *sorted(originals.iterdir()), "--algorithm", "pdq", "--algorithm", "phash")
        for line in ran.lines:
            found += [(name, value) for name, value in line["digests"].items() if name in {"pdq", "phash"}]
        return [(f"e{number}", name, value) for number, (name, value) in enumerate(found)]

    def write(self, path: Path) -> None:
        path.write_bytes(self.random.choice(self.contents))

    def write_policy(self) -> None:
        """Decide anew what is to be done about what is found; what is clean is not asked about."""
        rules = []
        for _ in range(self.policies.randint(1, 4)):
            conditions = [
                f'path = "{self.tree}/{self.policies.choice(("a/", "c/", "*.jpg"))}"',
                f'category = "{self.policies.choice(("A1", "B2"))}"',
                f'algorithm = "{self.policies.choice(("md5", "sha256", "pdq"))}"',
                f"distance = {self.policies.choice((0, 20))}",
            ]
            action = self.policies.choice(("report", "review", "held", "quarantine"))
            rules += ["[[policy]]", f'action = "{action}"']
            rules += self.policies.sample(conditions, self.policies.randint(0, 2))
        self.policy.write_text("\n".join(rules))

    def files(self) -> list[Path]:
        return sorted(path for path in self.tree.rglob("*") if path.is_file() and not path.is_symlink())

    def folders(self) -> list[Path]:
        return sorted(path for path in self.tree.rglob("*") if path.is_dir() and not path.is_symlink())

    def import_list(self) -> None:
        few = self.random.sample(self.entries, self.random.randint(1, 8))
        lines = [
            f"{name},{algorithm},{value},{self.random.choice(('A1', 'A1', 'B2', 'test', 'known-good'))}"
            for name, algorithm, value in few
        ]
        # One that accuses must be there, or nothing is scanned.
        lines.append(f"always,md5,{'0' * 32},A1")
        file = self.folder / "entries.csv"
        file.write_text("\n".join(["id,algorithm,value,category", *lines]))
        ran = self.run("lists", "import", file, "--name", "ours")
        assert ran.code == 0, ran.err

    def change(self) -> None:
        """Make a change that strangers or an administrator could make."""
        files, folders = self.files(), self.folders()
        some: list[Callable[[], object]] = [
            lambda: self.write(self.random.choice([self.tree, *folders]) / self.random.choice(NAMES)),
            self.import_list,
        ]
        if files:
            one, other = self.random.choice(files), self.random.choice(files)
            some += [
                one.unlink,
                lambda: self.exchange(one),
                lambda: one.rename(self.random.choice([self.tree, *folders]) / self.random.choice(NAMES)),
                lambda: shutil.copy2(one, other) if one != other and not one.samefile(other) else None,
                lambda: self.link(one, self.random.choice([self.tree, *folders]) / f"linked{len(self.log)}"),
                lambda: os.utime(one),
            ]
        if folders:
            folder = self.random.choice(folders)
            some += [
                lambda: self.move(folder, self.tree / f"moved{len(self.log)}"),
                lambda: shutil.rmtree(folder),
                lambda: self.swap(folder, self.random.choice(folders)),
                lambda: self.into_link(folder),
                lambda: (folder / f"new{len(self.log)}").mkdir(exist_ok=True),
            ]
        self.random.choice(some)()

    def exchange(self, path: Path) -> None:
        """Write other content, and set back what times can be."""
        status = path.stat()
        self.write(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def link(self, path: Path, other: Path) -> None:
        if not other.exists():
            os.link(path, other)

    def move(self, folder: Path, place: Path) -> None:
        if not place.exists():
            folder.rename(place)

    def swap(self, one: Path, other: Path) -> None:
        if one in other.parents or other in one.parents or one == other:
            return
        aside = self.tree / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)

    def into_link(self, folder: Path) -> None:
        aside = self.folder / f"aside{len(self.log)}"
        self.move(folder, aside)
        if not folder.exists():
            folder.symlink_to(aside)

    def step(self) -> None:
        """Change something, perhaps have a scan killed, and compare."""
        for _ in range(self.random.randint(0, 3)):
            self.change()
        if self.policies.random() < 0.5:
            self.write_policy()
        time.sleep(2 * YOUNG_MS / 1000)
        options = self.random.choice(OPTIONS)
        inner = self.folders()
        targets = [self.random.choice([self.tree, self.tree, *inner])]
        if self.random.random() < 0.2:
            targets.append(self.random.choice([self.tree, *inner, *self.files()]))
        self.log.append(f"{options} {targets}")
        chance = self.random.random()
        if chance < 0.15:
            self.killed(options, targets)
        elif chance < 0.25:
            ran = self.run("state", "vacuum")
            assert ran.code in {0, 12}, ran.err
        self.compare(options, targets)

    def killed(self, options: Sequence[str], targets: Sequence[Path]) -> None:
        """Let a scan begin."""
        self.log.append("killed")
        scan = PREFORK.popen(
            [*COMMAND, "scan", *map(str, targets), *options, "--report", str(self.folder / "killed.jsonl")],
            env=environment(self.state, self.env),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            scan.wait(timeout=self.random.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            os.kill(scan.pid, signal.SIGKILL)
            scan.wait(timeout=60)

    def scan(self, state: Path, options: Sequence[str], targets: Sequence[Path]) -> Records:
        report = self.folder / f"{state.name}.jsonl"
        # One that has just read everything knows nothing of what the options before had found.
        believing = () if "--known" in options else ("--accept-cleared",)
        ran = self.run(
            *("scan", *targets, *options, *believing, "--accept-shrink"),
            *("--report", report, "--policy", self.policy),
            env={**self.env, "HASHSCAN_STATE": str(state), "HASHSCAN_WORKERS": "1"},
        )
        assert ran.code in {0, 1, 3, 4}, (self.log, ran.err)
        return [json.loads(line) for line in report.read_text().splitlines()]

    def compare(self, options: Sequence[str], targets: Sequence[Path]) -> None:
        fresh = self.folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(self.state / "lists", fresh / "lists", symlinks=True)
        remembered, expected = (self.scan(state, options, targets) for state in (self.state, fresh))
        assert reported(remembered) == reported(expected), self.log
        assert remembered[-1]["verdicts"] == expected[-1]["verdicts"], self.log
        left_out = {"--exclude", "--max-file-size", "--shard"} & set(options)
        standing = {record["path"] for record in remembered if record["type"] == "standing"}
        assert all(map(os.path.isfile, standing)), (self.log, standing)
        assert all(map(is_direct, standing)), (self.log, standing)
        # A file may not be checked again at all only where it was left out, or its picture gives no digest.
        undecoded = {record["path"] for record in expected if record["type"] in {"undecoded", "skipped"}}
        assert left_out or standing <= undecoded, (self.log, standing)
        if not left_out:
            self.compare_known(options, targets, expected)

    def compare_known(self, options: Sequence[str], targets: Sequence[Path], expected: Records) -> None:
        """Right after a scan, what is known is what it has found."""
        apart = {"--reread", "--one-file-system", "--workers", "50%", "2"}
        known = self.scan(self.state, ["--known", *(o for o in options if o not in apart)], targets)
        assert findings(known) == findings(expected), self.log


def is_direct(path: str) -> bool:
    """Return whether no link leads to it."""
    return os.path.realpath(path) == path


def reported(records: Records) -> list[str]:
    """All that is said of files by one scan, whatever the order."""
    left_out = {"path_b64"}
    return sorted(
        json.dumps({k: v for k, v in record.items() if k not in left_out}, sort_keys=True)
        for record in records[1:-1]
        if record["type"] != "standing"
    )


def findings(records: Records) -> list[tuple[str, str]]:
    return sorted(
        (r["path"], f"{r['verdict']} {r['action']} {r['because']}") for r in records if r["type"] == "finding"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "steps"), [(1, 2), pytest.param(101, 4, marks=pytest.mark.slow)])
def test_a_history_makes_no_difference(run: Run, tmp_path: Path, state: Path, seed: int, steps: int) -> None:
    history = History(run, tmp_path, state, seed)
    for _ in range(steps):
        history.step()
    assert run("state", "check").code == 0
