"""Content that was removed and confirmed is found again; by the real commands, as root."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Ran, Run
from tests.cli.later import days_later
from tests.pictures import encoded, scene

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can move files of other users")

SAME, OTHER = 12001, 12002
KEEP = ("--retain-min", "1d", "--destroy-by", "9d")
CONFIRMED = ("--reason", "removed on the order of the police")


def put(path: Path, content: bytes, owner: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.chown(path, owner, owner)
    return path


def recompressed(content: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).save(out, "JPEG", quality=60)
    return out.getvalue()


PICTURE = encoded(scene(31))


@pytest.fixture
def www(tmp_path: Path) -> Path:
    www = tmp_path / "www"
    www.mkdir()
    return www


def scanned(run: Run, www: Path, *options: object) -> dict[str, dict[str, object]]:
    ran = run("scan", www, "--report", "-", *options)
    assert ran.code in (0, 1), ran.err
    return {Path(str(line["path"])).name: line for line in ran.lines if line["type"] == "finding"}


def moved(run: Run, path: Path, *options: object) -> str:
    ran = run("quarantine", "add", path, "--reason", "by hand", *KEEP, *options)
    assert ran.code == 0, ran.err
    return ran.out.split("\t")[0]


@pytest.fixture
def removed(run: Run, www: Path, tmp_path: Path) -> Ran:
    """A picture that a list found, moved into quarantine: case 1."""
    path = put(www / "first.jpg", PICTURE, SAME)
    (hashed,) = run("hash", path).lines
    entries = tmp_path / "entries.csv"
    entries.write_text(f"id,algorithm,value,category\ne-1,sha256,{hashed['digests']['sha256']},B1\n")
    assert run("lists", "import", entries, "--name", "ours").code == 0
    report = tmp_path / "report.jsonl"
    assert run("scan", www, "--report", report).code == 1
    ran = run("quarantine", "add", report, *KEEP, "--act-on", "local")
    assert ran.code == 0, ran.err
    return ran


def test_a_confirmed_picture_is_found_again_until_it_is_restored(
    run: Run, www: Path, removed: Ran, state: Path
) -> None:
    ran = run("cases", "confirm", 1, *CONFIRMED)
    assert ran.code == 0, ran.err
    assert run("lists", "remove", "ours").code == 0, "only stay-down can find it from here on"
    put(www / "again.jpg", recompressed(PICTURE), SAME)
    put(www / "others.jpg", recompressed(PICTURE), OTHER)
    put(www / "copy.jpg", PICTURE, OTHER)
    found = scanned(run, www)
    assert {name: line["verdict"] for name, line in found.items()} == {
        "again.jpg": "match",
        "others.jpg": "review",
        "copy.jpg": "match",
    }
    (match,) = found["again.jpg"]["matches"]
    assert (match["list"], match["algorithm"], match["category"]) == ("stay-down", "pdq", "B1")
    acting = scanned(run, www, "--act-on", "stay-down")
    assert {line["verdict"] for line in acting.values()} == {"match"}
    events = {event["kind"] for event in run("cases", "show", 1, "--format", "json").lines[0]["events"]}
    assert "confirmed" in events

    ran = run("quarantine", "restore", "--all")
    assert ran.code == 0, ran.err
    assert scanned(run, www) == {}, "the findings of before have ended, too"


COLLIDING = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a"
    "085125e8f7cdc99fd91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
"""A file by X. Wang and H. Yu (2005), who have made another one with the same md5."""


def test_a_file_that_was_made_to_collide_accuses_no_other_customer(run: Run, www: Path, removed: Ran) -> None:
    """The customer of a removed file can have prepared two files with one md5, and give away the other."""
    other = bytearray(COLLIDING)
    for place in (19, 45, 59, 83, 109, 123):
        other[place] ^= 0x80
    moved(run, put(www / "bad.bin", COLLIDING, SAME), "--stay-down", "--category", "A1")
    put(www / "given-away.bin", bytes(other), OTHER)
    put(www / "copy.bin", COLLIDING, OTHER)
    found = scanned(run, www)
    assert {name: line["verdict"] for name, line in found.items()} == {
        "given-away.bin": "review",
        "copy.bin": "match",
    }


def test_a_restore_that_was_killed_before_the_list_is_made_up_for(run: Run, www: Path, state: Path) -> None:
    moved(run, put(www / "a.jpg", PICTURE, SAME), "--stay-down", "--category", "A1")
    entries = state / "stay-down" / "entries.json"
    before, stay_down = entries.read_bytes(), state / "lists" / "stay-down"
    shutil.copytree(stay_down, state / "kept", symlinks=True)
    assert run("quarantine", "restore", "--all").code == 0
    entries.write_bytes(before)
    shutil.rmtree(stay_down)
    (state / "kept").rename(stay_down)
    assert run("check", "--format", "json", www / "a.jpg").lines[0]["verdict"] == "clean"


def test_a_list_that_was_not_made_is_made(run: Run, www: Path, state: Path) -> None:
    moved(run, put(www / "a.jpg", PICTURE, SAME), "--stay-down", "--category", "A1")
    assert run("lists", "remove", "stay-down").code == 0
    entries = state / "stay-down" / "entries.json"
    document = json.loads(entries.read_bytes())
    entries.write_text(json.dumps({**document, "listed": False}))
    put(www / "b.jpg", PICTURE, SAME)
    (line,) = run("check", "--format", "json", www / "b.jpg").lines
    assert line["verdict"] == "match"


def test_it_ends(run: Run, www: Path, state: Path, tmp_path: Path) -> None:
    moved(run, put(www / "a.jpg", PICTURE, SAME), "--stay-down", "--category", "A1", "--until", "2999-01-31")
    put(www / "b.jpg", PICTURE, SAME)
    assert run("check", "--format", "json", www / "b.jpg").lines[0]["verdict"] == "match"
    later = days_later(tmp_path / "later", 400_000)
    assert run("check", "--format", "json", www / "b.jpg", env=later).lines[0]["verdict"] == "clean"


def test_pictures_that_likeness_can_not_tell_apart_stay_down_by_bytes_alone(
    run: Run, www: Path, state: Path, tmp_path: Path
) -> None:
    grey = io.BytesIO()
    Image.new("RGB", (200, 200), (90, 90, 90)).save(grey, "PNG")
    path = put(www / "known.jpg", recompressed(PICTURE), OTHER)
    (known,) = run("hash", path).lines
    path.unlink()
    good = tmp_path / "good.csv"
    good.write_text(f"id,algorithm,value,category\ng,pdq,{known['digests']['pdq']},known-good\n")
    assert run("lists", "import", good, "--name", "good").code == 0
    for content in (grey.getvalue(), PICTURE, b"no picture"):
        moved(run, put(www / "a.jpg", content, SAME), "--stay-down", "--category", "A1")
    contents = json.loads((state / "stay-down" / "entries.json").read_bytes())["contents"]
    assert [sorted(content["digests"]) for content in contents] == [["md5", "sha1", "sha256"]] * 3


def test_a_picture_that_can_not_be_decoded_is_named(run: Run, www: Path, state: Path) -> None:
    openexr = b"\x76\x2f\x31\x01" + bytes(64)
    for content in (openexr, encoded(scene(1), "WEBP")[:2000]):
        path = put(www / "a.jpg", content, SAME)
        ran = run("quarantine", "add", path, "--reason", "r", *KEEP, "--stay-down", "--category", "A1")
        assert ran.code == 0, ran.err
        assert "only exact digests stay down: it can't be decoded: " in ran.err


def test_cases_that_can_not_be_confirmed(run: Run, www: Path, removed: Ran, tmp_path: Path) -> None:
    put(www / "open.jpg", PICTURE, SAME)
    assert run("scan", www, "--report", tmp_path / "second.jsonl").code == 1
    for arguments in (
        (1,),
        (2, *CONFIRMED),
        (9, *CONFIRMED),
        (1, 2, *CONFIRMED),
        (1, "--take-back", *CONFIRMED),
    ):
        assert run("cases", "confirm", *arguments).code == 2, arguments
    assert "stay-down" not in run("lists", "status").out
    assert run("lists", "import", tmp_path / "entries.csv", "--name", "stay-down").code == 2


def test_a_digest_that_only_a_notice_names_does_not_stay_down(run: Run, www: Path, tmp_path: Path) -> None:
    path = put(www / "reported.jpg", b"removed later", SAME)
    notices = tmp_path / "notices.csv"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    notices.write_text(f"path,sha256,category\n{path},{sha256},A1\n")
    assert run("cases", "import", notices).code == 0
    assert run("cases", "check").code == 0
    path.unlink()
    assert run("cases", "check").code == 0
    assert len(run("cases", "list", "--status", "removed", "--format", "json").lines) == 1
    assert run("cases", "confirm", 1, "--category", "A1", *CONFIRMED).code == 2
    assert run("lists", "status").code == 10


def test_taken_back_and_a_file_that_is_gone(run: Run, www: Path, removed: Ran, tmp_path: Path) -> None:
    path = put(www / "second.jpg", PICTURE, SAME)
    assert run("scan", www, "--report", tmp_path / "second.jsonl").code == 1
    path.unlink()
    assert run("cases", "check").code == 0
    assert run("cases", "confirm", 2, *CONFIRMED).code == 0
    assert run("lists", "remove", "ours").code == 0
    put(www / "b.jpg", PICTURE, OTHER)
    (line,) = run("check", "--format", "json", www / "b.jpg").lines
    assert {match["algorithm"] for match in line["matches"]} == {"sha256"}
    ran = run("cases", "confirm", 2, "--take-back")
    assert ran.code == 0
    assert run("check", "--format", "json", www / "b.jpg").lines[0]["verdict"] == "clean"
