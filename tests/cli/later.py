"""Lets the commands of a test see another time than the clock's."""

from __future__ import annotations

from pathlib import Path

CLOCK = "clock"
"""Beside a test's state, the folder that has its commands see another time, if there is one."""


def days_later(folder: Path, days: int) -> dict[str, str]:
    """The variables for a command that is to see a time so many days on.

    Args:
        folder: where to put what makes it so; it need not exist.
        days: how many.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import datetime\n"
        "class Later(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        f"        return super().now(tz) + datetime.timedelta(days={days})\n"
        "datetime.datetime = Later\n"
    )
    return {"PYTHONPATH": str(folder)}


def seconds_later(folder: Path, seconds: int, *, due: bool = False) -> None:
    """Put into a folder what has commands take the time for so much later.

    Args:
        seconds: how many.
        due: also for what falls due (`time.time`), not only for the times of files (`time.time_ns`).
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import time\n"
        "def later_ns(now=time.time_ns):\n"
        f"    return now() + {seconds} * 10**9\n"
        "def later(now=time.time):\n"
        f"    return now() + {seconds if due else 0}\n"
        "time.time_ns, time.time = later_ns, later\n"
    )


def code_for_seconds(folder: Path) -> str:
    """Return the code that `seconds_later` put there, if anything; it may run after modules were imported."""
    code = folder / "sitecustomize.py"
    text = code.read_text() if code.exists() else ""
    return text if "time_ns" in text else ""
