"""Videos are matched as a whole with the videos of lists, by the rule of vPDQ."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from hashscan.hashing.video.streams import Sampling
from hashscan.lists.difference import EntryChange
from hashscan.model import Entry
from hashscan.state.queries.would_hit import files_hit, hits_of
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run
from tests.cli.published import publish
from tests.hashing.video.drawn import read, scenes, video
from tests.web import served

pytest.importorskip("av")

Scan = Callable[..., tuple[int, list[dict[str, Any]]]]


def film(*seeds: int) -> bytes:
    """A film of a second for each scene, with one key frame."""
    return video(scenes(seeds), form="mp4", gop=1000, options={"sc_threshold": "0"})


def hashed(content: bytes) -> str:
    """The output of the reference implementation for a film."""
    frames, _ = read(content, Sampling.VPDQ)
    return "".join(
        f"{frame.number},{frame.runs[0].quality},{frame.runs[0].values[:32].hex()},{frame.seconds:.3f}\n"
        for frame in frames
    )


def add_list(run: Run, folder: Path, *films: bytes, category: str = "A1", name: str = "films") -> list[str]:
    """Import films as a list, and return their ids."""
    file = folder / "films.txt"
    file.write_text("".join(map(hashed, films)))
    assert run("lists", "import", file, "--name", name, "--format", "vpdq", "--category", category).code == 0
    lines = run("lists", "export", name, "--format", "ndjson").lines
    return list(dict.fromkeys(line["id"].rpartition("@")[0] for line in lines))


@pytest.fixture
def scan(run: Run, tmp_path: Path) -> Scan:
    def scan(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        report = tmp_path / "scan.jsonl"
        ran = run("scan", *arguments, "--reread", "0%", "--report", report)
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


def findings(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {Path(record["path"]).name: record for record in records if record["type"] == "finding"}


def counts(records: list[dict[str, Any]]) -> dict[str, int]:
    return {name: number for name, number in records[-1]["verdicts"].items() if number}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "films"
    made.mkdir()
    return made


def test_a_listed_video_is_found_in_others(run: Run, scan: Scan, folder: Path, tmp_path: Path) -> None:
    (entry,) = add_list(run, tmp_path, film(1, 2, 3, 4, 5))
    assert "5 vpdq" in run("lists", "status").out
    (folder / "same.mp4").write_bytes(film(1, 2, 3, 4, 5))
    (folder / "longer.mp4").write_bytes(film(*range(15)))
    (folder / "most.mp4").write_bytes(film(2, 3, 4, 5))
    (folder / "few.mp4").write_bytes(film(3, 4, 5, 6))
    boxed = []
    for picture in scenes(range(1, 6)):
        boxed.append(Image.new("RGB", (160, 200)))
        boxed[-1].paste(ImageOps.mirror(picture), (0, 40))
    (folder / "boxed.mp4").write_bytes(video(boxed, form="mp4"))
    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        archive.write(folder / "few.mp4", "few.mp4")
        archive.write(folder / "most.mp4", "dir/most.mp4")
        archive.write(folder / "few.mp4", "other.mp4")
    code, records = scan(folder)
    assert (code, counts(records)) == (1, {"match": 5, "clean": 1})
    assert records[0]["thresholds"]["vpdq"] == 20
    assert "vpdq" in records[0]["algorithms"]
    found = {name: record["matches"] for name, record in findings(records).items()}
    assert all(len(matches) == 1 for matches in found.values())
    assert {
        name: (match["entry"], match["algorithm"], match["distance"], match.get("scanned_share"))
        for name, (match,) in found.items()
    } == {
        "same.mp4": (entry, "vpdq", 0, 100),
        "longer.mp4": (entry, "vpdq", 0, 33),
        "most.mp4": (entry, "vpdq", 20, 100),
        "boxed.mp4": (entry, "vpdq", 0, 100),
        "films.zip": (entry, "vpdq", 20, 100),
    }
    assert {
        name: match["variant"] for name, (match,) in found.items() if match["variant"] != "as stored"
    } == {"boxed.mp4": "borders trimmed, mirrored"}
    assert {name: match["member"] for name, (match,) in found.items() if "member" in match} == {
        "films.zip": "dir/most.mp4"
    }
    assert "80 %" in findings(records)["most.mp4"]["because"]


def test_new_videos_of_lists_are_found_without_reading(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(film(*range(10 * number, 10 * number + 4)))
    (folder / "text").write_bytes(b"words")
    age()
    add_list(run, tmp_path, film(90, 91))
    for unchanged in (0, 4):
        code, records = scan(folder)
        assert (code, counts(records), records[-1]["unchanged"]) == (0, {"clean": 4}, unchanged)
    add_list(run, tmp_path, film(10, 11, 12, 13), film(20, 50, 51, 52), name="more")
    for arguments in (("--known",), (folder,), ("--known",)):
        code, records = scan(*arguments)
        ((name, record),) = findings(records).items()
        assert (code, name, record["verdict"]) == (1, "1.mp4", "match")
        assert counts(records) == {"match": 1, "clean": 3}


def test_videos_are_opened_again_for_the_first_list_of_videos(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, local_list: str, age: Callable[[], None]
) -> None:
    (folder / "film.mp4").write_bytes(film(1, 2, 3))
    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        archive.write(folder / "film.mp4", "film.mp4")
    (folder / "text").write_bytes(b"words")
    age()
    for unchanged in (0, 3):
        assert scan(folder)[1][-1]["unchanged"] == unchanged
    add_list(run, tmp_path, film(1, 2, 3))
    code, records = scan(folder)
    assert (code, counts(records), records[-1]["unchanged"]) == (1, {"match": 2, "clean": 1}, 1)
    assert scan(folder)[1][-1]["unchanged"] == 3


def test_exceptions_and_known_good_content_withhold_a_video(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    entry, other = add_list(run, tmp_path, film(1, 2, 3), film(4, 5, 6))
    (folder / "film.mp4").write_bytes(film(1, 2, 3))
    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        archive.write(folder / "film.mp4", "film.mp4")
    age()
    until = ("--reason", "ours", "--until", "2099-01-01")
    refused = run("lists", "except", f"{entry}@0/3", *until)
    assert (refused.code, f"Except the video {entry!r}" in refused.err) == (2, True)
    for video_id in (entry, other):
        assert run("lists", "except", video_id, *until).code == 0
    for arguments in ((folder,), (folder,), ("--known",)):
        code, records = scan(*arguments)
        assert (code, counts(records)) == (0, {"held": 2})
        assert all(record["matches"][0]["excepted"] for record in findings(records).values())
    # The video of this id becomes another one.
    add_list(run, tmp_path, film(4, 5, 6))
    lines = run("lists", "export", "films", "--format", "ndjson").lines
    table = tmp_path / "films.csv"
    rows = [f"{entry}@{n}/4,vpdq,{value},A1" for n, value in enumerate(values_of(film(1, 2, 3, 7)))]
    table.write_text("\n".join(["id,algorithm,value,category", *rows]) + "\n")
    assert lines
    assert run("lists", "import", table, "--name", "films", "--format", "csv").code == 0
    assert counts(scan(folder)[1]) == {"clean": 2}
    table.write_text(table.read_text().replace("/4,", "/3,"))
    assert run("lists", "import", table, "--name", "films", "--format", "csv").code == 0
    assert counts(scan(folder)[1]) == {"match": 2}
    # Known-good content clears itself.
    good = tmp_path / "good.csv"
    sha256 = hashlib.sha256((folder / "film.mp4").read_bytes()).hexdigest()
    good.write_text(f"id,algorithm,value,category\ng,sha256,{sha256},known-good\n")
    assert run("lists", "import", good, "--name", "good").code == 0
    records = scan(folder)[1]
    assert {name: record["verdict"] for name, record in findings(records).items()} == {
        "film.mp4": "held",
        "films.zip": "review",
    }


def values_of(content: bytes) -> list[str]:
    return [line.split(",")[2] for line in hashed(content).splitlines()]


def test_a_moved_video_is_withdrawn_with_all_its_frames(run: Run, folder: Path, tmp_path: Path) -> None:
    values = values_of(film(1, 2, 3))
    entries = [Entry(f"v@{n}/3", "vpdq", bytes.fromhex(value), "A1") for n, value in enumerate(values)]
    national = tmp_path / "national"
    publish(run, national, entries)
    (folder / "film.mp4").write_bytes(film(1, 2, 3))
    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        archive.write(folder / "film.mp4", "film.mp4")
    with served(national / "published") as url:
        assert run("lists", "add", "national", url, "--root", national / "work" / "root.json").code == 0
        assert run("lists", "pull").code == 0
        terms = ("--retain-min", "90d", "--destroy-by", "365d")
        found = findings(run("scan", folder, "--quarantine", *terms, "--report", "-").lines)
        assert {name: record["quarantine"]["outcome"] for name, record in found.items()} == {
            "films.zip": "container",
            "film.mp4": "done",
        }
        assert [path.name for path in folder.iterdir()] == ["films.zip"]
        for frames, withdrawn in (("v@0/3",), False), (("v@1/3", "v@2/3"), True):
            for command in (("withdraw", *frames), ("release", "--no-passphrase")):
                assert run("publish", *command, "--work", national / "work").code == 0
            assert run("lists", "pull").code == 0
            (item,) = run("quarantine", "list", "--format", "json").lines
            assert bool(item["withdrawn"]) is withdrawn


def test_the_shares_are_options(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    add_list(run, tmp_path, film(1, 2, 3, 4))
    (folder / "half.mp4").write_bytes(film(3, 4, 5, 6, 7))
    (folder / "most.mp4").write_bytes(film(2, 3, 4))
    age()
    for options, verdicts in (
        ((), {"clean": 2}),
        (("--video-listed-share", "75"), {"match": 1, "clean": 1}),
        (("--video-listed-share", "50"), {"match": 2}),
        (("--video-listed-share", "50", "--video-scanned-share", "41"), {"match": 1, "clean": 1}),
        ((), {"clean": 2}),
    ):
        _, records = scan(folder, *options)
        assert counts(records) == verdicts
        assert records[0]["thresholds"]["vpdq"] == 100 - int(
            dict(zip(options[::2], options[1::2], strict=True)).get("--video-listed-share", "80")
        )
    assert run("scan", folder, "--video-listed-share", "0").code == 2


def test_a_finding_stays_where_the_video_is_not_decoded_in_full(
    run: Run, scan: Scan, folder: Path, tmp_path: Path
) -> None:
    add_list(run, tmp_path, film(1, 2, 3))
    (folder / "film.mp4").write_bytes(film(1, 2, 3, 4, 5))
    assert counts(scan(folder)[1]) == {"match": 1}
    for number, options in enumerate((("--no-videos",), ("--no-containers",), ("--container-members", "1"))):
        # As if the file had to be read again.
        os.utime(folder / "film.mp4", (number, number))
        code, records = scan(folder, *options)
        assert (code, counts(records)) == (3, {"undecoded": 1})
        (standing,) = [record for record in records if record["type"] == "standing"]
        assert standing["matches"][0]["algorithm"] == "vpdq"
    (folder / "film.mp4").write_bytes(film(6, 7, 8))
    assert counts(scan(folder)[1]) == {"clean": 1}


def test_matches_are_shown_in_reports(run: Run, scan: Scan, folder: Path, tmp_path: Path) -> None:
    (entry,) = add_list(run, tmp_path, film(1, 2, 3))
    (folder / "film.mp4").write_bytes(film(1, 2, 3))
    assert scan(folder)[0] == 1
    report = tmp_path / "scan.jsonl"
    page = run("report", "convert", report, "--format", "html").out
    assert "vpdq 100 % of the listed frames" in page
    assert entry in run("report", "convert", report, "--format", "csv").out


def test_a_staged_version_names_the_known_videos_that_it_would_hit(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, state: Path
) -> None:
    add_list(run, tmp_path, film(90, 91))
    for name, seeds in (("most", (2, 3, 4, 5)), ("few", (3, 4, 5, 6))):
        (folder / f"{name}.mp4").write_bytes(film(*seeds))
    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        archive.write(folder / "most.mp4", "dir/most.mp4")
    assert scan(folder)[0] == 0
    values = [bytes.fromhex(value) for value in values_of(film(1, 2, 3, 4, 5))]
    ids = np.array([f"v@{number}/5".encode() for number in range(5)])
    change = EntryChange(
        came=True,
        algorithm="vpdq",
        category="A1",
        raw_ids=ids,
        values=np.frombuffer(b"".join(values), np.uint8).reshape(5, 32),
    )
    with StateReader(StateDir(state)) as reader, reader.reading():
        hits = hits_of(reader, [change])
        found = {
            Path(os.fsdecode(file.path)).name: hits.nearest[file.content] for file in files_hit(reader, hits)
        }
    assert (hits.entries, hits.left_out.total()) == (4, 0)
    assert {name: (hit.entry_id, hit.distance, hit.member) for name, hit in found.items()} == {
        "most.mp4": ("v", 20, ""),
        "films.zip": ("v", 20, "dir/most.mp4"),
    }
    ran = run("lookup", f"vpdq:{values[1].hex()}", "--format", "json")
    assert ran.code == 1
    assert {Path(line["path"]).name: line.get("member", "") for line in ran.lines} == {
        "most.mp4": "",
        "films.zip": "dir/most.mp4",
    }
    for name, seeds, known in (
        ("alike", (7, 4), {"most.mp4", "films.zip", "few.mp4"}),
        ("other", (7,), set()),
    ):
        (tmp_path / f"{name}.mp4").write_bytes(film(*seeds))
        ran = run("lookup", tmp_path / f"{name}.mp4", "--format", "json")
        assert (ran.code, {Path(line["path"]).name for line in ran.lines}) == (int(bool(known)), known)
        assert all(line["algorithm"] == "vpdq" for line in ran.lines)


def test_the_circuit_breaker_counts_videos(run: Run, scan: Scan, folder: Path, tmp_path: Path) -> None:
    add_list(run, tmp_path, film(1, 2, 3))
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(film(1, 2, 3, 10 + number))
    code, records = scan(folder, "--breaker-files", "2")
    assert (code, counts(records)) == (1, {"held": 3})
    assert counts(scan(folder, "--breaker-files", "3")[1]) == {"match": 3}
