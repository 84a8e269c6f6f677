"""Archives that are unchanged are not opened again, and new entries find what is in them all the same."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashscan.lists.difference import EntryChange
from hashscan.state.queries.would_hit import files_hit, hits_of
from hashscan.state.store.reading import StateReader
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run
from tests.examples import quick_first
from tests.pictures import encoded, scene

pytest.importorskip("libarchive")

Scan = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def folder(tmp_path: Path, age: Callable[[], None]) -> Path:
    """Twenty archives with pictures, two of them equal, and one behind a picture."""
    made = tmp_path / "archives"
    made.mkdir()
    for number in range(20):
        with zipfile.ZipFile(made / f"{number:02}.zip", "w") as archive:
            archive.writestr(
                zipfile.ZipInfo("dir/picture.png"), encoded(scene(40 + number // 2, 64, 64), "PNG")
            )
            archive.writestr(zipfile.ZipInfo("text"), b"%d" % (number // 2))
    (made / "both.png").write_bytes(encoded(scene(60), "PNG") + (made / "00.zip").read_bytes())
    age()
    return made


@pytest.fixture
def scan(run: Run, tmp_path: Path, local_list: str) -> Scan:
    def scan(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        report = tmp_path / "scan.jsonl"
        ran = run("scan", *arguments, "--reread", "0%", "--report", report)
        return ran.code, [json.loads(line) for line in report.read_text().splitlines()]

    return scan


def gain(run: Run, tmp_path: Path, number: int, algorithm: str) -> None:
    """Add a picture to the list."""
    (tmp_path / "gained.png").write_bytes(encoded(scene(40 + number, 64, 64), "PNG"))
    (hashed,) = run("hash", tmp_path / "gained.png").lines
    table = tmp_path / "gained.csv"
    table.write_text(
        f"id,algorithm,value,category\ng-{number},{algorithm},{hashed['digests'][algorithm]},A1\n"
    )
    assert run("lists", "import", table, "--name", "ours").code == 0


def found(records: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(r["path"]).name: r["matches"][0]["member"] for r in records if r["type"] == "finding"}


@pytest.mark.parametrize("algorithm", quick_first(["sha256", "pdq"]))
def test_new_entries_find_members_of_archives_that_are_not_opened_again(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, algorithm: str
) -> None:
    code, records = scan(folder)
    assert (code, records[-1]["verdicts"]["clean"], records[-1]["unchanged"]) == (0, 21, 0)
    code, records = scan(folder)
    assert (code, records[-1]["verdicts"]["clean"], records[-1]["unchanged"]) == (0, 21, 21)
    gain(run, tmp_path, 0, algorithm)
    expected = dict.fromkeys(("00.zip", "01.zip", "both.png"), "dir/picture.png")
    code, records = scan("--known")
    assert (code, found(records)) == (1, expected)
    # A fresh decoder confirms what it found in the two that a used one has opened.
    for unchanged in (19, 21):
        code, records = scan(folder)
        assert (code, found(records), records[-1]["unchanged"]) == (1, expected, unchanged)
    assert run("state", "check").code == 0
    (folder / "19.zip").unlink()
    (folder / "02.zip").unlink()
    (folder / "03.zip").unlink()
    scan(folder)
    assert run("state", "vacuum").code == 0
    code, records = scan("--known")
    assert (code, found(records)) == (1, expected)
    gain(run, tmp_path, 8, algorithm)
    assert found(scan("--known")[1]) == dict.fromkeys(("16.zip", "17.zip"), "dir/picture.png")


def test_lookup_finds_members(run: Run, scan: Scan, folder: Path, tmp_path: Path) -> None:
    scan(folder)
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(scene(44, 64, 64), "PNG"))
    ran = run("lookup", "--format", "json", picture)
    assert ran.code == 1
    assert {(Path(one["path"]).name, one["member"]) for one in ran.lines} == {
        ("08.zip", "dir/picture.png"),
        ("09.zip", "dir/picture.png"),
    }
    digest = run("hash", picture).lines[0]["digests"]["pdq"]
    assert "in the member dir/picture.png" in run("lookup", f"pdq:{digest}").out


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "pdq"])
@pytest.mark.parametrize("further", [0, 100])
def test_entries_that_would_hit_members(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, state: Path, algorithm: str, further: int
) -> None:
    scan(folder)
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(scene(44, 64, 64), "PNG"))
    value = bytes.fromhex(run("hash", picture).lines[0]["digests"][algorithm])
    values = b"".join((*(random.randbytes(len(value)) for _ in range(further)), value))
    change = EntryChange(
        came=True,
        algorithm=algorithm,
        category="A1",
        raw_ids=np.array([b"e%d" % number for number in range(further + 1)]),
        values=np.frombuffer(values, np.uint8).reshape(further + 1, -1),
    )
    with StateReader(StateDir(state)) as reader, reader.reading():
        hits = hits_of(reader, [change])
        assert {file.path.rpartition(b"/")[2] for file in files_hit(reader, hits)} == {b"08.zip", b"09.zip"}
        assert (hits.entries, len(hits.nearest)) == (1, 1)
        (hit,) = hits.nearest.values()
        assert (hit.distance, hit.entry_id, hit.member) == (0, f"e{further}", "dir/picture.png")


def test_archives_are_read_again_when_they_can_be_opened_or_further(scan: Scan, folder: Path) -> None:
    for options, unopened in (
        (("--no-containers",), 21),
        (("--container-members", 1), 21),
        ((), 0),
        # What is known of them stays.
        (("--no-containers",), 0),
        (("--container-members", 1), 0),
    ):
        code, records = scan(folder, *options)
        assert (code, records[-1]["verdicts"]["undecoded"]) == (0, unopened), options
        assert records[-1]["unchanged"] == (0 if unopened or not options else 21)


MAIL = b"""From: a@example.org
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: image/png
Content-Transfer-Encoding: base64

