"""Lists by the real command, from a real web server on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.web import served


@pytest.fixture
def published(run: Run, entries: Path, tmp_path: Path) -> Path:
    """A list that was begun, filled and released."""
    for command in (
        ("init", "national", "--repository", tmp_path / "public", "--no-passphrase"),
        ("add", entries),
        ("release", "--no-passphrase"),
    ):
        ran = run("publish", *command, "--work", tmp_path / "work")
        assert ran.code == 0, ran.err
    return tmp_path / "public"


@pytest.fixture
def url(published: Path) -> Iterator[str]:
    with served(published) as address:
        yield address


@pytest.fixture
def root(tmp_path: Path, published: Path) -> Path:
    return tmp_path / "work" / "root.json"


def forge(published: Path) -> None:
    """Say that there is a newer version, without the key to sign it."""
    timestamp = published / "metadata" / "timestamp.json"
    forged = json.loads(timestamp.read_bytes())
    forged["signed"]["version"] += 1
    timestamp.write_text(json.dumps(forged))


def test_from_the_owner_to_a_finding(run: Run, url: str, root: Path, uploads: Path) -> None:
    assert run("lists", "add", "national", url, "--root", root).code == 0
    ran = run("lists", "status")
    assert ran.code == 10
    assert "never pulled" in ran.err
    assert run("scan", uploads).code == 10
    ran = run("lists", "pull", "national")
    assert ran.code == 0
    assert "version 1 (was not there before): 6 entries" in ran.err
    assert "up to date" in run("lists", "pull").err
    ran = run("lists", "status")
    assert ran.code == 0
    assert "fresh" in ran.err
    ran = run("scan", uploads, "--report", "-")
    assert ran.code == 1
    info = ran.lines[0]["lists"][0]
    assert info["name"] == "national"
    assert info["state"] == "fresh"
    assert info["version"] == 1
    assert info["key_ids"]
    assert info["expires"]


def test_a_new_release_is_pulled(run: Run, url: str, root: Path, tmp_path: Path) -> None:
    run("lists", "add", "national", url, "--root", root)
    run("lists", "pull")
    more = tmp_path / "more.csv"
    more.write_text(f"id,algorithm,value,category\nmore,md5,{'0' * 32},B1\n")
    assert run("publish", "add", more, "--work", tmp_path / "work").code == 0
    assert run("publish", "release", "--work", tmp_path / "work", "--no-passphrase").code == 0
    ran = run("lists", "pull")
    assert "version 2 (was 1 before): 7 entries" in ran.err


def test_a_forged_list_is_refused_and_the_good_one_stays(
    run: Run, url: str, root: Path, published: Path, uploads: Path
) -> None:
    run("lists", "add", "national", url, "--root", root)
    run("lists", "pull")
    forge(published)
    ran = run("lists", "pull")
    assert ran.code == 10
    assert "last good version" in ran.err
    assert run("scan", uploads, "--report", "-").lines[0]["lists"][0]["state"] == "fresh"


def test_the_gravest_failure_counts(run: Run, url: str, root: Path, published: Path) -> None:
    run("lists", "add", "away", "http://127.0.0.1:9/", "--root", root)
    run("lists", "add", "national", url, "--root", root)
    ran = run("lists", "pull")
    assert ran.code == 13
    assert "away" in ran.err
    assert "list national version 1" in ran.err
    forge(published)
    assert run("lists", "pull").code == 10


def test_a_server_out_of_reach(run: Run, root: Path) -> None:
    run("lists", "add", "away", "http://127.0.0.1:9/", "--root", root)
    ran = run("lists", "pull", "away")
    assert ran.code == 13
    assert "127.0.0.1:9" in ran.err


def test_the_wrong_root_is_refused(run: Run, url: str, tmp_path: Path, entries: Path) -> None:
    other = tmp_path / "other"
    run("publish", "init", "other", "--work", other, "--repository", tmp_path / "p2", "--no-passphrase")
    assert run("lists", "add", "national", url, "--root", other / "root.json").code == 0
    assert run("lists", "pull").code == 10
    assert run("lists", "add", "again", url, "--root", entries).code in (2, 10)
    assert run("lists", "add", "again", url, "--root", tmp_path / "none.json").code == 2


def test_a_list_on_a_folder_goes_stale_and_is_still_used(
    run: Run, entries: Path, tmp_path: Path, uploads: Path, state: Path
) -> None:
    work, public = tmp_path / "w", tmp_path / "p"
    run(
        "publish",
        "init",
        "short",
        "--work",
        work,
        "--repository",
        public,
        "--no-passphrase",
        "--timestamp-days",
        "1",
    )
    run("publish", "add", entries, "--work", work)
    run("publish", "release", "--work", work, "--no-passphrase")
    run("lists", "add", "short", public, "--root", work / "root.json")
    assert run("lists", "pull").code == 0
    later = tmp_path / "later"
    later.mkdir()
    # Two days on, as this machine's commands see it.
    (later / "sitecustomize.py").write_text(
        "import datetime\n"
        "class Later(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        "        return super().now(tz) + datetime.timedelta(days=2)\n"
        "datetime.datetime = Later\n"
    )
    ran = run("scan", uploads, "--report", "-", env={"PYTHONPATH": str(later)})
    assert ran.code == 4
    assert ran.lines[0]["lists"][0]["state"] == "stale"
    assert "list short is stale" in ran.lines[-1]["incomplete"]
    assert run("lists", "status", env={"PYTHONPATH": str(later)}).code == 3


def test_a_wrong_line_is_named_and_nothing_is_imported(run: Run, tmp_path: Path, local_list: str) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(f"id,algorithm,value,category\ngood,md5,{'0' * 32},A1\nbad,md5,zz,A1\n")
    ran = run("lists", "import", wrong, "--name", local_list)
    assert ran.code == 2
    assert "line 3" in ran.err
    assert "1 sha256" in run("lists", "status").err
    assert run("lists", "import", tmp_path / "none.csv", "--name", "x").code == 2
    ran = run("lists", "import", wrong, "--name", "../escape")
    assert ran.code == 2


def test_import_from_standard_input(run: Run) -> None:
    ran = run(
        "lists", "import", "-", "--name", "piped", input=f"id,algorithm,value,category\na,md5,{'0' * 32},A1\n"
    )
    assert ran.code == 0, ran.err


def test_a_format_without_categories_demands_one(run: Run, uploads: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((uploads / "listed.jpg").read_bytes()).hexdigest()
    sums = tmp_path / "sums"
    sums.write_text(f"{digest}  listed.jpg\n")
    ran = run("lists", "import", sums, "--name", "sums", "--format", "checksums")
    assert ran.code == 2
    assert "--category" in ran.err
    assert run("lists", "import", sums, "--name", "sums", "--category", "A1").code == 2
    named = ("--name", "sums", "--format", "checksums", "--category")
    assert run("lists", "import", sums, *named, "other").code == 0
    assert run("check", uploads / "listed.jpg").lines[0]["verdict"] == "review"
    assert run("lists", "import", sums, *named, "A1").code == 0
    assert run("check", uploads / "listed.jpg").lines[0]["verdict"] == "match"


def test_photodna_is_kept_counted_and_not_swept_for(run: Run, uploads: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"id,algorithm,value,category\na,photodna,{'07' * 144},A1\nb,md5,{'0' * 32},A1\n")
    assert run("lists", "import", file, "--name", "x").code == 0
    assert "1 photodna" in run("lists", "status").err
    ran = run("scan", uploads, "--report", "-")
    assert ran.code == 0, ran.err
    assert "photodna" not in ran.lines[0]["algorithms"]


def test_export(run: Run, local_list: str, tmp_path: Path) -> None:
    ran = run("lists", "export", local_list, "--format", "ndjson")
    assert ran.code == 0
    assert {line["id"] for line in ran.lines} == {"e-sha256", "e-pdq"}
    output = tmp_path / "out.hsb"
    ran = run("lists", "export", local_list, "--format", "hsb", "--output", output)
    assert ran.code == 0
    assert "1 entries left out: pdq" in ran.err
    assert ":*:hashscan.ours.A1.e-sha256:73" in output.read_text()
    assert output.stat().st_mode & 0o777 == 0o600
    assert run("lists", "export", "none", "--format", "csv").code == 10
    assert run("lists", "export", local_list, "--format", "csv", "--output", tmp_path / "n" / "o").code == 12


def test_remove(run: Run, local_list: str) -> None:
    assert run("lists", "remove", local_list).code == 0
    assert run("lists", "remove", local_list).code == 2
    assert run("lists", "status").code == 10


def test_demo_can_be_looked_at(run: Run) -> None:
    ran = run("lists", "status", "demo")
    assert ran.code == 0
    assert "fresh" in ran.err


# Keys with a passphrase.


def test_passphrases(run: Run, tmp_path: Path, entries: Path) -> None:
    work = tmp_path / "w"
    ran = run("publish", "init", "x", "--work", work, "--repository", tmp_path / "p", stdin=-3)
    assert ran.code == 2
    assert "HASHSCAN_PASSPHRASE" in ran.err
    secret = {"HASHSCAN_PASSPHRASE": "correct horse"}
    assert run("publish", "init", "x", "--work", work, "--repository", tmp_path / "p", env=secret).code == 0
    run("publish", "add", entries, "--work", work)
    file = tmp_path / "passphrase"
    file.write_text("wrong\n")
    ran = run("publish", "release", "--work", work, "--passphrase-file", file)
    assert ran.code == 2
    file.write_text("correct horse\n")
    assert run("publish", "release", "--work", work, "--passphrase-file", file).code == 0
    for key in (work / "keys").rglob("*.pem"):
        assert b"ENCRYPTED" in key.read_bytes()
        assert key.stat().st_mode & 0o077 == 0


def test_verify_finds_what_a_check_does_not_look_at(run: Run, url: str, root: Path, state: Path) -> None:
    assert run("lists", "add", "national", url, "--root", root).code == 0
    assert run("lists", "verify").code == 10
    assert run("lists", "pull").code == 0
    ran = run("lists", "verify")
    assert ran.code == 0
    assert "all 6 entries are as they should be" in ran.err
    (column,) = state.glob("lists/national/versions/*/columns/base.sha256.value.npy")
    data = column.read_bytes()
    column.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert run("check", "00" * 32).code == 0
    ran = run("lists", "verify", "national")
    assert ran.code == 10
    assert "damaged" in ran.err
    assert run("lists", "status").code == 10
