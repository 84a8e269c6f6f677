"""Checks that imports go down the layers only, and that each library stays in the packages that own it."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import hashscan
from tools.metrics import Module, imports, nodes, read_modules, upward_imports

PACKAGE = Path(hashscan.__file__).parent

OWNERS: dict[str, frozenset[str]] = {
    "PIL": frozenset({"hashing"}),
    "alembic": frozenset({"hub.storage"}),
    "apprise": frozenset({"alerts.channels"}),
    "argon2": frozenset({"hub.accounts"}),
    "av": frozenset({"hashing.recognition", "hashing.video"}),
    "azure": frozenset({"sources.objects"}),
    "botocore": frozenset({"sources.objects"}),
    "click": frozenset({"cli"}),
    "cryptography": frozenset({"cases.care", "lists.publishing"}),
    "dask": frozenset({"scan.cluster"}),
    "defusedxml": frozenset({"lists.exchanges", "lists.formats"}),
    "distributed": frozenset({"scan.cluster"}),
    "google": frozenset({"sources.objects"}),
    "google_crc32c": frozenset({"sources.objects.checksums"}),
    "libarchive": frozenset({"hashing"}),
    "h11": frozenset({"service.doors.http"}),
    "ijson": frozenset({"lists.formats"}),
    "imagehash": frozenset({"hashing"}),
    "inflate64": frozenset({"hashing.archives"}),
    "jinja2": frozenset({"cases.letters", "reports.page", "web"}),
    "markupsafe": frozenset({"reports.page", "web"}),
    "numpy": frozenset({"hashing", "hub.checks", "lists", "matching", "state"}),
    "olefile": frozenset({"hashing.documents"}),
    "obstore": frozenset({"sources.objects"}),
    "pillow_heif": frozenset({"hashing"}),
    "pillow_jxl": frozenset({"hashing"}),
    "prometheus_client": frozenset({"alerts", "service.records.metrics"}),
    "pyarrow": frozenset({"sources.objects"}),
    "pyfusefilter": frozenset({"lists.filters"}),
    "pyotp": frozenset({"hub.accounts"}),
    "pypdfium2_raw": frozenset({"hashing.documents"}),
    "pyrage": frozenset({"quarantine"}),
    "requests": frozenset({"lists.exchanges", "sources.objects"}),
    "resvg_py": frozenset({"hashing.svg"}),
    "rfc3161_client": frozenset({"cases.care"}),
    "rich": frozenset({"cli"}),
    "securesystemslib": frozenset({"lists"}),
    "sqlite3": frozenset(
        {
            "lists.acceptance",
            "quarantine.retention",
            "cases",
            "hub.storage",
            "lists.exchanges",
            "reports.ncmec",
            "scan.hard_links",
            "state",
        }
    ),
    "sqlalchemy": frozenset({"hub"}),
    "starlette": frozenset({"hub.web", "notice_form", "service.doors.http", "web"}),
    "threatexchange": frozenset({"lists.exchanges"}),
    "tqdm": frozenset({"cli.output"}),
    "tuf": frozenset({"lists"}),
    "urllib3": frozenset(
        {
            "lists.exchanges",
            "lists.filters.fetching",
            "lists.pulling",
            "outside.looking",
            "service_client",
            "sources.objects",
            "web_transport",
        }
    ),
    "uvicorn": frozenset({"service.doors.http"}),
    "xxhash": frozenset({"hashing", "lists", "sources"}),
}
"""The packages or modules that may use a library; one that is not named here may be used nowhere."""

PRIVATE: dict[str, tuple[str, frozenset[str]]] = {
    "PIL": ("pillow", frozenset({"hashing.pillow_internals"})),
    "pyfusefilter": ("pyfusefilter", frozenset({"lists.filters.building"})),
    "threatexchange": (
        "threatexchange",
        frozenset({"lists.exchanges.ncmec", "lists.exchanges.threatexchange"}),
    ),
}
"""Libraries whose private names are used: their projects, and the modules that may. Any release may change
these names, so pyproject.toml must have an upper bound."""

UNDOCUMENTED = frozenset(
    (
        "DibImageFile",
        "IcoFile",
        "applist",
        "fp",
        "im",
        "layer",
        "load_end",
        "load_prepare",
        "resources",
        "tile",
    )
)
"""Names of Pillow that are not private by their spelling, but in no page of its documentation."""

STANDARD = frozenset(sys.stdlib_module_names)
EVERYWHERE = frozenset({"", "hashscan", "msgspec"})
"""Packages that any module may use; msgspec for value types, whose classes load faster than dataclasses."""


@cache
def read_package() -> Sequence[Module]:
    """Return the modules of the package, parsed once for all tests."""
    return read_modules(PACKAGE.parent)


def is_in(name: str, owners: frozenset[str]) -> bool:
    """Return whether a module is one of the owners, or lies in one."""
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def library_violations(modules: Sequence[Module]) -> Iterator[str]:
    """Yield a line for each import of a library by a module that may not use it."""
    for module in modules:
        for line, imported in imports(module.tree):
            library = imported.partition(".")[0]
            if library in EVERYWHERE or (library in STANDARD and library not in OWNERS):
                continue
            if not is_in(module.name, OWNERS.get(library, frozenset())):
                yield f"{module.place(line)}: may not use {library}"


def private_uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the lines in which a private name of a library is used, and the library."""
    imported: dict[str, str] = {}
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(alias.name, alias.asname or alias.name.split(".")[0]) for alias in node.names]
        else:
            continue
        for whole, name in names:
            library, *parts = whole.split(".")
            if library not in STANDARD | {"hashscan"}:
                imported[name] = library
                if any(part.startswith("_") for part in parts):
                    yield node.lineno, library
    for node in nodes(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            value: ast.expr = node.value
            while isinstance(value, ast.Attribute):
                value = value.value
            if isinstance(value, ast.Name) and value.id in imported:
                yield node.lineno, imported[value.id]


def private_violations(modules: Sequence[Module]) -> Iterator[str]:
    """Yield a line for each use of a library's private name outside of the modules that may."""
    for module in modules:
        for line, library in private_uses(module.tree):
            if module.name not in PRIVATE.get(library, ("", frozenset[str]()))[1]:
                yield f"{module.place(line)}: uses private names of {library}"


def undocumented_uses(modules: Sequence[Module]) -> Iterator[str]:
    """Yield a line for each use of an undocumented name of Pillow outside of the module that may."""
    for module in modules:
        if is_in(module.name, OWNERS["PIL"]) and module.name not in PRIVATE["PIL"][1]:
            uses = (node for node in nodes(module.tree) if isinstance(node, ast.Attribute))
            for node in uses:
                # numpy has a function of the same name.
                if node.attr in UNDOCUMENTED and ast.unparse(node) != "np.tile":
                    yield f"{module.place(node.lineno)}: uses {node.attr}"


def idle_owners(modules: Sequence[Module]) -> Iterator[str]:
    """Yield each entry of a table that nothing needs any more, so that the tables only shrink."""
    used = {
        (imported.partition(".")[0], module.name)
        for module in modules
        for _, imported in imports(module.tree)
    }
    for library, owners in OWNERS.items():
        for owner in owners:
            if not any(library == user and is_in(name, frozenset({owner})) for user, name in used):
                yield f"{owner} does not use {library}"
    private = {(library, module.name) for module in modules for _, library in private_uses(module.tree)}
    for library, (_, owners) in PRIVATE.items():
        for owner in owners:
            if (library, owner) not in private:
                yield f"{owner} uses no private name of {library}"


def unbounded(dependencies: Iterable[str]) -> Iterator[str]:
    """Yield each requirement without an upper bound whose library's private names are used."""
    projects = tuple(project for project, _ in PRIVATE.values())
    for requirement in dependencies:
        if requirement.startswith(projects) and ",<" not in requirement:
            yield f"{requirement} has no upper bound"


def test_imports_go_down_the_layers() -> None:
    """The layers are a table of `tools/metrics.py`; a folder that is no package would be in no wheel."""
    modules = read_package()
    assert not list(upward_imports(modules))
    assert {module.path.parent for module in modules if module.is_package} == {
        module.path.parent for module in modules
    }


def test_libraries_and_private_names_are_used_by_their_owners() -> None:
    modules = read_package()
    found = library_violations(modules), private_violations(modules), undocumented_uses(modules)
    assert not [*chain.from_iterable(found), *idle_owners(modules)]
    project = PACKAGE.parent / "pyproject.toml"
    if project.exists():  # not where an installed package is tested
        wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
        assert not list(unbounded(wanted))


def test_each_kind_of_violation_is_found(tmp_path: Path) -> None:
    """Check the checks above on a small tree."""
    for name, text in {
        "__init__.py": "",
        "scan/workers/good.py": "import os\nfrom hashscan import __version__, errors\n"
        "from hashscan.sources.base import Source\n",
        "sources/up.py": "def f():\n    from hashscan.scan.workers.pool import Pool\n",
        "reports/beside.py": "import hashscan.quarantine.log\nfrom .csv import Csv\n",
        "stray.py": "import PIL.Image\n",
        "hashing/private.py": "from PIL import Image, _imaging\nimport tuf._x.y\nImage.core._z()\n"
        "Image.__doc__\nself._w\nimage.applist\nnp.tile\n",
    }.items():
        path = tmp_path / "hashscan" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    modules = read_modules(tmp_path)
    assert list(upward_imports(modules)) == [
        "hashscan/reports/beside.py:1: imports hashscan.quarantine.log, which is not in a layer below",
        "hashscan/reports/beside.py:2: relative import",
        "hashscan/sources/up.py:2: imports hashscan.scan.workers.pool, which is not in a layer below",
        "hashscan/stray.py:1: stray is in no layer",
    ]
    assert list(library_violations(modules)) == [
        "hashscan/hashing/private.py:2: may not use tuf",
        "hashscan/stray.py:1: may not use PIL",
    ]
    assert list(private_violations(modules)) == [
        "hashscan/hashing/private.py:1: uses private names of PIL",
        "hashscan/hashing/private.py:2: uses private names of tuf",
        "hashscan/hashing/private.py:3: uses private names of PIL",
    ]
    assert list(undocumented_uses(modules)) == ["hashscan/hashing/private.py:6: uses applist"]
    idle = list(idle_owners(modules))
    assert "hashing does not use PIL" not in idle
    assert "cli does not use click" in idle
    assert "hashing.pillow_internals uses no private name of PIL" in idle
    bounded = ["threatexchange>=1,<2", "click>=8"]
    assert list(unbounded(["pillow>=11", *bounded])) == ["pillow>=11 has no upper bound"]
