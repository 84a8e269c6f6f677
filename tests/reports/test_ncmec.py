"""Drafts for the CyberTipline by our schema, and the archive by `tarfile`."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import pytest
import xmlschema

from hashscan.errors import UsageError
from hashscan.model import Reporter
from hashscan.reports.ncmec import Ncmec
from hashscan.reports.records import path_bytes
from hashscan.reports.report import BARE, Report, ReportContext
from tests.reports.documents import CONTEXT, DIGESTS, HOSTILE, finding, match, written


@cache
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(resources.files("hashscan.reports").joinpath("ncmec.xsd").read_text())


def archive(path: Path, context: ReportContext = CONTEXT) -> dict[str, bytes]:
    stream = io.BytesIO()
    Ncmec().write(Report(path, context), stream)
    stream.seek(0)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream) as tar:
        for member in tar:
            data = tar.extractfile(member)
            assert data is not None
            assert member.isreg()
            assert member.mode == 0o600
            found[member.name] = data.read()
    return found


def values(draft: bytes, name: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(draft).iter(name)]


def checked(files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        if name.endswith(".xml"):
            schema().validate(data.decode())


def seen(record: Mapping[str, str]) -> str:
    return f"https://shop.example/{path_bytes(record).hex()}?a=1&b=2"


def test_hostile_names_make_valid_drafts_and_are_not_lost(tmp_path: Path) -> None:
    records = [finding(name, customer=name.decode("utf-8", "replace")) for name in HOSTILE]
    files = archive(written(tmp_path / "r.jsonl", records), replace(CONTEXT, url_of=seen))
    checked(files)
    reported = set()
    for name, data in files.items():
        if "/files/" in name:
            (about,) = values(data, "additionalInfo")
            place = about.split("\n")[1].removeprefix("Found on web1 as ")
            if " (percent-encoded" in place:
                reported.add(unquote_to_bytes(place.partition(" (percent-encoded")[0]))
            else:
                reported.add(place.removesuffix(".").encode())
    assert reported == set(HOSTILE)
    rows = list(csv.reader(io.StringIO(files["customers.csv"].decode())))
    assert rows[0] == ["report", "customer", "files"]
    assert len(rows) == len(set(HOSTILE)) + 1
    assert not any(row[1].startswith(("=", "+", "-", "@")) for row in rows)


def test_what_the_drafts_say(tmp_path: Path) -> None:
    records = [
        finding(b"/srv/b/1.jpg", customer="B", matches=match(category="baseline")),
        finding(b"/srv/a/1.jpg", customer="A"),
        finding(b"/srv/b/2.jpg", customer="B", quarantine={"outcome": "done"}),
        finding(b"/srv/none.jpg"),
        finding(b"/srv/held.jpg", "held"),
    ]
    context = replace(
        CONTEXT, url_of=lambda r: f"https://b.example{r['path']}?x=1&y=2" if "/b/" in r["path"] else ""
    )
    files = archive(written(tmp_path / "r.jsonl", records), context)
    checked(files)
    assert list(files) == [
        "README.txt", "ncmec.xsd",
        "000001/report.xml", "000001/files/000001.xml",
        "000002/report.xml", "000002/files/000001.xml",
        "000003/report.xml", "000003/files/000001.xml", "000003/files/000002.xml",
        "customers.csv",
    ]  # fmt: skip
    assert files["customers.csv"] == b"report,customer,files\r\n000001,,1\r\n000002,A,1\r\n000003,B,2\r\n"
    assert b"findings that are held: 1" in files["README.txt"]
    nobody, of_b = files["000001/report.xml"], files["000003/report.xml"]
    assert values(nobody, "personOrUserReported") == []
    assert values(nobody, "url") == []
    assert values(of_b, "espIdentifier") == ["B"]
    assert values(of_b, "url") == [f"https://b.example/srv/b/{n}.jpg?x=1&y=2" for n in (1, 2)]
    assert values(of_b, "incidentDateTime") == ["2026-11-26T01:00:00Z"]
    assert [values(of_b, name) for name in ("firstName", "lastName", "email", "country")] == [
        ["Ada van"], ["Dam"], ["abuse@hoster.example"], ["NL"],
    ]  # fmt: skip
    first, second = files["000003/files/000001.xml"], files["000003/files/000002.xml"]
    assert values(first, "industryClassification") == []
    assert "Category baseline" in values(first, "additionalInfo")[0]
    assert values(second, "industryClassification") == ["A1"]
    assert "moved it out of reach" in values(second, "additionalInfo")[0]
    hashes = {e.get("hashType"): e.text for e in ElementTree.fromstring(first).iter("originalFileHash")}
    assert hashes == {name.upper(): value for name, value in DIGESTS.items()}
    assert values(first, "fileViewedByEsp") == ["false"]
    assert values(first, "originalFileName") == ["1.jpg"]
    assert values(first, "uploadedToEspTimestamp") == [], "a file's times are its owner's to choose"


def test_an_object_tells_when_it_was_put_there(tmp_path: Path) -> None:
    record = {key: value for key, value in finding(b"s3://bucket/a.jpg").items() if key not in
              {"device", "inode", "uid", "links", "ctime_ns"}}  # fmt: skip
    files = archive(written(tmp_path / "r.jsonl", [record]))
    checked(files)
    assert values(files["000001/files/000001.xml"], "uploadedToEspTimestamp") == ["2026-09-21T14:13:20Z"]


@pytest.mark.parametrize("time", [1 << 70, -(1 << 70), -(62_000_000_000 * 10**9)])
def test_times_that_no_calendar_has(tmp_path: Path, time: int) -> None:
    checked(archive(written(tmp_path / "r.jsonl", [finding(b"/srv/a", ctime_ns=time)])))


def test_a_scan_that_was_killed_is_reported(tmp_path: Path) -> None:
    files = archive(written(tmp_path / "r.jsonl", [finding(b"/srv/a")], whole=False))
    checked(files)
    assert b"was killed" in files["README.txt"]
    assert "there may be more" in values(files["000001/report.xml"], "additionalInfo")[-1]


def test_with_little_said_of_the_reporter(tmp_path: Path) -> None:
    context = replace(CONTEXT, reporter=Reporter("Hoster", "abuse@hoster.example"))
    checked(archive(written(tmp_path / "r.jsonl", [finding(b"/srv/a")]), context))


def test_nothing_found_makes_no_draft(tmp_path: Path) -> None:
    assert list(archive(written(tmp_path / "r.jsonl", []))) == ["README.txt", "ncmec.xsd", "customers.csv"]


@pytest.mark.parametrize("context", [BARE, replace(CONTEXT, digests=lambda record: {})])
def test_what_is_missing_is_reported_before_anything_is_written(
    tmp_path: Path, context: ReportContext
) -> None:
    stream = io.BytesIO()
    with pytest.raises(UsageError):
        Ncmec().write(Report(written(tmp_path / "r.jsonl", [finding(b"/srv/a")]), context), stream)
    assert not stream.getvalue()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<reportId>0</reportId>\n", b""),
        (b"<fileId>DRAFT</fileId>", b"<fileId>DRAFT</fileId><fileRelevance>Reported</fileRelevance>"),
        (b"<industryClassification>A1", b"<industryClassification>baseline"),
        (b' hashType="MD5"', b""),
    ],
)
def test_the_schema_sees_what_is_wrong(tmp_path: Path, before: bytes, after: bytes) -> None:
    draft = archive(written(tmp_path / "r.jsonl", [finding(b"/srv/a")]))["000001/files/000001.xml"]
    assert before in draft
    assert not schema().is_valid(draft.replace(before, after, 1).decode())


_MANY = """
import resource, sys
from pathlib import Path
from hashscan.reports.ncmec import Ncmec
from hashscan.reports.xarf import Xarf
from hashscan.reports.report import Report
from tests.reports.documents import CONTEXT
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for form in (Xarf, Ncmec):
    with open("/dev/null", "wb") as stream:
        form().write(Report(Path(sys.argv[1]), CONTEXT), stream)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_many_findings_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    written(path, (finding(b"/srv/%d.jpg" % n, customer=f"c{n % 7}") for n in range(60_000)))
    done = subprocess.run(
        [sys.executable, "-c", _MANY, str(path)], capture_output=True, check=True, timeout=280,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(done.stdout) < 40_000, "KiB; the drafts have a hundred and twenty thousand"


_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from hashscan.errors import OutputError
from hashscan.reports.ncmec import Ncmec
from hashscan.reports.report import Report
from tests.reports.documents import CONTEXT
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with open("/dev/null", "wb") as stream:
        Ncmec().write(Report(Path(sys.argv[1]), CONTEXT), stream)
except OutputError as error:
    print(error, error.remedy)
"""


@pytest.mark.integration
def test_too_little_room_to_sort_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    written(path, (finding(b"/srv/%d.jpg" % n) for n in range(4_000)))
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_ROOM, str(path)], capture_output=True, text=True, check=True,
        timeout=120, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "can't sort findings by customer" in done.stdout
    assert "TMPDIR" in done.stdout
