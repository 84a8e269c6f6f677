from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashscan.cli.config.effective import MASK, ValueSources, as_toml
from hashscan.cli.config.settings_file import Catalogue, Command, SettingsFile, TablesParam, wrong_kind
from hashscan.cli.config.template import template
from hashscan.cli.config.validation import context_of, in_order, mistakes_in, refusal_of, unknown_variables
from hashscan.cli.main import cli
from hashscan.cli.options.base import HashscanCommand, settings_of
from hashscan.settings.file import key_lines
from tests.cli.conftest import Run
from tests.examples import examples

CATALOGUE = Catalogue.of(click.Context(cli))
HOSTILE = "\x1b[31m[bold]\u202e"

WRONG = """\
state = "/srv/hashscan"
sandbx = "off"
retain-min = "90d"
[scan]
workers = "many"
report = ["xyz=a"]
[quarantine]
destroy-by = "3 weeks"
[[policy]]
action = "hold"
[[policy]]
action = "report"
[[policy]]
catgory = "A1"
action = "report"
"""


def mistakes(document: str) -> list[tuple[int | None, str, str]]:
    found = mistakes_in(SettingsFile(CATALOGUE, tomllib.loads(document)), CATALOGUE, "FILE")
    return [(line, mistake.message, mistake.advice) for line, mistake in in_order(found, document)]


def test_check_names_all_mistakes_with_lines(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text(WRONG)
    file.chmod(0o600)
    ran = run("config", "check", file)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"{file}:2: no command has an option 'sandbx'. Did you mean 'sandbox'?",
        f"{file}:3: no command has an option 'retain-min' here. It belongs to [quarantine].",
        f"{file}:5: `workers`: 'many' is not a valid integer. Mend the value.",
        next(line for line in ran.err.splitlines() if line.startswith(f"{file}:6: `report`: there is no")),
        f"{file}:8: `destroy_by`: '3 weeks' is no duration. "
        "Write a number and s, m, h or d, such as 90m or 6h. Mend the value.",
        f"{file}:10: policy rule 1, key 'action': 'hold' is no action that a rule can name. "
        "Name one of report, review, held, quarantine.",
        f"{file}:14: policy rule 3: there is no key 'catgory'. Did you mean 'category'? "
        "There is category, algorithm, list, path, owner, distance, action, reason.",
        f"hashscan: {file}: 7 mistakes",
    ]


def test_check_of_a_good_file_and_of_none(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text("workers = 3\n")
    file.chmod(0o666)
    ran = run("--config", file, "config", "check")
    assert ran.code == 0
    assert "others than its owner can write it" in ran.err
    file.write_text("workers = \n")
    assert run("config", "check", file).code == 2
    assert "line 1" in run("config", "check", file).err
    assert run("config", "check", tmp_path / "none").code == 2


def test_a_variable_that_nothing_reads(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text("")
    ran = run("config", "check", file, env={"HASHSCAN_WROKERS": "3"})
    assert ran.code == 2
    assert "did you mean HASHSCAN_WORKERS?" in ran.err
    assert not list(unknown_variables(CATALOGUE, {"HASHSCAN_WORKERS": "", "HASHSCAN_CONFIG": "", "X": ""}))


scalars = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["90d", "1G", "jsonl=x", "1/2", "tls://a:1", "@/none", "A1", "/x"]),
    st.integers(-5, 2**64),
    st.floats(),
    st.booleans(),
    st.just(datetime(2027, 1, 31, tzinfo=UTC)),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
every_word = [word for words in CATALOGUE.commands for word in words]
names = st.sampled_from([*CATALOGUE.top, *CATALOGUE.tables, *every_word, "x", "state x"])
some = st.dictionaries(names, anything | st.dictionaries(names, anything, max_size=4), max_size=4)


@given(some)
@settings(max_examples=examples(50))
def test_nothing_that_a_file_holds_is_a_defect(values: dict[str, Any]) -> None:
    """Whoever wrote it, it is right or its mistakes are named; what is right can be shown."""
    file = SettingsFile(CATALOGUE, values)
    for mistake in mistakes_in(file, CATALOGUE, "FILE"):
        assert mistake.message
        assert mistake.advice
    sources = ValueSources(CATALOGUE, file, "FILE", {})
    shown = [one for words in file.taken for one in sources.shown(words)]
    tomllib.loads(as_toml(shown, CATALOGUE))


every_option = [
    options[0] for table in (CATALOGUE.top, *CATALOGUE.tables.values()) for options in table.values()
]


@given(st.sampled_from(every_option), anything)
@example(next(row for row in every_option if row[1].name == "files_from"), "\0")
@example(next(row for row in every_option if row[1].name == "exclude"), ["a", "b\0"])
@settings(max_examples=examples(300))
def test_no_option_takes_a_value_badly(whose: tuple[Command, click.Option], value: Any) -> None:
    words, option = whose
    if wrong_kind(option, value) is None:
        refusal_of(context_of(CATALOGUE, words, "FILE"), option, value)


def test_the_example_of_the_page_is_right() -> None:
    page = Path(__file__).parents[3] / "docs" / "settings.md"
    for text in re.findall(r"```toml\n(.*?)\n```", page.read_text(encoding="utf-8"), re.DOTALL):
        assert mistakes(text) == []


def test_rows_are_checked_each_by_itself() -> None:
    rows = "".join(f'[[policy]]\naction = "{"no" if n % 7 == 3 else "report"}"\n' for n in range(40))
    found = mistakes(rows)
    assert [line for line, _, _ in found] == [2 * n + 2 for n in range(40) if n % 7 == 3]
    assert found[1][1].startswith("policy rule 11, key 'action'")


def test_too_many_rows_is_one_mistake() -> None:
    assert len(mistakes('[[policy]]\naction = "report"\n' * 1001)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "workers = 0",
        "concurrency = -1",
        "limit-files = nan",
        "max-load = inf",
        "time-budget = '0'",
        "max-file-size = 0",
        "review-threshold = 31",
        "max-pixels = -5",
    ],
)
def test_numbers_out_of_range(line: str) -> None:
    ((number, message, _),) = mistakes(f"[scan]\n{line}\n")
    assert number == 2
    assert f"--{line.split(' ', maxsplit=1)[0]} must be" in message


