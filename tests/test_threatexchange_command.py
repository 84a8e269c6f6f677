"""The `threatexchange` command with hashscan's extension, and the commands of docs/threatexchange.md."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pictures import encoded, scene
from tests.prefork import PREFORK
from tests.web import WebServer, serving

pytest.importorskip("threatexchange", reason="of the extra exchange")

PAGE = Path(__file__).parent.parent / "docs" / "threatexchange.md"
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    for line in block.splitlines()
]
ADDRESS = "https://lists.example.org/national/"
SECRET = "a passphrase of the keys"
SEEDS = range(20, 26)
"""Seeds of the listed pictures."""


@dataclass
class Published:
    """A list that `hashscan publish` made, a server of it, and a user of the library."""

    folder: Path
    web: WebServer

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        start = [PREFORK.program()] if program == "hashscan" else [sys.executable, "-m", program]
        return subprocess.run(
            [*start, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        programs = [str(self.folder / "bin"), kept["PATH"]]
        return {
            **kept,
            "PATH": os.pathsep.join(programs),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HASHSCAN_PASSPHRASE": SECRET,
            "HASHSCAN_STATE": str(self.folder / "state"),
            "HASHSCAN_BACKGROUND": "no",
            "TX_STATEDIR": str(self.folder / "tx"),
        }

    def publish(self, *arguments: str) -> None:
        done = self.run("hashscan", "publish", *arguments)
        assert done.returncode == 0, done.stderr

    def matched(self, *paths: Path) -> dict[str, set[str]]:
        """Return the output of `threatexchange match` about each file: kinds of digests and opinions."""
        found = {}
        for path in paths:
            done = self.run("threatexchange", "match", "photo", str(path))
            assert done.returncode == 0, done.stderr
            found[path.name] = {
                f"{line.split()[0]} {line.partition(') ')[2]}" for line in done.stdout.splitlines()
            }
        return found


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed in SEEDS:
        (pictures / f"{seed}.jpg").write_bytes(encoded(scene(seed)))
    with serving(tmp_path / "web") as web:
        made = Published(tmp_path, web)
        made.publish("init", "national", "--work", "work", "--repository", "web/national")
        made.publish("hash", "pictures", "--category", "A1", "--output", "entries.csv")
        made.publish("add", "entries.csv", "--work", "work")
        made.publish("release", "--work", "work")
        (tmp_path / "national-root.json").write_bytes((tmp_path / "work" / "root.json").read_bytes())
        yield made


def added(published: Published) -> None:
    """Run the commands of the page, but the last one."""
    program = published.folder / "bin" / "threatexchange"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m threatexchange "$@"\n')
    program.chmod(0o755)
    for command in COMMANDS[:-1]:
        done = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, f"{published.web.url}national/")],
            cwd=published.folder,
            env=published.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def some_files(folder: Path) -> list[Path]:
    """Copies of pictures, and the same scaled and saved again; the first half is listed."""
    files = []
    for seed in (20, 21, 40, 41):
        picture = scene(seed)
        for name, content in {
            "copy.jpg": encoded(picture),
            "again.jpg": encoded(picture.resize((240, 180)), quality=75),
        }.items():
            files.append(folder / f"{seed}-{name}")
            files[-1].write_bytes(content)
    return files


@pytest.mark.slow
def test_it_matches_the_same_files_as_hashscan(published: Published) -> None:
    """And what the list withdraws and adds later, both know alike."""
    added(published)
    www = published.folder / "www"
    www.mkdir()
    files = some_files(www)
    last = COMMANDS[-1].removeprefix("threatexchange match photo ")
    (published.folder / last).write_bytes(files[0].read_bytes())

    def by_hashscan() -> set[str]:
        done = published.run("hashscan", "lists", "pull", "national")
        assert done.returncode == 0, done.stderr
        report = published.folder / "found.jsonl"
        done = published.run("hashscan", "scan", str(www), "--report", str(report))
        assert done.returncode in {0, 1}, done.stderr
        records = [json.loads(line) for line in report.read_text().splitlines()]
        report.unlink()
        return {Path(record["path"]).name for record in records if record.get("verdict") == "match"}

    done = published.run(
        *("hashscan", "lists", "add", "national", f"{published.web.url}national/"),
        *("--root", "national-root.json"),
    )
    assert done.returncode == 0, done.stderr
    matched = published.matched(*files, published.folder / last)
    assert matched.pop(last) == {
        f"{kind} POSITIVE_CLASS A1" for kind in ("pdq", "file_md5", "file_sha1", "file_sha256")
    }
    found = {name for name, lines in matched.items() if lines}
    assert found == by_hashscan() == {file.name for file in files if file.name[:2] in {"20", "21"}}

    (published.folder / "more").mkdir()
    (published.folder / "more" / "40.jpg").write_bytes(encoded(scene(40)))
    published.publish("hash", "more", "--category", "B2", "--output", "more.csv")
    published.publish("add", "more.csv", "--work", "work")
    gone = hashlib.sha256(encoded(scene(20))).hexdigest()[:32]
    ids = [f"{gone}-{algorithm}" for algorithm in ("md5", "sha1", "sha256", "pdq")]
    published.publish("withdraw", *ids, "--work", "work")
    published.publish("release", "--work", "work")
    done = published.run("threatexchange", "fetch")
    assert done.returncode == 0, done.stderr
    changed = [file for file in files if file.name[:2] in {"20", "40"}]
    matched = published.matched(*changed)
    found = {name for name, lines in matched.items() if lines}
    assert found == by_hashscan() & {*matched} == {file.name for file in changed if file.name[:2] == "40"}
    assert matched["40-again.jpg"] == {"pdq POSITIVE_CLASS B2"}


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_a_tampered_repository_is_refused(published: Published) -> None:
    added(published)
    folder = published.folder
    copy = folder / "copy.jpg"
    copy.write_bytes(encoded(scene(20)))
    good = published.matched(copy)
    assert good["copy.jpg"]
    public = folder / "web" / "national"
    older = folder / "older"
    shutil.copytree(public, older)
    (folder / "more").mkdir()
    (folder / "more" / "40.jpg").write_bytes(encoded(scene(40)))
    published.publish("hash", "more", "--category", "B2", "--output", "more.csv")
    published.publish("add", "more.csv", "--work", "work")
    published.publish("release", "--work", "work")
    newer = folder / "newer"
    shutil.copytree(public, newer)

    def serve(kept: Path) -> None:
        shutil.rmtree(public)
        shutil.copytree(kept, public)

    def refused(reason: str) -> None:
        done = published.run("threatexchange", "fetch", "--only-api", "hashscan")
        assert done.returncode == 3, reason
        assert "hashscan" in done.stderr, reason
        assert "Traceback" not in done.stderr

    damage(public / "metadata" / "timestamp.json")
    refused("metadata with a wrong signature")
    serve(newer)
    for target in (public / "targets").glob("*2.pdq*value*"):
        damage(target)
    refused("entries that are not those that were signed")
    assert published.matched(copy) == good
    serve(newer)
    done = published.run("threatexchange", "fetch")
    assert done.returncode == 0, done.stderr
    serve(older)
    refused("an older version")
    shutil.rmtree(public)
    for command in (
        ("init", "other", "--work", "other", "--repository", "web/national"),
        ("add", "more.csv", "--work", "other"),
        ("release", "--work", "other"),
    ):
        published.publish(*command)
    refused("the list of somebody else, with another root")
    shutil.rmtree(public)
    refused("no list")
    assert published.matched(copy) == good


def test_a_copy_whose_version_is_not_known_here_starts_again(published: Published) -> None:
    """Entries that were withdrawn meanwhile would stay in it."""
    added(published)
    copy = published.folder / "copy.jpg"
    copy.write_bytes(encoded(scene(20)))
    shutil.rmtree(published.folder / "tx" / "hashscan")
    gone = hashlib.sha256(encoded(scene(20))).hexdigest()[:32]
    ids = [f"{gone}-{algorithm}" for algorithm in ("md5", "sha1", "sha256", "pdq")]
    published.publish("withdraw", *ids, "--work", "work")
    published.publish("release", "--work", "work")
    done = published.run("threatexchange", "fetch")
    assert done.returncode == 3
    assert "--clear" in done.stderr
    assert published.run("threatexchange", "fetch", "--clear").returncode == 0
    assert published.run("threatexchange", "fetch").returncode == 0
    assert published.matched(copy) == {"copy.jpg": set()}


def test_a_root_that_is_not_there(published: Published) -> None:
    added(published)
    (published.folder / "national-root.json").unlink()
    done = published.run("threatexchange", "fetch")
    assert done.returncode == 3
    assert "national-root.json" in done.stderr
