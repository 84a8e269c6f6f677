from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import ImageOps

from hashscan.model import ALGORITHMS, COMPUTED
from tests.cli.conftest import Run
from tests.pictures import encoded, scene


def test_files(run: Run, uploads: Path, local_list: str) -> None:
    ran = run(
        "check", "--format", "json", uploads / "listed.jpg", uploads / "other.jpg", uploads / "alike.jpg"
    )
    assert ran.code == 1
    assert [line["verdict"] for line in ran.lines] == ["match", "clean", "match"]
    assert run("check", "--format", "json", uploads / "other.jpg").code == 0


def test_digests(run: Run, uploads: Path, local_list: str) -> None:
    digest = hashlib.sha256((uploads / "listed.jpg").read_bytes()).hexdigest()
    for item in (digest, digest.upper(), f"sha256:{digest}"):
        ran = run("check", "--format", "json", item)
        assert (ran.code, ran.lines[0]["verdict"], ran.lines[0]["digest"]) == (1, "match", item)
    ran = run("check", "--format", "json", f"pdq:{digest}")
    assert (ran.code, ran.lines[0]["verdict"]) == (0, "clean")


def test_a_near_digest(run: Run, uploads: Path, local_list: str) -> None:
    (hashed,) = run("hash", uploads / "listed.jpg").lines
    near = int(hashed["digests"]["pdq"], 16) ^ (2**31 - 1)
    far = int(hashed["digests"]["pdq"], 16) ^ (2**32 - 1)
    assert run("check", "--format", "json", f"pdq:{near:064x}").lines[0]["matches"][0]["distance"] == 31
    assert run("check", "--format", "json", f"pdq:{far:064x}").code == 0


def test_what_is_neither(run: Run, local_list: str) -> None:
    for item in ("no-such-file", "md5:abcd", "sha256:" + "g" * 64, "nonsense:" + "0" * 32, "12 34" * 8):
        ran = run("check", "--format", "json", item)
        assert ran.code == 2, item
        assert item in ran.err


def test_a_folder_is_for_a_scan(run: Run, uploads: Path, local_list: str) -> None:
    ran = run("check", "--format", "json", uploads)
    assert ran.code == 2
    assert "hashscan scan" in ran.err


def test_without_a_list(run: Run, uploads: Path) -> None:
    assert run("check", "--format", "json", uploads / "other.jpg").code == 10


def test_a_broken_picture(run: Run, tmp_path: Path, local_list: str) -> None:
    (tmp_path / "cut.webp").write_bytes(encoded(scene(4), "WEBP")[:2000])
    ran = run("check", "--format", "json", tmp_path / "cut.webp")
    assert (ran.code, ran.lines[0]["verdict"]) == (0, "undecoded")
    assert run("check", "--format", "json", "--strict", tmp_path / "cut.webp").code == 3


def test_hash_gives_every_algorithm(run: Run, uploads: Path) -> None:
    options = [option for name in COMPUTED for option in ("--algorithm", name)]
    ran = run("hash", *options, uploads / "listed.jpg")
    assert ran.code == 0
    (line,) = ran.lines
    assert {name: len(value) * 4 for name, value in line["digests"].items()} == {
        name: ALGORITHMS[name].bits for name in COMPUTED
    }
    assert line["digests"]["sha512"] == hashlib.sha512((uploads / "listed.jpg").read_bytes()).hexdigest()
    assert line["quality"]["pdq"] >= 50


def test_hash_only_what_is_asked(run: Run, uploads: Path) -> None:
    (line,) = run("hash", "--algorithm", "sha1", uploads / "listed.jpg").lines
    assert list(line["digests"]) == ["sha1"]


def test_hash_says_what_could_not_be_hashed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cut.webp").write_bytes(encoded(scene(4), "WEBP")[:2000])
    ran = run("hash", tmp_path / "cut.webp")
    assert ran.code == 3
    assert ran.lines[0]["reason"] == "truncated picture"
    assert "sha256" in ran.lines[0]["digests"]
    assert run("hash", tmp_path / "none").code == 2


def test_variants_can_be_skipped(run: Run, tmp_path: Path, local_list: str) -> None:
    mirrored = tmp_path / "mirrored.png"
    mirrored.write_bytes(encoded(ImageOps.mirror(scene(5)), "PNG"))
    ran = run("check", "--format", "json", mirrored)
    assert (ran.code, ran.lines[0]["verdict"]) == (1, "match")
    assert "mirrored" in ran.lines[0]["matches"][0]["variant"]
    for skipped in ("turned", "all"):
        assert run("check", "--format", "json", mirrored, "--skip-variant", skipped).code == 0
    assert (
        run(
            "check", "--format", "json", mirrored, "--skip-variant", "trimmed", "--skip-variant", "inverted"
        ).code
        == 1
    )
    assert (
        run("check", "--format", "json", mirrored, env={"HASHSCAN_SKIP_VARIANT": "trimmed turned"}).code == 0
    )
    assert run("check", "--format", "json", mirrored, "--skip-variant", "sideways").code == 2


def test_near_misses_are_reviews_where_they_were_asked_for(run: Run, uploads: Path, local_list: str) -> None:
    (hashed,) = run("hash", uploads / "listed.jpg").lines
    near = f"pdq:{int(hashed['digests']['pdq'], 16) ^ (2**45 - 1):064x}"
    assert run("check", "--format", "json", near).code == 0
    ran = run("check", "--format", "json", near, "--review-threshold", "52")
    assert (ran.code, ran.lines[0]["verdict"]) == (0, "review")
    assert ran.lines[0]["matches"][0]["distance"] == 45
    assert run("check", "--format", "json", near, "--review-threshold", "52", "--fail-on", "review").code == 1
    assert run("check", "--format", "json", near, "--review-threshold", "44").lines[0]["verdict"] == "clean"
    for useless in ("31", "128", "-1"):
        ran = run("check", "--format", "json", near, "--review-threshold", useless)
        assert ran.code == 2
        assert "--review-threshold" in ran.err


def test_a_scan_says_how_it_compared(run: Run, uploads: Path, local_list: str) -> None:
    ran = run("scan", uploads, "--report", "-", "--skip-variant", "turned", "--review-threshold", "50")
    assert ran.code == 1
    assert ran.lines[0]["review_threshold"] == 50
    assert "trimmed" in ran.lines[0]["variants"]
    assert "turned" not in ran.lines[0]["variants"]
