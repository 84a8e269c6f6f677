"""Notice that somebody recovers a listed PDQ from answers, tell the operator, and slow it down.

Whoever has a digest within the threshold of an entry learns the entry's bits by asking about it with one bit
changed, then another: 277 to 400 answers are enough. Each must be about a digest close to another one, and
about other bits than all before. So for each entry that an organisation's digests match, some of these
digests are kept (`anchors`), and which bits its digests close to them vary: resending digests adds nothing.
Half of a picture's PDQ bits are set, as each compares a frequency with the median; close digests with another
number of set bits are of no picture, and few of them are enough.

Copies of one picture in all sizes and qualities, and frames of a video, vary the bits of frequencies that are
close to the median: 800 copies of a photo vary 66 to 96 within `REACH` bits of each other.

The rows are in the database, so that they count over keys, nodes and restarts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from hashscan.hub.accounts.audit import record
from hashscan.hub.accounts.keys import HubKey
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import NEAR_QUERIES, ORGANISATIONS
from hashscan.model import ALGORITHMS, Match

ALGORITHM = "pdq"
REACH = 6
"""Most bits by which a digest differs from an anchor that it is close to."""
VARIED_MAX = 144
"""Bits that digests of pictures vary when the operator is told."""
IMPOSSIBLE_MAX = 24
"""Bits that digests vary which no picture has, with matches of such digests that are close to no anchor: over
all entries of an organisation, so that those of one are not replaced by those of others before."""
SECONDS_PER_BIT = 600
"""Seconds in which digests about one further bit are answered after that."""
KEPT_SECONDS = 30 * 86_400
_ANCHORS, _ENTRIES = 16, 16
"""Anchors of an entry, and entries of an organisation; those with the least evidence are replaced."""
_MATCHES = 256
"""Digests of one request that match an entry, and are looked at as anchors."""
_SIZE = ALGORITHMS[ALGORITHM].size
_SET = ALGORITHMS[ALGORITHM].bits // 2
Words = NDArray[np.uint64]
_Name = tuple[str, str]
"""List and id of an entry."""
_log = logging.getLogger(__name__)


class _Evidence(NamedTuple):
    """The digests of an organisation that are close to one entry."""

    anchors: Words
    """Digests that match, shape (n, 4)."""
    varied: Words
    """Bits that digests vary which are close to an anchor, shape (4,)."""
    impossible: Words
    """Bits that digests vary which no picture has."""
    strays: int
    """Digests that no picture has, that match, and are close to no anchor."""

    @property
    def known(self) -> int:
        """The number of answers that may each have revealed a bit."""
        return min(_SET * 2, _count(self.varied | self.impossible) + self.strays)

    @property
    def not_of_pictures(self) -> int:
        """The number of those that are about digests which no picture has."""
        return _count(self.impossible) + self.strays

    def is_chain(self, elsewhere: int) -> bool:
        """Return True if pictures don't have such digests; `elsewhere` is `not_of_pictures` of the
        organisation's other entries."""
        here = self.not_of_pictures
        return _count(self.varied) >= VARIED_MAX or (here > 0 and here + elsewhere >= IMPOSSIBLE_MAX)

    def values(self) -> dict[str, Any]:
        return {
            "anchors": self.anchors.tobytes(), "varied": self.varied.tobytes(),
            "impossible": self.impossible.tobytes(), "strays": self.strays,
        }  # fmt: skip


