"""LibreOffice opens a table of hostile names, and no cell of it is a formula."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from defusedxml.ElementTree import fromstring

from hashscan.reports.csv import COLUMNS, Csv
from hashscan.reports.report import Report
from tests.reports.checkers import program
from tests.reports.documents import HOSTILE, finding, written

FORMULAS = (
    '=HYPERLINK("https://evil.example","x")', "=1+1", "+1+1", "-1+1", "@SUM(1;1)", "\t=1+1", "\r=1+1",
    "a;=1+1", "a\t=1+1", 'a";=1+1', "a|=1+1", "'=1+1", '"=1+1"', "{=1+1}", " =1+1",
    "=WEBSERVICE(\"https://evil.example\")", "=cmd|'/C calc'!A0", "\N{FULLWIDTH EQUALS SIGN}1+1",
)  # fmt: skip
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"

# Field separators, quote, encoding, first line, then nine settings of which the eighth is whether quoted
# cells are always text and the last whether formulas are evaluated; see LibreOffice's "Filter Options".
COMMA = "44,34,76,1,,0,false,false,false,false,false,-1,true"
AS_PROPOSED = "44/59/9,34,76,1,,0,false,false,false,false,false,-1,true"
SEMICOLON = "59,34,76,1,,0,false,false,false,false,false,-1,true"


@pytest.mark.slow
@pytest.mark.parametrize("options", [COMMA, AS_PROPOSED, SEMICOLON], ids=["comma", "proposed", "semicolon"])
def test_no_cell_is_a_formula(options: str, tmp_path: Path) -> None:
    soffice = program("soffice")
    records = [*map(finding, HOSTILE)]
    for text in FORMULAS:
        records += [
            finding(text.encode(), customer=text),
            finding(b"/srv/a", because=text, detail=text, version=text, reason=text),
        ]
    stream = io.BytesIO()
    # That a formula would be seen: this one is not defused.
    stream.write(b'"=40+2"\r\n')
    Csv().write(Report(written(tmp_path / "r.jsonl", records)), stream)
    table = tmp_path / "table.csv"
    table.write_bytes(stream.getvalue())
    subprocess.run(
        [soffice, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless",
         f"--infilter=Text - txt - csv (StarCalc):{options}", "--convert-to", "ods", "--outdir", tmp_path,
         table],
        capture_output=True, timeout=180, check=True,
    )  # fmt: skip
    with ZipFile(tmp_path / "table.ods") as opened:
        content = fromstring(opened.read("content.xml"))
    cells = list(content.iter(f"{TABLE}table-cell"))
    formulas = [cell.get(f"{TABLE}formula") for cell in cells if cell.get(f"{TABLE}formula") is not None]
    assert formulas == ["of:=40+2"]
    assert len(cells) >= 20
    if options == COMMA:
        _, header, *_ = content.iter(f"{TABLE}table-row")
        names = ["".join(cell.itertext()) for cell in header.iter(f"{TABLE}table-cell")]
        assert [name for name in names if name] == list(COLUMNS)
