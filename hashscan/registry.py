"""Register every algorithm, source, list format, exchange, matching service and report format: a row each.

Rows hold the location of a class, not the class: a command imports only what it uses. The command line's
choices and the contract tests are made from these tables, so a new plug-in is its class and its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from hashscan.errors import UsageError
from hashscan.hashing.hash_algorithms import ExactHash, PictureHash
from hashscan.lists.exchanges.base import Exchange
from hashscan.lists.formats.base import ListFormat, ListWriter
from hashscan.lists.services.adapter import MatchingService
from hashscan.plugins import InstalledPlugin, Row, rows_of
from hashscan.reports.report import ReportFormat
from hashscan.sources.base import Source

T = TypeVar("T")


class Registry(Mapping[str, type[T]], Generic[T]):
    """The classes of one kind by name; a class is imported when it is looked up.

    Rows of installed plug-ins come last. One whose name is taken is left out.
    """

    def __init__(self, kind: str, base: type[T], *rows: Row) -> None:
        self.kind = kind
        self.base = base
        self.rows: dict[str, Row] = {}
        for row in rows:
            if row.name in self.rows:
                raise ValueError(f"two {kind} rows are named {row.name}")
            self.rows[row.name] = row
        self._plugins: dict[str, InstalledPlugin] = {}
        for installed, row in rows_of(kind):
            if row.name in self.rows:
                installed.trouble = f"there is a {kind} {row.name} already"
            else:
                self.rows[row.name] = row
                self._plugins[row.name] = installed

    def __getitem__(self, name: str) -> type[T]:
        """Import and return the class of a name.

        Raises:
            KeyError: there is none of this name.
            UsageError: a plug-in should have it, and can't be used.
        """
        if (installed := self._plugins.get(name)) is None:
            return self._class_of(name)
        try:
            return self._class_of(name)
        except Exception as error:
            raise UsageError(
                f"the {self.kind} {name} of plug-in {installed.name} can't be used: "
                f"{type(error).__name__}: {error}",
                advice=f"Update or remove the package {installed.package}.",
            ) from error

    def of_plugin(self, installed: InstalledPlugin) -> list[str]:
        """Return the names that a plug-in has added."""
        return [name for name, plugin in self._plugins.items() if plugin is installed]

    def _class_of(self, name: str) -> type[T]:
        module, _, attribute = self.rows[name].target.partition(":")
        found: Any = getattr(import_module(module), attribute)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise TypeError(f"{self.rows[name].target} is no {self.base.__name__}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


EXACT_HASHES: Registry[ExactHash] = Registry(
    "exact hash",
    ExactHash,  # type: ignore[type-abstract]
    Row("md5", "hashscan.hashing.exact:MD5", "for lists that have no better digests"),
    Row("sha1", "hashscan.hashing.exact:SHA1", "for lists that have no better digests"),
    Row("sha256", "hashscan.hashing.exact:SHA256", "identifies content"),
    Row("sha512", "hashscan.hashing.exact:SHA512", "the same, longer"),
    Row("xxh3_128", "hashscan.hashing.exact:XXH3", "fast, but collisions can be built: review only"),
)

PICTURE_HASHES: Registry[PictureHash] = Registry(
    "picture hash",
    PictureHash,  # type: ignore[type-abstract]
    Row("pdq", "hashscan.hashing.pdq:PDQ", "256 bits, for pictures that were saved or scaled again"),
    Row("phash", "hashscan.hashing.perceptual:PHash", "64 bits by cosine transform: review only"),
    Row("dhash", "hashscan.hashing.perceptual:DHash", "64 bits by gradients: review only"),
    Row("ahash", "hashscan.hashing.perceptual:AHash", "64 bits by average: review only"),
    Row("whash", "hashscan.hashing.perceptual:WHash", "64 bits by wavelets: review only"),
    Row("pdq_quadrants", "hashscan.hashing.media.quadrants:PDQQuadrants", "PDQ of quadrants: review only"),
    Row("photodna", "hashscan.hashing.photodna:PhotoDNA", "144 bytes, by a licensee's own library"),
)

SOURCES: Registry[Source] = Registry(
    "source",
    Source,  # type: ignore[type-abstract]
    Row("file", "hashscan.sources.filesystem.source:FilesystemSource", "files and folders of this machine"),
    Row("s3", "hashscan.sources.objects.s3.source:S3Source", "Amazon S3 and services with the same protocol"),
    Row("gs", "hashscan.sources.objects.gs.source:GoogleSource", "Google's cloud storage"),
    Row("az", "hashscan.sources.objects.az.source:AzureSource", "Azure's blob storage"),
    Row("https", "hashscan.sources.objects.web.source:HttpsSource", "an address is one object"),
    Row("http", "hashscan.sources.objects.web.source:HttpSource", "the same, without encryption"),
)

LIST_FORMATS: Registry[ListFormat] = Registry(
    "list format",
    ListFormat,  # type: ignore[type-abstract]
    Row(
        "csv",
        "hashscan.lists.formats.csv_and_ndjson:CsvFormat",
        "id,algorithm,value,category with a header line; categories are hashscan's own",
    ),
    Row(
        "ndjson",
        "hashscan.lists.formats.csv_and_ndjson:NdjsonFormat",
        "a JSON object a line, the same four keys",
    ),
    Row(
        "vics",
        "hashscan.lists.formats.json_documents:VicsFormat",
        "Project VIC's and CAID's JSON, 1.3 and 2.0; category 1 is baseline, 0 and 4 are left out, "
        "the rest is other",
    ),
    Row(
        "ncmec",
        "hashscan.lists.formats.ncmec:NcmecFormat",
        "NCMEC hash-sharing XML, version 2; A1, A2, B1 and B2 stay, the rest is other, "
        "deleted ones are left out",
    ),
    Row(
        "stopncii",
        "hashscan.lists.formats.json_documents:StopNciiFormat",
        "StopNCII's JSON; all is ncii, withdrawn and deleted ones are left out",
    ),
    Row(
        "pdq",
        "hashscan.lists.formats.hash_tools:PdqFormat",
        "hash,file or hash,quality,file; --category names the category",
    ),
    Row(
        "vpdq",
        "hashscan.lists.formats.vpdq:VpdqFormat",
        "frame,quality,hash,seconds, the output of vpdq-hash-video for one or more videos; --category names "
        "the category",
    ),
    Row(
        "threatexchange",
        "hashscan.lists.formats.hash_tools:ThreatExchangeFormat",
        "type hash; --category names the category",
    ),
    Row(
        "checksums",
        "hashscan.lists.formats.hash_tools:ChecksumsFormat",
        "output of md5sum, sha1sum, sha256sum or sha512sum; --category names the category",
    ),
    Row(
        "hashdeep",
        "hashscan.lists.formats.hash_tools:HashdeepFormat",
        "output of hashdeep; --category names the category",
    ),
    Row(
        "hashes",
        "hashscan.lists.formats.hash_tools:HashesFormat",
        "a digest a line; --category names the category, --algorithm the algorithm where the length doesn't",
    ),
    Row(
        "hdb",
        "hashscan.lists.formats.clamav:HdbFormat",
        "ClamAV's md5 signatures; --category names the category",
    ),
    Row(
        "hsb",
        "hashscan.lists.formats.clamav:HsbFormat",
        "ClamAV's sha1 and sha256 signatures; --category names the category",
    ),
    Row("fp", "hashscan.lists.formats.clamav:FpFormat", "ClamAV's false positives; all is known-good"),
)

LIST_WRITERS: Registry[ListWriter] = Registry(
    "list writer",
    ListWriter,  # type: ignore[type-abstract]
    Row("csv", "hashscan.lists.formats.csv_and_ndjson:CsvWriter", "everything"),
    Row("ndjson", "hashscan.lists.formats.csv_and_ndjson:NdjsonWriter", "everything"),
    Row("hsb", "hashscan.lists.formats.clamav:HsbWriter", "sha1 and sha256 that accuse, for ClamAV"),
)

EXCHANGES: Registry[Exchange] = Registry(
    "exchange",
    Exchange,  # type: ignore[type-abstract]
    Row(
        "ncmec",
        "hashscan.lists.exchanges.ncmec:NcmecExchange",
        "NCMEC's hash sharing; A1, A2, B1 and B2 stay, the rest is other",
    ),
    Row("stopncii", "hashscan.lists.exchanges.stopncii:StopNciiExchange", "StopNCII.org; all is ncii"),
    Row(
        "threatexchange",
        "hashscan.lists.exchanges.threatexchange:ThreatExchange",
        "privacy groups of Meta's ThreatExchange; all is other",
    ),
    Row("tcap", "hashscan.lists.exchanges.tcap:TcapExchange", "Tech Against Terrorism; all is terrorism"),
    Row(
        "extension",
        "hashscan.lists.exchanges.extension:ExtensionExchange",
        "installed extensions of python-threatexchange; all is other",
    ),
)

MATCHING_SERVICES: Registry[MatchingService] = Registry(
    "matching service",
    MatchingService,  # type: ignore[type-abstract]
    Row(
        "hashscan",
        "hashscan.matching.remote.hashscan_service:HashscanService",
        "hashscan's own interface: sha256, sha1, md5, PDQ and others, 400 in a request",
    ),
    Row("hma", "hashscan.matching.remote.hma:Hma", "Hasher-Matcher-Actioner: PDQ and md5, one in a request"),
    Row(
        "arachnid",
        "hashscan.matching.remote.arachnid:ArachnidShield",
        "Arachnid Shield: PDQ, 100 in a request; csam is baseline, other classes are other",
    ),
)

REPORT_FORMATS: Registry[ReportFormat] = Registry(
    "report format",
    ReportFormat,  # type: ignore[type-abstract]
    Row("jsonl", "hashscan.reports.report:JsonLines", "one JSON record a line: the record itself"),
    Row("csv", "hashscan.reports.csv:Csv", "a table for spreadsheets, a row for each file that is not clean"),
    Row(
        "html",
        "hashscan.reports.page.html:Html",
        "one file for browsers: summary, charts and a table to filter and to print",
    ),
    Row("sarif", "hashscan.reports.sarif:Sarif", "SARIF 2.1.0 for code scanning, a result for each finding"),
    Row(
        "junit",
        "hashscan.reports.junit:JUnit",
        "XML of test results for CI, a test for each file that is not clean",
    ),
    Row("markdown", "hashscan.reports.markdown:Markdown", "a summary for the page of a CI job"),
    Row(
        "xarf",
        "hashscan.reports.xarf:Xarf",
        "XARF 4, a report on one line for each match; never with the file",
    ),
    Row(
        "ncmec",
        "hashscan.reports.ncmec:Ncmec",
        "a tar archive of drafts for NCMEC's CyberTipline, a report for each customer; nothing is sent",
    ),
)
