"""Render pages from templates, and send them with headers that allow a browser nothing else.

No page has a script, a picture, or a style that is not a file of `/static/`. Names from strangers are shown
by the filters `name` and `path`, which mark what can't be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from hashscan.cases.statistics import web_page
from hashscan.reports.page import frame
from hashscan.text import printable

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not no-referrer, with which browsers send no Origin with a form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
_HERE = Path(__file__).parent
_FRAME = Path(frame.__file__).with_name("frame.css")
_CHARTS = Path(web_page.__file__).parent / "templates"
STATIC: Mapping[str, bytes] = {
    path.name: path.read_bytes()
    for path in (_FRAME, _CHARTS / "chart.css", *sorted((_HERE / "static").iterdir()))
}
"""All files of `/static/`, by name."""


def moment(seconds: int | None) -> Markup:
    """Return a time in UTC as markup; a dash for none."""
    if seconds is None:
        return Markup('<span class="soft">&ndash;</span>')
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return escape(seconds)
    day, time_of_day = at.strftime("%Y-%m-%d %H:%M:%S").split()
    text = f'<time datetime="{day}T{time_of_day}Z">{day} {time_of_day[:5]}</time>'
    return Markup(text)  # noqa: S704 - digits alone


def short(text: str, most: int = 60) -> str:
    """Return a long text without its middle, as a table shows it; its own page shows all of it."""
    return (
        text if len(text) <= most else f"{text[: most // 3]}\N{HORIZONTAL ELLIPSIS}{text[-(most * 2 // 3) :]}"
    )


def _environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([templates, _HERE / "templates", _FRAME.parent, _CHARTS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        number=frame.number,
        bytes=frame.format_bytes,
        duration=frame.duration,
        name=lambda text: frame.marked(text) if text else "",
        path=frame.marked_path,
        moment=moment,
        short=short,
        plain=printable,
    )
    return environment


class NoPageError(Exception):
    """A page that does not exist, or not for this user."""


class RefusedError(Exception):
    """A request that is refused, with the reason for its sender."""

    def __init__(self, reason: str, status: int = HTTPStatus.FORBIDDEN, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class Renderer:
    """Makes answers of the templates in a folder, of which `base.html` is the frame of the others."""

    def __init__(self, templates: Path) -> None:
        self._templates = _environment(templates)

    def page(self, template: str, status: int, **values: Any) -> Response:
        """Return an answer with a page; lone surrogates in stored text are replaced."""
        text = self._templates.get_template(template).render(**values)
        return Response(
            text.encode("utf-8", "replace"), int(status), dict(HEADERS), media_type="text/html; charset=utf-8"
        )

    def error(self, status: int, reason: str) -> Response:
        """Return a page with a reason."""
        return self.page("error.html", status, title=HTTPStatus(status).phrase, reason=reason, user=None)

    async def static(self, request: Request) -> Response:
        """Return a style sheet; no path of the filesystem is made from a request."""
        data = STATIC.get(request.path_params["name"])
        if data is None:
            return self.error(HTTPStatus.NOT_FOUND, "There is no such file.")
        headers = {**HEADERS, "Cache-Control": "max-age=3600"}
        return Response(data, 200, headers, media_type="text/css; charset=utf-8")
