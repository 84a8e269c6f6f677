"""Lists by the real command, from a real web server on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hashscan.lists.pulling.assembly import AT_ONCE
from tests.cli.conftest import COMMAND, Ran, Run, environment, runner
from tests.prefork import PREFORK
from tests.shortcomings import shortcoming
from tests.web import send, served, serving


@pytest.fixture(scope="module")
def released(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a list that was begun, filled and released: its owner's `work`, and what is `public`."""
    made = tmp_path_factory.mktemp("released")
    run = runner(made / "state")
    for command in (
        ("init", "national", "--repository", made / "public", "--no-passphrase"),
        ("add", prepared / "entries.csv"),
        ("release", "--no-passphrase"),
    ):
        ran = run("publish", *command, "--work", made / "work")
        assert ran.code == 0, ran.err
    return made


@pytest.fixture
def published(released: Path, tmp_path: Path) -> Path:
    """A copy of what is public, beside one of the owner's folder."""
    for name in ("work", "public"):
        shutil.copytree(released / name, tmp_path / name)
    remembered = tmp_path / "work" / "publisher.json"
    remembered.write_text(remembered.read_text().replace(str(released), str(tmp_path)))
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
    assert "never pulled" in ran.out
    assert run("scan", uploads).code == 10
    ran = run("lists", "pull", "national")
    assert ran.code == 0
    assert "version 1 (before: none): 6 entries" in ran.err
    assert "up to date" in run("lists", "pull").err
    ran = run("lists", "status")
    assert ran.code == 0
    assert "fresh" in ran.out
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
    assert "version 2 (before: 1): 7 entries" in ran.err


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
    two_days_on = later(tmp_path / "later", days=2)
    ran = run("scan", uploads, "--report", "-", env=two_days_on)
    assert ran.code == 4
    assert ran.lines[0]["lists"][0]["state"] == "stale"
    assert shortcoming("list short is stale", "list", "short") in ran.lines[-1]["incomplete"]
    assert run("lists", "status", env=two_days_on).code == 3


# ---- the way to a list


def options(ran: Ran) -> set[str]:
    return set(re.findall(r"--[a-z-]+", ran.out))


def test_a_list_is_trusted_by_its_root_or_its_fingerprint(
    run: Run, url: str, root: Path, published: Path, state: Path
) -> None:
    ran = run("lists", "add", "national", url)
    assert ran.code == 2
    assert "--root or --root-fingerprint" in ran.err
    fingerprint = hashlib.sha256(root.read_bytes()).hexdigest()
    assert run("lists", "add", "x", url, "--root", root, "--root-fingerprint", fingerprint).code == 2
    assert run("lists", "add", "x", url, "--root-fingerprint", "abc").code == 2
    ran = run("lists", "add", "x", url, "--root-fingerprint", "0" * 64)
    assert ran.code == 10
    assert fingerprint in ran.err
    assert run("lists", "add", "x", "http://127.0.0.1:9", "--root-fingerprint", fingerprint).code == 13
    assert not (state / "lists" / "x").exists()
    assert run("lists", "add", "national", url, "--root-fingerprint", fingerprint).code == 0
    assert run("lists", "pull").code == 0


def test_no_secret_has_an_option(run: Run) -> None:
    for command in ("add", "pull"):
        for option in options(run("lists", command, "--help")):
            # The key's option names its file.
            assert option == "--client-key" or not re.search(
                r"password|token$|login$|user|secret|key$", option
            )


