"""Pruning, export and deletion of what a hub keeps."""

from __future__ import annotations

import asyncio
import json
import time

from sqlalchemy import insert, select, update

from hashscan.hub.accounts.keys import add_key, key_named
from hashscan.hub.accounts.organisations import add_organisation, delete_organisation
from hashscan.hub.accounts.privacy import REQUESTS_SECONDS, export, prune, remains
from hashscan.hub.notices.notices import NewNotice, mark_notice, send_notice
from hashscan.hub.server import _prune_requests
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import (
    CASES,
    CHECKS,
    EVENTS,
    KEYS,
    NOTICES,
    OUTBOX,
    REQUESTS,
    SESSIONS,
    USERS,
)
from hashscan.hub.web.requests import Context, HubSettings
from hashscan.schema import encode_json
from hashscan.settings.service import TcpAddress
from hashscan.state_dir import StateDir

NOW, DAY = 1_800_000_000, 86_400


def filled(database: Database) -> dict[str, int]:
    """Two organisations with a removed and an open notice each, and rows in most tables."""
    ids = {}
    with database.transaction() as connection:
        for name in ("alpha", "beta"):
            owner = ids[name] = add_organisation(connection, "cli me", name).id
            add_key(connection, "cli me", name, "k", ("cases",))
            key = key_named(connection, name, "k").id
            for number, at in enumerate((NOW - 900 * DAY, NOW - 10 * DAY, NOW)):
                wanted = NewNotice(
                    url=f"https://a.example/{name}{number}", category="A1", reference=f"{name}{number}"
                )
                sent = send_notice(connection, "cli me", name, wanted, at)
                if number < 2:
                    mark_notice(connection, "cli me", wanted.reference, "removed", "secret", at + 60)
                mail = {"organisation": owner, "notice": sent.number, "kind": "notice", "recipient": "r",
                        "message": "m", "created": at, "sent": at}  # fmt: skip
                connection.execute(insert(OUTBOX).values(mail))
                connection.execute(
                    insert(REQUESTS).values(key=key, idempotency_key=str(number), sha256=b"s", at=at)
                )
            connection.execute(insert(CHECKS).values(organisation=owner, key=key, hour=NOW, exact=3))
            user = {"name": f"u-{name}", "role": "member", "organisation": owner, "password": "secret-hash",
                    "created": NOW}  # fmt: skip
            number = connection.execute(insert(USERS).values(user).returning(USERS.c.id)).scalar_one()
            session = {"sha256": name.encode(), "user": number, "csrf": "secret-csrf", "created": NOW}
            connection.execute(insert(SESSIONS).values(seen=NOW - 2 * DAY, **session))
    return ids


def test_old_ended_cases_lose_their_details_and_figures_stay(database: Database) -> None:
    filled(database)
    with database.transaction() as connection:
        before = connection.execute(
            select(CASES.c.found, CASES.c.removed, CASES.c.verdict).order_by(CASES.c.id)
        ).all()
        counts = prune(connection, "cli me", NOW - 730 * DAY, NOW)
    assert counts == {"cases": 2, "events": 4, "notices": 2, "requests": 4, "sessions": 2, "outbox": 2}
    with database.transaction() as connection:
        assert (
            connection.execute(
                select(CASES.c.found, CASES.c.removed, CASES.c.verdict).order_by(CASES.c.id)
            ).all()
            == before
        )
        urls = connection.execute(select(CASES.c.url).order_by(CASES.c.id)).scalars().all()
        assert [bool(url) for url in urls] == [False, True, True] * 2
        assert (
            sorted(map(bool, connection.execute(select(NOTICES.c.url)).scalars())) == [False] * 2 + [True] * 4
        )
        assert sum(prune(connection, "cli me", NOW - 730 * DAY, NOW).values()) == 0


def test_a_node_deletes_keys_of_old_requests_by_itself(database: Database, hub_state: StateDir) -> None:
    filled(database)
    with database.transaction() as connection:
        row = {"key": 1, "idempotency_key": "new", "sha256": b"s", "at": int(time.time())}
        connection.execute(update(REQUESTS).values(at=row["at"] - REQUESTS_SECONDS - 60))
        connection.execute(insert(REQUESTS).values(row))
    context = Context(HubSettings(hub_state, "", TcpAddress("127.0.0.1", 0)), database, None)  # type: ignore[arg-type]

    async def run() -> None:
        task = asyncio.create_task(_prune_requests(context))
        while left() != ["new"]:
            await asyncio.sleep(0.01)
        task.cancel()

    def left() -> list[str]:
        with database.reading() as connection:
            return list(connection.execute(select(REQUESTS.c.idempotency_key)).scalars())

    asyncio.run(asyncio.wait_for(run(), 60))


def test_everything_about_one_organisation_is_exported_without_secrets(database: Database) -> None:
    filled(database)
    with database.reading() as connection:
        lines = [json.loads(encode_json(line)) for line in export(connection, "alpha")]
    assert {"organisations", "keys", "users", "cases", "events", "notices", "outbox", "checks", "audit"} <= {
        line["table"] for line in lines
    }
    assert "beta" not in str(lines)
    assert "secret-" not in str(lines)
    assert all(
        "sha256" not in line["row"] for line in lines if line["table"] in {"keys", "requests", "sessions"}
    )


def test_nothing_is_left_of_a_deleted_organisation(database: Database) -> None:
    ids = filled(database)
    with database.transaction() as connection:
        assert len(remains(connection, ids["alpha"])) >= 8
        delete_organisation(connection, "cli me", "alpha")
        assert remains(connection, ids["alpha"]) == {}
        assert len(remains(connection, ids["beta"])) >= 8
        for table, count in ((KEYS, 1), (SESSIONS, 1), (OUTBOX, 3), (REQUESTS, 3), (EVENTS, 5)):
            assert len(connection.execute(select(table)).all()) == count
