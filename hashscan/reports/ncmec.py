"""Write findings as drafts for the CyberTipline of NCMEC, one report for each customer, with a README."""

from __future__ import annotations

import csv
import io
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from importlib import resources
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, ClassVar
from urllib.parse import quote_from_bytes
from xml.sax.saxutils import escape

from hashscan.errors import OutputError
from hashscan.model import Reporter
from hashscan.reports.csv import cell
from hashscan.reports.report import Report, ReportFormat, require_reporter
from hashscan.reports.reportable_findings import ReportableFinding, accusations, require_digests, scan_start
from hashscan.text import printable
from hashscan.timefmt import file_time, format_utc

_UNENCODED = "".join(c for c in map(chr, range(0x20, 0x7F)) if c != "%")


def printable_name(name: bytes) -> tuple[str, bool]:
    """Return a name as printable text, and True if all of it had to be percent-encoded for that (`%` too)."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return (text, False) if text.isprintable() else (quote_from_bytes(name, _UNENCODED), True)


def element(name: str, text: str, attributes: str = "") -> str:
    """Return an XML element with a text; characters that XML can't hold are escaped."""
    shown = escape(printable(text, keep="\n"))
    return f"<{name}{attributes}>{shown}</{name}>"


INCIDENT_TYPE = "Child Pornography (possession, manufacture, and distribution)"
REPORT_ID, FILE_ID = "0", "DRAFT"
"""Placeholders for ids that NCMEC gives when a report is sent; with these a draft is refused."""

_XML_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!-- A draft: nothing of it was sent. See README.txt. -->\n'
)
_ROOT = (
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:noNamespaceSchemaLocation="https://report.cybertip.org/ispws/xsd"'
)
_INDUSTRY = frozenset({"A1", "A2", "B1", "B2"})
_ENCODED = "percent-encoded, since it has characters that can't be shown"


def report_begin(time: datetime, host: str) -> bytes:
    about = (
        f"When the scan of {host} began that found the files by their hashes. "
        "When they were put there is not known."
    )
    lines = (
        f"<report{_ROOT}>",
        "  <incidentSummary>",
        "    " + element("incidentType", INCIDENT_TYPE),
        "    " + element("incidentDateTime", format_utc(time)),
        "    " + element("incidentDateTimeDescription", about),
        "  </incidentSummary>",
        "  <internetDetails>",
        "    <webPageIncident>",
    )
    return (_XML_HEAD + "\n".join(lines) + "\n").encode()


def url_line(url: str) -> bytes:
    return f"      {element('url', url)}\n".encode()


def report_end(reporter: Reporter, customer: str, files: int, urls: int, *, whole: bool) -> bytes:
    """Return the end of a report, from after its URLs.

    `urls` is the number of files with a known URL; `whole` is False if the scan was killed.
    """
    first, _, last = reporter.name.strip().rpartition(" ")
    person = [
        element("firstName", first) if first else "",
        element("lastName", last) if last else "",
        element("phone", reporter.phone) if reporter.phone else "",
        element("email", reporter.email),
        f"<address>{element('country', reporter.country)}</address>" if reporter.country else "",
    ]
    company = " ".join(filter(None, (reporter.organisation, reporter.domain)))
    about = [f"{files} {'file' if files == 1 else 'files'} found by hash, without a look at any."]
    user: list[str] = []
    if customer:
        user = [
            "  <personOrUserReported>",
            "    " + element("espIdentifier", customer),
            "  </personOrUserReported>",
        ]
        about.append(
            "The person or user reported is the customer in whose space they were; who put them there is not "
            "known."
        )
    if not whole:
        about.append("The scan was ended before it had seen everything: there may be more.")
    unknown = element("additionalInfo", f"URLs that are not known: {files - urls}")
    lines = (
        *(["      " + unknown] if urls < files else ()),
        "    </webPageIncident>",
        "  </internetDetails>",
        "  <reporter>",
        "    <reportingPerson>",
        *("      " + part for part in person if part),
        "    </reportingPerson>",
        "    " + element("companyTemplate", company),
        "  </reporter>",
        *user,
        "  " + element("additionalInfo", " ".join(about)),
        "</report>",
    )
    return ("\n".join(lines) + "\n").encode()


