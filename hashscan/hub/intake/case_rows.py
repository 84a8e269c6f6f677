"""Write cases and their events by the thousand, with the bulk statements of both databases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, any_, bindparam, case, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError

from hashscan.hub.intake.records import Finding, Place
from hashscan.hub.intake.servers import server_defaults
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, EVENTS, REVIEW_COUNTS, SCANS
from hashscan.schema import decode_json

_COLUMNS = (
    "id", "organisation", "server", "place", "path", "path_b64", "customer", "verdict", "categories",
    "entries", "sha256", "size", "found", "seen", "scan", "deadline", "removed", "how", "excess",
)  # fmt: skip
_EVENT_COLUMNS = ("case", "at", "kind", "words", "who")
_WHO = "hub"
REVIEWS_OF_SERVER, REVIEWS_OF_ORGANISATION = 1000, 10_000
"""New cases for review of a day that wait for a decision; all others are beyond the quota."""
_DAY = 86_400
_ROWS = 500
"""Rows of one statement on SQLite. While one runs, other threads may use the interpreter, and it has to be
waited for afterwards: with a statement for each row, thousands of times."""
_STRENGTH = {"match": 2, "held": 1, "review": 0}
_KNOWN = (
    "SELECT id, place, closed, path, path_b64, customer, verdict, categories, entries, sha256, size, "
    "decision, scan, excess FROM cases WHERE removed IS NULL AND server = "
)
QUARANTINED, GONE, MISSING = "quarantined", "gone", "missing"

Event = tuple[int, int, str, str, str]
AnyRow = Any
"""A row; the statements below say which columns it has."""


class CaseRows:
    """The cases of one server, in a transaction that no other one about the server runs beside."""

    def __init__(
        self, database: Database, connection: Connection, organisation: int, server: int, now: int
    ) -> None:
        self._database = database
        self._connection = connection
        self._organisation = organisation
        self._server = server
        self._now = now

    def take(self, scan: str, seen: Iterable[Finding | Place], later: Collection[str] = ()) -> None:
        """Open a case for each file with a finding that has none, and note all others as seen by a scan. Of
        what a scan has named that began later, this scan says nothing."""
        # Of a file that is named twice, the finding counts, and of two findings the last.
        files: dict[bytes, Finding | Place] = {}
        for one in seen:
            if isinstance(one, Finding) or one.place not in files:
                files[one.place] = one
        if not files:
            return
        known = self._known(files)
        mine = [(files[place], row) for place, row in known.items() if row.scan not in later]
        self._change(scan, mine)
        self._open(
            scan, [one for one in files.values() if isinstance(one, Finding) and one.place not in known]
        )

    def end_missing(self, scan: AnyRow, lists: Mapping[str, Any], limit: int) -> int:
        """End some cases of its scope that a complete scan has not named; return how many. `lists` are fields
        of the lists that the scan could use, by name."""
        ended = 0
        after = 0
        begun = min(scan.started, scan.received)
        while not ended:
            query = (
                select(CASES.c.id, CASES.c.entries, CASES.c.scan)
                .join(SCANS, (SCANS.c.organisation == CASES.c.organisation) & (SCANS.c.uuid == CASES.c.scan))
                .where(
                    CASES.c.server == self._server,
                    CASES.c.removed.is_(None),
                    CASES.c.closed.is_(None),
                    CASES.c.scan != scan.uuid,
                    CASES.c.id > after,
                    SCANS.c.scope == scan.scope,
                    ~began_later(begun, scan.uuid),
                )
                .order_by(CASES.c.id)
                .limit(limit)
            )
            rows = self._connection.execute(query).all()
            if not rows:
                return 0
            after = rows[-1].id
            ends: list[tuple[int, str]] = []
            # One scan after another, as their lists may be large.
            for uuid, of_scan in groupby(sorted(rows, key=lambda row: row.scan), lambda row: row.scan):
                before = self._lists_of(uuid)
                ends += [(row.id, how) for row in of_scan if (how := _ending(row, before, lists))]
            for how in (GONE, MISSING):
                self._remove([number for number, why in ends if why == how], how)
            ended = len(ends)
        return ended

    def _lists_of(self, scan: str) -> dict[str, Any]:
        """Return the lists by name that a scan had, as they may have changed since."""
        own = (SCANS.c.organisation == self._organisation) & (SCANS.c.uuid == scan)
        found = self._connection.execute(select(SCANS.c.lists).where(own)).scalar_one()
        return {one["name"]: one for one in decode_json(found.encode())}

    def _known(self, files: Collection[bytes]) -> dict[bytes, AnyRow]:
        """Return the cases of files that are not removed: of each file the open one, or else the last."""
        # Thousands of parameters take SQLAlchemy longer than the query itself.
        if self._database.is_sqlite:
            query = f"{_KNOWN} ? AND place IN ({', '.join('?' * len(files))})"
            found = self._connection.exec_driver_sql(query, (self._server, *files))
        else:
            query = f"{_KNOWN} %s AND place = ANY(%s)"
            found = self._connection.exec_driver_sql(query, (self._server, list(files)))
        rows = sorted(found.all(), key=lambda row: (row.closed is None, row.id))
        return {bytes(row.place): row for row in rows}

    def _numbered(self, numbers: Sequence[int]) -> Any:
        """Return the condition that selects cases by their ids."""
        if self._database.is_sqlite:
            among = text("SELECT value FROM json_each(:numbers)")
            return CASES.c.id.in_(among.bindparams(numbers=str(list(numbers))))
        return CASES.c.id == any_(literal(list(numbers), ARRAY(CASES.c.id.type)))

    def _change(self, scan: str, found: Sequence[tuple[Finding | Place, AnyRow]]) -> None:
        """Note cases as seen, and change those whose finding differs."""
        if not found:
            return
        touched = update(CASES).where(self._numbered([row.id for _, row in found]))
        self._connection.execute(touched.values(seen=self._now, scan=scan))
        events: list[Event] = []
        changed: list[dict[str, Any]] = []
        undecided: list[dict[str, Any]] = []
        reopened: list[dict[str, Any]] = []
        moved: list[int] = []
        # A later day has room for what was beyond the quota of an earlier one.
        uncertain = [row.id for one, row in found if isinstance(one, Finding) and _is_to_review(one, row)]
        room = self._review_room(len(uncertain))
        self._set_excess(uncertain[:room], 0)
        self._set_excess(uncertain[room:], 1)
        for one, row in found:
            if not isinstance(one, Finding) or (row.closed is not None and not _reopens(one, row)):
                continue
            if one.moved:
                moved.append(row.id)
            if row.closed is None and one[1:9] == row[3:11]:
                continue
            values = _values(one, row)
            if row.closed is not None:
                reopened.append({**values, "b_id": row.id})
                events.append((row.id, self._now, "reopened", "it matches other entries", _WHO))
            elif any(value != row._mapping[key] for key, value in values.items()):
                anew = bool(row.decision) and _reopens(one, row)
                (undecided if anew else changed).append({**values, "b_id": row.id})
                if anew:
                    events.append((row.id, self._now, "undecided", "it matches other entries", _WHO))
                if one.verdict != row.verdict:
                    words = f"{row.verdict}, now {one.verdict}"
                    events.append((row.id, self._now, "verdict", words, _WHO))
        self._update(changed, {})
        # What somebody has decided was about other entries, or another content.
        no_decision = {"decision": "", "reason": "", "decided_by": "", "decided": None, "seconded_by": ""}
        self._update(undecided, no_decision)
        self._update(reopened, {"closed": None, "how": "", **no_decision})
        self._add_events(events)
        self._remove(moved, QUARANTINED)

    def _update(self, rows: Sequence[dict[str, Any]], further: Mapping[str, Any]) -> None:
        """Set the columns that each of the rows names, and further ones, of the case `b_id`."""
        if rows:
            values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "b_id"}
            query = update(CASES).where(CASES.c.id == bindparam("b_id"))
            query = query.values({**values, **further, "moved": CASES.c.moved + 1})
            self._connection.execute(query, list(rows))

    def _set_excess(self, numbers: Sequence[int], excess: int) -> None:
        """Have cases wait for a decision, or note that they are beyond the quota."""
        if numbers:
            changed = self._numbered(numbers) & (CASES.c.excess != excess)
            self._connection.execute(update(CASES).where(changed).values(excess=excess))

    def _review_room(self, wanted: int) -> int:
        """Return how many of some cases for review may wait for a decision today, and count those."""
        if not wanted:
            return 0
        day, room = self._now - self._now % _DAY, wanted
        same = REVIEW_COUNTS.c.day == day
        places = (REVIEW_COUNTS.c.organisation, REVIEW_COUNTS.c.server)
        for server, most in ((self._server, REVIEWS_OF_SERVER), (0, REVIEWS_OF_ORGANISATION)):
            own = {"organisation": self._organisation, "server": server}
            row = self._database.insert(REVIEW_COUNTS).values(**own, day=day)
            count = case((same, REVIEW_COUNTS.c.cases), else_=0)
            row = row.on_conflict_do_update(index_elements=list(places), set_={"day": day, "cases": count})
            used = self._connection.execute(row.returning(REVIEW_COUNTS.c.cases)).scalar_one()
            room = min(room, max(0, most - used))
        both = and_(places[0] == self._organisation, places[1].in_((self._server, 0)))
        if room:
            more = update(REVIEW_COUNTS).where(both).values(cases=REVIEW_COUNTS.c.cases + room)
            self._connection.execute(more)
        return room

    def _open(self, scan: str, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        defaults = server_defaults(self._connection)
        now = self._now
        numbers = self._numbers(len(findings))
        kinds = {(one.verdict, one.categories) for one in findings}
        deadlines = {kind: defaults.deadline_of(*kind, now) for kind in kinds}
        uncertain = [place for place, one in enumerate(findings) if one.verdict == "review"]
        beyond = set(uncertain[self._review_room(len(uncertain)) :])
        self._insert(
            CASES.name,
            _COLUMNS,
            [
                (
                    number, self._organisation, self._server, one.place, one.path, one.path_b64, one.customer,
                    one.verdict, one.categories, one.entries, one.sha256, one.size, now, now, scan,
                    deadlines[one.verdict, one.categories],
                    now if one.moved else None, QUARANTINED if one.moved else "", int(place in beyond),
                )
                for place, (number, one) in enumerate(zip(numbers, findings, strict=True))
            ],
        )  # fmt: skip
        events: list[Event] = [
            (number, now, "found", one.verdict, _WHO) for number, one in zip(numbers, findings, strict=True)
        ]
        events += [
            (number, now, "removed", QUARANTINED, _WHO)
            for number, one in zip(numbers, findings, strict=True)
            if one.moved
        ]
        self._add_events(events)

    def _remove(self, numbers: Sequence[int], how: str) -> None:
        if not numbers:
            return
        values = {"removed": self._now, "how": how, "moved": CASES.c.moved + 1}
        self._connection.execute(update(CASES).where(self._numbered(numbers)).values(**values))
        self._add_events([(number, self._now, "removed", how, _WHO) for number in numbers])

    def _numbers(self, count: int) -> list[int]:
        """Return ids for new cases, so that their events can be written without asking for them."""
        if self._database.is_sqlite:
            last = self._connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM cases").scalar_one()
            return list(range(last + 1, last + 1 + count))
        query = "SELECT nextval(pg_get_serial_sequence('cases', 'id')) FROM generate_series(1, %s)"
        return list(self._connection.exec_driver_sql(query, (count,)).scalars())

    def _add_events(self, events: Sequence[Event]) -> None:
        self._insert(EVENTS.name, _EVENT_COLUMNS, events)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        names = ", ".join(f'"{name}"' for name in columns)
        if self._database.is_sqlite:
            marks = f"({', '.join('?' * len(columns))})"
            for start in range(0, len(rows), _ROWS):
                part = rows[start : start + _ROWS]
                every = ", ".join([marks] * len(part))
                query = f"INSERT INTO {table} ({names}) VALUES {every}"  # noqa: S608 - names of our own
                self._connection.exec_driver_sql(query, tuple(chain.from_iterable(part)))
            return
        driver: Any = self._connection.connection.driver_connection
        query = f"COPY {table} ({names}) FROM STDIN"
        failure: Any = self._connection.dialect.loaded_dbapi.Error
        try:
            with driver.cursor() as cursor, cursor.copy(query) as copy:
                for row in rows:
                    copy.write_row(row)
        except failure as error:
            # As SQLAlchemy does for statements that it sends itself.
            raise DBAPIError.instance(query, None, error, failure) from error


def began_later(begun: int, uuid: str) -> ColumnElement[bool]:
    """Return the condition that a scan began later than the one with this time of begin and uuid. Of the time
    that its server says and the time at which its report began to come in, the earlier counts, since a
    server's time may be wrong. Of two that began in the same second, the larger uuid decides."""
    after = (SCANS.c.started > begun) & (SCANS.c.received > begun)
    return (SCANS.c.started >= begun) & (SCANS.c.received >= begun) & (after | (SCANS.c.uuid > uuid))


