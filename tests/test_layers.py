"""The floors of the house: no import runs up or sideways, no library leaves the rooms that own it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import hashscan

PACKAGE = Path(hashscan.__file__).parent

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"bytecode", "errors", "process"}),
    frozenset({"model"}),
    frozenset({"sandbox"}),
    frozenset({"lists", "sources", "hashing"}),
    frozenset({"reports", "quarantine"}),
    frozenset({"registry"}),
    frozenset({"settings"}),
    frozenset({"scan"}),
    frozenset({"cases", "service"}),
    frozenset({"alarms"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the ground up; rooms of one floor are neighbours."""

OWNERS: dict[str, frozenset[str]] = {
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "tqdm": frozenset({"cli"}),
    "PIL": frozenset({"hashing"}),
    "pillow_heif": frozenset({"hashing"}),
    "imagehash": frozenset({"hashing"}),
    "xxhash": frozenset({"hashing", "lists", "scan"}),
    "numpy": frozenset({"hashing", "lists", "scan"}),
    "dask": frozenset({"scan"}),
    "distributed": frozenset({"scan"}),
    "tuf": frozenset({"lists"}),
    "securesystemslib": frozenset({"lists"}),
    "cryptography": frozenset({"lists"}),
    "urllib3": frozenset({"lists", "sources"}),
    "pyarrow": frozenset({"sources"}),
    "botocore": frozenset({"sources"}),
    "google": frozenset({"sources"}),
    "azure": frozenset({"sources"}),
    "requests": frozenset({"sources"}),
    "obstore": frozenset({"sources"}),
    "pyrage": frozenset({"quarantine"}),
    "ijson": frozenset({"lists"}),
    "defusedxml": frozenset({"lists"}),
    "sqlite3": frozenset({"scan", "cases", "reports"}),
    "jinja2": frozenset({"reports", "cases"}),
    "markupsafe": frozenset({"reports", "cases"}),
    "prometheus_client": frozenset({"alarms"}),
    "apprise": frozenset({"alarms"}),
    "pygal": frozenset({"cases"}),
}
"""Which rooms may use a library; one that is not named here may be used nowhere."""

PRIVATE: dict[str, tuple[str, frozenset[str]]] = {
    "PIL": ("pillow", frozenset({"hashing/jpeg_pixels.py"})),
    "tuf": ("tuf", frozenset({"lists/tuf_api.py"})),
}
"""Libraries whose private parts are used: their projects, and the modules that may. Any release may change
these, so that pyproject.toml must have an upper bound."""

STANDARD = __import__("sys").stdlib_module_names


def floor_of(room: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            if node.module == "hashscan":
                yield from ((node.lineno, f"hashscan.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def test_every_room_is_installed() -> None:
    """Where the tests run, all of the source is at hand; a wheel has only what is named."""
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("tests an installed package without its source")
    named = set(tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    assert {name for name in named if not name.startswith("hashlists")} == {
        ".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")
    }


def test_every_room_has_a_floor() -> None:
    for path in modules():
        floor_of(room_of(path))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_down(path: Path) -> None:
    here = room_of(path)
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "hashscan" or parts[1:] in ([], ["__version__"]):
            continue
        there = parts[1]
        assert there == here or floor_of(there) < floor_of(here), (
            f"{path.name}:{line}: {here} is on floor {floor_of(here)} and may not import {there} "
            f"on floor {floor_of(there)}"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    here = room_of(path)
    for line, name in imports(path):
        library = name.split(".")[0]
        if library == "hashscan" or (library in STANDARD and library not in OWNERS):
            continue
        if library == "hashlists":
            assert here == "lists", f"{path.name}:{line}: only lists reads the shipped data"
            continue
        assert here in OWNERS.get(library, frozenset()), f"{path.name}:{line}: {here} does not own {library}"


def private_uses(path: Path) -> Iterator[tuple[int, str]]:
    """Lines in which a private part of a library is used, and of which library."""
    imported: dict[str, str] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(alias.name, alias.asname or alias.name.split(".")[0]) for alias in node.names]
        else:
            continue
        for whole, name in names:
            library, *parts = whole.split(".")
            if library not in STANDARD | {"hashscan", "hashlists", "__future__"}:
                imported[name] = library
                if any(part.startswith("_") for part in parts):
                    yield node.lineno, library
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            value: ast.expr = node.value
            while isinstance(value, ast.Attribute):
                value = value.value
            if isinstance(value, ast.Name) and value.id in imported:
                yield node.lineno, imported[value.id]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_private_parts_of_libraries_are_used_where_that_is_known(path: Path) -> None:
    for line, library in private_uses(path):
        _, known = PRIVATE.get(library, ("", frozenset[str]()))
        assert str(path.relative_to(PACKAGE)) in known, f"{path.name}:{line}: uses private parts of {library}"


def test_libraries_whose_private_parts_are_used_have_an_upper_bound() -> None:
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("tests an installed package without its source")
    wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    for library, (name, users) in PRIVATE.items():
        assert any(library in {used for _, used in private_uses(PACKAGE / user)} for user in users)
        (requirement,) = [line for line in wanted if line.startswith(name)]
        assert ",<" in requirement, requirement


def test_the_guard_sees_a_private_part(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text(
        "from PIL import Image, _imaging\nimport tuf._x.y\nImage.core._z()\nImage.__doc__\nself._w\n"
    )
    assert sorted(private_uses(source)) == [(1, "PIL"), (2, "tuf"), (3, "PIL")]


def test_the_guard_sees_a_break(tmp_path: Path) -> None:
    """The test itself is tested: an import up, and one of a library in a strange room, are both found."""
    source = tmp_path / "bad.py"
    source.write_text("from hashscan.scan.workers.pool import Pool\nimport PIL.Image\n")
    names = [name for _, name in imports(source)]
    assert names == ["hashscan.scan.workers.pool", "PIL.Image"]
    assert floor_of("scan") > floor_of("sources")
    assert "sources" not in OWNERS["PIL"]


def test_the_address_for_reports_of_weaknesses_is_the_package_s() -> None:
    """Whoever has only the package, and whoever has only the source, write to the same address."""
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("tests an installed package without its source")
    [maintainer] = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["maintainers"]
    assert f"write to {maintainer['email']}," in (PACKAGE.parent / "SECURITY.md").read_text(encoding="utf-8")
