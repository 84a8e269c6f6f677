"""Move a scan's findings into quarantine when the scan has found all of them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from hashscan.errors import LockedError, OutputError
from hashscan.matching.list_limits import HeldMove, LimitedList, ListLimits
from hashscan.model import DIRECT, Access, Action, Weak
from hashscan.quarantine.captured_file import Outcome, QuarantineRequest, is_url
from hashscan.quarantine.items import KEPT
from hashscan.quarantine.moving import MoveResult, move
from hashscan.quarantine.notes import read_note
from hashscan.quarantine.object_stores import Stores
from hashscan.quarantine.repair import repair
from hashscan.quarantine.retention import Retention, require_clock
from hashscan.quarantine.selection import (
    STAYS,
    blocking_weakness,
    request_of,
    staying_message,
    stays_as_container,
)
from hashscan.quarantine.store import Quarantine, quarantined_items, read_items
from hashscan.quarantine.trust_weakness import weakness_messages
from hashscan.registry import SOURCES
from hashscan.reports.records import CONTENT, Record
from hashscan.scan.reporting.report_writer import Act
from hashscan.settings.matching import NO_RULES, PolicySettings, QuarantineSettings
from hashscan.state_dir import StateDir
from hashscan.text import path_fields

_BATCH_SIZE = 200
_LOCK_SECONDS = 60.0
"""The seconds to wait for the quarantine's lock; commands that maintain a quarantine take less."""
_SAID = 20
"""The number of files not moved for which standard error shows the reason."""


class LimitPreview:
    """The step of a scan whose findings another state's `quarantine add` moves: it says what that will hold.

    That command has no channels for alerts, and may not use those of the scan.
    """

    def __init__(self, state: StateDir, act_on: Collection[Weak], notify: Callable[[str], None]) -> None:
        """Prepare it; the quarantine's log is read when all findings are known."""
        self._state, self._act_on, self._notify = state, act_on, notify
        self.limited: list[LimitedList] = []
        """Lists because of which matches will be held."""

    def preview_function(self, scan: Record) -> Act:
        """Return a function that counts a scan's findings, and yields their records as they are."""

        def act(findings: Iterable[Record]) -> Iterator[Record]:
            yield from findings
            try:
                limits = ListLimits(self._state, quarantined_items(self._state))
            except OutputError as error:
                self._notify(f"whether matches will be held because of their lists is not known: {error}")
                return
            for step in (limits.count, limits.admit):
                for finding in findings:
                    if (request := request_of(finding, scan, self._act_on, finding.get(CONTENT))) is not None:
                        step(request)
            self.limited = limits.limited()
            for one in self.limited:
                self._notify(one.message)

        return act


