"""All pages, with each role: who may see what, hostile names, forged forms, decisions by two people."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from hashscan.hub.accounts.audit import read_audit, record
from hashscan.hub.accounts.keys import add_key, keys_of
from hashscan.hub.accounts.organisations import (
    add_organisation,
    delete_organisation,
    organisation_named,
)
from hashscan.hub.accounts.sessions import set_switch
from hashscan.hub.accounts.users import ROLES, add_user, user_named, users
from hashscan.hub.checks.counting import month_of
from hashscan.hub.intake.servers import ServerDefaults, server_defaults
from hashscan.hub.mails.outbox import outbox
from hashscan.hub.notices.notices import NewNotice, send_notice
from hashscan.hub.review import cases as review_cases
from hashscan.hub.review.cases import CaseFilter, count_cases, find_cases, review_queue
from hashscan.hub.storage.database import Database, DatabaseAwayError
from hashscan.hub.storage.tables import (
    AUDIT,
    CASES,
    CHECK_MONTHS,
    EVENTS,
    FEEDBACK,
    NOTICES,
    SCANS,
    SERVERS,
)
from hashscan.hub.web.application import make_application
from hashscan.hub.web.pages import cases as cases_pages
from hashscan.hub.web.pages.visits import PageRoute
from hashscan.hub.web.requests import Context
from hashscan.web import rendering
from tests.hub.pages.browsing import Answer, Browser, signed_in

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u202e\x1b[31m\n&amp;"
"""A name from an attacker."""
NOT_PAGES = re.compile(r"/(v1/.*|healthz|readyz|openapi\.json|metrics|statistics.*)")
"""Routes that are not pages for people with a session; their own tests are elsewhere."""
OPEN_PAGES = {("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/static/{name}")}


@pytest.fixture
def filled(context: Context) -> Context:
    """Two organisations with everything of each; each text of alpha has `ALPHA` in it, of beta `BETA`."""
    now = int(time.time())
    with context.database.transaction() as connection:
        for number, name in enumerate(("alpha", "beta"), 1):
            mark, ids = name.upper() + EVIL, {"organisation": number}
            add_organisation(connection, "cli me", name, title=f"{name.upper()} Hosting")
            add_key(connection, "cli me", name, f"k-{name.upper()}", ["check"])
            add_user(connection, "cli me", f"first-{name}", "member", name)
            connection.execute(
                SERVERS.insert().values(**ids, name=mark, first=now, seen=now, silent=now, scan=f"s{number}")
            )
            connection.execute(
                SCANS.insert().values(
                    uuid=f"s{number}",
                    **ids,
                    server=number,
                    started=now,
                    ended=now + 9,
                    received=now,
                    complete=True,
                    version=mark,
                    exit_code=1,
                    files=10,
                    findings=2,
                    verdicts='{"clean":8,"undecoded":1,"<b>":1}',
                    lists='[{"name":"<script>alert(2)</script>","version":1,"entries":5,"state":"fresh"},7]',
                )
            )
            connection.execute(
                NOTICES.insert().values(
                    **ids,
                    reference=mark,
                    url=mark,
                    category=mark,
                    sent=now,
                    sent_by=mark,
                    position=ids["organisation"],
                    how=mark,
                    deadline=now - 5,
                )
            )
            connection.execute(
                CASES.insert().values(
                    **ids,
                    server=number,
                    place=b"p",
                    path=mark,
                    url=mark,
                    customer=mark,
                    verdict="review",
                    categories=mark,
                    entries='[{"list":"<script>alert(3)</script>","entry":"e","distance":3},"x",null]',
                    sha256="ab" * 32,
                    found=now,
                    seen=now,
                    deadline=now - 5,
                    notice=number,
                    reason=mark,
                    how=mark,
                )
            )
            connection.execute(
                EVENTS.insert().values(case=number, at=now, kind="found", words=mark, who=mark)
            )
            record(connection, f"key {mark}", "report.push", number, {"host": mark})
            for category in ("", mark):
                counts = {"category": category, "asked": number * 1111, "detected": number}
                connection.execute(CHECK_MONTHS.insert().values(**ids, month=month_of(now), **counts))
    return context


def routes(app: Any) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each page: method, path and the roles that it declares; a page that declares none is a failure."""
    for route in app.routes:
        if NOT_PAGES.fullmatch(route.path):
            continue
        assert isinstance(route, PageRoute), f"{route.path} does not declare who may use it"
        yield route.method, route.path, route.roles


def concrete(path: str, organisation: str, number: int) -> str:
    """A path with its parts that vary: those of an organisation."""
    return path.replace("{name}", organisation).replace("{number}", str(number))


