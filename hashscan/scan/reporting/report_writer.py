"""Write the reports of a scan, from the first record to the summary.

Matches are deferred until the end of the scan, when the circuit breaker can decide on them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from hashscan.attribution.customers import NO_CUSTOMERS, Customers
from hashscan.attribution.sites import Sites
from hashscan.errors import HashscanError, OutputError, UsageError
from hashscan.matching.circuit_breaker import CircuitBreaker, owner_of
from hashscan.matching.list_limits import LimitedList
from hashscan.model import KNOWN_GOOD_CATEGORY, TEST_CATEGORY, ListInfo, Reporter, SiteRule, Verdict
from hashscan.registry import REPORT_FORMATS
from hashscan.reports.records import Record, is_accusing, path_bytes, public, summary_record
from hashscan.reports.report import BARE, Report, ReportContext, require_reporter
from hashscan.reports.report_file import ReportFile, convert, require_destination
from hashscan.reports.summary import Summary
from hashscan.scan.reporting.observer import Observer
from hashscan.scan.reporting.push_spool import keep_open_report
from hashscan.scan.reporting.report_paths import ReportPaths
from hashscan.settings.matching import BreakerLimits
from hashscan.settings.scan import ScanSettings
from hashscan.shortcomings import Shortcoming, fields_of
from hashscan.sources.filesystem.walk_stack import temporary_file_errors
from hashscan.state.queries.digest_lookup import FindingDigests
from hashscan.state_dir import StateDir

Act = Callable[[Iterable[Record]], Iterator[Record]]
"""A function that acts on findings and yields their records with the result, in the same order."""

_SPOOL_IN_MEMORY = 1 << 20
"""The bytes of records kept in memory; above this, an unnamed temporary file is used."""

_ENTRIES_IN_MESSAGES = 10
_ENTRIES_IN_SUMMARY = 100


def report_context(sites: Iterable[SiteRule] = (), reporter: Reporter | None = None) -> ReportContext:
    """Return the context of reports.

    Raises:
        UsageError: a rule can't be used.
    """
    compiled = Sites(sites)

    def url_of(record: Record) -> str:
        return compiled.url_of(path_bytes(record)) if "path" in record else ""

    return ReportContext(url_of=url_of, reporter=reporter)


@contextmanager
def with_digests(context: ReportContext, state: StateDir | None) -> Iterator[ReportContext]:
    """Yield the context with the digests of findings that the state folder has."""
    if state is None:
        yield context
        return
    with FindingDigests(state) as known:
        yield replace(context, digests=known.of)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of a scan."""

    exit_code: int
    summary: Summary
    lists: tuple[ListInfo, ...]
    shortcomings: tuple[Shortcoming, ...]
    seconds: float
    reports: tuple[Path, ...]
    record: Path | None = None
    """The record file that the scan wrote, if there is one."""
    limited: tuple[LimitedList, ...] = ()
    """Lists because of which matches are held until a person accepts them."""

    @property
    def only_test(self) -> bool:
        """True if all lists have test entries only."""
        return only_test_entries(self.lists)


def only_test_entries(lists: Sequence[ListInfo]) -> bool:
    """Return True if the lists have no real entries, so that nothing real could be found."""
    found = {category for info in lists for category in info.categories}
    return found - {KNOWN_GOOD_CATEGORY} == {TEST_CATEGORY}


