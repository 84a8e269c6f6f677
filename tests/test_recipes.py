"""The recipes of ARCHITECTURE.md, followed in a copy of the source, and seen in the commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## How to add something") :]
PROSE = re.sub(r"```.*?```", "", SECTION, flags=re.DOTALL)
NAME = re.compile(r"`([A-Za-z_./]+)(?:\([a-z, ]*\))?`")
PLACEHOLDERS = {"FILE", "+++", "pdq", "cli/commands/NAME.py", "command"}
CONTRACTS = (
    "tests/test_registry.py",
    "tests/hashing/archives/test_fuzzed.py",
    "tests/cases/notices/test_formats.py",
    "tests/lists/formats/test_formats.py",
    "tests/reports/test_formats.py",
    "tests/cli/options/test_help_texts.py",
    "tests/cli/options/test_output.py",
)
CHOSEN = (
    "blake2b or tagged or paths or categories or addresses or same_set or every or (changed_archive and auto)"
)
"""The tests of the toys, and those of the tables as a whole."""

Hashscan = Callable[..., subprocess.CompletedProcess[str]]


def apply(block: str, copy: Path) -> None:
    """Change or make the files that a block names."""
    if new := re.match(r"# (\S+\.py)\n", block):
        assert not (copy / new[1]).exists()
        (copy / new[1]).write_text(block[new.end() :])
        return
    for part in re.split(r"^\+\+\+ ", block, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        for change in rest.split("@@\n"):
            lines = change.splitlines(keepends=True)
            old, new_text = (
                "".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +")
            )
            text = (copy / name).read_text()
            assert text.count(old) == 1, (name, old)
            (copy / name).write_text(text.replace(old, new_text))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source in which all recipes were followed."""
    folder = tmp_path_factory.mktemp("recipes")
    for name in ("hashscan", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hashlists", "examples", "docs", "benchmarks", "tools", "pyproject.toml", "setup.cfg"):
        (folder / name).symlink_to(ROOT / name)
    for block in re.findall(r"```(?:python|diff)\n(.*?)```", SECTION, re.DOTALL):
        apply(block, folder)
    return folder


@pytest.fixture
def hashscan(copy: Path, tmp_path: Path) -> Hashscan:
    """Return what runs a command of the copy."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        variables = os.environ | {"HASHSCAN_STATE": str(tmp_path / "state"), "PYTHONPATH": str(copy)}
        command = [sys.executable, "-m", "hashscan", *map(str, arguments)]
        done = subprocess.run(command, cwd=copy, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done

    return run


def test_what_the_recipes_name_exists() -> None:
    files = [
        path
        for folder in ("hashscan", "tests", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for name in set(NAME.findall(PROSE)) - PLACEHOLDERS:
        if "/" in name or name.endswith(".py"):
            assert (ROOT / name).exists() or (ROOT / "hashscan" / name).exists(), name
        else:
            assert re.search(rf"\b{name.rpartition('.')[2]}\b", code), name


@pytest.mark.parametrize("recipe", [text for text in SECTION.split("\n**") if ".py`)" in text])
def test_a_name_before_a_file_in_brackets_is_in_that_file(recipe: str) -> None:
    prose = re.sub(r"```.*?```", "", recipe, flags=re.DOTALL)
    for name, file in re.findall(r"`(\w+)`\s+\(`([\w/]+\.py)`\)", prose):
        text = (ROOT / "hashscan" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(class|def) {name}\b|^{name}\b.* = ", text, re.MULTILINE), (name, file)


@pytest.mark.slow
def test_the_contract_tests_hold_for_what_was_added(copy: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    variables["PYTHONPATH"] = str(copy)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-rA", "-k", CHOSEN]
    done = subprocess.run(
        [*command, *CONTRACTS], cwd=copy, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED")]
    for name in (*CONTRACTS, "blake2b", "tagged", "paths", "categories", "addresses"):
        assert any(name in line for line in passed), name


@pytest.mark.slow
def test_a_hash_algorithm_and_a_list_format_find_a_file(hashscan: Hashscan, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a file")
    shown = hashscan("hash", tmp_path / "file", "--algorithm", "blake2b").stdout
    digest = json.loads(shown)["digests"]["blake2b"]
    (tmp_path / "entries").write_text(f"blake2b={digest}\n")
    importing = ("--name", "ours", "--format", "tagged", "--category", "A1")
    hashscan("lists", "import", tmp_path / "entries", *importing)
    hashscan("scan", tmp_path / "file", "--report", tmp_path / "report.jsonl", code=1)


@pytest.mark.slow
def test_an_archive_format_and_a_report_format_show_what_is_in_an_archive(
    hashscan: Hashscan, tmp_path: Path
) -> None:
    listed = ROOT / "examples/uploads/alice/holiday/lake.jpg"
    content = listed.read_bytes()
    entries = tmp_path / "entries"
    entries.write_text(f"md5={json.loads(hashscan('hash', listed).stdout)['digests']['md5']}\n")
    importing = ("--name", "ours", "--format", "tagged", "--category", "A1")
    hashscan("lists", "import", entries, *importing)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/some.bundle").write_bytes(b"BUNDLE\n%d in.jpg\n%b" % (len(content), content))
    report = tmp_path / "report.paths"
    hashscan("scan", tmp_path / "files", "--report", report, code=1)
    assert f"{tmp_path}/files/some.bundle" in report.read_text()


def test_an_alert_channel_gets_an_alert(hashscan: Hashscan, tmp_path: Path) -> None:
    hashscan("alerts", "test", "--alert-file", tmp_path / "alerts")
    assert json.loads((tmp_path / "alerts").read_text())["kind"] == "test"


@pytest.mark.slow
def test_a_notice_format_makes_a_case(hashscan: Hashscan, tmp_path: Path) -> None:
    (tmp_path / "notices").write_text("https://www.example.org/a.jpg\n")
    hashscan("cases", "import", tmp_path / "notices", "--format", "addresses", code=3)
    assert "https://www.example.org/a.jpg" in hashscan("cases", "list", "--format", "json").stdout


def test_a_command_is_run_and_shown(hashscan: Hashscan) -> None:
    assert "A1" in hashscan("categories").stdout.split()
    assert "categories" in hashscan("--help").stdout
