"""Looks at the URLs of cases from outside, in the ledger: baselines, results, and the runs under a mandate.

No look ends a case. A server can show its visitors one thing and us another, and whether a file of ours is
gone is seen on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from hashscan.cases.ledger import Ledger
from hashscan.outside.looking import Cause, Content, Look, Outcome, worst
from hashscan.schema import Time
from hashscan.settings.outside import Mandate
from hashscan.timefmt import format_time

REMOVED_SECONDS = 30 * 86_400
"""Time after the removal of a file for which its address is looked at: a cache may go on serving it."""
REFUSED_SECONDS = 7 * 86_400
"""Time for which all connections must be refused until the content counts as gone."""


class WebLook(Struct, kw_only=True):
    """One answer to a look at the URL of a case from outside."""

    at: Time
    server: str
    """IP address; `proxy` for the answer through one, and empty if no server was asked."""
    fresh: bool
    """True for a request that no cache could answer."""
    outcome: Outcome
    cause: Cause
    status: int | UnsetType = UNSET


def cases_with_addresses(
    ledger: Ledger, numbers: Sequence[int], now: int
) -> list[tuple[int, str, bytes | None]]:
    """Return number, URL and sha256 of cases to look at, ordered by number.

    Args:
        numbers: numbers of cases, also ended ones; empty for the open ones, and those whose file was removed
            within `REMOVED_SECONDS`.
        now: seconds since 1970.
    """
    query = "SELECT id, url, sha256 FROM cases WHERE url<>'' AND pruned IS NULL AND "
    if numbers:
        found = (ledger.one(f"{query} id=?", number) for number in sorted(set(numbers)))
        return [row for row in found if row is not None]
    open_or_removed = "(removed IS NULL AND closed IS NULL OR removed>?) ORDER BY id"
    return list(ledger.rows(query + open_or_removed, now - REMOVED_SECONDS))


def baseline_of(ledger: Ledger, case: int, sha256: bytes | None) -> Content | None:
    """Return the content that the URL of a case had at the first look, or else the one of its file."""
    row = ledger.one("SELECT sha256, pdq FROM web_baselines WHERE id=?", case)
    if row is not None:
        return Content(row[0], row[1])
    return None if sha256 is None else Content(sha256)


def record_looks(ledger: Ledger, case: int, looks: Sequence[Look], now: int) -> Outcome:
    """Store the looks of one check of a case, and its baseline if it has none.

    Args:
        now: seconds since 1970.

    Returns:
        The outcome for the URL: by all its servers, and by how long they have refused connections.

    Raises:
        LedgerError: the ledger can't be written.
    """
    outcome = worst([look.outcome for look in looks])
    content = next((look.content for look in looks if look.outcome is Outcome.ANSWERS and look.content), None)
    with ledger.transaction() as database:
        database.executemany(
            "INSERT OR REPLACE INTO web_looks VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(case, now, one.server, one.fresh, one.outcome, one.cause, one.status) for one in looks],
        )
        if content is not None:
            database.execute(
                "INSERT OR IGNORE INTO web_baselines VALUES (?, ?, ?, ?)",
                (case, now, content.sha256, content.pdq),
            )
    if any(look.cause is not Cause.REFUSED for look in looks):
        return outcome
    since = ledger.one(
        "SELECT min(at) FROM web_looks WHERE id=?1 AND at > "
        "(SELECT coalesce(max(at), -1) FROM web_looks WHERE id=?1 AND cause<>?2)",
        case,
        Cause.REFUSED,
    )[0]
    return Outcome.GONE if now - since >= REFUSED_SECONDS else outcome


def last_looks(ledger: Ledger, case: int) -> list[WebLook]:
    """Return the looks of the last check of a case."""
    rows: list[tuple[Any, ...]] = list(
        ledger.rows(
            "SELECT at, server, fresh, outcome, cause, status FROM web_looks WHERE id=?1 AND "
            "at=(SELECT max(at) FROM web_looks WHERE id=?1) ORDER BY server, fresh",
            case,
        )
    )
    return [
        WebLook(
            at=format_time(at), server=server, fresh=bool(fresh), outcome=Outcome(outcome),
            cause=Cause(cause), status=UNSET if status is None else status,
        )
        for at, server, fresh, outcome, cause, status in rows
    ]  # fmt: skip


def record_run(ledger: Ledger, mandate: Mandate, command: str, who: str, urls: int, now: int) -> None:
    """Record a run under a mandate, with its words; call it before the first request."""
    with ledger.transaction() as database:
        database.execute(
            "INSERT INTO mandated_runs (at, command, who, mandated_by, legal_basis, until, urls) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (now, command, who, mandate.by, mandate.legal_basis, mandate.until.isoformat(), urls),
        )
