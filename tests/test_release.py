"""A release: what stops it, its checksums and signatures, and the commands of docs/verify.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from tools import release

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```sh\n(.*?)\n```", (ROOT / "docs/verify.md").read_text(), re.DOTALL)
BY_GPG, BY_MINISIGN, SUMS, LIBRARIES, BUILD = BLOCKS
NAME = "hashscan-0.1.0.tar.gz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a release, with its checksums."""
    made = tmp_path / "dist"
    made.mkdir()
    (made / NAME).write_bytes(b"source")
    (made / "hashscan-0.1.0-py3-none-any.whl").write_bytes(b"wheel")
    release.write_sums(made)
    return made


def run(block: str, folder: Path, env: Mapping[str, str]) -> int:
    """Run a block of the page, and return its exit code."""
    command = ("sh", "-ec", block)
    done = subprocess.run(
        command, cwd=folder, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, check=False
    )
    return done.returncode


def spoil(file: Path) -> None:
    """Change a byte of a file."""
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_gpg_verifies_what_a_throw_away_key_signed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for home in (theirs, ours):
        home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(ours))
    gpg = ("gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback")
    name = "test@hashscan.example"
    try:
        subprocess.run([*gpg, "--quick-gen-key", name, "ed25519", "sign", "1d"], check=True)
        release.sign(folder / release.SUMS, gpg=name)
        key = subprocess.run([*gpg, "--armor", "--export", name], capture_output=True, check=True)
        # A verifier who has another key, or none.
        assert run(BY_GPG.splitlines()[1], folder, {"GNUPGHOME": str(theirs)}) != 0
        (folder / "hashscan-release-key.asc").write_bytes(key.stdout)
        assert run(BY_GPG, folder, {"GNUPGHOME": str(theirs)}) == 0
        spoil(folder / release.SUMS)
        assert run(BY_GPG, folder, {"GNUPGHOME": str(theirs)}) != 0
    finally:
        for home in (theirs, ours):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
def test_minisign_verifies_what_a_throw_away_key_signed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    made = ("minisign", "-G", "-W", "-p", folder / "hashscan-release-key.pub", "-s", secret)
    subprocess.run(made, check=True, capture_output=True)
    release.sign(folder / release.SUMS, minisign=secret)
    assert run(BY_MINISIGN, folder, {}) == 0
    spoil(folder / release.SUMS)
    assert run(BY_MINISIGN, folder, {}) != 0


def test_checksums_are_of_each_file_and_a_changed_file_is_found(folder: Path) -> None:
    assert run(SUMS, folder, {}) == 0
    assert len((folder / release.SUMS).read_text().splitlines()) == 2
    (folder / "hashscan-0.1.0-py3-none-any.whl").unlink()
    assert run(SUMS, folder, {}) == 0, "those that are there"
    spoil(folder / NAME)
    assert run(SUMS, folder, {}) != 0


def test_ci_runs_the_other_commands_of_the_page() -> None:
    ci = (ROOT / ".ci/run").read_text()
    assert "blocks == 4" in ci
    assert BLOCKS[3] == LIBRARIES
    (made,) = re.findall(r"release/bin/python -m tools.release dist (.*)", BUILD)
    assert made in ci


LIBRARY = {"name": "lib", "version": "1"}
VULNERABLE = {**LIBRARY, "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}]}


def test_a_vulnerability_stops_a_release_unless_it_is_excepted() -> None:
    answer = {"dependencies": [{**LIBRARY, "vulns": []}, VULNERABLE]}
    assert len(release.findings(answer, frozenset())) == 1
    assert release.findings(answer, frozenset({"PYSEC-1"})) == []
    assert release.findings(answer, frozenset({"CVE-1"})) == []
    assert len(release.findings(answer, frozenset({"CVE-2"}))) == 1


def test_libraries_that_nobody_audited_stop_a_release() -> None:
    """pip-audit itself ends with 0."""
    answer = {"dependencies": [{"name": "lib", "skip_reason": "not found"}]}
    assert len(release.findings(answer, frozenset())) == 1


@pytest.mark.parametrize("said", ["", "no json"])
def test_an_audit_that_fails_stops_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SystemExit, match="pip-audit failed"):
        release.audit()


def test_exceptions_have_a_reason_and_end(tmp_path: Path) -> None:
    today = date(2027, 1, 31)
    file = tmp_path / "exceptions.toml"
    whole = '[[exception]]\nid = "CVE-1"\nreason = "not called"\nuntil = 2027-01-31\n'
    file.write_text(whole)
    assert release.read_exceptions(file, today) == {"CVE-1"}
    for line in whole.splitlines()[1:]:
        file.write_text(whole.replace(line, ""))
        with pytest.raises(SystemExit, match="an exception needs"):
            release.read_exceptions(file, today)
    file.write_text(whole.replace("01-31", "01-30"))
    with pytest.raises(SystemExit, match="examine it again"):
        release.read_exceptions(file, today)
    release.read_exceptions(release.EXCEPTIONS, today)


def test_two_builds_that_differ_stop_a_release(folder: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    release.compare(folder, again)
    spoil(again / NAME)
    with pytest.raises(SystemExit, match=NAME):
        release.compare(folder, again)
    (again / NAME).unlink()
    with pytest.raises(SystemExit, match=NAME):
        release.compare(folder, again)


def bill() -> dict[str, object]:
    """Return a bill of materials with one library as the lock has it."""
    found = re.search(r"^tuf==(\S+).*?sha256:(\w+)", release.LOCK.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    version, content = found.groups()
    sources = [{"hashes": [{"alg": "SHA-256", "content": content}]}]
    return {"components": [{"name": "tuf", "version": version, "externalReferences": sources}]}


def test_a_bill_of_materials_agrees_with_the_lock() -> None:
    release.check_bill(bill(), ["tuf>=7"])
    with pytest.raises(SystemExit, match="lacks pillow"):
        release.check_bill(bill(), ["tuf>=7", "pillow>=12"])
    for old, new in (
        ('"version": "', '"version": "9'),
        ('"content": "', '"content": "0'),
        ('"tuf"', '"other"'),
    ):
        with pytest.raises(SystemExit, match="which is not in"):
            release.check_bill(json.loads(json.dumps(bill()).replace(old, new)), [])


def test_a_folder_that_exists_is_left_alone(folder: Path) -> None:
    with pytest.raises(SystemExit, match="name a new folder"):
        release.main([str(folder), "--without-audit"])
    assert (folder / NAME).read_bytes() == b"source"
