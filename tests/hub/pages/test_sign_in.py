"""Sign-in, sessions, lockout, second factor, and sign-in by a proxy."""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import Any

import pyotp
import pytest

from hashscan.errors import UsageError
from hashscan.hub.accounts import sign_in as sign_in_module
from hashscan.hub.accounts.audit import read_audit
from hashscan.hub.accounts.organisations import add_organisation, close_organisation
from hashscan.hub.accounts.sessions import (
    ABSOLUTE_SECONDS,
    IDLE_SECONDS,
    begin_session,
    find_session,
    set_switch,
)
from hashscan.hub.accounts.sign_in import limited_address, sign_in
from hashscan.hub.accounts.users import add_user, disable_user, hash_password, reset_user
from hashscan.hub.storage.database import Database
from hashscan.hub.storage.tables import SESSIONS, USERS
from hashscan.hub.web.pages.visits import local_path
from hashscan.hub.web.requests import Context
from hashscan.settings.service import UnixAddress
from hashscan.state_dir import StateDir
from tests.hub.pages.browsing import PASSWORD, Browser, make_context, signed_in, user

NOW = 1_800_000_000


def actions(database: Database) -> list[str]:
    return [line["action"] for line, _ in read_audit(database)]


def attempt(
    database: Database, name: str = "vera", password: str = PASSWORD, code: str = "", now: int = NOW
) -> bool:
    return sign_in(database, name, password, code, "", now) is not None


def test_a_user_signs_in_and_out(context: Context) -> None:
    user(context.database, "vera")
    browser = Browser(context)
    assert browser.get("/").location == "/sign-in"
    answer = browser.sign_in(" Vera ")
    assert (answer.status, answer.location) == (303, "/")
    assert "Overview" in browser.get("/").text
    token = browser.cookies["hashscan-session"]
    assert browser.send("/", "/sign-out").location == "/sign-in"
    assert "hashscan-session" not in browser.cookies
    browser.cookies["hashscan-session"] = token
    assert browser.get("/").location == "/sign-in"
    assert actions(context.database) == ["user.add", "user.sign-in", "user.sign-out"]


