"""Find decisions that are made on the text of messages; decisions are made on codes and fields.

A message is a text with a space and a letter, also as an item of a constant, what `str(error)` returns, and
what an attribute or key in `ATTRIBUTES` holds. A regular expression is about messages if it has two words. A
decision is a comparison, a match-case, a search, a regular expression, or a look-up in a dictionary.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from tools.metrics import Function, Module, nodes

ATTRIBUTES = frozenset(
    {"advice", "because", "detail", "message", "pathless", "remedy", "strerror", "withheld"}
)
"""Attributes and keys of records that hold messages."""
NAMES = frozenset(
    {"as stored", "borders trimmed", "as shown", "JPEG in several scans", "libavformat: mjpeg", "none: "}
)
"""Values in reports and settings that have a space and are no messages, besides the names of formats."""
COUNTERS = frozenset({"left_out"})
"""Counters by message, of what is only printed."""
_METHODS = frozenset({"startswith", "endswith", "removeprefix", "removesuffix", "find", "rfind", "index"})
_METHODS |= {"rindex", "count", "partition", "rpartition", "get"}
_PATTERN_METHODS = frozenset({"compile", "match", "fullmatch", "search", "findall", "finditer"})
_SAME_TEXT = frozenset(
    ["lower", "upper", "casefold", "strip", "rstrip", "lstrip", "replace", "encode", "decode"]
)
_TWO_WORDS = re.compile("[A-Za-z]{2,} [A-Za-z]{2,}")


class Prose:
    """Recognises the messages in the expressions of one module."""

    def __init__(self, constants: Mapping[str, str], names: frozenset[str]) -> None:
        """Take the module's constants that are messages, and texts that are none."""
        self._constants = constants
        self._names = names
        self._errors: set[str] = set()
        self._texts: set[str] = set()

    def enter(self, function: Function) -> None:
        """Learn which variables of a function are errors, and which texts of errors."""
        inner = nodes(function)
        self._errors = {one.name for one in inner if isinstance(one, ast.ExceptHandler) and one.name}
        self._errors |= {
            one.arg
            for one in inner
            if isinstance(one, ast.arg)
            and one.annotation
            and re.search("Err|Exc", ast.unparse(one.annotation))
        }
        self._texts = {
            target.id
            for one in inner
            if isinstance(one, ast.Assign) and self._is_text_of_error(one.value)
            for target in one.targets
            if isinstance(target, ast.Name)
        }

    def found_in(self, node: ast.AST | None) -> str | None:
        """Return the message that an expression is, or has as an item; None if it has none."""
        match node:
            case ast.Constant(value=str(text)):
                return text if self._is_prose(text) else None
            case ast.JoinedStr():
                text = text_of(node)
                return text if self._is_prose(text) else None
            case ast.Name(id=name):
                return name if name in self._texts else self._constants.get(name)
            case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
                return name if name in ATTRIBUTES else None
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re")), args=[pattern, *_]):
                text = self.found_in(pattern)
                return text if text is not None and _TWO_WORDS.search(text) else None
            case ast.Call(func=ast.Attribute(value=text, attr=method)) if method in _SAME_TEXT:
                return self.found_in(text)
        if self._is_text_of_error(node):
            return "str(error)"
        return next(filter(None, map(self.found_in, _items_of(node))), None)

    def _is_prose(self, text: str) -> bool:
        return " " in text and re.search("[A-Za-z]", text) is not None and text not in self._names

    def _is_text_of_error(self, node: ast.AST | None) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
                return name in self._errors
            case ast.Call(func=ast.Attribute(value=text, attr=method)):
                return method in _SAME_TEXT and self._is_text_of_error(text)
        return False


def text_of(node: ast.JoinedStr) -> str:
    """Return the text of an f-string, with a mark for each value."""
    return "".join(str(one.value) if isinstance(one, ast.Constant) else "_" for one in node.values)


def _items_of(node: ast.AST | None) -> Iterator[ast.AST | None]:
    """Yield the items and parts of an expression that are texts of their own."""
    match node:
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items) | ast.Dict(keys=items):
            yield from items
        case ast.Call(func=ast.Name(id="frozenset" | "set" | "tuple" | "list"), args=items):
            yield from items
        case ast.BinOp(left=left, right=right):
            yield from (left, right)


def _decided_on(node: ast.AST) -> Iterator[ast.AST | None]:
    """Yield the expressions on which a node decides."""
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            if not any(isinstance(op, ast.Is | ast.IsNot) for op in ops):
                yield from (left, *others)
        case ast.MatchValue(value=value):
            yield value
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"))):
            yield node
            yield from node.args[1:]
        case ast.Call(func=ast.Attribute(value=pattern, attr=method), args=texts) if (
            method in _PATTERN_METHODS
        ):
            yield from (pattern, *texts)
        case ast.Call(func=ast.Attribute(value=text, attr=method), args=arguments) if method in _METHODS:
            yield from (text, *arguments[:1])
        case ast.Dict(keys=keys):
            yield from keys
        case ast.Subscript(value=counter, slice=key):
            if not isinstance(counter, ast.Name | ast.Attribute) or _name_of(counter) not in COUNTERS:
                yield key


def _name_of(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def names_in(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module gives to formats, and the types that it gives names to."""
    for node in nodes(tree):
        match node:
            case ast.Call(func=ast.Name(id="FileFormat"), args=[ast.Constant(value=str(name)), *_]):
                yield name
            case ast.AnnAssign(annotation=ast.Name(id="TypeAlias"), value=ast.Constant(value=str(name))):
                yield name


def _constants_in(tree: ast.Module, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    prose = Prose({}, names)
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                text = prose.found_in(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                text = prose.found_in(value)
            case _:
                continue
        if text is not None:
            yield name, text


def _in_functions(
    tree: ast.AST, name: str = "", function: Function | None = None
) -> Iterator[tuple[str, Function | None, ast.AST]]:
    """Yield all nodes below one, with the dotted name and the outermost function that each is in."""
    for node in ast.iter_child_nodes(tree):
        dotted, inner = name, function
        if isinstance(node, Function | ast.ClassDef):
            dotted = f"{name}.{node.name}" if name else node.name
            inner = function or (node if isinstance(node, Function) else None)
        yield dotted, inner, node
        yield from _in_functions(node, dotted, inner)


def decisions_on_prose(modules: Iterable[Module], foreign: Iterable[str]) -> Iterator[str]:
    """Yield each decision on a message, and each exception that none needs.

    Args:
        modules: those of the package.
        foreign: functions that read texts of others, as `module:function`; `module:` for its constants.
    """
    modules, unneeded = list(modules), set(foreign)
    names = NAMES.union(*(names_in(module.tree) for module in modules))
    constants = {module.name: dict(_constants_in(module.tree, names)) for module in modules}
    for module in modules:
        known = dict(constants[module.name])
        for node in nodes(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                there = constants.get(node.module.removeprefix("hashscan."), {})
                known |= {one.asname or one.name: there[one.name] for one in node.names if one.name in there}
        prose, entered = Prose(known, names), None
        for name, function, node in _in_functions(module.tree):
            if function is not None and function is not entered:
                prose.enter(function)
                entered = function
            texts = [text for part in _decided_on(node) if (text := prose.found_in(part)) is not None]
            if not texts:
                continue
            unneeded.discard(f"{module.name}:{name}")
            if f"{module.name}:{name}" not in foreign:
                line = getattr(node, "lineno", 0)
                yield f"{module.place(line)}: {name or 'a constant'} decides on {texts[0]!r}"
    yield from (f"{one} needs no exception" for one in sorted(unneeded))
