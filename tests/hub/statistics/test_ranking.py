"""The ranking of a simulated year of 22 hosters: honest, slow, false, and those that answer little."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, insert, select, update

from hashscan.hub.accounts.keys import add_key, key_named
from hashscan.hub.accounts.organisations import add_organisation
from hashscan.hub.notices.notices import NewNotice, Sight, observe_notice, send_notice, take_update
from hashscan.hub.statistics.figures import MEASURES, RANKED_FROM, _share
from hashscan.hub.statistics.page import csv_parts, html_parts, json_parts
from hashscan.hub.statistics.publications import prepare, publications, release
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import CASES, SERVERS
from hashscan.hub_api import NoticeUpdate, place_of
from tests.hub.statistics.test_statistics import DAY, HOUR, begin

NOTICES = 20
"""Notices to each hoster: five in each of four months, so that no number of a month is withheld."""
HORIZON = 720


class Hoster(NamedTuple):
    """The behaviour of a hoster."""

    name: str
    hours: float = 0.0
    """Time until it says that content was removed, which is true unless it lies."""
    silent: int = 0
    """Notices to which it says nothing."""
    event: str = "removed"
    false: int = 0
    """Contents that are there all the same, and that somebody outside looks at."""
    looks: Sequence[Sight] = ()
    """An outside observer's sights of the next ones."""


HOSTERS = [
    *(Hoster(f"honest{place}", 1.5 * (place + 1), looks=["gone"] * (2 * place)) for place in range(8)),
    *(Hoster(f"slow{place}", 60.0 * (place + 1)) for place in range(6)),
    Hoster("one-look", 400.0, looks=["gone"]),
    Hoster("partial", 1.0, silent=14),
    Hoster("false", 0.5, false=18),
    Hoster("closes", 1.0, event="closed"),
    Hoster("disputes", 1.0, event="disputed"),
    Hoster("never", silent=NOTICES),
    Hoster("not-found", 1.0, event="not_found"),
    Hoster("unseen", 1.0, event="never_seen"),
]
"""In the planted order; the last five leave all content where it is."""
UNRANKED = Hoster("few", 0.1)


