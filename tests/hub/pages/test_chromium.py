"""The pages in Chromium: sign-in, what keeps people from using them, and their layout at all sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest

from benchmarks.hub.pages import fill, signed_in
from hashscan.hub.accounts.sessions import set_switch
from hashscan.hub.storage.database import open_database
from hashscan.hub.storage.tables import CASES
from hashscan.hub.web.pages import administration, routes, servers
from hashscan.hub.web.pages import cases as cases_pages
from hashscan.hub.web.pages import organisations as organisation_pages
from hashscan.state_dir import StateDir
from tests.browser import LAYOUT, barriers, chromium
from tests.hub.pages.browsing import PASSWORD, make_context, serving, user

SCHEMES = ("light", "dark")
WIDTHS = (320, 768, 1440, 2560)
LISTS = ("/", "/review", "/cases", "/servers", "/organisations", "/notices", "/audit")
"""Pages that differ by the number of organisations."""
OTHERS = ("/lists", "/users", "/settings", "/account", "/account/second-factor", "/organisations/none",
          "/organisations/hoster-00001", "/servers/2", "/servers?silent=yes", "/cases/1",
          "/cases?state=overdue", "/cases?state=all&verdict=match&organisation=hoster-00001")  # fmt: skip
OF_ROLES = {
    "member": ("/", "/cases/1", "/organisations", "/organisations/hoster-00001", "/notices"),
    "reviewer": ("/", "/review"),
    "viewer": ("/cases/2", "/organisations", "/notices"),
}
"""Pages that differ by the role of the user, besides those of operators."""
SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")
"""A folder for pictures of the pages, for people to look at; none by default."""


class Look:
    """Looks at what a browser shows, at all widths and in both colour schemes."""

    def __init__(self, page: Any, keep: Path | None) -> None:
        self.page = page
        self.keep = keep

    def at(self, name: str) -> None:
        """Nothing is wrong with the page, with everything unfolded."""
        self.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        found = []
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size({"width": 1440, "height": 900})
            found += [f"{scheme}: {each}" for each in barriers(self.page)]
            for width in WIDTHS if scheme == "light" else ():  # colours are all that differs
                self.page.set_viewport_size({"width": width, "height": 900})
                found += [f"{width}: {each}" for each in self.page.evaluate(LAYOUT)]
            if self.keep is not None:
                self._picture(name, scheme)
        assert found == [], name

    def _picture(self, name: str, scheme: str) -> None:
        for width in (320, 1440, 2560):
            self.page.set_viewport_size({"width": width, "height": 1000})
            file = name.strip("/").replace("/", "-").replace("?", "-") or "overview"
            self.page.screenshot(path=self.keep / f"{file}-{width}-{scheme}.png")
            if width == 1440:
                self.page.screenshot(full_page=True, path=self.keep / f"{file}-all-{scheme}.png")


@contextmanager
def opened(browser: Any, address: str, token: str = "") -> Iterator[Any]:
    """A page of a user who is signed in; nothing is said on the console, nothing fetched from elsewhere."""
    context = browser.new_context()
    if token:
        context.add_cookies([{"name": "hashscan-session", "value": token, "url": address}])
    said: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: None if request.url.startswith(address) else said.append(request.url))
    try:
        yield page
        # Chromium says that a page had a status of an error.
        assert [each for each in said if "status of 40" not in each] == []
    finally:
        context.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("organisations", "cases"), [(0, 0), (3, 50_000), (5000, 50_000)])
def test_pages_in_chromium(
    tmp_path: Path, sqlite_file: Path, organisations: int, cases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateDir(tmp_path / "hub")
    state.make()
    state.hub.write_bytes(sqlite_file.read_bytes())
    state.hub.chmod(0o600)
    for module in (cases_pages, servers, organisation_pages, administration):
        monkeypatch.setattr(module, "PAGE", 6)  # of a hundred rows, a checker takes a second each time
    for name in ("_OVERDUE", "_SILENT"):
        monkeypatch.setattr(routes, name, 6)
    secret = pyotp.random_base32()
    keep = Path(SCREENSHOTS, str(organisations)) if SCREENSHOTS else None
    with chromium() as browser, open_database(state) as database:
        user(database, "olga", "operator", totp=secret)
        with database.transaction() as connection:
            fill(connection, organisations, cases)
            set_switch(database, connection, "cli me", "decisions_need_two", True)
            set_switch(database, connection, "cli me", "operators_need_second_factor", False)
            operator = signed_in(connection, "olaf", "operator")
            decided = {"decision": "confirmed", "reason": "seen " * 30, "decided": int(time.time())}
            connection.execute(CASES.update().where(CASES.c.id == 2).values(**decided, decided_by="olga"))
            tokens = {
                role: signed_in(connection, role, role, "hoster-00001" if role == "member" else "")
                for role in (OF_ROLES if organisations == 5000 else ())
            }
        with serving(make_context(database, state)) as address:
            with opened(browser, address, operator) as page:
                for path in LISTS + (OTHERS if organisations == 3 else ()):
                    page.goto(address + path)
                    Look(page, keep).at(path)
            for role, token in tokens.items():
                with opened(browser, address, token) as page:
                    for path in OF_ROLES[role]:
                        assert page.goto(address + path).status == 200
                        Look(page, keep).at(f"{path}-{role}")
            if organisations == 3:
                with opened(browser, address, operator) as page:
                    use_forms(page, address, Look(page, keep))
                with opened(browser, address) as page:
                    sign_in_and_out(page, address, secret, Look(page, keep))


def use_forms(page: Any, address: str, look: Look) -> None:
    """Forms with errors, a decision as the second person, and a new key."""
    page.goto(f"{address}/organisations")
    page.click("text=Add an organisation")
    page.fill("#f-name", "Not a name " + "x" * 80)
    page.click("text=Add >> nth=-1")
    assert page.get_by_role("alert").count() == 1
    look.at("organisations-failed")
    page.goto(f"{address}/review")
    page.check("#d-confirmed")
    page.fill("#f-reason", "seen")
    page.click("main form.stack button")
    assert page.url == f"{address}/review"
    page.goto(f"{address}/cases?state=waiting&order=oldest")
    look.at("cases-waiting")
    numbers = page.locator("input[name=case]").evaluate_all("all => all.map(each => each.value)")
    page.check(f"input[value='{numbers[0]}']")
    page.check("#d-rejected")
    page.fill("#f-reason", "seen")
    page.click("main form.stack button")
    assert page.get_by_role("alert").count() == 0
    page.goto(f"{address}/organisations/hoster-00001")
    page.fill("#f-name", "new-key")
    page.click("text=Add the key")
    assert page.text_content("code.secret").startswith("hashscan_")
    look.at("organisation-key")
    # By the keyboard alone: the skip link is first, and each control shows that it has the focus.
    page.goto(f"{address}/cases")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(24):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.top')).display") == "none"
    page.emulate_media(media="screen")


def sign_in_and_out(page: Any, address: str, secret: str, look: Look) -> None:
    page.goto(f"{address}/organisations")
    look.at("sign-in")
    for password, code in (("wrong", ""), (PASSWORD, pyotp.TOTP(secret).now())):
        page.fill("#f-name", "olga")
        page.fill("#f-password", password)
        page.fill("#f-code", code)
        page.click("main button")
        if not code:
            look.at("sign-in-failed")
    assert page.url == f"{address}/organisations"
    page.goto(f"{address}/account/password")
    page.fill("#f-old", "wrong")
    page.fill("#f-new", "another password 1")
    page.fill("#f-again", "another password 2")
    page.click("main form button")
    look.at("password-failed")
    page.click("text=Sign out")
    assert page.url == f"{address}/sign-in"
