"""Archives are opened by default: what is found in them, where, and what says why something was not."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.published import BAD, national, signed

pytest.importorskip("libarchive")

__all__ = ["national", "signed"]  # fixtures

Scan = Callable[..., tuple[int, list[dict[str, Any]]]]


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


@pytest.fixture
def archives(uploads: Path, tmp_path: Path) -> Path:
    """A listed picture in a nested archive, under a hostile name, and archives without one."""
    folder = tmp_path / "archives"
    folder.mkdir()
    listed = (uploads / "listed.jpg").read_bytes()
    hostile = {'a"; but nothing\x1b[31m\n=1+1<b>': listed}
    (folder / "nested.zip").write_bytes(zipped(**{"dir/in.zip": zipped(**hostile)}))
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        archive.add(uploads / "alike.jpg", "dir/alike.jpg")
    (folder / "text.zip").write_bytes(zipped(text=b"words"))
    return folder


@pytest.fixture
def scan(run: Run, tmp_path: Path, local_list: str) -> Scan:
    def scan(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        report = tmp_path / "scan.jsonl"
        ran = run("scan", *arguments, "--report", report)
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


PLACE = r'dir/in.zip!a"; but nothing\x1b[31m\x0a=1+1<b>'


def test_what_is_in_archives_is_found_with_its_place(scan: Scan, archives: Path) -> None:
    code, (*records, summary) = scan(archives)
    found = {Path(record["path"]).name: record for record in records[1:]}
    assert code == 1
    assert counts(summary) == {"match": 2, "clean": 1}
    assert {match["member"] for match in found["nested.zip"]["matches"]} == {PLACE}
    assert {match["member"] for match in found["a.tar.gz"]["matches"]} == {"dir/alike.jpg"}
    # The name can't end the quotes.
    because = found["nested.zip"]["because"]
    assert because.endswith(', in the member "{}"'.format(PLACE.replace('"', r"\x22")))
    assert "containers" in records[0]["selection"]


def test_every_format_and_command_shows_the_place(run: Run, scan: Scan, archives: Path) -> None:
    scan(archives)
    report = archives.parent / "scan.jsonl"
    texts = {name: run("report", "convert", report, "--format", name).out for name in ("csv", "html")}
    (row,) = [r for r in csv.DictReader(io.StringIO(texts["csv"])) if r["path"].endswith(".gz")]
    assert row["member"] == "dir/alike.jpg"
    assert "dir/alike.jpg" in texts["html"]
    sarif = json.loads(run("report", "convert", report, "--format", "sarif").out)
    logical = [result["locations"][0]["logicalLocations"] for result in sarif["runs"][0]["results"]]
    assert {place[0]["fullyQualifiedName"] for place in logical} == {PLACE, "dir/alike.jpg"}
    for name in ("junit", "markdown"):
        assert "alike" in run("report", "convert", report, "--format", name).out
    checked = run("check", "--format", "json", *sorted(archives.iterdir()))
    assert checked.code == 1
    assert [record["matches"][0]["member"] for record in checked.lines[:2]] == ["dir/alike.jpg", PLACE]
    lines = run("check", *archives.iterdir()).out
    assert "in the member dir/alike.jpg" in lines
    assert "\x1b" not in lines
    cases = run("cases", "list", "--format", "json").lines
    assert len(cases) == 2
    shown = "".join(run("cases", "show", case["case"]).out for case in cases)
    assert "dir/alike.jpg" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--no-containers",), "container not opened"),
        (("--container-members", 2), "container over the limit of members"),
        (("--container-size", "300K"), "container over the limit of bytes"),
        (("--member-size", "1K"), "member over the limit of bytes"),
        (("--container-depth", 1), "container over the limit of depth"),
        (("--container-ratio", 1), "container over the limit of compression"),
        (("--container-time", 0.001), "decoder over its time limit"),
        (("--sandbox", "off", "--container-depth", 1), "container over the limit of depth"),
    ],
)
def test_each_limit_has_a_reason(
    scan: Scan, tmp_path: Path, options: tuple[object, ...], reason: str
) -> None:
    folder = tmp_path / "limits"
    folder.mkdir()
    # Zeros are compressed to a thousandth.
    method = zipfile.ZIP_DEFLATED if "--container-ratio" in options else zipfile.ZIP_STORED
    with zipfile.ZipFile(folder / "a.zip", "w", method) as archive:
        for number in range(3):
            archive.writestr(f"{number}.zip", zipped(text=bytes(5000)))
        archive.writestr("zeros", bytes(11 << 20))
    code, records = scan(folder, *options)
    assert (code, records[-1]["reasons"]) == (0, {"undecoded": {reason: 1}})
    # Nor is it an error to have such archives.
    assert reason == "decoder over its time limit" or scan(folder, "--strict", *options)[0] == 0


def test_a_broken_picture_hides_no_archive_behind_it(
    scan: Scan, uploads: Path, tmp_path: Path, age: Callable[[], None]
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    listed, other = ((uploads / name).read_bytes() for name in ("listed.jpg", "other.jpg"))
    broken = other[: len(other) // 10]
    (folder / "both.jpg").write_bytes(broken + zipped(photo=listed))
    (folder / "one.jpg").write_bytes(broken + zipped(text=b"words"))
    age()
    for _ in range(2):
        _, records = scan("--reread", "0%", folder)
        (match,) = (r for r in records if r["type"] == "finding" and r["verdict"] == "match")
        assert (match["path"], match["matches"][0]["member"]) == (str(folder / "both.jpg"), "photo")
        # libjpeg takes the bytes of the larger archive for more of the picture.
        assert records[-1]["reasons"] == {
            "match": {"broken picture": 1},
            "undecoded": {"truncated picture": 1},
        }
    assert records[-1]["unchanged"] == 2


def test_a_known_good_member_clears_nothing_beside_it(
    run: Run, scan: Scan, uploads: Path, tmp_path: Path
) -> None:
    good = b"the icon of a theme"
    table = tmp_path / "good.csv"
    table.write_text(f"id,algorithm,value,category\ng,sha256,{hashed(good)},known-good\n")
    assert run("lists", "import", table, "--name", "good").code == 0
    folder = tmp_path / "theme"
    folder.mkdir()
    listed = (uploads / "listed.jpg").read_bytes()
    (folder / "both.zip").write_bytes(zipped(icon=good, listed=listed))
    (folder / "icon.zip").write_bytes(zipped(icon=good))
    code, records = scan(folder)
    assert (code, counts(records[-1])) == (1, {"match": 1, "clean": 1})


def counts(summary: dict[str, Any]) -> dict[str, int]:
    return {verdict: number for verdict, number in summary["verdicts"].items() if number}


def hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_finding_in_an_archive_ends_only_when_it_is_opened(scan: Scan, archives: Path) -> None:
    assert counts(scan(archives)[1][-1]) == {"match": 2, "clean": 1}
    for options in (("--no-containers",), ("--sandbox", "off"), ("--container-depth", 1)):
        _, records = scan(archives, *options)
        left = {Path(r["path"]).name for r in records if r["type"] in {"standing", "finding"}}
        assert left == {"nested.zip", "a.tar.gz"}, options
    (archives / "nested.zip").write_bytes(zipped(text=b"other"))
    assert counts(scan(archives)[1][-1]) == {"match": 1, "clean": 2}


def test_what_new_entries_match_in_archives_is_confirmed_when_it_is_read(
    run: Run, scan: Scan, tmp_path: Path
) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.zip").write_bytes(zipped(member=b"%d" % number))
    assert counts(scan(folder, "--workers", 1)[1][-1]) == {"clean": 3}
    table = tmp_path / "more.csv"
    rows = (f"{number},sha256,{hashed(b'%d' % number)},A1\n" for number in range(3))
    table.write_text("id,algorithm,value,category\n" + "".join(rows))
    assert run("lists", "import", table, "--name", "more").code == 0
    # One of them was the first file of its decoder.
    assert counts(scan("--known")[1][-1]) == {"match": 1, "review": 2}
    assert counts(scan(folder, "--workers", 1)[1][-1]) == {"match": 3}
    assert counts(scan("--known")[1][-1]) == {"match": 3}


TERMS = ("--retain-min", "90d", "--destroy-by", "365d")


def test_a_container_is_moved_only_on_the_operators_word(run: Run, signed: None, tmp_path: Path) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "backup.zip").write_bytes(zipped(other=b"words", listed=BAD))
    (folder / "listed").write_bytes(BAD)
    report = tmp_path / "report.jsonl"
    ran = run("scan", folder, "--quarantine", *TERMS, "--report", report)
    assert ran.code == 1
    found = {
        Path(record["path"]).name: record["quarantine"]["outcome"]
        for record in map(json.loads, report.read_text().splitlines())
        if record["type"] == "finding"
    }
    assert found == {"backup.zip": "container", "listed": "done"}
    assert "--quarantine-containers" in ran.err
    assert [path.name for path in folder.iterdir()] == ["backup.zip"]
    assert run("quarantine", "add", report, *TERMS).code == 0
    assert (folder / "backup.zip").exists()
    assert run("quarantine", "add", report, *TERMS, "--quarantine-containers").code == 0
    assert not (folder / "backup.zip").exists()
