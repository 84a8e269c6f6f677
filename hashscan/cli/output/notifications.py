"""Alerts and metrics after a command: sends notifications, and prints on standard error what failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashscan.cli.output.logs import ERROR, print_error, print_message
from hashscan.errors import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_OUTPUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    HashscanError,
    LockedError,
    OutputError,
)
from hashscan.model import ListInfo
from hashscan.settings.cases_and_alerts import DEFAULT_DEADLINES, AlertSettings, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.alerts.alert import Alert
    from hashscan.alerts.dispatcher import DeliveryResult, Notifier
    from hashscan.alerts.metrics import ScanMetrics
    from hashscan.matching.list_limits import LimitedList
    from hashscan.scan.reporting.report_writer import ScanResult


def send_alerts(
    state: StateDir,
    alerts: AlertSettings,
    cases: CaseSettings,
    *,
    seen: Iterable[ListInfo] = (),
    others: Sequence[Alert] = (),
    instead: Sequence[Alert] = (),
    run: ScanMetrics | None = None,
) -> None:
    """Send the alerts that are due, and `others`, and write the metrics; errors are printed and not raised.
    `seen` are hash lists that were verified just now; `instead` are sent as well if the ledger can't be used;
    `run` are figures of a scan that the ledger may not know."""
    if not alerts.wanted:
        return
    from hashscan.alerts.dispatcher import Notifier

    try:
        send_alerts_or_raise(state, alerts, cases, seen=seen, others=others, run=run)
    except LockedError as error:
        _print_error(error)
    except HashscanError as error:
        _print_error(error)
        _send_without_ledger(Notifier(alerts, cases), alerts, (*others, *instead), run)


def send_alerts_or_raise(
    state: StateDir,
    alerts: AlertSettings,
    cases: CaseSettings,
    *,
    seen: Iterable[ListInfo] = (),
    others: Sequence[Alert] = (),
    run: ScanMetrics | None = None,
    at_once: bool = False,
    digest: bool = False,
) -> DeliveryResult | None:
    """Send the alerts that are due, and write the metrics; return the results of deliveries, if any.

    For the arguments, see `send_alerts`; `at_once` also tries channels that failed recently, and `digest`
    also sends the digest of this day.
    """
    from hashscan.alerts.dispatcher import Notifier
    from hashscan.alerts.metrics import collect_list_metrics, collect_metrics, write_metrics
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.sync import sync

    notifier = Notifier(alerts, cases)
    delivered = None
    lists = collect_list_metrics(state, datetime.now(UTC), seen)
    with Ledger(state) as ledger:
        for trouble in sync(ledger, state).troubles:
            print_message(f"the ledger of cases is not up to date: {trouble}", ERROR)
        try:
            if alerts.any_channel:
                delivered = notifier.notify(ledger, state, lists, others, at_once=at_once, digest=digest)
                print_failed_deliveries(delivered)
            elif others:
                notifier.store(ledger, others)
        finally:
            if alerts.metrics is not None:
                figures = collect_metrics(ledger, state, DeadlineCalculator(cases), time.time(), lists)
                write_metrics(alerts.metrics, figures.with_run(run))
    return delivered


def _print_error(error: HashscanError) -> None:
    print_error(error, "alerts and metrics")


def send_pull_alerts(
    state: StateDir,
    alerts: AlertSettings,
    cases: CaseSettings,
    troubles: Iterable[tuple[str, HashscanError]],
) -> None:
    """Send the alerts that are due after lists were pulled.

    An unreachable server raises no alert: the pull is tried again, and there is an alert when the list
    becomes stale.
    """
    from hashscan.lists.storage.manifest import LIST_NAME

    # A name that no list can have was mistyped, and the user has already seen the error.
    lists = [(name, error) for name, error in troubles if LIST_NAME.fullmatch(name)]
    grave = [(name, error) for name, error in lists if error.exit_code != EXIT_UNREACHABLE]
    if not (alerts.wanted or grave):
        return
    from hashscan.alerts.builder import list_failure_alert
    from hashscan.alerts.dispatcher import Notifier

    others = [
        list_failure_alert(name, error.exit_code, str(error), time.time(), details=alerts.details)
        for name, error in grave
    ]
    if alerts.wanted:
        send_alerts(state, alerts, cases, others=others)
    else:
        _store_alerts(state, Notifier(alerts, cases), others)


def _store_alerts(state: StateDir, notifier: Notifier, alerts: Sequence[Alert]) -> None:
    """Store alerts in the ledger, for a later command that has channels."""
    from hashscan.cases.ledger import Ledger

    # The failure itself is printed already; an error of the ledger must not hide it.
    with suppress(OutputError), Ledger(state) as ledger:
        notifier.store(ledger, alerts)


def store_limit_alerts(state: StateDir, limited: Sequence[LimitedList]) -> int:
    """Store alerts about lists because of which matches are held, for a later command that has channels.

    Return the number of lists.
    """
    if not limited:
        return 0
    from hashscan.alerts.builder import limit_alert
    from hashscan.alerts.dispatcher import Notifier

    alerts = [limit_alert(one, time.time()) for one in limited]
    _store_alerts(state, Notifier(AlertSettings(), DEFAULT_DEADLINES), alerts)
    return len(alerts)


def _send_without_ledger(
    notifier: Notifier, alerts: AlertSettings, others: Sequence[Alert], run: ScanMetrics | None
) -> None:
    """Send alerts and write metrics where there is no ledger, or no usable one."""
    from hashscan.alerts.metrics import Metrics, write_metrics

    try:
        if others and notifier.channels:
            for failure in notifier.notify_without_state(others).failures:
                print_message(f"an alert was not delivered and is not stored: {failure}", ERROR)
        if alerts.metrics is not None:
            write_metrics(alerts.metrics, Metrics().with_run(run))
    except HashscanError as error:
        _print_error(error)


def print_failed_deliveries(delivered: DeliveryResult) -> None:
    """Print which deliveries failed, and how many alerts wait."""
    for failure in delivered.failures:
        print_message(f"an alert was not delivered by {failure}", ERROR)
    if delivered.waiting:
        print_message(
            f"{plural(delivered.waiting, 'alert waits', 'alerts wait')} for another attempt; "
            "see `hashscan alerts list`"
        )


class ScanAlerts:
    """A context manager that sends the alerts of a scan when it ends, however it ends.

    Raises:
        UsageError: on entry, if a channel can't be used.
    """

    def __init__(
        self,
        state: StateDir | None,
        alerts: AlertSettings,
        cases: CaseSettings,
        *,
        known: bool,
        followed: bool,
    ) -> None:
        """Prepare the alerts of a scan, or of a rescan (`known`); without a state, nothing is stored."""
        self._state = state
        self._known = known
        self.followed = followed
        """True if the findings become cases, or have become cases."""
        self._alerts = alerts
        self._cases = cases
        self._outcome: ScanResult | None = None
        self._exit_code: int | None = None
        self._began = time.time()

    def ended(self, outcome: ScanResult) -> None:
        self._outcome = outcome

    def exits(self, code: int) -> int:
        """Store the exit code of the command, and return it."""
        self._exit_code = code
        return code

    def __enter__(self) -> ScanAlerts:
        if self._alerts.any_channel:
            from hashscan.alerts.dispatcher import Notifier

            Notifier(self._alerts, self._cases).check()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        limited = () if self._outcome is None else self._outcome.limited
        if not self._alerts.wanted and (self._state is None or (error is None and not limited)):
            return
        from hashscan.alerts.builder import failure_alert, limit_alert, outcome_alerts
        from hashscan.alerts.dispatcher import Notifier

        now, details = time.time(), self._alerts.details
        others = [] if error is None else self._failure(error, now)
        others += [limit_alert(one, now) for one in limited]
        if not self._alerts.wanted:
            assert self._state is not None
            _store_alerts(self._state, Notifier(self._alerts, self._cases), others)
            return
        run = self._run(error, now)
        found: list[Alert] = []
        if self._outcome is not None:
            found += outcome_alerts(self._outcome, f"{self._began:.6f}", details=details)
        if self._state is None:
            _send_without_ledger(Notifier(self._alerts, self._cases), self._alerts, (*others, *found), run)
            return
        reason = "The ledger of cases can't be used, so no alerts about cases are sent."
        instead = [failure_alert(EXIT_OUTPUT, reason, now, details=details)]
        if self.followed:
            instead = [*found, *instead]
        else:
            others += found
        seen = () if self._outcome is None else self._outcome.lists
        send_alerts(
            self._state, self._alerts, self._cases, seen=seen, others=others, instead=instead, run=run
        )

    def _failure(self, error: BaseException, now: float) -> list[Alert]:
        """Return the alert for an error; none for an interruption, or for a usage error on a terminal."""
        from hashscan.alerts.builder import failure_alert

        if not isinstance(error, Exception):
            return []
        known = isinstance(error, HashscanError)
        code = error.exit_code if isinstance(error, HashscanError) else EXIT_DEFECT
        if code == EXIT_USAGE and sys.stderr.isatty():
            return []
        reason = str(error) if known else type(error).__name__
        return [failure_alert(code, reason, now, details=self._alerts.details)]

    def _run(self, error: BaseException | None, now: float) -> ScanMetrics | None:
        """Return the figures of the scan; None for a rescan, or if another scan holds the lock."""
        from hashscan.alerts.metrics import ScanMetrics

        if self._known or isinstance(error, LockedError):
            return None
        if self._outcome is None:
            code = error.exit_code if isinstance(error, HashscanError) else EXIT_DEFECT
            code = EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else code
            return ScanMetrics(self._began, now, code)
        summary = self._outcome.summary
        return ScanMetrics(
            self._began,
            now,
            self._outcome.exit_code if self._exit_code is None else self._exit_code,
            {verdict.value: number for verdict, number in summary.verdicts.items()},
            summary.bytes_read,
            len(self._outcome.shortcomings),
        )
