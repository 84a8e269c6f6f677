"""Reports for authorities, by the real commands: where digests come from, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

SETTINGS = """
[reporter]
organisation = "Example Hosting"
email = "abuse@hoster.example"

[[site]]
url = "https://shop.example/"
path = "{folder}/"
"""


@pytest.fixture
def config(tmp_path: Path, uploads: Path) -> dict[str, str]:
    path = tmp_path / "hashscan.toml"
    path.write_text(SETTINGS.format(folder=uploads))
    return {"HASHSCAN_CONFIG": str(path)}


def digests_of(path: Path) -> dict[str, str]:
    return {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("md5", "sha1", "sha256")}


def by_name(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {os.path.basename(line["url"]): line for line in lines}


def test_digests_come_from_the_state(
    run: Run, local_list: str, uploads: Path, tmp_path: Path, config: dict[str, str]
) -> None:
    report, made = tmp_path / "r.jsonl", tmp_path / "made.xarf.jsonl"
    first = run(
        "scan", uploads, "--list", local_list, "--report", report, "--report", f"xarf={made}", env=config
    )
    assert first.code == 1, first.err
    assert '"digests":' not in report.read_text()
    found = by_name([json.loads(line) for line in made.read_text().splitlines()])
    assert set(found) == {"listed.jpg", "alike.jpg"}
    for name, document in found.items():
        assert document["hash_values"] == digests_of(uploads / name)
        assert document["url"] == f"https://shop.example/{name}"
    baseline = tmp_path / "baseline.json"
    accept = ("report", "accept", report, "--reason", "x", "--until", "2099-01-01", "--output", baseline)
    assert run(*accept, "--state", tmp_path / "none").code == 2
    assert run(*accept).code == 0
    for name in found:
        assert digests_of(uploads / name)["sha256"] in baseline.read_text()
    again = run("report", "convert", report, "--format", "xarf", env=config)
    assert (again.code, again.out) == (0, made.read_text())
    archive = tmp_path / "drafts.tar"
    assert run("report", "convert", report, "--format", "ncmec", "--output", archive, env=config).code == 0
    with tarfile.open(archive) as tar:
        assert [name for name in tar.getnames() if "/files/" in name] == [
            "000001/files/000001.xml",
            "000001/files/000002.xml",
        ]


def test_digests_are_those_of_what_the_report_names(
    run: Run, local_list: str, uploads: Path, tmp_path: Path, config: dict[str, str]
) -> None:
    first, second, third = (tmp_path / f"{number}.jsonl" for number in (1, 2, 3))
    listed = digests_of(uploads / "listed.jpg")
    scan = ("scan", uploads, "--list", local_list, "--accept-shrink", "--report")
    run(*scan, first)
    (uploads / "alike.jpg").write_bytes((uploads / "listed.jpg").read_bytes())
    run(*scan, second)
    (uploads / "listed.jpg").unlink()
    run(*scan, third)
    assert run("state", "vacuum").code == 0
    ran = run("report", "convert", second, "--format", "xarf", env=config)
    assert ran.code == 0, ran.err
    found = by_name(ran.lines)
    assert found["alike.jpg"]["hash_values"] == listed
    assert found["listed.jpg"]["hash_values"]["sha256"] == listed["sha256"], "though it is gone"
    ran = run("report", "convert", first, "--format", "xarf", env=config)
    assert (ran.code, ran.out) == (2, "")
    assert "1 of 2 findings have no digests" in ran.err, "there was another file under the name"


def test_without_digests_and_without_a_state(
    run: Run, local_list: str, uploads: Path, tmp_path: Path, config: dict[str, str]
) -> None:
    report, output = tmp_path / "r.jsonl", tmp_path / "out"
    run("scan", uploads, "--list", local_list, "--report", report)
    ran = run(
        "report", "convert", report, "--format", "ncmec", "--output", output, "--state", tmp_path / "none",
        env=config,
    )  # fmt: skip
    assert ran.code == 2
    assert "2 of 2 findings have no digests" in ran.err
    assert "--with-digests" in ran.err
    assert not output.exists()
    run("scan", uploads, "--list", local_list, "--report", report, "--with-digests")
    ran = run("report", "convert", report, "--format", "xarf", "--state", tmp_path / "none", env=config)
    assert ran.code == 0
    assert by_name(ran.lines)["alike.jpg"]["hash_values"] == digests_of(uploads / "alike.jpg")


def test_a_scan_is_not_begun_for_nothing(
    run: Run, local_list: str, uploads: Path, tmp_path: Path, config: dict[str, str]
) -> None:
    made = tmp_path / "made"
    ran = run("scan", uploads, "--list", local_list, "--report", f"xarf={made}")
    assert ran.code == 2
    assert "[reporter]" in ran.err
    ran = run("scan", uploads, "--list", "demo", "--no-state", "--report", f"xarf={made}", env=config)
    assert ran.code == 2
    assert "--with-digests" in ran.err
    assert not made.exists()


def test_what_is_left_out_is_reported(
    run: Run, uploads: Path, tmp_path: Path, config: dict[str, str]
) -> None:
    table = tmp_path / "table.csv"
    sha256 = digests_of(uploads / "other.jpg")["sha256"]
    table.write_text(f"id,algorithm,value,category\nx,sha256,{sha256},test\n")
    run("lists", "import", table, "--name", "trial")
    report = tmp_path / "r.jsonl"
    run("scan", uploads, "--list", "trial", "--report", report)
    ran = run("report", "convert", report, "--format", "xarf", env=config)
    assert (ran.code, ran.out) == (0, "")
    assert "left out: 1 findings by test entries" in ran.err
