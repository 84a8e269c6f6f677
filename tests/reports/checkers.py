"""Programs and schemas of others that read what we write; where one is missing, the test is skipped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def node_module(name: str) -> Path:
    """A folder of npm, as CI installs it."""
    found = Path(os.environ.get("TEST_NODE_MODULES", "/nonexistent"), name)
    if not found.exists():
        pytest.skip(f"{name} is not installed")
    return found


def program(name: str) -> str:
    """Path of a program of the system."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def junit_schema() -> Path:
    """The XSD of Jenkins' xUnit plug-in, which the source of pytest carries."""
    found = Path(os.environ.get("TEST_JUNIT_XSD", "/nonexistent"))
    if not found.exists():
        pytest.skip("there is no XSD of JUnit")
    return found
