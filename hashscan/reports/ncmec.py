"""Write findings as drafts for the CyberTipline of NCMEC, one report for each customer."""

from __future__ import annotations

import csv
import io
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from importlib import resources
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, ClassVar

from hashscan.errors import OutputError
from hashscan.reports.accusations import accusations, require_digests, scan_start
from hashscan.reports.base import ReportFormat
from hashscan.reports.csv import cell
from hashscan.reports.ncmec_drafts import file_draft, report_begin, report_end, url_line
from hashscan.reports.ncmec_readme import readme
from hashscan.reports.report import Report
from hashscan.reports.xml_text import plain

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
        reporter = report.reporter
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
                for number, (customer, files) in enumerate(_customers(database), start=1):
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
    """Report errors of the temporary database as `OutputError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"can't sort findings by customer on the disk: {error}",
            advice="Point TMPDIR at a folder with room for two KiB for each finding.",
        ) from error


_URLS = "SELECT url FROM files WHERE customer=? AND url<>'' ORDER BY rowid"
_DRAFTS = "SELECT draft FROM files WHERE customer=? ORDER BY rowid"


def _customers(database: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Yield each customer and the number of its files."""
    query = "SELECT customer, count(*) FROM files GROUP BY customer ORDER BY customer"
    for customer, files in database.execute(query):
        yield str(customer), int(files)


def _key(customer: str) -> str:
    """Return the customer as text that a database and XML can hold."""
    return plain(customer.encode("utf-8", "surrogatepass"))[0]


def _spooled() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(_IN_MEMORY)


class _Archive:
    """A tar archive, written from start to end; `tarfile` itself would keep each file's record in memory."""

    def __init__(self, stream: BinaryIO, time: datetime) -> None:
        self._stream = stream
        self._time = int(time.timestamp())

    def add(self, name: str, data: bytes) -> None:
        """Add a file."""
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
        """Write the end-of-archive marker."""
        self._stream.write(bytes(2 * tarfile.BLOCKSIZE))

    def _begin(self, name: str, size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = size, self._time, _MODE
        self._stream.write(member.tobuf())

    def _pad(self, size: int) -> None:
        self._stream.write(bytes(-size % tarfile.BLOCKSIZE))