class DeferredFindings:
    """The deferred findings, and the final record of each when the scan ends.

    Raises:
        OutputError: the temporary file can't be written or read (in every method).
    """

    def __init__(self, limits: BreakerLimits, services: Collection[str] = ()) -> None:
        self._breaker = CircuitBreaker(limits, services)
        self._records = _RecordSpool()
        self.held = 0
        """The number of findings that the circuit breaker changed to held."""
        self.changed = False
        """True if a final record may differ from the first one."""

    def add(self, record: Record) -> bool:
        """Count a record, and return True if it is deferred because its final verdict is not known yet."""
        if record["type"] != "finding":
            return False
        self._breaker.count(record, owner_of(record))
        if not is_accusing(record):
            return False
        self._records.put(record)
        return True

    def count_besides(self, findings: Iterable[Record]) -> None:
        """Have the breaker count findings of files that this scan did not reach."""
        for finding in findings:
            self._breaker.count(finding, owner_of(finding))

    def finalize(self, act: Act | None = None) -> None:
        """Make the final records, after the scan has found everything."""
        if not self._records.number or (act is None and not self._breaker.has_tripped):
            return
        self.changed = True
        last = _RecordSpool()
        judged = _Judged(self._breaker, self._records)
        try:
            for record in judged if act is None else act(judged):
                self.held += record["verdict"] == Verdict.HELD
                last.put(record)
        except BaseException:
            # The findings are still to be reported, with their first records.
            last.close()
            raise
        self._records.close()
        self._records = last

    def records(self) -> Iterator[Record]:
        """Yield the final records; the first records as long as there are no final ones."""
        return map(public, self._records)

    def held_records(self) -> Iterator[Record]:
        """Yield the records that the circuit breaker changed to held."""
        records = self._records if self.held else ()
        return (record for record in records if record["verdict"] == Verdict.HELD)

    def breaker_messages(self) -> list[str]:
        """Return the circuit breaker's messages, a line each."""
        entries = self._breaker.said()
        if not entries:
            return []
        more = (
            [f"and {len(entries) - _ENTRIES_IN_MESSAGES} entries more"]
            if len(entries) > _ENTRIES_IN_MESSAGES
            else []
        )
        return [
            *(
                f"BREAKER: {message}: too many matches"
                for message in [*entries[:_ENTRIES_IN_MESSAGES], *more]
            ),
            f"BREAKER: {self.held} files are held, and only files with other matches are moved. Ask the "
            "owner of the list; `hashscan lists except` excepts an entry, --breaker-owners and "
            "--breaker-files set the limits",
        ]

    def fields(self) -> dict[str, Any]:
        """Return the circuit breaker's fields in the summary."""
        entries = self._breaker.said()
        if not entries:
            return {}
        first = list(islice(self._breaker.fields(), _ENTRIES_IN_SUMMARY))
        return {"breaker": {"held": self.held, "entries": len(entries), "first": first}}

    def close(self) -> None:
        self._records.close()


