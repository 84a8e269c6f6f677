"""Makes copies of the package in which each message has other words, drawn at random."""

from __future__ import annotations

import ast
import marshal
import random
import re
from collections.abc import Iterator, Sequence
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType

import hashscan
from tests.prose import NAMES, names_in, text_of
from tools.metrics import read_modules

PACKAGE = Path(hashscan.__file__).parent
_MARK = re.compile("\x01\x02([0-9]+)\x02")
"""The prefix of a message that is to be changed; the group is its number."""
_SQL = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|WHERE|FROM|SET|AND|ORDER|VALUES|PRAGMA|JOIN|BEGIN|NULL|INTO|LIKE"
    r"|VACUUM|UNION|REINDEX|ATTACH|GROUP|EXISTS|LIMIT|REFERENCES|UNIQUE|DROP|COLLATE|ON|IS|AS|NOT|IN|OR|BY"
    r"|DESC|CASE|WHEN|THEN|ELSE|END|HAVING|CHECK|PRIMARY|KEY|INDEX|TABLE|TEXT|INTEGER|EXCEPT)\b|= ?\?|\?,"
)
_CODE = re.compile(
    r"\w [<>]=? |\A, \w+\Z|\w\(\w+[,)]|=:\w|\A\w+(, \w+){4,}\Z|import |'\w+': |\\|\[[a-zA-Z^]|\(\?|; charset"
    r"|[<>=]\d+s |\.\*"
)
"""Parts of queries without a word of SQL, file formats, patterns."""
_UNCHANGED = re.compile(r"\{[^}]*\}|%(\(\w+\))?[-+ #0-9.]*[a-zA-Z]|\S*[/<>=]\S*|([A-Za-z]{2,})")
"""Fields of templates, addresses and markup, which stay; or a word, as the last group."""
_KEYS = {Path("hashscan/state/store/profile.py")}
"""Modules whose texts with spaces are keys: of what results were made with."""
_OF_CODE = {"Struct", "compile", "split", "getLogger", "TypeVar", "NewType", "FileFormat", "strftime"}


class _Marker(ast.NodeTransformer):
    """Marks the messages of a module."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.count = 0

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        text = node.value
        if isinstance(text, str) and self._is_message(text):
            self.count += 1
            return ast.copy_location(ast.Constant(f"\x01\x02{self.count}\x02{text}"), node)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return self.generic_visit(node) if self._is_message(text_of(node)) else node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        node.value = self.visit(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of_pattern = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re"
        return node if named in _OF_CODE or of_pattern else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        bases = {one.id for one in node.bases if isinstance(one, ast.Name)}
        # The members of an enumeration are codes, whatever they look like.
        return node if bases & {"StrEnum", "Enum"} else self.generic_visit(node)

    def _is_message(self, text: str) -> bool:
        return (
            " " in text
            and re.search("[A-Za-z]", text) is not None
            and text not in self._names
            and not _SQL.search(text)
            and not _CODE.search(text)
        )


def _changed(text: str, source: random.Random) -> str:
    def word(found: re.Match[str]) -> str:
        letters = found[found.lastindex or 0] if found.lastindex == 2 else ""
        return "".join(source.choices("bcdfghjklmnpqrstvwxz", k=len(letters))) if letters else found[0]

    return _UNCHANGED.sub(word, text)


def _filled(value: object, name: str, seed: int) -> object:
    """Return a constant with random words in what is marked."""
    if isinstance(value, CodeType):
        return value.replace(co_consts=tuple(_filled(one, name, seed) for one in value.co_consts))
    if isinstance(value, tuple | frozenset):
        return type(value)(_filled(one, name, seed) for one in value)
    if isinstance(value, str) and (marks := _MARK.findall(value)):
        # The compiler joins texts that stand beside one another.
        return _changed(_MARK.sub("", value), random.Random(f"{seed} {name} {marks}"))
    return value


def changed_copies(folder: Path, seeds: Sequence[int]) -> Iterator[Path]:
    """Yield a folder for each seed, in which the package and its demonstration list are."""
    modules = read_modules(PACKAGE.parent)
    names = NAMES.union(*(names_in(module.tree) for module in modules))
    compiled: list[tuple[Path, CodeType]] = []
    for module in modules:
        marker = _Marker(names)
        tree = ast.fix_missing_locations(module.tree if module.path in _KEYS else marker.visit(module.tree))
        compiled.append((module.path, compile(tree, f"changed/{module.path}", "exec", dont_inherit=True)))
    others = [
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and (path.suffix != ".py" or "migrations" in path.parts)
    ]
    for seed in seeds:
        copy = folder / str(seed)
        for path, code in compiled:
            place = copy / path.with_suffix(".pyc")
            place.parent.mkdir(parents=True, exist_ok=True)
            filled = _filled(code, str(path), seed)
            place.write_bytes(MAGIC_NUMBER + bytes(12) + marshal.dumps(filled))
        for path in others:
            place = copy / path.relative_to(PACKAGE.parent)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
        (copy / "hashlists").symlink_to(PACKAGE.parent / "hashlists")
        yield copy
