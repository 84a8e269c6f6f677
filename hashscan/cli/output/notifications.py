"""Alerts and metrics after a command: sends notifications, and prints on standard error what failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING

from hashscan.cli.output.terminal import escape_control, print_message
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
from hashscan.settings.cases_and_alerts import AlertSettings, CaseSettings
from hashscan.state_dir import StateDir
from hashscan.text import plural

if TYPE_CHECKING:
    from hashscan.alerts.alert import Alert
    from hashscan.alerts.dispatcher import DeliveryResult, Notifier
    from hashscan.alerts.metrics import ScanMetrics
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
    """Send the alerts that are due, and write the metrics; errors are printed and not raised.

    Args:
        state: state folder.
        alerts: channels, and what is sent.
        cases: deadlines of cases.
        seen: hash lists that were verified just now.
        others: further alerts.
        instead: alerts that are sent as well if the ledger can't be used.
        run: figures of a scan that the ledger may not know.
    """
    if not alerts.any_channel and alerts.metrics is None:
        return
    from hashscan.alerts.dispatcher import Notifier

    try:
        send_alerts_or_raise(state, alerts, cases, seen=seen, others=others, run=run)
    except LockedError as error:
        _say_trouble(error)
    except HashscanError as error:
        _say_trouble(error)
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
) -> DeliveryResult | None:
    """Send the alerts that are due, and write the metrics; for a command that does only this.

    Args:
        state, alerts, cases, seen, others, run: see `send_alerts`.
        at_once: also try channels that have failed not long ago.

    Returns:
        The results of the deliveries; None without a channel.

    Raises:
        LockedError: another process delivers alerts, and takes long; the alerts are kept.
        OutputError: the ledger, the lists or the metrics file can't be used.
    """
    from hashscan.alerts.dispatcher import Notifier
    from hashscan.alerts.metrics import collect_list_metrics, collect_metrics, write_metrics
    from hashscan.cases.deadlines import DeadlineCalculator
    from hashscan.cases.ledger import Ledger
    from hashscan.cases.sync import sync

    teller = Notifier(alerts, cases)
    delivered = None
    lists = collect_list_metrics(state, datetime.now(UTC), seen)
    with Ledger(state) as ledger:
        for trouble in sync(ledger, state).troubles:
            print_message(f"hashscan: the ledger of cases is not up to date: {escape_control(str(trouble))}")
        try:
            if alerts.any_channel:
                delivered = teller.notify(ledger, state, lists, others, at_once=at_once)
                print_failed_deliveries(delivered)
            elif others:
                teller.store(ledger, others)
        finally:
            if alerts.metrics is not None:
                figures = collect_metrics(ledger, state, DeadlineCalculator(cases), time.time(), lists)
                write_metrics(alerts.metrics, figures.with_run(run))
    return delivered


def _say_trouble(error: HashscanError) -> None:
    print_message(f"hashscan: alerts and metrics: {escape_control(str(error))}\n  {error.remedy}")


def send_pull_alerts(
    state: StateDir,
    alerts: AlertSettings,
    cases: CaseSettings,
    troubles: Iterable[tuple[str, HashscanError]],
) -> None:
    """Send the alerts that are due after lists were pulled.

    Args:
        state: state folder.
        alerts: channels, and what is sent.
        cases: deadlines of cases.
        troubles: lists whose pull failed, and the errors. An unreachable server raises no alert: the pull is
            tried again, and there is an alert when the list becomes stale.
    """
    from hashscan.lists.storage.manifest import LIST_NAME

    # A name that no list can have was mistyped, and the user has already seen the error.
    lists = [(name, error) for name, error in troubles if LIST_NAME.fullmatch(name)]
    grave = [(name, error) for name, error in lists if error.exit_code != EXIT_UNREACHABLE]
    quiet = not alerts.any_channel and alerts.metrics is None
    if quiet and not grave:
        return
    from hashscan.alerts.builder import list_failure_alert
    from hashscan.alerts.dispatcher import Notifier

    others = [
        list_failure_alert(name, error.exit_code, str(error), time.time(), details=alerts.details)
        for name, error in grave
    ]
    if quiet:
        _store_alerts(state, Notifier(alerts, cases), others)
    else:
        send_alerts(state, alerts, cases, others=others)


def _store_alerts(state: StateDir, teller: Notifier, alerts: Sequence[Alert]) -> None:
    """Store alerts in the ledger, for a later command that has channels."""
    from hashscan.cases.ledger import Ledger

    # The failure itself is printed already; an error of the ledger must not hide it.
    with suppress(OutputError), Ledger(state) as ledger:
        teller.store(ledger, alerts)


def _send_without_ledger(
    teller: Notifier, alerts: AlertSettings, others: Sequence[Alert], run: ScanMetrics | None
) -> None:
    """Send alerts and write metrics where there is no ledger, or no usable one."""
    from hashscan.alerts.metrics import Metrics, write_metrics

    try:
        if others and teller.channels:
            for words in teller.notify_without_state(others).failures:
                print_message(
                    f"hashscan: an alert was not delivered and is not stored: {escape_control(words)}"
                )
        if alerts.metrics is not None:
            write_metrics(alerts.metrics, Metrics().with_run(run))
    except HashscanError as error:
        _say_trouble(error)


def print_failed_deliveries(delivered: DeliveryResult) -> None:
    """Print which deliveries failed, and how many alerts wait."""
    for words in delivered.failures:
        print_message(f"hashscan: an alert was not delivered by {escape_control(words)}")
    if delivered.waiting:
        print_message(
            f"hashscan: {plural(delivered.waiting, 'alert waits', 'alerts wait')} for another attempt; "
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
        """Set where alerts go.

        Args:
            state: state folder of the scan; None if it leaves nothing behind.
            alerts: channels, and what is sent.
            cases: deadlines of cases.
            known: whether the scan is a rescan, which reads no file.
            followed: whether its findings become cases.
        """
        self._state = state
        self._known = known
        self.followed = followed
        """Whether the findings become cases, or have become cases."""
        self._alerts = alerts
        self._cases = cases
        self._outcome: ScanResult | None = None
        self._exit_code: int | None = None
        self._began = time.time()

    def ended(self, outcome: ScanResult) -> None:
        """Store the outcome of a scan that came to its end."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        quiet = not self._alerts.any_channel and self._alerts.metrics is None
        if quiet and (error is None or self._state is None):
            return
        from hashscan.alerts.builder import failure_alert, outcome_alerts
        from hashscan.alerts.dispatcher import Notifier

        now, details = time.time(), self._alerts.details
        others = [] if error is None else self._failure(error, now)
        if quiet:
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
        words = "The ledger of cases can't be used, so no alerts about cases are sent."
        instead = [failure_alert(EXIT_OUTPUT, words, now, details=details)]
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
        ours = isinstance(error, HashscanError)
        code = error.exit_code if isinstance(error, HashscanError) else EXIT_DEFECT
        if code == EXIT_USAGE and sys.stderr.isatty():
            return []
        words = str(error) if ours else type(error).__name__
        return [failure_alert(code, words, now, details=self._alerts.details)]

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
