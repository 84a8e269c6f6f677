"""Create and update cases from the findings of scans and from the quarantine (custody) log.

A case ends by a missing match only under stricter rules than a finding in the scan state does: a case with a
notice never ends because lists no longer match, and no case ends while a list that matched it was not in use
in that scan. The reason: a state that was lost and started again, or the report of a scan on another machine
or cluster, knows only its own lists.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from hashscan.cases.ledger import MATCH_KEYS, MATCHES_QUERY
from hashscan.errors import UsageError
from hashscan.model import TEST_CATEGORY
from hashscan.state.findings.coverage import (
    MatchFields,
    accuses,
    joined,
    key_of,
    matches_of,
    only_test,
    strength,
    usable_lists,
)
from hashscan.state.findings.findings import CHANGED, CLEARED, GONE
from hashscan.state.findings.history import FindingRecord

QUARANTINED = "quarantined"
REFUSED = "refused"
"""The end of a refused upload's case, at once: nothing was stored."""
NEVER_SEEN = "never_seen"
"""The result of a check if a notice's file is not there, and nobody here has ever seen it."""
NOTICE = "notice"
"""Used instead of a verdict if there is only a notice of a file."""
INFORM = "inform"
"""Used instead of a verdict for an order to provide information, which asks for no removal."""
NOT_FOUND = "not_found"
"""The end, by a person, of the case of a file that was never seen here: answered, and not removed."""
_CLEARED_REASON = "no hash list matches it any more"


class Witness(StrEnum):
    """A kind of observer that saw the file of a case."""

    SCAN = "scan"
    """A scan with this state: it found the file, or has it in its listing."""
    REPORT = "report"
    """A scan whose report was imported."""
    CHECK = "check"
    IMPORT = "import"
    """The import of the notice."""
    QUARANTINE = "quarantine"
    """The quarantine, which moved it."""
    UPLOAD = "upload"
    """`hashscan serve`, which refused it."""


class Sighting(NamedTuple):
    """The observer of a file, and the time."""

    who: Witness
    at: int
    """Seconds since 1970."""
    device: int | None = None
    """Device of the file's folder, cut to 64 signed bits; None if it is not known."""


class CaseLocation(NamedTuple):
    """The location of the file or object of a case."""

    path: bytes | None
    """None if only a URL is known."""
    version: str = ""
    """Version of an object, if versions are scanned."""
    url: str = ""
    """URL by which others know it."""
    host: str = ""
    """The machine on which a file lies, or the endpoint of an object's service; empty for this machine, and
    for the provider's own service."""


class KnownCase(NamedTuple):
    """The values of a stored case that are needed to update it."""

    id: int
    verdict: str
    found: int
    seen: int
    removed: int | None
    how: str
    closed: int | None
    sha256: bytes | None
    noticed: int | None
    pruned: int | None


_CASE_QUERY = "SELECT id, verdict, found, seen, removed, how, closed, sha256, noticed, pruned FROM cases"

_SAME_VERSION = "(version=?2 OR version='' OR ?2='')"
"""If versions are not scanned, a finding has no version, but its quarantine item does."""


