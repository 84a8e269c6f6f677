"""Read the facts of a proof of care from a hub: the scans and cases of many servers, also silent ones."""

from __future__ import annotations

from sqlalchemy import Connection, select

from hashscan.cases.care.figures import CareFacts, CaseFact, ScanFact, ServerFacts
from hashscan.cases.tracker import REFUSED
from hashscan.hub.accounts.organisations import organisation_named
from hashscan.hub.intake.servers import server_defaults
from hashscan.hub.storage.tables import CASES, SCANS, SERVERS
from hashscan.schema import decode_json


def hub_facts(connection: Connection, organisation: str, end: int) -> CareFacts:
    """Return the facts of all servers of an organisation, as of a time (seconds since 1970).

    A hub gets no targets, only their number in a scope: each set of targets and options counts as one
    target, `scope 1` and so on, in the order in which they were first scanned.

    Raises:
        UsageError: there is no such organisation.
    """
    owner = organisation_named(connection, organisation).id
    default = server_defaults(connection).silent_after
    facts = CareFacts()
    servers = select(SERVERS).where(SERVERS.c.organisation == owner, SERVERS.c.first < end)
    for server in connection.execute(servers.order_by(SERVERS.c.name)).all():
        scopes: dict[str, str] = {}
        query = select(SCANS).where(SCANS.c.server == server.id, SCANS.c.started < end)
        scans = [
            ScanFact(
                row.started,
                row.ended,
                row.exit_code if row.complete and row.exit_code >= 0 else None,
                False,
                (scopes.setdefault(row.scope, f"scope {len(scopes) + 1}"),),
                row.files,
                decode_json(row.verdicts.encode() or b"{}"),
                decode_json(row.reasons.encode() or b"{}"),
                decode_json(row.lists.encode() or b"[]"),
                tuple(one["code"] for one in decode_json(row.incomplete.encode() or b"[]")),
            )
            for row in connection.execute(query.order_by(SCANS.c.started, SCANS.c.uuid))
        ]
        # A report that came after the period says nothing about silence at its end.
        last = connection.execute(
            select(SCANS.c.received)
            .where(SCANS.c.server == server.id, SCANS.c.received < end)
            .order_by(SCANS.c.received.desc())
            .limit(1)
        ).scalar()
        seen = server.seen if server.seen < end else max(last or 0, server.first)
        silent = seen + (server.silent_after or default) < end
        facts.servers.append(ServerFacts(server.name, scans, seen if silent else None))
    query = select(CASES).where(CASES.c.organisation == owner, CASES.c.found < end).order_by(CASES.c.id)
    for row in connection.execute(query):
        began = row.found if row.noticed is None or row.verdict != "notice" else row.noticed
        facts.cases.append(
            CaseFact(
                f"hub {row.id}",
                row.verdict,
                began,
                row.deadline,
                row.removed,
                row.how == REFUSED,
                row.closed,
            )
        )
    return facts
