"""Decide what may be asked of a server of others: its content, whether it answers, or nothing."""

from __future__ import annotations

from enum import IntEnum

from hashscan.settings.outside import OutsideSettings
from hashscan.web_address import is_in, is_private_host, is_public_address


class Permission(IntEnum):
    """A kind of request that is permitted, and all kinds below it."""

    NOTHING = 0
    """It is in a private network that is not the operator's own."""
    HEAD = 1
    """HEAD alone: in many states fetching such content without a mandate is a crime."""
    BODY = 2


def permission_for(server: str, settings: OutsideSettings, now: float) -> Permission:
    """Return what may be asked of the server at an IP address.

    Args:
        now: seconds since 1970.

    Raises:
        ValueError: it is not an IP address.
    """
    if is_in(server, settings.own_networks):
        return Permission.BODY
    if not is_public_address(server):
        return Permission.NOTHING
    return _of_others(settings, now)


def permission_by_proxy(host: str, settings: OutsideSettings, now: float) -> Permission:
    """Return what may be asked of a host through the proxy, by which nobody here knows its address.

    Args:
        host: as in a URL.
        now: seconds since 1970.
    """
    return Permission.NOTHING if is_private_host(host) else _of_others(settings, now)


def _of_others(settings: OutsideSettings, now: float) -> Permission:
    mandate = settings.mandate
    return Permission.BODY if mandate is not None and mandate.holds(now) else Permission.HEAD
