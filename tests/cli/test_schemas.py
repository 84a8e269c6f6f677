"""Each JSON document is as its schema says, and the stored schemas are those of the types."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cli.main import cli
from hashscan.cli.output.schemas import SCHEMAS, schema_text
from hashscan.hub.storage.database import open_database
from hashscan.model import Entry
from hashscan.service.doors.http.app import Application
from hashscan.settings.service import NO_ADDRESS, DoorSettings
from hashscan.state_dir import StateDir
from tests.cli.conftest import Run, runner
from tests.cli.published import publish
from tests.hub.intake.reports import push, report
from tests.reports.documents import SCAN, finding, summary, unreadable
from tests.web import served

STORED = Path(__file__).parents[2] / "docs" / "schema"
BAD, ALIKE = b"listed", b"listed, too"

JSON_FORMATS = {"json": "", "jsonl": "report", "ndjson": "state-export"}
"""The formats of JSON, and the schema where that is not of the command's name."""
OF_LISTS = {"lists export", "lists import", "publish add", "publish hash"}
"""Commands whose formats are those of hash lists, which have pages of their own."""


def commands(
    command: click.Command = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands(found, (*words, name))
    else:
        yield " ".join(words), command


def json_formats(command: click.Command) -> set[str]:
    """The formats of JSON that a command has."""
    return {
        name
        for option in command.params
        if option.name == "format_name" and isinstance(option.type, click.Choice)
        for name in option.type.choices
        if name in JSON_FORMATS
    }


WITH_JSON = {
    name: formats
    for name, command in commands()
    if name not in OF_LISTS and (formats := json_formats(command))
}


def strict(schema: Any) -> Any:
    """A schema that allows no field that it does not name, so that no field is left out of it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(part) for key, part in schema.items()}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def require(name: str, *documents: Mapping[str, Any]) -> None:
    assert documents, f"nothing to compare with {name}"
    schema = json.loads((STORED / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(strict(schema))
    for document in documents:
        error = jsonschema.exceptions.best_match(validator.iter_errors(document))
        assert error is None, (name, error.message, document)


def test_the_stored_schemas_are_those_of_the_types() -> None:
    stored = {path.stem: path.read_text() for path in STORED.glob("*.json")}
    assert stored == {name: schema_text(name) for name in SCHEMAS}


def test_a_changed_field_changes_the_schema() -> None:
    with pytest.raises(AssertionError):
        require("cases-times", {"month": "2026-11", "removed": "1"})
    known = {"month": "2026-11", "removed": 1, "in_time": 1, "late": 0, "median_hours": 1, "p90_hours": 1}
    require("cases-times", known)
    with pytest.raises(AssertionError):
        require("cases-times", {**known, "new": 1})


def test_every_command_that_writes_json_has_a_schema_and_is_run_here() -> None:
    assert WITH_JSON.keys() <= ARGUMENTS.keys()
    for name in ARGUMENTS:
        (form,) = WITH_JSON.get(name, {"json"})
        assert (JSON_FORMATS[form] or name.replace(" ", "-")) in SCHEMAS


def test_the_command_prints_them() -> None:
    run = runner(Path("/nonexistent"))
    assert [line.split("\t")[0] for line in run("schema").out.splitlines()] == list(SCHEMAS)
    assert run("schema", "report").out == (STORED / "report.json").read_text()
    assert run("schema", "nonsense").code == 2


def test_the_answers_of_the_server_have_the_schemas_of_its_description() -> None:
    """By which its own tests check every answer."""
    engine: Any = None  # no request is answered
    document = Application(engine, DoorSettings("http", NO_ADDRESS, {}), None, None).document
    described = json.loads(document.replace(b"#/components/schemas/", b"#/$defs/"))["components"]["schemas"]
    for name in SCHEMAS:
        if name.startswith("http-") and name != "http-feedback":
            definitions = json.loads(schema_text(name))["$defs"]
            assert definitions == {key: described[key] for key in definitions}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with findings, cases, alerts and items in quarantine, and the reports of its scans."""
    made = tmp_path_factory.mktemp("world")
    run = runner(made / "state")
    files = made / "files" / "alice"
    files.mkdir(parents=True)
    (files / "bad").write_bytes(BAD)
    Path(os.fsdecode(bytes(files) + b"/al\xffike")).write_bytes(ALIKE)
    (files / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    rows = "".join(
        f"e-{n},sha256,{hashlib.sha256(content).hexdigest()},A1\n" for n, content in enumerate((BAD, ALIKE))
    )
    (made / "entries.csv").write_text(f"id,algorithm,value,category\n{rows}")
    hook = made / "hook"
    hook.write_text(f"#!/bin/sh\ncat >> {made}/alert\n")
    hook.chmod(0o755)
    (made / "hashscan.toml").write_text(
        '[[customer]]\npath = "/**/files/{customer}/**"\n\n'
        f'[[site]]\nurl = "https://example.org/"\npath = "{made}/files"\n'
    )
    publish(run, made / "national", [Entry("n-0", "sha256", bytes(32), "A1")])
    with served(made / "national" / "published") as url:
        for command in (
            ("lists", "add", "national", url, "--root", made / "national" / "work" / "root.json"),
            ("lists", "pull", "national"),
            ("publish", "add", made / "entries.csv", "--work", made / "national" / "work"),
            ("publish", "release", "--no-passphrase", "--work", made / "national" / "work"),
            ("lists", "import", made / "entries.csv", "--name", "ours"),
            ("lists", "except", "e-1", "--list", "ours", "--reason", "wrong", "--until", "2099-01-01"),
            ("hub", "init"),
            ("hub", "org", "add", "alpha"),
            ("hub", "key", "add", "alpha", "web"),
            ("hub", "notice", "send", "alpha", "--path", "/srv/a", "--category", "A1", "--deadline", "1d"),
            ("hub", "org", "add", "mailed", "--contact", "abuse@mailed.example", "--via", "mail"),
            ("hub", "notice", "send", "mailed", "--url", "https://mailed.example/a", "--category", "A1"),
            ("hub", "user", "add", "ann", "--role", "operator"),
            ("keys", "add", "uploads", "--http-keys", made / "keys", "--right", "scan"),
        ):
            ran = run(*command)
            assert ran.code == 0, ran.err
        with open_database(StateDir(made / "state")) as database:
            push(database, 1, *report())
        scan = ("--config", made / "hashscan.toml", "scan", made / "files", "--fail-on", "never")
        ran = run(*scan, "--report", made / "first.jsonl", "--with-digests", "--exec", hook,
                  "--notify-details", "--baseline", accepted(run, made))  # fmt: skip
        assert ran.code in {0, 3}, ran.err
        for index in (1, 2):
            run(*scan, "--report", made / f"shard{index}.jsonl", "--shard", f"{index}/2")
        terms = ("--retain-min", "1d", "--destroy-by", "2d", "--act-on", "local")
        ran = run(*scan, "--report", made / "moved.jsonl", "--quarantine", *terms)
        assert ran.code in {0, 3}, ran.err
        assert run("lists", "pull", "national", "--stage").code == 0
    with Ledger(StateDir(made / "state")) as ledger, ledger.transaction() as database:
        database.execute(
            "INSERT INTO mails VALUES (1, 'INBOX', 1, 1, x'', 'a@b.ex', '<1@b>', 1, 'malformed', '', 1, 0)"
        )
    return made


def accepted(run: Run, made: Path) -> Path:
    """A baseline that accepts nothing of what is in the world."""
    report, baseline = made / "other.jsonl", made / "baseline.json"
    (made / "other").mkdir()
    (made / "other" / "bad").write_bytes(BAD)
    assert run("scan", made / "other", "--report", report).code == 1
    words = ("report", "accept", report, "--output", baseline, "--reason", "known", "--until", "2099-01-01")
    assert run(*words).code == 0
    care = ("care", "make", "--from", "1970", "--to", "2999", "--output", made / "care.json")
    assert run(*care).code == 0
    return baseline


@pytest.fixture
def tried(world: Path) -> Run:
    return runner(world / "state")


ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "alerts list": (),
    "care verify": ("care.json",),
    "cases due": ("--within", "9000d"),
    "cases list": ("--status", "all"),
    "cases queue": (),
    "cases mails": (),
    "cases show": ("1", "2"),
    "cases times": (),
    "check": ("files/alice/torn.jpg", "other/bad", hashlib.sha256(BAD).hexdigest()),
    "config show": (),
    "customers": ("files/alice/x", "https://example.org/alice/y", "https://elsewhere.example/"),
    "hash": ("files/alice/torn.jpg", "entries.csv"),
    "hub audit list": (),
    "hub key list": (),
    "hub notice list": (),
    "hub server list": (),
    "hub org list": (),
    "hub outbox list": (),
    "hub user list": (),
    "keys list": ("--http-keys", "keys"),
    "lists diff": ("--entries", "--would-hit"),
    "lists status": (),
    "lookup": (hashlib.sha256(BAD).hexdigest(),),
    "quarantine list": (),
    "report convert": ("first.jsonl",),
    "state export": ("--with-digests",),
    "state status": (),
    "stats": (),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_a_command_writes_is_valid(name: str, world: Path, tried: Run) -> None:
    formats = WITH_JSON.get(name, set())
    words = ("--format", *formats) if formats else ()
    ran = tried("--config", world / "hashscan.toml", *name.split(), *ARGUMENTS[name], *words, cwd=world)
    assert ran.code in {0, 1, 3, 4}, ran.err
    whole = name in {"config show", "stats"}
    documents = [json.loads(ran.out)] if whole else ran.lines
    require(JSON_FORMATS[next(iter(formats), "json")] or name.replace(" ", "-"), *documents)


def test_what_scans_report_is_valid(world: Path, tried: Run) -> None:
    merged = tried("report", "merge", "shard1.jsonl", "shard2.jsonl", "--output", "-", cwd=world)
    known = tried("scan", "--known", "--report", "-", "--fail-on", "never", cwd=world)
    for ran in (merged, known):
        assert {line["type"] for line in ran.lines} >= {"scan", "summary"}, ran.err
        require("report", *ran.lines)
    found = []
    for path in world.glob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        require("report", *records)
        found += records
    assert {record["type"] for record in found} >= {"scan", "finding", "undecoded", "summary"}
    assert any("path_b64" in record for record in found)
    assert any("digests" in record for record in found)
    assert any("quarantine" in record and record["type"] == "finding" for record in found)
    assert {record["verdict"] for record in found if record["type"] == "finding"} == {"match", "held"}


def test_records_made_by_hand_are_valid() -> None:
    records = [finding(b"/x\xff"), unreadable(b"/y")]
    require("report", *(json.loads(json.dumps(record)) for record in (SCAN, *records, summary(records))))


def test_what_is_logged_is_valid(world: Path, tried: Run) -> None:
    ran = tried("report", "show", "missing.jsonl", "--log-format", "json", cwd=world)
    require("log", *map(json.loads, ran.err.splitlines()))


def test_what_hooks_get_is_valid(world: Path) -> None:
    alerts = [json.loads(line) for line in (world / "alert").read_text().splitlines()]
    require("alert", *alerts)
    assert any(alert["details"] for alert in alerts)
