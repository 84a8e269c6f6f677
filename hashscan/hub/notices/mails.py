"""Make the mails about a notice, of its place, category, deadline and reference alone."""

from __future__ import annotations

import re
import uuid
from urllib.parse import quote

from hashscan.attribution.sites import host_of
from hashscan.cases.notices.notice import NoticeKind
from hashscan.errors import UsageError
from hashscan.hub.mails.outbox import Mail
from hashscan.reports.reportable_findings import CLASSES
from hashscan.reports.xarf import notice_report
from hashscan.text import printable
from hashscan.timefmt import format_utc_seconds
from hashscan.web_address import split_url

_MUST_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^%A-Za-z0-9._~!$&'()*+,;=:@/?-]")
"""Bytes that user, path, query and fragment of a URL can't contain."""
_WEB = re.compile(r"\A(?i:http)(s?://)([^/?#]*)")


def notice_mail(
    *,
    reference: str,
    url: str,
    path: str,
    host: str,
    category: str,
    kind: str,
    member_state: str,
    legal_basis: str,
    deadline: int | None,
    sent: int,
) -> Mail:
    """Return the mail of a notice, with a XARF report; times are in seconds since 1970."""
    if category not in CLASSES:
        raise UsageError(
            f"a notice of category {category} can't be sent by mail: XARF has no such class",
            advice=f"Choose one of {', '.join(CLASSES)}, or send it in another way.",
        )
    until = format_utc_seconds(deadline)
    facts = {
        "Reference": reference,
        "Order": "" if kind == NoticeKind.NOTICE else kind,
        "Member State": member_state,
        "Legal basis": legal_basis,
        "Address": _disarmed(url),
        "Path": printable(path),
        "Server": host,
        "Category": category,
        "Deadline": until,
    }
    lines = [f"{name + ':':<14}{value}" for name, value in facts.items() if value]
    text = "\n".join(
        (
            "The content at this place was reported as child sexual abuse material. Remove it.",
            "",
            *lines,
            "",
            "The same is attached as XARF 4. There the address is as it is: don't open it.",
            "",
            "Answer to this mail, and keep the reference in its subject: say when the content was",
            "removed, or why it was not.",
        )
    )
    named = {name: facts[name] for name in ("Reference", "Deadline", "Server", "Path") if facts[name]}
    report = notice_report(
        uuid.uuid4(),
        format_utc_seconds(sent),
        _ascii_url(url) if url else _file_url(host, path),
        category,
        "; ".join(f"{name}: {value}" for name, value in named.items()),
    )
    what = "Notice" if kind == NoticeKind.NOTICE else "Order"
    return Mail(f"{what} {reference}: remove content of category {category}", text, report)


def withdrawal_mail(reference: str, sent: int) -> Mail:
    return Mail(
        f"Notice {reference} is withdrawn",
        f"The notice {reference} of {format_utc_seconds(sent)} is withdrawn. Nothing is to be done about it "
        "any more.",
    )


def _disarmed(url: str) -> str:
    """Return a URL as text that no mail program makes a link of, and no filter fetches."""
    return _WEB.sub(lambda found: f"hxxp{found[1]}{found[2].replace('.', '[.]')}", url, count=1)


def _file_url(host: str, path: str) -> str:
    if "://" in path and not path.startswith("/"):
        return _ascii_url(path)
    name = host_of(host) if host else None
    if name is None:
        raise UsageError(
            "a notice by mail with a path alone needs the name of its server",
            advice="Give --host, such as web1.example.net, or the address by --url.",
        )
    return f"file://{name}{quote(path, safe=chr(47))}"


def _ascii_url(url: str) -> str:
    try:
        split = split_url(url.encode())
        name = host_of(split.host.strip("[]"))
    except ValueError:
        name = None
    if name is None:
        raise UsageError(
            f"{printable(url)!r} can't be sent by mail: it names no valid host",
            advice="Write the host as it is in the domain name system.",
        )
    user = "" if split.user is None else f"{_escaped(split.user)}@"
    port = "" if split.port is None else f":{split.port}"
    mark, fragment = split.fragment[:1].decode(), _escaped(split.fragment[1:])
    rest = f"{_escaped(split.path)}{_escaped(split.query)}{mark}{fragment}"
    return f"{split.scheme}://{user}{name}{port}{rest}"


def _escaped(part: bytes) -> str:
    return _MUST_ESCAPE.sub(lambda found: b"%%%02X" % found[0][0], part).decode("ascii")