class _RecordSpool:
    """A list of records on disk, in the order in which they were added."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SPOOL_IN_MEMORY, prefix="hashscan-")  # noqa: SIM115
        self.number = 0

    def put(self, record: Record) -> None:
        """Append a record; call it only before the records are read."""
        with temporary_file_errors("findings that wait"):
            self._file.write(json.dumps(record).encode() + b"\n")
        self.number += 1

    def __iter__(self) -> Iterator[Record]:
        with temporary_file_errors("findings that wait"):
            self._file.seek(0)
            for _ in range(self.number):
                yield json.loads(self._file.readline())

    def close(self) -> None:
        self._file.close()


class _Judged:
    """The records as the breaker judges them; they can be read several times, one after the other."""

    def __init__(self, breaker: CircuitBreaker, records: Iterable[Record]) -> None:
        self._breaker = breaker
        self._records = records

    def __iter__(self) -> Iterator[Record]:
        return map(self._breaker.judge, self._records)


class ReportWriter:
    """All reports of one scan, which get the same records."""

    def __init__(
        self,
        places: ReportPaths,
        observer: Observer,
        breaker: BreakerLimits,
        context: ReportContext = BARE,
        customers: Customers = NO_CUSTOMERS,
        state: StateDir | None = None,
        spool: StateDir | None = None,
        services: Collection[str] = (),
    ) -> None:
        """Open the reports; of a match, the observer gets the final record only. `state` has the digests that
        some formats need; None if the record has them, or if no such format is asked for."""
        # Checked now, because otherwise the whole scan would be lost.
        for made in places.made:
            if made.path is not None:
                require_destination(made.path)
        if any(REPORT_FORMATS[made.format].needs_reporter for made in places.made):
            require_reporter(context)
        self._observer = observer
        self._places = places
        self._context = context
        self._customers = customers
        self._state = state
        self._spool = spool
        self._uuid = ""
        self._final_written = False
        with ExitStack() as stack:
            self._deferred = DeferredFindings(breaker, services)
            stack.callback(self._deferred.close)
            self._sinks = [stack.enter_context(ReportFile(path)) for path in places.records]
            self._stack = stack.pop_all()
        for sink in self._sinks:
            if sink.set_aside is not None:
                observer.unfinished_report_renamed(sink.set_aside)

    @property
    def identities(self) -> frozenset[tuple[int, int]]:
        """Device and inode of the files that grow during the scan."""
        return frozenset(sink.identity for sink in self._sinks)

    def emit(self, record: Record) -> None:
        """Write a record to all reports and the observer, with the customer whose file it is about."""
        if self._spool is not None and record["type"] == "scan":
            self._uuid = record["uuid"]
        record = self._customers.named(record)
        waits = self._deferred.add(record)
        record = public(record)
        for sink in self._sinks:
            if not waits or sink.destination is not None:
                sink.write(record)
        if not waits:
            self._observer.record(record)

    def write_final(self, summary: Summary, act: Act | None = None, besides: Iterable[Record] = ()) -> Record:
        """Write the final records of matches, when all are found; return more fields of the summary. The
        breaker also counts `besides`, findings of files that the scan did not reach."""
        deferred = self._deferred
        deferred.count_besides(besides)
        deferred.finalize(act)
        summary.hold(deferred.held_records())
        self._final_written = True
        # Files already have the first records, standard output has none of them yet.
        for sink in sorted(self._sinks, key=lambda sink: sink.destination is not None):
            if deferred.changed or sink.destination is None:
                sink.replace_matches(deferred.records())
        for record in deferred.records():
            self._observer.record(record)
        for message in deferred.breaker_messages():
            self._observer.message(message)
        return deferred.fields()

    def held(self) -> Iterator[Record]:
        """Yield the findings that the circuit breaker changed to held; call it after `write_final`."""
        return self._deferred.held_records()

    def conclude(
        self,
        summary: Summary,
        lists: tuple[ListInfo, ...],
        exit_code: int,
        shortcomings: Sequence[Shortcoming],
        seconds: float,
        further: Record | None = None,
    ) -> ScanResult:
        """Write the summary, and rename the reports to their final names."""
        self.emit(
            summary_record(
                {
                    **summary.fields(),
                    **(further or {}),
                    "incomplete": fields_of(shortcomings),
                    "only_test_entries": only_test_entries(lists),
                    "seconds": round(seconds, 3),
                    "ended": datetime.now(UTC).isoformat(),
                    "exit_code": exit_code,
                }
            )
        )
        places = self._places
        for sink in self._sinks:
            sink.finish(self._keep_to_push if sink.destination == places.source else None)
        record = None if places.source == places.passing else places.source
        return ScanResult(exit_code, summary, lists, tuple(shortcomings), seconds, places.kept, record)

    def _keep_to_push(self, partial: Path, stream: BinaryIO) -> None:
        if self._spool is None:
            return
        # Whoever sends the report tries again, and says what is wrong; the report itself must not be lost.
        with suppress(HashscanError):
            keep_open_report(self._spool, self._uuid, partial, stream)

    def convert(self) -> None:
        """Make the reports in other formats, when the record has its final name and the state is stored; one
        that can't be made does not keep the others from being made."""
        places = self._places
        failures: list[HashscanError] = []
        with with_digests(self._context, self._state) as context:
            for made in places.made:
                assert places.source is not None
                try:
                    left_out = convert(Report(places.source, context), REPORT_FORMATS[made.format], made.path)
                except (UsageError, OutputError) as error:
                    failures.append(error)
                    continue
                for reason, number in left_out.items():
                    self._observer.message(f"left out of the {made.format} report: {number} {reason}")
        for failure in failures[1:]:
            self._observer.message(str(failure))
        if failures:
            raise failures[0]
        if places.passing is not None:
            places.passing.unlink()

    def __enter__(self) -> ReportWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An exception is being raised already; a full disk must not hide it.
        with suppress(OutputError):
            for sink in () if self._final_written else self._sinks:
                if sink.destination is None:
                    sink.replace_matches(self._deferred.records())
        self._stack.__exit__(kind, error, trace)


def open_reports(
    settings: ScanSettings,
    places: ReportPaths,
    observer: Observer,
    customers: Customers,
    services: Collection[str] = (),
) -> ReportWriter:
    """Open the reports that the settings ask for."""
    state = settings.state if settings.cluster is None else None
    for made in places.made:
        if REPORT_FORMATS[made.format].needs_digests and state is None and not settings.with_digests:
            raise UsageError(
                f"the format {made.format} needs digests, and this scan keeps none",
                advice="Add --with-digests.",
            )
    return ReportWriter(
        places,
        observer,
        settings.breaker,
        report_context(settings.sites, settings.reporter),
        customers,
        state,
        settings.state if settings.push else None,
        services,
    )
