"""Convert times of the database to the form of reports."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=1 << 12)
def format_time(seconds: int) -> str:
    """Return a time in the form of reports.

    Raises:
        ValueError: there is no such time.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, OSError) as error:
        raise ValueError(f"the database has the time {seconds}") from error