def test_failures_look_alike(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, password, code, a disabled and a locked user: the same answer, after the same work."""
    verified: list[str] = []
    right = sign_in_module._is_password
    monkeypatch.setattr(
        sign_in_module, "_is_password", lambda hashed, given: verified.append(hashed) or right(hashed, given)
    )
    user(context.database, "vera", totp=pyotp.random_base32())
    user(context.database, "gone")
    user(context.database, "shut")
    with context.database.transaction() as connection:
        disable_user(connection, "cli me", "gone")
        connection.execute(USERS.update().where(USERS.c.name == "shut").values(locked=int(time.time()) + 99))
        add_user(connection, "cli me", "proxied", "viewer", by_proxy=True)
    texts = set()
    for name, password in (
        ("nobody", PASSWORD), ("vera", "wrong"), ("vera", PASSWORD), ("gone", PASSWORD), ("shut", PASSWORD),
        ("proxied", ""), ("proxied", PASSWORD), ("\0'\"<\ud800", PASSWORD),
    ):  # fmt: skip
        browser = Browser(context)
        page = browser.get("/sign-in")
        fields = {"csrf": page.hidden("csrf"), "name": name.encode("utf-8", "replace"), "password": password}
        answer = browser.post("/sign-in", fields)
        assert answer.status == 403
        assert "hashscan-session" not in browser.cookies
        texts.add(answer.text.partition('role="alert"')[2].partition("</div>")[0])
    assert len(texts) == 1
    assert len(verified) == 8


def test_a_name_is_locked_for_longer_and_longer_but_not_for_ever(database: Database) -> None:
    user(database, "vera")
    now, locks = NOW, []
    for _ in range(20):
        assert not attempt(database, password="wrong", now=now)
        with database.reading() as connection:
            locked = connection.execute(USERS.select()).one().locked
        if locked is not None:
            locks.append(locked - now)
            assert not attempt(database, now=now), "locked for the right password, too"
            now = locked
    assert locks[:6] == [30, 60, 120, 240, 480, 900]
    assert max(locks) == 900
    assert attempt(database, now=now)
    assert not attempt(database, password="wrong", now=now)
    assert attempt(database, now=now), "one failure after a good sign-in locks nothing"


def test_nobody_locks_a_user_out_of_a_browser_that_he_has_used(context: Context) -> None:
    user(context.database, "vera")
    own = Browser(context)
    own.sign_in("vera")
    own.send("/", "/sign-out")
    for _ in range(9):
        sign_in(context.database, "vera", "wrong", "", "", int(time.time()))
    assert Browser(context).sign_in("vera").status == 403
    assert own.sign_in("vera").status == 303
    forged = own.cookies["hashscan-browser"][:-1] + "x"
    stranger = Browser(context, cookies={"hashscan-browser": forged})
    for _ in range(9):
        sign_in(context.database, "vera", "wrong", "", "", int(time.time()))
    assert stranger.sign_in("vera").status == 403


def test_attempts_are_limited_by_address(context: Context) -> None:
    user(context.database, "vera")
    browser = Browser(context)
    statuses = [browser.sign_in(f"n{number}").status for number in range(11)]
    assert statuses == [403] * 10 + [429]
    assert Browser(context, peer="192.0.2.9", app=browser.app).sign_in("vera").status == 303
    # Nobody but a trusted proxy names another address.
    page = browser.get("/sign-in").hidden("csrf")
    fields = {"csrf": page, "name": "vera", "password": PASSWORD}
    answer = browser.post("/sign-in", fields, **{"x-forwarded-for": "192.0.2.1"})
    assert answer.status == 429
    assert int(answer.header("retry-after")) > 0


def test_attempts_behind_a_proxy_count_for_the_clients_address(
    database: Database, hub_state: StateDir
) -> None:
    proxies = (ip_network("127.0.0.1/32"),)
    browser = Browser(make_context(database, hub_state, trusted_proxies=proxies))
    seen = [("198.51.100.1, 203.0.113.5", 403)] * 10 + [("9.9.9.9, 203.0.113.5", 429), ("203.0.113.6", 403)]
    for address, status in seen:
        fields = {"csrf": browser.get("/sign-in").hidden("csrf"), "name": "x", "password": "y"}
        assert browser.post("/sign-in", fields, **{"x-forwarded-for": address}).status == status


def test_an_ipv6_network_is_limited_as_one_address() -> None:
    assert (
        limited_address("2001:db8::1") == limited_address("2001:db8::2:1") != limited_address("2001:db9::1")
    )
    assert limited_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert limited_address("anything") == "anything"


def test_a_code_counts_once(database: Database) -> None:
    secret = pyotp.random_base32()
    user(database, "vera", totp=secret)
    code = pyotp.TOTP(secret).at(NOW)
    assert not attempt(database)
    assert not attempt(database, code="000000" if code != "000000" else "000001")
    assert attempt(database, code=f"{code[:3]} {code[3:]}")
    assert not attempt(database, code=code), "used"
    assert not attempt(database, code=pyotp.TOTP(secret).at(NOW - 30)), "older than the used one"
    assert attempt(database, code=pyotp.TOTP(secret).at(NOW + 30), now=NOW + 30)
    assert not attempt(database, code=pyotp.TOTP(secret).at(NOW - 120), now=NOW + 60)


def test_a_one_time_password_must_be_changed(context: Context) -> None:
    with context.database.transaction() as connection:
        once = add_user(connection, "cli me", "vera", "viewer")
    browser = Browser(context)
    assert browser.sign_in("vera", once).status == 303
    assert browser.get("/cases").location == "/account/password"
    other = Browser(context, app=browser.app)
    assert other.sign_in("vera", once).status == 303
    page = "/account/password"
    for old, new, again in (
        ("wrong", "a new long password", "a new long password"), (once, "short", "short"), (once, once, once),
        (once, "a new long password", "another long password"), (once, "vera vera vera", "vera vera vera"),
    ):  # fmt: skip
        assert browser.send(page, page, old=old, new=new, again=again).status == 400
    answer = browser.send(page, page, old=once, new="a new long password", again="a new long password")
    assert answer.location == "/account"
    assert browser.get("/cases").status == 200
    assert other.get("/cases").location.startswith("/sign-in"), "other sessions are ended"
    assert Browser(context).sign_in("vera", once).status == 403


def test_a_one_time_password_expires(database: Database) -> None:
    with database.transaction() as connection:
        once = add_user(connection, "cli me", "vera", "viewer")
    now = int(time.time())
    assert sign_in(database, "vera", once, "", "", now + 8 * 86_400) is None
    assert sign_in(database, "vera", once, "", "", now) is not None


def test_an_operator_sets_up_a_second_factor_first(context: Context) -> None:
    user(context.database, "olga", "operator")
    browser = Browser(context)
    browser.sign_in("olga")
    page = "/account/second-factor"
    assert browser.get("/settings").location == page
    shown = browser.get(page).text
    secret = shown.partition("<dt>Secret</dt><dd><code>")[2].partition("<")[0].replace(" ", "")
    assert f"secret={secret}" in shown
    assert 'class="note doubt"' in shown
    assert browser.send(page, page, code="12345").status == 400
    assert browser.send(page, page, code=pyotp.TOTP(secret).now()).location == "/account"
    assert browser.get("/settings").status == 200
    assert browser.send("/", page, code=pyotp.TOTP(secret).now()).status == 400, "it can't be replaced"
    assert Browser(context).sign_in("olga").status == 403, "the password alone is not enough"
    assert actions(context.database).count("user.second-factor") == 1


def test_a_setting_lets_operators_go_without(context: Context) -> None:
    user(context.database, "olga", "operator")
    with context.database.transaction() as connection:
        set_switch(context.database, connection, "cli me", "operators_need_second_factor", False)
    browser = Browser(context)
    browser.sign_in("olga")
    assert browser.get("/settings").status == 200
    assert 'class="note doubt"' not in browser.get("/account/second-factor").text


def test_sign_in_begins_a_new_session(context: Context) -> None:
    """A session that somebody has planted in the browser is not continued; nor is the user's former one."""
    user(context.database, "vera")
    mallory = signed_in(context, "mallory", "viewer")
    planted = mallory.cookies["hashscan-session"]
    victim = Browser(context, cookies={"hashscan-session": planted})
    victim.sign_in("vera")
    assert victim.cookies["hashscan-session"] != planted
    assert mallory.get("/").location == "/sign-in", "the planted one is ended"
    made_up = Browser(context, cookies={"hashscan-session": "A" * 43})
    made_up.sign_in("vera")
    assert made_up.cookies["hashscan-session"] != "A" * 43


def test_sessions_end_when_idle_and_at_last(database: Database) -> None:
    number = user(database, "vera")
    with database.transaction() as connection:
        token = begin_session(connection, number, NOW)
        assert find_session(connection, token, NOW + IDLE_SECONDS - 1) is not None
        assert find_session(connection, token, NOW + IDLE_SECONDS) is None
        connection.execute(SESSIONS.update().values(seen=NOW + ABSOLUTE_SECONDS))
        assert find_session(connection, token, NOW + ABSOLUTE_SECONDS - 1) is not None
        assert find_session(connection, token, NOW + ABSOLUTE_SECONDS) is None
        assert find_session(connection, token[:-1] + "\ud800", NOW) is None
        begin_session(connection, number, NOW + 2 * ABSOLUTE_SECONDS)
        rows = connection.execute(SESSIONS.select()).all()
    assert len(rows) == 1, "ended ones are deleted"
    assert all(token.encode() not in value for row in rows for value in row if isinstance(value, bytes))


@pytest.mark.parametrize("change", ["disable", "reset", "close"])
def test_who_is_no_longer_admitted_is_out_at_once(context: Context, change: str) -> None:
    database = context.database
    with database.transaction() as connection:
        add_organisation(connection, "cli me", "alpha")
    browser = signed_in(context, "mary", "member", "alpha")
    assert browser.get("/").status == 200
    with database.transaction() as connection:
        if change == "disable":
            disable_user(connection, "cli me", "mary")
        elif change == "reset":
            reset_user(connection, "cli me", "mary")
        else:
            close_organisation(connection, "cli me", "alpha")
    assert browser.get("/").location == "/sign-in"
    assert Browser(context).sign_in("mary").status == 403


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:1",
             "/\t/evil.example", "///evil.example", "evil.example", "", "/a\r\nSet-Cookie: x=y", "/%0d\\x"],
)  # fmt: skip
def test_next_leads_to_no_other_site(path: str) -> None:
    assert local_path(path) == "/"


