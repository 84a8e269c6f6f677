"""The local pages about cases: who may use them, what they show of strangers' texts, and what forms do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.notice_import import import_notices
from hashscan.cases.notices.notice import Notice, NoticeKind
from hashscan.cases.queries import Queries
from hashscan.cases.reviews import Decision, outcome_of
from hashscan.cases.sync import sync
from hashscan.lists.exceptions import read_contents
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.service import TcpAddress, UnixAddress
from hashscan.state_dir import StateDir
from hashscan.web.cases.access import Access, CasePagesSettings
from hashscan.web.cases.pages import make_application
from hashscan.web.rendering import HEADERS
from tests.cases.world import World, result
from tests.hub.pages.browsing import Browser

HOSTILE = b"/srv/<script>alert(1)</script>\"'><img src=//evil.example/x>\xe2\x80\xae\xff\x1b[2J{{7*7}}.jpg"
TEXT = "<img src=//evil.example/x onerror=alert(1)> https://evil.example/ \u202egpj {{7*7}}"
HEADER = "X-Remote-User"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    """A state with a match (1), and an overdue order (2) of a hostile sender."""
    with World(tmp_path / "state") as world:
        world.now = int(time.time()) - 7200
        world.scan({HOSTILE: result(b"1")})
        state = StateDir(world.state)
        received = datetime.fromtimestamp(world.now, UTC)
        claims: dict[str, Any] = {"kind": NoticeKind.ORDER, "hours": 1.0, "legal_basis": TEXT}
        order = Notice(TEXT, TEXT, "https://evil.example/a.jpg", received=received, **claims)
        with Ledger(state) as ledger:
            sync(ledger, state)
            import_notices(ledger, iter([order]), lambda _: (), world.now)
        yield state


class Pages:
    """The pages of one run, and browsers of people."""

    def __init__(self, state: StateDir, review_by: int = 1, **settings: Any) -> None:
        chosen = {"address": TcpAddress("127.0.0.1", 8482), "user": "ada", **settings}
        self.settings = CasePagesSettings(state, CaseSettings(review_by=review_by), **chosen)
        self.access = Access(self.settings)
        self.app = make_application(self.settings, self.access)

    def browser(self, **values: Any) -> Browser:
        values = {"host": "127.0.0.1:8482", "origin": "http://127.0.0.1:8482", **values}
        context: Any = None
        return Browser(context, app=self.app, **values)

    def entered(self) -> Browser:
        browser = self.browser()
        assert browser.get(f"/?token={self.access.token}").location == "/"
        return browser


@pytest.fixture
def pages(state: StateDir) -> Pages:
    return Pages(state)


def decision_of(state: StateDir, number: int = 1, review_by: int = 1) -> Decision | None:
    with Ledger(state) as ledger:
        return outcome_of(ledger, number, review_by).decision


class Strict(HTMLParser):
    """Fails at whatever fetches or runs something, and at links to elsewhere."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "iframe", "object", "embed", "base", "svg", "video", "audio"}
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"href", "src", "action"}:
                assert re.fullmatch(r"[/#][\w/.?=-]*", value or ""), value


def test_nothing_is_shown_without_the_token_and_it_is_in_no_page(pages: Pages) -> None:
    browser = pages.browser()
    for path in ("/", "/queue", "/cases/1", "/?token=", "/?token=wrong"):
        refused = browser.get(path)
        assert (refused.status, refused.cookies) == (403, [])
        assert "evil" not in refused.text
    entered = browser.get(f"/?token={pages.access.token}")
    (cookie,) = entered.cookies
    assert entered.status == 303
    assert "HttpOnly" in cookie
    assert pages.access.token not in cookie
    assert pages.access.token not in browser.get("/").text
    # The cookie of one run opens no other.
    other = Pages(pages.settings.state).browser(cookies=browser.cookies)
    assert other.get("/").status == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8482", "", "8482"])
def test_another_name_leads_nowhere(pages: Pages, host: str) -> None:
    browser = pages.entered()
    browser.host = host
    for path in ("/", f"/?token={pages.access.token}"):
        assert browser.get(path).status == 421


