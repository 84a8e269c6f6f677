"""Runs the commands of docs/getting-lists.md: servers on loopback, behind a proxy and a test authority."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest

from hashscan.lists.publishing.publisher import Publisher
from hashscan.model import Entry
from hashscan.registry import EXCHANGES, MATCHING_SERVICES
from tests.lists.exchanges.processes import EXTENSION
from tests.lists.exchanges.servers import (
    AllServed,
    Hash,
    Media,
    Update,
    all_served,
    body_of,
    document,
)
from tests.matching_services import LOGIN, SECRET, SPEAKERS, Listed, ServiceServer
from tests.pictures import encoded, scene
from tests.test_plugins import installed_python
from tests.web import Answer, WebServer, refuse, send

pytest.importorskip("threatexchange", reason="of the extra exchange")

PAGE = Path(__file__).parent.parent / "docs" / "getting-lists.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)\n```", TEXT, re.DOTALL) for line in block.splitlines()
]
MOVES = "hashscan scan /var/www --quarantine --retain-min 90d --destroy-by 365d --act-on exchange"
FOUND = {MOVES, "hashscan scan /var/www"}
"""Commands that find something here, and so exit with 1."""
SERVICES = {
    "service.example.org": "hashscan",
    "shield.projectarachnid.com": "arachnid",
    "hma.example.org": "hma",
}
"""Adapters of the services that the page adds, by their hosts."""
PHOTO = encoded(scene(11))
MD5, SHA1 = hashlib.md5(PHOTO).hexdigest(), hashlib.sha1(PHOTO).hexdigest()
SHA256 = hashlib.sha256(PHOTO).digest()


def lists_of_the_page() -> set[str]:
    """Return the names of all lists that the page makes."""
    return set(re.findall(r"^hashscan lists (?:add |import .*--name )([\w-]+)", "\n".join(COMMANDS), re.M))


def pdq_of_the_photo(folder: Path, environment: Mapping[str, str]) -> str:
    (folder / "photo.jpg").write_bytes(PHOTO)
    done = subprocess.run(
        ["hashscan", "hash", "photo.jpg"], cwd=folder, env=environment, capture_output=True, check=True
    )
    found: str = json.loads(done.stdout)["digests"]["pdq"]
    return found


def service_at(adapter: str, pdq: str) -> Answer:
    """Return what answers in place of a service whose list has the photo."""
    service = ServiceServer(SPEAKERS[adapter], [Listed("4711", "pdq", bytes.fromhex(pdq))])

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = body_of(request) if request.command == "POST" else b""
        keys = {f"Bearer {SECRET}", f"Basic {base64.b64encode(LOGIN.encode()).decode()}"}
        if request.headers.get("Authorization") not in keys:
            refuse(request, 401)
            return
        send(request, msgspec.json.encode(service.speak(service, request, body)))  # type: ignore[arg-type]

    return answer


def put_photo(served: AllServed, pdq: str) -> None:
    """Have each exchange list the photo."""
    before = int(time.time()) - 7200
    served.ncmec.put(Media(42, "photo", before, {"md5": MD5}))
    served.stopncii.put(Hash(pdq, before))
    served.tcap.put(7, "PDQ", pdq, before)
    served.group.put(Update(7, "HASH_MD5", MD5, before))
    records = served.interfaces["extension"].records  # type: ignore[attr-defined]
    records[MD5] = before, "video_md5", "right"


def write_files(here: Path, served: AllServed, publisher: Publisher) -> None:
    """Write the files that the commands name, each of which has or leads to an entry for the photo."""
    secrets = {
        "tcap-login": served.credentials["tcap"].read_text(),
        "app-token": served.credentials["threatexchange"].read_text(),
        "ncmec-login": served.credentials["ncmec"].read_text(),
        "stopncii-keys": served.credentials["stopncii"].read_text(),
        "mine.json": served.credentials["extension"].read_text(),
        "service.key": SECRET,
        "shield-login": LOGIN,
        "hma-key": SECRET,
    }
    for name, text in secrets.items():
        (here / name).touch(0o600)
        (here / name).write_text(text)
    (here / "sharing.xml").write_bytes(document([Media(42, "shared", int(time.time()), {"md5": MD5})]))
    media = {"MediaID": "7", "Category": 1, "MD5": MD5.upper()}
    case = {
        "@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
    }
    (here / "case.json").write_text(json.dumps({**case, "value": [media]}))
    (here / "hashes.txt").write_text(f"{SHA1}\n")
    (here / "national-root.json").write_bytes(publisher.root())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_nothing_to_a_first_list_of_each_kind(tmp_path: Path) -> None:
    """The photo is found by every list that the page makes, and not before that."""
    here, www, state = tmp_path / "here", tmp_path / "www", tmp_path / "state"
    for folder in (here, www, state):
        folder.mkdir(mode=0o700)
    (www / "other.jpg").write_bytes(encoded(scene(12)))
    packages = installed_python(tmp_path / "env")
    example = Path(__file__).parent / "lists" / "exchanges" / "example_extension.py"
    (packages / f"{EXTENSION}.py").write_bytes(example.read_bytes())
    program = tmp_path / "bin" / "hashscan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {tmp_path}/env/bin/python -m hashscan "$@"\n')
    program.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HASHSCAN_STATE": str(state),
        "HASHSCAN_BACKGROUND": "no",
    }
    pdq = pdq_of_the_photo(here, environment)
    publisher = Publisher.init(
        tmp_path / "work", tmp_path / "web" / "national", tmp_path / "keys", "national"
    )
    publisher.add([Entry("n-1", "sha256", SHA256, "A1")], "entries")
    publisher.release()
    others = {host: service_at(adapter, pdq) for host, adapter in SERVICES.items()}
    others["lists.example.org"] = WebServer(tmp_path / "web").handle
    with all_served(tmp_path / "exchanges", others) as served:
        environment |= {"https_proxy": served.proxy, "SSL_CERT_FILE": str(served.ca_file)}
        put_photo(served, pdq)
        write_files(here, served, publisher)
        for command in COMMANDS:
            (www / "photo.jpg").write_bytes(PHOTO)
            placed = command.replace("/var/www", str(www)).replace(
                "my_extension/my_exchange", f"{EXTENSION}/example"
            )
            done = subprocess.run(
                ["bash", "-c", placed], cwd=here, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == (command in FOUND), f"{command}\n{done.stdout}{done.stderr}"
            assert (www / "photo.jpg").exists() == (command != MOVES), command
        scan = ["hashscan", "scan", str(www), "--report", "report.jsonl"]
        done = subprocess.run(scan, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
    records = [json.loads(line) for line in (here / "report.jsonl").read_text().splitlines()]
    (finding,) = [record for record in records if record["type"] == "finding"]
    assert finding["path"] == str(www / "photo.jpg")
    assert {match["list"] for match in finding["matches"]} == lists_of_the_page()
    assert set(COMMANDS) >= FOUND


def test_each_kind_of_list_on_the_page_is_run() -> None:
    run = "\n".join(COMMANDS)
    for option in ("--exchange", "--adapter", "--format"):
        assert set(re.findall(rf"{option} (\w+)", TEXT)) == set(re.findall(rf"{option} (\w+)", run)), option
    # Those of installed plug-ins have pages of their own.
    exchanges = {name for name, row in EXCHANGES.rows.items() if row.target.startswith("hashscan.")}
    assert set(re.findall(r"--exchange (\w+)", run)) == exchanges
    adapters = {name for name, row in MATCHING_SERVICES.rows.items() if row.target.startswith("hashscan.")}
    assert set(SERVICES.values()) == adapters
    # There are no commands in blocks of another kind.
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", TEXT, re.MULTILINE)
    assert fences == ["sh", ""] * (len(fences) // 2)
    assert not re.search(r"^ {4,}\S*hashscan ", TEXT, re.MULTILINE)


def test_the_table_of_exchanges_names_the_categories_that_they_make() -> None:
    """The page refers to it (docs/reference/registries.md)."""
    assert "(reference/registries.md#exchange)" in TEXT
    for name in EXCHANGES:
        made = EXCHANGES[name].categories.values()
        assert not [ours for ours in made if ours not in EXCHANGES.rows[name].summary], name
