"""Runs the commands of docs/getting-lists.md, with exchanges on loopback behind a proxy."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from hashscan.lists.formats.ncmec import CLASSIFICATIONS
from hashscan.registry import EXCHANGES
from tests.lists.exchanges.servers import AllServed, Hash, Media, all_served, document
from tests.pictures import encoded, scene
from tests.prefork import PREFORK

pytest.importorskip("threatexchange", reason="of the extra exchange")

PAGE = Path(__file__).parent.parent / "docs" / "getting-lists.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)\n```", TEXT, re.DOTALL) for line in block.splitlines()
]
FOUND = "hashscan scan /var/www --quarantine --retain-min 90d --destroy-by 365d --act-on exchange"


def prepared(folder: Path, served: AllServed) -> tuple[Path, Mapping[str, str]]:
    """A folder with all files that the commands name, and the environment to run them in."""
    here, www = folder / "here", folder / "www"
    here.mkdir()
    www.mkdir()
    photo = encoded(scene(11))
    (www / "photo.jpg").write_bytes(photo)
    (www / "other.jpg").write_bytes(encoded(scene(12)))
    now = int(time.time()) - 7200
    served.ncmec.put(Media(42, "photo", now, {"md5": hashlib.md5(photo).hexdigest()}))
    served.stopncii.put(Hash("ab" * 32, now))
    served.tcap.put(7, "PDQ", "cd" * 32, now)
    served.group.add(7, 7200)
    served.credentials["tcap"].rename(here / "tcap-login")
    served.credentials["threatexchange"].rename(here / "app-token")
    served.credentials["ncmec"].rename(here / "ncmec-login")
    served.credentials["stopncii"].rename(here / "stopncii-keys")
    (here / "sharing.xml").write_bytes(document([Media(42, "shared", now, {"md5": "cd" * 16})]))
    programs = folder / "bin"
    programs.mkdir()
    (programs / "hashscan").symlink_to(PREFORK.program())
    return here, {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HASHSCAN_STATE": str(folder / "state"),
        "HASHSCAN_BACKGROUND": "no",
        "https_proxy": served.proxy,
        "SSL_CERT_FILE": str(served.ca_file),
    }


def test_from_nothing_to_lists(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with all_served(tmp_path / "exchanges") as served:
        here, environment = prepared(tmp_path, served)
        for command in COMMANDS:
            placed = command.replace("/var/www", str(tmp_path / "www"))
            done = subprocess.run(
                ["bash", "-c", placed], cwd=here, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == (command == FOUND), f"{command}\n{done.stdout}{done.stderr}"
    assert not (tmp_path / "www" / "photo.jpg").exists()
    assert (tmp_path / "www" / "other.jpg").exists()
    assert FOUND in COMMANDS


def test_the_table_of_categories_is_the_programs() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE)
    shown = {(name, ours) for name, _, ours in rows}
    made = set()
    for name in EXCHANGES:
        for theirs, ours in EXCHANGES[name].categories.items():
            made.add((name, "unchanged" if theirs == ours else f"`{ours}`"))
    assert shown == made
    assert ("ncmec", f"{', '.join(sorted(CLASSIFICATIONS))}", "unchanged") in rows
