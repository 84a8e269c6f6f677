"""Tests of `tools/metrics.py` on a small tree in which each figure is above 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import metrics

FILES = {
    "__init__.py": '"""Of the package."""\n',
    "lists/__init__.py": "",
    "lists/a.py": "from hashscan.sources.b import B\nfrom hashscan.model import K\n",
    "sources/__init__.py": "",
    "sources/b.py": "from hashscan.lists import a\nimport numpy\n",
    "sources/objects/__init__.py": "",
    "sources/objects/c.py": "from hashscan.sources import b\nfrom hashscan.model import K\n",
    "reports/e.py": "from hashscan.model import K\n",
    "sources/d.py": "from hashscan.sources.objects.c import C\n",
    "model.py": (
        '"""Names what is good."""\n'
        "import os\n"
        "class K:\n"
        '    """What it is."""\n'
        "    a: int\n"
        '    """Whether it is."""\n'
        "    b = 1\n"
        '    """The value."""\n'
        "    def f(self):\n"
        '        """The same as g."""\n'
        "        import json\n"
        "    async def g(self):\n"
        '        """Return what is there."""\n'
    ),
    "errors.py": "def long():\n" + "    pass\n" * 80 + "def short():\n" + "    pass\n" * 79,
}

PROJECT = """
[tool.ruff.lint.per-file-ignores]
"tests/**" = ["S"]
"hashscan/model.py" = ["D401"]
"hashscan/gone.py" = ["D401", "C901"]
"!hashscan/{errors,sources/gone}.py" = ["D1"]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree in which each figure is above 0."""
    for name, text in FILES.items():
        path = tmp_path / "hashscan" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for number in range(metrics.FOLDER_MODULES + 2):
        (tmp_path / "hashscan/lists" / f"n{number}.py").write_text("\n" * metrics.SMALL_MODULE_LINES)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def test_every_figure_is_counted(tree: Path) -> None:
    figures = {figure.name: figure for figure in metrics.measure(tree)}
    assert {name: figure.value for name, figure in figures.items()} == {
        "modules": 38,
        "lines": 1 + 2 + 1 + 2 + 2 + 1 + 13 + 161 + 27 * 40,
        "docstring lines": 7,
        "modules beyond 25 a folder": 3,
        "modules under 40 lines": 6,
        "functions over 80 lines": 1,
        "imports not down the layers": 2,
        "top packages that import each other": 1,
        "packages that import each other": 2,
        "interface modules without D1": 1,
        "function docstrings that open with What, Of, ...": 1,
        "class and module docstrings that do": 2,
        "attribute docstrings that do": 1,
        "files excepted from C901": 1,
        "files excepted from D401": 2,
        "exceptions for missing files": 2,
        "late imports of json": 1,
    }
    assert figures["functions over 80 lines"].places == ["hashscan/errors.py:1: long, 81 lines"]
    assert figures["function docstrings that open with What, Of, ..."].places == [
        "hashscan/model.py:10: The same as g."
    ]


def test_each_figure_above_its_limit_is_a_violation(tree: Path) -> None:
    figures = metrics.measure(tree)
    just_right = {figure.name: figure.value for figure in figures}
    assert not metrics.violations(figures, just_right)
    assert just_right.keys() > metrics.SIZES
    for name in just_right.keys() - metrics.SIZES:
        [line] = metrics.violations(figures, just_right | {name: just_right[name] - 1})
        assert line.startswith(f"{name}: ")
    assert len(metrics.violations(figures, {})) == len(figures) - len(metrics.SIZES)


def test_check_fails_and_names_the_figures(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the small tree, those figures that the project's own limits don't allow."""
    assert metrics.main(["--root", str(tree)]) == 0
    assert capsys.readouterr().err == ""
    assert metrics.main(["--root", str(tree), "--check"]) == 1
    said = capsys.readouterr().err
    for name in ("imports not down the layers", "exceptions for missing files", "late imports of json"):
        assert f"metrics: {name}: " in said
    # The tree has no import of this library.
    assert "metrics: late imports of pyrage: " in said


def test_list_prints_the_places_of_a_figure(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert metrics.main(["--root", str(tree), "--list", "functions over 80 lines"]) == 0
    assert capsys.readouterr().out == "hashscan/errors.py:1: long, 81 lines\n"
    assert metrics.main(["--root", str(tree), "--list", "no such figure"]) == 2
