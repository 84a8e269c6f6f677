"""PhotoDNA with a licensee's library, from a list of another program to a finding, as documented."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import json

from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.model import Entry
from tests import hash_library
from tests.cli.conftest import Run
from tests.lists.builders import Owner
from tests.pictures import encoded, scene

PAGE = Path(__file__).parents[2] / "docs" / "photodna.md"
BLOCK = """hashscan selftest
hashscan hash --algorithm photodna photo.jpg
hashscan lists import vics.json --name police --format vics
hashscan scan /var/www"""


def test_the_commands_of_the_page(
    run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list has nothing but digests of PhotoDNA, as the library computes them."""
    assert re.findall(r"```sh\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL) == [BLOCK]
    library = hash_library.build(tmp_path_factory.mktemp("library"))
    monkeypatch.chdir(tmp_path)
    Path("hashscan.toml").write_text(hash_library.table(library))
    www = tmp_path / "www"
    www.mkdir()
    picture = scene(3)
    Path("photo.jpg").write_bytes(encoded(picture))
    (www / "copy.jpg").write_bytes(encoded(picture.resize((500, 400)), quality=60))
    (www / "other.jpg").write_bytes(encoded(scene(4)))
    (www / "crash.png").write_bytes(encoded(picture.resize((hash_library.CRASH, 80)), "PNG"))
    (www / "error.png").write_bytes(encoded(picture.resize((hash_library.ERROR, 80)), "PNG"))
    commands = [line.replace("/var/www", str(www)).split()[1:] for line in BLOCK.splitlines()]
    settings = {"HASHSCAN_CONFIG": str(tmp_path / "hashscan.toml")}

    ran = run(*commands[0], env=settings)
    assert ran.code == 0, ran.out
    assert library.library in ran.out
    (hashed,) = run(*commands[1], env=settings).lines
    value = base64.b64encode(bytes.fromhex(hashed["digests"]["photodna"])).decode()
    media = {"MediaID": 1, "Category": 1, "MD5": "0" * 32, "PhotoDNA": value}
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/1.3.xml/US/$metadata#Media"
    Path("vics.json").write_bytes(json.encode({"@odata.context": context, "value": [media]}))
    assert run(*commands[2], env=settings).code == 0
    ran = run(*commands[3], "--report", "-", env=settings)
    assert ran.code == 0
    found = {Path(record["path"]).name: record for record in ran.lines if "path" in record}
    assert {name: record["verdict"] for name, record in found.items()} == {
        "copy.jpg": "review",
        "crash.png": "undecoded",
        "error.png": "undecoded",
    }
    assert {match["algorithm"] for match in found["copy.jpg"]["matches"]} == {"photodna"}
    assert ran.lines[-1]["files"] == 4

    # With a library that others can change, nothing is scanned.
    assert run("hash", "--algorithm", "photodna", "photo.jpg").code == 2
    os.chmod(library.library, 0o777)
    ran = run(*commands[3], env=settings)
    assert ran.code == 2
    assert library.library in ran.err


def test_an_entry_that_a_list_gains_is_found_in_the_state(
    run: Run, age: Callable[[], None], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    library = hash_library.build(tmp_path_factory.mktemp("library"))
    table, file = hash_library.table(library), tmp_path / "hashscan.toml"
    file.write_text(table)
    settings = {"HASHSCAN_CONFIG": str(file)}
    www, photos = tmp_path / "www", tmp_path / "photos"
    for folder in (www, photos):
        folder.mkdir()
    for number in (3, 4):
        (photos / f"{number}.jpg").write_bytes(encoded(scene(number)))
    (www / "copy.jpg").write_bytes(encoded(scene(3).resize((500, 400)), quality=60))
    (www / "other.jpg").write_bytes(encoded(scene(5)))
    named = ("hash", "--algorithm", "photodna", photos / "4.jpg", photos / "3.jpg")
    digests = [line["digests"]["photodna"] for line in run(*named, env=settings).lines]

    def store(*values: str) -> None:
        lines = [f"e{number},photodna,{value},A1" for number, value in enumerate(values)]
        (tmp_path / "list.csv").write_text("\n".join(["id,algorithm,value,category", *lines, ""]))
        assert run("lists", "import", tmp_path / "list.csv", "--name", "police").code == 0

    def scanned(*options: str) -> tuple[dict[str, str], int]:
        """Verdicts of what was found, and the number of files that were not read."""
        ran = run("scan", *options, "--report", "-", env=settings)
        verdicts = {Path(line["path"]).name: line["verdict"] for line in ran.lines if "verdict" in line}
        return verdicts, ran.lines[-1]["unchanged"]

    age()
    store(digests[0])
    begun = run("scan", www, "--report", "-", env=settings).lines[0]
    assert begun["photodna"] == [{"list": "police", "review": 10_000}]
    assert scanned(str(www)) == ({}, 2)
    store(*digests)
    assert scanned("--known") == ({"copy.jpg": "review"}, 2)
    # A decoder of its own confirms the match, for which the picture is read again, once.
    assert scanned(str(www)) == ({"copy.jpg": "review"}, 1)
    assert scanned(str(www)) == ({"copy.jpg": "review"}, 2)
    file.write_text(table + '\n[[photodna_distance]]\nlist = "police"\nmatch = 10000\n')
    assert scanned("--known") == ({"copy.jpg": "match"}, 2)
    ran = run("lookup", f"photodna:{digests[1]}", env=settings)
    assert ran.code == 1
    assert "copy.jpg" in ran.out
    assert "other.jpg" not in ran.out
    assert "2 photodna" in run("lists", "status", env=settings).out
    assert "waiting" not in run("lists", "status", env=settings).out
    assert "waiting" in run("lists", "status").out
    staged = Owner.begin(tmp_path / "owner")
    staged.release([Entry("s", "photodna", bytes.fromhex(digests[1]), "A1")])
    lists = ListStore(tmp_path / "state" / "lists")
    client.add(lists, "staged", str(staged.repository), staged.root)
    client.pull(lists, "staged", stage=True)
    for named, hit in (("police", ["copy.jpg"]), ("staged", [])):
        file.write_text(table + f'\n[[photodna_distance]]\nlist = "{named}"\nreview = 1\n')
        ran = run("lists", "diff", "staged", "--would-hit", env=settings)
        assert [Path(line["path"]).name for line in ran.lines] == hit, ran.err
