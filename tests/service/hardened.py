"""Run a command as a unit's hardening has it: `python hardened.py UNIT COMMAND...`.

The system calls are those of SystemCallFilter=, by the groups that `systemd-analyze syscall-filter` names.
Memory is never writable and executable. Namespaces and mounts are the caller's to make.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

_NO_NEW_PRIVILEGES, _MDWE = 38, 65  # linux/prctl.h: PR_SET_NO_NEW_PRIVS, PR_SET_MDWE
_REFUSE = 0x00050000 | errno.EPERM  # seccomp.h: SCMP_ACT_ERRNO
_ALLOW = 0x7FFF0000


def calls_of(name: str) -> set[str]:
    """The system calls of a group, or the one of that name."""
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.strip() for line in shown.splitlines()[1:]]
    return {call for line in lines if line and line[0] != "#" for call in calls_of(line)}


def allowed(unit: Path) -> set[str]:
    """The system calls that a unit allows."""
    calls: set[str] = calls_of("@default")
    for value in re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE):
        named = {call for name in value.removeprefix("~").split() for call in calls_of(name)}
        calls = calls - named if value.startswith("~") else calls | named
    return calls


def confine(calls: set[str]) -> None:
    """Allow this process and its children these system calls only."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_REFUSE))
    for name in sorted(calls):
        number = library.seccomp_syscall_resolve_name(name.encode())
        # Those of other architectures have no number, or a negative one.
        if number >= 0:
            assert library.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0) == 0
    # Systems that know no such flag have no such limit either.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_MDWE, 1, 0, 0, 0)
    assert libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(allowed(Path(sys.argv[1])))
    os.execv(sys.argv[2], sys.argv[2:])