def test_a_secret_is_in_no_word_and_no_file(run: Run, published: Path, root: Path, tmp_path: Path) -> None:
    secret = "tOpSeCrEt-4711"
    token = tmp_path / "token"
    token.write_text(f"{secret}\n")
    said = ""
    with serving(published) as server:
        server.authorization = f"Bearer {secret}"
        added = ("lists", "add", "national", server.url, "--root", root, "--token-file", token)
        ran = run(*added)
        assert ran.code == 2
        assert "chmod 600" in ran.err
        token.chmod(0o600)
        for arguments in (
            added,
            ("lists", "pull"),
            ("lists", "status"),
            ("lists", "add", "again", server.url, "--root", root, "--token-variable", "LIST_TOKEN"),
            ("lists", "pull", "again"),
        ):
            ran = run(*arguments, env={"LIST_TOKEN": secret})
            assert ran.code == 0, ran.err
            said += ran.out + ran.err
        ran = run("lists", "pull", "again")
        assert ran.code == 2
        assert "LIST_TOKEN" in ran.err
        server.authorization = "Bearer another"
        ran = run("lists", "pull", "national")
        assert ran.code == 13
        assert "credentials" in ran.err
        said += ran.err + run("lists", "status").out
        ran = run("lists", "add", "bad", f"https://me:{secret}@lists.example/", "--root", root)
        assert ran.code == 2
        said += ran.err
    assert secret not in said
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != token:
            assert secret.encode() not in path.read_bytes(), path


def test_a_mirror_helps_and_what_was_wrong_is_said(run: Run, url: str, root: Path, published: Path) -> None:
    with serving(published) as mirror:
        added = ("--root", root, "--mirror", "http://127.0.0.1:9", "--mirror", mirror.url)
        assert run("lists", "add", "national", url, *added).code == 0
        forge(published)
        good = json.loads((published / "metadata" / "timestamp.json").read_bytes())
        good["signed"]["version"] -= 1
        mirror.answers["timestamp.json"] = lambda request: send(request, json.dumps(good).encode())
        ran = run("lists", "pull")
        assert ran.code == 0
        assert f"skipped, another source was used: what {url}/ offers can't be trusted" in ran.err
        assert "http://127.0.0.1:9/ gives no usable answer" in ran.err
        assert "skipped then: what" in run("lists", "status").out


def test_status_tells_how_pulls_went(run: Run, url: str, root: Path, published: Path) -> None:
    run("lists", "add", "national", url, "--root", root)
    assert "last pulled never" in run("lists", "status").out
    run("lists", "pull")
    ran = run("lists", "status")
    assert re.search(r"last pulled 20\d\d-", ran.out)
    assert "failed" not in ran.out
    forge(published)
    run("lists", "pull")
    ran = run("lists", "status")
    assert ran.code == 0
    assert re.search(r"last pulled 20\d\d-", ran.out)
    assert re.search(r"the last attempt, 20\d\d-.*, failed: what http.* offers can't be trusted", ran.out)