_NO_BITS = np.zeros(_SIZE // 8, np.uint64)
_NONE = _Evidence(np.zeros((0, _SIZE // 8), np.uint64), _NO_BITS, _NO_BITS, 0)


def watch_near_queries(
    database: Database, key: HubKey, digests: bytes, found: Mapping[int, Sequence[Match]], now: int
) -> frozenset[int]:
    """Note the digests (PDQs, one after another) of a request that are close to one another and to an entry;
    `found` are the entries that they match, the closest first, by index. Return the indices of digests whose
    answer is withheld now, whether they match or not; they are not noted."""
    if not digests:
        return frozenset()
    asked = _words(digests)
    by_entry: dict[_Name, list[int]] = {}
    for place, matches in islice(found.items(), _MATCHES):
        by_entry.setdefault((matches[0].list_name, matches[0].entry_id), []).append(place)
    with database.reading() as connection:
        rows = _rows(connection, key.organisation)
    if not _changes(rows, asked, by_entry):
        return frozenset()
    withheld: set[int] = set()
    with database.transaction() as connection:
        # With PostgreSQL, requests of one organisation take turns from here on.
        own = select(ORGANISATIONS.c.id).where(ORGANISATIONS.c.id == key.organisation)
        connection.execute(own.with_for_update(key_share=True))
        rows = _rows(connection, key.organisation)
        changes = _changes(rows, asked, by_entry)
        odd = {name: _evidence(row).not_of_pictures for name, row in rows.items()}
        odd |= {name: after.not_of_pictures for name, (after, _) in changes.items()}
        total = sum(odd.values())
        if any(row.flagged is not None for row in rows.values()):
            total += IMPOSSIBLE_MAX  # it has been enough before
        for name, row in rows.items():
            # The chain is about all of them.
            if row.flagged is None and odd[name] and total >= IMPOSSIBLE_MAX and name not in changes:
                _flag(connection, key, row, name, _evidence(row), now)
        for name, (after, revealing) in changes.items():
            is_chain = after.is_chain(total - odd[name])
            if _is_slowed(connection, key, rows.get(name), name, after, now, is_chain=is_chain):
                withheld.update(revealing)
            else:
                _store(database, connection, key, name, after, now)
        _make_room(connection, key)
    return frozenset(withheld)


def chains(connection: Connection, organisation: int | None = None) -> list[Row[Any]]:
    """Return the entries that may be being recovered, the newest first, of an organisation or of all."""
    query = (
        select(NEAR_QUERIES, ORGANISATIONS.c.name.label("organisation_name"))
        .join(ORGANISATIONS)
        .where(NEAR_QUERIES.c.flagged.is_not(None))
        .order_by(NEAR_QUERIES.c.flagged.desc(), NEAR_QUERIES.c.entry)
    )
    if organisation is not None:
        query = query.where(NEAR_QUERIES.c.organisation == organisation)
    return list(connection.execute(query))


def forget_chains(connection: Connection, actor: str, organisation: int) -> None:
    """Answer an organisation's close digests again as all others, after somebody has looked into them."""
    connection.execute(delete(NEAR_QUERIES).where(NEAR_QUERIES.c.organisation == organisation))
    record(connection, actor, "check.near_queries.forget", None, {"concerns": organisation})


def prune_near_queries(connection: Connection, now: int) -> None:
    connection.execute(delete(NEAR_QUERIES).where(NEAR_QUERIES.c.at < now - KEPT_SECONDS))


def _words(digests: bytes) -> Words:
    return np.frombuffer(digests, np.uint64).reshape(-1, _SIZE // 8)


def _count(bits: Words) -> int:
    return int(np.bitwise_count(bits).sum())


def _rows(connection: Connection, organisation: int) -> dict[_Name, Row[Any]]:
    query = select(NEAR_QUERIES).where(NEAR_QUERIES.c.organisation == organisation)
    return {(row.list, row.entry): row for row in connection.execute(query)}


def _evidence(row: Row[Any] | None) -> _Evidence:
    if row is None:
        return _NONE
    varied, impossible = (np.frombuffer(value, np.uint64) for value in (row.varied, row.impossible))
    return _Evidence(_words(row.anchors), varied, impossible, row.strays)


def _changes(
    rows: Mapping[_Name, Row[Any]], asked: Words, by_entry: Mapping[_Name, Sequence[int]]
) -> dict[_Name, tuple[_Evidence, list[int]]]:
    """Return the evidence about the entries of which it changes, and the digests that reveal more."""
    found = {}
    for name in (*rows, *(name for name in by_entry if name not in rows)):
        before = _evidence(rows.get(name))
        after, revealing = _noted(before, asked, by_entry.get(name, ()))
        if after.values() != before.values():
            found[name] = after, revealing
    return found


def _noted(before: _Evidence, asked: Words, matching: Sequence[int]) -> tuple[_Evidence, list[int]]:
    """Return evidence with further digests, some of which match, and those that reveal more of the entry."""
    is_impossible = np.bitwise_count(asked).sum(1) != _SET
    anchors, strays = before.anchors, []
    for place in matching:
        if len(anchors) and np.bitwise_count(anchors ^ asked[place]).sum(1).min() <= REACH:
            continue
        if is_impossible[place]:
            strays.append(place)
        anchors = np.concatenate([anchors, asked[place : place + 1]])[-_ANCHORS:]
    if not len(anchors):
        return before, []
    differing = asked[:, None, :] ^ anchors
    distances = np.bitwise_count(differing).sum(2)
    nearest = distances.argmin(1)
    places = np.flatnonzero(distances.min(1) <= REACH)
    close, odd = differing[places, nearest[places]], is_impossible[places]
    after = _Evidence(
        anchors,
        np.bitwise_or.reduce(close[~odd], axis=0, initial=0) | before.varied,
        np.bitwise_or.reduce(close[odd], axis=0, initial=0) | before.impossible,
        before.strays + len(strays),
    )
    revealing = (close & ~(before.varied | before.impossible)).any(1)
    return after, [*strays, *map(int, places[revealing])]


def _is_slowed(
    connection: Connection,
    key: HubKey,
    row: Row[Any] | None,
    name: _Name,
    after: _Evidence,
    now: int,
    *,
    is_chain: bool,
) -> bool:
    """Return whether digests would reveal more than they may by now; tell the operator of a new chain."""
    before = _evidence(row).known
    flagged, bits = (None, 0) if row is None else (row.flagged, row.flagged_bits)
    if flagged is None:
        if not is_chain:
            return False
        flagged, bits = now, before
        _flag(connection, key, row, name, after, now)
    return after.known > max(before, bits + (now - flagged) // SECONDS_PER_BIT)


def _flag(
    connection: Connection, key: HubKey, row: Row[Any] | None, name: _Name, after: _Evidence, now: int
) -> None:
    """Note that digests about an entry are a chain, and tell the operator."""
    values = {"flagged": now, "flagged_bits": _evidence(row).known, "key": key.name}
    if row is None:
        values |= {**_NONE.values(), **_places(key, name), "at": now}
        connection.execute(insert(NEAR_QUERIES).values(**values))
    else:
        connection.execute(update(NEAR_QUERIES).where(_is(key, name)).values(**values))
    # A line about no organisation, which its members don't see.
    details = {"key": key.actor, "list": name[0], "entry": name[1], "bits": after.known}
    record(connection, "hub", "check.near_queries", None, details)
    _log.warning("the %s asks about digests close to one entry, bit by bit", key.actor)


def _store(
    database: Database, connection: Connection, key: HubKey, name: _Name, after: _Evidence, now: int
) -> None:
    values = {**after.values(), "at": now, "key": key.name}
    stored = database.insert(NEAR_QUERIES).values(**_places(key, name), **values)
    places = list(NEAR_QUERIES.primary_key.columns)
    connection.execute(stored.on_conflict_do_update(index_elements=places, set_=values))


def _make_room(connection: Connection, key: HubKey) -> None:
    """Delete what is too much: first the entries with the least evidence, last those of chains."""
    rows = _rows(connection, key.organisation)

    def weight(name: _Name) -> tuple[bool, int, int, int]:
        row, evidence = rows[name], _evidence(rows[name])
        return row.flagged is not None, row.flagged or evidence.not_of_pictures, evidence.known, row.at

    for name in sorted(rows, key=weight)[: max(0, len(rows) - _ENTRIES)]:
        connection.execute(delete(NEAR_QUERIES).where(_is(key, name)))


def _places(key: HubKey, name: _Name) -> dict[str, Any]:
    return {"organisation": key.organisation, "list": name[0], "entry": name[1]}


def _is(key: HubKey, name: _Name) -> ColumnElement[bool]:
    own = NEAR_QUERIES.c.organisation == key.organisation
    return and_(own, NEAR_QUERIES.c.list == name[0], NEAR_QUERIES.c.entry == name[1])
