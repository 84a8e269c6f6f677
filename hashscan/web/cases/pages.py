"""Make the application with the pages about cases.

Paths, notices and names are those of strangers: they are shown as text, never as a link. Each request opens
the ledger anew, in a thread, so that other commands can be used meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hashscan.cases.actions import acknowledge, assign
from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.queries import Case, Queries
from hashscan.cases.reviews import (
    Decision,
    Outcome,
    outcome_of,
    outcomes,
    person_key,
    review_case,
    review_queue,
)
from hashscan.cases.sync import sync
from hashscan.cases.tracker import INFORM
from hashscan.errors import HashscanError, UsageError
from hashscan.lists.exceptions import in_force, read_contents
from hashscan.schema import NUMBER_MAX
from hashscan.service.doors.http.bodies import ClientLeftError
from hashscan.service.doors.http.documents import RequestError
from hashscan.service.doors.http.routing import MethodRoute, make_starlette
from hashscan.service.engine.uploads import TooLarge
from hashscan.text import printable
from hashscan.web.cases.access import Access, CasePagesSettings
from hashscan.web.forms import Form, form_of, require_token
from hashscan.web.hosts import require_host
from hashscan.web.rendering import NoPageError, RefusedError, Renderer

PAGE = 200
_BUSY_MS = 5000
_DECISIONS = [
    (Decision.CONFIRMED, "Confirmed: it is what the list or the notice says"),
    (Decision.WRONG, "Wrong: it is not"),
    (Decision.UNCLEAR, "Unclear"),
]
_RENDERER = Renderer(Path(__file__).with_name("templates"))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request of a person who may use the pages."""

    settings: CasePagesSettings
    ledger: Ledger
    queries: Queries
    person: str
    csrf: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Form
    now: int

    def value(self, name: str) -> str:
        """Return a field of the form without white space around it; empty if it was not sent."""
        return self.form.get(name, ("",))[-1].strip()

    def page(self, template: str, title: str, status: int = HTTPStatus.OK, **values: Any) -> Response:
        return _RENDERER.page(
            template, status, title=printable(title), user=self.person, csrf=self.csrf, now=self.now, **values
        )

    def case(self) -> Case:
        """Return the case in the path.

        Raises:
            NoPageError: there is none.
        """
        number = _number(self.path["number"])
        case = None if number is None else self.queries.case(number)
        if case is None:
            raise NoPageError
        return case


def make_application(settings: CasePagesSettings, access: Access) -> Starlette:
    """Return the application."""

    def page(path: str, function: Callable[[_Visit], Response], method: str = "GET") -> MethodRoute:
        async def answered(request: Request) -> Response:
            try:
                return await _answer(settings, access, request, function)
            except ClientLeftError:
                return Response(status_code=HTTPStatus.BAD_REQUEST)  # it is sent to nobody
            except NoPageError:
                return _RENDERER.error(HTTPStatus.NOT_FOUND, "There is no such page.")
            except TooLarge:
                return _RENDERER.error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large.")
            except RefusedError as error:
                return _RENDERER.error(error.status, str(error))
            except RequestError as error:
                return _RENDERER.error(error.error.status, str(error))
            except HashscanError as error:
                _log.error("a page can't be made: %s", error)
                return _RENDERER.error(HTTPStatus.SERVICE_UNAVAILABLE, _sentence(error))

        return MethodRoute(path, answered, method)

    return make_starlette(
        [
            page("/", _open_cases),
            page("/queue", _queue),
            page("/cases/{number}", _case),
            page("/cases/{number}/review", _review, "POST"),
            page("/cases/{number}/assign", _assign, "POST"),
            page("/cases/{number}/acknowledge", _acknowledge, "POST"),
            MethodRoute("/static/{name}", _RENDERER.static),
        ],
        unrouted=lambda _, error: _RENDERER.error(error.error.status, f"{str(error).capitalize()}."),
    )


async def _answer(
    settings: CasePagesSettings, access: Access, request: Request, function: Callable[[_Visit], Response]
) -> Response:
    require_host(settings, request)
    if request.method == "GET" and (entered := access.enter(request)) is not None:
        return entered
    person = access.person(request)
    form: Form = {}
    if request.method == "POST":
        form = await form_of(settings, settings.door, request)
        require_token(form, access.csrf(person), "The form is too old. Load its page again.")
    return await asyncio.to_thread(_visit, settings, request, function, person, access.csrf(person), form)