def _values(found: Finding, row: AnyRow) -> dict[str, Any]:
    """Return the columns of a case after a finding, which may say less than the one before."""
    return {
        "path": found.path or row.path,
        "path_b64": found.path_b64 or row.path_b64,
        "customer": found.customer or row.customer,
        "verdict": found.verdict,
        "categories": found.categories or row.categories,
        "entries": found.entries if found.entries != "[]" else row.entries,
        "sha256": found.sha256 or row.sha256,
        "size": found.size or row.size,
        # A match waits for nobody.
        **({} if found.verdict == "review" else {"excess": 0}),
    }


def _is_to_review(found: Finding, row: AnyRow) -> bool:
    """Return True if a finding makes its case one that waits for a decision, and did not wait before."""
    if found.verdict != "review":
        return False
    if row.closed is not None:
        return _reopens(found, row)
    return bool(row.excess) or (_reopens(found, row) if row.decision else row.verdict != "review")


def _keys(entries: str) -> set[tuple[str, str, str]]:
    """Return the entries of a case, each by list, id and algorithm."""
    found = decode_json(entries.encode()) if entries else []
    return {(one["list"], one["entry"], one["algorithm"]) for one in found}


def _reopens(found: Finding, row: AnyRow) -> bool:
    """Return True if a finding is not the one that somebody has decided on, or closed the case of.

    Without digests in reports, another content that the same entries match looks like the one before.
    """
    if found.sha256 and row.sha256 and found.sha256 != row.sha256:
        return True
    stronger = _STRENGTH[found.verdict] > _STRENGTH.get(row.verdict, -1)
    return stronger or not _keys(found.entries) <= _keys(row.entries)


def _ending(row: AnyRow, before: Mapping[str, Any], lists: Mapping[str, Any]) -> str:
    """Return how a case ends that a complete scan (with `lists`) has not named; empty if it does not.
    `before` are the lists of the last scan that has named it."""
    named = {name for name, _, _ in _keys(row.entries)}
    if not named or not named <= lists.keys():
        return ""
    same = ("version", "fingerprint")
    unchanged = all(
        name in before and all(before[name][key] == lists[name][key] for key in same) for name in named
    )
    return GONE if unchanged else MISSING