def test_next_leads_back(context: Context) -> None:
    user(context.database, "vera")
    browser = Browser(context)
    location = browser.get("/cases?state=all&after=1-2").location
    page = browser.get(location)
    fields = {name: page.hidden(name) for name in ("csrf", "next")}
    answer = browser.post("/sign-in", {**fields, "name": "vera", "password": PASSWORD})
    assert answer.location == "/cases?state=all&after=1-2"
    evil = Browser(context)
    assert evil.sign_in("vera", next="//evil.example").location == "/"


def test_cookies_behind_tls(database: Database, hub_state: StateDir) -> None:
    user(database, "vera")
    context = make_context(database, hub_state, public_url="https://hub.example.net")
    browser = Browser(context, host="hub.example.net", origin="https://hub.example.net")
    answer = browser.sign_in("vera")
    line = next(each for each in answer.cookies if "session" in each)
    assert line.startswith("__Host-hashscan-session=")
    parts = {part.strip().lower() for part in line.split(";")}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)
    plain = Browser(context, host="hub.example.net", cookies={})
    plain.cookies["hashscan-session"] = browser.cookies["__Host-hashscan-session"]
    assert plain.get("/").location == "/sign-in", "a name that another host could set is not read"


@pytest.mark.parametrize("peer", [None, "192.0.2.7"])
def test_a_proxy_signs_in(database: Database, hub_state: StateDir, peer: str | None) -> None:
    settings: dict[str, Any] = {"trust_user_header": "X-Remote-User", "public_url": "https://hub.example.net"}
    if peer is None:
        settings["address"] = UnixAddress(hub_state.path / "socket", 0o600)
    else:
        settings["trusted_proxies"] = (ip_network("192.0.2.7/32"),)
    with database.transaction() as connection:
        add_user(connection, "cli me", "olga@example.net", "operator", by_proxy=True)
        add_user(connection, "cli me", "vera", "viewer", by_proxy=True)
    context = make_context(database, hub_state, **settings)
    browser = Browser(context, "hub.example.net", "https://hub.example.net", peer)
    named = {"x-remote-user": "Olga@example.net"}
    assert browser.get("/", **named).status == 200
    token = browser.cookies["__Host-hashscan-session"]
    page = browser.get("/settings", **named)
    assert browser.cookies["__Host-hashscan-session"] == token
    assert (
        browser.post("/settings", {"csrf": page.hidden("csrf"), "decisions_need_two": "on"}, **named).status
        == 303
    )
    assert browser.get("/").status == 403, "the cookie alone is not enough"
    assert browser.get("/settings", **{"x-remote-user": "vera"}).status == 404, (
        "another user, another session"
    )
    assert browser.get("/", **{"x-remote-user": "stranger"}).status == 403
    assert browser.get("/sign-in").status == 404
    assert browser.post("/sign-in", {"name": "vera"}).status == 404