def file_draft(accusation: ReportableFinding, host: str) -> bytes:
    path, is_encoded = printable_name(accusation.path)
    name = printable_name(accusation.path.rpartition(b"/")[2])[0]
    category = str(accusation.match["category"])
    lines = [
        f"<fileDetails{_ROOT}>",
        element("reportId", REPORT_ID),
        element("fileId", FILE_ID),
        element("originalFileName", name),
        *_uploaded(accusation),
        *([element("locationOfFile", accusation.url)] if accusation.url else ()),
        element("fileViewedByEsp", "false"),
        element("exifViewedByEsp", "false"),
        element("fileRelevance", "Reported"),
        *([element("industryClassification", category)] if category in _INDUSTRY else ()),
        *(
            element("originalFileHash", value, f' hashType="{algorithm.upper()}"')
            for algorithm, value in accusation.digests.items()
        ),
        element("additionalInfo", "\n".join(_about(accusation, host, path, is_encoded=is_encoded))),
    ]
    return (_XML_HEAD + "\n  ".join(lines) + "\n</fileDetails>\n").encode()


def _uploaded(accusation: ReportableFinding) -> list[str]:
    """Return the element with the upload time of an object; for a file the time is not known."""
    record = accusation.record
    if "device" in record or accusation.path.startswith(b"/"):
        return []
    time = file_time(record.get("mtime_ns"))
    return [element("uploadedToEspTimestamp", time)] if time else []


def _about(accusation: ReportableFinding, host: str, path: str, *, is_encoded: bool) -> list[str]:
    record = accusation.record
    lines = [
        f"Category {accusation.match['category']}: {accusation.evidence}.",
        f"Found on {host} as {path}{f' ({_ENCODED})' if is_encoded else ''}.",
    ]
    if "size" in record:
        lines.append(f"Size: {record['size']} bytes.")
    if time := file_time(record.get("ctime_ns")):
        lines.append(f"Last changed, renamed or linked: {time}.")
    if accusation.is_removed:
        lines.append("The scan has moved it out of reach and kept it.")
    return lines


_README = """\
DRAFTS FOR THE CYBERTIPLINE

Nothing was sent. These are drafts, made by hashscan from the scan of {host} that began at
{time}. A person has to check them, complete them and send them, with credentials from NCMEC.

What is here
  customers.csv            which report is about which customer; one without a name is of files that no
                           rule of the settings gives to a customer
  NUMBER/report.xml        what is submitted first, one for each customer
  NUMBER/files/*.xml       what is submitted for each file after it was uploaded
  ncmec.xsd                checks a draft, and what you made of it:
                           xmllint --noout --schema ncmec.xsd NUMBER/report.xml

What to check before
  - Is this the way in which you have to report? The CyberTipline is that of the United States. Elsewhere
    the law names others, and may forbid to send files abroad.
  - Are the customers right? They come from rules in the settings. Being someone's customer says nothing of
    who put a file there: an account may be a reseller's, shared, or taken over.
  - industryClassification stands where the hash list has the category A1, A2, B1 or B2. Remove it unless
    your company takes part in industry hash sharing, whose scale it is.

What to fill in
  - reportId and fileId in each file's draft: NCMEC gives them as you submit the report and upload the file.
    Until then they are 0 and DRAFT, with which a draft is refused.
  - publiclyAvailable: whether everybody could see the file.
  - What you know of who uploaded it: ipCaptureEvent, uploadedToEspTimestamp, personOrUserReported.
  - fileViewedByEsp and exifViewedByEsp are false: hashscan shows no pictures. Change them if someone
    of your company has looked at the whole file.

The files themselves are not here. Each draft says where they are; `hashscan quarantine list` names
those that were moved into quarantine, and `hashscan quarantine export` takes them out for an authority.

A name with characters that can't be shown is percent-encoded, as in URLs, and its % is %25 then; the draft
says so. Elsewhere such characters are escaped, as \\u202e.
"""


def readme(time: datetime, host: str, left_out: Mapping[str, int], *, whole: bool) -> str:
    """Return the text of README.txt; `whole` is False if the scan was killed."""
    parts = [_README.format(host=printable(host), time=format_utc(time))]
    if left_out:
        reasons = "".join(f"  {reason}: {number}\n" for reason, number in left_out.items())
        parts.append(f"Not among the drafts:\n{reasons}")
    if not whole:
        parts.append("The scan was killed: files that it did not reach are not among the drafts.\n")
    return "\n".join(parts)


