"""Write the two XML documents of the CyberTipline's interface, with their elements in its order."""

from __future__ import annotations

from datetime import datetime

from hashscan.model import Reporter
from hashscan.reports.accusations import ReportableFinding
from hashscan.reports.xml_text import element, plain
from hashscan.timefmt import file_time, format_utc

INCIDENT_TYPE = "Child Pornography (possession, manufacture, and distribution)"
REPORT_ID, FILE_ID = "0", "DRAFT"
"""Placeholders for ids that NCMEC gives when a report is sent; with these a draft is refused."""

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!-- A draft: nothing of it was sent. See README.txt. -->\n'
_ROOT = (
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:noNamespaceSchemaLocation="https://report.cybertip.org/ispws/xsd"'
)
_INDUSTRY = frozenset({"A1", "A2", "B1", "B2"})
_ENCODED = "percent-encoded, since it has characters that can't be shown"


def report_begin(time: datetime, host: str) -> bytes:
    """Return the begin of a report, up to its URLs.

    Args:
        time: start time of the scan, in UTC.
        host: the host on which it ran.
    """
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
    return (_HEAD + "\n".join(lines) + "\n").encode()


def url_line(url: str) -> bytes:
    """Return one URL element of a report."""
    return f"      {element('url', url)}\n".encode()


def report_end(reporter: Reporter, customer: str, files: int, urls: int, *, whole: bool) -> bytes:
    """Return the end of a report, from after its URLs.

    Args:
        reporter: the organisation and person who report.
        customer: the customer who has the files; empty if not known.
        files: number of files.
        urls: number of files with a known URL.
        whole: False if the scan was killed, so that there may be more findings.
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
    """Return the details document of one file."""
    path, is_encoded = plain(accusation.path)
    name = plain(accusation.path.rpartition(b"/")[2])[0]
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
    return (_HEAD + "\n  ".join(lines) + "\n</fileDetails>\n").encode()


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
