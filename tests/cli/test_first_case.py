"""The commands that docs/first-case.md shows, in their order, by root in a folder of root's own."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.commands.test_setup import machine, run_on  # noqa: F401
from tests.cli.conftest import Ran
from tests.sources.children import needs_root

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/first-case.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """The lines that a reader types, block by block; what does not fit this machine is replaced."""
    return re.findall(r"^```sh\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)


def typed(machine: Path, text: str) -> Ran:  # noqa: F811
    """Run what a reader types, in root's own folder; `hashscan` is this program."""
    for shown, here in (
        ("/var/www", machine / "www"),
        ("/srv/trial", machine / "srv/trial"),
        ("/usr/share/hashscan/examples", ROOT / "examples"),
    ):
        text = text.replace(shown, str(here))
    program = shlex.join([sys.executable, "-m", "hashscan"])
    return run_on(
        machine, become=("bash", "-c", f'cd {machine}/root; hashscan() {{ {program} "$@"; }}; {text}', "bash")
    )


@needs_root
@pytest.mark.slow
def test_from_nothing_to_the_first_case(machine: Path) -> None:  # noqa: F811
    (machine / "root").mkdir(mode=0o700)
    (machine / "srv").mkdir(mode=0o755)
    codes = {}
    out = {}
    for line in "\n".join(blocks()).splitlines():
        text = f"{line} --scheduler cron" if line.startswith("hashscan setup /") else line
        ran = typed(machine, text)
        codes[line], out[line] = ran.code, ran.out + ran.err
    (scan,) = [line for line in codes if line.startswith("hashscan scan")]
    assert {line: (code, out[line]) for line, code in codes.items() if code != (line == scan)} == {}
    assert f"{machine}/www/bob/holiday.jpg: MATCH trial/" in out[scan]
    assert "holiday.jpg" in out["hashscan quarantine list"]
    assert "removed" in out["hashscan cases list --status all"]
    assert "Example Hosting" in out["hashscan cases letter 1 --reporter /etc/hashscan/reporter.toml"]
    assert (machine / "www/bob/holiday.jpg").exists()


def test_at_most_twelve_terms_come_before_the_first_finding() -> None:
    (last,) = re.findall(r"^## The terms up to the first finding\n(.*)", PAGE, re.DOTALL | re.MULTILINE)
    terms = re.findall(r"\*\*(.+?)\*\*", last)
    assert len(terms) <= 12
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").lower()
    assert [term for term in terms if f"**{term.replace('entries', 'entry')}**:" not in glossary] == []