class Mover:
    """The step of a scan that quarantines findings and counts the outcomes."""

    def __init__(
        self,
        state: StateDir,
        settings: QuarantineSettings,
        notify: Callable[[str], None],
        access: Access = DIRECT,
        policy: PolicySettings = NO_RULES,
        targets: Sequence[bytes] = (),
    ) -> None:
        """Check before the scan that findings can be moved. If the policy has rules, only files for which
        they say so are moved. The quarantine is not locked during the scan, so other processes may use it; if
        one still uses it when the scan has ended, and does not stop in time, nothing is moved and each
        finding says why."""
        require_clock(datetime.now(UTC))
        self.outcomes: Counter[Outcome] = Counter()
        self._state = state
        self._places = settings.places
        self._bucket = settings.bucket
        self._endpoint = access.endpoint
        self._terms = Retention(
            timedelta(seconds=settings.retain_min), timedelta(seconds=settings.destroy_by)
        )
        self._note = None if settings.note is None else read_note(settings.note)
        self._by_rules = bool(policy.rules)
        self._act_on = policy.act_on
        self._containers = settings.containers
        self._staying = 0
        self._unbacked = Counter[Weak]()
        self.limited: list[LimitedList] = []
        """Lists because of which matches are held."""
        self._named = 0
        self._notify = notify
        if os.geteuid() != 0:
            notify("an ordinary user can move nothing but own files, and that user can open them still")
        with self._open() as quarantine:
            quarantine.stores.keep_apart(filter(is_url, targets))
            for trouble in repair(quarantine):
                notify(trouble)

    @property
    def not_moved(self) -> int:
        """The number of findings that should have been moved and were not."""
        return self.outcomes.total() - self.outcomes[Outcome.DONE]

    def fields(self) -> dict[str, Any]:
        """Return the number of findings by outcome, and what is held for its lists, as the summary has it."""
        names = {Outcome.DONE: "moved"}
        fields: dict[str, Any] = {names.get(each, each.value): self.outcomes[each] for each in Outcome}
        return fields | ({"limited": [one.fields() for one in self.limited]} if self.limited else {})

    def kept(self) -> Iterator[Record]:
        """Yield the findings that earlier scans have moved, for the circuit breaker of an incomplete scan.

        Without them, a wrong entry could make each of many scans that end early move the files of a few more
        owners, without ever matching too much in one scan.
        """
        for item in read_items(self._state).values():
            if item.state in KEPT and not item.of_another:
                owner = {} if item.is_object else {"uid": item.record["file"]["uid"]}
                yield {"path": os.fsdecode(item.path), "matches": item.matches, **owner}

    def mover_function(self, scan: Record, is_stopped: Callable[[], bool], until: float | None = None) -> Act:
        """Return a function that moves a scan's findings and yields their records with the outcome of each.
        It goes through the findings twice: all must be counted before the first is moved. After `until`
        (monotonic clock) it begins no more; those left say so."""

        def act(findings: Iterable[Record]) -> Iterator[Record]:
            with ExitStack() as stack:
                quarantine: Quarantine | None = None
                try:
                    quarantine = stack.enter_context(self._open(_LOCK_SECONDS))
                    why_not = ""
                except LockedError as error:
                    # The findings and the summary are reported all the same.
                    why_not = str(error)
                limits = self._limits(findings, scan, quarantine)
                todo = iter(findings)
                while some := list(islice(todo, _BATCH_SIZE)):
                    if is_stopped():
                        why_not = "the scan was stopped"
                    elif until is not None and time.monotonic() >= until:
                        why_not = "the time budget is used up"
                    usable = None if why_not else quarantine
                    yield from self._move_batch(usable, some, scan, why_not, limits)
            self.limited = limits.limited()
            for one in self.limited:
                self._notify(one.message)
            self._notify(f"{self.outcomes[Outcome.DONE]} moved into quarantine, {self.not_moved} left")
            for message in weakness_messages(self._unbacked):
                self._notify(message)
            if self._staying:
                self._notify(staying_message(self._staying))

        return act

    def _limits(self, findings: Iterable[Record], scan: Record, quarantine: Quarantine | None) -> ListLimits:
        items = read_items(self._state) if quarantine is None else quarantine.items()
        limits = ListLimits(self._state, items.values())
        for finding in findings:
            if (request := self._request(finding, scan)) is not None:
                limits.count(request)
        self._unbacked.clear()
        return limits

    def _open(self, seconds: float = 0.0) -> Quarantine:
        stores = Stores(SOURCES, self._endpoint, self._bucket)
        return Quarantine(self._state, self._places, self._notify, stores, seconds=seconds)

    def _move_batch(
        self,
        quarantine: Quarantine | None,
        findings: Sequence[Record],
        scan: Record,
        why_not: str,
        limits: ListLimits,
    ) -> Iterator[Record]:
        wanted = [self._request(finding, scan) for finding in findings]
        asked = [None if request is None else limits.admit(request) for request in wanted]
        requests = [request for request in asked if isinstance(request, QuarantineRequest)]
        given = (
            (MoveResult(r.path, Outcome.REFUSED, detail=why_not, version=r.version) for r in requests)
            if quarantine is None
            else move(quarantine, requests, self._terms, self._note)
        )
        results = {(result.path, result.version): result for result in given}
        # A file may have been named twice, but it is moved once.
        self.outcomes.update(result.outcome for result in results.values())
        for finding, request in zip(findings, asked, strict=True):
            if isinstance(request, HeldMove):
                yield request.record(finding)
            elif request is not None:
                yield self._record_with_outcome(finding, request, results[request.path, request.version])
            else:
                yield self._record_that_stays(finding, scan)

    def _request(self, finding: Record, scan: Record) -> QuarantineRequest | None:
        content = finding.get(CONTENT)
        if self._by_rules:
            allowed = finding.get("action") == Action.QUARANTINE
            return self._asked_for(finding, scan, content) if allowed else None
        request = self._asked_for(finding, scan, content)
        if request is None and (weak := blocking_weakness(finding, scan, self._act_on)) is not None:
            self._unbacked[weak] += 1
        return request

    def _asked_for(self, finding: Record, scan: Record, content: str | None) -> QuarantineRequest | None:
        return request_of(finding, scan, self._act_on, content, containers=self._containers)

    def _record_that_stays(self, finding: Record, scan: Record) -> Record:
        """Return the record of a finding that is not to be moved; for a container, with the reason."""
        allowed = not self._by_rules or finding.get("action") == Action.QUARANTINE
        if self._containers or not (allowed and stays_as_container(finding, scan, self._act_on)):
            return finding
        self._staying += 1
        said = {"outcome": STAYS, "detail": "only members match; --quarantine-containers moves such files"}
        return {**finding, "action": Action.REPORT.value, "quarantine": said}

    def _record_with_outcome(self, finding: Record, request: QuarantineRequest, result: MoveResult) -> Record:
        path = os.fsdecode(request.path)
        said: dict[str, Any] = {"outcome": result.outcome.value}
        if result.item:
            said["item"] = result.item
        if result.outcome is Outcome.DONE:
            said["place"] = path_fields(result.place)
            if result.detail:
                said["detail"] = result.detail
            if result.links > 1:
                said["other_names"] = result.links - 1
            if result.writers:
                said["writers"] = list(result.writers)
                self._notify(f"{path} is open for writing: {', '.join(result.writers)}")
            if result.no_note:
                said["no_note"] = result.no_note
            return {**finding, "action": Action.QUARANTINE.value, "quarantine": said}
        said["detail"] = result.detail
        self._named += 1
        if self._named <= _SAID:
            self._notify(f"not moved: {path}: {result.outcome.value}: {result.detail}")
        return {**finding, "quarantine": said}
