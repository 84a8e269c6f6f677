"""The public figures as anybody reads them from a node: nothing before their release, then exactly them."""

from __future__ import annotations

import csv
import io

from sqlalchemy import insert

from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.statistics.page import csv_parts, html_parts, json_parts
from hashscan.hub.statistics.publications import answer, prepare, publications, release, withdraw
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CHECKS
from hashscan.model import Entry
from hashscan.state_dir import StateDir
from tests.hub.serving import Node, node
from tests.hub.statistics.test_statistics import DAY, EVIL, begin
from tests.service.doors.http.serving import Answered
from tests.service.engine.serving import store_list

PATHS = ("/statistics", "/statistics.csv", "/statistics.json")
FORMS = dict(zip(PATHS, (html_parts, csv_parts, json_parts), strict=True))
SMALL = 3


def prepared(database: Database) -> int:
    """Figures of a month in which one of three hosters has a small number; return their number."""
    with database.transaction() as connection:
        for name, digests in (("alpha", SMALL), ("beta", 7001), ("gamma", 90_002)):
            owner = add_organisation(connection, "cli me", name, title=f"{name} {EVIL}").id
            row = {"organisation": owner, "key": 1, "hour": begin(1), "exact": digests, "detected": 6}
            connection.execute(insert(CHECKS).values(row))
        return prepare(connection, "cli me", "2026-01", "2026-01", 0, begin(2)).number


def asked(running: Node) -> dict[str, Answered]:
    return {path: running.ask("GET", path) for path in PATHS}


def test_figures_are_public_from_their_release_until_they_are_withdrawn(
    database: Database, hub_state: StateDir
) -> None:
    store_list(hub_state.path, Entry("e0", "md5", bytes(16), "A1"))
    with node(database, hub_state) as running:
        for step in ("nothing", "prepared"):
            if step == "prepared":
                number = prepared(database)
            before = asked(running)
            assert [each.status for each in before.values()] == [404, 404, 404], step
            assert before["/statistics.json"].code == "not_found"
            assert not any("etag" in each.headers for each in before.values())
            assert b"alpha" not in b"".join(each.body for each in before.values())
        with database.transaction() as connection:
            answer(connection, database, "cli me", number, "beta", EVIL, begin(2))
            release(connection, "cli me", number, begin(2))
            found = publications(connection, public=True)
        for path, answered in asked(running).items():
            assert answered.status == 200
            assert answered.body == b"".join(FORMS[path](found))
            assert answered.headers["cache-control"] == "public, max-age=300"
            assert answered.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answered.headers
            assert EVIL.encode() not in answered.body or path != "/statistics"
            again = running.ask("GET", path, If_None_Match=answered.headers["etag"])
            assert (again.status, again.body) == (304, b"")
            assert running.ask("GET", path, If_None_Match='"other"').status == 200
        figures = asked(running)["/statistics.json"].document["publications"][0]["figures"]
        assert figures["suppressed_below"] > SMALL
        months = {each["name"]: each["months"][0] for each in figures["organisations"]}
        # The next larger number is suppressed, too: the total less the others would be the small one.
        assert [months[name]["digests"] for name in ("alpha", "beta", "gamma")] == [None, None, 90_002]
        rows = csv.DictReader(io.StringIO(asked(running)["/statistics.csv"].body.decode()))
        assert {row["organisation"]: row["digests"] for row in rows} == {
            "": str(SMALL + 7001 + 90_002), "alpha": "", "beta": "", "gamma": "90002",
        }  # fmt: skip
        with database.transaction() as connection:
            withdraw(connection, "cli me", number, begin(2) + DAY)
        assert [each.status for each in asked(running).values()] == [404, 404, 404]