%b
--b--
"""


def test_each_kind_is_opened_when_it_is_wanted_and_findings_stay_when_it_is_not(
    run: Run, scan: Scan, tmp_path: Path, age: Callable[[], None]
) -> None:
    """A mail and a page, alone and in archives; what was found in them stands where they are not opened."""
    coded = base64.b64encode(encoded(scene(40, 64, 64), "PNG"))
    mail, page = MAIL % coded, b'<img src="data:image/png;base64,%b">' % coded
    folder = tmp_path / "kinds"
    folder.mkdir()
    for name, content in {"mail": mail, "page": page}.items():
        (folder / name).write_bytes(content)
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), content)
    age()
    gain(run, tmp_path, 0, "sha256")
    open_now: set[str] = set()
    for options, more in (
        (("--no-documents",), set()),
        ((), {"page", "page.zip"}),
        (("--mail",), {"mail", "mail.zip"}),
        (("--no-documents",), set()),
        (("--no-archives", "--mail"), set()),
        (("--no-containers",), set()),
        ((), set()),
    ):
        _, records = scan(folder, *options)
        open_now |= more
        left = {Path(r["path"]).name for r in records if r["type"] in {"standing", "finding"}}
        assert left == open_now, options
    (folder / "page").write_bytes(page + b"<p>")
    # It is not opened, so that the picture may be there still.
    _, records = scan(folder, "--no-documents")
    assert "page" in {Path(r["path"]).name for r in records if r["type"] in {"standing", "finding"}}
    (folder / "page").write_bytes(b"<p>")
    _, records = scan(folder)
    assert "page" not in {Path(r["path"]).name for r in records if r["type"] in {"standing", "finding"}}


def test_a_damaged_record_of_members_is_not_believed(
    run: Run, scan: Scan, folder: Path, tmp_path: Path, state: Path
) -> None:
    scan(folder)
    with sqlite3.connect(state / "scans" / "state.sqlite") as database:
        database.execute("UPDATE members SET members=x'00'")
    database.close()
    assert run("state", "check").code != 0
    gain(run, tmp_path, 0, "sha256")
    assert run("scan", folder).code in {1, 12}
    code, records = scan(folder)
    assert (code, len(found(records))) == (1, 3)
