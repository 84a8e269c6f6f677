"""Niceness counts between sessions too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GROUP = Path("/proc/self/autogroup")

CODE = """
import os, sys
from hashscan.sandbox.linux_process import set_autogroup_niceness
os.setsid()
os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[1]))
set_autogroup_niceness()
print(open("/proc/self/autogroup").read().split()[-1])
"""


@pytest.mark.skipif(not GROUP.exists(), reason="this kernel has no groups of sessions")
@pytest.mark.parametrize("niceness", [0, 7, 19])
def test_a_session_gets_the_niceness_of_its_process(niceness: int) -> None:
    if niceness < os.getpriority(os.PRIO_PROCESS, 0):
        pytest.skip("the tests themselves run nicer than that")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(niceness)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(niceness)


@pytest.mark.skipif(not GROUP.exists() or os.geteuid() != 0, reason="needs such groups, and root")
def test_unprivileged_sessions_that_all_want_it_at_once_get_it_in_turn() -> None:
    # A process that changed its user owns its own files in /proc only when it may be traced again.
    become_nobody = (
        "import os\n"
        "from hashscan.sandbox import linux_process\n"
        "os.setgid(65534); os.setuid(65534); linux_process.prctl(4, 1)\n"
        # As many tries as it takes where other processes of this machine want it, too.
        "linux_process._TRIES = 10**6\n"
    )
    code = become_nobody + CODE
    processes = [
        subprocess.Popen([sys.executable, "-c", code, "19"], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["19"] * 4
