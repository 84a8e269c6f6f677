"""Times of the database as reports write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=1 << 12)
def moment(seconds: int) -> str:
    """A time as reports write it.

    Raises:
        ValueError: there is none such.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, OSError) as error:
        raise ValueError(f"the database has the time {seconds}") from error
