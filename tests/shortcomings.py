"""Reasons for which scans in tests are incomplete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shortcoming(message: str = "x", code: str = "unreadable", subject: str = "") -> dict[str, str]:
    """A reason why a scan is incomplete, as reports have it."""
    return {"code": code, "message": message, **({"subject": subject} if subject else {})}


def codes(summary: Mapping[str, Any]) -> list[str]:
    """The codes of the reasons in a summary."""
    return [one["code"] for one in summary["incomplete"]]


def messages(summary: Mapping[str, Any]) -> list[str]:
    """The messages of the reasons in a summary."""
    return [one["message"] for one in summary["incomplete"]]
