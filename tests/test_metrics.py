"""Tests of `tools/metrics.py` on a small tree in which each figure is above 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import metrics

CATCHES = """\
from typing import Any
def caught(value: Any) -> None:

    # A comment.
    try:
        value()
    except (OSError, Exception):
        pass
    except KeyError:
        pass
    except:
        pass
"""

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
    "errors.py": CATCHES + "def long():\n" + "    pass\n" * 80 + "def short():\n" + "    pass\n" * 79,
    "_loop.c": "/* Two\n\n lines. */\nint one(void)\n{ return 1; } // so\n",
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
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/tool.py").write_text("import os\n\n")
    for number in range(metrics.FOLDER_MODULES + 2):
        (tmp_path / "hashscan/lists" / f"n{number}.py").write_text("\n" * metrics.SMALL_MODULE_LINES)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def test_every_figure_is_counted(tree: Path) -> None:
    figures = {figure.name: figure for figure in metrics.measure(tree)}
    assert {name: figure.value for name, figure in figures.items()} == {
        "modules": 38,
        "code lines: benchmarks": 0,
        "code lines: tools": 1,
        "code lines: C": 2,
        "code lines: hashscan": 2 + 2 + 2 + 1 + 1 + 178,
        "code lines: hashscan/lists": 2,
        "code lines: hashscan/reports": 1,
        "code lines: hashscan/sources": 5,
        "code lines: hashscan/modules in no package": 178,
        "uses of Any": 1,
        "broad excepts": 2,
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
    assert figures["functions over 80 lines"].places == ["hashscan/errors.py:13: long, 81 lines"]
    assert figures["function docstrings that open with What, Of, ..."].places == [
        "hashscan/model.py:10: The same as g."
    ]
