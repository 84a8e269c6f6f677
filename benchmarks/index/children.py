"""Start processes that each hold an index and answer one request at a time."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.lib import measure

ASKER = "benchmarks.index.asker"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Child:
    """One process that runs asker.py; it starts at once, and is ready after `ready`."""

    def __init__(self, python: str, make: str, source: Path, scratch: Path) -> None:
        self.make = make
        self.notes: dict[str, Any] = {}
        self._errors = scratch / f"{make.replace(' ', '-')}.stderr"
        with self._errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                [python, "-m", ASKER, make, str(source)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=measure.environment(ONE_THREAD),
            )

    def ready(self) -> Child:
        """Wait until its index is there; `notes` then says what that took.

        Raises:
            MeasureError: it ended instead.
        """
        self.notes = self._answer()
        return self

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            MeasureError: it ended instead.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # What it said before it ended is told below.
        return self._answer()

    def private_bytes(self) -> int:
        """Anonymous memory of the process, with its share of what it has in common with others."""
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) * 1024

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise measure.MeasureError(f"{self.make}: {self._errors.read_text(errors='replace')[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def run_watched(command: list[str], scratch: Path) -> dict[str, float]:
    """Seconds of a command and its peak memory in bytes: anonymous, and with mapped files.

    Raises:
        MeasureError: it failed.
    """
    with (scratch / "watched.stderr").open("w+") as errors:
        start = time.monotonic()
        process = subprocess.Popen(command, stderr=errors, env=measure.environment(ONE_THREAD))
        status = Path(f"/proc/{process.pid}/status")
        anonymous = resident = 0
        while process.poll() is None:
            sizes = dict(
                line.split(":", 1)
                for line in status.read_text().splitlines()
                if line.startswith(("Rss", "Vm"))
            )
            # Both are missing when it has just ended.
            anonymous = max(anonymous, int(sizes.get("RssAnon", "0 kB").split()[0]) * 1024)
            resident = max(resident, int(sizes.get("VmHWM", "0 kB").split()[0]) * 1024)
            time.sleep(0.01)
        seconds = time.monotonic() - start
        if process.returncode:
            errors.seek(0)
            raise measure.MeasureError(f"{' '.join(command[:4])}: {errors.read()[-2000:]}")
    return {"seconds": seconds, "peak anonymous": anonymous, "peak resident": resident}