def test_a_value_is_refused_once_for_all_commands() -> None:
    assert len(mistakes('decoder-memory = "much"\n')) == 1


def test_a_secret_is_neither_shown_nor_reported() -> None:
    option = click.Option(["--token"], type=click.Choice(["a"]), hide_input=True, envvar="X_TOKEN")
    command = click.Command("thing", params=[option])
    catalogue = Catalogue({("thing",): command}, {}, {"token": [(("thing",), option)]})
    problem = refusal_of(click.Context(command), option, "hunter2")
    assert problem is not None
    assert "hunter2" not in " ".join(problem)
    (shown,) = ValueSources(catalogue, SettingsFile(catalogue, {"token": "hunter2"}), "F", {}).shown(
        ("thing",)
    )
    assert (shown.value, shown.text) == (MASK, MASK)
    assert "hunter2" not in as_toml([shown], catalogue) + str(shown.document())


def test_what_init_writes_is_right_and_so_is_every_line_of_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hashscan.toml"
    assert run("config", "init", file).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert all(
        not table or set(map(type, table.values())) <= {dict} for table in tomllib.loads(text).values()
    )
    file.write_text(re.sub(r"^#(?=[^ \n])", "", text, flags=re.MULTILINE))
    ran = run("config", "check", file)
    assert ran.code == 0, ran.err
    set_ = tomllib.loads(file.read_text())
    taken = SettingsFile(CATALOGUE, set_).taken
    for words, command in CATALOGUE.commands.items():
        for option in settings_of(command):
            assert option.name in taken[words], f"{words}: {option.opts} is not in the file"
    # Where it is and with --force.
    assert run("config", "init", file).code == 2
    assert run("--config", file, "config", "init", "--force").code == 0
    assert file.read_text() == text
    assert run("config", "init", "-").out == text


def test_the_template_names_every_help() -> None:
    words = " ".join(template(CATALOGUE).replace("#", " ").split())
    for command in CATALOGUE.commands.values():
        for option in settings_of(command):
            assert " ".join((option.help or "").replace("#", " ").split()) in words


def test_every_option_that_has_tables_shows_how_they_look() -> None:
    kinds = [option.type for options in CATALOGUE.top.values() for _, option in options]
    for kind in {type(kind): kind for kind in kinds if isinstance(kind, TablesParam)}.values():
        assert tomllib.loads(kind.example)


