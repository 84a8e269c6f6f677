"""The policy table, from the settings file to reports, unread files and the quarantine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hashscan.model import Entry
from tests.cli.conftest import Ran, Run, runner
from tests.cli.later import days_later
from tests.cli.published import DAYS, publish, pull

TERMS = ("--retain-min", "90d", "--destroy-by", "365d")
BAD, WORSE = b"accused", b"accused by two"


def entry(name: str, content: bytes, category: str = "A1") -> Entry:
    return Entry(name, "sha256", hashlib.sha256(content).digest(), category)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A tree of two customers."""
    tree = tmp_path / "srv"
    for customer in ("ann", "bob"):
        (tree / customer).mkdir(parents=True)
        (tree / customer / "bad").write_bytes(BAD)
        (tree / customer / "good").write_bytes(b"innocent " + customer.encode())
    return tree


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a fresh, signed list of what is bad."""
    made = tmp_path_factory.mktemp("pulled")
    run = runner(made / "state")
    publish(run, made / "national", [entry("n-1", BAD), entry("n-2", WORSE)])
    pull(run, made / "national")
    return made / "state"


@pytest.fixture
def national(pulled: Path, state: Path) -> None:
    """This list."""
    shutil.copytree(pulled, state, symlinks=True)


def imported(run: Run, tmp_path: Path, name: str, *entries: Entry) -> None:
    lines = [f"{e.id},{e.algorithm},{e.value.hex()},{e.category}" for e in entries]
    (tmp_path / f"{name}.csv").write_text("\n".join(["id,algorithm,value,category", *lines]))
    assert run("lists", "import", tmp_path / f"{name}.csv", "--name", name).code == 0


def policy(tmp_path: Path, text: str, name: str = "policy.toml") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def reported(ran: Ran) -> dict[str, tuple[str, str]]:
    """Verdict and action by the end of the path, as a scan wrote them to standard output."""
    assert ran.lines, ran.err
    return {
        "/".join(Path(line["path"]).parts[-2:]): (line["verdict"], line["action"])
        for line in ran.lines
        if line["type"] == "finding"
    }


def because(ran: Ran) -> set[str]:
    return {line["because"].partition("; ")[2] for line in ran.lines if line["type"] == "finding"}


def test_by_default_all_is_reported(run: Run, files: Path, national: str) -> None:
    ran = run("scan", files, "--report", "-")
    assert reported(ran) == dict.fromkeys(("ann/bad", "bob/bad"), ("match", "report"))
    assert "policy" not in ran.lines[0]


def test_a_changed_table_changes_the_verdicts_of_unread_files(
    run: Run, files: Path, national: None, tmp_path: Path, age: Any
) -> None:
    """Kept digests give what reading again would, whatever the table says."""
    age()
    assert run("scan", files, "--report", tmp_path / "first.jsonl").code == 1
    age()
    rules = f"""
[[policy]]
path = "{files}/ann/"
action = "held"
reason = "a test account of ours"

[[policy]]
list = "national"
owner = {os.geteuid()}
action = "quarantine"

