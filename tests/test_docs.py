"""Tests of documents: modules that ARCHITECTURE names exist, the index and the glossary are whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from hashscan.cli.main import cli
from tools import reference
from tools.metrics import LAYERS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hashscan"
DOCS = ROOT / "docs"
NEW_STYLE = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/index.md")
"""Documents whose lines are wrapped."""

LINE_LENGTH = 100

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def paths_named(text: str) -> set[str]:
    """Return the paths of Python files that stand between backticks, with a folder."""
    return set(re.findall(r"`((?:\w+/)+\w+\.py)`", text))


def test_every_module_that_the_architecture_names_exists() -> None:
    named = {path for path in paths_named(ARCHITECTURE) if not path.endswith("/NAME.py")}
    assert len(named) > 50
    assert not {path for path in named if not ((PACKAGE / path).is_file() or (ROOT / path).is_file())}


def test_the_architecture_names_every_package() -> None:
    """To the second level; and no others."""
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.glob("*/**/__init__.py")}
    packages = {".".join(folder.parts) for folder in folders if len(folder.parts) <= 2}
    assert set(re.findall(r"^(?:  )?- `([a-z_.]+)`:", ARCHITECTURE, re.MULTILINE)) == packages | {
        "registry",
        "plugins",
        "model",
        "errors",
    }


def test_the_architecture_shows_the_layers_that_are_checked() -> None:
    [block] = re.findall(r"^## Layers\n\n((?: {4}.+\n)+)", ARCHITECTURE, re.MULTILINE)
    assert tuple(frozenset(line.strip().split(", ")) for line in block.splitlines()) == LAYERS


def test_the_index_lists_every_page_once() -> None:
    """The site's navigation is made of it."""
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[[^\]]+\]\(([a-z/-]+\.md)\)", text, re.MULTILINE)
    pages = {str(path.relative_to(DOCS)) for path in DOCS.glob("**/*.md")} - {"index.md"}
    missing = sorted(pages - set(listed))
    assert not missing, f"docs/index.md has no line, and the site no navigation, for {missing}"
    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_of_tables_is_what_its_program_writes(name: str) -> None:
    """If not, run `python -m tools.reference`."""
    assert (reference.FOLDER / name).read_text(encoding="utf-8") == reference.text_of(name)


def test_the_glossary_explains_each_term_once_and_no_term_that_is_not_used() -> None:
    """Used in the help of a command, or on another page."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\*\*([^*]+)\*\*: ", text, re.MULTILINE)
    assert len(terms) > 60
    assert len(set(terms)) == len(terms)
    manual = CliRunner().invoke(cli, ["manual"]).output.replace("\\-", "-")
    pages = [page.read_text(encoding="utf-8") for page in DOCS.glob("*.md") if page.name != "glossary.md"]
    used = re.sub(r"\s+", " ", " ".join([manual, *pages])).lower()
    names = [name for term in terms for name in re.sub(r" \(.*?\)", "", term).lower().split(", ")]
    forms = {name: name.removesuffix("y") for name in names}
    assert [name for name, stem in forms.items() if not re.search(rf"\b{re.escape(stem)}", used)] == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_no_empty_line_divides_a_table(page: Path) -> None:
    """The rows behind an empty line are shown as text."""
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not [table for table in tables if not re.match(r".*\n\|(?: ---+ \|)+\n", table)]


@pytest.mark.parametrize("name", NEW_STYLE)
def test_links_lead_to_files_and_lines_are_wrapped(name: str) -> None:
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert not [link for link in links if not link.startswith("http") and not (page.parent / link).is_file()]
    assert not [line for line in text.splitlines() if len(line) > LINE_LENGTH]


def test_vulnerabilities_are_reported_to_the_maintainer_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [maintainer] = project["maintainers"]
    assert f"write to {maintainer['email']}," in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
