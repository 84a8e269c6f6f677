"""Runs every command that README and docs/ show, with their example addresses put on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from hashscan.errors import EXIT_MEANINGS
from hashscan.lists.publishing.publisher import Publisher
from hashscan.model import Entry, Verdict
from tests.certificates import Authority
from tests.matching_services import SECRET, ServiceServer, speak_hashscan
from tests.pictures import encoded, scene
from tests.prefork import PREFORK
from tests.scan.nodes import Program, said_port
from tests.sources.objects.azurite import PROGRAM, azurite
from tests.sources.objects.buckets import credentials, moto_url, stored
from tests.sources.objects.google_emulator import EmulatedBucket, emulator_url
from tests.web import served

ROOT = Path(__file__).parent.parent
NAMES = (
    "scan",
    "matching",
    "lists",
    "privacy",
    "publishing",
    "buckets",
    "scale",
    "neighbour",
    "state",
    "authorities",
    "reports",
    "cases",
    "policy",
    "customers",
    "ci",
    "quarantine",
    "statistics",
    "settings",
    "schema",
    "gdpr",
    "alerts",
    "speed",
    "compare",
    "glossary",
    "index",
)
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in NAMES)]
"""In the order in which their commands are run, on one and the same state."""
OTHERS = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "containers",
        "first-case",
        "getting-lists",
        "hub",
        "hub-reference",
        "install",
        "photodna",
        "serve",
        "setup",
        "terminal",
        "threatexchange",
        "verify",
    )
]
"""Their commands are run by tests of their own or by CI: they need root or an extra, or don't end."""

ALL = "".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"```sh\n(.*?)\n```", ALL, re.DOTALL)
README_LINES = 150
SETUP = 3
"""Number of first blocks that are the set-up, which `.ci/readme` runs as it stands."""

COMMANDS = [line for block in BLOCKS[SETUP:] for line in block.splitlines()]

FOUND = {
    "hashscan scan /var/www --exec cat --metrics hashscan.prom",
    "hashscan lists pull; hashscan scan --known",
    "hashscan scan --known /var/www --report known.jsonl",
    "hashscan scan /var/www",
    "hashscan scan /var/www --show-requests",
    "hashscan scan /var/www --report found.jsonl",
    "hashscan scan /var/www --report found.jsonl --report found.csv --report found.html",
    "hashscan scan /var/www --quarantine --retain-min 90d --destroy-by 365d --report moved.jsonl",
    "hashscan --config customers.toml scan /var/www --customers www --report owned.jsonl",
    "hashscan check photo.jpg",
    "hashscan check photo.jpg --policy policy.toml",
    "hashscan scan /var/www --policy policy.toml --report judged.jsonl",
    "hashscan lookup --distance 20 photo.jpg",
    "hashscan lists pull national; hashscan scan /var/www --one-file-system "
    "--report /var/lib/hashscan/last.jsonl",
}
"""Commands that find something here, and so exit with 1."""

ON_CLUSTER = (
    "hashscan scan /var/www --cluster tls://scheduler:8786 "
    "--cluster-ca ca.pem --cluster-cert host.pem --cluster-key host.key"
)
FOUND.add(ON_CLUSTER)
FOUND.add("hashscan --config reporting.toml scan /var/www --report found.jsonl --report notices.xarf.jsonl")

LASTING = {"dask scheduler": "Scheduler at:", "hashscan worker": "are ready at"}
"""The beginnings of commands that run until they are stopped, and their message when they are ready."""

STAGED = "hashscan lists pull national --stage"
FIRST_DAY = "2027-01-31"
"""The day to which the README's exception holds; whenever this runs, it must lie ahead."""


