"""Videos are opened by default: what is found in them and when, and what is done with them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.pdq import PDQ
from hashscan.model import Entry
from tests.cli.conftest import Run
from tests.cli.published import publish, pull
from tests.hashing.video.drawn import scenes, video
from tests.hashing.video.test_frames import OPTIONS
from tests.pictures import encoded, scene

pytest.importorskip("av")

Scan = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def scan(run: Run, tmp_path: Path, local_list: str) -> Scan:
    def scan(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        report = tmp_path / "scan.jsonl"
        ran = run("scan", *arguments, "--reread", "0%", "--report", report)
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


def film_with(picture: Path, form: str = "mp4", codec: str = "libx264") -> bytes:
    """A video of three seconds that shows a picture in the second one."""
    with Image.open(picture) as opened:
        shown = opened.convert("RGB").resize((320, 240))
    first, last = scenes([1], size=(320, 240)), scenes([2], size=(320, 240))
    return video([*first, *[shown] * 10, *last], form=form, codec=codec, options=OPTIONS.get(codec, {}))


def findings(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {Path(record["path"]).name: record for record in records if record["type"] == "finding"}


def counts(records: list[dict[str, Any]]) -> dict[str, int]:
    return {name: number for name, number in records[-1]["verdicts"].items() if number}


def test_a_listed_still_is_found_with_its_time(scan: Scan, uploads: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name, codec in (("a.mp4", "libx264"), ("b.webm", "libvpx-vp9"), ("c.mp4", "libsvtav1")):
        form = "webm" if name.endswith("webm") else "mp4"
        (folder / name).write_bytes(film_with(uploads / "listed.jpg", form, codec))
    with zipfile.ZipFile(folder / "d.zip", "w") as archive:
        archive.write(folder / "a.mp4", "dir/film.mp4")
    disguised = b"\0" + film_with(uploads / "listed.jpg", "avi", "mpeg4")
    (folder / "e").write_bytes(disguised)
    with zipfile.ZipFile(folder / "f", "w") as archive:
        archive.writestr("00:00:01", disguised)
    # The archive has no signature at its begin, and what is in it is no part of a video.
    (folder / "f").write_bytes(bytes(100) + (folder / "f").read_bytes())
    (folder / "clean.mp4").write_bytes(video(scenes([1, 2]), form="mp4"))
    content = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    code, records = scan(folder)
    found = findings(records)
    assert code == 1
    assert counts(records) == {"match": 6, "clean": 1, "undecoded": 1}
    places = {
        name: [(match["member"], match.get("of_video", False)) for match in record["matches"]]
        for name, record in found.items()
        if record["verdict"] == "match"
    }
    assert places == {
        "a.mp4": [("00:00:01", True)],
        "b.webm": [("00:00:01", True)],
        "c.mp4": [("00:00:01", True)],
        "d.zip": [("dir/film.mp4@00:00:01", False)],
        "e": [("00:00:01", True)],
        "f": [("00:00:01!00:00:01", False)],
    }


def test_what_was_not_looked_at_is_said_with_its_time(scan: Scan, tmp_path: Path) -> None:
    (tmp_path / "film.mkv").write_bytes(video(scenes(range(5))))
    code, records = scan(tmp_path / "film.mkv", "--container-members", "2", "--with-digests")
    (record,) = [record for record in records if record.get("verdict") == "undecoded"]
    assert (code, record["reason"]) == (0, "container over the limit of members")
    assert "video looked at to 00:00:0" in record["detail"]


def gain(run: Run, tmp_path: Path, seed: int) -> None:
    """Add a scene to the list."""
    (tmp_path / "gained.png").write_bytes(encoded(scene(seed, 160, 120), "PNG"))
    (hashed,) = run("hash", tmp_path / "gained.png").lines
    table = tmp_path / "gained.csv"
    table.write_text(f"id,algorithm,value,category\ng-{seed},pdq,{hashed['digests']['pdq']},A1\n")
    assert run("lists", "import", table, "--name", "ours").code == 0


def test_new_entries_find_frames_of_videos_that_are_not_opened_again(
    run: Run, scan: Scan, tmp_path: Path, age: Callable[[], None]
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(video(scenes(range(10 * number, 10 * number + 4)), form="mp4"))
    age()
    for options, verdicts, unchanged in (
        (("--no-videos",), {"undecoded": 3}, 0),
        ((), {"clean": 3}, 0),
        ((), {"clean": 3}, 3),
        # What is known of them stays.
        (("--no-videos",), {"clean": 3}, 3),
    ):
        _, records = scan(folder, *options)
        assert (counts(records), records[-1]["unchanged"]) == (verdicts, unchanged)
    gain(run, tmp_path, 12)
    for arguments in (("--known",), (folder,)):
        code, records = scan(*arguments)
        ((name, record),) = findings(records).items()
        assert (code, name, record["matches"][0]["member"]) == (1, "1.mp4", "00:00:02")
        assert record["matches"][0]["of_video"]
    assert records[-1]["unchanged"] == 3
    ran = run("lookup", "--format", "json", tmp_path / "gained.png")
    assert [(Path(one["path"]).name, one["member"]) for one in ran.lines] == [("1.mp4", "00:00:02")]


def test_a_video_that_is_an_archive_too_is_never_clean_unopened(scan: Scan, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("text", b"words")
    (tmp_path / "both.mp4").write_bytes(video(scenes([1]), form="mp4") + made.getvalue())
    assert counts(scan(tmp_path / "both.mp4", "--no-videos")[1]) == {"undecoded": 1}
    assert counts(scan(tmp_path / "both.mp4", "--no-archives")[1]) == {"undecoded": 1}
    assert counts(scan(tmp_path / "both.mp4")[1]) == {"clean": 1}


def test_a_video_is_moved_for_one_of_its_frames(run: Run, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(encoded(scene(3, 320, 240), "PNG"))) as listed:
        value = PDQ().digest(np.asarray(listed.convert("L")))[0]
    publish(run, tmp_path / "national", [Entry("e-1", "pdq", value, "A1")])
    pull(run, tmp_path / "national")
    folder = tmp_path / "www"
    folder.mkdir()
    content = video(scenes([2, 3], size=(320, 240)), form="mp4")
    (folder / "film.mp4").write_bytes(content)
    with zipfile.ZipFile(folder / "backup.zip", "w") as archive:
        archive.writestr("film.mp4", content)
    report = tmp_path / "report.jsonl"
    terms = ("--retain-min", "90d", "--destroy-by", "365d")
    assert run("scan", folder, "--quarantine", *terms, "--report", report).code == 1
    found = findings([json.loads(line) for line in report.read_text().splitlines()])
    assert {name: record["quarantine"]["outcome"] for name, record in found.items()} == {
        "backup.zip": "container",
        "film.mp4": "done",
    }
    assert [path.name for path in folder.iterdir()] == ["backup.zip"]
