"""Figures for publication: a simulated year with two hosters, suppression, answers and release."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select

from hashscan.errors import UsageError
from hashscan.hub.accounts.keys import add_key, key_named
from hashscan.hub.accounts.organisations import add_organisation, delete_organisation
from hashscan.hub.notices.notices import NewNotice, send_notice, take_update
from hashscan.hub.statistics.figures import MEASURES, Document, Organisation, Rank, _suppressed
from hashscan.hub.statistics.page import csv_parts, html_parts, json_parts
from hashscan.hub.statistics.publications import (
    Publication,
    _mail,
    answer,
    prepare,
    public_months,
    publications,
    release,
    withdraw,
)
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import ANSWERS, CASES, CHECKS, NOTICES, SCANS, SERVERS
from hashscan.hub_api import NoticeUpdate

DAY, HOUR = 86_400, 3600
EVIL = "<script>alert(1)</script>=1+1"


def begin(month: int, year: int = 2026) -> int:
    return int(datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC).timestamp())


Planted = dict[str, dict[str, list[int]]]


def year(database: Database) -> tuple[Planted, dict[str, list[float]]]:
    """A year of checks, scans, notices and removals of two hosters; return the counts and the hours."""
    planted: Planted = {}
    hours: dict[str, list[float]] = {}
    for place, name in enumerate(("alpha", "beta")):
        counts = planted[name] = {measure: [0] * 12 for measure in MEASURES}
        hours[name] = []
        with database.transaction() as connection:
            owner = add_organisation(connection, "cli me", name, title=f"{name} {EVIL}").id
            add_key(connection, "cli me", name, "k", ("cases",))
            key = key_named(connection, name, "k")
            server = {"organisation": owner, "name": "web1", "first": begin(1), "seen": begin(1)}
            connection.execute(insert(SERVERS).values(server))
            host = connection.execute(
                select(SERVERS.c.id).where(SERVERS.c.organisation == owner)
            ).scalar_one()
            for month in range(12):
                start = begin(month + 1)
                for day in range(28):
                    exact = 1000 * (month + 1) + day
                    row = {"organisation": owner, "key": key.id, "hour": start + day * DAY, "requests": 3,
                           "exact": exact, "perceptual": 7, "detected": place + 1}  # fmt: skip
                    connection.execute(insert(CHECKS).values(row))
                    counts["digests"][month] += exact + 7
                    counts["detected"][month] += place + 1
                scan = {"uuid": f"{owner}-{month}", "organisation": owner, "server": host, "started": start,
                        "received": start, "complete": True, "files": 500 + month}  # fmt: skip
                connection.execute(insert(SCANS).values(scan))
                counts["files"][month] += 500 + month
                # By finding: removed at once, or the case was rejected by a review.
                for number in range(6):
                    taken = (number + 1) * (place + 1)
                    case = {"organisation": owner, "server": host, "place": b"%d-%d" % (month, number),
                            "verdict": "match", "found": start + number, "seen": start,
                            "removed": start + number + taken * HOUR,
                            "decision": "rejected" if number == 5 else ""}  # fmt: skip
                    connection.execute(insert(CASES).values(case))
                    if number < 5:
                        counts["found"][month] += 1
                        counts["removed"][month] += 1
                # By notice: answered by the server.
                for number in range(5):
                    wanted = NewNotice(
                        url=f"https://{name}.example/{number}", category="A1",
                        reference=f"{name}-{month}-{number}",
                    )  # fmt: skip
                    at = start + 10 * DAY
                    sent = send_notice(connection, "cli me", name, wanted, at)
                    taken = 10 + number * (place + 1)
                    update = NoticeUpdate("removed", "1970-01-01T00:00:00Z", "gone", "web1")
                    take_update(connection, key, sent.number, update, at + taken * HOUR)
                    counts["notices"][month] += 1
                    counts["removed"][month] += 1
                    hours[name].append(taken)
    return planted, hours


def prepared(database: Database) -> Publication:
    with database.transaction() as connection:
        return prepare(connection, "cli me", "2026-01", "2026-12", 14 * DAY, begin(13))


def test_charts_csv_and_json_equal_the_planted_numbers_of_a_year(database: Database) -> None:
    planted, hours = year(database)
    made = prepared(database)
    with database.transaction() as connection:
        release(connection, "cli me", made.number, made.answer_until)
        found = publications(connection, public=True)
    totals = {
        m: [a + b for a, b in zip(*(each[m] for each in planted.values()), strict=True)] for m in MEASURES
    }
    months = public_months(found)
    assert {m: [getattr(month, m) for month in months] for m in MEASURES} == totals

    (document,) = json.loads(b"".join(json_parts(found)))["publications"]
    figures = document["figures"]
    assert {m: [month[m] for month in figures["months"]] for m in MEASURES} == totals
    for each in figures["organisations"]:
        assert {m: [month[m] for month in each["months"]] for m in MEASURES} == planted[each["name"]]
    ranked = [
        (each["name"], each["cases"], each["hours"], each["median_hours"]) for each in figures["ranking"]
    ]
    assert ranked == [
        (name, len(taken), pytest.approx(statistics.fmean(taken), abs=0.06), statistics.median_low(taken))
        for name, taken in hours.items()
    ]

    rows = list(csv.DictReader(io.StringIO(b"".join(csv_parts(found)).decode())))
    for name, counts in {"": totals, **planted}.items():
        own = [row for row in rows if row["organisation"] == name and not row["rank"]]
        assert {m: [int(row[m]) for row in own] for m in MEASURES} == counts

    page = b"".join(html_parts(found)).decode()
    assert "<script>alert" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    charts = re.findall(r'<svg class="plotted broad.*?</svg>', page, re.DOTALL)
    assert len(charts) == len(MEASURES)
    for measure, chart in zip(MEASURES, charts, strict=True):
        bars = re.findall(r'height="([0-9.]+)"><title>(\d{4}-\d\d), [^:]*: ([^<]*)</title>', chart)
        drawn = [int(re.sub(r"\D", "", value)) for _, _, value in bars]
        assert (measure, drawn) == (measure, totals[measure])
        heights = [float(height) / value for (height, _, _), value in zip(bars, drawn, strict=True)]
        assert max(heights) - min(heights) < 0.02 * max(heights)


def test_only_released_figures_are_public_and_only_after_the_time_to_answer(database: Database) -> None:
    year(database)
    with pytest.raises(UsageError), database.transaction() as connection:
        prepare(connection, "cli me", "2026-12", "2026-12", DAY, begin(13) - 1)
    made = prepared(database)
    with database.transaction() as connection:
        assert publications(connection, public=True) == []
        answer(connection, database, "cli me", made.number, "alpha", "first", begin(13))
        answer(connection, database, "cli me", made.number, "alpha", EVIL, begin(13))
        with pytest.raises(UsageError):
            release(connection, "cli me", made.number, made.answer_until - 1)
        with pytest.raises(UsageError):
            answer(connection, database, "cli me", made.number, "beta", "a\x1b[31m", begin(13))
        release(connection, "cli me", made.number, made.answer_until)
        found = publications(connection, public=True)
        with pytest.raises(UsageError):
            answer(connection, database, "cli me", made.number, "beta", "late", begin(13))
    assert [each.words for each in found[0].answers] == [EVIL]
    assert EVIL not in b"".join(html_parts(found)).decode()
    with database.transaction() as connection:
        delete_organisation(connection, "cli me", "alpha")
        assert (
            connection.execute(select(ANSWERS)).all()
            == connection.execute(select(NOTICES).where(NOTICES.c.organisation == 1)).all()
        )
        withdraw(connection, "cli me", made.number, begin(14))
        assert publications(connection, public=True) == []


def test_small_numbers_and_those_that_reveal_them_are_suppressed() -> None:
    assert _suppressed({1: 4, 2: 100, 3: 50, 4: 0}, 5) == {1: None, 2: 100, 3: None, 4: 0}
    assert _suppressed({1: 4, 2: 3, 3: 50}, 5) == {1: None, 2: None, 3: 50}
    assert _suppressed({1: 5, 2: 0}, 5) == {1: 5, 2: 0}


def test_an_empty_hub_has_a_page(database: Database) -> None:
    with database.reading() as connection:
        found = publications(connection, public=True)
    assert b"Nothing is published yet" in b"".join(html_parts(found))


@pytest.mark.parametrize("contradicted", [False, True])
def test_the_mail_has_the_rank_and_no_number_that_is_withheld(contradicted: bool) -> None:
    named = Organisation("alpha", "Alpha", [])
    rank = Rank(
        rank=3, name="alpha", title="Alpha", cases=None, hours=2.5, hours_low=1.0, hours_high=9.0,
        median_hours=None, answered=1.0, looked_at=None, confirmed=None, contradicted=contradicted,
    )  # fmt: skip
    document = Document("2026-01", "2026-02", 5, [], [named], [rank], 10, 720.0, "2026-03-01T00:00:00Z")
    text = _mail(document, named, "2026-03-01").text
    assert "None" not in text
    assert "2.5" in text
    assert ("seen there" in text) == contradicted