@dataclass(frozen=True)
class Owner:
    """A list owner, whose web server has a list with the photo's digest."""

    publisher: Publisher
    address: str

    def release(self, entry: Entry) -> None:
        self.publisher.add([entry], "entries")
        self.publisher.release()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    work, public = tmp_path / "owner", tmp_path / "web" / "national"
    publisher = Publisher.init(work, public, work / "keys", "national")
    photo = tmp_path / "site" / "photo.jpg"
    photo.parent.mkdir()
    photo.write_bytes(encoded(scene(11)))
    (photo.parent / "national-root.json").write_bytes(publisher.root())
    with served(tmp_path / "web") as address:
        owner = Owner(publisher, address)
        owner.release(Entry("n-1", "sha256", hashlib.sha256(photo.read_bytes()).digest(), "A1"))
        yield owner


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command(tmp_path: Path, owner: Owner, request: pytest.FixtureRequest) -> None:
    here = tmp_path / "site"
    www = tmp_path / "www"
    www.mkdir()
    (www / "upload.jpg").write_bytes((here / "photo.jpg").read_bytes())
    (here / "uploads").mkdir()
    (here / "uploads" / "picture.jpg").write_bytes(encoded(scene(12)))
    csv = "id,algorithm,value,category\nours-1,md5,d41d8cd98f00b204e9800998ecf8427e,A1\n"
    (here / "ours.csv").write_text(csv)
    (here / "hashes.txt").write_text(f"{'0' * 64}\n")
    (here / "videos.txt").write_text(f"0,100,{'5a' * 32},0.000\n")
    (here / "theme.jpg").write_bytes(encoded(scene(14)))
    (here / "more.csv").write_text(csv.replace("ours", "more"))
    (here / "notices.csv").write_text(f"path,reference\n{www / 'upload.jpg'},4711\n")
    for folder in ("pictures", "videos"):
        (here / folder).mkdir()
        (here / folder / "picture.jpg").write_bytes(encoded(scene(13)))
    (here / "policy.toml").write_text(example_of("policy"))
    # Not every machine has these users.
    (here / "customers.toml").write_text(example_of("customers").replace('"www-bob", ', ""))
    (here / "reporting.toml").write_text(example_of("authorities").replace("/var/www", str(www)))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "hashscan").symlink_to(PREFORK.program())
    (programs / "dask").write_text(f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n')
    (programs / "dask").chmod(0o755)
    cert, key = Authority(tmp_path / "authority").issue("localhost")
    for path, name in ((cert, "host.pem"), (key, "host.key"), (cert.with_name("ca.pem"), "ca.pem")):
        shutil.copy(path, here / name)
    (here / "host.key").chmod(0o600)
    port = 0
    (tmp_path / "state").mkdir(mode=0o700)
    with credentials() as environ:
        stored("uploads", {b"2026/photo.jpg": encoded(scene(12))})
        stored("evidence", {})
    with closing(EmulatedBucket("uploads")) as bucket:
        bucket.put("photo.jpg", encoded(scene(12)))
    if PROGRAM in os.environ:
        azurite().store("uploads", {"2026/photo.jpg": encoded(scene(12))})
    (tmp_path / "web" / "photo.jpg").write_bytes(encoded(scene(12)))
    environment = {
        **environ,
        "AWS_ENDPOINT_URL": moto_url(),
        "STORAGE_EMULATOR_HOST": emulator_url(),
        **(azurite().environment if PROGRAM in os.environ else {}),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HASHSCAN_STATE": str(tmp_path / "state"),
        "HASHSCAN_PASSPHRASE": "a passphrase",
        "AUTHORITY_KEY": str(pyrage.x25519.Identity.generate().to_public()),
        # Without a terminal scans would step back behind whatever else runs here.
        "HASHSCAN_BACKGROUND": "no",
        "HASHSCAN_REREAD": "0%",
    }
    (here / "service.key").write_text(SECRET)
    (here / "service.key").chmod(0o600)
    service = ServiceServer(speak_hashscan)
    service.start()
    request.addfinalizer(service.kill)
    seen = set()
    excepted = False
    lasting: list[Program] = []
    for command in COMMANDS:
        if "az://" in command and PROGRAM not in os.environ:
            continue
        if command == STAGED:
            owner.release(Entry("n-2", "md5", bytes(16), "A1"))
        placed = (
            command.replace("https://lists.example.org", owner.address)
            .replace(FIRST_DAY, f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}")
            .replace("https://s3.example.org", moto_url())
            .replace("https://files.example.org", owner.address)
            .replace("https://service.example.org/", service.url)
            .replace("/var/www", str(www))
            .replace("/var/lib/hashscan", str(tmp_path / "state"))
            .replace("scheduler:8786", f"127.0.0.1:{port}")
            .replace("--port 8786", f"--host 127.0.0.1 --port {port}")
        )
        if ready := next((LASTING[begun] for begun in LASTING if command.startswith(begun)), None):
            # Started as always, since signals go to its process group.
            placed = re.sub("^hashscan", f"{sys.executable} -m hashscan", placed)
            lasting.append(Program(["bash", "-c", f"exec {placed}"], environment, here))
            request.addfinalizer(lasting[-1].close)
            line = lasting[-1].wait_for(ready)
            port = port or said_port(line)
            continue
        done = subprocess.run(
            ["bash", "-c", placed], cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        # From the first exception on, only the lookup finds the photo without a list.
        found = command in FOUND and (not excepted or command.startswith("hashscan lookup"))
        assert done.returncode == found, f"{command}\n{done.stdout}{done.stderr}"
        excepted |= command.startswith("hashscan lists except n-1")
        seen.add(command)
    assert len(lasting) == len(LASTING)
    assert seen >= {*FOUND, STAGED}, "a command of the list above is not shown any more"
    assert (here / "hashscan.jsonl").read_text().splitlines()[-1].startswith('{"type":"summary"')


def example_of(name: str) -> str:
    """The first settings that a page shows."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"```toml\n(.*?)\n```", page, re.DOTALL)[0]


@pytest.mark.slow
def test_the_settings_example_is_accepted(tmp_path: Path) -> None:
    config = tmp_path / "hashscan.toml"
    config.write_text(example_of("settings").replace("/var/lib/hashscan", str(tmp_path / "state")))
    target = tmp_path / "files"
    target.mkdir()
    (target / "file").write_bytes(b"x")
    command = [
        sys.executable,
        "-m",
        "hashscan",
        "--config",
        str(config),
        "scan",
        "--list",
        "demo",
        str(target),
    ]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HASHSCAN_")}
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    # The example insists on a full sandbox, which not every machine that tests this has.
    assert done.returncode in (0, 2), done.stderr
    assert done.returncode == 0 or "sandbox is incomplete" in done.stderr


def test_exit_codes_and_verdicts_are_all_explained() -> None:
    readme, scan = (page.read_text(encoding="utf-8") for page in PAGES[:2])
    for code in EXIT_MEANINGS:
        assert re.search(rf"^\| (\d+, )?{code}(, \d+)? \|", scan, re.MULTILINE), code
    for verdict in Verdict:
        assert f"| {verdict.value} |" in readme
        assert f"| {verdict.value} |" in scan


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_pages_are_all_here_and_point_at_what_exists() -> None:
    pages = [*PAGES[1:], *OTHERS]
    assert sorted(pages) == sorted((ROOT / "docs").glob("*.md"))
    for page in (PAGES[0], *pages, ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^):]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"
