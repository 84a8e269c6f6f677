"""The settings of cases and alerts: deadlines, channels, and who sends notices and reports to others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from hashscan.errors import UsageError
from hashscan.model import CATEGORIES, Reporter
from hashscan.settings.option import Checked, setting
from hashscan.settings.table_rows import InvalidValueError, Reader, printable_line, read_row
from hashscan.settings.values import parse_duration, require_positive

if TYPE_CHECKING:
    from hashscan.settings.legal_basis import LegalBasis

DAY = 86_400.0
KIND_DEADLINES = {"order": DAY / 2, "court": DAY / 2, "terrorist": DAY / 24, "inform": 3 * DAY}
"""The default deadlines of orders in seconds, by kind. The hour is that of Regulation (EU) 2021/784,
article 3; the others are ours, for orders that state none."""


@dataclass(frozen=True, slots=True)
class CaseSettings(Checked):
    """The time that each case may take, in seconds."""

    deadline: float = setting(
        "--deadline",
        DAY,
        "Time within which a match must be removed after the finding or the notice.",
        "time",
        "TIME",
        "24h",
    )
    deadlines: Mapping[str, float] = field(default_factory=dict)
    review_deadline: float = setting(
        "--review-deadline",
        7 * DAY,
        "Time within which a `review` must be decided. `held` has no deadline.",
        "time",
        "TIME",
    )

    kind_deadlines: Mapping[str, float] = field(default_factory=lambda: KIND_DEADLINES)
    """Seconds after the receipt by kind of notice, for orders that state no deadline."""
    acknowledge_deadline: float = setting(
        "--acknowledge-deadline",
        DAY / 12,
        "Time within which the sender of an order is to be told of its receipt.",
        "time",
        "TIME",
        "2h",
    )
    review_by: int = setting(
        "--review-by", 1, "Number of people who must agree on what a case is; 2 at most.", range(1, 3)
    )

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for kind, seconds in self.kind_deadlines.items():
            if kind not in KIND_DEADLINES:
                raise UsageError(
                    f"there is no kind of order {kind!r}", advice=f"There is {', '.join(KIND_DEADLINES)}."
                )
            require_positive("--kind-deadline", seconds)
        for category, seconds in self.deadlines.items():
            if category not in CATEGORIES:
                raise UsageError(
                    f"there is no category {category!r}", advice=f"There is {', '.join(CATEGORIES)}."
                )
            require_positive("--category-deadline", seconds)


DEFAULT_DEADLINES = CaseSettings()


def parse_kind_deadline(text: str) -> tuple[str, float]:
    """Return a kind of order and its deadline in seconds, from text such as `order=6h`.

    Raises:
        UsageError: the text is not valid.
    """
    kind, separator, duration = text.partition("=")
    if not separator or kind not in KIND_DEADLINES:
        raise UsageError(
            f"{text!r} is no deadline of a kind of order",
            advice=f"Write one of {', '.join(KIND_DEADLINES)}, an equals sign and a time, such as order=6h.",
        )
    return kind, parse_duration(duration)


def parse_category_deadline(text: str) -> tuple[str, float]:
    """Return a category and its deadline in seconds, from text such as `A1=12h`.

    Raises:
        UsageError: the text is not valid.
    """
    category, separator, duration = text.partition("=")
    if not separator or category not in CATEGORIES:
        raise UsageError(
            f"{text!r} is no deadline of a category",
            advice=f"Write one of {', '.join(CATEGORIES)}, an equals sign and a time, such as A1=12h.",
        )
    return category, parse_duration(duration)


NotifyOn = Literal["found", "trouble", "always"]


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The channels of alerts, and the events to report."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    """Apprise URLs; most contain secrets."""
    hooks: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    escalate_to: tuple[str, ...] = field(default=(), repr=False)
    """Apprise URLs that are told when half of the time of an order is gone."""
    syslog: bool = setting("--syslog", False, "Write alerts to the system log (syslog, journal).", bool)
    on: NotifyOn = setting(
        "--notify-on",
        "trouble",
        "Alerts to send: findings and overdue cases; also problems of scans and lists; or also successful "
        "scans.",
        get_args(NotifyOn),
    )
    details: bool = setting(
        "--notify-details",
        False,
        "Include paths, customers and entries in alerts, not only counts and case numbers.",
        bool,
    )
    metrics: Path | None = setting(
        "--metrics",
        None,
        "File for Prometheus metrics (textfile collector of node_exporter), such as "
        "/var/lib/prometheus/node-exporter/hashscan.prom.",
        Path,
        "FILE",
    )

    bases: tuple[LegalBasis, ...] = ()
    """The legal bases whose ends are reported."""

    @property
    def any_channel(self) -> bool:
        """True if there is any channel."""
        return bool(self.urls or self.hooks or self.syslog or self.escalate_to)

    @property
    def wanted(self) -> bool:
        """True if there is a channel or a metrics file."""
        return self.any_channel or self.metrics is not None


NO_ALERTS = AlertSettings()


_TEXT_MAX = 200
_EMAIL = re.compile(r"[^@\s<>\"(),:;\[\]\\]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+",
    re.ASCII,
)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)


def reporter_of(table: object, source: str) -> Reporter:
    """Return the reporter from the table of a settings file.

    Raises:
        UsageError: it can't be used; names the key and what to do.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{source}: `reporter` is no table", advice="Begin it with a line [reporter].")
    found = read_row(table, _REPORTER_READERS, f"{source}, [reporter]", required=("organisation", "email"))
    return Reporter(**found)


def email_address(text: str, source: str) -> str:
    """Return a mail address, checked.

    Raises:
        UsageError: it is none; names the source.
    """
    if not _EMAIL.fullmatch(text):
        raise UsageError(
            f"{source}: {text!r} is no e-mail address", advice="Write one such as abuse@example.org."
        )
    return text


def _organisation(value: object) -> str:
    found = printable_line(value, _TEXT_MAX)
    if not found:
        raise InvalidValueError("it is empty", "Name the organisation.")
    return found


def _reader_of(pattern: re.Pattern[str], kind: str, advice: str) -> Callable[[object], str]:
    """Return a reader of texts that match a pattern."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidValueError(f"{value!r} is no {kind}", advice)
        return value

    return read


read_country = _reader_of(_COUNTRY, "country", "Write its two letters, such as NL.")
_read_domain = _reader_of(_DOMAIN, "domain", "Write one such as example.org.")

_REPORTER_READERS: dict[str, Reader] = {
    "organisation": _organisation,
    "email": _reader_of(_EMAIL, "e-mail address", "Write one such as abuse@example.org."),
    "domain": lambda value: _read_domain(value).lower(),
    "name": lambda value: printable_line(value, _TEXT_MAX),
    "phone": lambda value: printable_line(value, _TEXT_MAX),
    "country": read_country,
}
