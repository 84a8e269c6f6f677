"""Read removal orders for terrorist content: the English form of Regulation (EU) 2021/784, annex I."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import BinaryIO

from hashscan.cases.notices import fields
from hashscan.cases.notices.notice import Notice, NoticeKind, SenderRole
from hashscan.cases.notices.reader import NoticeError, NoticeFormat, Skipped, SkipReason
from hashscan.cases.notices.urls import unquoted, urls_of

_FORM_MAX = 2 << 20
"""Limit in characters of a text with a form."""
_FORMS_MAX = 1000
_URLS_MAX = 20_000
_ADVICE = "Use `hashscan cases add --kind terrorist` for what the order names."
_NUMBER = "2021/784"
_SECTION = re.compile(r"^[^\w\n]{0,20}SECTION[^\S\n]{1,20}([A-G])\b", re.MULTILINE | re.IGNORECASE)
_HOURS = 1.0
"""Article 3(3)."""
_LEGAL_BASIS = f"Regulation (EU) {_NUMBER}, article 3"
_UNDISCLOSED = timedelta(weeks=6)
"""Article 11(3), where the order names no end."""


def _phrase(text: str) -> re.Pattern[str]:
    """Return a pattern for words that a program may have wrapped."""
    return re.compile(r"\b" + r"\s+".join(text.split()) + r"(?:\s*\(\d\))?\s*:?", re.IGNORECASE)


_LABELS = {
    "A": {
        "state": _phrase("Member State of the issuing competent authority"),
        "note": _phrase("NB: details of"),
        "addressee": _phrase("Addressee and, where relevant"),
        "contact": _phrase("Contact point"),
        "establishment": _phrase("Member State of the main establishment"),
        "issued": _phrase("Time and date of issuing"),
        "reference": _phrase("Reference number of the removal order"),
    },
    "B": {
        "urls": _phrase("exact location of the terrorist content"),
        "reasons": _phrase("Reasons for considering the material"),
    },
    "E": {
        "authority": _phrase("Name of (?:the )?issuing competent authority"),
        "person": _phrase("Name of its representative"),
        "file": _phrase("File No"),
        "address": _phrase("Address"),
        "email": _phrase("Email address"),
        "date": _phrase("Date"),
    },
}
"""By section, the labels of the form whose values are read, and those at which they end."""
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,253}", re.ASCII)

_REFRAIN = re.compile(r"refrain\s+from\s+informing", re.IGNORECASE)
_BOX = re.compile(
    "(?P<ticked>[☑☒✓✔✕✖✗✘■◼⊠\uf0fe\uf0fd\uf078\uf0fc\uf052\uf053]|[\\[(]\\s{0,3}[xX✓✔✗✘]\\s{0,3}[\\])])"
    "|[☐□▢◻▯\uf0a8\uf06f\uf071\uf072]|[\\[(][\\s_]{0,5}[\\])]"
)
"""A box to tick, with its forms in fonts of symbols."""
_DAY = re.compile(r"\b(?:(\d{4})-(\d\d)-(\d\d)|(\d{1,2})[./](\d{1,2})[./](\d{4}))\b", re.ASCII)

_STATES = {
    name[:2]: name[3:]
    for name in (
        *("AT Austria", "BE Belgium", "BG Bulgaria", "CY Cyprus", "CZ Czech", "DE Germany", "DK Denmark"),
        *("EE Estonia", "ES Spain", "FI Finland", "FR France", "GR Greece", "HR Croatia", "HU Hungary"),
        *("IE Ireland", "IT Italy", "LT Lithuania", "LU Luxembourg", "LV Latvia", "MT Malta"),
        *("NL Netherlands", "PL Poland", "PT Portugal", "RO Romania", "SE Sweden", "SI Slovenia"),
        "SK Slovakia",
    )
}
"""Names of the Member States by their codes in ISO 3166."""


class RemovalOrders(NoticeFormat):
    """Removal orders as a text file, such as `pdftotext` makes of them; each form in it is a notice."""

    name = "removal-order"

    def notices(self, stream: BinaryIO, label: str) -> Iterator[Notice]:
        """Read the whole text, then yield an item for each address."""
        text = stream.read(4 * _FORM_MAX + 1).decode("utf-8-sig", "replace")
        if not is_form(text):
            raise NoticeError(f"{label}: not the form of annex I in English", advice=_ADVICE)
        forms = forms_of(text, label)
        if not any(forms):
            raise NoticeError(f"{label}: the removal order names no web address", advice=_ADVICE)
        if empty := forms.count([]):
            self.passed_over[Skipped(SkipReason.NO_ADDRESS)] = empty
        for form in forms:
            yield from form


def is_form(text: str) -> bool:
    """Return True if a text has the form of annex I in it."""
    found = {match[1].upper() for match in _SECTION.finditer(unquoted(text))}
    return _NUMBER in text and {"A", "B"} <= found


def forms_of(text: str, label: str) -> list[list[Notice]]:
    """Return for each form in a text an item for each web address; none where it names no address.

    Raises:
        NoticeError: the text is too long, has too many forms, or a form names too many addresses.
    """
    if len(text) > _FORM_MAX:
        raise NoticeError(f"{label}: a removal order of more than {_FORM_MAX >> 20} MiB", advice=_ADVICE)
    forms = list(islice(_forms(unquoted(text)), _FORMS_MAX + 1))
    if len(forms) > _FORMS_MAX:
        raise NoticeError(f"{label}: more than {_FORMS_MAX} removal orders in one text", advice=_ADVICE)
    return [_items(sections, label) for sections in forms]


def _forms(text: str) -> Iterator[Mapping[str, str]]:
    """Yield the sections of each form; of several with one letter, the first."""
    found = list(_SECTION.finditer(text))
    sections: dict[str, str] = {}
    for place, match in enumerate(found):
        letter = match[1].upper()
        if letter == "A" and "B" in sections:
            yield sections
            sections = {}
        end = found[place + 1].start() if place + 1 < len(found) else len(text)
        sections.setdefault(letter, text[match.end() : end])
    if sections:
        yield sections


def _items(sections: Mapping[str, str], label: str) -> list[Notice]:
    values = {
        name: value
        for letter, labels in _LABELS.items()
        for name, value in _values(sections.get(letter, ""), labels).items()
    }
    urls = list(urls_of(values.get("urls", sections.get("B", ""))))
    if len(urls) > _URLS_MAX:
        raise NoticeError(f"{label}: more than {_URLS_MAX} web addresses in a removal order", advice=_ADVICE)
    email = _EMAIL.search(values.get("email", ""))
    authority = _line(values.get("authority", ""))
    reference = _line(values.get("reference", "")) or _line(values.get("file", ""))
    order = Notice(
        reference or hashlib.sha256("\n".join(urls).encode()).hexdigest()[:32],
        email[0] if email else authority,
        category="terrorism",
        kind=NoticeKind.TERRORIST,
        role=SenderRole.AUTHORITY,
        member_state=_member_state(values.get("state", "")),
        legal_basis=_LEGAL_BASIS,
        hours=_HOURS,
        undisclosed=_undisclosed(sections.get("C", "")),
        name=authority,
    )
    return [replace(order, url=url) for url in urls]


def _values(section: str, labels: Mapping[str, re.Pattern[str]]) -> dict[str, str]:
    """Return the text after each label, up to the next one."""
    found = sorted(
        (match.start(), match.end(), name)
        for name, pattern in labels.items()
        if (match := pattern.search(section)) is not None
    )
    ends = [start for start, _, _ in found[1:]] + [len(section)]
    return {name: section[begin:end] for (_, begin, name), end in zip(found, ends, strict=False)}


def _line(text: str) -> str:
    """Return a value as one line, without the dots of an empty field; empty if it can't be one."""
    try:
        return fields.printable_line("value", " ".join(text.split()).strip(" .…_:"))
    except fields.FieldError:
        return ""


