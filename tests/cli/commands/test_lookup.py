from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run
from tests.pictures import encoded, scene


@pytest.fixture
def scanned(run: Run, local_list: str, uploads: Path) -> Path:
    (uploads / "text").write_bytes(b"words")
    (uploads / os.fsdecode(b"caf\xe9\n.txt")).write_bytes(b"words")
    moving = [scene(seed) for seed in (20, 21)]
    (uploads / "moving.gif").write_bytes(encoded(moving[0], "GIF", save_all=True, append_images=moving[1:]))
    assert run("scan", uploads, "--list", local_list, "--report", uploads.parent / "r.jsonl").code == 1
    return uploads


def names(lines: list[dict[str, object]]) -> set[str]:
    return {str(line["path"]).rpartition("/")[2] for line in lines}


def test_by_exact_digests(run: Run, scanned: Path) -> None:
    for name in ("md5", "sha1", "sha256"):
        ran = run("lookup", "--format", "json", f"{name}:{hashlib.new(name, b'words').hexdigest()}")
        assert (ran.code, len(ran.lines)) == (1, 2)
        odd, text = sorted(ran.lines, key=lambda line: str(line["path"]))
        assert base64.b64decode(odd["path_b64"]) == os.fsencode(scanned) + b"/caf\xe9\n.txt"
        assert text["path"] == str(scanned / "text")
        assert (text["presence"], text["size"], text["distance"]) == ("there", 5, 0)
        assert text["sha256"] == hashlib.sha256(b"words").hexdigest()
        assert text["first_read"] <= text["last_seen"]
    ran = run("lookup", hashlib.sha512(b"other").hexdigest(), "0" * 40)
    assert (ran.code, ran.out) == (0, "")


def test_by_distance_and_with_what_was_found(run: Run, scanned: Path) -> None:
    (hashed,) = run("hash", scanned / "listed.jpg").lines
    pdq = hashed["digests"]["pdq"]
    ran = run("lookup", "--format", "json", f"pdq:{pdq}")
    assert names(ran.lines) == {"listed.jpg", "alike.jpg"}
    assert all(line["verdict"] == "match" for line in ran.lines)
    assert names(run("lookup", "--format", "json", "--distance", "0", f"pdq:{pdq}").lines) == {"listed.jpg"}
    assert run("lookup", "--distance", "200", f"pdq:{pdq}").code == 2


def test_a_file_in_every_variant(run: Run, scanned: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.png"
    turned.write_bytes(encoded(scene(5).transpose(Image.Transpose.ROTATE_90), "PNG"))
    ran = run("lookup", "--format", "json", turned)
    assert ran.code == 1
    assert names(ran.lines) == {"listed.jpg", "alike.jpg"}
    assert "turned" in ran.lines[0]["variant"]
    broken = tmp_path / "broken.png"
    broken.write_bytes(turned.read_bytes()[:100])
    ran = run("lookup", broken)
    assert (ran.code, "broken" in ran.err) == (3, True)
    assert run("lookup", broken, turned).code == 4


def test_a_further_frame_is_found_when_asked_for(run: Run, scanned: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    frame.write_bytes(encoded(scene(21), "PNG"))
    (hashed,) = run("hash", frame).lines
    assert run("lookup", f"pdq:{hashed['digests']['pdq']}").code == 0
    ran = run("lookup", "--format", "json", "--every-variant", f"pdq:{hashed['digests']['pdq']}")
    assert names(ran.lines) == {"moving.gif"}
    assert "frame" in ran.lines[0]["of"]


def test_what_is_gone_or_changed_is_said_to_be(run: Run, scanned: Path) -> None:
    (scanned / "text").unlink()
    (scanned / os.fsdecode(b"caf\xe9\n.txt")).write_bytes(b"others")
    ran = run("lookup", hashlib.sha256(b"words").hexdigest())
    assert ran.code == 1
    assert sorted(line.split("\t")[0] for line in ran.out.splitlines()) == ["changed", "gone"]
    assert "\\x0a.txt" in ran.out


def test_further_digests_are_found_where_scans_kept_them(run: Run, scanned: Path, tmp_path: Path) -> None:
    digest = hashlib.sha512(b"words").hexdigest()
    assert run("lookup", digest).code == 0
    listed = tmp_path / "more.csv"
    listed.write_text(f"id,algorithm,value,category\nx,sha512,{'0' * 128},A1\n")
    assert run("lists", "import", listed, "--name", "more").code == 0
    run("scan", scanned, "--list", "more", "--report", tmp_path / "r2.jsonl")
    ran = run("lookup", "--format", "json", digest)
    assert "text" in names(ran.lines)


def test_misuse_and_no_state(run: Run, scanned: Path, state: Path, tmp_path: Path) -> None:
    assert run("lookup").code == 2
    ran = run("lookup", "sha256:1234")
    assert (ran.code, "neither a file nor a digest" in ran.err) == (2, True)
    assert run("lookup", tmp_path).code == 2
    shutil.rmtree(state / "scans")
    ran = run("lookup", "0" * 64)
    assert (ran.code, "hashscan scan" in ran.err) == (12, True)
