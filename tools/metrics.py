"""Figures of the source tree, counted in its syntax trees; `tools/budget.py` prints and limits them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

FOLDER_MODULES = 25
FUNCTION_LINES = 80
SMALL_MODULE_LINES = 40
"""Docstrings don't count."""
INTERFACE_IMPORTERS = 3
"""A module that so many other packages import from needs docstrings: pyproject.toml names it for D1."""

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"hub", "notice_form"}),
    frozenset({"web"}),
    frozenset({"service"}),
    frozenset({"alerts"}),
    frozenset({"cases"}),
    frozenset({"scan"}),
    frozenset({"state"}),
    frozenset({"matching", "attribution", "outside"}),
    frozenset({"registry", "oauth"}),
    frozenset({"quarantine", "reports", "settings", "service_client"}),
    frozenset({"lists", "sources", "hashing", "sandbox"}),
    frozenset({"hub_api", "matching_service_api"}),
    frozenset({"schema", "web_connection", "web_transport"}),
    frozenset(
        {"atomic_files", "hash_chain", "locking", "secret_files", "shortcomings", "text", "web_address"}
    ),
    frozenset({"model", "errors", "process", "bytecode", "c_parts", "state_dir", "system_log", "timefmt"}),
    frozenset({"plugins"}),
)
"""From top to bottom, as in ARCHITECTURE.md. A package imports from the layers below its own only; a module
that is named here lies in another layer than its package."""

_LOWER_MODULES = frozenset(name for layer in LAYERS for name in layer if "." in name)
"""Modules in another layer than their package; imports of them say nothing about the package."""

