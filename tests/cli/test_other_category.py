"""The category `other` is for review only, and nothing that anybody can set makes it act.

A supplier's "other" holds what is not known to be criminal; acted upon, it flags innocent pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from hashscan.cli.main import COMMANDS
from hashscan.cli.options.base import DURATION, SIZE, HashscanCommand, TableOption, option_key
from hashscan.cli.options.entry_files import open_entries
from hashscan.errors import UsageError
from hashscan.model import ACTING_CATEGORIES, CATEGORIES, Weak
from hashscan.registry import LIST_FORMATS
from tests.cli.conftest import Run
from tests.examples import quick_first

SCANNING = ("scan", "check")
"""Every command that gives verdicts; each is tried in every way."""
LEFT_OUT = {
    "--no-state": "then the list is not there",
    "--state": "the list is kept there",
    "--files-from": "it says what is scanned",
    "--inventory": "it says what is scanned",
    "--known": "it takes few other options",
    "--cluster": "it says where",
    "--cluster-ca": "of a cluster",
    "--cluster-cert": "of a cluster",
    "--cluster-key": "of a cluster",
    "--quarantine": "it takes few other options",
    "--retain-min": "of a quarantine",
    "--destroy-by": "of a quarantine",
    "--quarantine-dir": "of a quarantine",
    "--quarantine-state": "of a quarantine",
    "--leave-note": "of a quarantine",
    "--customer": "it says whose files are",
    "--site": "it says where files are seen",
    "--reporter": "it says who reports",
    "--basis": "it says until when a list may be used",
    "--review-by": "it says how many people must agree",
    "--photodna": "the library is for lists that have PhotoDNA",
    "--baseline": "it says what is accepted",
    "--push": "it needs a hub",
    "--hub": "it says where reports are sent",
    "--key-file": "of a hub",
    "--ca-file": "of a hub",
    "--server-name": "of a hub",
    "--send-names": "of a hub",
    "--notify": "it says who is told",
    "--exec": "it says who is told",
    "--escalate-to": "it says who is told",
    "--category-deadline": "it says by when somebody must act",
    "--kind-deadline": "it says by when somebody must act",
    "--format": "the test reads JSON",
    "--output": "the test reads standard output",
    "--verbose": "it says which messages are shown",
    "--log-file": "it says where messages go",
}
MOVE_ALL = '[[policy]]\naction = "quarantine"\n'


@pytest.fixture
def upload(run: Run, tmp_path: Path) -> Path:
    """A file that a list has under `other`, by every digest that can be had of it."""
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "file").write_bytes(b"nothing of note")
    lines = ["id,algorithm,value,category"]
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(algorithm, b"nothing of note").hexdigest()
        lines.append(f"{algorithm},{algorithm},{digest},other")
    file = tmp_path / "others.csv"
    file.write_text("\n".join(lines))
    assert run("lists", "import", file, "--name", "others").code == 0
    return folder


def options_of(command: str) -> list[click.Option]:
    found = import_module(f"hashscan.cli.commands.{command}").command
    assert isinstance(found, HashscanCommand)
    return [
        option
        for option in found.params
        if isinstance(option, click.Option) and not LEFT_OUT.keys() & set(option.opts)
    ]


def values_of(option: click.Option, folder: Path) -> list[Any]:
    """All that an option can be set to, or one value where any will do."""
    particular: dict[str, list[Any]] = {
        "--list": ["others"],
        "--report": [str(folder / "report.jsonl")],
        "--exclude": ["nothing-like-it"],
        "--ignore-file": [str(folder / "ignore")],
        "--workers": [1],
        "--review-threshold": [60],
        "--concurrency": [1],
        "--endpoint": ["http://127.0.0.1:9"],
        "--shard": ["1/1"],
        "--reread": ["100%"],
        "--policy": [str(folder / "policy.toml")],
        "--photodna-distance": [str(folder / "distances.toml")],
        "--metrics": [str(folder / "hashscan.prom")],
        "--customers": ["cpanel"],
    }
    if option.opts[0] in particular:
        return particular[option.opts[0]]
    if option.is_flag:
        return [True]
    if option.type is SIZE:
        return ["1G"]
    if option.type is DURATION:
        return ["6h"]
    match option.type:
        case click.Choice():
            return list(option.type.choices)
        case click.IntRange(max=int(most)):
            return [int(most)]
        case click.types.IntParamType():
            return [1000]
        case click.types.FloatParamType():
            return [50.0]
    pytest.fail(f"{option.opts[0]} is new: say here what it can be set to, so that it is tried with `other`")


def by_command_line(settings: dict[click.Option, Any], command: str, folder: Path) -> dict[str, Any]:
    arguments: list[str] = []
    for option, value in settings.items():
        arguments += [option.opts[0]] if option.is_flag else [option.opts[0], str(value)]
    return {"after": arguments}


def by_variables(settings: dict[click.Option, Any], command: str, folder: Path) -> dict[str, Any]:
    return {"env": {f"HASHSCAN_{option_key(o).upper()}": str(value) for o, value in settings.items()}}


def by_file(settings: dict[click.Option, Any], command: str, folder: Path) -> dict[str, Any]:
    tables: dict[str, list[str]] = {command: []}
    rules = ""
    for option, value in settings.items():
        if option.opts[0] == "--policy":
            # The settings file does not name one but holds it.
            rules = Path(value).read_text()
        else:
            table = option.table if isinstance(option, TableOption) else command
            line = f"{option_key(option)} = {json.dumps([value] if option.multiple else value)}"
            tables.setdefault(table, []).append(line)
    written = [f"[{table}]\n" + "\n".join(lines) for table, lines in tables.items()]
    (folder / "settings.toml").write_text("\n".join([*written, rules]))
    return {"before": ["--config", str(folder / "settings.toml")]}


Way = Callable[[dict[click.Option, Any], str, Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("command", "way"),
    quick_first(
        [
            ("scan", by_command_line),
            pytest.param("scan", by_variables, marks=pytest.mark.slow),
            pytest.param("scan", by_file, marks=pytest.mark.slow),
            *(("check", way) for way in (by_command_line, by_variables, by_file)),
        ]
    ),
)
def test_no_option_variable_or_settings_key_makes_it_act(
    run: Run, tmp_path: Path, upload: Path, command: str, way: Way
) -> None:
    (tmp_path / "ignore").write_text("nothing-like-it\n")
    (tmp_path / "policy.toml").write_text(MOVE_ALL)
    (tmp_path / "distances.toml").write_text("[[photodna_distance]]\nmatch = 10000\n")
    possible = {option: values_of(option, tmp_path) for option in options_of(command)}
    for turn in range(max(map(len, possible.values()))):
        settings = {option: values[turn % len(values)] for option, values in possible.items()}
        given = way(settings, command, tmp_path)
        target = upload if command == "scan" else upload / "file"
        words = (command,) if command == "scan" else (command, "--format", "json")
        ran = run(*given.get("before", ()), *words, target, *given.get("after", ()), env=given.get("env"))
        report = tmp_path / "report.jsonl"
        written = report.read_text() if command == "scan" and report.exists() else ran.out
        lines = [json.loads(line) for line in written.splitlines()]
        report.unlink(missing_ok=True)
        (finding,) = [line for line in lines if line["type"] == "finding"]
        assert finding["verdict"] == "review", settings
        assert "the category is for review only" in finding["because"]
        fails = {o.opts[0]: value for o, value in settings.items()}["--fail-on"] == "review"
        assert ran.code == (1 if fails else 0), ran.err


def test_nothing_moves_it(run: Run, tmp_path: Path, upload: Path) -> None:
    (tmp_path / "policy.toml").write_text(MOVE_ALL)
    anybody = [word for weak in Weak for word in ("--act-on", weak.value)]
    terms = ("--retain-min", "90d", "--destroy-by", "365d", "--policy", tmp_path / "policy.toml", *anybody)
    ran = run("scan", upload, "--quarantine", *terms, "--report", "-")
    assert [line["verdict"] for line in ran.lines[1:-1]] == ["review"], ran.err
    assert (upload / "file").exists()


def test_every_command_that_gives_verdicts_is_tried() -> None:
    """One that is new belongs above; `serve` has a test of its own, in `service.engine`."""
    assert set(COMMANDS) - set(SCANNING) - {"completion", "manual", "schema"} == {
        "alerts",
        "care",
        "cases",
        "config",
        "customers",
        "hash",
        "hub",
        "keys",
        "lookup",
        "lists",
        "publish",
        "quarantine",
        "report",
        "selftest",
        "serve",
        "setup",
        "state",
        "stats",
        "worker",
    }


@pytest.mark.parametrize("form", [name for name, kind in LIST_FORMATS.items() if not kind.takes_category])
def test_a_format_that_says_the_category_is_not_overruled(tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    for category in CATEGORIES:
        with (
            pytest.raises(UsageError, match="categories of its own"),
            open_entries(tmp_path / "file", form, category),
        ):
            pass


def test_it_is_not_among_those_that_act() -> None:
    assert set(CATEGORIES) - ACTING_CATEGORIES == {"other", "known-good", "terrorism", "ncii"}
