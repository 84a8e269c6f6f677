"""Customers of files, from the settings to reports, the terminal and converted reports."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def homes(uploads: Path, tmp_path: Path) -> Path:
    """Two customers with a listed picture, and one lies beside them."""
    tree = tmp_path / "srv"
    for customer in ("alice", "bob"):
        (tree / customer / "www").mkdir(parents=True)
        shutil.copyfile(uploads / "listed.jpg", tree / customer / "www" / "a b.jpg")
    shutil.copyfile(uploads / "listed.jpg", tree / "lost.jpg")
    return tree


@pytest.fixture
def settings(homes: Path, tmp_path: Path) -> Path:
    file = tmp_path / "hashscan.toml"
    file.write_text(
        f"""
        customers = ["cpanel"]

        [[customer]]
        path = "{homes}/{{customer}}/"

        [[site]]
        url = "https://{{customer}}.example/"
        path = "{homes}/{{customer}}/www"

        [reporter]
        organisation = "Example Hosting"
        email = "abuse@example.org"
        """
    )
    return file


def test_findings_say_whose_they_are(
    run: Run, homes: Path, settings: Path, local_list: str, state: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    ran = run("--config", settings, "scan", homes, "--report", report, "--report", "-")
    assert ran.code == 1
    with closing(sqlite3.connect(state / "scans" / "state.sqlite")) as database:
        kept = database.execute("SELECT customer FROM findings ORDER BY path").fetchall()
    assert kept == [("alice",), ("bob",), ("",)]
    expected = {"alice/www/a b.jpg": "alice", "bob/www/a b.jpg": "bob", "lost.jpg": None}
    for lines in (ran.lines, run("--config", settings, "scan", "--known", "--report", "-").lines):
        found = {
            str(Path(line["path"]).relative_to(homes)): line.get("customer")
            for line in lines
            if line["type"] == "finding"
        }
        assert found == expected
    assert "findings by customer" in ran.err
    assert "(no customer)" in ran.err
    digest = hashlib.sha256((homes / "lost.jpg").read_bytes()).hexdigest()
    looked = run("--config", settings, "lookup", digest).out
    assert sorted(line.rpartition("\t")[2] for line in looked.splitlines()) == [
        f"{homes}/lost.jpg", "alice", "bob"
    ]  # fmt: skip
    table = run("report", "convert", report, "--format", "csv").out
    assert "alice" in table
    merged = run("report", "merge", report, "--output", "-")
    assert {line.get("customer") for line in merged.lines if line["type"] == "finding"} == {
        "alice",
        "bob",
        None,
    }


def test_without_rules_nothing_is_said_of_customers(run: Run, homes: Path, local_list: str) -> None:
    ran = run("scan", homes, "--report", "-")
    assert "customer" not in ran.out
    assert "customer" not in ran.err


def test_rules_are_tried(run: Run, homes: Path, settings: Path) -> None:
    hostile = b"/home/\x1b[31m\xff\n/a"
    web = "https://bob.example/a%20b.jpg"
    ran = run(
        "--config",
        settings,
        "customers",
        "--format",
        "json",
        homes / "bob/www/a b.jpg",
        web,
        os.fsdecode(hostile),
    )
    assert ran.code == 0
    assert [(line["customer"], line["path"], line.get("url")) for line in ran.lines] == [
        ("bob", f"{homes}/bob/www/a b.jpg", web),
        ("bob", f"{homes}/bob/www/a b.jpg", web),
        ("\x1b[31m\\xff\n", "/home/\x1b[31m\ufffd\n/a", None),
    ]
    shown = run("--config", settings, "customers", os.fsdecode(hostile), "https://nobody.org/", "s3://a/b")
    assert shown.code == 3
    assert "\x1b" not in shown.out
    assert [line.split("\t")[:2] for line in shown.out.splitlines()] == [
        ["\\x1b[31m\\xff\\x0a", "layout cpanel"],
        ["-", "no rule"],
        ["-", "no rule"],
    ]


def test_a_file_counts_by_its_user(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    me = pwd.getpwuid(os.getuid()).pw_name
    rules.write_text(f"[[customer]]\nowner = [{os.getuid()}]\n")
    assert run("customers", "--customer", rules, rules).out.startswith(f"{me}\tcustomer rule 1\t")
    assert run("customers", "--customer", rules, "/no/such/file").code == 3


def test_rules_and_layouts_are_shown(run: Run, settings: Path) -> None:
    ran = run("--config", settings, "customers")
    assert ran.code == 0
    for message in ("customer rule 1", "layout cpanel", "https://{customer}.example/", "directadmin"):
        assert message in ran.out
    assert "there are no rules for customers" in run("customers").err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[customer]]\npth = '/a/'", "no key 'pth'"),
        ("[customer]\npath = '/a/'", "[[customer]]"),
        ("[[site]]\nurl = 'https://a.example/'", "'path' is missing"),
        ("[reporter]\norganisation = 'x'", "'email' is missing"),
        ("[[reporter]]\norganisation = 'x'", "[reporter]"),
        ("customers = ['cpannel']", "cpannel"),
    ],
)
def test_what_is_wrong_is_reported(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "hashscan.toml").write_text(text)
    ran = run("--config", tmp_path / "hashscan.toml", "scan", tmp_path, "--no-state")
    assert ran.code == 2
    assert message in ran.err


def test_a_file_of_rules_holds_nothing_else(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[site]]\nurl = 'https://a.example/'\npath = '/a'\n")
    assert "'site' does not belong there" in run("customers", "--customer", rules).err
    rules.write_text("")
    assert "contains no site" in run("customers", "--site", rules).err
