"""Kill commands by SIGKILL at their n-th call of the system that changes a file or sends to a socket.

The calls are counted in C (`dying_calls.c`), so that those of SQLite and of PostgreSQL's client count, too.
Commands are forked, as by `tests.prefork`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, environment
from tests.prefork import Prefork

_SOURCE = Path(__file__).with_suffix(".c")
_LAST = 4
_MANY = 1 << 40
_LEFT = "calls left: "
_ARM = "import ctypes; ctypes.CDLL(None).die_at(ctypes.c_long({number}), {place!r})"
_COUNT = f"""
import atexit, sys
number = ctypes.c_long.in_dll(ctypes.CDLL(None), "calls_left")
atexit.register(lambda: print({_LEFT!r}, number.value, sep="", file=sys.stderr, flush=True))
"""


class DyingCommands:
    """Commands that are killed at one of their calls."""

    def __init__(self, prefork: Prefork) -> None:
        self._prefork = prefork

    def run(self, state: Path, arguments: Sequence[object], number: int = 0, place: str = "") -> Ran:
        """Run a command that is killed at a call; its code is that of SIGKILL then, negative.

        Args:
            number: which of its calls, from 1; 0 to let it live.
            place: beginning of the paths that count, `socket:` for sockets alone; if empty, all count.
        """
        return self._run(state, arguments, _ARM.format(number=number, place=os.fsencode(place)))

    def deaths(self, state: Path, arguments: Sequence[object], least: int, place: str = "") -> Iterator[int]:
        """Run a command, which lives, and then again and again, killed at another of its calls each time.

        The calls are spread evenly over all of them, and the last ones are among them. Before each run the
        caller makes everything equal to the first; after each it is yielded which call the command was
        killed at, 0 if it was not.

        Args:
            least: how many calls, besides the last ones.
        """
        ran = self._run(state, arguments, _ARM.format(number=_MANY, place=os.fsencode(place)) + _COUNT)
        assert ran.code == 0, ran.err
        calls = _MANY - int(ran.err.rpartition(_LEFT)[2])
        yield 0
        last = range(max(calls - _LAST, 0) + 1, calls + 1)
        for number in sorted({*range(1, calls + 1, max(calls // least, 1)), *last}):
            ran = self.run(state, arguments, number, place)
            assert ran.code in {0, -signal.SIGKILL}, ran.err
            yield number if ran.code else 0

    def _run(self, state: Path, arguments: Sequence[object], code: str) -> Ran:
        variables = environment(state, {"HASHSCAN_WORKERS": "1"})
        done = self._prefork.run([*map(str, arguments)], env=variables, code=code)
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout or "", done.stderr)


@contextmanager
def dying_commands(folder: Path, rare: Sequence[str] = ()) -> Iterator[DyingCommands]:
    """Prepare to kill commands; skip the test without a compiler.

    Args:
        folder: gets what is compiled.
        rare: those of `tests.prefork.RARE` that the commands use.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = folder / "dying_calls.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, _SOURCE, "-ldl"], check=True)
    preloaded = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(made)]))
    prefork = Prefork(extra={"LD_PRELOAD": preloaded}, rare=rare)
    try:
        yield DyingCommands(prefork)
    finally:
        prefork.close()