class Strict(HTMLParser):
    """Fails at what no page of ours has."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {
            "script",
            "img",
            "svg:script",
            "iframe",
            "object",
            "style",
            "b",
            "video",
            "picture",
        }, tag
        for name, value in attrs:
            assert not name.startswith("on"), (tag, attrs)
            assert name != "style", (tag, attrs)
            if name in {"href", "action", "src"}:
                assert value is not None
                assert re.match(r"/(?!/)|#main$", value), value


def check_page(answer: Answer) -> None:
    """No markup of strangers, and all headers."""
    Strict().feed(answer.text)
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    assert "{{7*7}}" in answer.text or "7*7" not in answer.text
    for name, value in rendering.HEADERS.items():
        assert answer.header(name.lower()) == value
    assert "'unsafe" not in answer.header("content-security-policy")


def test_every_route_with_every_role(filled: Context) -> None:
    """No role sees a page that is not for it, and a member sees nothing of another organisation."""
    app = make_application(filled)
    visitors = {
        role: signed_in(filled, f"a-{role}", role, "alpha" if role == "member" else "", app) for role in ROLES
    }
    seen = set()
    for method, path, roles in routes(app):
        stranger = Browser(filled, app=app)
        own, foreign, missing = (concrete(path, *each) for each in (("alpha", 1), ("beta", 2), ("none", 99)))
        if (method, path) in OPEN_PAGES:
            assert roles == ()
            seen.add((method, path))
            continue
        assert set(roles) <= set(ROLES)
        assert roles
        answer = stranger.ask(method, own) if method == "GET" else stranger.post(own)
        assert answer.status == 303
        assert answer.location.startswith("/sign-in")
        for role, browser in visitors.items():
            if method == "POST":
                # Without a token, nobody changes anything.
                assert browser.post(own).status == 403
                if role in roles or path == "/sign-out":
                    continue
                fields = {"csrf": browser.get("/account").hidden("csrf")}
                assert browser.post(own, fields).status == 404
                continue
            answer = browser.get(own)
            assert answer.status == (200 if role in roles else 404), (role, path)
            check_page(answer)
            if role not in roles:
                assert "ALPHA" not in answer.text
                continue
            if role == "member":
                assert "beta" not in answer.text.lower(), path
                if "{" in path:
                    there, nowhere = browser.get(foreign), browser.get(missing)
                    assert there.status == nowhere.status == 404
                    assert there.body == nowhere.body
            elif "{" in path:
                assert browser.get(missing).status == 404
    assert seen == OPEN_PAGES


def test_a_member_sees_only_his_organisation_by_filters(filled: Context) -> None:
    browser = signed_in(filled, "mary", "member", "alpha")
    for path in (
        "/cases?organisation=beta",
        "/cases?server=2&state=all",
        f"/cases?state=all&host={quote('BETA' + EVIL)}",
        "/audit?organisation=beta",
        "/audit?organisation=2",
        "/audit?actor=" + quote("key BETA" + EVIL),
        "/servers?organisation=beta",
        "/servers?name=BET",
        "/organisations?search=beta",
        "/notices?organisation=beta",
        "/audit?after=999999",
        "/",
    ):
        answer = browser.get(path)
        assert answer.status == 200
        # But for the words of the search itself.
        assert "BETA" not in re.sub(r' value="[^"]*"', "", answer.text), path
    assert "2\u202f222" not in browser.get("/").text
    assert "1\u202f111" in browser.get("/").text
    viewer = signed_in(filled, "vera", "viewer", app=browser.app).get("/").text
    assert "3\u202f333" in viewer


@pytest.mark.parametrize(
    "query",
    [
        "after=x&server=x&state=%ff",
        "after=1-&server=%00",
        "after=-1&category=%25&verdict=%27--",
        "after=9999999999999999-1&organisation=%00",
        "after=%d9%a1-%d9%a1&name=%00&search=%25%00",
    ],
)
def test_odd_queries(filled: Context, query: str) -> None:
    browser = signed_in(filled, "vera", "viewer")
    for path in ("/cases", "/servers", "/organisations", "/notices", "/audit"):
        assert browser.get(f"{path}?{query}").status == 200


def test_odd_paths(filled: Context) -> None:
    browser = signed_in(filled, "vera", "viewer")
    for path in (
        "/cases/0",
        "/cases/x",
        "/cases/-1",
        "/cases/9" + "9" * 30,
        "/cases/\u0661",
        "/organisations/%00",
    ):
        assert browser.get(path).status == 404, path


def test_nothing_but_the_style_sheets_is_static(filled: Context) -> None:
    browser = Browser(filled)
    for name in rendering.STATIC:
        assert browser.get(f"/static/{name}").header("content-type").startswith("text/css")
    for name in (
        "..",
        "../pages/visits.py",
        "%2e%2e%2fvisits.py",
        "..%2f..%2frequests.py",
        "/etc/passwd",
        "pages.css/",
        "....//pages.css",
        "pages.css%00",
        "C:\\x",
        "",
    ):
        answer = browser.get(f"/static/{name}")
        assert answer.status == 404, name
        assert b"import" not in answer.body


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8480", "", "localhost.evil.example"]
)
def test_other_hosts_are_refused(filled: Context, host: str) -> None:
    browser = signed_in(filled, "vera", "viewer")
    browser.host = host
    answer = browser.get("/")
    assert answer.status == 421
    assert "ALPHA" not in answer.text
    assert not answer.location


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:8480.evil.example"},
        {"origin": "https://127.0.0.1:8480"},
        {"origin": ""},
        {"content-type": "text/plain"},
    ],
)
def test_forms_of_other_sites_are_refused(filled: Context, headers: dict[str, str]) -> None:
    browser = signed_in(filled, "olga", "operator")
    token = browser.get("/organisations").hidden("csrf")
    fields = {"csrf": token, "name": "gamma"}
    assert browser.post("/organisations", fields, **headers).status in {403, 415}
    other = signed_in(filled, "olaf", "operator", app=browser.app).get("/organisations").hidden("csrf")
    for wrong in ("", other, token[:-1], token + "x"):
        assert browser.post("/organisations", {"csrf": wrong, "name": "gamma"}).status == 403
    assert browser.post("/organisations", fields).location == "/organisations/gamma"


def test_sign_in_forms_of_other_sites_are_refused(filled: Context) -> None:
    browser = Browser(filled)
    token = browser.get("/sign-in").hidden("csrf")
    other = Browser(filled).get("/sign-in").hidden("csrf")
    for fields in ({"csrf": other}, {"csrf": ""}, {}):
        assert browser.post("/sign-in", fields).status == 403
    assert browser.post("/sign-in", {"csrf": token}, origin="https://evil.example").status == 403


def test_large_and_broken_forms(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    assert browser.post("/organisations", {"name": "x" * 70_000}).status == 413
    assert browser.post("/organisations", [(f"f{n}", "") for n in range(300)]).status == 400
    kind = {"origin": browser.origin, "content-type": "application/x-www-form-urlencoded"}
    for body in (b"\xff\xff", b"a=%ff"):
        length = {"content-length": str(len(body))}
        assert browser.ask("POST", "/organisations", body, {**kind, **length}).status == 400


def test_operators_keep_keys(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    page = "/organisations/alpha"
    fields = {
        "name": "web",
        "right": ["check", "report"],
        "detail": "category",
        "days": "30",
        "digests_per_day": "5",
    }
    shown = browser.send(page, f"{page}/keys/add", **fields)
    secret = shown.text.partition('class="secret">')[2].partition("<")[0]
    assert secret.startswith("hashscan_")
    assert secret not in browser.get(page).text
    with filled.database.reading() as connection:
        key = next(each for each in keys_of(connection, "alpha") if each.name == "web")
    assert (key.rights, key.detail, key.digests_per_day) == (("check", "report"), "category", 5)
    assert key.expires is not None
    for wrong in ({"name": "web"}, {"name": "a b"}, {"right": "all"}, {"days": "-1"}, {"days": "x"}):
        assert (
            browser.send(page, f"{page}/keys/add", **{"name": "new", "right": "check", **wrong}).status == 400
        )
    form = {"key": "web", "id": str(key.id)}
    assert browser.send(page, f"{page}/keys/rotate", **form).status == 200
    assert browser.send(page, f"{page}/keys/rotate", **form).status == 409, "sent twice"
    assert browser.send("/organisations/beta", "/organisations/beta/keys/revoke", **form).status == 400, (
        "foreign"
    )
    with filled.database.reading() as connection:
        ids = {each.name: str(each.id) for each in keys_of(connection, "alpha")}
    assert browser.send(page, f"{page}/keys/revoke", key="web", id=ids["web"]).location == page
    with filled.database.reading() as connection:
        assert all(each.revoked for each in keys_of(connection, "alpha") if each.name.startswith("web"))
    done = [line["action"] for line, _ in read_audit(filled.database) if line["actor"] == "user olga"]
    assert done == ["key.add", "key.rotate", "key.add", "key.revoke", "key.revoke"]


def test_operators_keep_users(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    shown = browser.send("/users", "/users/add", name="rita", role="reviewer", organisation="")
    once = shown.text.partition('class="secret">')[2].partition("<")[0]
    rita = Browser(filled, app=browser.app)
    assert rita.sign_in("rita", once).status == 303
    assert browser.send("/users", "/users/add", name="rita", role="viewer").status == 400
    assert browser.send("/users", "/users/add", name="x", role="member", organisation="none").status == 400
    assert browser.send("/users", "/users/reset", name="rita").status == 200
    assert rita.get("/").location == "/sign-in"
    assert browser.send("/users", "/users/disable", name="rita").location == "/users"
    assert browser.send("/users", "/users/disable", name="olga").status == 400, "not oneself"
    with filled.database.reading() as connection:
        state = {each.name: each.admitted for each in users(connection)}
    assert (state["rita"], state["olga"]) == (False, True)


def decide(browser: Browser, number: int = 1, decision: str = "confirmed", **changed: Any) -> Answer:
    page = browser.get(f"/cases/{number}")
    fields = {name: page.hidden(name) for name in ("csrf", "moved")}
    return browser.post(f"/cases/{number}", {**fields, "decision": decision, "reason": "seen", **changed})


def test_a_reviewer_decides(filled: Context) -> None:
    browser = signed_in(filled, "rita", "reviewer")
    for wrong in (
        {"decision": "perhaps"},
        {"reason": ""},
        {"reason": "x" * 1001},
        {"moved": "x"},
        {"reason": "\x1b"},
    ):
        assert decide(browser, **wrong).status == 400
    assert "Case 1" in browser.get("/review").text
    assert decide(browser, reason="two\r\nlines", queue="yes").location == "/review"
    assert "Case 2" in browser.get("/review").text
    assert decide(browser, 2, "rejected").location == "/cases/2"
    assert "No case waits" in browser.get("/review").text
    with filled.database.reading() as connection:
        row = connection.execute(CASES.select().where(CASES.c.id == 1)).one()
        now = int(time.time())
        counts = {
            state: count_cases(connection, CaseFilter(state=state), now, two=False)
            for state in ("open", "waiting", "rejected", "overdue", "all")
        }
        events = connection.execute(
            EVENTS.select().where(EVENTS.c.case == 1, EVENTS.c.kind == "decided")
        ).all()
    assert (row.decision, row.reason, row.decided_by, row.moved) == ("confirmed", "two\nlines", "rita", 1)
    assert counts == {"open": 1, "waiting": 0, "rejected": 1, "overdue": 1, "all": 2}
    assert [event.who for event in events] == ["rita"]


def test_two_people_don_t_overwrite_each_other(filled: Context) -> None:
    rita = signed_in(filled, "rita", "reviewer")
    rolf = signed_in(filled, "rolf", "reviewer", app=rita.app)
    page = rolf.get("/cases/1")
    fields = {name: page.hidden(name) for name in ("csrf", "moved")}
    assert decide(rita, reason="first").status == 303
    late = rolf.post("/cases/1", {**fields, "decision": "rejected", "reason": "my <b>words</b>"})
    assert late.status == 409
    assert "my &lt;b&gt;words" in late.text
    with filled.database.reading() as connection:
        row = connection.execute(CASES.select().where(CASES.c.id == 1)).one()
    assert (row.decision, row.reason, row.decided_by) == ("confirmed", "first", "rita")
    with filled.database.transaction() as connection:
        connection.execute(CASES.update().where(CASES.c.id == 1).values(removed=1))
    assert (
        rolf.post("/cases/1", {**fields, "decision": "rejected", "reason": "x", "moved": "1"}).status == 409
    )


def test_cases_are_found_by_their_filters(filled: Context) -> None:
    with filled.database.transaction() as connection:
        rows = [
            {"organisation": 1, "server": 1, "place": b"q", "verdict": "match", "categories": "A1 b",
             "found": 1, "seen": 1},
            {"organisation": 2, "server": 2, "place": b"q", "verdict": "match", "categories": "A2",
             "found": 1, "seen": 1},
        ]  # fmt: skip
        connection.execute(CASES.insert(), rows)
    browser = signed_in(filled, "vera", "viewer")
    for query, numbers in (
        ("", [4, 3, 2, 1]),
        ("organisation=alpha", [3, 1]),
        ("organisation=none", []),
        (f"host={quote('BETA' + EVIL)}", [4, 2]),
        ("category=A1", [3]),
        ("category=A", []),
        ("verdict=review", [2, 1]),
        ("state=second", []),
        ("organisation=alpha&verdict=match&category=b&state=all", [3]),
    ):
        found = re.findall(r'href="/cases/(\d+)"', browser.get(f"/cases?{query}").text)
        assert list(map(int, found)) == numbers, query


def add_cases(context: Context, number: int, **values: Any) -> list[int]:
    """Add cases for review of a server of alpha; their numbers."""
    rows = [
        {"organisation": 1, "server": 1, "place": b"c%d" % each, "verdict": "review", "found": 1, "seen": 1,
         "deadline": 100 - each, **values}
        for each in range(number)
    ]  # fmt: skip
    with context.database.transaction() as connection:
        first = connection.execute(select(func.max(CASES.c.id))).scalar_one()
        connection.execute(CASES.insert(), rows)
        found = connection.execute(select(CASES.c.id).where(CASES.c.id > first).order_by(CASES.c.id))
        return list(found.scalars())


def shown(browser: Browser, query: str) -> list[int]:
    return list(map(int, re.findall(r'href="/cases/(\d+)"', browser.get(f"/cases?{query}").text)))


def test_cases_are_sorted(filled: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_pages, "PAGE", 2)
    added = add_cases(filled, 3)
    browser = signed_in(filled, "vera", "viewer")
    assert shown(browser, "order=oldest") == [1, 2]
    assert shown(browser, "order=deadline&state=waiting") == added[:0:-1]
    assert shown(browser, "order=none") == added[:0:-1]
    page = browser.get("/cases?order=oldest&organisation=alpha").text
    following = re.search(r'href="(/cases\?[^"]*after=[^"]*)" rel="next"', page)
    assert following is not None
    assert shown(browser, unescape(following[1]).partition("?")[2]) == added[1:]


def test_many_cases_are_decided_at_once(filled: Context) -> None:
    added = add_cases(filled, 5)
    rita, vera = signed_in(filled, "rita", "reviewer"), signed_in(filled, "vera", "viewer")
    page = "/cases?state=waiting"
    fields: dict[str, Any] = {"state": "waiting", "decision": "rejected", "reason": "seen"}
    chosen = [f"{number}-0" for number in added[:2]]
    assert vera.send(page, "/cases", **fields, case=chosen).status == 404
    for wrong in (
        {},
        {"case": ["x", "1"]},
        {"case": chosen, "reason": ""},
        {"case": chosen, "decision": "x"},
    ):
        assert rita.send(page, "/cases", **{**fields, **wrong}).status == 400
    assert rita.send(page, "/cases", **fields, case=chosen).location == page
    assert shown(rita, "state=waiting") == [*added[:1:-1], 2, 1]
    # Somebody else has changed one of them meanwhile.
    assert rita.send(page, "/cases", **fields, case=[chosen[0], f"{added[2]}-0"]).status == 400
    assert shown(rita, "state=waiting") == [*added[:2:-1], 2, 1]
    # All of a filter, up to the newest that was shown.
    later = add_cases(filled, 1, place=b"later")
    everything = {**fields, "organisation": "alpha", "all": "yes", "until": str(added[-1])}
    assert rita.send(page, "/cases", **everything).status == 303
    assert shown(rita, "state=waiting") == [*later, 2]
    with filled.database.reading() as connection:
        lines = connection.execute(select(AUDIT.c.organisation, AUDIT.c.line).order_by(AUDIT.c.number)).all()
    many = [json.loads(row.line) for row in lines if '"case.decided_many"' in row.line]
    assert [line["cases"] for line in many] == [added[:2], added[2:3], [1, *added[3:]]]
    assert {line["organisation"] for line in many} == {1}


def test_all_of_a_filter_are_decided_in_steps_by_two_people(
    filled: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_cases, "BULK_MAX", 2)
    added = add_cases(filled, 5)
    with filled.database.transaction() as connection:
        set_switch(filled.database, connection, "cli me", "decisions_need_two", True)
    rita = signed_in(filled, "rita", "reviewer")
    rolf = signed_in(filled, "rolf", "reviewer", app=rita.app)
    page = "/cases?state=waiting&organisation=alpha&order=oldest"
    until = rita.get(page).hidden("until")
    assert until == str(added[-1])
    fields = {"state": "waiting", "organisation": "alpha", "order": "oldest", "reason": "seen", "all": "yes"}
    # Those on which she has decided wait for somebody else, and are not in the way of the others.
    answers = [rita.send(page, "/cases", **fields, decision="rejected", until=until).status for _ in range(4)]
    assert answers == [303, 303, 303, 400]
    assert shown(rita, "state=rejected") == []
    for _ in range(3):
        assert rolf.send(page, "/cases", **fields, decision="rejected", until=until).status == 303
    assert shown(rita, "state=rejected") == [*added[::-1], 1]


def test_a_queue_is_filtered(filled: Context) -> None:
    add_cases(filled, 2, organisation=2, server=2, categories="B1")
    rita = signed_in(filled, "rita", "reviewer")
    page = rita.get("/review?organisation=beta&category=B1")
    assert "Case 3" in page.text
    assert 'href="/review?category=B1&amp;organisation=beta&amp;after=3"' in page.text
    fields = {name: page.hidden(name) for name in ("csrf", "moved", "queue", "organisation", "category")}
    following = rita.post("/cases/3", {**fields, "decision": "confirmed", "reason": "seen"}).location
    assert "Case 4" in rita.get(following).text


def test_cases_beyond_the_quota_are_apart(filled: Context) -> None:
    added = add_cases(filled, 3, excess=1)
    rita = signed_in(filled, "rita", "reviewer")
    for state in ("open", "overdue", "waiting"):
        assert not set(shown(rita, f"state={state}")) & set(added)
    assert "/cases?state=excess" in rita.get("/cases").text
    assert shown(rita, "state=excess") == added[::-1]
    fields = {"state": "excess", "decision": "confirmed", "reason": "seen", "all": "yes"}
    assert rita.send("/cases?state=excess", "/cases", **fields, until=str(added[-1])).status == 303
    assert shown(rita, "state=excess") == []
    assert set(added) <= set(shown(rita, "state=open"))


def test_opinions_are_seen_by_role(filled: Context) -> None:
    with filled.database.transaction() as connection:
        rows = [
            {"organisation": number, "entry": f"e{number}" + EVIL, "opinion": "wrong", "reason": EVIL,
             "first": number, "at": number}
            for number in (1, 2)
        ]  # fmt: skip
        connection.execute(FEEDBACK.insert(), rows)
    vera = signed_in(filled, "vera", "viewer")
    member = signed_in(filled, "mia", "member", "alpha", app=vera.app)
    for browser, query, seen in (
        (vera, "", ["beta", "alpha"]),
        (vera, "organisation=beta", ["beta"]),
        (vera, "after=2-2-e", ["alpha"]),
        (vera, "opinion=right", []),
        (member, "", ["alpha"]),
        (member, "organisation=beta", ["alpha"]),
    ):
        page = browser.get(f"/opinions?{query}")
        check_page(page)
        assert re.findall(r'<td data-label="Organisation"><a href="/organisations/(\w+)"', page.text) == seen


def test_the_audit_log_is_found_by_its_filters(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    browser.send("/organisations", "/organisations", name="gamma")
    with filled.database.transaction() as connection:
        delete_organisation(connection, "cli me", "beta")

    def lines(query: str) -> list[str]:
        return re.findall(r'<td data-label="Action"><bdi>([^<]*)', browser.get(f"/audit?{query}").text)

    assert lines("actor=user+olga") == ["organisation.add"]
    assert lines("organisation=gamma&actor=user+olga") == ["organisation.add"]
    assert lines("organisation=gamma&actor=nobody") == lines("organisation=none") == []
    # By its number, since its name is gone.
    assert lines("organisation=2")[0] == "organisation.delete"
    assert "report.push" in lines("organisation=alpha")


def test_defaults_of_servers(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    fields = {"silent_after": "36h", "deadline": "1d", "review_deadline": "", "deadline-A1": "2h"}
    for wrong in ({"silent_after": "-1"}, {"deadline": "soon"}, {"deadline-A1": "4000d"}):
        answer = browser.send("/settings", "/settings/servers", **(fields | wrong))
        assert answer.status == 400
        assert next(iter(wrong.values())) in answer.text
    assert browser.send("/settings", "/settings/servers", **fields).location == "/settings"
    with filled.database.reading() as connection:
        found = server_defaults(connection)
    assert (found.silent_after, found.deadline, found.deadlines) == (36 * 3600, 86_400, {"A1": 7200})
    assert 'value="36h"' in browser.get("/settings").text
    browser.send("/settings", "/settings/servers", **{"silent_after": "", "deadline-A1": ""})
    with filled.database.reading() as connection:
        assert server_defaults(connection) == ServerDefaults()
    actions = [line["action"] for line, _ in read_audit(filled.database)]
    assert actions.count("server.defaults") == 2


def test_a_second_person_has_to_agree(filled: Context) -> None:
    with filled.database.transaction() as connection:
        set_switch(filled.database, connection, "cli me", "decisions_need_two", True)
    rita = signed_in(filled, "rita", "reviewer")
    rolf = signed_in(filled, "rolf", "operator", app=rita.app)

    def state() -> tuple[str, str, str]:
        with filled.database.reading() as connection:
            row = connection.execute(CASES.select().where(CASES.c.id == 1)).one()
        return row.decision, row.decided_by, row.seconded_by

    assert decide(rita).status == 303
    assert decide(rita).status == 400, "not the same person"
    # The first person can change the decision, and is not asked to be the second one.
    own, other = rita.get("/cases/1").text, rolf.get("/cases/1").text
    assert re.findall(r'name="decision" value="(\w+)"', own) == ["rejected"]
    assert re.findall(r'name="decision" value="(\w+)"', other) == ["confirmed", "rejected"]
    with filled.database.reading() as connection:
        queues = [
            review_queue(connection, user_named(connection, name), 0, two=True) for name in ("rita", "rolf")
        ]
        found = find_cases(connection, CaseFilter(state="second"), 0, two=True)
    assert queues == [(1, 0, 1), (1, 1, 0)]
    assert [row.id for row in found] == [1]
    assert "Case 2" in rita.get("/review").text
    assert "Case 1" in rolf.get("/review").text
    assert decide(rolf, decision="rejected").status == 303
    assert state() == ("rejected", "rolf", "")
    assert decide(rolf, decision="rejected").status == 400
    assert decide(rita, decision="rejected").status == 303
    assert state() == ("rejected", "rolf", "rita")
    actions = [line["action"] for line, _ in read_audit(filled.database)]
    assert actions.count("case.decided") == 2
    assert actions.count("case.seconded") == 1


def test_operators_send_notices(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    fields = {
        "organisation": "alpha",
        "url": "https://example.net/a",
        "category": "A1",
        "hours": "48",
        "reference": "R1",
    }
    for wrong in (
        {"organisation": "none"},
        {"organisation": "<b>"},
        {"url": ""},
        {"url": "javascript:alert(1)"},
        {"hours": "-1"},
        {"hours": "99999"},
        {"kind": "inform"},
        {"category": ""},
        {"path": "\x1b"},
    ):
        answer = browser.send("/notices", "/notices", **(fields | wrong))
        assert answer.status == 400, wrong
        check_page(answer)
    assert browser.send("/notices", "/notices", **fields).location == "/notices"
    assert browser.send("/notices", "/notices", **fields).status == 400, "sent twice"
    with filled.database.reading() as connection:
        row = connection.execute(NOTICES.select().where(NOTICES.c.reference == "R1")).one()
    assert (row.organisation, row.sent_by, row.deadline - row.sent) == (1, "user olga", 2 * 86_400)
    assert browser.send("/notices", "/notices/withdraw", number=str(row.id)).location == "/notices"
    assert browser.send("/notices", "/notices/withdraw", number="99").status == 400
    actions = [line["action"] for line, _ in read_audit(filled.database)]
    assert actions[-2:] == ["notice.send", "notice.withdraw"]


def test_overdue_orders_are_the_first_notices_over_pages(
    filled: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashscan.hub.web.pages.cases.PAGE", 2)
    browser, day = signed_in(filled, "olga", "operator"), 86_400
    with filled.database.transaction() as connection:
        for number, kind in enumerate(("order", "notice", "notice", "order", "notice")):
            wanted = NewNotice(path=f"/srv/{number}", category="A1", kind=kind, reference=f"ref-{number}")
            send_notice(connection, "cli me", "alpha", wanted, int(time.time()) - 2 * day)
    path, shown = "/notices", []
    while path:
        page = browser.get(path).text
        shown += dict.fromkeys(re.findall(r"ref-\d", page))
        found = re.search(r'href="(/notices\?[^"]*after=[^"]*)" rel="next"', page)
        path = found[1].replace("&amp;", "&") if found else ""
    assert shown == ["ref-3", "ref-0", "ref-4", "ref-2", "ref-1"]


def test_operators_choose_how_notices_reach_a_new_organisation(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    fields = {"name": "gamma", "contacts": "abuse@gamma.example", "via": "mail"}
    failed = browser.send("/organisations", "/organisations", **(fields | {"contacts": ""}))
    assert failed.status == 400
    assert '<option value="mail" selected>' in failed.text
    assert browser.send("/organisations", "/organisations", **fields).status == 303
    assert browser.send("/organisations", "/organisations", name="delta").status == 303
    with filled.database.reading() as connection:
        found = [organisation_named(connection, name).via for name in ("gamma", "delta")]
    assert found == ["mail", "sync"]


def test_a_page_says_that_a_notice_was_not_mailed(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    with filled.database.transaction() as connection:
        add_organisation(connection, "cli me", "mailed", contacts=("abuse@mailed.example",), via="mail")
    fields = {"organisation": "mailed", "url": "https://example.net/m", "category": "A1", "reference": "M1"}
    assert browser.send("/notices", "/notices", **{**fields, "category": "other"}).status == 400
    assert browser.send("/notices", "/notices", **fields).location == "/notices"
    with filled.database.reading() as connection:
        assert [each.state for each in outbox(connection)] == ["waiting"]
    for values, shown in (
        ({}, "not mailed yet"),
        ({"undelivered": 1, "trouble": "<b>550\x1b"}, "not delivered"),
        ({"undelivered": None, "trouble": "", "mailed": 1}, "mailed"),
    ):
        if values:
            with filled.database.transaction() as connection:
                connection.execute(NOTICES.update().where(NOTICES.c.reference == "M1").values(values))
        page = browser.get("/notices?organisation=mailed")
        check_page(page)
        assert shown in page.text


def test_settings(filled: Context) -> None:
    browser = signed_in(filled, "olga", "operator")
    assert "checked" in browser.get("/settings").text
    assert browser.send("/settings", "/settings", decisions_need_two="on").location == "/settings"
    changes = [line for line, _ in read_audit(filled.database) if line["action"] == "settings.change"]
    assert [(each["name"], each["value"]) for each in changes] == [
        ("operators_need_second_factor", False),
        ("decisions_need_two", True),
    ]


def test_pages_of_a_list_follow_each_other(context: Context) -> None:
    """Each case is on one page, whatever is found meanwhile; overdue ones in the order of their deadlines."""
    with context.database.transaction() as connection:
        add_organisation(connection, "cli me", "alpha")
        rows = [
            {
                "organisation": 1,
                "place": b"%d" % n,
                "verdict": "match",
                "found": 1,
                "seen": 1,
                "deadline": (n * 37 % 250) // 3 if n % 5 else None,
            }
            for n in range(250)
        ]
        connection.execute(CASES.insert(), rows)
    browser = signed_in(context, "vera", "viewer")

    def listed(path: str) -> list[int]:
        seen: list[int] = []
        while path:
            text = browser.get(path).text
            seen += map(int, re.findall(r'href="/cases/(\d+)"', text))
            path = (re.findall(r'href="([^"]*)" rel="next"', text) or [""])[0].replace("&amp;", "&")
        return seen

    everything = list(range(250, 0, -1))
    assert listed("/cases?state=all&verdict=match") == listed("/cases?organisation=alpha") == everything
    due = sorted((row["deadline"], n) for n, row in enumerate(rows, 1) if row["deadline"] is not None)
    assert listed("/cases?state=overdue") == [n for _, n in due]
    with context.database.reading() as connection:
        assert len(find_cases(connection, CaseFilter(category="none"), 0, two=False)) == 0


def test_the_overview_sums_the_months(filled: Context) -> None:
    with filled.database.transaction() as connection:
        before = month_of(month_of(int(time.time())) - 1)
        for category, counts in (("", (40, 5)), ("A1", (0, 4)), ("B2", (0, 3))):
            row = {"organisation": 1, "month": before, "category": category}
            connection.execute(CHECK_MONTHS.insert().values(**row, asked=counts[0], detected=counts[1]))
    for name, role, organisation, checked, categories in (
        ("vera", "viewer", "", ["40", "3\u202f333"], ["A1", "B2"]),
        ("mary", "member", "alpha", ["40", "1\u202f111"], ["A1", "B2"]),
        ("bill", "member", "beta", ["0", "2\u202f222"], []),
    ):
        text = signed_in(filled, name, role, organisation).get("/").text  # type: ignore[arg-type]
        table = text.partition('id="checked"')[2].partition("</table>")[0]
        assert re.findall(r'<td class="number">([^<]*)', table)[-2:] == checked
        assert re.findall(r'<th scope="row"><bdi>([AB]\d)<', text) == categories


def test_a_sign_in_by_a_hostile_name(filled: Context) -> None:
    answer = Browser(filled).sign_in(EVIL)
    assert answer.status == 403
    check_page(answer)
    with filled.database.reading() as connection:
        assert connection.execute(AUDIT.select().where(AUDIT.c.action == "user.sign-in")).first() is None


def test_the_database_is_away(filled: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = signed_in(filled, "vera", "viewer")

    def away(self: Database) -> Any:
        raise DatabaseAwayError("secret place")

    monkeypatch.setattr(Database, "reading", away)
    answer = browser.get("/")
    assert answer.status == 503
    assert answer.header("retry-after") == "5"
    assert "secret place" not in answer.text