def test_the_header_of_others_is_not_believed(database: Database, hub_state: StateDir) -> None:
    user(database, "olga", "operator")
    settings: dict[str, Any] = {
        "trust_user_header": "X-Remote-User",
        "trusted_proxies": (ip_network("192.0.2.7/32"),),
    }
    context = make_context(database, hub_state, **settings)
    named = {"x-remote-user": "olga", "x-forwarded-for": "192.0.2.7"}
    for peer in ("127.0.0.1", "192.0.2.8", "", None):
        assert Browser(context, peer=peer).get("/", **named).status == 403
    without = make_context(database, hub_state)
    assert Browser(without, peer="192.0.2.7").get("/", **named).location == "/sign-in"


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "vera-the-viewer", "x" * 257])
def test_passwords_that_are_refused(password: str) -> None:
    with pytest.raises(UsageError):
        hash_password(password, "vera")


@pytest.mark.parametrize(
    ("name", "role", "organisation"),
    [("Vera", "viewer", ""), ("", "viewer", ""), ("a b", "viewer", ""), ("vera\n", "viewer", ""),
     ("vera", "member", ""), ("vera", "viewer", "alpha"), ("vera", "member", "missing")],
)  # fmt: skip
def test_users_that_are_refused(database: Database, name: str, role: Any, organisation: str) -> None:
    with database.transaction() as connection:
        add_organisation(connection, "cli me", "alpha")
        with pytest.raises(UsageError):
            add_user(connection, "cli me", name, role, organisation)
