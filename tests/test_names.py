"""One concept has one name, by docs/glossary.md: in the package, tests, benchmarks, tools and examples."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools.metrics import OPENING

ROOT = Path(__file__).parents[1]
TREES = ("hashscan", "tests", "benchmarks", "tools", "examples")

FORMER = {
    "pace": "rate, or rate_limiter",
    "sweep": "scan",
    "settle": "the verb that says what is done: finish, record_checked, write_final",
}
"""Words that no name has, with the glossary's term."""

FORMER_OF_CLASS = {
    "DeadlineCalculator": ("clock", "deadlines"),
    "ScanState": ("memory", "state"),
    "HardLinkTable": ("memory", "table"),
    "DecodeCache": ("answers", "decode_cache"),
    "BatchResult": ("answers", "results"),
    "MoveResult": ("answers", "results"),
    "WorkerHandle": ("member", "worker"),
    "Membership": ("member", "membership"),
    "DecoderProgram": ("plugin", "program"),
}
"""By class: the word that no variable of it has, since it means something else, and the term."""

_STEMS = "|".join(word.removesuffix("e") for word in FORMER)
_WORDS = re.compile(rf"(?i)(?<![a-z])(un)?({_STEMS})(e|ed|er|es|s|ing|ement|t)?(?![a-z])")
_CLASSES = re.compile(rf"\b({'|'.join(FORMER_OF_CLASS)})\b")


@cache
def files() -> dict[Path, str]:
    """Return the text of each Python file, by its path in the tree."""
    found = (path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py")))
    return {
        path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in found if path != Path(__file__)
    }


def bound(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and type of everything that a module names: the type as it is annotated or called."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name, ""
            case ast.arg(arg=name, annotation=annotation):
                yield node.lineno, name, "" if annotation is None else ast.unparse(annotation)
            case ast.AnnAssign(target=target, annotation=annotation):
                yield node.lineno, _name(target), ast.unparse(annotation)
            case ast.Assign(targets=[target], value=ast.Call(func=function)):
                yield node.lineno, _name(target), ast.unparse(function)
            case ast.withitem(
                context_expr=ast.Call(func=function), optional_vars=ast.Name(id=name, lineno=line)
            ):
                yield line, name, ast.unparse(function)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name, ""


def _name(target: ast.expr) -> str:
    return (
        target.attr
        if isinstance(target, ast.Attribute)
        else target.id
        if isinstance(target, ast.Name)
        else ""
    )


def misnomers(path: Path, text: str) -> Iterator[str]:
    """Yield the places of a file with a name that the glossary has another term for."""
    if not _WORDS.search(text) and not _CLASSES.search(text):
        return
    for line, name, kind in bound(ast.parse(text)):
        if _WORDS.search(_spaced(name)):
            yield f"{path}:{line}: {name}"
        for found in _CLASSES.findall(kind):
            former, term = FORMER_OF_CLASS[found]
            if re.search(rf"(?i)(?<![a-z]){former}s?(?![a-z])", name):
                yield f"{path}:{line}: {name} is a {found}: {term}"


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)


def test_every_name_is_the_glossarys() -> None:
    assert [place for path, text in files().items() for place in misnomers(path, text)] == []


def test_no_text_has_a_former_word() -> None:
    """Column, table, record type, option, message: none says sweep."""
    pages = [
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "docs").rglob("*.json"),
    ]
    texts = files() | {page.relative_to(ROOT): page.read_text(encoding="utf-8") for page in pages}
    assert [str(path) for path, text in texts.items() if re.search(r"(?i)\bsweep", text)] == []


def test_no_docstring_opens_with_a_question_word() -> None:
    opening = re.compile(rf'^ *r?"""{OPENING.pattern}.*', re.MULTILINE)
    assert [f"{path}: {found[0]}" for path, text in files().items() for found in opening.finditer(text)] == []


@pytest.mark.parametrize(
    "code",
    [
        "pace = 1",
        "def test_a_sweep(): pass",
        "class Sweeper: pass\nself.sweeps = 1",
        "def f(unsettled): pass",
        "class Settlement: pass",
        "def f(*, clock: DeadlineCalculator | None): pass",
        "with ScanState(x) as memory: pass",
        "self._answers = DecodeCache()",
        "answers: list[BatchResult] = []",
    ],
)
def test_a_former_name_is_found(code: str) -> None:
    assert list(misnomers(Path("x.py"), code))


@pytest.mark.parametrize(
    "code",
    [
        "space = colour_space",
        "clock = time.monotonic",
        "answers: Answers",
        "memory = mmap(1)",
        "member: ArchiveMember",
    ],
)
def test_other_names_are_free(code: str) -> None:
    assert not list(misnomers(Path("x.py"), code))
