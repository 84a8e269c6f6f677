"""Check the notices of the public form (article 16(2) of the DSA), and give each its reference.

Everything is a stranger's. A text with characters that can't be seen is refused where a name or an address is
expected, and escaped in the explanation.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from hashscan.attribution.customers import Customers
from hashscan.attribution.sites import Sites
from hashscan.cases.form_spool import EXPLANATION_MAX, URLS_MAX, Place, SpooledNotice
from hashscan.cases.notices import fields
from hashscan.errors import UsageError
from hashscan.schema import InvalidDocumentError, Text
from hashscan.settings.cases_and_alerts import email_address
from hashscan.text import printable, shortened

Subject = Literal["child_sexual_abuse", "other"]
_DAY = 86_400
_SHOWN = 100


class NoticeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A notice of illegal content."""

    urls: Annotated[
        list[Annotated[str, Meta(max_length=fields.URL_MAX)]], Meta(min_length=1, max_length=URLS_MAX)
    ]
    """The exact web addresses of the content, of http or https."""
    subject: Subject
    """The kind of the content. For sexual abuse of children, no name and no address are needed."""
    explanation: Annotated[str, Meta(max_length=EXPLANATION_MAX)]
    """The reason for which the content is illegal."""
    good_faith: bool
    """True: the sender believes in good faith that the notice is accurate and complete."""
    name: Text = ""
    email: Text = ""
    submission: Annotated[str, Meta(max_length=100)] = ""
    """A random text of the client: the same notice sent twice with it is one notice. Without it, the same
    notice is one notice on the same day of UTC."""


class Receipt(Struct, frozen=True):
    """The receipt of a notice."""

    reference: str
    received: str
    """Time of the receipt, as RFC 3339 writes it, in UTC."""
    urls: int
    """Number of different addresses."""


class InvalidFieldError(InvalidDocumentError):
    """A field that is not valid; its message begins with the field's name."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def checked(request: NoticeRequest, now: int, sites: Sites, customers: Customers) -> SpooledNotice:
    """Return a notice as it is stored.

    Args:
        now: seconds since 1970.
        sites: rules that map the addresses to paths.
        customers: rules that name the customers of these paths.

    Raises:
        InvalidFieldError: a field is missing or not valid.
    """
    if not request.good_faith:
        raise InvalidFieldError("good_faith", "confirm that the notice is accurate and complete")
    explanation = printable(request.explanation.replace("\r\n", "\n").strip(), keep="\n")
    if not explanation:
        raise InvalidFieldError("explanation", "say why the content is illegal")
    name, email = request.name.strip(), request.email.strip()
    if request.subject != "child_sexual_abuse":
        for field, value in (("name", name), ("email", email)):
            if not value:
                raise InvalidFieldError(
                    field, "it is needed unless the content shows sexual abuse of children"
                )
    try:
        fields.printable_line("name", name)
    except fields.FieldError:
        raise InvalidFieldError("name", "this is not one line of printable characters") from None
    try:
        if email:
            email_address(email, "email")
    except UsageError:
        raise InvalidFieldError("email", "this is no e-mail address") from None
    urls = list(dict.fromkeys(map(_url, request.urls)))
    same = [
        urls, request.subject, explanation, name, email, request.submission or str(now - now % _DAY),
    ]  # fmt: skip
    digest = base64.b32encode(hashlib.sha256(json.dumps(same).encode("ascii")).digest()[:10]).decode()
    return SpooledNotice(
        "-".join(("N", *(digest[at : at + 4] for at in range(0, 16, 4)))),
        now,
        urls,
        [[Place(path, customers.of(path, None)) for path in sites.paths_of(url)] for url in urls],
        request.subject,
        explanation,
        name,
        email,
    )


def _url(text: str) -> str:
    try:
        url = fields.url(text)
        if url.partition(":")[0].lower() in {"http", "https"} and urlsplit(url).hostname:
            return url
    except (fields.FieldError, ValueError):
        pass
    shown = shortened(printable(text), _SHOWN)
    raise InvalidFieldError("urls", f"this is no address of http or https: {shown}")
