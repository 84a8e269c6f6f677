"""Parse values of options, suggest similar words, and return defaults that depend on this machine."""

from __future__ import annotations

import grp
import math
import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

from hashscan.errors import UsageError
from hashscan.model import Shard
from hashscan.state_dir import SERVICE_USER

MAX_SPARSE = 16 << 30
"""The default number of hole bytes up to which a file is read."""

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""The bytes of each suffix of a size."""
DURATIONS = {"s": 1, "": 1, "m": 60, "h": 3600, "d": 86_400}
"""The seconds of each suffix of a duration."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", re.ASCII)
_PERCENTAGE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)%", re.ASCII)
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


def require_positive(option: str, value: float) -> None:
    """Raise an error unless a value is finite and more than 0.

    Raises:
        UsageError: names the option.
    """
    if not 0 < value < math.inf:
        raise UsageError(f"{option} must be more than 0, not {value}", advice="Give a number above 0.")


def parse_size(text: str) -> int:
    """Return a size in bytes from digits with an optional suffix K, M, G or T (powers of 1024).

    Raises:
        UsageError: the text is not valid.
    """
    digits, factor = text.strip(), 1
    if digits and digits[-1].upper() in SIZES:
        factor = SIZES[digits[-1].upper()]
        digits = digits[:-1]
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"{text!r} is no size", advice="Write a number of bytes, such as 500M or 2G.")
    return int(digits) * factor


def parse_duration(text: str) -> float:
    """Return seconds from a number with an optional suffix s, m, h or d.

    Raises:
        UsageError: the text is not valid.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} is no duration", advice="Write a number and s, m, h or d, such as 90m or 6h."
        )
    return float(found[1]) * DURATIONS[found[2]]


def parse_share(text: str) -> float:
    """Return a share (0 to 1) from a percentage such as `1%` or `0.5%`.

    Raises:
        UsageError: the text is not valid.
    """
    found = _PERCENTAGE.fullmatch(text.strip())
    if found is None or not 0 <= float(found[1]) <= 100:
        raise UsageError(f"{text!r} is no share", advice="Write a percentage, such as 1%.")
    return float(found[1]) / 100


def parse_shard(text: str) -> Shard:
    """Return a shard from text such as `3/16`.

    Raises:
        UsageError: the text is not valid.
    """
    found = _SHARD.fullmatch(text.strip())
    if found is not None and 1 <= int(found[1]) <= int(found[2]):
        return Shard(int(found[1]), int(found[2]))
    raise UsageError(
        f"{text!r} is no shard", advice="Write which and of how many, such as 3/16; the first is 1."
    )


def parse_until(text: str) -> datetime:
    """Return the end of a period, from a day (which counts to its end in UTC) or an RFC 3339 time.

    It is the first moment after the period, timezone-aware.
    """
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # The form is right, but there is no such day or time.
    raise UsageError(
        f"{text!r} is no day and no time",
        advice="Write a day such as 2027-01-31, or a time with its zone such as 2027-01-31T18:00:00Z.",
    )


def parse_future(text: str, now: datetime) -> datetime:
    """Return the end of a period as `parse_until`, which must be later than `now`.

    Raises:
        UsageError: the text is neither a day nor a time, or is in the past.
    """
    end = parse_until(text)
    if end <= now:
        raise UsageError(f"{text} is in the past", advice="Name a time in the future.")
    return end


SERVICE_GROUP = SERVICE_USER
"""The group of the user that runs the systemd units; see examples/systemd."""


def service_group() -> int | None:
    """Return the gid of the group that runs the systemd units; None if there is none."""
    try:
        return grp.getgrnam(SERVICE_GROUP).gr_gid
    except KeyError:
        return None


def default_workers() -> int:
    """Return the default number of workers: the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


_WORKERS_PER_PROCESSOR = 8
"""More than one may help where workers wait for disks or buckets."""
_WORKER_MEMORY = 256 << 20
"""Bytes of memory that a worker and its decoder need while they decode an ordinary photograph."""
_OWN_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def max_workers() -> int:
    """Return the largest number of workers for which the processors and the memory suffice."""
    return max(1, min(default_workers() * _WORKERS_PER_PROCESSOR, memory_limit() // _WORKER_MEMORY))


def memory_limit() -> int:
    """Return the bytes of memory that this process may use: all, or the limit of a control group."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in control_groups():
        with suppress(OSError, ValueError):
            limits.append(int((folder / "memory.max").read_text()))
    return min(limits)


def control_groups() -> list[Path]:
    """Return the folders of the control groups that this process is in, the innermost first."""
    try:
        group = PurePath(_OWN_CGROUP.read_text().rpartition("0::/")[2].strip().lstrip("/"))
    except (OSError, ValueError):
        return []
    return [_CGROUPS / folder for folder in (group, *group.parents)]
