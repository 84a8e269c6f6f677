"""Read the rules that map files to public web addresses from a settings file."""

from __future__ import annotations

from hashscan.attribution.sites import Sites
from hashscan.errors import UsageError
from hashscan.model import SiteRule
from hashscan.registry import SOURCES
from hashscan.settings.table_rows import InvalidValueError, Reader, read_row, rows_of


def site_rules(tables: object, source: str) -> tuple[SiteRule, ...]:
    """Return the rules in their order.

    Args:
        tables: the value of `site`.
        source: the settings file.

    Raises:
        UsageError: a rule can't be used; names it, the key and what to do.
    """
    rules = []
    for number, row in enumerate(rows_of(tables, "site", source), start=1):
        found = read_row(row, _READERS, f"{source}, site rule {number}", required=("url", "path"))
        rule = SiteRule(f"site rule {number}", found["url"], found["path"])
        try:
            Sites([rule])
        except UsageError as error:
            raise UsageError(f"{source}, {error}", advice=error.remedy) from error
        rules.append(rule)
    return tuple(rules)


def _url(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise InvalidValueError(
            f"{value!r} is no web address", "Write one such as 'https://{customer}.example/'."
        )
    return value


def _path(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidValueError(f"{value!r} is no path", "Write one such as '/var/www/{customer}/htdocs'.")
    scheme, separator, _ = value.partition("://")
    if separator and scheme not in SOURCES:
        schemes = ", ".join(name for name in SOURCES if name != "file")
        raise InvalidValueError(f"{value!r} names no objects", f"There is {schemes}.")
    return value


_READERS: dict[str, Reader] = {"url": _url, "path": _path}
