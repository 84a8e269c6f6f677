"""hashscan without its parts in C: it works, and says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hashscan import c_parts
from hashscan.cli.main import cli
from hashscan.state.store import profile
from tests.pictures import encoded, scene
from tests.state.findings.test_findings import SETUP

ROOT = Path(c_parts.__file__).parent.parent
LINE = "apt-get install gcc libc6-dev python3-dev"

pytestmark = pytest.mark.integration


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return the folder of an environment that has the package as it is without a compiler."""
    folder = tmp_path / "bare"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in ("hashscan", "hashlists", "benchmarks"):
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("*.so"))
    # Files of paths in there are not read: one may name the package of the tests.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


def run(python: Path | str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", *words]
    return subprocess.run(
        command, cwd=Path(python).parent, capture_output=True, text=True, timeout=60, check=False
    )


def test_all_parts_are_built_or_none() -> None:
    sources = [path.with_suffix(".abi3.so") for path in (ROOT / "hashscan").rglob("_*.c")]
    assert {path.exists() for path in sources} <= {c_parts.BUILT}


@pytest.mark.slow
@pytest.mark.skipif(not c_parts.BUILT, reason="the parts in C are not built")
def test_a_scan_says_so(bare: Path, tmp_path: Path) -> None:
    files, report = tmp_path / "www", tmp_path / "report.jsonl"
    files.mkdir()
    (files / "photo.jpg").write_bytes(encoded(scene(1)))
    for python, lines in ((bare / "bin" / "python", 1), (sys.executable, 0)):
        ran = run(python, "hashscan", "scan", "--list", "demo", "--no-state", "--report", report, files)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.count(LINE) == lines
        summary = json.loads(report.read_text(encoding="utf-8").splitlines()[-1])
        assert summary.get("without_c", False) is bool(lines)
        assert summary["verdicts"]["undecoded"] == lines


def test_what_was_undecoded_is_read_again_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a JPEG that was cached without them would stay undecoded."""
    extras = []
    for built in (False, True):
        monkeypatch.setattr(profile, "BUILT", built)
        extras.append(profile.profile_of(SETUP).extras)
    assert extras[0] != extras[1]


def test_the_commands_that_hash_warn() -> None:
    def warning(command: click.Command, *words: str) -> Iterator[str]:
        if getattr(command, "hashes", False):
            yield " ".join(words)
        if isinstance(command, click.Group):
            ctx = click.Context(command)
            for name in command.list_commands(ctx):
                found = command.get_command(ctx, name)
                assert found is not None
                yield from warning(found, *words, name)

    assert set(warning(cli)) == {"scan", "serve", "hub serve", "selftest"}


def test_benchmarks_refuse(bare: Path) -> None:
    ran = run(bare / "bin" / "python", "benchmarks.scan.c_twins", "--help")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert LINE in ran.stderr


def test_benchmarks_name_the_build() -> None:
    words = [sys.executable, "-m", "benchmarks.index.digest_filter", "--help"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0
    assert ", C, " in ran.stderr.splitlines()[0]