def test_a_new_version_is_looked_at_before_it_is_used(
    run: Run, url: str, root: Path, uploads: Path, tmp_path: Path
) -> None:
    run("lists", "add", "national", url, "--root", root)
    assert run("lists", "diff").code == 2
    assert run("lists", "activate").code == 2
    ran = run("lists", "pull", "--stage")
    assert ran.code == 0
    assert "version 1 (staged; none is active): 6 entries" in ran.err
    assert run("lists", "status").code == 10
    assert run("scan", uploads).code == 10
    assert "from nothing to version 1: 6 entries added, 0 removed" in run("lists", "diff", "national").err
    ran = run("lists", "activate", "national")
    assert ran.code == 0
    assert "version 1 is active (before: none): 6 entries" in ran.err
    assert run("scan", uploads).code == 1

    more = tmp_path / "more.csv"
    more.write_text(f"id,algorithm,value,category\nmore,md5,{'0' * 32},B1\nmany,md5,{'1' * 32},A2\n")
    assert run("publish", "add", more, "--work", tmp_path / "work").code == 0
    assert run("publish", "withdraw", "e-sha256", "--work", tmp_path / "work").code == 0
    run("publish", "release", "--work", tmp_path / "work", "--no-passphrase")
    assert "version 2 (staged; 1 is active): 7 entries" in run("lists", "pull", "--stage").err
    ran = run("lists", "status")
    assert ran.code == 0
    assert "list national: version 2 is staged and NOT active, fresh: 7 entries" in ran.out
    assert "list national: sha256: 1 A1, 1 test" in ran.out
    ran = run("lists", "diff", "--entries")
    assert ran.code == 0
    assert "from version 1 to version 2: 2 entries added, 1 removed" in ran.err
    assert sorted((line["change"], line["category"], line["entry"]) for line in ran.lines) == [
        ("came", "A2", "many"),
        ("came", "B1", "more"),
        ("went", "A1", "e-sha256"),
    ]
    assert re.search(r"md5\W+B1\W+1\W+0\W", ran.err)
    assert re.search(r"sha256\W+A1\W+0\W+1\W", ran.err)
    assert run("lists", "diff").out == ""
    assert run("check", "--format", "json", "0" * 32).lines[0]["verdict"] == "clean"
    ran = run("lists", "activate", "--discard")
    assert ran.code == 0
    assert "deleted" in ran.err
    assert "staged" not in run("lists", "status").out
    assert run("lists", "activate", "national").code == 2
    assert run("lists", "pull", "--stage").code == 0
    assert run("lists", "activate").code == 0
    assert run("check", "--format", "json", "0" * 32).lines[0]["verdict"] == "match"


def test_jitter_waits_before_it_asks(run: Run, url: str, root: Path) -> None:
    run("lists", "add", "national", url, "--root", root)
    assert run("lists", "pull", "--jitter", "0.5").code == 0
    for wrong in ("-1", "soon", "86401"):
        assert run("lists", "pull", "--jitter", wrong).code == 2


def test_two_pulls_at_once(run: Run, published: Path, root: Path, state: Path) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def slow(request: object) -> None:
        arrived.set()
        go_on.wait(120)
        send(request, (published / "metadata" / "timestamp.json").read_bytes())  # type: ignore[arg-type]

    with serving(published) as server:
        run("lists", "add", "national", server.url, "--root", root)
        server.answers["timestamp.json"] = slow
        command = [*COMMAND, "lists", "pull", "national"]
        with PREFORK.popen(command, env=environment(state), stderr=subprocess.PIPE, text=True) as first:
            assert arrived.wait(120)
            ran = run("lists", "pull", "national")
            assert ran.code == 11
            assert "another process is writing" in ran.err
            go_on.set()
            _, message = first.communicate(timeout=60)
    assert first.returncode == 0, message
    assert run("lists", "status").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_pull_asked_to_stop(
    run: Run, published: Path, root: Path, state: Path, number: signal.Signals, code: int
) -> None:
    """Though the server answers none of the downloads that are under way, and nobody would wait for it."""
    arrived, go_on = threading.Semaphore(0), threading.Event()

    def stuck(request: object) -> None:
        arrived.release()
        go_on.wait()

    with serving(published) as server:
        run("lists", "add", "national", server.url, "--root", root)
        server.answers[".npy"] = stuck
        command = [*COMMAND, "lists", "pull", "national"]
        with PREFORK.popen(command, env=environment(state), stderr=subprocess.PIPE, text=True) as process:
            for _ in range(AT_ONCE):
                assert arrived.acquire(timeout=120)
            process.send_signal(number)
            _, message = process.communicate(timeout=60)
        go_on.set()
        assert process.returncode == code, message
        assert "Traceback" not in message
        assert "Exception" not in message
        server.answers.clear()
        assert run("lists", "pull").code == 0


def test_a_full_disk(run: Run, url: str, root: Path, state: Path) -> None:
    run("lists", "add", "national", url, "--root", root)

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, resource.RLIM_INFINITY))

    ran = run("lists", "pull", preexec_fn=no_room)
    assert ran.code == 12
    assert "national" in ran.err
    assert run("lists", "status").code == 10
    assert run("lists", "pull").code == 0