def test_forms_of_other_sites_change_nothing(pages: Pages, state: StateDir) -> None:
    browser = pages.entered()
    page = browser.get("/cases/1")
    form = {"csrf": page.hidden("csrf"), "seen": page.hidden("seen"), "decision": "wrong", "reason": "x"}
    for path in ("/cases/1/review", "/cases/1/assign", "/cases/2/acknowledge"):
        for origin in ("http://evil.example", "null", "http://127.0.0.1:8483", "https://127.0.0.1:8482"):
            assert browser.post(path, form, origin=origin).status == 403
        assert browser.post(path, {**form, "csrf": ""}).status == 403
        assert browser.post(path, {**form, "csrf": Pages(state).access.csrf("ada")}).status == 403
        assert browser.get(path).status == 405
    assert pages.browser().post("/cases/1/review", form).status == 403
    assert decision_of(state) is None


def test_strangers_texts_are_text(pages: Pages) -> None:
    browser = pages.entered()
    for path in ("/", "/queue", "/cases/1", "/cases/2", "/nowhere", "/cases/9", "/cases/x"):
        answer = browser.get(path)
        Strict().feed(answer.text)
        for raw in ("\u202e", "\x1b", "<img", "<script", ">49<"):
            assert raw not in answer.text, path
        for name, value in HEADERS.items():
            assert answer.header(name.lower()) == value
    assert "evil.example" in browser.get("/cases/2").text


def test_the_overdue_order_is_first(pages: Pages) -> None:
    text = pages.entered().get("/").text
    assert re.findall(r'href="/cases/(\d+)"', text) == ["2", "1"]
    assert "overdue order" in text


def test_what_the_forms_do(pages: Pages, state: StateDir) -> None:
    browser = pages.entered()

    def send(number: int, form: str, **fields: str) -> int:
        page = browser.get(f"/cases/{number}")
        hidden = {name: page.hidden(name) for name in ("csrf", "seen")}
        return browser.post(f"/cases/{number}/{form}", {**hidden, **fields}).status

    assert send(2, "assign", to="Bob", note="call\r\nthem") == 303
    assert send(2, "assign", note="called") == 303
    assert send(2, "acknowledge", recipient="by mail") == 303
    assert send(1, "review", decision="wrong", reason="an\nadvertisement") == 303
    assert [content.by for content in read_contents(state)] == ["ada"]
    assert "is excepted until" in browser.get("/cases/1").text
    assert send(1, "review", decision="confirmed", reason="it is not") == 303
    assert read_contents(state) == ()
    assert decision_of(state) is Decision.CONFIRMED
    for number, form, fields in (
        (1, "review", {"decision": "maybe", "reason": "x"}),
        (1, "review", {"decision": "wrong", "reason": ""}),
        (1, "review", {"decision": "wrong", "reason": "\u202ex"}),
        (1, "assign", {}),
        (1, "assign", {"to": "x" * 101}),
    ):
        assert send(number, form, **fields) == 400
    assert send(1, "review", decision="wrong", reason="x", seen="1") == 409
    with Ledger(state) as ledger:
        case = Queries(ledger, DeadlineCalculator(CaseSettings())).case(2)
        assert case is not None
        assert (case.assignee, case.acknowledge) == ("Bob", None)
        assert decision_of(state) is Decision.CONFIRMED


def test_a_proxy_names_two_people(state: StateDir) -> None:
    url = "https://cases.example.net"
    pages = Pages(
        state, 2, public_url=url, trusted_proxies=(ip_network("10.1.1.1/32"),), trust_user_header=HEADER
    )
    reached: dict[str, Any] = {"host": "cases.example.net", "origin": url}
    for peer, headers in (
        ("127.0.0.1", {HEADER: "ada"}),
        ("10.1.1.2", {HEADER: "ada"}),
        ("10.1.1.1", {}),
        ("10.1.1.1", {HEADER: " "}),
        ("10.1.1.1", {HEADER: "a" * 101}),
    ):
        browser = pages.browser(peer=peer, **reached)
        assert browser.get("/", **headers).status == 403
        assert browser.get(f"/?token={pages.access.token}", **headers).status == 403
    browser = pages.browser(peer="10.1.1.1", **reached)
    for who, decided in (("ada", None), ("Ada", None), ("bob", Decision.WRONG)):
        page = browser.get("/cases/1", **{HEADER: who})
        form = {"csrf": page.hidden("csrf"), "seen": page.hidden("seen"), "decision": "wrong", "reason": "x"}
        # The form of one person is none of another.
        assert browser.post("/cases/1/review", form, **{HEADER: "eve"}).status == 403
        assert browser.post("/cases/1/review", form, **{HEADER: who}).status == 303
        assert decision_of(state, review_by=2) is decided
    at_socket = Pages(state, address=UnixAddress("/run/x"), public_url=url, trust_user_header=HEADER)
    assert at_socket.browser(peer=None, **reached).get("/", **{HEADER: "ada"}).status == 200