SCHEMA = "ncmec.xsd"

_IN_MEMORY = 1 << 20
_MODE = 0o600
_PIECE = 1 << 16


class Ncmec(ReportFormat):
    """A tar archive: README.txt, and a folder for each report with one draft per file; nothing is sent.

    Only some findings are in memory at a time. While the archive is written, TMPDIR needs 2 KiB for each
    finding.
    """

    name = "ncmec"
    suffix = ".ncmec.tar"
    needs_digests: ClassVar[bool] = True
    needs_reporter: ClassVar[bool] = True

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write the archive."""
        reporter = require_reporter(report.context)
        require_digests(report)
        time = scan_start(report)
        host = str(report.scan.get("host", ""))
        # A database without a name is a private temporary file, which is gone when the process ends.
        with _sorted_on_disk(), closing(sqlite3.connect("")) as database:
            database.execute("CREATE TABLE files (customer TEXT, url TEXT, draft BLOB)")
            database.executemany(
                "INSERT INTO files VALUES (?, ?, ?)",
                ((_key(a.customer), a.url, file_draft(a, host)) for a in accusations(report, self.left_out)),
            )
            database.execute("CREATE INDEX by_customer ON files (customer)")
            archive = _Archive(stream, time)
            whole = report.summary is not None
            archive.add("README.txt", readme(time, host, self.left_out, whole=whole).encode())
            archive.add(SCHEMA, resources.files("hashscan.reports").joinpath(SCHEMA).read_bytes())
            with _spooled() as table:
                index = io.TextIOWrapper(table, encoding="utf-8", newline="", write_through=True)
                rows = csv.writer(index)
                rows.writerow(("report", "customer", "files"))
                for number, (customer, files) in enumerate(database.execute(_CUSTOMERS), start=1):
                    rows.writerow((f"{number:06}", cell(customer), files))
                    with _spooled() as draft:
                        draft.write(report_begin(time, host))
                        urls = 0
                        for (url,) in database.execute(_URLS, (customer,)):
                            urls += 1
                            draft.write(url_line(url))
                        draft.write(report_end(reporter, customer, files, urls, whole=whole))
                        archive.add_stream(f"{number:06}/report.xml", draft)
                    for place, (body,) in enumerate(database.execute(_DRAFTS, (customer,)), start=1):
                        archive.add(f"{number:06}/files/{place:06}.xml", body)
                archive.add_stream("customers.csv", table)
                index.detach()
            archive.end()


@contextmanager
def _sorted_on_disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"can't sort findings by customer on the disk: {error}",
            advice="Point TMPDIR at a folder with room for two KiB for each finding.",
        ) from error


_CUSTOMERS = "SELECT customer, count(*) FROM files GROUP BY customer ORDER BY customer"
_URLS = "SELECT url FROM files WHERE customer=? AND url<>'' ORDER BY rowid"
_DRAFTS = "SELECT draft FROM files WHERE customer=? ORDER BY rowid"


def _key(customer: str) -> str:
    """Return the customer as text that a database and XML can hold."""
    return printable_name(customer.encode("utf-8", "surrogatepass"))[0]


def _spooled() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(_IN_MEMORY)


class _Archive:
    """A tar archive, written from start to end; `tarfile` itself would keep each file's record in memory."""

    def __init__(self, stream: BinaryIO, time: datetime) -> None:
        self._stream = stream
        self._time = int(time.timestamp())

    def add(self, name: str, data: bytes) -> None:
        self._begin(name, len(data))
        self._stream.write(data)
        self._pad(len(data))

    def add_stream(self, name: str, data: IO[bytes]) -> None:
        """Add a temporary file, from its start to its current position."""
        size = data.tell()
        data.seek(0)
        self._begin(name, size)
        while piece := data.read(_PIECE):
            self._stream.write(piece)
        self._pad(size)

    def end(self) -> None:
        self._stream.write(bytes(2 * tarfile.BLOCKSIZE))

    def _begin(self, name: str, size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = size, self._time, _MODE
        self._stream.write(member.tobuf())

    def _pad(self, size: int) -> None:
        self._stream.write(bytes(-size % tarfile.BLOCKSIZE))
