"""Build the daily digest: an alert for the abuse desk about everything since the digest before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hashscan.alerts.alert import CASES_IN_TEXT, CASES_NAMED, Alert, Kind, message_of
from hashscan.alerts.metrics import ListMetrics
from hashscan.cases.digest import CaseGroup, DigestFigures
from hashscan.cases.outbox import FailingChannel
from hashscan.cases.queries import ScanRun
from hashscan.errors import EXIT_MEANINGS
from hashscan.model import TrustState
from hashscan.text import human_bytes, plural
from hashscan.timefmt import short_time

KILLED = "killed"
"""Key in the counts of the alert for a killed scan."""
"""The subject of an alert about a scan that was killed; the digest counts these scans itself."""
_SCANS_SHOWN = 20
_REASONS_SHOWN = 5
_DAY = 86_400
_NOT_CHECKED = ("unreadable", "undecoded", "skipped")


def digest_key(now: float) -> str:
    """Return the key of the digest of a day of this machine's time zone; `now` in seconds since 1970."""
    return f"digest:{datetime.fromtimestamp(now, UTC).astimezone().date()}"


def digest_alert(
    figures: DigestFigures,
    lists: Sequence[ListMetrics],
    failing: Sequence[FailingChannel],
    failed: Sequence[Mapping[str, Any]],
    withdrawn: int,
    *,
    details: bool,
) -> Alert:
    """Return the digest. `failing` are channels whose last delivery failed, `failed` documents of the alerts
    about scans that failed in this time; with `details`, reasons name paths."""
    trouble = list(_trouble(figures, lists, failing, failed, details=details))
    if withdrawn:
        trouble.append(f"{plural(withdrawn, 'file')} in quarantine that no entry matches any more.")
    lines = [f"From {short_time(figures.since)} to {short_time(figures.until)} UTC.", ""]
    for title, section in (
        ("Trouble", trouble),
        ("Scans", list(_scans(figures.scans))),
        ("Cases", list(_cases(figures))),
        ("Lists", [_list_line(one, figures.until) for one in lists]),
    ):
        lines += [title, *(f"  {line}" for line in section or ["none"]), ""]
    counts = {
        "cases": figures.new.total,
        "overdue": figures.overdue.total,
        "reviews": figures.reviews.total,
        "open": figures.open,
        "scans": len(figures.scans),
        "trouble": len(trouble),
    }
    subject = (
        f"digest: {plural(figures.new.total, 'new case')}, {figures.overdue.total} overdue, "
        f"{plural(figures.reviews.total, 'review')} waiting"
    )
    if trouble:
        subject += ", TROUBLE"
    key = digest_key(figures.until)
    return Alert(
        Kind.DIGEST, (key,), subject, tuple(lines[:-1]), tuple(figures.new.ids[:CASES_NAMED]), counts
    )


def _trouble(
    figures: DigestFigures,
    lists: Sequence[ListMetrics],
    failing: Sequence[FailingChannel],
    failed: Sequence[Mapping[str, Any]],
    *,
    details: bool,
) -> Iterator[str]:
    if not figures.scans:
        yield "No scan has ended in this time."
    yield from dict.fromkeys(str(alert["subject"]) for alert in failed if KILLED not in alert["counts"])
    last = {(one.code, one.subject): one for scan in figures.scans for one in scan.incomplete}
    for one in last.values():
        yield f"A scan was incomplete: {message_of(one, details=details)}"
    if killed := sum(scan.ended is None for scan in figures.scans):
        yield f"{plural(killed, 'scan was', 'scans were')} killed."
    if not lists:
        yield "There is no hash list."
    for known in lists:
        if not TrustState(known.state).is_good:
            yield f"List {known.name} is {known.state}. See: hashscan lists status {known.name}"
    for channel in failing:
        yield f"Alerts by {channel.label} have failed {plural(channel.failures, 'time')}."


def _scans(scans: Sequence[ScanRun]) -> Iterator[str]:
    for run in scans[-_SCANS_SHOWN:]:
        began = f"{short_time(run.started)} UTC"
        if run.ended is None:
            yield f"{began}: killed"
            continue
        how = "incomplete" if run.incomplete else "complete"
        code = run.exit_code or 0
        yield f"{began}: {how}, exit code {code} ({EXIT_MEANINGS.get(code, 'unknown')})"
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(run.verdicts.items()) if n)
        yield f"  {plural(run.files, 'file')}, {human_bytes(run.bytes)} read: {verdicts or 'nothing'}"
        for verdict in _NOT_CHECKED:
            if reasons := run.reasons.get(verdict):
                yield f"  {verdict}: {_reasons(reasons)}"
    if len(scans) > _SCANS_SHOWN:
        yield f"and {len(scans) - _SCANS_SHOWN} earlier ones"


def _reasons(reasons: Mapping[str, int]) -> str:
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{number} {reason}" for reason, number in ranked[:_REASONS_SHOWN]]
    if others := sum(number for _, number in ranked[_REASONS_SHOWN:]):
        shown.append(f"{others} for other reasons")
    return ", ".join(shown)


def _cases(figures: DigestFigures) -> Iterator[str]:
    kinds = ", ".join(f"{number} {verdict}" for verdict, number in sorted(figures.verdicts.items()))
    yield _group("New", figures.new) + (f" ({kinds})" if kinds else "")
    if figures.categories:
        categories = sorted(figures.categories.items())
        yield f"  Categories: {', '.join(f'{name} {number}' for name, number in categories)}"
    yield _group("Overdue", figures.overdue)
    yield _group("Due within a day", figures.due_soon)
    yield _group("Reviews waiting", figures.reviews)
    yield f"Open: {figures.open}"
    for kind in ("told", "disputed", "removed", "closed", "not_found", "reopened"):
        if number := figures.events.get(kind):
            yield f"{kind.replace('_', ' ').capitalize()} since the last digest: {number}"
    yield "See: hashscan cases list, hashscan cases due"


def _group(title: str, group: CaseGroup) -> str:
    ids = ", ".join(map(str, group.ids[:CASES_IN_TEXT]))
    more = group.total - min(len(group.ids), CASES_IN_TEXT)
    return (
        f"{title}: {group.total}" + (f": case {ids}" if ids else "") + (f" and {more} more" if more else "")
    )


def _list_line(one: ListMetrics, now: int) -> str:
    parts = [f"{one.name}: {one.state}", f"version {one.version}", plural(one.entries, "entry", "entries")]
    if one.pulled is not None:
        parts.append(f"pulled {_age(now - one.pulled)} ago")
    if one.expires is not None:
        left = one.expires - now
        parts.append(f"expires in {_age(left)}" if left >= 0 else f"expired {_age(-left)} ago")
    return ", ".join(parts)


def _age(seconds: float) -> str:
    """Return a duration in whole days, or in hours if it is short."""
    unit, name = (_DAY, "day") if seconds >= 2 * _DAY else (3600, "hour")
    return plural(int(seconds // unit), name)