def _visit(
    settings: CasePagesSettings,
    request: Request,
    function: Callable[[_Visit], Response],
    person: str,
    csrf: str,
    form: Form,
) -> Response:
    with Ledger(settings.state, _BUSY_MS) as ledger:
        for trouble in sync(ledger, settings.state).troubles:
            _log.error("the ledger of cases is not up to date: %s", trouble)
        queries = Queries(ledger, DeadlineCalculator(settings.cases))
        return function(
            _Visit(
                settings,
                ledger,
                queries,
                person,
                csrf,
                request.path_params,
                request.query_params,
                form,
                int(time.time()),
            )
        )


def _open_cases(visit: _Visit) -> Response:
    found = outcomes(visit.ledger, visit.settings.cases.review_by)
    cases = ((case, found.get(case.id, Outcome())) for case in visit.queries.open_cases(visit.now))
    return _listed(visit, "/", "Open cases", cases)


def _queue(visit: _Visit) -> Response:
    waiting = review_queue(
        visit.ledger, visit.queries, visit.settings.cases.review_by, visit.now, visit.person
    )
    return _listed(visit, "/queue", "Review", waiting)


def _listed(visit: _Visit, path: str, title: str, cases: Iterable[tuple[Case, Outcome]]) -> Response:
    skipped = _number(visit.query.get("skip", "")) or 0
    shown = list(islice(cases, skipped, skipped + PAGE + 1))
    return visit.page(
        "cases.html",
        title,
        section=path,
        rows=shown[:PAGE],
        first=path if skipped else "",
        further=f"{path}?skip={skipped + PAGE}" if len(shown) > PAGE else "",
    )


def _case(
    visit: _Visit, failed: str = "", status: int = HTTPStatus.OK, forms: Mapping[str, str] | None = None
) -> Response:
    case = visit.case()
    events = visit.queries.events(case.id)
    review_by = visit.settings.cases.review_by
    outcome = outcome_of(visit.ledger, case.id, review_by)
    at = datetime.fromtimestamp(visit.now, UTC)
    until = "" if case.sha256 is None else next(
        (
            content.until
            for content in read_contents(visit.settings.state)
            if content.sha256 == case.sha256.hex() and in_force(content, at)
        ),
        "",
    )  # fmt: skip
    return visit.page(
        "case.html",
        f"Case {case.id}",
        status,
        section="",
        case=case,
        notices=visit.queries.notices(case.id),
        matches=visit.queries.matches(case.id),
        events=events[::-1],
        seen=len(events),
        outcome=outcome,
        is_second=review_by > 1,
        decided=person_key(visit.person) in map(person_key, outcome.people),
        decisions=[] if case.verdict == INFORM else _DECISIONS,
        excepted_until=until,
        failed=failed,
        forms={"reason": "", "to": "", "note": "", "recipient": "", **(forms or {})},
    )


def _review(visit: _Visit) -> Response:
    number = visit.case().id
    decision = next((each for each, _ in _DECISIONS if each == visit.value("decision")), None)
    if decision is None:
        return _failed(visit, "Choose a decision.")
    if _number(visit.value("seen")) != len(visit.queries.events(number)):
        return _failed(visit, "The case has changed meanwhile. Look at it again.", HTTPStatus.CONFLICT)
    reason = " ".join(visit.value("reason").split())
    try:
        review_case(
            visit.ledger, visit.settings.state, number, decision, reason, visit.person,
            datetime.fromtimestamp(visit.now, UTC), visit.settings.cases.review_by,
        )  # fmt: skip
    except UsageError as error:
        return _failed(visit, _sentence(error))
    return _see(number)


def _assign(visit: _Visit) -> Response:
    number = visit.case().id
    note = " ".join(visit.value("note").split())
    try:
        assign(visit.ledger, [number], visit.value("to") or None, note, visit.person, visit.now)
    except UsageError as error:
        return _failed(visit, _sentence(error))
    return _see(number)


def _acknowledge(visit: _Visit) -> Response:
    number = visit.case().id
    recipient = " ".join(visit.value("recipient").split())
    if not recipient.isprintable():
        return _failed(visit, "The recipient can't be recorded. Use printable characters.")
    acknowledge(visit.ledger, [number], recipient, visit.person, visit.now)
    return _see(number)


def _failed(visit: _Visit, reason: str, status: int = HTTPStatus.BAD_REQUEST) -> Response:
    """Return the page of the case as it is now, with the person's own texts."""
    return _case(visit, reason, status, {name: visit.value(name) for name in visit.form})


def _see(number: int) -> Response:
    return RedirectResponse(f"/cases/{number}", HTTPStatus.SEE_OTHER)


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= 15
    return int(text) if is_number and int(text) <= NUMBER_MAX else None


def _sentence(error: HashscanError) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}. {error.remedy}".strip()