[[policy]]
path = "{files}/bob/"
action = "review"
"""
    config = policy(tmp_path, rules, "hashscan.toml")
    expected = {"ann/bad": ("held", "held"), "bob/bad": ("match", "quarantine")}
    ran = run("--config", config, "scan", files, "--report", "-")
    assert (ran.lines[-1]["unchanged"], ran.code) == (4, 1), ran.lines[-1]
    assert reported(ran) == expected
    assert because(ran) == {"rule 1: held (a test account of ours)", "rule 2: quarantine"}
    (withheld,) = {m.get("withheld") for line in ran.lines[1:-1] for m in line["matches"]} - {None}
    assert withheld == "rule 1: held (a test account of ours)"
    assert ran.lines[0]["policy"]["number"] == 3
    # As do a scan that reads all, and `check`.
    os.makedirs(tmp_path / "fresh")
    os.symlink(tmp_path / "state" / "lists", tmp_path / "fresh" / "lists")
    fresh = {"HASHSCAN_STATE": str(tmp_path / "fresh")}
    read = run("--config", config, "scan", files, "--report", "-", env=fresh)
    assert (reported(read), because(read)) == (expected, because(ran))
    ran = run(
        *("--config", config, "check", "--format", "json"),
        *(files / "ann" / "bad", files / "bob" / "bad", files / "bob" / "good"),
    )
    assert (reported(ran), ran.code) == (expected, 1)
    # Whose a file is, is not known where nobody looks at it.
    ran = run("--config", config, "scan", "--known", files, "--report", "-")
    assert reported(ran) == {"ann/bad": ("held", "held"), "bob/bad": ("review", "review")}
    assert "rule 2 asks for its owner, which is not known; rule 3: review" in because(ran)
    # And the next scan, without a table, only reports again.
    assert reported(run("scan", files, "--report", "-")) == dict.fromkeys(expected, ("match", "report"))


def test_a_digest_is_of_no_file(run: Run, national: None, tmp_path: Path) -> None:
    file = policy(tmp_path, '[[policy]]\npath = "/srv/"\nlist = ["national", "natoinal"]\naction = "held"\n')
    ran = run("check", "--format", "json", f"sha256:{hashlib.sha256(BAD).hexdigest()}", "--policy", file)
    (line,) = ran.lines
    assert (line["verdict"], line["action"]) == ("match", "report")
    assert line["because"].endswith("rule 1 asks for its path, which is not known; no rule fits")
    message = "policy rule 1 names the list natoinal, which is not used"
    assert message in ran.err
    for command in (("scan", tmp_path / "policy.toml"), ("scan", "--known")):
        assert message in run(*command, "--policy", file).err


def test_only_fresh_signed_lists_move_anything_by_themselves(
    run: Run, files: Path, national: None, tmp_path: Path
) -> None:
    (files / "ann" / "worse").write_bytes(WORSE)
    (files / "ann" / "own").write_bytes(b"own")
    (files / "ann" / "test").write_bytes(b"test")
    imported(run, tmp_path, "ours", entry("o-1", WORSE), entry("o-2", b"own"), entry("o-3", b"test", "test"))
    move = policy(tmp_path, '[[policy]]\naction = "quarantine"\n')
    fresh = dict.fromkeys(("ann/bad", "bob/bad", "ann/worse"), ("match", "quarantine"))
    weak = dict.fromkeys(("ann/own", "ann/test"), ("match", "report"))
    ran = run("scan", files, "--report", "-", "--policy", move)
    assert reported(ran) == fresh | weak
    assert "rule 1: quarantine; but a local list is not enough to move a file" in because(ran)
    ran = run("scan", files, "--report", "-", "--policy", move, "--act-on", "local")
    assert reported(ran) == fresh | weak | {"ann/own": ("match", "quarantine")}
    assert "rule 1: quarantine; but a test entry is not enough to move a file" in because(ran)
    both = '[quarantine]\nact-on = ["local", "test"]\n[[policy]]\naction = "quarantine"\n'
    config = policy(tmp_path, both, "hashscan.toml")
    ran = run("--config", config, "scan", files, "--report", "-")
    assert set(reported(ran).values()) == {("match", "quarantine")}
    assert ran.lines[0]["policy"]["act_on"] == ["local", "test"]
    # Past its expiry the signed list isn't what it was.
    later = days_later(tmp_path / "later", DAYS)
    ran = run("scan", files, "--report", "-", "--policy", move, env=later)
    assert set(reported(ran).values()) == {("match", "report")}
    assert "rule 1: quarantine; but a list past its expiry is not enough to move a file" in because(ran)
    ran = run("scan", files, "--report", "-", "--policy", move, "--act-on", "stale", env=later)
    assert reported(ran) == fresh | weak


def test_add_moves_for_whom_it_is_asked_to(run: Run, files: Path, national: None, tmp_path: Path) -> None:
    (files / "ann" / "own").write_bytes(b"own")
    imported(run, tmp_path, "ours", entry("o-2", b"own"))
    held = policy(tmp_path, f'[[policy]]\npath = "{files}/bob/"\naction = "held"\n')
    report = tmp_path / "found.jsonl"
    assert run("scan", files, "--report", report, "--policy", held).code == 1
    ran = run("quarantine", "add", report, *TERMS)
    assert ran.code == 0, ran.err
    assert "1 match stays: a local list is not enough to move a file without --act-on local" in ran.err
    assert sorted(os.listdir(files / "ann")) == ["good", "own"]
    ran = run("quarantine", "add", report, *TERMS, "--act-on", "local")
    assert "stays" not in ran.err
    assert sorted(os.listdir(files / "ann")) == ["good"]
    # What policy holds is not moved at all.
    assert sorted(os.listdir(files / "bob")) == ["bad", "good"]


def test_what_was_put_back_is_held_until_another_entry_accuses_it(
    run: Run, files: Path, national: None, tmp_path: Path, age: Any
) -> None:
    report, move = tmp_path / "found.jsonl", policy(tmp_path, '[[policy]]\naction = "quarantine"\n')
    (files / "bob" / "bad").unlink()
    age()
    assert run("scan", files, "--report", report).code == 1
    assert run("quarantine", "add", report, *TERMS).code == 0
    assert run("quarantine", "restore", "--all", env={"SUDO_USER": "alice"}).code == 0
    (files / "bob" / "copy").write_bytes(BAD)
    held = {"ann/bad": ("held", "held"), "bob/copy": ("held", "held")}
    for unread in (1, 4):
        # The second time nothing is read.
        age()
        ran = run("scan", files, "--report", report, "--policy", move, "--quarantine", *TERMS)
        assert ran.code == 0, ran.err
        records = [json.loads(line) for line in report.read_text().splitlines()]
        assert records[-1]["unchanged"] >= unread
        found = [record for record in records if record["type"] == "finding"]
        assert {r["verdict"] for r in found} == {"held"}
        assert all("but its content was put back on 20" in r["because"] for r in found)
        assert all(r["because"].endswith(" by alice") for r in found)
    assert run("quarantine", "add", report, *TERMS).out == ""
    for command in (
        ("scan", "--known", files, "--report", "-"),
        ("check", "--format", "json", files / "ann" / "bad"),
    ):
        ran = run(*command, "--policy", move)
        assert reported(ran).items() <= held.items()
        assert "ann/bad" in reported(ran)
    (line,) = run("check", "--format", "json", f"sha256:{hashlib.sha256(BAD).hexdigest()}").lines
    assert line["verdict"] == "held"
    imported(run, tmp_path, "second", entry("s-1", BAD))
    moving = ("--policy", move, "--act-on", "local", "--quarantine", *TERMS)
    ran = run("scan", files, "--report", "-", *moving)
    assert reported(ran) == dict.fromkeys(held, ("match", "quarantine"))
    assert all(line["because"].startswith("sha256 equal: entry s-1") for line in ran.lines[1:-1])
    assert sorted(files.glob("*/*")) == [files / "ann" / "good", files / "bob" / "good"]


def test_a_scan_moves_what_rules_allow_and_nothing_else(
    run: Run, files: Path, national: None, tmp_path: Path
) -> None:
    rules = policy(tmp_path, f'[[policy]]\naction = "quarantine"\npath = "{files}/ann/"\n')
    ran = run("scan", files, "--report", "-", "--policy", rules, "--quarantine", *TERMS)
    assert ran.code == 1, ran.err
    assert reported(ran) == {"ann/bad": ("match", "quarantine"), "bob/bad": ("match", "report")}
    assert because(ran) == {"rule 1: quarantine", "no rule fits"}
    assert (os.listdir(files / "ann"), sorted(os.listdir(files / "bob"))) == (["good"], ["bad", "good"])
    assert ran.lines[-1]["quarantine"]["moved"] == 1


def test_a_theme_picture_that_is_known_good_is_held_everywhere(
    run: Run, national: None, tmp_path: Path
) -> None:
    """A list that accuses what 300 customers have accuses nobody once a signed list says that it is good."""
    tree = tmp_path / "www"
    for number in range(300):
        (tree / f"customer{number}" / "theme").mkdir(parents=True)
        path = tree / f"customer{number}" / "theme" / "header.jpg"
        path.write_bytes(BAD)
        if os.geteuid() == 0:
            os.chown(path, 20_000 + number, 20_000 + number)
    (tree / "customer7" / "upload").write_bytes(WORSE)
    publish(run, tmp_path / "themes", [entry("wordpress-1", BAD, "known-good")])
    pull(run, tmp_path / "themes")
    move = policy(tmp_path, '[[policy]]\naction = "quarantine"\n')
    report = tmp_path / "found.jsonl"
    ran = run("scan", tree, "--report", report, "--policy", move)
    assert ran.code == 1, ran.err
    found = [r for r in map(json.loads, report.read_text().splitlines()) if r["type"] == "finding"]
    themes = [r for r in found if r["path"].endswith("header.jpg")]
    assert len(themes) == 300
    assert {(r["verdict"], r["action"]) for r in themes} == {("held", "held")}
    assert all("its content is known to be good" in r["because"] for r in themes)
    ran = run("quarantine", "add", report, *TERMS)
    assert ran.code == 0, ran.err
    assert [line.partition("\t")[2] for line in ran.out.splitlines()] == [f"{tree}/customer7/upload"]
    assert len(list(tree.glob("*/theme/header.jpg"))) == 300


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[policy]]\ncategory = "A9"\naction = "held"\n', "policy rule 1, key 'category': 'A9'"),
        ('[[policy]]\naction = "held"\n[[policy]]\naction = "shred"\n', "policy rule 2, key 'action'"),
        ("[policy]\naction = 'held'\n", "[[policy]]"),
        ("policy = 3\n", "`policy` is no table of rules"),
    ],
)
def test_bad_tables_are_refused_before_anything_is_scanned(
    run: Run, files: Path, tmp_path: Path, state: Path, text: str, named: str
) -> None:
    file = policy(tmp_path, text)
    for command in (("--config", file, "scan", files), ("scan", files, "--policy", file)):
        ran = run(*command)
        assert ran.code == 2, ran.err
        assert str(file) in ran.err
        assert named in ran.err
        assert ran.out == ""
    assert run("check", "--format", "json", files / "ann" / "bad", "--policy", file).code == 2
    assert not state.exists()


def test_a_file_that_holds_no_policy(run: Run, files: Path, tmp_path: Path) -> None:
    for text, named in (("", "[[policy]]"), ("workers = 2\n", "'workers'")):
        ran = run("scan", files, "--policy", policy(tmp_path, text))
        assert (ran.code, named in ran.err) == (2, True), ran.err
    ran = run("scan", files, "--policy", tmp_path / "none.toml")
    assert (ran.code, "there is no settings file" in ran.err) == (2, True)


def test_shards_of_different_policies_are_no_scan(
    run: Run, files: Path, national: None, tmp_path: Path
) -> None:
    held = policy(tmp_path, '[[policy]]\naction = "held"\n')
    reports = [tmp_path / f"{number}.jsonl" for number in (1, 2)]
    for number, report in enumerate(reports, start=1):
        run("scan", files, "--shard", f"{number}/2", "--report", report, "--policy", held)
    merged = tmp_path / "merged.jsonl"
    ran = run("report", "merge", *reports, "--output", merged)
    assert ran.code == 0, ran.err
    records = [json.loads(line) for line in merged.read_text().splitlines()]
    assert records[0]["policy"]["rules"] == [{"number": 1, "action": "held"}]
    assert {r["verdict"] for r in records if r["type"] == "finding"} == {"held"}
    run("scan", files, "--shard", "2/2", "--report", reports[1])
    ran = run("report", "merge", *reports, "--output", tmp_path / "other.jsonl")
    assert (ran.code, "followed another policy" in ran.err) == (2, True), ran.err