class CaseTracker:
    """The cases, within one transaction of the ledger."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.begun = 0
        """Number of new cases."""

    def take_finding(
        self, state: str, found: FindingRecord, host: str = "", *, reported: bool = False
    ) -> None:
        """Create or update the case of a finding; findings of one path must come in their order. `state`
        identifies the state that has the finding; `host` is empty for this machine, or for an object."""
        host = host or found.endpoint
        if only_test(matches_of(found.matches)):
            return
        # After an older state was restored, another finding may have this number.
        case = self.find_case(
            "JOIN sightings USING (id) WHERE state=? AND number=? AND (path IS NULL OR path=? AND version=?)",
            state, found.number, found.path, found.version,
        )  # fmt: skip
        if case is None:
            case = self._adoptable(state, found, host) or self._begin_finding(found, found.first, host)
            self._database.execute(
                "INSERT OR REPLACE INTO sightings VALUES (?, ?, ?)", (state, found.number, case.id)
            )
        elif case.removed is not None and found.last > case.removed and found.gone is None:
            # It was removed and was there again before any scan noticed its absence.
            self.add_event(case.id, found.last, "back")
            case = self._reassign(state, found, host)
        elif case.pruned is not None and case.removed is None and found.last > case.seen:
            # A closed case whose content was pruned: it can't be compared with the file that was found now.
            case = self._reassign(state, found, host)
        elif _is_closed_for_another(case, found):
            self.remove(case.id, found.last, CHANGED)
            case = self._reassign(state, found, host)
        self._follow(case, found)
        self.see(case.id, Sighting(Witness.REPORT if reported else Witness.SCAN, found.last))

    def see(self, number: int, sighting: Sighting) -> None:
        """Record that the file of a case was seen; a sighting before the recorded one changes nothing."""
        self._database.execute(
            "UPDATE cases SET seen=?2, witness=?3, device=coalesce(?4, device) "
            "WHERE id=?1 AND (witness='' OR seen<?2)",
            (number, sighting.at, sighting.who.value, sighting.device),
        )

    def _reassign(self, state: str, found: FindingRecord, host: str) -> KnownCase:
        """Assign a finding to another case than before: the open one of its path, or a new one."""
        case = self.open_case_of(found.path, found.version, host) or self._begin_finding(
            found, found.last, host
        )
        self._database.execute(
            "UPDATE sightings SET id=? WHERE state=? AND number=?", (case.id, state, found.number)
        )
        return case

    def _adoptable(self, state: str, found: FindingRecord, host: str) -> KnownCase | None:
        """Return the case of a finding that has none: if the state was lost, or a notice came first."""
        case = self.open_case_of(found.path, found.version, host) or self._noticed_only(found, host)
        if case is not None:
            return case if found.gone is None or case.found < found.gone else None
        # A case that a person closed, and whose file was never gone, or was only in our own quarantine.
        return self.find_case(
            "WHERE path=? AND version=? AND host=? AND removed IS NULL AND how='' AND sha256=? "
            "AND (id NOT IN (SELECT id FROM sightings WHERE state=?) "
            "OR id IN (SELECT id FROM custody WHERE kind='restored')) ORDER BY id DESC LIMIT 1",
            found.path, found.version, host, found.sha256, state,
        )  # fmt: skip

    def _noticed_only(self, found: FindingRecord, host: str) -> KnownCase | None:
        """Return the open case of a notice, which names no machine, after another machine found the file."""
        if not host:
            return None
        case = self.find_case(
            "WHERE path=? AND version=? AND host='' AND verdict=? AND removed IS NULL "
            "AND closed IS NULL AND id NOT IN (SELECT id FROM sightings)",
            found.path, found.version, NOTICE,
        )  # fmt: skip
        if case is not None:
            self._database.execute("UPDATE cases SET host=? WHERE id=?", (host, case.id))
        return case

    def _begin_finding(self, found: FindingRecord, at: int, host: str) -> KnownCase:
        place = CaseLocation(found.path, found.version, host=host)
        return self.begin_case(place, found.verdict, at, "found", found.verdict)

    def begin_case(
        self, place: CaseLocation, verdict: str, at: int, kind: str, detail: str = ""
    ) -> KnownCase:
        """Create a case by a finding or notice; `kind` and `detail` are those of its first event."""
        previous = None
        if place.path is not None:
            query = "SELECT max(id) FROM cases WHERE path=? AND version=? AND host=?"
            (previous,) = self._one(query, place.path, place.version, place.host)
        cursor = self._database.execute(
            "INSERT INTO cases (path, version, url, host, verdict, found, seen, previous) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, verdict, at, at, previous),
        )
        assert cursor.lastrowid is not None
        self.begun += 1
        self.add_event(cursor.lastrowid, at, kind, detail)
        if place.path is not None and not (place.host and place.path.startswith(b"/")):
            self._apply_earlier_custody(cursor.lastrowid, place, at)
        return self.case(cursor.lastrowid)

    def _follow(self, case: KnownCase, found: FindingRecord) -> None:
        if found.ending == CLEARED and case.verdict == NOTICE:
            return
        matches = [match for match in matches_of(found.matches) if match["category"] != TEST_CATEGORY]
        before, unanswered = self.matches(case.id), list[MatchFields]()
        if case.sha256 is None or found.sha256 in {None, case.sha256}:
            in_use, named = usable_lists(json.loads(found.lists)), {key_of(match) for match in matches}
            unanswered = [m for m in before if m["list"] not in in_use and key_of(m) not in named]
        still_matched = any(map(accuses, unanswered))
        verdict, because = found.verdict, found.because
        if still_matched and strength(verdict, matches) < strength(case.verdict, before):
            (because,) = self._one("SELECT because FROM cases WHERE id=?", case.id)
            verdict = case.verdict
        if verdict != case.verdict:
            self.add_event(case.id, found.last, "verdict", f"{case.verdict}, now {verdict}")
            if verdict == "match" and case.verdict in {"held", "review"}:
                self._database.execute(
                    "UPDATE cases SET began=? WHERE id=? AND noticed IS NULL", (found.last, case.id)
                )
            if case.closed is not None and case.removed is None and verdict == "match":
                self._database.execute("UPDATE cases SET closed=NULL, why='', how='' WHERE id=?", (case.id,))
                self.add_event(case.id, found.last, "reopened")
        matches = joined(matches, unanswered)
        self._database.execute(
            "UPDATE cases SET verdict=?, because=?, "
            "categories=CASE ? WHEN '' THEN categories ELSE ? END, "
            "customer=CASE ? WHEN '' THEN customer ELSE ? END, sha256=coalesce(?, sha256), "
            "uid=coalesce(?, uid), device=coalesce(?, device), inode=coalesce(?, inode), "
            "size=coalesce(?, size), mtime=coalesce(?, mtime), ctime=coalesce(?, ctime), etag=? WHERE id=?",
            (
                verdict, because,
                *2 * (" ".join(sorted({match["category"] for match in matches})),), *2 * (found.customer,),
                found.sha256, found.uid, found.device, found.inode, found.size, found.mtime, found.ctime,
                found.etag, case.id,
            ),
        )  # fmt: skip
        self.set_matches(case.id, matches)
        if found.gone is None or case.removed is not None or self._was_restored(case.id, found.gone):
            return
        if found.ending != CLEARED:
            self.remove(case.id, found.gone, found.ending)
        elif case.closed is None and not still_matched:
            self.end_without_match(case, found.gone)

    def end_without_match(self, case: KnownCase, at: int) -> None:
        """Record that no list matches the file of a case: close the case, or keep it open for its notice."""
        if case.noticed is None:
            self._database.execute(
                "UPDATE cases SET closed=?, why=?, how=? WHERE id=?", (at, _CLEARED_REASON, CLEARED, case.id)
            )
            self.add_event(case.id, at, "closed", _CLEARED_REASON)
            return
        self._database.execute(
            "UPDATE cases SET verdict=?, because='', categories='' WHERE id=?", (NOTICE, case.id)
        )
        self.set_matches(case.id, [])
        self.add_event(case.id, at, "cleared", f"{_CLEARED_REASON}; a notice names it")

    def _was_restored(self, number: int, since: int) -> bool:
        """Return True if a file was restored from quarantine after a scan noticed its absence."""
        query = "SELECT 1 FROM custody WHERE id=? AND kind='restored' AND at>=?"
        return self._one(query, number, since) is not None

    def matches(self, number: int) -> list[MatchFields]:
        """Return the recorded matches of a case."""
        rows = self._database.execute(MATCHES_QUERY, (number,))
        return [dict(zip(MATCH_KEYS, row, strict=True)) for row in rows]

    def set_matches(self, number: int, matches: Sequence[MatchFields]) -> None:
        """Store the entries that match a case, instead of those before."""
        wanted = {
            (*(str(match.get(key, "")) for key in MATCH_KEYS[:-1]), match["distance"]) for match in matches
        }
        if set(self._database.execute(MATCHES_QUERY, (number,))) == wanted:
            return
        self._database.execute("DELETE FROM matches WHERE id=?", (number,))
        self._database.executemany(
            "INSERT OR REPLACE INTO matches VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((number, *match) for match in sorted(wanted)),
        )

    def take_custody(self, log: str, line: int, at: int, kind: str, item: str, place: CaseLocation) -> None:
        """Record one line of the quarantine (custody) log; `place` is where the item was found."""
        if kind == "moved":
            row = self._one(
                # Cases of notices don't name the service of an object.
                f"SELECT id FROM cases WHERE path=?1 AND {_SAME_VERSION} AND host IN ('', ?4) "  # noqa: S608
                "AND found<=?3 AND (removed IS NULL OR removed>=?3) ORDER BY host=?4 DESC, "
                "version=?2 DESC, removed IS NULL AND closed IS NULL DESC, id DESC LIMIT 1",
                place.path, place.version, at, place.host,
            )  # fmt: skip
        else:
            row = self._one(
                "SELECT id FROM custody WHERE log=? AND item=? AND id IS NOT NULL ORDER BY line DESC LIMIT 1",
                log,
                item,
            )
        number = None if row is None else row[0]
        self._database.execute(
            "INSERT OR IGNORE INTO custody VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (log, line, at, kind, item, place.path, place.version, number, place.host),
        )
        if number is None:
            return
        if kind == "restored" and self.open_case_of(place.path, place.version, place.host) is None:
            # The path of a pruned case is set again: otherwise the location of the restored file would be
            # unknown.
            self._database.execute(
                "UPDATE cases SET path=?, version=?, host=?, pruned=NULL "
                "WHERE id=? AND pruned IS NOT NULL AND how=?",
                (place.path, place.version, place.host, number, QUARANTINED),
            )
        self._apply_custody(number, at, kind, item)

    def _apply_custody(self, number: int, at: int, kind: str, item: str) -> None:
        case = self.case(number)
        if kind == "moved":
            self.see(number, Sighting(Witness.QUARANTINE, at))
            self.remove(number, at, QUARANTINED, item)
        elif kind == "restored":
            self.add_event(number, at, kind, item)
            place = self._one("SELECT path, version, host FROM cases WHERE id=?", number)
            if case.how == QUARANTINED and self.open_case_of(*place) is None:
                self._database.execute("UPDATE cases SET removed=NULL, how='' WHERE id=?", (number,))
        else:
            self.add_event(number, at, kind, item)

    def _apply_earlier_custody(self, number: int, place: CaseLocation, found: int) -> None:
        """Apply lines of the quarantine log that came before the case of their file existed."""
        row = self._one(
            "SELECT log, line, at, item FROM custody WHERE id IS NULL AND kind='moved' AND path=?1 "  # noqa: S608
            f"AND {_SAME_VERSION} AND host=?4 AND at>=?3 ORDER BY at, line LIMIT 1",
            place.path, place.version, found, place.host,
        )  # fmt: skip
        if row is None:
            return
        log, line, _, item = row
        later = self._database.execute(
            "SELECT at, kind FROM custody WHERE log=? AND item=? AND line>=? ORDER BY line", (log, item, line)
        ).fetchall()
        self._database.execute(
            "UPDATE custody SET id=? WHERE log=? AND item=? AND line>=?", (number, log, item, line)
        )
        for at, kind in later:
            self._apply_custody(number, at, kind, item)

    def remove(self, number: int, at: int, how: str, detail: str = "") -> None:
        """Record that the file or object of a case is gone."""
        self._database.execute("UPDATE cases SET removed=?, how=? WHERE id=?", (at, how, number))
        self.add_event(number, at, "removed", f"{how} {detail}".rstrip())

    def record_presence(self, number: int, presence: str, at: int, device: int | None = None) -> None:
        """Record the result of a presence check: there, gone, changed, never_seen; others change nothing.
        `device` is that of the file's folder."""
        if presence == "there":
            self.see(number, Sighting(Witness.CHECK, at, device))
        elif presence == NEVER_SEEN:
            query = "SELECT 1 FROM events WHERE id=? AND kind='checked' AND words=?"
            if self._one(query, number, presence) is None:
                self.add_event(number, at, "checked", presence)
        elif presence in {GONE, CHANGED}:
            self.end_by_absence(number, presence, at, "found by a check")

    def end_by_absence(self, number: int, how: str, at: int, detail: str) -> bool:
        """Record that the file of a case was seen gone; return False if something else has ended the case."""
        if self.case(number).removed is not None:
            return False
        self.remove(number, at, how, detail)
        return True

    def add_event(self, number: int, at: int, kind: str, words: str = "", who: str = "") -> None:
        """Add an event of a case; `at` in seconds since 1970."""
        self._database.execute(
            "INSERT INTO events (id, at, kind, words, who) VALUES (?, ?, ?, ?, ?)",
            (number, at, kind, words, who),
        )

    def case(self, number: int) -> KnownCase:
        """Return a case by its number."""
        found = self.find_case("WHERE id=?", number)
        assert found is not None
        return found

    def existing(self, number: int) -> KnownCase:
        """Return a case by a number that a person has given.

        Raises:
            UsageError: there is no such case.
        """
        found = self.find_case("WHERE id=?", number)
        if found is None:
            raise UsageError(f"there is no case {number}", advice="See `hashscan cases list --status all`.")
        return found

    def open_case_of(self, path: bytes | None, version: str, host: str = "") -> KnownCase | None:
        """Return the open case of a file or object; None if there is none."""
        return self.find_case(
            "WHERE path=? AND version=? AND host=? AND removed IS NULL AND closed IS NULL",
            path,
            version,
            host,
        )

    def find_case(self, where: str, *parameters: object) -> KnownCase | None:
        """Return the first case that a condition in SQL selects; None if it selects none."""
        row = self._one(f"{_CASE_QUERY} {where}", *parameters)
        return None if row is None else KnownCase(*row)

    def _one(self, query: str, *parameters: object) -> Any:
        return self._database.execute(query, parameters).fetchone()


def _is_closed_for_another(case: KnownCase, found: FindingRecord) -> bool:
    """Return True if a person closed the case and the file has other content now."""
    return (
        case.closed is not None
        and case.removed is None
        and found.gone is None
        and None not in (case.sha256, found.sha256)
        and case.sha256 != found.sha256
    )
