"""`hashscan publish hash` as a list's owner runs it: from files to a list that finds them and their crops."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from hashscan.model import QUADRANTS
from tests.cli.conftest import Run
from tests.hashing.video.drawn import scenes, video
from tests.pictures import encoded, scene


@pytest.fixture
def held(tmp_path: Path) -> Path:
    folder = tmp_path / "held"
    (folder / "below").mkdir(parents=True)
    (folder / "one.jpg").write_bytes(encoded(scene(1)))
    (folder / "below" / "two.png").write_bytes(encoded(scene(2), "PNG"))
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_entries_of_each_file(run: Run, held: Path) -> None:
    options = ("--category", "A2", "--augment", "none")
    ran = run("publish", "hash", held, *options)
    assert ran.code == 0, ran.err
    found = rows(ran.out)
    assert len(found) == 8
    assert {row["category"] for row in found} == {"A2"}
    content = hashlib.sha256((held / "one.jpg").read_bytes()).hexdigest()
    assert {row["id"]: row["value"] for row in found}[f"{content[:32]}-sha256"] == content
    (hashed,) = run("hash", held / "one.jpg").lines
    assert hashed["digests"].items() <= {(row["algorithm"], row["value"]) for row in found}
    # No name of a file, and the same whenever it is hashed.
    assert "one" not in ran.out
    assert sorted(run("publish", "hash", held, *options).out.splitlines()) == sorted(ran.out.splitlines())


def test_a_category_is_demanded(run: Run, held: Path) -> None:
    ran = run("publish", "hash", held)
    assert ran.code == 2
    assert "--category" in ran.err


def test_entries_of_parts_are_all_or_none(run: Run, held: Path) -> None:
    ran = run("publish", "hash", held, "--category", "A1", "--augment", "none", "--augment", "crop")
    assert (ran.code, ran.out) == (2, "")


def test_the_list_finds_crops(run: Run, held: Path, tmp_path: Path) -> None:
    output = tmp_path / "entries.csv"
    (held / "one.jpg").write_bytes(encoded(ImageOps.expand(scene(1), 40, "white")))
    ran = run("publish", "hash", held, "--category", "A1", "--output", output)
    assert (ran.code, ran.out) == (0, "")
    assert output.stat().st_mode & 0o777 == 0o600
    parts = Counter(row["id"].split("-")[2] for row in rows(output.read_text()) if row["id"].count("-") > 1)
    assert parts == {"crop": 2 * 17, "shape": 4 + 5, "trimmed": 1}
    assert run("lists", "import", output, "--name", "ours").code == 0
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    width, height = scene(2).size
    for share in (0.05, 0.1):
        left, top = round(width * share / 2), round(height * share / 2)
        cropped = scene(2).crop((left, top, width - left, height - top))
        (uploads / f"{share}.jpg").write_bytes(encoded(cropped, quality=85))
    side = min(width, height)
    (uploads / "square.jpg").write_bytes(encoded(ImageOps.fit(scene(2), (side, side))))
    (uploads / "unframed.jpg").write_bytes(encoded(scene(1)))
    (uploads / "other.jpg").write_bytes(encoded(scene(3)))
    scanned = run("scan", uploads, "--report", "-")
    found = [record for record in scanned.lines if record["type"] == "finding"]
    copies = ["0.05.jpg", "0.1.jpg", "square.jpg", "unframed.jpg"]
    assert sorted(Path(record["path"]).name for record in found) == copies
    assert {record["verdict"] for record in found} == {"match"}


def test_quadrants_find_what_has_a_sticker_over_it(run: Run, held: Path, tmp_path: Path) -> None:
    """By scans, of known files too, by checks and by lookups; always for review."""
    output = tmp_path / "entries.csv"
    ran = run("publish", "hash", held, "--category", "A1", "--augment", "quadrants", "--output", output)
    assert ran.code == 0, ran.err
    listed = [row for row in rows(output.read_text()) if row["algorithm"] == QUADRANTS]
    assert [len(row["value"]) for row in listed] == [256, 256]
    assert run("lists", "import", output, "--name", "ours").code == 0
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    width, height = scene(1).size
    stuck = scene(1)
    stuck.paste("orange", (0, 0, width // 2, height // 2))
    for name, picture in (("stuck", stuck), ("other", scene(3))):
        (uploads / f"{name}.jpg").write_bytes(encoded(picture, quality=85))
    # The other list has no other way to find it than quadrants, and comes when all files are known.
    for scanned in (run("scan", uploads, "--report", "-"), None):
        if scanned is None:
            alone = tmp_path / "alone.csv"
            lines = output.read_text().splitlines()
            alone.write_text("\n".join([lines[0], *(one for one in lines if f",{QUADRANTS}," in one)]) + "\n")
            assert run("lists", "import", alone, "--name", "later").code == 0
            scanned = run("scan", "--known", "--list", "later", "--report", "-")
        (found,) = (record for record in scanned.lines if record["type"] == "finding")
        assert (Path(found["path"]).name, found["verdict"]) == ("stuck.jpg", "review")
        assert {match["algorithm"] for match in found["matches"]} == {QUADRANTS}
        assert all(match["distance"] <= match["threshold"] == 31 for match in found["matches"])
    (checked,) = run(
        "check", f"{QUADRANTS}:{listed[0]['value']}", "--list", "later", "--format", "json"
    ).lines
    assert checked["verdict"] == "review"
    original = run("lookup", held / "one.jpg", "--every-variant", "--format", "json")
    assert [Path(known["path"]).name for known in original.lines] == ["stuck.jpg"]
    assert run("lookup", held / "one.jpg").code == 0


def test_what_publish_add_takes(run: Run, held: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    begun = run(
        "publish", "init", "ours", "--work", work, "--repository", tmp_path / "public", "--no-passphrase"
    )
    assert begun.code == 0, begun.err
    for form in ("csv", "ndjson"):
        output = tmp_path / f"entries.{form}"
        options = ("--category", "A1", "--augment", "frames", "--format", form, "--output", output)
        assert run("publish", "hash", held, *options).code == 0
    assert len([json.loads(line) for line in (tmp_path / "entries.ndjson").read_text().splitlines()]) == 8
    added = run("publish", "add", tmp_path / "entries.csv", "--work", work)
    assert added.code == 0, added.err


def test_every_file_has_a_verdict(run: Run, held: Path) -> None:
    (held / "again.jpg").write_bytes((held / "one.jpg").read_bytes())
    flat = scene(1).convert("L").point(lambda value: 128 + value // 64)
    (held / "flat.png").write_bytes(encoded(flat, "PNG"))
    (held / "cut.tiff").write_bytes(encoded(scene(4), "TIFF")[:-2000])
    (held / "odd\x1b[31m.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(64))
    (held / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(64))
    ran = run("publish", "hash", held, "--category", "A1", "--augment", "none")
    assert ran.code == 3
    said = ran.err.splitlines()
    assert said[-1] == (
        "hashscan: 7 files: 2 hashed, 4 hashed in part, 1 with the content of another, 0 not hashed; "
        "0 folders not entered"
    )
    named = {line.split(": ")[1].rpartition("/")[2]: line for line in said[:-1]}
    assert set(named) == {"flat.png", "cut.tiff", "odd\\x1b[31m.exr", "film.mp4"}
    assert "no pdq entry: quality" in named["flat.png"]
    assert "exact entries only: truncated picture" in named["cut.tiff"]
    assert "exact entries only: container not opened" in named["film.mp4"]
    assert "picture format not supported" in named["odd\\x1b[31m.exr"]
    algorithms = [row["algorithm"] for row in rows(ran.out)]
    assert (algorithms.count("sha256"), algorithms.count("pdq")) == (6, 2)


def test_algorithms_can_be_chosen(run: Run, held: Path) -> None:
    ran = run("publish", "hash", held, "--category", "A1", "--algorithm", "pdq", "--algorithm", "phash")
    assert sorted({row["algorithm"] for row in rows(ran.out)}) == ["pdq", QUADRANTS, "phash"]


def test_the_output_is_not_among_what_is_hashed(run: Run, held: Path) -> None:
    ran = run("publish", "hash", held, "--category", "A1", "--output", held / "below" / "entries.csv")
    assert ran.code == 2
    assert "in a folder that is to be hashed" in ran.err


def test_what_cannot_be_read_is_named(run: Run, held: Path) -> None:
    ran = run("publish", "hash", held / "nothing", "--category", "A1")
    assert ran.code == 2


def test_pictures_in_containers(run: Run, held: Path) -> None:
    """Only pictures: the text beside them may be harmless, and so may a page with text of a document."""
    pytest.importorskip("libarchive")
    first, third = encoded(scene(1)), encoded(scene(3))
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("third.jpg", third)
        archive.writestr("cut.tiff", encoded(scene(4), "TIFF")[:-2000])
        archive.writestr("page.exr", b"\x76\x2f\x31\x01" + bytes(64))
    with zipfile.ZipFile(held / "outer.zip", "w") as archive:
        archive.writestr("one again.jpg", first)
        archive.writestr("licence.txt", b"words")
        archive.writestr("dir/in\x1b[31m.zip", inner.getvalue())
    options = ("--category", "A1", "--augment", "crop")
    without = run("publish", "hash", held, *options)
    assert without.code == 3
    assert "outer.zip" in without.err
    ran = run("publish", "hash", held, *options, "--members")
    assert ran.code == 3
    found = {row["value"]: row["id"] for row in rows(ran.out)}
    assert found.keys() > {row["value"] for row in rows(without.out)}
    wanted = hashlib.sha256(third).hexdigest()
    assert found[wanted] == f"{wanted[:32]}-sha256"
    cut = hashlib.sha256(encoded(scene(4), "TIFF")[:-2000]).hexdigest()
    # The third picture in full with its crops, and of the truncated one its exact digests.
    more = sorted(name for value, name in found.items() if value not in without.out)
    assert len(more) == 4 + 17 + 3
    assert {name[:32] for name in more} == {wanted[:32], cut[:32]}
    assert hashlib.sha256(b"words").hexdigest() not in found
    assert ", 2 pictures in them hashed;" in ran.err
    assert "in the member dir/in\\x1b[31m.zip!cut.tiff: exact entries only" in ran.err
    # The container was not checked in full.
    assert "outer.zip: in part" in ran.err


def test_entries_made_of_a_mail_find_its_picture(run: Run, tmp_path: Path) -> None:
    folder, uploads = tmp_path / "held", tmp_path / "uploads"
    folder.mkdir()
    uploads.mkdir()
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "s", "a@example.org"
    mail.set_content("words")
    mail.add_attachment(encoded(scene(2)), maintype="image", subtype="jpeg", filename="a.jpg")
    (folder / "mail.eml").write_bytes(bytes(mail))
    (uploads / "copy.png").write_bytes(encoded(scene(2), "PNG"))
    output = tmp_path / "entries.csv"
    ran = run("publish", "hash", folder, "--category", "A1", "--members", "--output", output)
    assert (ran.code, "1 picture in them hashed" in ran.err) == (0, True), ran.err
    assert run("lists", "import", output, "--name", "ours").code == 0
    assert run("scan", uploads).code == 1


def test_videos_as_a_whole(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("av")
    folder = tmp_path / "films"
    folder.mkdir()
    film = video(scenes([1, 2, 3]), form="mp4")
    (folder / "film.mp4").write_bytes(film)
    other = b"\0" + video(scenes([7]), form="avi", codec="mpeg4")
    (folder / "without a signature").write_bytes(other)
    (folder / "picture.jpg").write_bytes(encoded(scene(1)))
    asked = ("--category", "A1", "--algorithm", "sha256", "--algorithm", "vpdq")
    output = tmp_path / "entries.csv"
    ran = run("publish", "hash", folder, *asked, "--output", output)
    assert ran.code == 0, ran.err
    name, second = (hashlib.sha256(content).hexdigest()[:32] for content in (film, other))
    found = {row["id"] for row in rows(output.read_text()) if row["algorithm"] == "vpdq"}
    assert found == {*(f"{name}-vpdq@{number}/3" for number in range(3)), f"{second}-vpdq@0/1"}
    assert len(rows(output.read_text())) == 7
    assert run("lists", "import", output, "--name", "films").code == 0
    (tmp_path / "longer.mp4").write_bytes(video(scenes([3, 4, 2, 1]), form="mp4"))
    lines = run("scan", tmp_path / "longer.mp4", "--report", "-").lines
    (match,) = next(line["matches"] for line in lines if line["type"] == "finding")
    assert (match["entry"], match["distance"], match["scanned_share"]) == (f"{name}-vpdq", 0, 75)
    # Without detail, nothing would ever be matched.
    (folder / "film.mp4").write_bytes(video([Image.new("RGB", (64, 64))] * 20, form="mp4"))
    ran = run("publish", "hash", folder, *asked)
    assert (ran.code, "film.mp4: no vpdq entry" in ran.err) == (3, True)


def test_a_plain_shape_has_exact_entries_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    content = encoded(ImageOps.expand(Image.new("L", (400, 400), 255), 56, 0), "PNG")
    (tmp_path / "held" / "shape.png").write_bytes(content)
    ran = run("publish", "hash", tmp_path / "held", "--category", "A1", "--augment", "none")
    assert ran.code == 0, ran.err
    assert {row["algorithm"] for row in rows(ran.out)} == {"md5", "sha1", "sha256"}
    # A list of somebody else may have it.
    (hashed,) = run("hash", tmp_path / "held" / "shape.png").lines
    (tmp_path / "other.csv").write_text(
        f"id,algorithm,value,category\na,pdq,{hashed['digests']['pdq']},A1\nb,md5,{'0' * 32},A1\n"
    )
    assert run("lists", "import", tmp_path / "other.csv", "--name", "other").code == 0
    (status,) = run("lists", "status", "--format", "json").lines
    assert (status["entries"], status["degenerate"]) == (2, {"pdq": 1})
    assert run("scan", tmp_path / "held").code == 0