def simulate(connection: Connection, hoster: Hoster, number: int = NOTICES) -> list[float]:
    """Let a hoster live through the year; return for how many hours each content stays."""
    owner = add_organisation(connection, "cli me", hoster.name).id
    add_key(connection, "cli me", hoster.name, "k", ("cases",))
    key = key_named(connection, hoster.name, "k")
    draw = random.Random(hoster.name)
    stayed = []
    for place in range(number):
        at = begin(3 * (place // 5) + 1) + draw.randrange(20 * DAY)
        reference = f"{hoster.name}-{place}"
        wanted = NewNotice(url=f"https://x.example/{place}", category="A1", reference=reference)
        sent = send_notice(connection, "cli me", hoster.name, wanted, at)
        if place < hoster.silent:
            stayed.append(float(HORIZON))
            continue
        hours = hoster.hours * draw.uniform(0.9, 1.1)
        then = at + int(hours * HOUR)
        # Whatever time it states, earlier or later: the hub's own counts.
        answer = NoticeUpdate(hoster.event, draw.choice(["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]))  # type: ignore[arg-type]
        take_update(connection, key, sent.number, answer, then)
        stays = hoster.event != "removed" or place < hoster.false
        stayed.append(HORIZON if stays else hours)
        sights: Sequence[Sight] = ["there"] * hoster.false + list(hoster.looks)
        if place < len(sights):
            for sight in ("unclear", sights[place]):
                observe_notice(connection, "cli monitor", reference, sight, then + DAY, "crawler", then + DAY)
    _own_findings(connection, owner)
    return stayed


def _own_findings(connection: Connection, owner: int) -> None:
    """Findings of its own scans that it says to have removed at once, which are no merit in the ranking."""
    server = {"organisation": owner, "name": "web1", "first": begin(1), "seen": begin(1)}
    host = connection.execute(insert(SERVERS).values(server).returning(SERVERS.c.id)).scalar_one()
    for number in range(6):
        case = {"organisation": owner, "server": host, "place": b"%d" % number, "verdict": "match",
                "found": begin(2), "seen": begin(2), "removed": begin(2)}  # fmt: skip
        connection.execute(insert(CASES).values(case))


def released(database: Database, now: int) -> dict[str, Any]:
    """Prepare and release the year; return the publication as JSON."""
    with database.transaction() as connection:
        number = prepare(connection, "cli me", "2026-01", "2026-12", 0, now).number
        release(connection, "cli me", number, now)
    with database.reading() as connection:
        (document,) = json.loads(b"".join(json_parts(publications(connection, public=True))))["publications"]
    found: dict[str, Any] = document["figures"]
    return found


@pytest.mark.slow
def test_the_ranking_has_the_planted_order(database: Database) -> None:
    with database.transaction() as connection:
        stayed = {hoster.name: simulate(connection, hoster) for hoster in HOSTERS}
        simulate(connection, UNRANKED, RANKED_FROM - 1)
    figures = released(database, begin(13) + 30 * DAY)
    ranking = {each["name"]: each for each in figures["ranking"]}
    assert len(ranking) == len(HOSTERS) == 22
    assert figures["ranked_from"] == RANKED_FROM
    assert [each["name"] for each in figures["ranking"]] == [hoster.name for hoster in HOSTERS]
    ranks = [each["rank"] for each in figures["ranking"]]
    assert ranks == [*range(1, 18), *[18] * 5]
    # All were followed up to the horizon, so that the estimate is the mean itself.
    for name, each in ranking.items():
        assert each["hours"] == pytest.approx(sum(stayed[name]) / NOTICES, abs=0.1)
        assert 0 <= each["hours_low"] <= each["hours"] <= each["hours_high"] <= HORIZON
        assert each["hours_low"] < each["hours_high"]
    # A small number of the one that is not ranked has hidden that of another one in a month.
    hidden = {
        each["name"]
        for each in figures["organisations"]
        if any(month["notices"] is None for month in each["months"])
    }
    assert len(hidden) == 2
    assert {name for name, each in ranking.items() if each["cases"] is None} == hidden - {UNRANKED.name}
    assert {each["cases"] for each in ranking.values()} == {None, NOTICES}
    assert ranking["never"]["median_hours"] is None
    assert ranking["slow0"]["median_hours"] == pytest.approx(60, rel=0.1)
    assert {name for name, each in ranking.items() if each["contradicted"]} == {"false"}
    outside = {name: (each["looked_at"], each["confirmed"]) for name, each in ranking.items()}
    assert outside["false"] == (18, 0)
    assert outside["never"] == outside["slow0"] == (0, None)
    assert outside["one-look"] == (None, None)
    assert outside["honest7"] == (14, 1)
    assert outside["honest2"] == (None, None)
    answered = {name: each["answered"] for name, each in ranking.items()}
    assert (answered["never"], answered["partial"], answered["closes"], answered["disputes"]) == (
        0, 0.3, 1, 1,
    )  # fmt: skip
    assert (answered["not-found"], answered["unseen"]) == (1, 0)
    _require_the_same_elsewhere(database, figures["ranking"])


def _require_the_same_elsewhere(database: Database, ranking: list[dict[str, Any]]) -> None:
    """Compare page and CSV with the JSON."""
    with database.reading() as connection:
        found = publications(connection, public=True)
    rows = list(csv.DictReader(io.StringIO(b"".join(csv_parts(found)).decode())))
    ranks = [row for row in rows if row["rank"]]
    assert all(not row[measure] for row in ranks for measure in MEASURES)
    for row, each in zip(ranks, ranking, strict=True):
        shown = {name: "" if value is None else str(value).lower() for name, value in each.items()}
        expected = {"organisation": each["name"], "month": "2026-01/2026-12", **shown}
        assert {name: row[name] for name in expected if name in row} == {
            name: value for name, value in expected.items() if name in row
        }
    page = b"".join(html_parts(found)).decode()
    (table,) = re.findall(r"<tbody>\s*(<tr><td class=\"number\">1</td>.*?)</tbody>", page, re.DOTALL)
    for line, each in zip(table.strip().splitlines(), ranking, strict=True):
        cells = [re.sub(r"<[^>]*>", "|", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)]
        assert cells[0] == str(each["rank"])
        assert next(filter(None, cells[1].split("|"))).strip() == each["name"]
        assert cells[3] == f"{each['hours']:.1f}"
        assert ("none looked at" in cells[-1], "withheld" in cells[-1]) == (
            each["looked_at"] == 0, each["looked_at"] is None,
        )  # fmt: skip
        assert ("<strong>" in line) == each["contradicted"]


def test_open_cases_count_with_their_time_so_far(database: Database) -> None:
    """Figures that are made early rank who ignores 14 of 20 after who answers all in five hours."""
    with database.transaction() as connection:
        for hoster in (Hoster("partial", 1.0, silent=14), Hoster("honest", 5.0), Hoster("never", silent=20)):
            simulate(connection, hoster)
    ranking = released(database, begin(13))["ranking"]
    assert [each["name"] for each in ranking] == ["honest", "partial", "never"]


def test_what_a_hoster_can_not_improve_by_its_own_reports(database: Database) -> None:
    """A verdict that its scans report, and a reminder of the hub's operator, leave the time as it was."""
    with database.transaction() as connection:
        owner = add_organisation(connection, "cli me", "alpha").id
        server = {"organisation": owner, "name": "web1", "first": begin(1), "seen": begin(1)}
        host = connection.execute(insert(SERVERS).values(server).returning(SERVERS.c.id)).scalar_one()
        for number in range(RANKED_FROM):
            path = f"/srv/{number}"
            case = {"organisation": owner, "server": host, "place": bytes.fromhex(place_of(path.encode())),
                    "verdict": "match", "found": begin(1), "seen": begin(1)}  # fmt: skip
            connection.execute(insert(CASES).values(case))
            wanted = NewNotice(path=path, category="A1", host="web1")
            for days in (0, 20):
                send_notice(connection, "cli me", "alpha", wanted, begin(1) + days * DAY)
        connection.execute(update(CASES).values(verdict="held", removed=begin(1) + 25 * DAY))
        assert len(connection.execute(select(CASES)).all()) == RANKED_FROM
    (rank,) = released(database, begin(13))["ranking"]
    assert (rank["hours"], rank["cases"]) == (600, RANKED_FROM)


def test_an_outside_look_decides(database: Database) -> None:
    looks: dict[str, tuple[float, list[tuple[Sight, int]]]] = {
        # Hours of each look after the notice; every hoster says `removed` after 50 hours.
        "unseen": (50, []),
        "confirmed": (50, [("there", 10), ("gone", 100)]),
        "gone before it was said": (30, [("there", 10), ("gone", 30), ("gone", 90)]),
        "there since": (HORIZON, [("gone", 60), ("there", 70)]),
        "gone at last": (90, [("there", 70), ("gone", 90), ("there", 60)]),
        "unclear": (50, [("unclear", 70)]),
    }
    with database.transaction() as connection:
        for name, (_, seen) in looks.items():
            add_organisation(connection, "cli me", name.replace(" ", "-"))
            add_key(connection, "cli me", name.replace(" ", "-"), "k", ("cases",))
            key = key_named(connection, name.replace(" ", "-"), "k")
            for number in range(RANKED_FROM):
                at, reference = begin(1) + number, f"{name}-{number}"
                wanted = NewNotice(url="https://x.example/", category="A1", reference=reference)
                sent = send_notice(connection, "cli me", key.organisation_name, wanted, at)
                take_update(
                    connection, key, sent.number, NoticeUpdate("removed", "x", "gone"), at + 50 * HOUR
                )
                for sight, hours in seen:
                    then = at + hours * HOUR
                    observe_notice(connection, "cli me", reference, sight, then, "", begin(13))
    figures = released(database, begin(13))
    ranking = {each["name"].replace("-", " "): each for each in figures["ranking"]}
    assert {name: each["hours"] for name, each in ranking.items()} == {
        name: hours for name, (hours, _) in looks.items()
    }
    assert {name for name, each in ranking.items() if each["contradicted"]} == {"there since", "gone at last"}
    assert {name: each["confirmed"] for name, each in ranking.items()} == {
        "unseen": None, "confirmed": 1, "gone before it was said": 1, "there since": 0, "gone at last": 0,
        "unclear": None,
    }  # fmt: skip
    # A removal that is contradicted is none.
    removed = {one["name"]: one["months"][0]["removed"] for one in figures["organisations"]}
    assert (removed["unseen"], removed["there-since"]) == (RANKED_FROM, 0)


def test_shares_reveal_no_small_number_and_accuse_nobody() -> None:
    shown = [round(20 * _share(part, 20, 5)) for part in range(21)]
    assert shown == [0, 0, 0, 5, 5, 5, *range(6, 15), 15, 15, 15, 20, 20, 20]
    assert [_share(part, 3, 0) for part in (0, 1, 3)] == [0, 0.333, 1]
