from __future__ import annotations

from typing import Any

import click
import pytest

from hashscan.cli.config.settings_file import Catalogue, SettingsFile, TablesParam, wrong_kind
from hashscan.cli.main import cli
from hashscan.cli.options.base import SIZE

CATALOGUE = Catalogue.of(click.Context(cli))


class One(TablesParam[object]):
    name = "one"
    rows = False


def option(**kind: Any) -> click.Option:
    return click.Option(["--some-name"], **kind)


@pytest.mark.parametrize(
    ("values", "said", "advice"),
    [
        ({"sandbx": "off"}, "no command has an option 'sandbx'", "Did you mean 'sandbox'?"),
        ({"bananas": 1}, "no command has an option 'bananas'", "Mend or remove the key."),
        ({"retain-min": "3d"}, "no command has an option 'retain-min' here", "It belongs to [quarantine]."),
        ({"scan": 1}, "'scan' is a table, not a value", "Begin it with [scan]."),
        ({"scna": {}}, "there is no command 'scna'", "Did you mean 'scan'?"),
        ({"polcy": {}}, "there is no command 'polcy'", "Did you mean 'policy'?"),
        ({"pull": {}}, "there is no command 'pull' by itself", "Write [lists.pull]."),
        ({"policy": {}}, "`policy` is no table of rules", "Begin each rule with a line [[policy]]."),
        ({"scan": {"wrokers": 1}}, "scan has no option 'wrokers'", "Did you mean 'workers'?"),
        ({"scan": {"retain_min": 1}}, "scan has no option 'retain_min' here", "It belongs to [quarantine]."),
        (
            {"quarantine": {"one_file_system": 1}},
            "quarantine has no option 'one_file_system' here",
            "It belongs to [scan].",
        ),
        (
            {"reporter": {"organisation": "A", "email": "a@b.example", "emial": 1}},
            "[reporter] has no key 'emial'",
            "Did you mean 'email'?",
        ),
        (
            {"lists": {"pul": {}}},
            "lists has no option 'pul'",
            "Did you mean 'pull'?",
        ),
        (
            {"scan": {"max_pixels": 1, "max-pixels": 2}},
            "'max-pixels' is set with - and with _",
            "Remove one of them.",
        ),
    ],
)
def test_what_nobody_takes(values: dict[str, Any], said: str, advice: str) -> None:
    (mistake,) = SettingsFile(CATALOGUE, values).mistakes
    assert (mistake.message, mistake.advice) == (said, advice)


def test_all_mistakes_are_found() -> None:
    values = {"a1": 1, "scan": {"b2": 1, "workers": [1]}, "c3": {}, "lists": {"pull": {"d4": 1}}}
    places = {mistake.place for mistake in SettingsFile(CATALOGUE, values).mistakes}
    assert places == {("a1",), ("scan", "b2"), ("scan", "workers"), ("c3",), ("lists", "pull", "d4")}


def test_only_unknown_names_may_be_of_a_newer_version() -> None:
    values = {"a1": 1, "scan": {"b2": 1, "workers": [1], "retain-min": "1d"}, "c3": {}, "policy": {}}
    unknown = {mistake.place: mistake.unknown for mistake in SettingsFile(CATALOGUE, values).mistakes}
    assert unknown == {
        ("a1",): True, ("scan", "b2"): True, ("scan", "retain-min"): True, ("c3",): True,
        ("scan", "workers"): False, ("policy",): False,
    }  # fmt: skip


def test_a_commands_own_table_comes_before_the_top() -> None:
    values = {"state": "/a", "lists": {"pull": {"state": "/b"}}, "quarantine": {"quarantine_dir": ["/c"]}}
    file = SettingsFile(CATALOGUE, values)
    assert not file.mistakes
    made = file.default_map()
    assert made["scan"] == {"state": "/a", "quarantine_dirs": ["/c"]}
    assert made["lists"]["pull"] == {"state": "/b"}
    assert file.taken["lists", "pull"]["state"].place == ("lists", "pull", "state")
    assert made["quarantine"]["add"]["quarantine_dirs"] == ["/c"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ({"type": int}, [1, "1"], [1.5, True, [1], {}]),
        ({"type": float}, [1, 1.5, "1"], [True, [1]]),
        ({"is_flag": True}, [True, "yes"], [1, [True]]),
        ({"type": click.Choice(["a"])}, ["a", "b"], [1, ["a"]]),
        ({"type": click.Path()}, ["/"], [1, ["/"]]),
        ({"multiple": True}, [[], ["a"]], ["a", [1], 1]),
        ({"type": SIZE}, [1, "1G"], []),
        ({"type": One()}, [{}, "file"], [[{}], 1]),
        ({"type": click.Path(), "multiple": True}, [["/"]], [["/", 1]]),
    ],
)
def test_kinds_of_values(kind: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert wrong_kind(option(**kind), value) is None, value
    for value in bad:
        problem = wrong_kind(option(**kind), value)
        assert problem is not None, value
        assert "`some_name`" in problem[0]


def test_a_secret_is_not_shown() -> None:
    problem = wrong_kind(option(type=int, hide_input=True), ["hunter2"])
    assert problem is not None
    assert "hunter2" not in problem[0]


def test_commands_of_an_extra_that_is_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name=name)

    monkeypatch.setattr("hashscan.cli.commands.hub.import_module", missing)
    catalogue = Catalogue.of(click.Context(cli))
    assert ("hub",) in catalogue.commands
    assert [words for words in catalogue.commands if words[:1] == ("hub",)] == [("hub",)]
    assert ("lists", "pull") in catalogue.commands