def test_show_says_where_values_come_from(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text('sandbox = "off"\n\n[scan]\nexclude = ["*.log"]\n[quarantine]\nretain-min = "90d"\n')
    environ = {"HASHSCAN_CONCURRENCY": "7", "HASHSCAN_SANDBOX": "auto"}
    ran = run("--config", file, "config", "show", "scan", "--format", "json", env=environ)
    assert ran.code == 0, ran.err
    shown = json.loads(ran.out)
    assert shown["file"] == str(file)
    scan = shown["commands"]["scan"]
    assert scan["exclude"] == {"value": ["*.log"], "from": "file", "where": f"{file}:4 [scan]"}
    assert scan["retain_min"] == {"value": "90d", "from": "file", "where": f"{file}:6 [quarantine]"}
    assert scan["sandbox"] == {"value": "auto", "from": "variable", "where": "HASHSCAN_SANDBOX"}
    assert scan["concurrency"]["value"] == 7
    assert scan["max_pixels"] == {"value": 64_000_000, "from": "default", "where": "default"}
    assert scan["cluster"]["value"] is None
    table = run("--config", file, "config", "show", "--changed")
    assert re.search(r"sandbox +│ off +│ .*hashscan.toml:1 +│ scan, check", table.out)
    assert "max_pixels" not in table.out


def test_what_show_writes_as_toml_gives_the_same_values(run: Run, tmp_path: Path) -> None:
    file, again = tmp_path / "hashscan.toml", tmp_path / "again.toml"
    file.write_text(
        'exclude = ["a\\"\\u001b", "b"]\nstate = "/srv/x"\n[[policy]]\ncategory = "A1"\naction = "held"\n'
    )
    ran = run("--config", file, "config", "show", "--format", "toml", env={"HASHSCAN_LIMIT_FILES": "2.5"})
    assert ran.code == 0, ran.err
    assert "\x1b" not in ran.out
    again.write_text(ran.out)
    environ = {"HASHSCAN_WORKERS": "", "HASHSCAN_STATE": ""}
    ran = run("--config", again, "config", "show", "scan", "--format", "json", env=environ)
    assert ran.code == 0, ran.err
    scan = json.loads(ran.out)["commands"]["scan"]
    assert scan["exclude"]["value"] == ['a"\x1b', "b"]
    assert scan["policy"]["value"] == [{"category": "A1", "action": "held"}]
    assert scan["limit_files"]["value"] == 2.5


def test_show_of_a_wrong_file_shows_what_is_right(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hashscan.toml"
    file.write_text(f"[scan]\nwrokers = 3\nexclude = [{json.dumps(HOSTILE)}]\nmax-file-size = 'x'\n")
    ran = run("--config", file, "config", "show", "scan")
    assert ran.code == 2
    assert "Did you mean 'workers'?" in ran.err
    assert f"{file}:4 [scan]: 'x' is no size" in ran.err
    assert "\\x1b[31m[bold]" in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert "\u202e" not in ran.out + ran.err


def test_settings_of_a_newer_version_do_not_stop_a_command(run: Run, tmp_path: Path) -> None:
    """Names that are not known are warnings; values that are not are errors, and so are names in rules."""
    file = tmp_path / "hashscan.toml"
    newer = f"colour = 1\n[lists.pull]\nexclud = 1\n[{json.dumps(HOSTILE)}]\n[telepathy]\nx = 1\n"
    file.write_text(newer)
    ran = run("--config", file, "lists", "status", "demo")
    assert ran.code == 0, ran.err
    warnings = [line for line in ran.err.splitlines() if str(file) in line]
    assert sorted(line.partition("line ")[2][:2] for line in warnings) == ["1:", "3:", "4:", "5:"]
    assert "\x1b" not in ran.err
    assert str(file) not in run("--config", file, "lists", "status", "demo", "-q").err
    record, *_ = run("--config", file, "lists", "status", "demo", "--log-format", "json").err.splitlines()
    assert json.loads(record)["level"] == "warning"
    for value in ("max-pixels = 'many'", "max-pixels = []", "sandbox = 'some'"):
        file.write_text(f"{newer}[scan]\n{value}\n")
        assert run("--config", file, "scan", tmp_path, "--list", "demo").code == 2
    file.write_text(f"{newer}[[policy]]\ncategory = 'A1'\nhost = 'web1'\naction = 'report'\n")
    assert run("--config", file, "scan", tmp_path, "--list", "demo").code == 2


def test_show_of_no_command(run: Run) -> None:
    ran = run("config", "show", "lists", "pul")
    assert ran.code == 2
    assert "Did you mean 'lists pull'?" in ran.err


def test_no_setting_changes_what_explains_settings() -> None:
    config = cli.get_command(click.Context(cli), "config")
    assert isinstance(config, click.Group)
    for command in config.commands.values():
        assert isinstance(command, HashscanCommand)
        assert not settings_of(command)


def test_a_table_may_stand_beside_a_value_of_the_same_name() -> None:
    document = 'state = "/a"\n["state export"]\nformat = "csv"\nwrnog = 1\n'
    file = SettingsFile(CATALOGUE, tomllib.loads(document))
    assert [mistake.place for mistake in file.mistakes] == [("state export", "wrnog")]
    assert key_lines(document)["state export", "wrnog"] == 4
    assert file.default_map()["state"]["export"]["format_name"] == "csv"