OPENING = re.compile(r"(What|Whether|Of|The same|How|Who|Whose|Where)\b")
"""Openings that no docstring has: a function's docstring is imperative, any other names its subject."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One module of the package, parsed."""

    name: str
    """Dotted, relative to the package; empty for the package's own `__init__`."""
    path: Path
    """Relative to the root of the tree."""
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def code_lines(self) -> int:
        """Return the number of lines without those that are blank, of comments or of docstrings."""
        found = [pair for kind in ("function", "class", "attribute") for pair in docstrings(self, kind)]
        left_out = {at for line, text in found for at in range(line, line + text.count("\n") + 1)}
        lines = enumerate(map(str.strip, self.text.splitlines()), 1)
        return sum(bool(line) and line[0] != "#" and at not in left_out for at, line in lines)

    @property
    def is_package(self) -> bool:
        """Return whether this is an `__init__.py`."""
        return self.path.name == "__init__.py"

    @property
    def folder(self) -> str:
        """Return the dotted name of the package that the module lies in."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    def place(self, line: int) -> str:
        """Return a line of the module as `path:line`."""
        return f"{self.path}:{line}"

    @property
    def docstring_lines(self) -> int:
        """Return the number of lines in docstrings of all kinds."""
        kinds = ("function", "class", "attribute")
        return sum(text.count("\n") + 1 for kind in kinds for _, text in docstrings(self, kind))


@dataclass(frozen=True)
class Figure:
    """A figure and the places that it counts."""

    name: str
    value: int
    places: Sequence[str] = ()
    base: int = 0
    """The number of things among which these were counted; 0 where a share says nothing."""


def read_modules(root: Path, package: str = "hashscan") -> list[Module]:
    """Parse all modules of a package.

    Args:
        root: the folder that the package lies in.
        package: its name.
    """
    found = []
    for path in sorted((root / package).rglob("*.py")):
        if "migrations" in path.parts:  # written by a tool, and never changed
            continue
        parts = path.relative_to(root / package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, path.relative_to(root), text, ast.parse(text)))
    return found


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return a node and all below it."""
    return tuple(ast.walk(tree))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each import below a node: its line and the dotted name; a relative import begins with a dot."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "hashscan":
                yield from ((node.lineno, f"hashscan.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield all functions and methods below a node."""
    for node in nodes(tree):
        if isinstance(node, Function):
            yield node


def layer_of(name: str) -> int | None:
    """Return the layer of a module, 0 at the top; None where its package is in no layer."""
    for place in (".".join(name.split(".")[:2]), name.partition(".")[0]):
        for level, packages in enumerate(LAYERS):
            if place in packages:
                return level
    return None


def upward_imports(modules: Iterable[Module]) -> Iterator[str]:
    """Yield a line for each import that does not go down, and for each module that is in no layer."""
    for module in modules:
        if not module.name:
            continue
        here = layer_of(module.name)
        if here is None:
            yield f"{module.place(1)}: {module.name} is in no layer"
            continue
        for line, imported in imports(module.tree):
            if imported.startswith("."):
                yield f"{module.place(line)}: relative import"
                continue
            library, _, name = imported.partition(".")
            if library != "hashscan" or name in {"", "__version__"}:
                continue
            there = layer_of(name)
            same = name.partition(".")[0] == module.name.partition(".")[0]
            if not same and (there is None or there <= here):
                yield f"{module.place(line)}: imports {imported}, which is not in a layer below"


def mutual_imports(modules: Sequence[Module], *, depth: int) -> Iterator[str]:
    """Yield a line for each pair of packages that import each other.

    Args:
        modules: all of the package.
        depth: parts of a package's name that count. At 1, what lies deeper counts as its top package; at 2,
            a package and what lies directly in it are two.
    """
    packages = {module.folder for module in modules} - {""}
    folders = {module.name: module.folder for module in modules}
    edges: dict[tuple[str, str], list[str]] = defaultdict(list)
    for module in modules:
        for line, imported in imports(module.tree):
            library, _, name = imported.partition(".")
            if library != "hashscan" or not name or name in _LOWER_MODULES:
                continue
            folder = folders.get(name, name.rpartition(".")[0])
            here, there = (".".join(part.split(".")[:depth]) for part in (module.folder, folder))
            if here != there and {here, there} <= packages:
                edges[here, there].append(module.place(line))
    for here, there in sorted(edges):
        if here < there and (there, here) in edges:
            ways = [edges[here, there], edges[there, here]]
            shown = ", ".join(f"{len(places)} such as {places[0]}" for places in ways)
            yield f"{here} and {there}: {shown}"


def late_imports(modules: Iterable[Module]) -> dict[str, list[str]]:
    """Return the places in which functions import a library, by the library."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        for function in functions(module.tree):
            for line, imported in imports(function):
                found[imported.partition(".")[0]].add(module.place(line))
    return {library: sorted(places) for library, places in sorted(found.items())}


def docstrings(module: Module, kind: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module, each with its line.

    Args:
        module: to read.
        kind: `function`, `class` (with the module's own) or `attribute`.
    """
    for node in nodes(module.tree):
        if not isinstance(node, Function | ast.ClassDef | ast.Module):
            continue
        if kind == "attribute":
            if not isinstance(node, Function):
                yield from attribute_docstrings(node.body)
        elif isinstance(node, Function) == (kind == "function"):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text


def attribute_docstrings(body: Sequence[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Yield the strings that stand below assignments, each with its line."""
    for before, after in pairwise(body):
        if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield after.lineno, value.value


def docstring_figure(modules: Sequence[Module], kind: str, name: str) -> Figure:
    """Count the docstrings of a kind that begin as none should."""
    places, base = [], 0
    for module in modules:
        for line, text in docstrings(module, kind):
            base += 1
            if OPENING.match(text):
                places.append(f"{module.place(line)}: {text.splitlines()[0]}")
    return Figure(name, len(places), places, base)


def exceptions_from_rules(root: Path) -> Iterator[Figure]:
    """Yield how many files are excepted from each of ruff's rules, and the exceptions for missing files."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    lint = project.get("tool", {}).get("ruff", {}).get("lint", {})
    by_rule: dict[str, list[str]] = defaultdict(list)
    missing = []
    for pattern, rules in lint.get("per-file-ignores", {}).items():
        if "*" in pattern:
            continue
        if pattern.startswith("!"):
            missing += [name for name in braced(pattern) if not (root / name).is_file()]
            continue
        if not (root / pattern).is_file():
            missing.append(pattern)
        for rule in rules:
            by_rule[rule].append(pattern)
    for rule, files in sorted(by_rule.items()):
        yield Figure(f"files excepted from {rule}", len(files), files)
    yield Figure("exceptions for missing files", len(missing), missing)


def braced(pattern: str) -> list[str]:
    """Return the files of a pattern `!folder/{one,other}.py`, which excepts all others from a rule."""
    before, _, rest = pattern.removeprefix("!").partition("{")
    names, _, after = rest.partition("}")
    return [f"{before}{name}{after}" for name in names.split(",")]


def interface_without_rule(root: Path, modules: Sequence[Module]) -> Iterator[str]:
    """Yield the modules of the interface that pyproject.toml does not name for D1."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    ignores = project["tool"]["ruff"]["lint"]["per-file-ignores"]
    named = {name for pattern, rules in ignores.items() if "D1" in rules for name in braced(pattern)}
    importers: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        for _, imported in imports(module.tree):
            importers[imported.removeprefix("hashscan.")].add(module.name.partition(".")[0])
    for module in modules:
        others = importers[module.name] - {module.name.partition(".")[0]}
        if len(others) >= INTERFACE_IMPORTERS and not module.is_package and str(module.path) not in named:
            yield f"{module.path}: {', '.join(sorted(others))} import from it"


def code_lines(root: Path, modules: Iterable[Module]) -> Iterator[Figure]:
    """Yield the lines of code of each package within `hashscan`, of all, and of what stands beside it."""
    by_package: Counter[str] = Counter()
    for module in modules:
        top = module.path.parts[1] if len(module.path.parts) > 2 else "modules in no package"
        by_package[f"hashscan/{top}"] += module.code_lines
        by_package["hashscan"] += module.code_lines
    for beside in ("benchmarks", "tools"):
        by_package[beside] = sum(module.code_lines for module in read_modules(root, beside))
    for package, lines in sorted(by_package.items()):
        yield Figure(f"code lines: {package}", lines)
    # Strings with such a mark don't occur.
    texts = [path.read_text(encoding="utf-8") for path in (root / "hashscan").rglob("*.[ch]")]
    bare = [re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL) for text in texts]
    yield Figure("code lines: C", sum(bool(line.strip()) for text in bare for line in text.splitlines()))


def uses_of_any(modules: Iterable[Module]) -> list[str]:
    """Return the places of `Any` in annotations."""
    return [
        module.place(node.lineno)
        for module in modules
        for node in nodes(module.tree)
        if (isinstance(node, ast.Name) and node.id == "Any")
        or (isinstance(node, ast.Attribute) and node.attr == "Any")
    ]


def broad_excepts(modules: Iterable[Module]) -> list[str]:
    """Return the places that catch all exceptions."""
    return [
        module.place(node.lineno)
        for module in modules
        for node in nodes(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or {"Exception", "BaseException"} & {n.id for n in nodes(node.type) if isinstance(n, ast.Name)}
        )
    ]


def measure(root: Path) -> list[Figure]:
    """Return all figures of a tree.

    Args:
        root: the folder with `pyproject.toml` and the package.
    """
    modules = read_modules(root)
    loose = [module for module in modules if not module.is_package]
    in_folder = Counter(module.path.parent for module in loose)
    crowded = {folder: n for folder, n in sorted(in_folder.items()) if n > FOLDER_MODULES}
    written = [(module, function) for module in modules for function in functions(module.tree)]
    long = [
        f"{module.place(function.lineno)}: {function.name}, {lines} lines"
        for module, function in written
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    code = [(module, module.lines - module.docstring_lines) for module in loose]
    small = [f"{module.path}: {lines} lines" for module, lines in code if lines < SMALL_MODULE_LINES]
    upward = list(upward_imports(modules))
    tops, folders = (list(mutual_imports(modules, depth=depth)) for depth in (1, 2))
    late = late_imports(modules)
    undocumented = list(interface_without_rule(root, modules))
    everywhere = {"uses of Any": uses_of_any(modules), "broad excepts": broad_excepts(modules)}
    size = sum(module.lines for module in modules)
    return [
        Figure("modules", len(modules), [str(module.path) for module in modules]),
        *code_lines(root, modules),
        Figure("docstring lines", sum(module.docstring_lines for module in modules), base=size),
        Figure(
            f"modules beyond {FOLDER_MODULES} a folder",
            sum(n - FOLDER_MODULES for n in crowded.values()),
            [f"{folder}: {n} modules" for folder, n in crowded.items()],
        ),
        Figure(f"modules under {SMALL_MODULE_LINES} lines", len(small), small, len(loose)),
        Figure(f"functions over {FUNCTION_LINES} lines", len(long), long, len(written)),
        Figure("imports not down the layers", len(upward), upward),
        Figure("top packages that import each other", len(tops), tops),
        Figure("packages that import each other", len(folders), folders),
        Figure("interface modules without D1", len(undocumented), undocumented),
        docstring_figure(modules, "function", "function docstrings that open with What, Of, ..."),
        docstring_figure(modules, "class", "class and module docstrings that do"),
        docstring_figure(modules, "attribute", "attribute docstrings that do"),
        *(Figure(name, len(places), places) for name, places in everywhere.items()),
        *exceptions_from_rules(root),
        *(Figure(f"late imports of {library}", len(places), places) for library, places in late.items()),
    ]
