"""Build alerts from the events in the ledger that have none yet."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hashscan.alerts.alert import (
    CASES_NAMED,
    DETAILS_MAX,
    FOUND_KINDS,
    Alert,
    AlertDetail,
    Kind,
    message_of,
    without_paths,
)
from hashscan.alerts.digest import KILLED, digest_alert, digest_key
from hashscan.alerts.metrics import ListMetrics
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.digest import digest_figures
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import DatedCase, NewCases, Outbox, UnreportedEvents
from hashscan.cases.queries import Queries, ScanRun
from hashscan.errors import EXIT_MEANINGS
from hashscan.model import TEST_CATEGORY, TrustState, Verdict
from hashscan.settings.cases_and_alerts import NotifyOn
from hashscan.settings.legal_basis import WARN_DAYS, LegalBasis
from hashscan.shortcomings import ShortcomingCode
from hashscan.text import path_fields, plural
from hashscan.timefmt import format_time, short_time

if TYPE_CHECKING:
    from hashscan.matching.list_limits import LimitedList
    from hashscan.scan.reporting.report_writer import ScanResult


class AlertBuilder:
    """A builder of alerts from a ledger that is up to date; each event gives one alert only.

    Unless `details` is True, alerts name no paths and customers.
    """

    def __init__(
        self, ledger: Ledger, deadlines: DeadlineCalculator, *, on: NotifyOn, details: bool, host: str
    ) -> None:
        self._ledger = ledger
        self._deadlines = deadlines
        self._on = on
        self._details = details
        self._host = host
        self._outbox = Outbox(ledger)

    def build_all(
        self,
        now: float,
        kinds: Collection[str],
        lists: Sequence[ListMetrics] = (),
        withdrawn: Iterable[str] = (),
        others: Iterable[Alert] = (),
        escalation: Collection[str] = (),
        *,
        digest: bool = False,
    ) -> int:
        """Put all new alerts into the outbox, for these kinds of channels; return the number of alerts.

        This is one transaction: after a kill, the next run builds the alerts. `now` is in seconds since 1970.
        The kinds of channels in `escalation` get the orders of which half of the time is gone. With `digest`,
        the digest of this day is built too, unless it was built before.
        """
        made = 0
        at = format_time(int(now))
        withdrawn = tuple(withdrawn)
        with self._outbox.transaction():
            self._outbox.adopt(kinds)
            for alert in (*others, *self._alerts(now, lists, withdrawn)):
                if not self._wanted(alert.kind):
                    continue
                document = alert.document(self._host, at)
                made += self._outbox.add(alert.keys, int(now), document, kinds) is not None
            if escalation and (late := self._events().half_gone(now)):
                alert = _escalated(late, self._details_of([case.id for case in late]))
                document = alert.document(self._host, at)
                made += self._outbox.add(alert.keys, int(now), document, escalation) is not None
            if digest and self._outbox.unreported([digest_key(now)]):
                alert, marks = self._digest(now, lists, withdrawn)
                self._outbox.add(alert.keys, int(now), alert.document(self._host, at), kinds)
                for name, number in marks.items():
                    self._outbox.set_mark(name, number)
                made += 1
        return made

    def preview_digest(
        self, now: float, lists: Sequence[ListMetrics] = (), withdrawn: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return the document of the digest that would be built at `now` (seconds since 1970)."""
        with self._ledger.reading():
            alert, _ = self._digest(now, lists, tuple(withdrawn))
        return alert.document(self._host, format_time(int(now)))

    def _digest(
        self, now: float, lists: Sequence[ListMetrics], withdrawn: Sequence[str]
    ) -> tuple[Alert, Mapping[str, int]]:
        """Return the digest, and the marks to set when it is stored."""
        figures = digest_figures(self._ledger, self._outbox, self._deadlines, now, CASES_NAMED)
        failed = [alert.document for alert in self._outbox.made_since(figures.since)]
        alert = digest_alert(
            figures,
            lists,
            self._outbox.all_failing(),
            [one for one in failed if one["kind"] == Kind.FAILED],
            len(withdrawn),
            details=self._details,
        )
        shown = [*figures.overdue.ids, *figures.reviews.ids, *figures.new.ids]
        return replace(alert, details=self._details_of(list(dict.fromkeys(shown)))), figures.marks

    def store(self, now: float, alerts: Iterable[Alert]) -> None:
        """Store alerts without delivering them, for the channels of a later command."""
        at = format_time(int(now))
        with self._outbox.transaction():
            self._outbox.prune(int(now))
            for alert in alerts:
                self._outbox.add(alert.keys, int(now), alert.document(self._host, at), ())

    def _events(self) -> UnreportedEvents:
        return UnreportedEvents(self._ledger, self._outbox, self._deadlines)

    def _wanted(self, kind: Kind) -> bool:
        return (
            self._on == "always" or kind in FOUND_KINDS or (self._on == "trouble" and kind is not Kind.DONE)
        )

    def _alerts(self, now: float, lists: Sequence[ListMetrics], withdrawn: Iterable[str]) -> Iterator[Alert]:
        events = self._events()
        new = events.new_cases(CASES_NAMED)
        if new is not None:
            yield _found(new, self._details_of(new.ids))
        if overdue := events.overdue(now):
            yield _overdue(overdue, self._details_of([case.id for case in overdue]))
        for scan in events.new_scans():
            yield from _scan_alerts(scan, now, details=self._details)
        number, last = events.new_waiting_mails()
        if number:
            yield Alert(
                Kind.MAILS,
                (f"mails:{last}",),
                f"{plural(number, 'mail')} without a notice that can be used",
                ("Each may be an order. See: hashscan cases mails",),
                counts={"mails": number},
            )
        for one in lists:
            if not TrustState(one.state).is_good:
                yield Alert(
                    Kind.LIST,
                    (f"list:{one.name}:{one.version}:{one.state}",),
                    f"list {one.name} is {one.state}",
                    (f"Version {one.version}. See: hashscan lists status {one.name}",),
                )
        if keys := self._outbox.unreported(f"withdrawn:{item}" for item in withdrawn):
            yield Alert(
                Kind.WITHDRAWN,
                tuple(keys),
                f"{plural(len(keys), 'file')} in quarantine that no entry matches any more",
                (
                    "Their entries were withdrawn. See: hashscan quarantine list --withdrawn; put them back "
                    "with: hashscan quarantine restore --withdrawn",
                ),
                counts={"items": len(keys)},
            )

    def _details_of(self, ids: Sequence[int]) -> list[AlertDetail]:
        """Return the details of the first cases, if details were asked for."""
        found: list[AlertDetail] = []
        if not self._details:
            return found
        queries = Queries(self._ledger, self._deadlines)
        # One more than is shown, so that it is known that there are more.
        for number in ids[: DETAILS_MAX + 1]:
            case = queries.case(number)
            if case is None:
                continue
            entries = [f"{match['list']}/{match['entry']}" for match in queries.matches(number)]
            found.append(
                AlertDetail(
                    case=number,
                    verdict=case.verdict,
                    categories=" ".join(case.categories),
                    customer=case.customer,
                    **({} if case.path is None else path_fields(case.path)),
                    url=case.url,
                    entries=" ".join(entries[:5]),
                )
            )
        return found


