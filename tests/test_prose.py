"""Checks that nothing is decided on the text of messages."""

from __future__ import annotations

from pathlib import Path

import pytest

import hashscan
from tests.prose import decisions_on_prose
from tools.metrics import read_modules

FOREIGN = {
    "cases.care.timestamps:_check": "RFC 3161",
    "cases.letters.letter:require_tellable": "a time",
    "cases.queries:Case.is_withheld": "a time",
    "cases.reviews:person_key": "names of people",
    "cases.statistics.dsa.figures:automation_figures": "labels of the DSA's templates",
    "cases.statistics.dsa.template:appeals.rows": "labels of the DSA's templates",
    "cli.cases.listing:_withheld": "a time",
    "cli.config.template:": "help of options",
    "cli.config.template:_suggested": "help of options",
    "cli.config.usage_errors:": "click",
    "cli.config.usage_errors:_hints_on_value": "click",
    "cli.config.usage_errors:_plain": "click",
    "cli.config.validation:_mistake": "parsers, from whose message the file's name is cut",
    "cli.manual_page:_command": "words of commands",
    "cli.options.base:": "titles of sections",
    "cli.options.base:HashscanCommand.format_help_text": "words of commands",
    "cli.options.base:HashscanCommand.meanings": "words of commands",
    "cli.options.tables:LegalBasesParam": "a type",
    "hub.notices.mails:notice_mail": "labels of a mail",
    "cli.options.help_texts:": "titles of sections and words of commands",
    "hashing.archives.library:_reason": "libarchive, whose numbers say little",
    "hashing.archives.unpacking:unpacked": "lzma",
    "hashing.media.picture_opening:_reason": "Pillow",
    "hashing.media.png_data:_fault_in": "zlib",
    "lists.formats.hash_tools:HashdeepFormat._raw_entries": "files of hashdeep",
    "lists.services.settings:key_headers": "HTTP",
    "process:_number_of": "Python and the dynamic loader",
    "process:explain_shortage": "Python",
    "scan.cluster.node:_is_trouble": "Dask",
    "scan.reporting.report_push:_shown": "messages, which are not sent if they may have a path",
    "schema:validated": "msgspec",
    "sources.objects.obstore_reader:": "obstore",
    "sources.objects.obstore_reader:path_of": "obstore",
    "sources.objects.obstore_reader:trouble_of": "obstore",
    "sources.objects.s3.client:explained": "botocore",
    "sources.objects.web.source:_begun": "HTTP",
    "state.store.database:_tables": "SQL",
}
"""The sources of texts that a function reads, or that the constants of a module are about."""

PLANTED = """
import re
from hashscan.shortcomings import LOST
TEXTS = {"no such file": 1}
HELD = re.compile("hits too many files")

def f(record, one, error: OSError):
    %s
"""


def test_nothing_is_decided_on_messages() -> None:
    root = Path(hashscan.__file__).parents[1]
    assert list(decisions_on_prose(read_modules(root), FOREIGN)) == []


@pytest.mark.parametrize(
    "line",
    [
        'return record["x"] == "the list is damaged"',
        'return "too many" in record["x"]',
        'return f"{one} files" != one',
        "return one in TEXTS",
        "return HELD.search(one)",
        "return one == LOST",
        'return record["because"].startswith("x")',
        'return record["message"] == one',
        'return one.message.endswith("/")',
        'return re.match("no such file", one)',
        'return "x" in str(error).lower()',
        "text = str(error)\n    return text.startswith('x')",
        "try:\n        pass\n    except ValueError as why:\n        return str(why) == one",
        "match one:\n        case 'not found there':\n            return 1",
        'return {"is not found": 1, "x": 2}[one]',
        'return one in ("x", "is not found")',
        'return one.get("is not found")',
        'return one.count("is not found")',
    ],
)
def test_each_kind_of_decision_is_found(line: str, tmp_path: Path) -> None:
    package = tmp_path / "hashscan"
    package.mkdir()
    (package / "shortcomings.py").write_text('LOST = "it was lost"\n')
    (package / "planted.py").write_text(PLANTED % line)
    found = list(decisions_on_prose(read_modules(tmp_path), ()))
    assert [one for one in found if ": f decides on" in one]


@pytest.mark.parametrize(
    "line",
    [
        'return record["code"] == "list-damaged"',
        'return "because" in record',
        "return str(one) == 'x'",
        'return f"{one} was lost: {error}"',
        'return record["message"] if one is None else "it was lost"',
        "return re.match('[a-z]+ [0-9]+', one)",
        'one.left_out["is not found"] += 1',
    ],
)
def test_messages_may_be_made_and_shown(line: str, tmp_path: Path) -> None:
    package = tmp_path / "hashscan"
    package.mkdir()
    (package / "planted.py").write_text(PLANTED.replace("TEXTS", "_").replace("no such file", "x") % line)
    found = list(decisions_on_prose(read_modules(tmp_path), ["gone:function"]))
    assert [one for one in found if ": f decides on" in one] == []
    assert "gone:function needs no exception" in found