def _member_state(text: str) -> str:
    codes = {
        code.replace("EL", "GR") for code in re.findall(r"\b[A-Z]{2}\b", text, re.ASCII)
    } & _STATES.keys()
    named = {code for code, name in _STATES.items() if re.search(rf"\b{name}\b", text, re.IGNORECASE)}
    found = named or codes
    return found.pop() if len(found) == 1 else ""


def _undisclosed(section: str) -> datetime | timedelta | None:
    """Return the time until which the customer may not be told, or its length; None if he may be.

    Where no box can be seen before the sentence, it counts as ticked: to tell nothing can be undone.
    """
    found = _REFRAIN.search(section)
    if found is None:
        return None
    boxes = list(_BOX.finditer(section))
    before = [box for box in boxes if box.start() < found.start()]
    if boxes and (before[-1] if before else boxes[0])["ticked"] is None:
        return None
    days = [day for match in _DAY.finditer(section) if (day := _end_of_day(match)) is not None]
    return max(days, default=_UNDISCLOSED)


def _end_of_day(match: re.Match[str]) -> datetime | None:
    year, month, day, other_day, other_month, other_year = match.groups()
    try:
        return datetime(
            int(year or other_year), int(month or other_month), int(day or other_day), tzinfo=UTC
        ) + timedelta(days=1)
    except (ValueError, OverflowError):
        return None