def failure_alert(code: int, reason: str, now: float, *, details: bool) -> Alert:
    """Return the alert for a scan that failed at `now` (seconds since 1970); one a day for each exit code."""
    day = datetime.fromtimestamp(now, UTC).date()
    return Alert(
        Kind.FAILED,
        (f"failed:{code}:{day}",),
        f"scan FAILED: {EXIT_MEANINGS[code]}",
        (reason if details else without_paths(reason), f"Exit code {code}."),
    )


def list_failure_alert(name: str, code: int, reason: str, now: float, *, details: bool) -> Alert:
    """Return the alert for a list that can't be pulled at `now` (seconds since 1970); one a day and code."""
    day = datetime.fromtimestamp(now, UTC).date()
    return Alert(
        Kind.LIST,
        (f"pull:{name}:{code}:{day}",),
        f"list {name} can't be pulled: {EXIT_MEANINGS[code]}",
        (reason if details else without_paths(reason), "The last good version stays in use."),
    )


def limit_alert(one: LimitedList, now: float) -> Alert:
    """Return the alert for a list because of which matches are held at `now` (seconds since 1970).

    There is one a week for each list and reason, since each scan holds the same files.
    """
    year, week, _ = datetime.fromtimestamp(now, UTC).isocalendar()
    return Alert(
        Kind.LIST,
        (f"limit:{one.name}:{one.source}:{one.code}:{year}-{week}",),
        f"list {one.name} matches too many files: {one.held} held",
        (one.message,),
        counts={"held": one.held},
    )


def legal_basis_alerts(bases: Iterable[LegalBasis], now: float) -> Iterator[Alert]:
    """Yield the alerts for legal bases that end soon, or have ended, at `now` (seconds since 1970).

    Each is raised once for an end: one that is entered anew has its own.
    """
    for one in bases:
        if now < one.end - WARN_DAYS * 86_400:
            continue
        ended = now >= one.end
        after = "it goes on" if one.after_legal_basis == "continue" else "nothing is checked with it"
        yield Alert(
            Kind.LEGAL_BASIS,
            (f"legal-basis:{one.subject}:{one.legal_basis_until}:{'ended' if ended else 'soon'}",),
            f"legal basis of {one.subject} {'has ended' if ended else 'ends'} on {one.legal_basis_until}",
            (f"{one.legal_basis}. After its end, {after}: enter what holds then in [[basis]].",),
        )


