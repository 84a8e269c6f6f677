"""Format numbers, sizes, durations and times for HTML pages."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def number(value: int) -> str:
    """Format a count, with narrow spaces between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def format_bytes(value: int) -> str:
    """Format a number of bytes in a suitable unit."""
    if abs(value) < 1024:
        return f"{value}\N{NO-BREAK SPACE}bytes"
    size = float(value)
    for unit in _UNITS:
        size /= 1024
        if abs(size) < 999.5 or unit == _UNITS[-1]:
            break
    return (
        f"{size:.0f}\N{NO-BREAK SPACE}{unit}" if abs(size) >= 999.5 else f"{size:.3g}\N{NO-BREAK SPACE}{unit}"
    )


def duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def day(seconds: int) -> str:
    """Format seconds since 1970 as a day in UTC; return the number as text if it is outside the calendar."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)
