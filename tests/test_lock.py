"""`requirements.lock` has a version and hashes for each library that pyproject.toml names, and no address."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()


def pins(python: str) -> Iterator[tuple[str, str]]:
    """Yield names and versions of the lock for an interpreter."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    for text in re.findall(r"^([a-z0-9][^\\\n]*?) *\\$", LOCK, re.MULTILINE):
        pin = Requirement(text)
        (specifier,) = pin.specifier
        if pin.marker is None or pin.marker.evaluate(environment):
            yield canonicalize_name(pin.name), specifier.version


@cache
def requirements() -> list[Requirement]:
    """Return what the project and its extras require, without its own extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = chain(project["dependencies"], *project["optional-dependencies"].values())
    return [one for one in map(Requirement, named) if one.name != project["name"]]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_requirement_has_a_version_that_it_allows(python: str) -> None:
    locked = dict(pins(python))
    refused = [one for one in requirements() if locked[canonicalize_name(one.name)] not in one.specifier]
    assert refused == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_no_library_has_two_versions_for_one_interpreter(python: str) -> None:
    names = [name for name, _ in pins(python)]
    assert len(names) == len(set(names))


def test_each_version_has_hashes_and_none_an_address() -> None:
    blocks = re.split(r"^(?=\w)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) > 100
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in LOCK
