"""Keeps the cases in step with what sweeps and the custody log say of their files."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from hashscan.quarantine.items import listed
from hashscan.scan.state.findings import CHANGED, CLEARED, GONE
from hashscan.scan.state.history import Found

QUARANTINED = "quarantined"
_CLEARED_WORDS = "no hash list accuses it any more"


class Place(NamedTuple):
    """Where something is that cases are about."""

    path: bytes | None
    """None where only a URL is known."""
    version: str = ""
    """Of an object, where versions are swept."""
    url: str = ""
    """By which others know it."""


class KnownCase(NamedTuple):
    """What must be known of a case to go on with it."""

    id: int
    verdict: str
    found: int
    seen: int
    removed: int | None
    how: str
    closed: int | None
    sha256: bytes | None


_WORDS = ("list", "entry", "algorithm", "variant", "category")
CASE_QUERY = "SELECT id, verdict, found, seen, removed, how, closed, sha256 FROM cases"

_SAME_VERSION = "(version=?2 OR version='' OR ?2='')"
"""Where versions are not swept, a finding names none, and its quarantine does."""


class Book:
    """The cases, within one transaction of the ledger."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.begun = 0
        """Cases that are new."""

    def take_finding(self, state: str, found: Found, host: str = "") -> None:
        """Follow a finding; the findings of one path must come in the order in which they were.

        Args:
            state: identity of the state that tells of it.
            found: all that it tells.
            host: the machine on which the file lies; empty where it is this one, or an object.
        """
        # After an older state was put back, another finding may have its number.
        row = self._one(
            f"{CASE_QUERY} JOIN sightings USING (id) WHERE state=? AND number=? "
            "AND (path IS NULL OR path=? AND version=?)",
            state, found.number, found.path, found.version,
        )  # fmt: skip
        case = None if row is None else KnownCase(*row)
        if case is None:
            case = self._adoptable(state, found) or self._begin_finding(found, found.first, host)
            self._database.execute(
                "INSERT OR REPLACE INTO sightings VALUES (?, ?, ?)", (state, found.number, case.id)
            )
        elif case.removed is not None and found.last > case.removed and found.gone is None:
            # It was taken away, and was there again before any sweep has missed it.
            self.note(case.id, found.last, "back")
            case = self._go_on(state, found, host)
        elif _is_closed_for_another(case, found):
            self.remove(case.id, found.last, CHANGED)
            case = self._go_on(state, found, host)
        if not host or case.verdict == "notice":
            # What this machine has seen itself lies on it, whoever else tells of such a path.
            self._database.execute("UPDATE cases SET host=?1 WHERE id=?2 AND host<>?1", (host, case.id))
        self._follow(case, found)

    def _go_on(self, state: str, found: Found, host: str) -> KnownCase:
        """Let a finding go on as another case than the one that it was."""
        case = self._open_of(found.path, found.version) or self._begin_finding(found, found.last, host)
        self._database.execute(
            "UPDATE sightings SET id=? WHERE state=? AND number=?", (case.id, state, found.number)
        )
        return case

    def _adoptable(self, state: str, found: Found) -> KnownCase | None:
        """The case that an unknown finding goes on with: the state was lost, or a notice came first."""
        case = self._open_of(found.path, found.version)
        if case is not None:
            return case if found.gone is None or case.found < found.gone else None
        # A person has closed it, and it was never gone.
        row = self._one(
            f"{CASE_QUERY} WHERE path=? AND version=? AND removed IS NULL AND how='' AND sha256=? AND "  # noqa: S608
            "id NOT IN (SELECT id FROM sightings WHERE state=?) ORDER BY id DESC LIMIT 1",
            found.path, found.version, found.sha256, state,
        )  # fmt: skip
        return None if row is None else KnownCase(*row)

    def _begin_finding(self, found: Found, at: int, host: str) -> KnownCase:
        case = self._begin(Place(found.path, found.version), found.verdict, at, "found", words=found.verdict)
        self._database.execute("UPDATE cases SET host=? WHERE id=?", (host, case.id))
        return case

    def _begin(
        self, place: Place, verdict: str, at: int, kind: str, words: str = "", who: str = ""
    ) -> KnownCase:
        previous = None
        if place.path is not None:
            query = "SELECT max(id) FROM cases WHERE path=? AND version=?"
            (previous,) = self._one(query, place.path, place.version)
        cursor = self._database.execute(
            "INSERT INTO cases (path, version, url, verdict, found, seen, previous) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*place, verdict, at, at, previous),
        )
        assert cursor.lastrowid is not None
        self.begun += 1
        self.note(cursor.lastrowid, at, kind, words, who)
        if place.path is not None:
            self._take_loose(cursor.lastrowid, place, at)
        return self.case(cursor.lastrowid)

    def _follow(self, case: KnownCase, found: Found) -> None:
        """Bring a case up to what a state says of its finding."""
        if found.verdict != case.verdict:
            self.note(case.id, found.last, "verdict", f"{case.verdict}, now {found.verdict}")
            if found.verdict == "match" and case.verdict in {"held", "review"}:
                self._database.execute(
                    "UPDATE cases SET began=? WHERE id=? AND noticed IS NULL", (found.last, case.id)
                )
            if case.closed is not None and case.removed is None and found.verdict == "match":
                self._reopen(case, found.last)
        matches = [
            match
            for match in listed(json.loads(found.matches))
            if isinstance(match, dict) and isinstance(match.get("distance"), int)
        ]
        self._database.execute(
            "UPDATE cases SET verdict=?, because=?, seen=max(seen, ?), "
            "categories=CASE ? WHEN '' THEN categories ELSE ? END, "
            "customer=CASE ? WHEN '' THEN customer ELSE ? END, sha256=coalesce(?, sha256), "
            "uid=coalesce(?, uid), device=coalesce(?, device), inode=coalesce(?, inode), "
            "size=coalesce(?, size), mtime=coalesce(?, mtime), ctime=coalesce(?, ctime), etag=? WHERE id=?",
            (
                found.verdict, found.because, found.last,
                *2 * (categories_of(matches),), *2 * (found.customer,),
                found.sha256, found.uid, found.device, found.inode, found.size, found.mtime, found.ctime,
                found.etag, case.id,
            ),
        )  # fmt: skip
        self._set_matches(case.id, matches)
        if found.gone is None or case.removed is not None or self._was_restored(case.id, found.gone):
            return
        if found.ending == CLEARED:
            if case.closed is None:
                self._database.execute(
                    "UPDATE cases SET closed=?, why=?, how=? WHERE id=?",
                    (found.gone, _CLEARED_WORDS, CLEARED, case.id),
                )
                self.note(case.id, found.gone, "closed", _CLEARED_WORDS)
        else:
            self.remove(case.id, found.gone, found.ending)

    def _was_restored(self, number: int, since: int) -> bool:
        """Whether a file is back from quarantine, since a sweep has missed it."""
        query = "SELECT 1 FROM custody WHERE id=? AND kind='restored' AND at>=?"
        return self._one(query, number, since) is not None

    def _set_matches(self, number: int, matches: list[Any]) -> None:
        wanted = {
            (*(str(match.get(key, "")) for key in _WORDS), match.get("distance", 0)) for match in matches
        }
        query = "SELECT list, entry, algorithm, variant, category, distance FROM matches WHERE id=?"
        if set(self._database.execute(query, (number,))) == wanted:
            return
        self._database.execute("DELETE FROM matches WHERE id=?", (number,))
        self._database.executemany(
            "INSERT OR REPLACE INTO matches VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((number, *match) for match in sorted(wanted)),
        )

    def take_custody(self, log: str, line: int, at: int, kind: str, item: str, place: Place) -> None:
        """Take in what the custody log says in one line.

        Args:
            log: identity of the log.
            line: its number.
            at: when it was written.
            kind: of the line.
            item: id of what is in quarantine.
            place: where that was found.
        """
        number = None
        if kind == "moved":
            row = self._one(
                f"{CASE_QUERY} WHERE path=?1 AND {_SAME_VERSION} AND found<=?3 "
                "AND (removed IS NULL OR removed>=?3) "
                "ORDER BY version=?2 DESC, removed IS NULL AND closed IS NULL DESC, id DESC LIMIT 1",
                place.path, place.version, at,
            )  # fmt: skip
            number = None if row is None else row[0]
        else:
            row = self._one(
                "SELECT id FROM custody WHERE log=? AND item=? AND id IS NOT NULL ORDER BY line DESC LIMIT 1",
                log,
                item,
            )
            number = None if row is None else row[0]
        self._database.execute(
            "INSERT OR IGNORE INTO custody VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (log, line, at, kind, item, place.path, place.version, number),
        )
        if number is None:
            return
        if kind == "restored" and self._open_of(place.path, place.version) is None:
            # Of a case that was pruned nobody could say where the file is that lies there again.
            self._database.execute(
                "UPDATE cases SET path=?, version=?, pruned=NULL WHERE id=? AND pruned IS NOT NULL AND how=?",
                (place.path, place.version, number, QUARANTINED),
            )
        self._apply_custody(number, at, kind, item)

    def _apply_custody(self, number: int, at: int, kind: str, item: str) -> None:
        case = self.case(number)
        if kind == "moved":
            self.remove(number, at, QUARANTINED, item)
        elif kind == "restored":
            self.note(number, at, kind, item)
            place = self._one("SELECT path, version FROM cases WHERE id=?", number)
            if case.how == QUARANTINED and self._open_of(*place) is None:
                self._database.execute("UPDATE cases SET removed=NULL, how='' WHERE id=?", (number,))
        else:
            self.note(number, at, kind, item)

    def _take_loose(self, number: int, place: Place, found: int) -> None:
        """Follow what the custody log said of a file before there was a case of it."""
        row = self._one(
            "SELECT log, line, at, item FROM custody WHERE id IS NULL AND kind='moved' AND path=?1 "  # noqa: S608
            f"AND {_SAME_VERSION} AND at>=?3 ORDER BY at, line LIMIT 1",
            place.path, place.version, found,
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

    def remove(self, number: int, at: int, how: str, words: str = "", who: str = "") -> None:
        """Put down that what a case is about is gone."""
        self._database.execute("UPDATE cases SET removed=?, how=? WHERE id=?", (at, how, number))
        self.note(number, at, "removed", f"{how} {words}".rstrip(), who)

    def take_look(self, number: int, presence: str, at: int) -> None:
        """Put down what a look at the file of a case has shown.

        Args:
            number: of the case.
            presence: there, gone or changed; anything else says nothing.
            at: when.
        """
        if presence == "there":
            self._database.execute("UPDATE cases SET seen=max(seen, ?) WHERE id=?", (at, number))
        elif presence in {GONE, CHANGED}:
            case = self.case(number)
            # A sweep may have come first.
            if case.removed is None:
                self.remove(number, at, presence, "as a check has seen")

    def _reopen(self, case: KnownCase, at: int) -> None:
        self._database.execute("UPDATE cases SET closed=NULL, why='', how='' WHERE id=?", (case.id,))
        self.note(case.id, at, "reopened")

    def note(self, number: int, at: int, kind: str, words: str = "", who: str = "") -> None:
        """Add an event to a case."""
        self._database.execute(
            "INSERT INTO events (id, at, kind, words, who) VALUES (?, ?, ?, ?, ?)",
            (number, at, kind, words, who),
        )

    def case(self, number: int) -> KnownCase:
        """A case by its number."""
        return KnownCase(*self._one(f"{CASE_QUERY} WHERE id=?", number))

    def _open_of(self, path: bytes | None, version: str) -> KnownCase | None:
        row = self._one(
            f"{CASE_QUERY} WHERE path=? AND version=? AND removed IS NULL AND closed IS NULL", path, version
        )
        return None if row is None else KnownCase(*row)

    def _one(self, query: str, *parameters: object) -> Any:
        return self._database.execute(query, parameters).fetchone()


def _is_closed_for_another(case: KnownCase, found: Found) -> bool:
    """Whether a person has closed a case of another content than is there now."""
    return (
        case.closed is not None
        and case.removed is None
        and found.gone is None
        and None not in (case.sha256, found.sha256)
        and case.sha256 != found.sha256
    )


def categories_of(matches: list[Any]) -> str:
    """The categories of entries, as cases have them."""
    return " ".join(sorted({str(match.get("category")) for match in matches}))
