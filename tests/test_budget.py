"""Tests of `tools/budget.py` on a small tree with commands of its own and a history of its limits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import budget
from tools.metrics import Figure

MAIN = """
import signal, socket, sys
def main():
    if sys.argv[1] == "--help":
        import fractions
    elif sys.argv[1] == "scan":
        import fractions, wave
    elif sys.argv[1:3] == ["hub", "serve"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(sys.argv[-1].removeprefix("unix:"))
            server.listen()
            server.accept()[0].sendall(b"an answer")
            signal.sigwait([signal.SIGTERM])
        import fractions, wave, sched
"""
PROJECT = """
[project]
dependencies = ["one", "two"]
optional-dependencies = { s3 = ["three"], serve = ["four", "five", "six"] }
[tool.ruff.lint.per-file-ignores]
"!hashscan/{model,errors}.py" = ["D1"]
"""
FILES = {
    "hashscan/__init__.py": "",
    "hashscan/__main__.py": MAIN,
    "hashscan/model.py": "A = 1\nB = 2\n",
    "pyproject.toml": PROJECT,
    "README.md": "# A title\n\n| one | two |\n| --- | --- |\n\n```sh\nno words here\n```\n",
    "docs/scan.md": "Three more words.\n",
    "docs/reference/made.md": "Not written by hand.\n",
    "SECURITY.md": "One two\n",
    "CHANGELOG.md": "Grows and grows.\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def commit(tree: Path) -> Callable[[], None]:
    """Return what commits the budget of the tree."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tree, *identity, *arguments], check=True, stdout=subprocess.DEVNULL)

    def commit_budget() -> None:
        git("add", budget.BUDGET)
        git("commit", "--message", "a change")

    git("init", "--quiet")
    return commit_budget


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count what is in the source alone: processes are counted by a test of their own."""
    monkeypatch.setattr(budget, "imported_modules", lambda _: ())


def limits(tree: Path) -> dict[str, budget.Limit]:
    return budget.read(tree)


def run(tree: Path, *arguments: str) -> int:
    return budget.main(["--root", str(tree), *arguments])


def test_every_figure_beside_those_of_the_source(tree: Path) -> None:
    figures = {figure.name: figure.value for figure in budget.all_figures(tree)}
    imported = {
        name: figures[f"modules imported: {name}"] for name in ("--help", "scan of a file", "hub serve")
    }
    assert 0 < imported["--help"] < imported["scan of a file"] < imported["hub serve"]
    shown = {name: n for name, n in figures.items() if name.startswith(("words", "requirements"))}
    assert shown == {
        "words: user pages": 7,
        "words: developer pages": 2,
        "requirements: core": 2,
        "requirements: s3": 1,
        "requirements: serve": 3,
    }


def test_a_command_that_fails_is_no_figure(tree: Path) -> None:
    (tree / "hashscan/__main__.py").write_text("def main():\n    raise OSError\n")
    with pytest.raises(RuntimeError):
        list(budget.imported_modules(tree))


@pytest.mark.usefixtures("quick")
def test_a_raised_figure_fails_until_its_limit_is_raised_with_a_reason(
    tree: Path, commit: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tree, "--check") == 1
    assert run(tree, "--record") == 0
    assert run(tree, "--check") == 0
    commit()
    assert run(tree, "--check") == 0
    first = (tree / budget.BUDGET).read_text()
    (tree / "hashscan/model.py").write_text("A = 1\nB = 2\nC = 3\n")
    capsys.readouterr()
    assert run(tree, "--check") == 1
    assert "budget: code lines: hashscan: " in capsys.readouterr().err
    assert run(tree, "--record") == 1
    assert (tree / budget.BUDGET).read_text() == first
    assert run(tree, "--record", "--reason", "there is a C, too") == 0
    raised = {name: row for name, row in limits(tree).items() if "reason" in row}
    assert raised.keys() == {"code lines: hashscan", "code lines: hashscan/modules in no package"}
    assert run(tree, "--check") == 0
    commit()
    assert run(tree, "--check") == 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("reason", ["", "the first"], ids=["none", "that of an earlier raise"])
@pytest.mark.parametrize("committed", [False, True])
def test_a_limit_raised_without_a_new_reason_fails(
    tree: Path, commit: Callable[[], None], reason: str, *, committed: bool
) -> None:
    run(tree, "--record")
    rows = limits(tree)
    rows["modules"]["reason"] = "the first"
    (tree / budget.BUDGET).write_text(json.dumps(rows))
    commit()
    rows["modules"] = {"limit": rows["modules"]["limit"] + 1, "reason": reason}
    (tree / budget.BUDGET).write_text(json.dumps(rows))
    if committed:
        commit()
    assert run(tree, "--check") == 1
    rows["modules"]["reason"] = "another"
    (tree / budget.BUDGET).write_text(json.dumps(rows))
    assert run(tree, "--check") == 0


@pytest.mark.usefixtures("quick")
def test_a_lowered_figure_asks_to_lower_its_limit(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tree, "--record")
    (tree / "hashscan/model.py").write_text("A = 1\n")
    capsys.readouterr()
    assert run(tree, "--check") == 0
    asked = capsys.readouterr().err
    assert "budget: code lines: hashscan: " in asked
    assert "budget: modules: " not in asked
    before = limits(tree)["code lines: hashscan"]["limit"]
    assert run(tree, "--record") == 0
    assert limits(tree)["code lines: hashscan"]["limit"] == before - 1
    capsys.readouterr()
    assert run(tree, "--check") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quick")
def test_a_limit_of_no_figure_fails(tree: Path) -> None:
    run(tree, "--record")
    rows = limits(tree) | {"late imports of gone": {"limit": 1}}
    (tree / budget.BUDGET).write_text(json.dumps(rows))
    assert run(tree, "--check") == 1


def test_each_figure_above_its_limit_is_found(tree: Path) -> None:
    figures = budget.measure(tree)
    just_right: dict[str, budget.Limit] = {figure.name: {"limit": figure.value} for figure in figures}
    assert not budget.above(figures, just_right)
    for figure in figures:
        lower: budget.Limit = {"limit": figure.value - 1}
        assert budget.above(figures, just_right | {figure.name: lower}) == [figure]


@pytest.mark.parametrize(
    ("seconds", "code", "asks"), [(179.0, 0, False), (182.0, 1, False), (21.0, 0, False), (19.0, 0, True)]
)
def test_the_time_of_tests_may_differ_as_machines_do(
    tree: Path, seconds: float, code: int, asks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {budget.SUITE: {"limit": 100}, "modules": {"limit": 3}}
    (tree / budget.BUDGET).write_text(json.dumps(rows))
    runs = tree / "record"
    runs.write_text(f'{{"processor_seconds": {seconds}}}\n{{"processor_seconds": 1000}}\n')
    assert run(tree, "--suite", str(runs), "--check") == code
    assert ("lower its limit" in capsys.readouterr().err) == asks
    assert run(tree, "--suite", str(runs), "--record", "--reason", "slower") == 0
    assert limits(tree)["modules"] == {"limit": 3}
    assert limits(tree)[budget.SUITE]["limit"] == round(seconds)


@pytest.mark.usefixtures("quick")
def test_list_prints_the_places_of_a_figure(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree, "--list", "modules") == 0
    assert "hashscan/model.py" in capsys.readouterr().out.splitlines()
    assert run(tree, "--list", "no such figure") == 2


def test_a_figure_without_a_limit_may_not_be_above_0() -> None:
    assert budget.above([Figure("one", 1), Figure("none", 0)], {}) == [Figure("one", 1)]