def outcome_alerts(outcome: ScanResult, name: str, *, details: bool) -> Iterator[Alert]:
    """Yield the alerts for a scan that no ledger knows; `name` is unique to the scan."""
    verdicts = outcome.summary.verdicts
    found = {
        verdict.value: verdicts[verdict] - outcome.summary.accepted[verdict]
        for verdict in (Verdict.MATCH, Verdict.HELD, Verdict.REVIEW)
    }
    if number := sum(found.values()):
        yield Alert(
            Kind.FOUND,
            (f"found:{name}",),
            f"{plural(number, 'finding')}: {_listed(found)}",
            ("See the report.",),
            counts={name: n for name, n in found.items() if n},
        )
    if outcome.shortcomings:
        reasons = tuple(message_of(one, details=details) for one in outcome.shortcomings)
        yield Alert(Kind.INCOMPLETE, (f"incomplete:{name}",), "scan incomplete", reasons)
    else:
        yield Alert(
            Kind.DONE, (f"done:{name}",), f"scan complete: {plural(outcome.summary.files, 'file')} checked"
        )


def _found(new: NewCases, details: list[AlertDetail]) -> Alert:
    verdicts = _listed(new.verdicts)
    lines = []
    if new.categories:
        lines.append(f"Categories: {', '.join(f'{k} {n}' for k, n in sorted(new.categories.items()))}")
    if set(new.categories) == {TEST_CATEGORY}:
        lines.append("By test entries only: this says nothing about real material.")
    if new.removed:
        lines.append(f"{new.removed} of them refused at upload, gone or in quarantine already")
    if new.first_due is not None:
        lines.append(f"First deadline: {short_time(new.first_due)} UTC")
    return Alert(
        Kind.FOUND,
        (f"found:{new.ids[0]}",),
        f"{plural(new.total, 'new case')}: {verdicts}",
        tuple(lines),
        tuple(new.ids),
        {"cases": new.total, **new.verdicts},
        details,
    )


def _overdue(cases: Sequence[DatedCase], details: list[AlertDetail]) -> Alert:
    customers = len({case.customer for case in cases if case.customer})
    of = f" of {plural(customers, 'customer')}" if customers else ""
    return Alert(
        Kind.OVERDUE,
        tuple(case.key for case in cases),
        f"{plural(len(cases), 'case')}{of} overdue",
        ("The deadline for removal has passed. See: hashscan cases due",),
        tuple(case.id for case in cases[:CASES_NAMED]),
        {"cases": len(cases)},
        details,
    )


def _escalated(cases: Sequence[DatedCase], details: list[AlertDetail]) -> Alert:
    return Alert(
        Kind.ESCALATED,
        tuple(case.key for case in cases),
        f"half of the time is gone for {plural(len(cases), 'order')}",
        ("Nothing has ended them yet. See: hashscan cases list",),
        tuple(case.id for case in cases[:CASES_NAMED]),
        {"cases": len(cases)},
        details,
    )


def _scan_alerts(scan: ScanRun, now: float, *, details: bool) -> Iterator[Alert]:
    began = f"{short_time(scan.started)} UTC"
    if scan.ended is None:
        yield Alert(
            Kind.FAILED,
            (f"killed:{scan.uuid}",),
            "scan FAILED: it was killed",
            (f"It began {began}, and what it found is in its unfinished report.",),
            counts={KILLED: 1},
        )
        return
    # A list's own alert says more of it.
    reasons = [one for one in scan.incomplete if one.code is not ShortcomingCode.LIST]
    if reasons:
        # The same shortcomings are reported once a week; every night would be too often.
        named = "\n".join(sorted({f"{one.code} {one.subject}" for one in reasons}))
        trouble = hashlib.sha256(named.encode()).hexdigest()[:16]
        year, week, _ = datetime.fromtimestamp(now, UTC).isocalendar()
        yield Alert(
            Kind.INCOMPLETE,
            (f"incomplete:{trouble}:{year}-{week}",),
            "scan incomplete",
            (
                f"It began {began} and has checked {scan.files} files. Why it is incomplete:",
                *(message_of(one, details=details) for one in reasons),
            ),
            counts={"files": scan.files},
        )
    elif not scan.incomplete:
        yield Alert(
            Kind.DONE,
            (f"done:{scan.uuid}",),
            f"scan complete: {plural(scan.files, 'file')} checked",
            (f"It began {began}; {EXIT_MEANINGS.get(scan.exit_code or 0, '')}.",),
            counts={"files": scan.files},
        )


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()) if number)