def later(folder: Path, **how: int) -> dict[str, str]:
    """The environment of commands for which it is some time later."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import datetime\n"
        "class Later(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        f"        return super().now(tz) + datetime.timedelta(**{how})\n"
        "datetime.datetime = Later\n"
    )
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_a_server_blocked_for_a_week(
    run: Run, url: str, root: Path, published: Path, uploads: Path, tmp_path: Path
) -> None:
    run("lists", "add", "national", url, "--root", root)
    run("lists", "pull")
    published.rename(tmp_path / "away")
    week = later(tmp_path / "week", days=7)
    ran = run("lists", "pull", env=week)
    assert ran.code == 13
    assert "404" in ran.err
    ran = run("lists", "status", env=week)
    assert ran.code == 3
    assert "stale" in ran.out
    before = sorted(path.name for path in uploads.iterdir())
    ran = run("scan", uploads, "--report", "-", env=week)
    assert ran.code == 4
    assert ran.lines[0]["lists"][0]["state"] == "stale"
    assert shortcoming("list national is stale", "list", "national") in ran.lines[-1]["incomplete"]
    assert "stale" in ran.err
    (uploads / "listed.jpg").unlink()
    (uploads / "alike.jpg").unlink()
    assert run("scan", uploads, "--report", "-", env=week).code == 3
    assert sorted(path.name for path in uploads.iterdir()) == [name for name in before if name == "other.jpg"]


@pytest.mark.parametrize("days", [365, -365])
def test_a_clock_a_year_off(run: Run, url: str, root: Path, tmp_path: Path, days: int) -> None:
    run("lists", "add", "national", url, "--root", root)
    ran = run("lists", "pull", env=later(tmp_path / "year", days=days))
    assert ran.code == 10
    assert "Check this machine's clock" in ran.err
    assert run("lists", "pull").code == 0


def test_a_wrong_line_is_named_and_nothing_is_imported(run: Run, tmp_path: Path, local_list: str) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(f"id,algorithm,value,category\ngood,md5,{'0' * 32},A1\nbad,md5,zz,A1\n")
    ran = run("lists", "import", wrong, "--name", local_list)
    assert ran.code == 2
    assert "line 3" in ran.err
    assert "1 sha256" in run("lists", "status").out
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
    assert run("check", "--format", "json", uploads / "listed.jpg").lines[0]["verdict"] == "review"
    assert run("lists", "import", sums, *named, "A1").code == 0
    assert run("check", "--format", "json", uploads / "listed.jpg").lines[0]["verdict"] == "match"


def test_bare_digests_of_one_algorithm_or_recognized_by_length(
    run: Run, uploads: Path, tmp_path: Path
) -> None:
    listed = (uploads / "listed.jpg").read_bytes()
    file = tmp_path / "ours.txt"
    file.write_text(f"{hashlib.md5(listed).hexdigest()}\n{hashlib.sha256(listed).hexdigest()}\n")
    named = ("--name", "ours", "--format", "hashes", "--category", "A1")
    assert run("lists", "import", file, "--name", "ours", "--format", "hashes").code == 2
    ran = run("lists", "import", file, *named)
    assert (ran.code, f"{file}, line 2: " in ran.err) == (2, True), "sha256 or pdq"
    ran = run("lists", "import", file, *named, "--algorithm", "sha256")
    assert (ran.code, f"{file}, line 1: " in ran.err) == (2, True)
    assert run("lists", "status").code == 10, "nothing was imported"
    file.write_text(file.read_text().splitlines()[1])
    assert run("lists", "import", file, *named, "--algorithm", "sha256").code == 0
    (line,) = run("check", "--format", "json", uploads / "listed.jpg").lines
    assert (line["verdict"], line["matches"][0]["algorithm"]) == ("match", "sha256")
    file.write_text(f"{hashlib.sha1(listed).hexdigest()}\n")
    assert run("lists", "import", file, *named).code == 0
    (line,) = run("check", "--format", "json", uploads / "listed.jpg").lines
    assert (line["verdict"], line["matches"][0]["algorithm"]) == ("match", "sha1")
    named = ("--name", "ours", "--format", "checksums", "--category", "A1", "--algorithm", "sha1")
    assert run("lists", "import", file, *named).code == 2


def test_photodna_is_kept_compared_with_single_digests_and_not_scanned_for(
    run: Run, uploads: Path, tmp_path: Path
) -> None:
    file = tmp_path / "x.csv"
    both = [base64.b64encode(bytes((value,)) * 144).decode() for value in (80, 200)]
    edge = base64.b64encode(b"\7" * 924).decode()
    lines = [f"a,photodna,{'07' * 144},A1", *(f"b{n},photodna,{value},A1" for n, value in enumerate(both))]
    file.write_text("\n".join(["id,algorithm,value,category", *lines, f"e,photodna,{edge},A1", ""]))
    assert run("lists", "import", file, "--name", "x").code == 0
    status = run("lists", "status").out
    assert "3 photodna (waiting for a library)" in status
    (described,) = run("lists", "status", "x", "--format", "json").lines
    assert described["waiting"] == {"photodna": 3}
    assert "1 photodna_edge (not scanned for)" in status
    ran = run("scan", uploads, "--report", "-")
    assert ran.code == 0, ran.err
    assert "photodna" not in ran.lines[0]["algorithms"]
    # 8 and 9 steps in each of 144 bytes: squared, 9,216 and 11,664.
    for digit, found in (("0f", ["a"]), ("10", [])):
        (record,) = run("check", "--format", "json", f"photodna:{digit * 144}").lines
        encoded = base64.b64encode(bytes.fromhex(digit * 144)).decode()
        (again,) = run("check", "--format", "json", f"photodna:{encoded}").lines
        assert again["matches" if found else "verdict"] == record["matches" if found else "verdict"]
        assert [match["entry"] for match in record.get("matches", [])] == found
        assert record["verdict"] == ("review" if found else "clean")
    distances = tmp_path / "distances.toml"
    distances.write_text('[[photodna_distance]]\nlist = "x"\nreview = 11664\nmatch = 9216\n')
    for digit, verdict in (("0f", "match"), ("10", "review"), ("11", "clean")):
        named = ("check", "--format", "json", "--photodna-distance", distances)
        assert run(*named, f"photodna:{digit * 144}").lines[0]["verdict"] == verdict
    assert run("check", f"photodna:{'07' * 924}").code == 2
    assert run("check", f"photodna_edge:{'07' * 924}").code == 2
    exported = run("lists", "export", "x", "--format", "ndjson").lines
    assert {line["id"]: line["algorithm"] for line in exported}["e"] == "photodna_edge"


def test_vpdq_is_counted_and_scanned_for(run: Run, uploads: Path, tmp_path: Path) -> None:
    file = tmp_path / "videos.txt"
    file.write_text("".join(f"{25 * n},{50 + n},{n:064x},{n}.000\n" for n in (0, 1, 2, 0, 5)))
    named = ("--name", "videos", "--format", "vpdq", "--category", "A1")
    assert run("lists", "import", file, *named).code == 0
    assert "5 vpdq" in run("lists", "status").out
    ids = [line["id"].partition("@") for line in run("lists", "export", "videos", "--format", "ndjson").lines]
    assert sorted(place for _, _, place in ids) == ["0/2", "0/3", "125/2", "25/3", "50/3"]
    assert len({video for video, _, _ in ids}) == 2
    ran = run("scan", uploads, "--report", "-")
    assert ran.code == 0, ran.err
    assert "vpdq" in ran.lines[0]["algorithms"]
    ran = run("scan", uploads, "--no-videos", "--report", "-")
    assert "vpdq" not in ran.lines[0]["algorithms"]


def test_export(run: Run, local_list: str, tmp_path: Path) -> None:
    ran = run("lists", "export", local_list, "--format", "ndjson")
    assert ran.code == 0
    assert {line["id"] for line in ran.lines} == {"e-sha256", "e-pdq"}
    output = tmp_path / "out.hsb"
    ran = run("lists", "export", local_list, "--format", "hsb", "--output", output)
    assert ran.code == 0
    assert "1 entry skipped: pdq" in ran.err
    assert ":*:hashscan.ours.A1.e-sha256:73" in output.read_text()
    assert output.stat().st_mode & 0o777 == 0o600
    assert run("lists", "export", "none", "--format", "csv").code == 10
    assert run("lists", "export", local_list, "--format", "csv", "--output", tmp_path / "n" / "o").code == 12


def test_remove(run: Run, local_list: str) -> None:
    assert run("lists", "remove", local_list).code == 0
    assert run("lists", "remove", local_list).code == 2
    assert run("lists", "status").code == 10


@pytest.mark.parametrize(
    "settings",
    [
        'list = ["ours"]\n',
        '[scan]\nlist = ["demo", "ours"]\n',
        '[[policy]]\nlist = "ours"\naction = "report"\n',
        '[[policy]]\nlist = ["ours", "other"]\naction = "report"\n',
    ],
)
def test_a_list_that_the_settings_name_is_removed_by_force_only(
    run: Run, tmp_path: Path, local_list: str, settings: str
) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text(settings)
    ran = run("--config", file, "lists", "remove", local_list)
    assert ran.code == 2
    line = next(n for n, text in enumerate(settings.splitlines(), 1) if "list" in text or "policy" in text)
    assert f"{file}, line {line}" in ran.err
    assert run("lists", "status", local_list).code == 0
    assert run("--config", file, "lists", "remove", local_list, "--force").code == 0
    assert run("--config", file, "lists", "remove", local_list).code == 2
    assert "--force" not in run("--config", file, "lists", "remove", local_list).err


def test_other_settings_and_the_variable(run: Run, tmp_path: Path, local_list: str) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text('[scan]\nlist = ["oursandmore"]\nbaseline = "ours"\n[reporter]\norganisation = "ours"\n')
    ran = run("--config", file, "lists", "remove", local_list, env={"HASHSCAN_LIST": "demo ours"})
    assert ran.code == 2
    assert "HASHSCAN_LIST" in ran.err
    assert "line" not in ran.err
    assert run("--config", file, "lists", "remove", local_list).code == 0


def test_a_list_of_a_scan_that_was_killed(run: Run, state: Path, uploads: Path, local_list: str) -> None:
    """Its findings stay open, as nothing says that the files are gone or harmless."""
    assert run("scan", uploads, "--list", local_list).code == 1
    with closing(sqlite3.connect(state / "scans" / "state.sqlite")) as database, database:
        # As a scan leaves it that was killed at its end.
        database.execute("UPDATE scans SET ended=NULL, exit_code=NULL")
    ran = run("lists", "remove", local_list)
    assert ran.code == 0
    assert "stopped before its end" in ran.err
    run("scan", uploads, "--list", "demo")
    opened = run("cases", "list", "--format", "json").lines
    assert len(opened) == 2


def test_demo_can_be_looked_at(run: Run) -> None:
    ran = run("lists", "status", "demo")
    assert ran.code == 0
    assert "fresh" in ran.out


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
    assert "all 6 entries are valid" in ran.out
    (column,) = state.glob("lists/national/versions/*/columns/base.sha256.value.npy")
    data = column.read_bytes()
    column.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert run("check", "--format", "json", "00" * 32).code == 0
    ran = run("lists", "verify", "national")
    assert ran.code == 10
    assert "damaged" in ran.out
    assert run("lists", "status").code == 10
