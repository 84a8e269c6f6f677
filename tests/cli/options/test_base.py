from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "hashscan.toml"
    file.write_text(text)
    return str(file)


def report(tmp_path: Path, name: str = "r.jsonl") -> dict[str, object]:
    first: dict[str, object] = json.loads((tmp_path / name).read_text().splitlines()[0])
    return first


def test_variables_give_options(run: Run, tmp_path: Path, uploads: Path, local_list: str) -> None:
    target = str(tmp_path / "r.jsonl")
    assert run("scan", uploads, env={"HASHSCAN_REPORT": target, "HASHSCAN_SANDBOX": "off"}).code == 1
    assert report(tmp_path)["sandbox"] == {"mode": "off"}


def test_the_settings_file_gives_options(run: Run, tmp_path: Path, uploads: Path, local_list: str) -> None:
    text = f"""
        sandbox = "off"
        [scan]
        report = ["{tmp_path / "r.jsonl"}"]
        exclude = ["*.jpg"]
        with-digests = true
    """
    ran = run("--config", config(tmp_path, text), "scan", uploads)
    assert ran.code == 0
    assert "3 skipped" in ran.err
    assert report(tmp_path)["sandbox"] == {"mode": "off"}


def test_the_command_line_comes_before_variables_and_these_before_the_file(
    run: Run, tmp_path: Path, uploads: Path, local_list: str
) -> None:
    file = config(tmp_path, 'sandbox = "required"\n')
    target = str(tmp_path / "r.jsonl")
    run("--config", file, "scan", uploads, "--report", target, env={"HASHSCAN_SANDBOX": "off"})
    assert report(tmp_path)["sandbox"] == {"mode": "off"}
    run(
        "--config",
        file,
        "scan",
        uploads,
        "--report",
        target,
        "--sandbox",
        "auto",
        env={"HASHSCAN_SANDBOX": "off"},
    )
    assert report(tmp_path)["sandbox"] == {"mode": "auto"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("workers = \n", "TOML"),
        ("[scan]\nconcurrency = 'many'\n", "concurrency"),
        ("[scan]\nmax-file-size = '3 bananas'\n", "bananas"),
        ("[scan]\nconcurrency = [3]\n", "line 2: `concurrency`"),
        ("[scan]\nconcurrency = 'many'\n", "hashscan.toml, line 2.\n"),
        ("[scan]\nconcurrency = 0\n", "--concurrency must be more than 0, not 0"),
        ("wrokers = 3\n[scan]\nconcurrency = [3]\n", "`hashscan config check` names all 2 mistakes"),
    ],
)
def test_a_wrong_value_is_named(run: Run, tmp_path: Path, text: str, named: str) -> None:
    ran = run("--config", config(tmp_path, text), "scan", tmp_path)
    assert ran.code == 2
    assert named in ran.err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("wrokers = 3\n", "line 1: no command has an option 'wrokers'; ignored. Did you mean 'workers'?"),
        ("\n[scan]\nwrokers = 3\n", "line 3: scan has no option 'wrokers'; ignored. Did you mean 'workers'?"),
        ("[scna]\nworkers = 3\n", "line 1: there is no command 'scna'; ignored. Did you mean 'scan'?"),
        ("[scan]\nhelp = true\n", "line 2: scan has no option 'help'; ignored."),
    ],
)
def test_a_wrong_key_is_named_and_ignored(run: Run, tmp_path: Path, text: str, named: str) -> None:
    ran = run("--config", config(tmp_path, text), "lists", "status", "demo")
    assert ran.code == 0
    assert named in ran.err


def test_a_wrong_value_of_a_variable_is_said_to_be_one(run: Run, tmp_path: Path) -> None:
    ran = run("scan", tmp_path, env={"HASHSCAN_CONCURRENCY": "many"})
    assert ran.code == 2
    assert "It is the value of the variable HASHSCAN_CONCURRENCY." in ran.err
    assert "It is" not in run("scan", tmp_path, "--concurrency", "many").err


def test_a_settings_file_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    ran = run("--config", tmp_path / "none.toml", "scan", tmp_path)
    assert ran.code == 2
    assert "none.toml" in ran.err
