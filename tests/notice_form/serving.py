"""The form on loopback, in a thread of a test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.form_spool import follow_form
from hashscan.cases.ledger import Ledger
from hashscan.cases.queries import CaseNotice, Queries
from hashscan.notice_form.application import make_application
from hashscan.notice_form.server import make_context
from hashscan.service.doors.http.door import AsgiDoor
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.settings.notice_form import FormLimits, FormSettings
from hashscan.settings.service import TcpAddress
from hashscan.state_dir import StateDir
from tests.service.doors.http.serving import Answered, ask

NOTICE: dict[str, Any] = {
    "urls": ["https://a.example/x.jpg"],
    "subject": "child_sexual_abuse",
    "explanation": "It shows it.",
    "good_faith": True,
}


@dataclass(frozen=True)
class Form:
    """A server of the form."""

    state: StateDir
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, headers: Any = None, **changed: Any) -> Answered:
        """Send `NOTICE` as JSON, with other fields; those that are None are left out."""
        fields = {name: value for name, value in {**NOTICE, **changed}.items() if value is not None}
        return self.post(json.dumps(fields).encode(), "application/json", **(headers or {}))

    def submit(self, *, origin: str | None = None, **changed: Any) -> Answered:
        """Send `NOTICE` as the page does."""
        fields = {**NOTICE, "urls": "\r\n".join(NOTICE["urls"]), "good_faith": "yes", **changed}
        return self.post(
            urlencode(fields, errors="surrogatepass").encode(),
            "application/x-www-form-urlencoded",
            Origin=self.origin if origin is None else origin,
        )

    def post(self, body: bytes, kind: str, **headers: str) -> Answered:
        return ask(self.port, "POST", "/v1/notices", body, Content_Type=kind, **headers)

    def taken(self) -> list[list[CaseNotice]]:
        """Take the spool into the ledger; return the notices of each case."""
        with Ledger(self.state) as ledger:
            follow_form(ledger, self.state)
            queries = Queries(ledger, DeadlineCalculator(CaseSettings()))
            return [queries.notices(case.id) for case in queries.open_cases()]

    @property
    def waiting(self) -> list[str]:
        """The names of the files in the spool."""
        return sorted(path.name for path in self.state.form.iterdir())


@contextmanager
def serving(state: StateDir, limits: Any = None, **settings: Any) -> Iterator[Form]:
    """A server of the form; `limits` and `settings` are those of `FormLimits` and `FormSettings`."""
    chosen = FormSettings(
        state,
        TcpAddress("127.0.0.1", 0),
        limits=FormLimits(**{"per_client": 10_000, **(limits or {})}),
        **settings,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        door = AsgiDoor(chosen.door, make_application(make_context(chosen)))
        asyncio.run_coroutine_threadsafe(door.open(), loop).result(60)
        try:
            assert isinstance(door.address, TcpAddress)
            yield Form(state, door.address.port)
        finally:
            asyncio.run_coroutine_threadsafe(door.close(5), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
